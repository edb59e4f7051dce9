"""Bars of pieces: which of them are bars of one metre, and how many are left out for what.

Files say 1/4 or 2/4 where musicians count four: POP909 writes 1/4 on most of its beats. So bars that are parts of a metre's bars
are joined where they tile them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from musegen.errors import BadInput

__all__ = ["Segments", "bar_steps_of", "bars_in", "is_part", "signature", "usual_metre"]

Segments = Sequence[Sequence[int]]
"""Stretches of one metre in a piece: (first step, bars, numerator, denominator), in order."""
COMMON = (4, 4)
_OF_COMMON = {(1, 1), (1, 2), (2, 2), (4, 2), (1, 4), (2, 4), (4, 4), (2, 8), (4, 8), (8, 8), (16, 16), (8, 16)}
"""What musicians count in four, or a part of it."""


def signature(text: str, option: str = "metre") -> tuple[int, int]:
    """Numerator and denominator of a metre such as 4/4.

    Raises:
        BadInput: it is none.
    """
    match = re.fullmatch(r"([1-9]\d?)/(1|2|4|8|16|32)", text)
    if match is None:
        raise BadInput(f'{option}="{text}" is no time signature: write it like 4/4 or 6/8.')
    return int(match[1]), int(match[2])


def bar_steps_of(numerator: int, denominator: int, steps_per_beat: int) -> int:
    """Steps of a bar; 0 if they are no whole number."""
    steps, rest = divmod(numerator * 4 * steps_per_beat, denominator)
    return 0 if rest else steps


def is_part(numerator: int, denominator: int, metre: tuple[int, int]) -> bool:
    """Whether a bar is a whole number of times in a bar of a metre, and counted in the same way: 2/4 or 2/2 in 4/4, 1/4 in 3/4, 3/8
    in 6/8; not 3/4 in 6/8."""
    if metre in _OF_COMMON:
        return (numerator, denominator) in _OF_COMMON and metre[0] * denominator % (metre[1] * numerator) == 0
    counted_alike = numerator % 3 == 0 or (numerator, denominator) == (1, 4) if metre[0] % 3 == 0 else True
    return denominator == metre[1] and metre[0] % numerator == 0 and counted_alike


def bars_in(segments: Segments, metre: tuple[int, int], steps_per_beat: int) -> tuple[list[tuple[int, int]], int]:
    """Bars of a metre in a piece, and what is left.

    Stretches of bars that are parts of the metre's are joined. What is too much for whole bars stays out: before whole bars of the
    metre it comes first, as a pickup does, and otherwise last.

    Returns:
        Runs of whole bars as (first step, bars), and the number of other bars.

    >>> from musegen_pianoroll.store.metres import bars_in
    >>> bars_in([[0, 1, 1, 4], [4, 8, 4, 4]], (4, 4), 4)  # a pickup
    ([(4, 8)], 1)
    >>> bars_in([[0, 12, 1, 4], [48, 2, 2, 4], [64, 1, 2, 4]], (4, 4), 4)
    ([(0, 4)], 1)
    """
    bar = bar_steps_of(*metre, steps_per_beat)
    runs: list[tuple[int, int]] = []
    others = 0
    at = 0
    while at < len(segments):
        first, n_bars, numerator, denominator = segments[at]
        if bar == 0 or not is_part(numerator, denominator, metre):
            others += n_bars
            at += 1
            continue
        stop, parts, step = at, [], first  # parts: (first step, bars, steps of a bar) that follow one another
        while stop < len(segments):
            begin, n, numerator, denominator = segments[stop]
            length = bar_steps_of(numerator, denominator, steps_per_beat)
            if begin != step or not length or not is_part(numerator, denominator, metre):
                break
            parts.append((step, n, length))
            step += n * length
            stop += 1
        if not parts:
            others += n_bars
            at += 1
            continue
        at = stop
        found, left = _tiled(parts, bar)
        others += left
        for begin, n in found:
            if runs and runs[-1][0] + runs[-1][1] * bar == begin:
                runs[-1] = (runs[-1][0], runs[-1][1] + n)
            else:
                runs.append((begin, n))
    return runs, others


def _tiled(parts: Sequence[tuple[int, int, int]], bar: int) -> tuple[list[tuple[int, int]], int]:
    """Whole bars in stretches of parts of bars that follow one another, and the number of parts that are left."""
    runs: list[tuple[int, int]] = []
    left = at = 0
    while at < len(parts):
        begin, n, length = parts[at]
        if length == bar:
            runs.append((begin, n))
            at += 1
            continue
        stop, steps = at, 0
        while stop < len(parts) and parts[stop][2] != bar:
            steps += parts[stop][1] * parts[stop][2]
            stop += 1
        whole, rest = divmod(steps, bar)
        goes_first = stop < len(parts)  # before whole bars
        if whole:
            runs.append((begin + (rest if goes_first else 0), whole))
        if rest:
            left += -(-rest // parts[at if goes_first else stop - 1][2])
        at = stop
    return runs, left


def usual_metre(pieces: Iterable[Segments], steps_per_beat: int) -> tuple[int, int]:
    """The metre that most of the music is in, with parts of bars joined; 4/4 if there is no music."""
    pieces = list(pieces)
    seen: Counter[tuple[int, int]] = Counter()
    for segments in pieces:
        for _, n_bars, numerator, denominator in segments:
            bar = bar_steps_of(numerator, denominator, steps_per_beat)
            seen[COMMON if (numerator, denominator) in _OF_COMMON else (numerator, denominator)] += n_bars * bar
    if not seen:
        return COMMON
    covered = {
        metre: sum(n for segments in pieces for _, n in bars_in(segments, metre, steps_per_beat)[0])
        * bar_steps_of(*metre, steps_per_beat)
        for metre, steps in seen.most_common(4)
        if steps
    }
    return max(covered, key=lambda metre: covered[metre], default=COMMON)
