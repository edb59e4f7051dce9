"""From the lengths of bars to time signatures, for files that give bars and not only metres."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

__all__ = ["metre_of", "metres_from_downbeats"]

LONGEST_BAR = 16
"""Quarter notes."""


def metre_of(length: int, ticks_per_beat: int, denominators: Sequence[int] = (4, 8)) -> tuple[int, int] | None:
    """The metre of a bar: quarter notes where these fill it, else eighths; None if neither do.

    >>> from musegen_pianoroll.reading.metres import metre_of
    >>> metre_of(72, 24), metre_of(60, 24), metre_of(71, 24)
    ((3, 4), (5, 8), None)
    """
    for denominator in denominators:
        numerator, rest = divmod(length * denominator, 4 * ticks_per_beat)
        if not rest and numerator > 0:
            return numerator, denominator
    return None


def metres_from_downbeats(
    downbeats: np.ndarray, ticks_per_beat: int, bar: tuple[int, int] | None = None
) -> list[tuple[int, int, int]] | None:
    """Time signatures (tick, numerator, denominator), one where the length of bars changes.

    What comes before the first downbeat is a bar of its own. A bar that is no whole number of eighths, or shorter than a
    quarter note or longer than 16, has no metre; the next one begins with its metre again, even if it is the same.

    Args:
        downbeats: ticks, int64 ``(n,)``, rising; bars are as long as they are apart, and the last as the one before.
        bar: what bars of its length are; 3/4 and 6/8, which are equally long, cannot be told apart without.

    Returns:
        None if more than half of the bars have no metre: then these are no downbeats.
    """
    if not len(downbeats):
        return [(0, *(bar or (4, 4)))]
    lengths = np.diff(downbeats).tolist()
    alone = bar or (4, 4)  # where there is a single downbeat
    usual = Counter(lengths).most_common(1)[0][0] if lengths else 4 * alone[0] * ticks_per_beat // alone[1]

    def metre(length: int) -> tuple[int, int] | None:
        if bar is not None and length * bar[1] == 4 * bar[0] * ticks_per_beat:
            return bar
        if not ticks_per_beat <= length <= LONGEST_BAR * ticks_per_beat:
            return None
        return metre_of(length, ticks_per_beat, (4, 8, 16) if length == usual else (4, 8))

    bars = [metre(length) for length in lengths] or [metre(usual)]
    if 2 * bars.count(None) > len(bars):
        return None
    signatures: list[tuple[int, int, int]] = []
    pickup = metre_of(int(downbeats[0]), ticks_per_beat, (4, 8, 16))
    if pickup is not None and downbeats[0] <= LONGEST_BAR * ticks_per_beat:
        signatures.append((0, *pickup))
    before = None
    for tick, found in zip(downbeats.tolist(), bars, strict=False):
        if found is not None and found != before:
            signatures.append((tick, *found))
        before = found
    return signatures
