"""The relative term: the same at every column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.networks.grid_layers import MaskedConv
from musegen.networks.nade.harmony import Harmony, NoHarmony
from musegen.networks.nade.sparse_conv import SparseConv
from musegen.networks.nade.terms import SPAN, Block, Cells, Drawing, State, Term

__all__ = ["Relative"]


class _Weights(NamedTuple):
    """As they are used: the table of ``SparseConv``, and weight and bias of the 1×1 convolutions behind it."""

    table: Tensor
    deep: list[tuple[Tensor, Tensor | None]]
    out: tuple[Tensor, Tensor | None]


class Relative(Term):
    """1×1 convolutions of φ(features), where features are themselves a sum: a masked convolution over the cells before, a bias
    that follows h_t, and ``Harmony``. Of earlier steps it remembers the last ones and what harmony sums up.

    Args:
        n_context: length of h_t and what stands beside it.
        features: F; rounded up to a multiple of C, so that no channel is without features of its own.
        depth: further hidden layers, residual.
        reach, lags, interval: what the convolution sees.
        octave: columns after which columns of one class return; 0: there are no classes.
        span: steps that harmony remembers.
        given: whether cells may be given.
    """

    def __init__(
        self,
        cells: Cells,
        n_context: int,
        features: int,
        depth: int,
        reach: int,
        lags: Sequence[int],
        interval: int,
        octave: int,
        span: int,
        given: bool = False,
    ) -> None:
        n_channels = cells.n_channels
        features = -(-features // n_channels) * n_channels
        group = torch.arange(features) % n_channels
        self.cells = cells
        self.relative = SparseConv(group, n_channels, reach, lags, interval, given, cells.n_plan)
        self.relative_bias = nn.Linear(n_context, features, bias=False)
        self.relative_deep = nn.ModuleList(MaskedConv(group, group, "B") for _ in range(depth))
        self.relative_out = MaskedConv(group, torch.arange(n_channels), "B")
        nn.init.zeros_(self.relative_out.bias)  # type: ignore[arg-type]
        self.harmony: Harmony | NoHarmony = NoHarmony()
        if octave:
            self.harmony = Harmony(group, n_channels, cells.n_columns, octave, span, cells.n_plan)

    def start(self, n: int) -> State:
        return self.cells.blank(n, self.relative.back, self.relative.weight), self.harmony.start(n)

    def block(self, block: Block, state: State) -> tuple[Tensor, State]:
        above, sums = state
        harmony, sums = self.harmony(block, above[:, :, -1:], sums)
        weights = self.weights()
        features = self.features(block, above, harmony, weights)
        return self.of_features(features, weights), (self.last(above, block.x), sums)

    def drawing(self) -> Drawing:
        return _Drawing(self)

    def weights(self) -> _Weights:
        """The weights as they are used."""
        return _Weights(
            self.relative.table(), [_masked(layer) for layer in self.relative_deep], _masked(self.relative_out)
        )

    def features(self, block: Block, above: Tensor, harmony: Tensor, weights: _Weights) -> Tensor:
        """``(spans, N, SPAN, F)``, of the steps above the block, and what harmony adds ``(N, SPAN, F)``."""
        bias = (self.relative_bias(block.context) + self.relative.bias)[:, None] + harmony
        return self.relative(self.relative.rows(above, block), weights.table) + bias

    def of_features(self, y: Tensor, weights: _Weights) -> Tensor:
        """The term of its features before they are rectified, ``(spans, N, SPAN, F)`` → ``(N, D)``."""
        y = y.relu()
        for weight in weights.deep:
            y = y + F.linear(y, *weight).relu()
        out = F.linear(y, *weights.out)  # (spans, N, SPAN, C)
        return self.cells.ordered(out.transpose(0, 1).flatten(1, 2)[:, : self.cells.n_columns])

    def last(self, above: Tensor, x: Tensor) -> Tensor:
        """The steps above what follows x, ``(B, C, back, W)``."""
        seen = torch.cat([above, x], 2)
        return seen[:, :, seen.shape[2] - self.relative.back :]


class _Drawing(Drawing):
    """It keeps the features, to which every cell that comes on adds its own."""

    def __init__(self, term: Relative) -> None:
        self.term, self.weights = term, term.weights()
        cells = term.cells
        # What each cell adds, by its number, is looked up: to work it out anew would take longer than all else.
        number = torch.arange(len(cells) + 1, device=term.relative.weight.device)
        channel, column = cells.place(number)
        self.table = term.relative.table_now(self.weights.table)
        self.rows = term.relative.reaching(channel, column, cells.n_columns)  # (spans, D + 1)
        self.none = cells.sizes[0]  # a cell that is not of the plan
        self.of_plan = term.harmony.added(channel[: self.none + 1], column[: self.none + 1])

    def begin(self, step: Block, state: State) -> None:
        self.above, self.sums = state
        harmony = self.term.harmony.now(step, self.above[:, :, -1:], self.sums)
        self.features = self.term.features(step, self.above, harmony, self.weights)

    def logits(self) -> Tensor:
        return self.term.of_features(self.features, self.weights)

    def learn(self, cell: Tensor) -> None:
        self.features = self.features + F.embedding(self.rows[:, cell], self.table).unflatten(2, (SPAN, -1))
        if isinstance(self.of_plan, Tensor):
            self.features = self.features + self.of_plan[cell.clamp(max=self.none)]

    def end(self, row: Tensor) -> State:
        return self.term.last(self.above, row), self.term.harmony.after(row, self.sums)


def _masked(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a masked 1×1 convolution, for features that come last."""
    assert isinstance(layer, MaskedConv)
    return (layer.weight * layer.mask)[:, :, 0, 0], layer.bias
