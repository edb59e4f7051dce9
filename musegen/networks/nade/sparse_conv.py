"""A masked convolution over few cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.networks.nade.terms import SPAN, Block

__all__ = ["SparseConv"]


class SparseConv(nn.Module):
    """A masked convolution over the cells of a sparse binary grid.

    Feature f of group g at (t, w) sees ``interval`` columns to either side: in the ``reach`` steps before t and in the
    steps t − lag all cells; at t those before w and in column w the channels before g. Where cells may be given, they have
    weights of their own, and it sees all of them at t, in the ``reach`` steps after it, and in the steps t + lag. Channels of a
    plan it does not see; features of their groups see nothing of t that is not given.

    Dense, most of its work would be done on zeros: of a band's cells one in a hundred is on. Here every cell that is on looks
    its weights up in a table, a row for each span of columns that it reaches, and the rows are added up.

    Args:
        group: g of each feature ``(F,)``.
        n_channels: C.
        n_plan: of them, channels of the plan, the first ones.
        given: whether cells may be given.

    Attributes:
        back: steps before t that it sees.
    """

    mask: Tensor

    def __init__(
        self,
        group: Tensor,
        n_channels: int,
        reach: int,
        lags: Sequence[int],
        interval: int,
        given: bool = False,
        n_plan: int = 0,
    ) -> None:
        super().__init__()
        self.n_plan = n_plan
        self.back, self.interval = max([reach, *lags, 1 if n_plan else 0]), interval
        self.offsets = [*(-lag for lag in lags), *range(-reach, 1)]
        """Rows of the kernel, in steps from t; ``ahead`` follow, of given cells."""
        self.ahead = [*range(reach + 1), *lags] if given else []
        n_rows = len(self.offsets) + len(self.ahead)
        self.weight = nn.Parameter(torch.empty(len(group), n_channels - n_plan, n_rows, 2 * interval + 1))
        self.bias = nn.Parameter(torch.empty(len(group)))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Conv2d
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.bias, -bound, bound)
        mask = torch.ones_like(self.weight)
        now = self.offsets.index(0)
        mask[:, :, now, interval + 1 :] = 0
        mask[:, :, now, interval] = (torch.arange(n_plan, n_channels) < group[:, None]).to(mask.dtype)
        mask[group < n_plan, :, now] = 0
        self.register_buffer("mask", mask, persistent=False)

    def rows(self, above: Tensor, block: Block) -> Tensor:
        """What each step of a block sees, row by row of the kernel: bool ``(B·R, rows, C, W)``.

        Args:
            above: the steps before the block, ``(B, C, back, W)``.
        """
        n_steps = block.x.shape[2]
        seen = torch.cat([above, block.x[:, :, :-1]], 2)[:, self.n_plan :]  # from t = −back on
        rows = [seen[:, :, self.back + offset : self.back + offset + n_steps] for offset in self.offsets[:-1]]
        rows.append(block.free[:, self.n_plan :])
        if self.ahead and block.given is not None:
            given = F.pad(block.given.cells[:, self.n_plan :], (0, 0, 0, max(self.ahead)))  # none come after the last
            rows += [given[:, :, offset : offset + n_steps] for offset in self.ahead]
        return torch.stack([row > 0 for row in rows], 2).permute(0, 3, 2, 1, 4).flatten(0, 1)

    def table(self) -> Tensor:
        """Weights by row of the kernel, channel and shift of a span against the cell: ``(rows C shifts, SPAN F)``."""
        kernel = F.pad((self.weight * self.mask).flip(3), (SPAN - 1, SPAN - 1))
        return kernel.unfold(3, SPAN, 1).permute(2, 1, 3, 4, 0).flatten(0, 2).flatten(1)

    def forward(self, rows: Tensor, table: Tensor) -> Tensor:
        """What the steps see, bool ``(N, rows, C, W)`` → ``(spans, N, SPAN, F)``, without the bias."""
        n_steps, n_spans = len(rows), -(-rows.shape[3] // SPAN)
        step, cell, column = rows.flatten(1, 2).nonzero(as_tuple=True)  # by step
        shifts = 2 * self.interval + SPAN
        span = torch.arange(n_spans, device=rows.device)[:, None]
        shift = self.interval + SPAN - 1 + SPAN * span - column  # (spans, cells on)
        near = (shift >= 0) & (shift < shifts)
        counts = (span * n_steps + step)[near].bincount(minlength=n_spans * n_steps)
        index = (cell * shifts + shift)[near]
        y = F.embedding_bag(index, table, counts.cumsum(0) - counts, mode="sum")
        return y.view(n_spans, n_steps, SPAN, -1)

    def reaching(self, channel: Tensor, column: Tensor, n_columns: int) -> Tensor:
        """Where the weights are in ``table_now`` that one more cell of the present step meets, by channel and column of the
        cells, ``(N,)`` → int64 ``(spans, N)``: in its last row if there are none. Of a column after the last it means nothing."""
        n_channels, shifts = self.weight.shape[1], 2 * self.interval + SPAN
        channel = channel - self.n_plan
        span = torch.arange(-(-n_columns // SPAN), device=column.device)[:, None]
        shift = self.interval + SPAN - 1 + SPAN * span - column  # (spans, N)
        near = (shift >= 0) & (shift < shifts) & (channel >= 0)
        return (channel * shifts + shift).where(near, n_channels * shifts)

    def table_now(self, table: Tensor) -> Tensor:
        """The part of ``table`` that is of the present step, and a row of zeros: ``(C shifts + 1, SPAN F)``."""
        n = self.weight.shape[1] * (2 * self.interval + SPAN)
        now = self.offsets.index(0)
        return F.pad(table[now * n : (now + 1) * n], (0, 0, 0, 1))
