"""How full the bars of a sample shall be: measured in training, and then asked for or left open."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from musegen.contracts.asked import LEVELS, OPEN

__all__ = ["Wishes"]

ALL_OPEN, ASKED = 0.5, 0.5
"""How often nothing is asked for in training; otherwise, of how many channels and of how many bars something is."""


class Wishes(nn.Module):
    """Levels of samples ``(C, T, W)``, per channel and bar, as vectors that stand beside every row of the bar.

    In the manner of the attribute controls of MMM (Ens & Pasquier 2020, 2008.06048) and FIGARO (von Rütte et al. 2022,
    2201.10936).

    Args:
        n_channels: C.
        bar: rows of a bar; 0: every row is one.
    """

    thresholds: Tensor

    def __init__(self, n_channels: int, bar: int) -> None:
        super().__init__()
        self.n_channels, self.bar = n_channels, bar or 1
        self.register_buffer("thresholds", torch.tensor([0.5, 1.5, 2.5]).repeat(n_channels, 1))

    @property
    def size(self) -> int:
        """Length of a vector."""
        return self.n_channels * len(LEVELS)

    def counts(self, x: Tensor) -> Tensor:
        """Cells on: ``(B, C, T, W)`` → ``(B, C, bars)``. A last bar that is not whole counts as if it went on alike."""
        of_rows = x.sum(3)
        rest = -of_rows.shape[2] % self.bar
        bars = nn.functional.pad(of_rows, (0, rest)).unflatten(2, (-1, self.bar)).sum(3)
        if rest:
            bars[:, :, -1] *= self.bar / (self.bar - rest)
        return bars

    def learn(self, x: Tensor) -> None:
        """Thresholds from examples ``(B, C, T, W)``: none, and the thirds of the bars that have any."""
        for channel, counts in enumerate(self.counts(x).transpose(0, 1).flatten(1)):
            some = counts[counts > 0]
            if len(some):
                thirds = torch.quantile(some.float(), torch.tensor([1 / 3, 2 / 3], device=x.device))
                # Between numbers that occur, so that a bar with exactly that many is on the same side everywhere.
                self.thresholds[channel, 1:] = thirds.floor() + 0.5

    def levels(self, x: Tensor) -> Tensor:
        """The level of each bar, places in ``LEVELS``, int64 ``(B, C, bars)``."""
        return (self.counts(x)[..., None] > self.thresholds[:, None]).sum(3)

    def drawn(self, x: Tensor) -> Tensor:
        """Levels of examples of which some, drawn anew for each, are left open: ``(B, C, T, W)`` → int64 ``(B, C, bars)``."""
        levels = self.levels(x)
        n, channels, bars = levels.shape

        def rare(*size: int) -> Tensor:
            return torch.rand(n, *size, device=x.device)

        asked = (
            (rare(channels, 1) < ASKED) & ((rare(1, bars) < ASKED) | (rare(1, 1) < ASKED)) & (rare(1, 1) >= ALL_OPEN)
        )
        return levels.where(asked, torch.full_like(levels, OPEN))

    def forward(self, levels: Tensor, n_rows: int) -> Tensor:
        """Levels ``(B, C, bars)`` → vectors ``(B, T, size)``: one-hot, and zeros where a level is open."""
        one_hot = nn.functional.one_hot(levels + 1, len(LEVELS) + 1)[..., 1:].float()  # (B, C, bars, levels)
        return one_hot.transpose(1, 2).flatten(2).repeat_interleave(self.bar, 1)[:, :n_rows]
