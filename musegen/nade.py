"""A recurrent network over the steps of a binary grid, with a NADE over the cells of each step.

    p(x) = Π_t Π_d p(x_{t,d} | x_{t,<d}, x_{<t})

A sample is a grid ``(C, T, W)`` whose rows are steps. Cells of a step are ordered as in ``musegen.autoregressive``: column by
column, and within a column channel by channel, so cell (c, w) is the d-th with d = w C + c, D = C W. Two terms add up to
the logit of cell d at step t, where h_t is the state of the recurrent network after the steps before t:

* absolute, a NADE with one hidden layer or more (Larochelle & Murray 2011, AISTATS), whose biases follow h_t (Boulanger-
  Lewandowski et al. 2012, 1206.6392): b_d + B_d h_t + V_d φ(c_t + Σ_{k<d} x_k W_k) with c_t = c + C h_t;
* relative, the same for all columns: a masked convolution over the cells of the step that come before d and the steps just
  before t on both sides, with a bias that follows h_t, a ReLU, and a 1×1 convolution. Intervals and steps of a
  voice look the same at every pitch.

**Cost.** The hidden layer of a NADE changes only behind a cell that is on. So a step with k cells on has k + 1 different
hidden vectors, not D: these are computed once each ("segments" of the step), and a cell takes its logit from its segment's.
Rolls have few cells on, and a deep NADE costs little more than a flat one. The result is that of the cell-by-cell recursion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from musegen.autoregressive import MaskedConv

__all__ = ["Memory", "Recurrent", "RecurrentNADE"]

Recurrent = Literal["lstm", "gru"]

CHUNK_CELLS = 1 << 25
"""Logits of segments held at a time, at least a step's: 128 MB in float32. Beyond it, they are computed anew for the gradient."""


class Memory(NamedTuple):
    """What the next step depends on.

    Attributes:
        step: number of the next step, from 0.
        above: the steps just before it, ``(B, C, reach, W)``; zeros before the first.
        state: of the recurrent network, which has seen all but the last of them; None at the start.
    """

    step: int
    above: Tensor
    state: tuple[Tensor, ...] | Tensor | None


class _Residual(nn.Module):
    """z + relu(W z + b)."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n, n)

    def forward(self, z: Tensor) -> Tensor:
        return z + self.linear(z).relu()


class RecurrentNADE(nn.Module):
    """x ``(B, C, T, W)`` → logits ``(B, C, T, W)`` of each cell given the earlier ones.

    Args:
        shape: (C, T, W); T does not matter, any number of steps will do.
        recurrent: kind of the network over time.
        units: of each of its layers.
        layers: of it.
        hidden: H, units of the NADE.
        depth: further hidden layers of the NADE, residual.
        features: F, feature maps of the relative term; 0 leaves it out.
        reach: steps before t that the convolution sees.
        interval: columns that it sees to either side.
        dropout: share of inputs and of outputs of the recurrent network that are dropped in training.
        n_condition: length of a condition vector.
        period: length of a cycle (a bar) in steps, in which the network is told the position; 0: none.
    """

    def __init__(
        self,
        shape: Sequence[int],
        recurrent: Recurrent = "lstm",
        units: int = 256,
        layers: int = 1,
        hidden: int = 128,
        depth: int = 0,
        features: int = 32,
        reach: int = 2,
        interval: int = 24,
        dropout: float = 0.0,
        n_condition: int = 0,
        period: int = 0,
    ) -> None:
        super().__init__()
        self.n_channels, _, self.n_columns = shape
        self.n_cells = n_cells = self.n_channels * self.n_columns
        self.period, self.reach = period, reach
        extra = n_condition + period
        cell = {"lstm": nn.LSTM, "gru": nn.GRU}[recurrent]
        self.recurrent = cell(n_cells + extra, units, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.drop_input, self.drop_output = nn.Dropout(dropout), nn.Dropout(dropout)
        self.bias = nn.Linear(units + extra, hidden)  # c + C h_t
        self.step_bias = nn.Linear(units + extra, n_cells)  # b + B h_t
        self.weight = nn.Embedding(n_cells + 1, hidden, padding_idx=n_cells)  # W, and a cell that is none
        nn.init.normal_(self.weight.weight, 0.0, 0.1)
        nn.init.zeros_(self.weight.weight[n_cells])
        self.deep = nn.Sequential(*(_Residual(hidden) for _ in range(depth)), nn.Dropout(dropout))
        self.out = nn.Linear(hidden, n_cells, bias=False)  # V
        self.relative: MaskedConv | None = None
        if features:
            features = -(-features // self.n_channels) * self.n_channels
            channel, feature = torch.arange(self.n_channels), torch.arange(features) % self.n_channels
            self.relative = MaskedConv(channel, feature, "A", reach, 2 * interval + 1)
            self.relative_bias = nn.Linear(units + extra, features, bias=False)
            self.relative_out = MaskedConv(feature, channel, "B")
            nn.init.zeros_(self.relative_out.bias)  # type: ignore[arg-type]

    def start(self, n: int) -> Memory:
        """Before the first step of n samples."""
        above = self.out.weight.new_zeros(n, self.n_channels, self.reach, self.n_columns)
        return Memory(0, above, None)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.steps(x, None, condition)[0]

    def steps(self, x: Tensor, memory: Memory | None, condition: Tensor | None = None) -> tuple[Tensor, Memory]:
        """A block of steps ``(B, C, R, W)`` behind those that ``memory`` knows → their logits, and the next memory."""
        memory = self.start(len(x)) if memory is None else memory
        context, memory_after = self._context(x, memory, condition)
        flat = x.permute(0, 2, 3, 1).flatten(2)  # (B, R, D)
        logits = self._absolute(context.flatten(0, 1), flat.flatten(0, 1)).view_as(flat)
        logits = logits.unflatten(2, (self.n_columns, self.n_channels)).permute(0, 3, 1, 2)  # (B, C, R, W)
        return logits + self._relative(context, x, memory.above), memory_after

    def _context(self, x: Tensor, memory: Memory, condition: Tensor | None) -> tuple[Tensor, Memory]:
        """What each step knows of the steps before it, ``(B, R, units + extra)``; it does not look at the last of x."""
        n, n_steps = len(x), x.shape[2]
        seen = torch.cat([memory.above, x], 2)
        before = seen[:, :, self.reach - 1 : self.reach - 1 + n_steps]  # the step before each
        extra = []
        if self.period:
            step = torch.arange(memory.step, memory.step + n_steps, device=x.device)
            position = F.one_hot(step % self.period, self.period).to(x.dtype)  # (R, period)
            extra.append(position.expand(n, -1, -1))
        if condition is not None:
            extra.append(condition[:, None].expand(-1, n_steps, -1))
        inputs = self.drop_input(before.permute(0, 2, 3, 1).flatten(2))
        h, state = self.recurrent(torch.cat([inputs, *extra], 2), memory.state)
        after = Memory(memory.step + n_steps, seen[:, :, seen.shape[2] - self.reach :], state)
        return torch.cat([self.drop_output(h), *extra], 2), after

    def _relative(self, context: Tensor, x: Tensor, above: Tensor) -> Tensor:
        """The relative term, ``(B, C, R, W)``."""
        if self.relative is None:
            return x.new_zeros(())
        y = self.relative(x, above)[0] + self.relative_bias(context).transpose(1, 2)[..., None]  # (B, F, R, W)
        return self.relative_out(y.relu())[0]

    def _absolute(self, context: Tensor, x: Tensor) -> Tensor:
        """The NADE's logits of N steps: contexts ``(N, n)``, cells ``(N, D)`` → ``(N, D)``."""
        counts = x.sum(1).long() + 1  # segments of each step
        parts, first = [], 0
        # Steps in blocks whose segments fit; one block in nearly every case.
        limit = max(1, CHUNK_CELLS // self.n_cells)
        block = (counts.cumsum(0) - counts) // limit
        sizes = torch.unique_consecutive(block, return_counts=True)[1].tolist()
        for size in sizes:
            part = context[first : first + size], x[first : first + size]
            if len(sizes) > 1 and torch.is_grad_enabled():
                parts.append(checkpoint(self._segments, *part, use_reentrant=False))
            else:
                parts.append(self._segments(*part))
            first += size
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _segments(self, context: Tensor, x: Tensor) -> Tensor:
        on = x > 0
        counts = on.sum(1)  # (N,)
        n, most = len(x), int(counts.max())
        frame, cell = on.nonzero(as_tuple=True)
        rank = torch.arange(len(frame), device=x.device) - (counts.cumsum(0) - counts)[frame]
        cells = cell.new_full((n, most), self.n_cells)
        cells[frame, rank] = cell  # cells that are on, in order
        a = self.bias(context)[:, None]  # (N, 1, H)
        a = torch.cat([a, a + self.weight(cells).cumsum(1)], 1)  # (N, most + 1, H)
        used = torch.arange(most + 1, device=x.device) <= counts[:, None]
        rows = self.out(self.deep(a[used].relu()))  # (segments, D)
        first = (counts + 1).cumsum(0) - (counts + 1)  # a step's first segment
        segment = on.cumsum(1) - on.long()  # cells on before each
        return rows.gather(0, first[:, None] + segment) + self.step_bias(context)

    @torch.no_grad()
    def draw(self, n_steps: int, memory: Memory, temperature: float = 1.0, condition: Tensor | None = None) -> Tensor:
        """``n_steps`` more steps ``(B, C, n_steps, W)``: exact draws given what ``memory`` knows.

        A cell is on when its uniform number lies below its probability, as if drawn one by one. Between two cells that are
        on nothing changes, so the network is asked once per cell that is on, for the whole batch at a time.
        """
        blocks = []
        for _ in range(n_steps):
            blank = torch.zeros_like(memory.above[:, :, :1])
            context, after = self._context(blank, memory, condition)
            row = self._draw_step(context, memory.above, temperature)
            blocks.append(row)
            memory = after._replace(above=torch.cat([memory.above, row], 2)[:, :, 1:])
        return torch.cat(blocks, 2)

    def _draw_step(self, context: Tensor, above: Tensor, temperature: float) -> Tensor:
        """One step ``(B, C, 1, W)``."""
        n, c = len(context), context[:, 0]
        noise = torch.rand(n, self.n_cells, device=c.device)
        a, step_bias = self.bias(c), self.step_bias(c)
        row = above.new_zeros(n, self.n_cells + 1)  # with the cell that is none
        number = torch.arange(self.n_cells + 1, device=c.device)
        last = number.new_full((n, 1), -1)
        while True:
            grid = row[:, :-1].unflatten(1, (self.n_columns, self.n_channels)).transpose(1, 2)[:, :, None]
            relative = self._relative(context, grid, above)
            if relative.dim():
                relative = relative[:, :, 0].transpose(1, 2).flatten(1)
            logits = self.out(self.deep(a.relu())) + step_bias + relative  # (B, D)
            free = number > last
            p = logits.sigmoid() if temperature == 1 else _tempered(logits, free[:, :-1], temperature)
            on = F.pad(noise < p, (0, 1), value=True) & free
            last = on.long().argmax(1, keepdim=True).where(last < self.n_cells, last)  # the first; none follows the end
            row.scatter_(1, last, 1.0)
            if bool((last == self.n_cells).all()):
                return grid
            a = a + self.weight(last[:, 0])


def _tempered(logits: Tensor, free: Tensor, temperature: float) -> Tensor:
    """Probability that a cell is the next one on, given that none is from the last on up to it: ``(B, D)`` → ``(B, D)``.

    q_d = σ(l_d) Π_{k<d} (1 − σ(l_k)), over free cells, is the law of the next cell on, and the full product that of none;
    the result is q_d^(1/T) / Σ_{k≥d} q_k^(1/T), which for T = 1 is σ(l_d).
    """
    off = F.logsigmoid(-logits).where(free, logits.new_zeros(()))
    none_before = F.pad(off.cumsum(1), (1, 0))  # (B, D + 1)
    log_q = F.pad(F.logsigmoid(logits), (0, 1)) + none_before
    log_q[:, :-1].masked_fill_(~free, -torch.inf)
    if temperature == 0:
        return F.one_hot(log_q.argmax(1), log_q.shape[1])[:, :-1].to(logits.dtype)
    log_q = log_q / temperature
    tail = log_q.flip(1).logcumsumexp(1).flip(1)
    return (log_q - tail)[:, :-1].exp()
