"""The absolute term: the NADE of a step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from musegen.networks.nade.terms import SPAN, Block, Cells, Drawing, State, Term
from musegen.probability.whole_batch import uneven_rows

__all__ = ["Absolute"]


class _Residual(nn.Module):
    """z + relu(W z + b)."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n, n)

    def forward(self, z: Tensor) -> Tensor:
        return z + self.linear(z).relu()


class Absolute(Term):
    """b_d + B_d h_t + V_d φ(a_d),  a_d = c + C h_t + Σ_{k<d} x_k W_k: it remembers nothing of earlier steps but h_t.

    Given cells come before all others, so that they are in every a_d; they have weights of their own.

    Args:
        n_context: length of h_t and what stands beside it.
        hidden: H, length of a_d.
        depth: further hidden layers, residual.
        dropout: share of the last hidden layer that is dropped in training.
        given: whether cells may be given.
    """

    def __init__(
        self, cells: Cells, n_context: int, hidden: int, depth: int, dropout: float, given: bool = False
    ) -> None:
        n = len(cells)
        self.cells = cells
        self.bias = nn.Linear(n_context, hidden)  # c + C h_t
        self.step_bias = nn.Linear(n_context, n)  # b + B h_t
        self.weight = nn.Embedding(n + 1, hidden, padding_idx=n)  # W, and a cell that is none
        nn.init.normal_(self.weight.weight, 0.0, 0.1)
        nn.init.zeros_(self.weight.weight[n])
        self.deep = nn.Sequential(*(_Residual(hidden) for _ in range(depth)), nn.Dropout(dropout))
        self.out = nn.Linear(hidden, n, bias=False)  # V
        self.given_weight = nn.Linear(n, hidden, bias=False) if given else None

    def start(self, n: int) -> State:
        return ()

    def block(self, block: Block, state: State) -> tuple[Tensor, State]:
        x = self.cells.flat(block.free).flatten(0, 1)
        return self._of_segments(self.hidden(block), x) + self.step_bias(block.context), state

    def drawing(self) -> Drawing:
        return _Drawing(self)

    def hidden(self, block: Block) -> Tensor:
        """a at the first cell that is not given, ``(B·R, H)``."""
        a: Tensor = self.bias(block.context)
        if block.given is None or self.given_weight is None:
            return a
        now = block.given.cells[:, :, : block.x.shape[2]]
        return a + self.given_weight(self.cells.flat(now).flatten(0, 1))

    def _of_segments(self, a: Tensor, x: Tensor) -> Tensor:
        """V_d φ(a_d) of a at the first cell ``(N, H)`` and cells that are not given ``(N, D)`` → ``(N, D)``.

        a changes only behind cells that are on, which cut the step into segments.
        """
        on = x > 0
        counts = on.sum(1)  # (N,)
        n, most = len(x), int(counts.max())
        frame, cell = on.nonzero(as_tuple=True)
        rank = torch.arange(len(frame), device=x.device) - (counts.cumsum(0) - counts)[frame]
        cells = cell.new_full((n, most), len(self.cells))
        cells[frame, rank] = cell  # cells that are on, in order
        a = a[:, None]  # (N, 1, H)
        a = torch.cat([a, a + self.weight(cells).cumsum(1)], 1)  # (N, most + 1, H)
        used = torch.arange(most + 1, device=x.device) <= counts[:, None]
        with uneven_rows():  # segments
            hidden = self.deep(a[used].relu())  # (segments, H)
        first = (counts + 1).cumsum(0) - (counts + 1)  # a step's first segment
        segment = first[:, None] + on.cumsum(1) - on.long()  # of each cell
        size, logits = SPAN * self.cells.n_channels, []
        for part, out in zip(segment.split(size, 1), self.out.weight.split(size), strict=True):
            low, n_rows = part[:, 0], part[:, -1] - part[:, 0] + 1  # segments that reach into the span
            shift = n_rows.cumsum(0) - n_rows - low
            rows = torch.arange(int(n_rows.sum()), device=x.device) - shift.repeat_interleave(n_rows)
            logits.append((hidden.index_select(0, rows) @ out.T).gather(0, part + shift[:, None]))
        return torch.cat(logits, 1)


class _Drawing(Drawing):
    """It keeps a behind the last cell that came on."""

    def __init__(self, term: Absolute) -> None:
        self.term = term

    def begin(self, step: Block, state: State) -> None:
        self.a = self.term.hidden(step)
        self.bias = self.term.step_bias(step.context)

    def logits(self) -> Tensor:
        return self.term.out(self.term.deep(self.a.relu())) + self.bias

    def learn(self, cell: Tensor) -> None:
        self.a = self.a + self.term.weight(cell)

    def end(self, row: Tensor) -> State:
        return ()
