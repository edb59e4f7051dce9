"""Strengths of a model's cells (``Spec.strengths``), such as how loud notes are: p(x, s) = p(x) p(s | x).

The model of cells knows nothing of them: samples come apart into its channels and strengths, and these are drawn when all cells
are. A plan says nothing of strengths that the cells themselves do not.
"""

from __future__ import annotations

from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.contracts.domain import Spec
from musegen.networks.strengths import StrengthNetwork

__all__ = ["Strengths"]

INTERVAL = 12
"""Columns that are seen to either side of a cell, if there are as many."""


class Strengths(nn.Module):
    """Strengths of samples ``(B, C, T, W)``, whose last channels tell them.

    Args:
        spec: of the samples.
        dropout: see ``StrengthNetwork``.
    """

    def __init__(self, spec: Spec, dropout: float) -> None:
        super().__init__()
        self.n_plan, self.n_cells, self.n_each = spec.plan, spec.shape[0] - spec.n_strengths, spec.strengths
        ends = list(accumulate(spec.parts))
        self.of_parts = [end - 1 for end in ends[bool(spec.plan) :]]  # the channels whose cells have strengths
        self.network = StrengthNetwork(
            self.n_cells - spec.plan,
            [channel - spec.plan for channel in self.of_parts],
            spec.shape[2],
            self.n_each + 1,
            spec.bar,
            interval=min(INTERVAL, spec.shape[2] - 1),
            dropout=dropout,
        )

    def cells(self, x: Tensor) -> Tensor:
        """Samples, or masks of them, without strengths: ``(B, C, …)`` → ``(B, C − strengths, …)``."""
        return x[:, : self.n_cells]

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(s | x) of the strengths that are not given, nats ``(B,)``.

        Args:
            x: samples ``(B, C, T, W)``.
            mask: what is given, see ``known``.
        """
        return self.network(x[:, self.n_plan : self.n_cells], self._of(x), self.known(x, mask))

    def count(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """How many strengths are not given, ``()``; arguments as of ``log_prob``."""
        return (x[:, self.of_parts].sum(3) * ~self.known(x, mask)).sum()

    def known(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Which parts' strengths are given at which rows of samples, bool ``(B, P, T)``.

        Args:
            mask: which channels are given, bool ``(B, C, T)``, a strength only where its cells are; or without channels of
                strengths, which are given with their cells then; None: nothing is.
        """
        if mask is None:
            return torch.zeros_like(x[:, self.of_parts, :, 0], dtype=torch.bool)
        known = mask[:, self.of_parts]
        return known & mask[:, self.n_cells :: self.n_each] if mask.shape[1] > self.n_cells else known

    def drawn(self, cells: Tensor, given: Tensor, mask: Tensor, temperature: float, leading: int) -> Tensor:
        """Samples with strengths ``(B, C, T, W)``, drawn where they are not given.

        Args:
            cells: their other channels ``(B, C − strengths, T, W)``.
            given: samples of as many rows or fewer, ``(B, C, rows, W)``.
            mask: which channels of these are given, bool ``(B, C, rows)``.
        """
        rest = cells.shape[2] - given.shape[2]
        strengths, known = self._of(F.pad(given, (0, 0, 0, rest))), F.pad(self.known(given, mask), (0, rest))
        found = self.network.draw(cells[:, self.n_plan :], strengths, known, temperature, leading)
        above = found[:, :, None] > torch.arange(self.n_each, device=found.device)[:, None, None]
        return torch.cat([cells, above.flatten(1, 2).to(cells.dtype)], 1)

    def _of(self, x: Tensor) -> Tensor:
        """Strengths of samples, int64 ``(B, P, T, W)``."""
        return (x[:, self.n_cells :].unflatten(1, (-1, self.n_each)) > 0.5).sum(2)
