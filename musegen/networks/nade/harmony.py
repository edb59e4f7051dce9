"""Which classes of columns have sounded so far."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.networks.nade.terms import SPAN, Block

__all__ = ["Harmony", "NoHarmony"]


class Harmony(nn.Module):
    """What has sounded so far, by class of columns, as a bias of features that is the same in every key. Columns an octave apart
    are of one class, as notes of one name are.

    m_t[c, j] is the mean number of cells on in class j of channel c per step before t, in which older steps count less:
    a step s before t has weight λ^(t−1−s), for two values of λ, of which one forgets within a bar or so and one within
    eight. Of a plan it also knows the step before t and, for the features of other channels, step t itself. Feature f at a column
    of class j is a circular correlation, Σ_{c,i} K[f, c, i] m_t[c, (j + i) mod 12].

    Args:
        group: g of each feature ``(F,)``.
        n_channels: C.
        octave: columns after which a class returns; divides ``SPAN``.
        span: steps that the first λ remembers; the second remembers eight times as many.
        n_plan: channels of the plan, the first ones.
    """

    decay: Tensor
    of_column: Tensor
    sees_plan: Tensor

    def __init__(self, group: Tensor, n_channels: int, n_columns: int, octave: int, span: int, n_plan: int = 0) -> None:
        super().__init__()
        self.octave, self.n_plan = octave, n_plan
        self.weight = nn.Parameter(torch.zeros(len(group), 2 * n_channels, octave))
        if n_plan:
            self.plan = nn.Parameter(
                torch.zeros(len(group), 2 * n_plan, octave)
            )  # of the step before, and of the present one
            sees = torch.ones(len(group), 2, 1)
            sees[group < n_plan, 1] = 0
            self.register_buffer("sees_plan", sees.repeat_interleave(n_plan, 1), persistent=False)
        self.register_buffer("decay", torch.exp(-1 / torch.tensor([span, 8.0 * span])), persistent=False)
        self.register_buffer("of_column", F.one_hot(torch.arange(n_columns) % octave, octave).float(), persistent=False)

    def start(self, n: int) -> Tensor:
        """Sums before the first step, ``(B, 2, C, octave)``."""
        return self.weight.new_zeros(n, 2, self.weight.shape[1] // 2, self.octave)

    def forward(self, block: Block, row: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Features at a block's steps ``(B·R, SPAN, F)``, and the sums behind the last of them.

        Args:
            row: the step before the block ``(B, C, 1, W)``.
        """
        sums_after = self._sums(block.x, sums)
        return self._features(block, row, sums_after[:, :-1]), sums_after[:, -1]

    def now(self, step: Block, row: Tensor, sums: Tensor) -> Tensor:
        """Features at one step ``(B, SPAN, F)``, of the sums before it, the step before it, and what is given of its plan."""
        return self._features(step, row, sums[:, None])

    def added(self, channel: Tensor, column: Tensor) -> Tensor | float:
        """What one more cell of the present step adds to the features of each of N steps, by channel and column of the cells
        ``(N,)`` → ``(N, SPAN, F)``: nothing unless it is of the plan."""
        if not self.n_plan:
            return 0.0
        kernel = (self.plan * self.sees_plan)[:, self.n_plan :]  # (F, plan, octave)
        place = torch.arange(SPAN, device=column.device)
        of_plan = channel < self.n_plan
        classes = (column[:, None] - place) % self.octave  # (N, SPAN)
        return kernel[:, channel.where(of_plan, 0)[:, None], classes].permute(1, 2, 0) * of_plan[:, None, None]

    def after(self, row: Tensor, sums: Tensor) -> Tensor:
        """The sums behind one more step ``(B, C, 1, W)``."""
        return self._sums(row, sums)[:, -1]

    def _sums(self, x: Tensor, sums: Tensor) -> Tensor:
        """Σ_s λ^(t−1−s) x_s by class, before each step and behind the last: ``(B, C, R, W)`` → ``(B, R + 1, 2, C, octave)``."""
        chroma = x @ self.of_column  # (B, C, R, octave)
        t = torch.arange(x.shape[2] + 1, device=x.device)
        age = t[:, None] - 1 - t[:-1]  # (R + 1, R)
        weight = self.decay[:, None, None] ** age.clamp(min=0) * (age >= 0)  # (2, R + 1, R)
        past = self.decay[:, None] ** t  # (2, R + 1)
        return torch.einsum("dts,bcsj->btdcj", weight, chroma) + torch.einsum("dt,bdcj->btdcj", past, sums)

    def _features(self, block: Block, row: Tensor, sums: Tensor) -> Tensor:
        """Of the sums before each step ``(B, R, 2, C, octave)`` → ``(B·R, SPAN, F)``: every span begins with the same class."""
        step = block.first + torch.arange(sums.shape[1], device=sums.device)
        total = (1 - self.decay[:, None] ** step) / (1 - self.decay[:, None])  # of the weights, (2, R)
        mean = sums / total.T.clamp(min=1)[:, :, None, None]
        weight: Tensor = self.weight
        ring = mean.flatten(2, 3)
        if self.n_plan:
            plan = torch.cat([row, block.x], 2)[:, : self.n_plan] @ self.of_column  # (B, plan, R + 1, octave)
            both = torch.cat([plan[:, :, :-1], plan[:, :, 1:]], 1).transpose(1, 2)  # (B, R, 2·plan, octave)
            ring, weight = torch.cat([ring, both], 2), torch.cat([weight, self.plan * self.sees_plan], 1)
        ring = torch.cat([ring, ring[..., :-1]], 3).flatten(0, 1)  # (B·R, 2·C + 2·plan, 2·octave − 1)
        return F.conv1d(ring, weight).transpose(1, 2).repeat(1, SPAN // self.octave, 1)


class NoHarmony:
    """In place of ``Harmony`` where columns have no classes: it remembers nothing and adds 0."""

    def start(self, n: int) -> Tensor:
        return torch.zeros(())

    def __call__(self, block: Block, row: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        return sums, sums

    def now(self, step: Block, row: Tensor, sums: Tensor) -> Tensor:
        return sums

    def added(self, channel: Tensor, column: Tensor) -> float:
        return 0.0

    def after(self, row: Tensor, sums: Tensor) -> Tensor:
        return sums
