"""What somebody asks of samples before they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

__all__ = ["LEVELS", "OPEN", "Asked", "Faults", "Section"]

LEVELS = ("none", "low", "medium", "high")
"""How many cells of a channel are on in a bar: none, or in the lower, middle or upper third of the bars that have any."""
OPEN = -1
"""In the place of a level: as the model likes."""

Faults = Callable[[int, Tensor, Tensor], Tensor]
"""How many rules a row breaks: its number, the row before it ``(B, C, 1, W)`` and the row ``(B, C, 1, W)`` → ``(B,)``."""


@dataclass(frozen=True)
class Section:
    """Rows that are drawn together.

    Attributes:
        first, last: the first row, and the one after the last.
        like: the first row of an earlier section that returns here, varied; None: it is new.
    """

    first: int
    last: int
    like: int | None


@dataclass(frozen=True)
class Asked:
    """Samples ``(n, C, rows, W)``, as far as they are given, and what the rest of them shall be.

    Attributes:
        cells: of samples ``(n, C, rows, W)``; what is not given does not matter, but for missing rows (``Spec.short_bars``).
        mask: which channels are given at which rows, bool ``(n, C, rows)``.
        levels: how full each bar of each channel shall be, places in ``LEVELS``, int64 ``(C, bars)``; −1:
            as the model likes. None: all are.
        allowed: cells that may be on where nothing is given, bool ``(C, rows, W)``; None: all may.
        faults: rows that break rules are drawn anew, a few times; None: there are no rules.
    """

    cells: Tensor
    mask: Tensor
    levels: Tensor | None = None
    allowed: Tensor | None = None
    faults: Faults | None = None

    @property
    def n_rows(self) -> int:
        return self.cells.shape[2]

    @classmethod
    def nothing(cls, n: int, shape: tuple[int, ...], n_rows: int) -> Self:
        """n samples of which nothing is given, ``shape`` (C, any number of rows, W)."""
        cells = torch.zeros(n, shape[0], n_rows, shape[2])
        return cls(cells, torch.zeros(n, shape[0], n_rows, dtype=torch.bool))

    def given(self, cells: Tensor, mask: Tensor) -> Self:
        """Also given: cells ``(n or 1, C, rows, W)`` where a mask ``(n or 1, C, rows)`` says so."""
        both = torch.where(mask[..., None], cells, self.cells)
        return replace(self, cells=both, mask=self.mask | mask)

    def to(self, device: torch.device) -> Self:
        def moved(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.to(device)

        return replace(
            self,
            cells=self.cells.to(device).float(),
            mask=self.mask.to(device),
            levels=moved(self.levels),
            allowed=moved(self.allowed),
        )
