"""Bars of several metres in one grid: each has the room of the longest, in which the steps that it lacks are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from musegen_pianoroll.store.metres import Segments, bar_steps_of, bars_in, is_part

__all__ = ["MISSING", "Rooms", "Stretch"]

MISSING = -1
"""In the place of a step: the row has none."""


class Stretch(NamedTuple):
    """Bars of one metre: the first step, how many, and numerator and denominator."""

    first: int
    n_bars: int
    metre: tuple[int, int]


@dataclass(frozen=True)
class Rooms:
    """How bars of some metres stand in bars of equal length.

    A bar begins where its room does. A metre of dotted beats, such as 6/8, has each of its beats at a half note of the room, if
    that is long enough, so that 6/8 and 3/4 are told apart by the steps that are missing.

    Args:
        metres: (numerator, denominator) each; the room is that of the longest bar.
        steps_per_beat: steps per quarter note, of which every bar has a whole number.

    >>> from musegen_pianoroll.store.rooms import Rooms
    >>> rooms = Rooms(((4, 4), (3, 4), (6, 8)), 2)
    >>> rooms.size, rooms.layout((3, 4)).tolist(), rooms.layout((6, 8)).tolist()
    (8, [0, 1, 2, 3, 4, 5], [0, 1, 2, 4, 5, 6])
    >>> rooms.runs([[0, 1, 4, 4], [8, 1, 3, 4]])[0].tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, -1, -1]
    """

    metres: tuple[tuple[int, int], ...]
    steps_per_beat: int

    @property
    def size(self) -> int:
        """Rows of a bar."""
        return max(bar_steps_of(*metre, self.steps_per_beat) for metre in self.metres)

    def layout(self, metre: tuple[int, int]) -> np.ndarray:
        """The row in its room of each step of a bar, int64 ``(steps,)``."""
        steps = np.arange(bar_steps_of(*metre, self.steps_per_beat))
        group, rest = divmod(3 * self.steps_per_beat, 2)
        n_groups, half = len(steps) // max(group, 1), 2 * self.steps_per_beat
        if metre[1] == 8 and metre[0] % 3 == 0 and not rest and n_groups * half <= self.size:
            return steps // group * half + steps % group
        return steps

    def missing(self, metre: tuple[int, int]) -> np.ndarray:
        """The rows that a bar lacks, bool ``(size,)``."""
        return ~np.isin(np.arange(self.size), self.layout(metre))

    def metre_of(self, missing: np.ndarray) -> tuple[int, int]:
        """The metre of a bar in which these rows are missing, bool ``(size,)``; the first of several that look alike."""
        return next(metre for metre in self.metres if np.array_equal(self.missing(metre), missing))

    def stretches(self, segments: Segments) -> list[list[Stretch]]:
        """Bars of these metres, those that follow one another without others between them together.

        Parts of bars are joined (see ``bars_in``), to the first of these metres that they are parts of, unless they are one of
        them.
        """
        found: list[Stretch] = []
        for metre in self.metres:
            own = [s for s in segments if self._joins(s) == metre]
            found += [Stretch(first, n, metre) for first, n in bars_in(own, metre, self.steps_per_beat)[0]]
        groups: list[list[Stretch]] = []
        end = None
        for stretch in sorted(found):
            if stretch.first != end:
                groups.append([])
            groups[-1].append(stretch)
            end = stretch.first + stretch.n_bars * bar_steps_of(*stretch.metre, self.steps_per_beat)
        return groups

    def runs(self, segments: Segments) -> list[np.ndarray]:
        """The step of each row of ``stretches``, int64 ``(bars · size,)``; ``MISSING`` where there is none."""
        return [np.concatenate([self._rows(stretch) for stretch in group]) for group in self.stretches(segments)]

    def _rows(self, stretch: Stretch) -> np.ndarray:
        layout = self.layout(stretch.metre)
        rows = np.full((stretch.n_bars, self.size), MISSING)
        rows[:, layout] = stretch.first + np.arange(stretch.n_bars * len(layout)).reshape(stretch.n_bars, -1)
        return rows.reshape(-1)

    def others(self, segments: Segments) -> int:
        """Bars of other metres, and parts of bars that are left over."""
        parts = [[s for s in segments if self._joins(s) == metre] for metre in self.metres]
        left = sum(bars_in(own, metre, self.steps_per_beat)[1] for own, metre in zip(parts, self.metres, strict=True))
        return left + sum(s[1] for s in segments if self._joins(s) is None)

    @property
    def name(self) -> str:
        """4/4, or 4/4, 3/4 or 6/8."""
        names = [f"{numerator}/{denominator}" for numerator, denominator in self.metres]
        return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]

    def _joins(self, segment: Sequence[int]) -> tuple[int, int] | None:
        metre = (segment[2], segment[3])
        if metre in self.metres:
            return metre
        return next((other for other in self.metres if is_part(*metre, other)), None)
