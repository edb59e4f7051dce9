"""Which parts of a sample are given: always the same, or drawn in training, or, for drawing anew, all but one region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from musegen.contracts.domain import Spec
from musegen.errors import BadInput

__all__ = ["Masks", "either", "given_channels"]

NOTHING, PARTS, REGION = 0.4, 0.2, 0.25
"""How often nothing is given, some parts as a whole, and all but a region; otherwise any bars of any parts."""
WHOLE = 0.5
"""How often a region is of all parts: what is missing then has a past and a future, and nothing beside it."""


def either(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """What one of two masks says is given; None says that nothing is."""
    if a is None or b is None:
        return b if a is None else a
    return a | b


def given_channels(spec: Spec) -> list[int]:
    """The channels of a sample that ``Spec.given`` names.

    Raises:
        BadInput: it names something else, or leaves nothing to model.
    """
    if any(axis != 0 for axis, _, _ in spec.given):
        raise BadInput(
            "rnn_nade accompanies whole tracks, and given names another part of a sample: name tracks only, leave given "
            "out to go on from a past (musegen continue), or train conditional_gan with condition=given."
        )
    channels = sorted({channel for _, first, last in spec.given for channel in range(first, last)})
    if len(channels) == spec.shape[0]:
        raise BadInput("given names every track, so nothing is left to model: leave one out.")
    return channels


class Masks:
    """Masks of samples ``(C, T, W)`` whose channels stand in parts, and whose rows stand in bars.

    Args:
        parts: channels of each part.
        bar: rows of a bar; 0: every row is one.
    """

    def __init__(self, parts: Sequence[int], bar: int) -> None:
        self.parts, self.n_parts, self.bar = tuple(parts), len(parts), bar or 1

    def drawn(self, x: Tensor) -> Tensor:
        """What is given of each sample ``(B, C, T, W)``, bool ``(B, C, T)``: of each something is left to draw."""
        n, _, n_rows, _ = x.shape
        n_bars = -(-n_rows // self.bar)

        def uniform(*size: int) -> Tensor:
            return torch.rand(n, *size, device=x.device)

        kind = uniform(1, 1)
        # One part, and one bar, that are never given.
        part = (uniform(1) * self.n_parts).long() == torch.arange(self.n_parts, device=x.device)  # (B, parts)
        bar = (uniform(1) * n_bars).long() == torch.arange(n_bars, device=x.device)  # (B, bars)
        some = part | (uniform(self.n_parts) < 0.5)
        ends = (uniform(2) * (n_bars + 1)).long().sort(1).values
        place = torch.arange(n_bars, device=x.device)
        inside = bar | ((place >= ends[:, :1]) & (place < ends[:, 1:]))
        region = (some | (uniform(1) < WHOLE))[:, :, None] & inside[:, None]
        scattered = (uniform(self.n_parts, n_bars) < uniform(1, 1)) | (part[:, :, None] & bar[:, None])
        free = torch.where(kind < NOTHING + PARTS + REGION, region, scattered)
        free = torch.where(kind < NOTHING + PARTS, some[:, :, None], free)
        free = free | (kind < NOTHING)
        return self.of_bars(~free, n_rows)

    def of_bars(self, given: Tensor, n_rows: int) -> Tensor:
        """What is said of bars and parts, of rows and channels: ``(B, parts, bars)`` → ``(B, C, T)``."""
        rows = given.repeat_interleave(self.bar, 2)[:, :, :n_rows]
        return rows.repeat_interleave(torch.tensor(self.parts, device=given.device), 1)

    def sweep(self, mask: Tensor, number: int) -> Iterator[Tensor]:
        """Masks with which everything that is not given is drawn anew once, region by region: of one part each, or of every second
        bar where there is one part alone.

        Args:
            mask: what is given, bool ``(B, C, T)``.
            number: of the sweep: each begins with another region.
        """
        n, _, n_rows = mask.shape
        n_bars = -(-n_rows // self.bar)
        if self.n_parts > 1:
            regions = torch.eye(self.n_parts, dtype=torch.bool, device=mask.device)[:, :, None].expand(-1, -1, n_bars)
        else:
            regions = torch.arange(n_bars, device=mask.device) % 2 == torch.arange(2, device=mask.device)[:, None, None]
        for i in range(len(regions)):
            region = regions[(i + number) % len(regions)]
            yield mask | ~self.of_bars(region.expand(n, -1, -1), n_rows)
