"""Which line of a file is its melody, as far as notes can tell, and the top line of a part that plays several notes at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["Line", "melody", "top_line"]

NEIGHBOURS = 9
"""Semitones: under a pedal a note of a voice is taken to end when another one so near begins."""
TOGETHER = 8
"""Notes that begin within this part of a beat begin together."""
GOOD_PART = 0.3
"""Of a file, by ``Line.coverage``, in which a melody sounds."""
BASS_PITCH = 50
"""A line whose mean pitch is below this lies in the bass, where another line lies an octave higher."""
VOICE_RANGE = (57, 81)
"""Pitches of the sopranos of the bundled chorales."""


@dataclass(frozen=True)
class Line:
    """What one part of a file plays, in ticks.

    Args:
        notes: int64 ``(n, 3)`` rows of start, end, pitch; one or more.
        ticks_per_beat: of the file.
        span: ticks at which the file's notes begin and end.
        behind: its name or its instrument says that it is no melody.
    """

    notes: np.ndarray
    ticks_per_beat: int
    span: tuple[int, int]
    behind: bool = False

    @cached_property
    def kept(self) -> np.ndarray:
        """Which notes are in the top line, bool ``(n,)``."""
        return _in_top_line(self.notes, self.ticks_per_beat)

    @cached_property
    def top(self) -> np.ndarray:
        """See ``top_line``."""
        return _one_at_a_time(self.notes[self.kept])

    @cached_property
    def mean(self) -> float:
        """Mean pitch of the top line."""
        return float(self.top[:, 2].mean())

    @cached_property
    def moves(self) -> np.ndarray:
        """Semitones from each note of the top line to the next, where they differ."""
        steps = np.abs(np.diff(self.top[:, 2]))
        return steps[steps > 0]

    @cached_property
    def alone(self) -> float:
        """Share of the top line's notes beside which no other note of the part sounds for a quarter of their length or more."""
        others = self.notes[~self.kept]
        if not len(others):
            return 1.0
        start, end = self.top[:, 0], np.maximum(self.top[:, 1], self.top[:, 0] + 1)
        covered = _Union.of(others[:, 0], np.maximum(others[:, 1], others[:, 0] + 1)).within(start, end)
        return float((4 * covered < end - start).mean())

    @cached_property
    def _heard(self) -> np.ndarray:
        """In which of the file's stretches of four beats the top line sounds, bool."""
        first, last = self.span
        width = 4 * self.ticks_per_beat
        heard = np.zeros(max(1, -(-(last - first) // width)) + 1, np.int64)
        at = (self.top[:, :2] - [first, first + 1]) // width
        np.add.at(heard, np.clip(at[:, 0], 0, len(heard) - 2), 1)
        np.add.at(heard, np.clip(np.maximum(at[:, 1], at[:, 0]), 0, len(heard) - 2) + 1, -1)
        return np.asarray(np.cumsum(heard)[:-1] > 0)

    @property
    def coverage(self) -> float:
        """Share of the file's stretches of four beats in which the top line sounds."""
        return float(self._heard.mean())

    @property
    def n_beats(self) -> int:
        """Beats of these stretches."""
        return 4 * int(self._heard.sum())

    @cached_property
    def stepwise(self) -> float:
        """Share of its moves that are steps: one or two semitones."""
        return float((self.moves <= 2).mean()) if len(self.moves) else 0.0

    @property
    def sings(self) -> bool:
        """Whether it is a line that could be sung: mostly one note at a time, moving every eight beats or more often, some of it in
        steps, for a good part of the file, and by name and instrument no accompaniment."""
        return (
            not self.behind
            and len(np.unique(self.top[:, 2])) > 2
            and self.alone >= 0.6
            and self.coverage >= GOOD_PART
            and self.stepwise >= 0.15
            and 8 * len(self.moves) >= self.n_beats
        )

    @property
    def may_be_melody(self) -> bool:
        """Whether it moves at all, as chords that change twice a bar do not: a top line of several notes at once needs a move per
        two beats while it sounds, a single line one in all."""
        if self.behind or not len(self.moves):
            return False
        return self.alone >= 0.6 or 2 * len(self.moves) >= self.n_beats

    @property
    def score(self) -> float:
        """How much it is like a melody, in semitones: how high it lies, which counts less and less above a soprano's middle, less
        what it lacks. With names and order hidden, four in five songs of POP909 (Wang et al. 2020, 2008.07142) give their melody;
        the others have a second line that could be sung, and lies higher."""
        height = self.mean if self.mean <= 74 else 74 + (self.mean - 74) / 4
        lacks = 60 * (1 - self.alone) + 36 * (1 - min(self.coverage / 0.6, 1)) + 24 * (1 - min(self.stepwise / 0.3, 1))
        return height - lacks


def melody(lines: Sequence[Line], margin: float = 1.0) -> int | None:
    """The line that lies highest and sings.

    Of lines that could be sung, see ``Line.sings``, bass lines excepted, it is the one with the highest ``Line.score``. Of those
    that come within ``margin`` semitones of it the highest counts, and of those as high, by ``margin`` again, the first one in the
    file. Of lines that are the same but for octaves it is the one that a soprano could sing. Where no line could be sung it is the
    one whose top line lies highest, of those that move.

    Returns:
        Its number; None where nothing moves but a bass.
    """
    basses = [_is_bass(line, lines) for line in lines]
    singing = [i for i, line in enumerate(lines) if line.sings and not basses[i]]
    if singing:
        best = max(lines[i].score for i in singing)
        close = [i for i in singing if lines[i].score >= best - margin]
        highest = max(lines[i].mean for i in close)
        first = next(i for i in close if lines[i].mean >= highest - margin)
        same = [i for i in singing if i == first or _doubles(lines[i], lines[first])]
        return max(same, key=lambda i: (_in_range(lines[i]), len(lines[i].top), -i))
    moving = [i for i, line in enumerate(lines) if line.may_be_melody]
    high = [i for i in moving if not basses[i]]
    # A part that sounds in a bar or two is not it, however high.
    return max(high, key=lambda i: (lines[i].coverage >= GOOD_PART, lines[i].mean), default=None)


def _is_bass(line: Line, lines: Sequence[Line]) -> bool:
    return line.mean < BASS_PITCH and any(other.mean >= line.mean + 12 for other in lines)


def _in_range(line: Line) -> float:
    low, high = VOICE_RANGE
    return float(((low <= line.top[:, 2]) & (line.top[:, 2] <= high)).mean())


def _doubles(one: Line, other: Line) -> bool:
    """Whether four in five notes of a line are those of the other, some octaves higher or lower."""
    _, mine, its = np.intersect1d(one.top[:, 0], other.top[:, 0], return_indices=True)
    apart, counts = np.unique(one.top[mine, 2] - other.top[its, 2], return_counts=True)
    return bool((5 * counts[apart % 12 == 0] >= 4 * len(one.top)).any())


@dataclass(frozen=True)
class _Union:
    """Ticks that intervals cover, as intervals apart from one another, sorted."""

    start: np.ndarray
    end: np.ndarray

    @classmethod
    def of(cls, start: np.ndarray, end: np.ndarray) -> _Union:
        if not len(start):
            return cls(start, end)
        order = np.argsort(start, kind="stable")
        start, end = start[order], np.maximum.accumulate(end[order])
        first = np.concatenate([[True], start[1:] > end[:-1]])
        return cls(start[first], end[np.concatenate([np.flatnonzero(first)[1:] - 1, [len(end) - 1]])])

    def within(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Ticks of other intervals that are covered."""
        if not len(self.start):
            return np.zeros(len(start), np.int64)
        before = np.concatenate([[0], np.cumsum(self.end - self.start)])

        def until(tick: np.ndarray) -> np.ndarray:
            i = np.searchsorted(self.start, tick, "right") - 1
            at = np.maximum(i, 0)
            return np.where(i < 0, 0, before[at] + np.minimum(tick, self.end[at]) - self.start[at])

        return np.asarray(until(end) - until(start))


def top_line(notes: np.ndarray, ticks_per_beat: int, lowest: bool = False) -> np.ndarray:
    """The notes of a part that nothing higher hides, one at a time, in order of their beginnings.

    A note is hidden where a higher one begins together with it, or sounds for more than half of its length. Where notes begin
    one by one, they are one voice, however long the pedal holds them, and none is hidden. Where more than a fifth of the notes
    are hidden, so are those more than an octave below the middle of the others, as a left hand's where the right one rests.
    Each note ends where the next one begins.

    On the songs of POP909 with melody and piano put together in one part, it has nine in ten of the melody's notes, and of ten of
    its notes near them eight are the melody's.

    Args:
        notes: int64 ``(n, 3)`` rows of start, end, pitch, in ticks.
        lowest: the bottom line instead.

    Returns:
        Rows of ``notes``, with ends cut.

    >>> import numpy as np
    >>> from musegen_pianoroll.reading.melody import top_line
    >>> hands = np.array([[0, 480, 72], [0, 960, 48], [480, 1000, 74], [960, 1920, 43], [960, 1440, 76], [1440, 1920, 71]])
    >>> top_line(hands, 480)[:, 1:].tolist()
    [[480, 72], [960, 74], [1440, 76], [1920, 71]]
    """
    turned = notes * [1, 1, -1] + [0, 0, 127] if lowest else notes
    return _one_at_a_time(notes[_in_top_line(turned, ticks_per_beat)])


def _one_at_a_time(notes: np.ndarray) -> np.ndarray:
    """Notes in order of their beginnings, each ending where the next one begins at the latest."""
    line = notes[np.argsort(notes[:, 0], kind="stable")]
    following = np.append(line[1:, 0], np.iinfo(np.int64).max)
    line[:, 1] = np.where(following > line[:, 0], np.minimum(line[:, 1], following), line[:, 1])
    return line


def _in_top_line(notes: np.ndarray, ticks_per_beat: int) -> np.ndarray:
    """Which notes are in the top line, bool ``(n,)``."""
    start, end, pitch = notes[:, 0], np.maximum(notes[:, 1], notes[:, 0] + 1), notes[:, 2]
    near = max(1, ticks_per_beat // TOGETHER)
    kept = _begin_highest(start, pitch, near)
    if kept.sum() >= 0.97 * len(notes):
        return kept  # one voice
    kept = _exposed(start, _without_pedal(start, end, pitch), pitch, near)
    if (~kept).sum() > 0.2 * len(notes):  # two hands
        kept &= pitch >= np.median(pitch[kept]) - 12
    return kept


def _begin_highest(start: np.ndarray, pitch: np.ndarray, near: int) -> np.ndarray:
    """Which notes begin with no higher one, bool ``(n,)``; of several alike the first."""
    order = np.lexsort((np.arange(len(start)), -pitch, start))
    at, high = start[order], pitch[order]
    group = np.cumsum(np.diff(at, prepend=at[:1]) > near)  # chords are struck a little unevenly
    first = np.lexsort((np.arange(len(at)), -high, group))
    best = np.zeros(len(at), bool)
    best[first[np.diff(group[first], prepend=-1) > 0]] = True
    found = np.zeros(len(start), bool)
    found[order[best]] = True
    return found


def _without_pedal(start: np.ndarray, end: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """Ends of notes as they would be without a pedal, as far as can be told.

    Notes that begin at three ticks or more and end at one are held by a pedal: each is taken to end where one of its neighbours
    among them begins.
    """
    distinct = np.unique(np.stack([end, start], 1), axis=0)[:, 0]
    ends, n_starts = np.unique(distinct, return_counts=True)
    held = np.isin(end, ends[n_starts > 2])
    if not held.any():
        return end
    rows = np.flatnonzero(held)
    rows = rows[np.argsort(pitch[rows], kind="stable")]
    # As one integer, so that the next beginning among the notes of one end is the next number.
    scale, of_row = int(end.max()) + 1, pitch[rows]
    key = np.searchsorted(ends, end[rows]) * scale + start[rows]
    new = end.copy()
    for p in np.unique(of_row):
        low, first, last, high = np.searchsorted(of_row, [p - NEIGHBOURS, p, p + 1, p + NEIGHBOURS + 1])
        following = np.append(np.sort(key[low:high]), np.iinfo(np.int64).max)
        following = following[np.searchsorted(following, key[first:last], "right")]
        is_one = following // scale == key[first:last] // scale
        new[rows[first:last]] = np.where(is_one, following % scale, end[rows[first:last]])
    return new


def _exposed(start: np.ndarray, end: np.ndarray, pitch: np.ndarray, near: int) -> np.ndarray:
    """Which notes no higher one hides, bool ``(n,)``."""
    kept = np.zeros(len(start), bool)
    begun, above = np.zeros(0, np.int64), _Union(np.zeros(0, np.int64), np.zeros(0, np.int64))
    order = np.lexsort((-end, start, -pitch))
    for mine in np.split(order, np.flatnonzero(np.diff(pitch[order])) + 1):
        first, last = start[mine], end[mine]
        i = np.searchsorted(begun, first - near)
        together = np.append(begun, np.iinfo(np.int64).max)[i] <= first + near
        doubled = np.diff(first, prepend=-1) == 0
        mine = mine[(2 * above.within(first, last) <= last - first) & ~together & ~doubled]
        kept[mine] = True
        begun = np.sort(np.concatenate([begun, start[mine]]), kind="stable")  # of two sorted runs: fast
        above = _Union.of(np.concatenate([above.start, start[mine]]), np.concatenate([above.end, end[mine]]))
    return kept
