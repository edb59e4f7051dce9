"""In which order the bars of sheet music are played: repeats, endings, and jumps such as D.C. al Fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BarMarks", "playing_order"]


@dataclass
class BarMarks:
    """What stands at a bar.

    Attributes:
        start: a repeat begins with it.
        times: how often the part that ends with it is played; 0 if none does.
        endings: the passes in which it is played; empty for all.
        jump: with it, play goes back to the beginning ("capo") or to the sign ("segno").
        segno, to_coda, coda, fine: these words or signs stand there.
    """

    start: bool = False
    times: int = 0
    endings: frozenset[int] = frozenset()
    jump: str = ""
    segno: bool = False
    to_coda: bool = False
    coda: bool = False
    fine: bool = False


def playing_order(bars: Sequence[BarMarks], most: int) -> list[int]:
    """Numbers of bars, from 0, as they are played.

    A repeat without a beginning goes back to the end of the one before. After a jump, repeats are left out and the last ending is
    played, up to Fine, or to the coda and to the end.

    Args:
        most: length after which unfolding stops.

    >>> from musegen_pianoroll.reading.unfolding import BarMarks, playing_order
    >>> playing_order([BarMarks(), BarMarks(endings=frozenset({1}), times=2), BarMarks(endings=frozenset({2}))], 100)
    [0, 1, 0, 2]
    """
    last_ending = _last_endings(bars)
    codas = [i for i, bar in enumerate(bars) if bar.coda]
    order: list[int] = []
    i, section, passes, jumped, in_coda, before = 0, 0, 1, False, False, -1
    while i < len(bars) and len(order) < most:
        bar = bars[i]
        after_endings = before == i - 1 >= 0 and bool(bars[before].endings) and not bar.endings
        if i > section and (bar.start or after_endings):
            section, passes = i, 1
        before = i
        if bar.endings and (last_ending[i] if jumped else passes) not in bar.endings:
            i += 1
            continue
        order.append(i)
        again = not jumped and bar.times > 0
        if again and passes < max(bar.times, last_ending[i]):
            passes += 1
            i = section
            continue
        if again:
            section, passes = i + 1, 1
        if jumped and bar.fine:
            break
        if jumped and bar.to_coda and not in_coda and codas:
            in_coda, i = True, codas[-1]
        elif not jumped and bar.jump:
            jumped = True
            signs = [at for at in range(i + 1) if bars[at].segno]
            i = signs[0] if bar.jump == "segno" and signs else 0
        else:
            i += 1
    return order


def _last_endings(bars: Sequence[BarMarks]) -> list[int]:
    """Per bar the last pass that the endings around it name, 0 where there are none."""
    last: list[int] = []
    begin = 0
    for i in range(len(bars) + 1):
        if i == len(bars) or not bars[i].endings:
            highest = max((max(bar.endings) for bar in bars[begin:i]), default=0)
            last += [highest] * (i - begin)
            if i < len(bars):
                last.append(0)
            begin = i + 1
    return last
