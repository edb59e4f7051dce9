"""Which classes of columns have sounded so far."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.networks.nade.terms import SPAN

__all__ = ["Harmony", "NoHarmony"]


class Harmony(nn.Module):
    """What has sounded so far, by class of columns, as a bias of features that is the same in every key. Columns an octave apart
    are of one class, as notes of one name are.

    m_t[c, j] is the mean number of cells on in class j of channel c per step before t, in which older steps count less:
    a step s before t has weight λ^(t−1−s), for two values of λ, of which one forgets within a bar or so and one within
    eight. Feature f at a column of class j is a circular correlation, Σ_{c,i} K[f, c, i] m_t[c, (j + i) mod 12].

    Args:
        n_features: F.
        n_channels: C.
        octave: columns after which a class returns; divides ``SPAN``.
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

    def forward(self, x: Tensor, sums: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Steps ``(B, C, R, W)`` from number ``first`` on → features ``(B·R, SPAN, F)``, and the sums behind the last of them."""
        sums = self._sums(x, sums)
        return self._features(sums[:, :-1], first), sums[:, -1]

    def now(self, sums: Tensor, step: int) -> Tensor:
        """Features at one step ``(B, SPAN, F)``, of the sums before it."""
        return self._features(sums[:, None], step)

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

    def _features(self, sums: Tensor, first: int) -> Tensor:
        """Of the sums before each step ``(B, R, 2, C, octave)`` → ``(B·R, SPAN, F)``: every span begins with the same class."""
        step = first + torch.arange(sums.shape[1], device=sums.device)
        total = (1 - self.decay[:, None] ** step) / (1 - self.decay[:, None])  # of the weights, (2, R)
        mean = sums / total.T.clamp(min=1)[:, :, None, None]
        ring = mean.flatten(0, 1).flatten(1, 2)  # (B·R, 2·C, octave)
        ring = torch.cat([ring, ring[..., :-1]], 2)
        return F.conv1d(ring, self.weight).transpose(1, 2).repeat(1, SPAN // self.octave, 1)


class NoHarmony:
    """In place of ``Harmony`` where columns have no classes: it remembers nothing and adds 0."""

    def start(self, n: int) -> Tensor:
        return torch.zeros(())

    def __call__(self, x: Tensor, sums: Tensor, first: int) -> tuple[Tensor, Tensor]:
        return sums, sums

    def now(self, sums: Tensor, step: int) -> Tensor:
        return sums

    def after(self, row: Tensor, sums: Tensor) -> Tensor:
        return sums
