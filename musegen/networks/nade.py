"""A recurrent network over the steps of a binary grid, with a NADE over the cells of each step.

    p(x) = Π_t Π_d p(x_{t,d} | x_{t,<d}, x_{<t})

A sample is a grid ``(C, T, W)`` whose rows are steps. Cells of a step are ordered as in
``musegen.networks.autoregressive``: column by column, and within a column channel by channel, so cell (c, w) is the d-th with
d = w C + c, D = C W. Two terms add up to the logit of cell d at step t, where h_t is the state of the recurrent network after
the steps before t:

* absolute, a NADE with one hidden layer or more (Larochelle & Murray 2011, AISTATS), whose biases follow h_t (Boulanger-
  Lewandowski et al. 2012, 1206.6392): b_d + B_d h_t + V_d φ(c_t + Σ_{k<d} x_k W_k) with c_t = c + C h_t;
* relative, the same for all columns: a masked convolution over the cells of the step that come before d and earlier steps
  on both sides, with a bias that follows h_t, a ReLU, and 1×1 convolutions. Intervals and steps of a voice look the same at
  every pitch. Of earlier steps it sees those just before t, and any "lags" before t: music repeats itself after bars, and
  what is to come then stands there. Where columns are pitches it also knows which classes have sounded (``Harmony``).

**Given channels.** Some channels G may be given for all steps: p(x_rest | x_G). Their cells come first in every step and have no
term of their own. A second recurrent network runs over them from the last step back to t; its state stands beside h_t and
beside the input of the first. The convolution sees them on both sides, at step t and as far after it as before it.

**Cost.** Rolls have few cells on, and work follows these, with the result of the plain recursions:

* The hidden layer of a NADE changes only behind a cell that is on. A step with k cells on has k + 1 different hidden vectors,
  not D: these are computed once each ("segments" of the step), and a cell takes its logit from its segment's. Columns
  go in spans, and the logits of a span are computed for the segments that reach into it only.
* The masked convolution adds up the weights that the cells on meet, a span of columns at a time (``Relative``).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.networks.autoregressive import MaskedConv
from musegen.probability.whole_batch import uneven_rows
from musegen.reporting import each, several

__all__ = ["Memory", "Recurrent", "RecurrentNADE"]

Recurrent = Literal["lstm", "gru"]

FEW = 16
"""Samples up to which drawing has too little work per call for several threads: waiting for each other costs more."""
SPAN = 12
"""Columns that are computed together."""


class Memory(NamedTuple):
    """What the next step depends on.

    Attributes:
        step: number of the next step, from 0.
        above: the steps just before it, ``(B, C, back, W)``; zeros before the first.
        state: of the recurrent network, which has seen all but the last of them; None at the start.
        sums: of ``Harmony``; None without it.
    """

    step: int
    above: Tensor
    state: tuple[Tensor, ...] | Tensor | None
    sums: Tensor | None = None


class _Shared(NamedTuple):
    """Weights of the relative term: the table of ``Relative``, and weight and bias of the layers behind it."""

    table: Tensor
    deep: list[tuple[Tensor, Tensor | None]]
    out: tuple[Tensor, Tensor | None]


class _Residual(nn.Module):
    """z + relu(W z + b)."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n, n)

    def forward(self, z: Tensor) -> Tensor:
        return z + self.linear(z).relu()


def _through(
    network: nn.LSTM | nn.GRU, x: Tensor, state: tuple[Tensor, ...] | Tensor | None = None
) -> tuple[Tensor, Any]:
    """``network(x, state)``: x ``(B, T, n)`` → outputs ``(B, T, units)`` of the last layer, and the state after the last step.

    Where values between layers are dropped it goes layer by layer, because torch's recurrences draw inside of one operation,
    where several processes could not share the draw (``musegen.probability.whole_batch``). The numbers are
    those that torch draws on a CPU.
    """
    if not (network.training and network.dropout and network.num_layers > 1):
        return network(x, state)
    of_lstm = isinstance(network, nn.LSTM)
    if state is None:
        zeros = x.new_zeros(network.num_layers, len(x), network.hidden_size)
        state = (zeros, zeros) if of_lstm else zeros
    parts = state if isinstance(state, tuple) else (state,)
    run: Any = torch.lstm if of_lstm else torch.gru
    states = []
    for i, weights in enumerate(network.all_weights):
        before = [part[i : i + 1] for part in parts]
        x = F.dropout(x, network.dropout) if i else x
        # With biases, one layer, nothing dropped, in training, in one direction, batch first.
        x, *after = run(x, before if of_lstm else before[0], weights, True, 1, 0.0, True, False, True)
        states.append(after)
    joined = tuple(torch.cat(part) for part in zip(*states, strict=True))
    return x, joined if of_lstm else joined[0]


class Relative(nn.Module):
    """A masked convolution over the cells of a sparse binary grid.

    Feature f of group g at (t, w) sees ``interval`` columns to either side: in the ``reach`` steps before t and in the
    steps t − lag all of them, at t those before w and in column w the channels before g; and of given channels all of step t and
    ``reach`` steps after it.

    Dense, most of its work would be done on zeros: of a band's cells one in a hundred is on. Here every cell that is on looks
    its weights up in a table, a row for each span of columns that it reaches, and the rows are added up.

    Args:
        group: g of each feature ``(F,)``.
        given: which channels are given, bool ``(C,)``.
    """

    mask: Tensor

    def __init__(self, group: Tensor, given: Tensor, reach: int, lags: Sequence[int], interval: int) -> None:
        super().__init__()
        n_channels, self.ahead, self.interval = len(given), reach if given.any() else 0, interval
        self.offsets = [*(-lag for lag in lags), *range(-reach, self.ahead + 1)]
        """Rows of the kernel, in steps from t."""
        self.weight = nn.Parameter(torch.empty(len(group), n_channels, len(self.offsets), 2 * interval + 1))
        self.bias = nn.Parameter(torch.empty(len(group)))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Conv2d
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.bias, -bound, bound)
        mask = torch.ones_like(self.weight)
        now = self.offsets.index(0)
        mask[:, ~given, now, interval + 1 :] = 0
        mask[:, ~given, now, interval] = (torch.arange(n_channels) < group[:, None])[:, ~given].to(mask.dtype)
        mask[:, ~given, now + 1 :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def table(self) -> Tensor:
        """Weights by row of the kernel, channel and shift of a span against the cell: ``(rows C shifts, SPAN F)``."""
        kernel = F.pad((self.weight * self.mask).flip(3), (SPAN - 1, SPAN - 1))
        return kernel.unfold(3, SPAN, 1).permute(2, 1, 3, 4, 0).flatten(0, 2).flatten(1)

    def forward(self, seen: Tensor, back: int, table: Tensor) -> Tensor:
        """Cells of the steps, with those before and after them ``(B, C, back + R + ahead, W)`` → ``(spans, B·R, SPAN, F)``,
        without the bias; ``back`` is the number of steps before them."""
        n_rows = seen.shape[2] - back - self.ahead
        cells = (seen > 0).transpose(1, 2)  # (B, steps, C, W)
        rows = [cells[:, back + offset : back + offset + n_rows] for offset in self.offsets]
        on = torch.stack(rows, 2).flatten(0, 1)  # (B·R, rows, C, W)
        n_steps, n_spans = len(on), -(-seen.shape[3] // SPAN)
        step, cell, column = on.flatten(1, 2).nonzero(as_tuple=True)  # by step
        shifts = 2 * self.interval + SPAN
        span = torch.arange(n_spans, device=seen.device)[:, None]
        shift = self.interval + SPAN - 1 + SPAN * span - column  # (spans, cells on)
        near = (shift >= 0) & (shift < shifts)
        counts = (span * n_steps + step)[near].bincount(minlength=n_spans * n_steps)
        index = (cell * shifts + shift)[near]
        y = F.embedding_bag(index, table, counts.cumsum(0) - counts, mode="sum")
        return y.view(n_spans, n_steps, SPAN, -1)

    def added(self, cell: Tensor, n_columns: int, table: Tensor) -> Tensor:
        """What one more cell of the present step adds to that of each of N steps: numbers of cells ``(N,)``, in order of columns
        → ``(spans, N, SPAN, F)``. Of the number after the last, which stands for none, it means nothing."""
        n_channels, shifts = self.weight.shape[1], 2 * self.interval + SPAN
        span = torch.arange(-(-n_columns // SPAN), device=cell.device)[:, None]
        shift = self.interval + SPAN - 1 + SPAN * span - cell // n_channels  # (spans, N)
        near = (shift >= 0) & (shift < shifts)
        row = (self.offsets.index(0) * n_channels + cell % n_channels) * shifts + shift
        y = F.embedding(row * near, table) * near[..., None]
        return y.unflatten(2, (SPAN, -1))


class Harmony(nn.Module):
    """What has sounded so far, by pitch class, as a term that is the same in every key.

    m_t[c, j] is the mean number of cells on in pitch class j of channel c per step before t, in which older steps count less:
    a step s before t has weight λ^(t−1−s), for two values of λ, of which one forgets within a bar or so and one within
    eight. Feature f at a column of class j is a circular correlation, Σ_{c,i} K[f, c, i] m_t[c, (j + i) mod 12].

    Args:
        n_features: F.
        n_channels: C.
        octave: columns after which a class returns.
        span: steps that the first λ remembers; the second remembers eight times as many.
    """

    decay: Tensor
    of_column: Tensor

    def __init__(self, n_features: int, n_channels: int, n_columns: int, octave: int, span: int) -> None:
        super().__init__()
        self.octave = octave
        self.weight = nn.Parameter(torch.zeros(n_features, 2 * n_channels, octave))
        self.register_buffer("decay", torch.exp(-1 / torch.tensor([span, 8.0 * span])), persistent=False)
        self.register_buffer("of_column", F.one_hot(torch.arange(n_columns) % octave, octave).float(), persistent=False)

    def start(self, n: int) -> Tensor:
        """Sums before the first step, ``(B, 2, C, octave)``."""
        return self.weight.new_zeros(n, 2, self.weight.shape[1] // 2, self.octave)

    def forward(self, x: Tensor, sums: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Steps ``(B, C, R, W)`` from number ``step`` on → features ``(B·R, octave, F)``, and the sums behind the last of them."""
        chroma, n_steps = x @ self.of_column, x.shape[2]  # (B, C, R, octave)
        t = torch.arange(n_steps + 1, device=x.device)
        age = t[:, None] - 1 - t[:-1]  # (R + 1, R)
        weight = self.decay[:, None, None] ** age.clamp(min=0) * (age >= 0)  # (2, R + 1, R)
        past = self.decay[:, None] ** t  # (2, R + 1)
        after = torch.einsum("dts,bcsj->btdcj", weight, chroma) + torch.einsum("dt,bdcj->btdcj", past, sums)
        total = (1 - self.decay[:, None] ** (step + t)) / (1 - self.decay[:, None])  # of the weights, (2, R + 1)
        mean = (after / total.T.clamp(min=1)[:, :, None, None])[:, :-1]  # (B, R, 2, C, octave)
        ring = mean.flatten(0, 1).flatten(1, 2)  # (B·R, 2·C, octave)
        ring = torch.cat([ring, ring[..., :-1]], 2)
        return F.conv1d(ring, self.weight).transpose(1, 2), after[:, -1]


class RecurrentNADE(nn.Module):
    """x ``(B, C, T, W)`` → logits ``(B, C, T, W)`` of each cell given the earlier ones.

    Args:
        shape: (C, T, W); T does not matter, any number of steps will do.
        recurrent: kind of the network over time.
        units: of each of its layers.
        layers: of it.
        hidden: H, units of the NADE.
        depth: further hidden layers of either term, residual.
        features: F, feature maps of the relative term; 0 leaves it out.
        reach: steps before t that the convolution sees.
        interval: columns that it sees to either side.
        dropout: share of inputs and of outputs of the recurrent network that are dropped in training.
        n_condition: length of a condition vector.
        period: length of a cycle (a bar) in steps, in which the network is told the position; 0: none.
        lags: further steps back that the convolution sees. (As inputs of the recurrent network they were learnt by heart.)
        octave: columns after which a pitch class returns, where the columns are pitches: the relative term also knows how
            often each class has sounded. Divides ``SPAN``; 0: it does not.
        given: channels that are given; their logits mean nothing.
    """

    given: Tensor

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
        lags: Sequence[int] = (),
        octave: int = 0,
        given: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.n_channels, _, self.n_columns = shape
        self.n_cells = n_cells = self.n_channels * self.n_columns
        self.period, self.back = period, max([reach, *lags])
        channel = torch.arange(self.n_channels)
        given_channels = torch.isin(channel, torch.tensor(given, dtype=torch.long))
        self.register_buffer("given", given_channels.repeat(self.n_columns), persistent=False)  # cells, (D,)
        extra = n_condition + period + (units if given else 0)
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
        self.backward_ = None
        if given:
            n_given = len(given) * self.n_columns + n_condition + period
            self.backward_ = cell(n_given, units, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.relative: Relative | None = None
        self.harmony: Harmony | None = None
        if features:
            features = -(-features // self.n_channels) * self.n_channels
            group = torch.arange(features) % self.n_channels
            self.relative = Relative(group, given_channels, reach, lags, interval)
            self.relative_bias = nn.Linear(units + extra, features, bias=False)
            self.relative_deep = nn.ModuleList(MaskedConv(group, group, "B") for _ in range(depth))
            self.relative_out = MaskedConv(group, channel, "B")
            nn.init.zeros_(self.relative_out.bias)  # type: ignore[arg-type]
            if octave:
                self.harmony = Harmony(features, self.n_channels, self.n_columns, octave, period or 16)

    def start(self, n: int) -> Memory:
        """Before the first step of n samples."""
        above = self.out.weight.new_zeros(n, self.n_channels, self.back, self.n_columns)
        return Memory(0, above, None, None if self.harmony is None else self.harmony.start(n))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.steps(x, None, condition)[0]

    def steps(
        self, x: Tensor, memory: Memory | None, condition: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        """A block of steps ``(B, C, R, W)`` behind those that ``memory`` knows → their logits, and the next memory.

        Args:
            given: where channels are given: these steps and all after them ``(B, C, any, W)``; by default none come after.
        """
        n_steps, given = x.shape[2], x if given is None else given
        memory = self.start(len(x)) if memory is None else memory
        ahead = self._ahead(given, memory.step, condition)
        ahead = ahead if ahead is None else ahead[:, :n_steps]
        context, memory_after = self._context(x, memory, condition, ahead)
        flat = x.permute(0, 2, 3, 1).flatten(2)  # (B, R, D)
        seen = torch.cat([memory.above, x, self._after(given, n_steps)], 2)
        harmony, sums = self._harmony(x, memory)
        context = context.flatten(0, 1)
        relative = self._relative(self._relative_bias(context, harmony), seen, self._shared())
        logits = self._absolute(context, flat.flatten(0, 1)) + relative
        return logits.view(len(x), n_steps, self.n_columns, self.n_channels).permute(0, 3, 1, 2), memory_after._replace(
            sums=sums
        )

    def _extra(self, n: int, first: int, n_steps: int, condition: Tensor | None) -> list[Tensor]:
        """Position in the cycle and condition, at steps from the first on: each ``(B, R, …)``."""
        extra, like = [], self.out.weight
        if self.period:
            step = torch.arange(first, first + n_steps, device=like.device)
            extra.append(F.one_hot(step % self.period, self.period).to(like.dtype).expand(n, -1, -1))
        if condition is not None:
            extra.append(condition[:, None].expand(-1, n_steps, -1))
        return extra

    def _ahead(self, given: Tensor, first: int, condition: Tensor | None) -> Tensor | None:
        """What is given from each step to the last, ``(B, C, T, W)`` → ``(B, T, units)``; None if nothing is."""
        if self.backward_ is None:
            return None
        cells = self.drop_input(given.permute(0, 2, 3, 1).flatten(2)[..., self.given])
        inputs = torch.cat([cells, *self._extra(len(given), first, given.shape[2], condition)], 2)
        return self.drop_output(_through(self.backward_, inputs.flip(1))[0].flip(1))

    def _after(self, given: Tensor, step: int) -> Tensor:
        """What the convolution sees of the steps from ``step`` on, ``(B, C, ahead, W)``; none come after the last."""
        n = self.relative.ahead if self.relative is not None else 0
        rows = given[:, :, step : step + n]
        return F.pad(rows, (0, 0, 0, n - rows.shape[2]))

    def _context(
        self, x: Tensor, memory: Memory, condition: Tensor | None, ahead: Tensor | None
    ) -> tuple[Tensor, Memory]:
        """What each step knows of the steps before it and of what is given, ``(B, R, units + extra)``; it does not look at
        the last of x."""
        n, n_steps = len(x), x.shape[2]
        seen = torch.cat([memory.above, x], 2)
        before = seen[:, :, self.back - 1 : self.back - 1 + n_steps]  # the step before each
        extra = self._extra(n, memory.step, n_steps, condition) + ([] if ahead is None else [ahead])
        inputs = self.drop_input(before.permute(0, 2, 3, 1).flatten(2))
        h, state = _through(self.recurrent, torch.cat([inputs, *extra], 2), memory.state)
        after = Memory(memory.step + n_steps, seen[:, :, seen.shape[2] - self.back :], state)
        return torch.cat([self.drop_output(h), *extra], 2), after

    def _harmony(self, x: Tensor, memory: Memory) -> tuple[Tensor | None, Tensor | None]:
        """Features ``(B·R, octave, F)`` of what sounded before each of the steps x, and sums behind the last."""
        if self.harmony is None:
            return None, None
        assert memory.sums is not None
        return self.harmony(x, memory.sums, memory.step)

    def _shared(self) -> _Shared | None:
        """Weights of the relative term as they are used; None without it."""
        if self.relative is None:
            return None
        deep = [_masked(layer) for layer in self.relative_deep]
        return _Shared(self.relative.table(), deep, _masked(self.relative_out))

    def _relative_bias(self, context: Tensor, harmony: Tensor | None) -> Tensor | None:
        """Of the features of N steps, contexts ``(N, n)`` → ``(N, 1 or SPAN, F)``; None without the relative term."""
        if self.relative is None:
            return None
        bias = (self.relative_bias(context) + self.relative.bias)[:, None]
        if harmony is not None:
            bias = bias + harmony.repeat(1, SPAN // harmony.shape[1], 1)  # every span begins with the same class
        return bias

    def _relative(self, bias: Tensor | None, seen: Tensor, shared: _Shared | None) -> Tensor:
        """The relative term of N = B·R steps, of cells as ``Relative`` takes them → ``(N, D)``."""
        if self.relative is None or bias is None or shared is None:
            return seen.new_zeros(())
        return self._of_features(self.relative(seen, self.back, shared.table) + bias, shared)

    def _of_features(self, y: Tensor, shared: _Shared) -> Tensor:
        """The relative term of its features before they are rectified, ``(spans, N, SPAN, F)`` → ``(N, D)``."""
        y = y.relu()
        for weight in shared.deep:
            y = y + F.linear(y, *weight).relu()
        out = F.linear(y, *shared.out)  # (spans, N, SPAN, C)
        return out.transpose(0, 1).flatten(1)[:, : self.n_cells]

    def _absolute(self, context: Tensor, x: Tensor) -> Tensor:
        """The NADE's logits of N steps: contexts ``(N, n)``, cells ``(N, D)`` → ``(N, D)``."""
        on = (x > 0) & ~self.given
        counts = on.sum(1)  # (N,)
        n, most = len(x), int(counts.max())
        frame, cell = on.nonzero(as_tuple=True)
        rank = torch.arange(len(frame), device=x.device) - (counts.cumsum(0) - counts)[frame]
        cells = cell.new_full((n, most), self.n_cells)
        cells[frame, rank] = cell  # cells that are on, in order
        a = self._before(context, x)[:, None]  # (N, 1, H)
        a = torch.cat([a, a + self.weight(cells).cumsum(1)], 1)  # (N, most + 1, H)
        used = torch.arange(most + 1, device=x.device) <= counts[:, None]
        with uneven_rows():  # segments
            hidden = self.deep(a[used].relu())  # (segments, H)
        first = (counts + 1).cumsum(0) - (counts + 1)  # a step's first segment
        segment = first[:, None] + on.cumsum(1) - on.long()  # of each cell
        size, logits = SPAN * self.n_channels, []
        for part, out in zip(segment.split(size, 1), self.out.weight.split(size), strict=True):
            low, n_rows = part[:, 0], part[:, -1] - part[:, 0] + 1  # segments that reach into the span
            shift = n_rows.cumsum(0) - n_rows - low
            rows = torch.arange(int(n_rows.sum()), device=x.device) - shift.repeat_interleave(n_rows)
            logits.append((hidden.index_select(0, rows) @ out.T).gather(0, part + shift[:, None]))
        return torch.cat(logits, 1) + self.step_bias(context)

    def _before(self, context: Tensor, x: Tensor) -> Tensor:
        """Input of the hidden layer at the first cell that is not given: contexts ``(N, n)``, cells ``(N, D)`` → ``(N, H)``."""
        a = self.bias(context)
        return a if self.backward_ is None else a + x[:, self.given] @ self.weight.weight[:-1][self.given]

    @torch.no_grad()
    def draw(
        self,
        n_steps: int,
        memory: Memory,
        temperature: float = 1.0,
        condition: Tensor | None = None,
        given: Tensor | None = None,
        top_p: float = 1.0,
    ) -> Tensor:
        """``n_steps`` more steps ``(B, C, n_steps, W)``: exact draws given what ``memory`` knows.

        A cell is on when its uniform number lies below its probability, as if drawn one by one. Between two cells that are
        on nothing changes, so the network is asked once per cell that is on, for the whole batch at a time.

        Args:
            given: where channels are given: these steps ``(B, C, n_steps, W)``; what it holds in other channels does not matter.
            top_p: below 1, only the most probable choices of the next cell on, which together have this probability, are drawn
                from (nucleus sampling, Holtzman et al. 2020, 1904.09751).
        """
        n = len(memory.above)
        if given is None:
            given = memory.above.new_zeros(n, self.n_channels, n_steps, self.n_columns)
        given = given * self.given[: self.n_channels, None, None]
        ahead, shared = self._ahead(given, memory.step, condition), self._shared()
        blocks = []
        with _threads(1 if n <= FEW else torch.get_num_threads()):
            for i in each(range(n_steps), f"Drawing {several(n, 'sample')}", "steps"):
                blank = given[:, :, i : i + 1]
                here = None if ahead is None else ahead[:, i : i + 1]
                context, after = self._context(blank, memory, condition, here)
                harmony, _ = self._harmony(blank, memory)
                bias = self._relative_bias(context[:, 0], harmony)
                row = self._draw_step(
                    context[:, 0], memory.above, blank, self._after(given, i + 1), bias, shared, temperature, top_p
                )
                blocks.append(row)
                _, sums = self._harmony(row, memory)
                memory = after._replace(above=torch.cat([memory.above, row], 2)[:, :, 1:], sums=sums)
        return torch.cat(blocks, 2) if blocks else given

    def _draw_step(
        self,
        c: Tensor,
        above: Tensor,
        blank: Tensor,
        after: Tensor,
        bias: Tensor | None,
        shared: _Shared | None,
        temperature: float,
        top_p: float,
    ) -> Tensor:
        """One step ``(B, C, 1, W)``, from one in which only what is given is on."""
        n = len(c)
        noise = torch.rand(n, self.n_cells, device=c.device)
        row = F.pad(blank.permute(0, 2, 3, 1).flatten(1), (0, 1))  # (B, D + 1), with the cell that is none
        a, step_bias = self._before(c, row[:, :-1]), self.step_bias(c)
        number = torch.arange(self.n_cells + 1, device=c.device)
        ours = F.pad(~self.given, (0, 1), value=True)
        last = number.new_full((n, 1), -1)
        y: Tensor | None = None  # the relative term's features
        if self.relative is not None and bias is not None and shared is not None:
            y = self.relative(torch.cat([above, blank, after], 2), self.back, shared.table) + bias
        while True:
            logits = self.out(self.deep(a.relu())) + step_bias  # (B, D)
            if y is not None and shared is not None:
                logits = logits + self._of_features(y, shared)
            free = (number > last) & ours
            plain = temperature == 1 and top_p == 1
            p = logits.sigmoid() if plain else _next_on(logits, free[:, :-1], temperature, top_p)
            on = F.pad(noise < p, (0, 1), value=True) & free
            last = on.long().argmax(1, keepdim=True).where(last < self.n_cells, last)  # the first; none follows the end
            row.scatter_(1, last, 1.0)
            if bool((last == self.n_cells).all()):
                return row[:, :-1].unflatten(1, (self.n_columns, self.n_channels)).transpose(1, 2)[:, :, None]
            a = a + self.weight(last[:, 0])
            if y is not None and self.relative is not None and shared is not None:
                y = y + self.relative.added(last[:, 0], self.n_columns, shared.table)


@contextlib.contextmanager
def _threads(n: int) -> Iterator[None]:
    """That many threads on the CPU, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _masked(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a masked 1×1 convolution, for features that come last."""
    assert isinstance(layer, MaskedConv)
    return (layer.weight * layer.mask)[:, :, 0, 0], layer.bias


def _next_on(logits: Tensor, free: Tensor, temperature: float, top_p: float) -> Tensor:
    """Probability that a cell is the next one on, given that none is from the last on up to it: ``(B, D)`` → ``(B, D)``.

    q_d = σ(l_d) Π_{k<d} (1 − σ(l_k)), over free cells, is the law of the next cell on, and the full product that of none. Let
    r_d be q_d^(1/T), normalised, and 0 outside its nucleus, the fewest choices that together have probability ``top_p`` or more;
    the result is r_d / Σ_{k≥d} r_k, which for T = top_p = 1 is σ(l_d).
    """
    off = F.logsigmoid(-logits).where(free, logits.new_zeros(()))
    none_before = F.pad(off.cumsum(1), (1, 0))  # (B, D + 1)
    log_q = F.pad(F.logsigmoid(logits), (0, 1)) + none_before
    log_q[:, :-1].masked_fill_(~free, -torch.inf)
    if temperature == 0:
        return F.one_hot(log_q.argmax(1), log_q.shape[1])[:, :-1].to(logits.dtype)
    r = (log_q / temperature).softmax(1)
    if top_p < 1:
        ordered, choice = r.sort(1, descending=True)
        left_out = ordered.cumsum(1) - ordered >= top_p
        r = r.masked_fill(torch.zeros_like(left_out).scatter(1, choice, left_out), 0)
    tail = r.flip(1).cumsum(1).flip(1)
    return (r / tail.clamp(min=torch.finfo(r.dtype).tiny))[:, :-1]
