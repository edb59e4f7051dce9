"""A masked convolution over few cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.networks.nade.terms import SPAN

__all__ = ["SparseConv"]


class SparseConv(nn.Module):
    """A masked convolution over the cells of a sparse binary grid.

    Feature f of group g at (t, w) sees ``interval`` columns to either side: in the ``reach`` steps before t and in the
    steps t − lag all of them, at t those before w and in column w the channels before g; and of given channels all of step t and
    ``reach`` steps after it.

    Dense, most of its work would be done on zeros: of a band's cells one in a hundred is on. Here every cell that is on looks
    its weights up in a table, a row for each span of columns that it reaches, and the rows are added up.

    Args:
        group: g of each feature ``(F,)``.
        given: which channels are given, of each of them.

    Attributes:
        back, ahead: steps before and after t that it sees.
    """

    mask: Tensor

    def __init__(self, group: Tensor, given: Sequence[bool], reach: int, lags: Sequence[int], interval: int) -> None:
        super().__init__()
        n_channels, self.ahead, self.interval = len(given), reach if any(given) else 0, interval
        self.back = max([reach, *lags])
        self.offsets = [*(-lag for lag in lags), *range(-reach, self.ahead + 1)]
        """Rows of the kernel, in steps from t."""
        self.weight = nn.Parameter(torch.empty(len(group), n_channels, len(self.offsets), 2 * interval + 1))
        self.bias = nn.Parameter(torch.empty(len(group)))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Conv2d
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.bias, -bound, bound)
        mask = torch.ones_like(self.weight)
        now = self.offsets.index(0)
        for channel in (c for c in range(n_channels) if not given[c]):
            mask[:, channel, now, interval + 1 :] = 0
            mask[:, channel, now, interval] = (group > channel).to(mask.dtype)
            mask[:, channel, now + 1 :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def table(self) -> Tensor:
        """Weights by row of the kernel, channel and shift of a span against the cell: ``(rows C shifts, SPAN F)``."""
        kernel = F.pad((self.weight * self.mask).flip(3), (SPAN - 1, SPAN - 1))
        return kernel.unfold(3, SPAN, 1).permute(2, 1, 3, 4, 0).flatten(0, 2).flatten(1)

    def forward(self, seen: Tensor, table: Tensor) -> Tensor:
        """Cells of the steps, with those before and after them ``(B, C, back + R + ahead, W)`` → ``(spans, B·R, SPAN, F)``,
        without the bias."""
        n_rows = seen.shape[2] - self.back - self.ahead
        cells = (seen > 0).transpose(1, 2)  # (B, steps, C, W)
        rows = [cells[:, self.back + offset : self.back + offset + n_rows] for offset in self.offsets]
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
