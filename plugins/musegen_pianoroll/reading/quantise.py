"""Notes in ticks to packed planes on a grid of steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from musegen_pianoroll.limits import BEAT_CAP
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.options import Reading
from musegen_pianoroll.reading.score import Score
from musegen_pianoroll.store.format import GRIDS, PACKED
from musegen_pianoroll.store.metres import bar_steps_of, signature
from musegen_pianoroll.store.velocities import LEVEL_BITS, LEVEL_PLANES, NOTE_PLANES, VELOCITY, level_of, loudness

__all__ = ["NO_NOTES", "Grid", "Quantised", "from_keys", "pack_notes", "quantise", "tempo_map", "to_keys", "to_steps"]

DEFAULT_BPM, LOWEST_BPM, HIGHEST_BPM = 120.0, 1.0, 10_000.0
NO_NOTES = "has no notes for these tracks"
LONGEST_REST_BARS = 16
"""Of rest at the end of a piece; files go on for hours that nobody hears."""


@dataclass(frozen=True)
class Grid:
    """Bars of a piece.

    Attributes:
        segments: (first step, bars, numerator, denominator) per stretch of one metre.
        n_steps: with the last bar filled up.
        n_odd: bars in no stretch: cut short by a change of metre, or no whole number of steps.
        mended: what was wrong with the file, and what was left out of it.
    """

    segments: list[list[int]]
    n_steps: int
    n_odd: int
    mended: tuple[str, ...]


@dataclass(frozen=True)
class Quantised:
    """A piece on the grid.

    Attributes:
        keys: its notes, apart from one another, as ``to_keys`` gives them, sorted; with levels where velocities are read.
        grid: its bars.
        tempos: (step, beats per minute), from step 0 on.
        n_notes: per track.
        off_grid: onsets that lie off the grids ``GRIDS``, see ``off_grid``, and how many there are.
        loudness: per track, see ``velocities.loudness``; None where velocities are not read.
    """

    keys: np.ndarray
    grid: Grid
    tempos: list[list[float]]
    n_notes: list[int]
    off_grid: list[int]
    loudness: list[list[int]] | None = None

    @property
    def planes(self) -> np.ndarray:
        """Packed, uint8 ``(n_steps, tracks, P, 16)``."""
        table = from_keys(self.keys, self.loudness is not None)
        return pack_notes(table, self.grid.n_steps, len(self.n_notes))


Ticks = TypeVar("Ticks", int, np.ndarray)
_STEP_BITS = 23
_MAX_STEP = (1 << _STEP_BITS) - 1  # more than BEAT_CAP beats of 96 steps
_VOICE_BITS = 7 + 2 * _STEP_BITS
_TRACK_BITS = 4
_MAX_LEVEL = (1 << LEVEL_BITS) - 1


def to_steps(ticks: Ticks, steps_per_beat: int, ticks_per_beat: int) -> Ticks:
    """Nearest step of each tick, halves up, in integers: exact for ticks on the grid."""
    return (2 * ticks * steps_per_beat + ticks_per_beat) // (2 * ticks_per_beat)


def quantise(
    pieces: Sequence[tuple[Path, Score, Sequence[tuple[int, np.ndarray]]]], drums: Sequence[bool], reading: Reading
) -> list[Quantised]:
    """Put the notes of up to 64 pieces on the grid, all together; with velocities up to 16.

    A note lasts at least one step. Where a pitch of a track begins again before it has ended, the earlier note ends
    there. A drum note is an onset, one step long. Of notes that are alike the loudest stays.

    Args:
        pieces: the file, for messages; its score; and of its notes those that have a track, with the number of that, int64
            ``(n, 3)``: start tick, end tick, pitch; or ``(n, 4)``, with the velocity.
        drums: per track.

    Raises:
        MidiError: one of them has no notes, or is too long.
    """
    bounds = [0]  # of pieces, among all notes
    for path, _, parts in pieces:
        bounds.append(bounds[-1] + sum(len(notes) for _, notes in parts))
        if bounds[-1] == bounds[-2]:
            raise MidiError(path, NO_NOTES)
    columns = _with_velocity if reading.velocities else _without_velocity
    every = np.concatenate([columns(notes).T for *_, parts in pieces for _, notes in parts], 1)  # (3 or 4, N)
    off = []
    for (_, score, _), a, b in zip(pieces, bounds, bounds[1:], strict=False):
        off.append([*off_grid(every[0, a:b], score.ticks_per_beat), b - a])
        every[:2, a:b] = to_steps(every[:2, a:b], reading.steps_per_beat, score.ticks_per_beat)
    start, end, pitch, *velocity = every
    sizes = [len(notes) for *_, parts in pieces for _, notes in parts]
    np.putmask(end, np.repeat([drums[track] for *_, parts in pieces for track, _ in parts], sizes), 0)
    np.maximum(end, start + 1, out=end)
    lengths = np.maximum.reduceat(end, bounds[:-1]).tolist()
    grids = [_grid(score, length, reading, path) for (path, score, _), length in zip(pieces, lengths, strict=True)]
    owner = [i << _TRACK_BITS | track for i, (*_, parts) in enumerate(pieces) for track, _ in parts]
    of_notes = np.repeat(owner, sizes)
    keys = _keys(of_notes, pitch, start, end)
    bits, sums = 0, None
    if velocity:
        keys, bits = _with_level(keys, level_of(velocity[0])), LEVEL_BITS
        sums = loudness(velocity[0], of_notes, len(pieces) << _TRACK_BITS).reshape(len(pieces), 1 << _TRACK_BITS, -1)
    keys = _separate(keys, bits)
    # Where the notes of each track of each piece begin, (pieces, 16).
    tracks = np.arange(len(pieces))[:, None] << _TRACK_BITS | np.arange(1 << _TRACK_BITS)
    at = np.searchsorted(keys, tracks.reshape(-1) << _VOICE_BITS + bits)
    keys &= (1 << _TRACK_BITS + _VOICE_BITS + bits) - 1
    n_notes = np.diff(at, append=len(keys)).reshape(tracks.shape)[:, : len(drums)].tolist()
    found = []
    for i, ((_, score, _), grid) in enumerate(zip(pieces, grids, strict=True)):
        begin, end_at = at[i << _TRACK_BITS], at[i + 1 << _TRACK_BITS] if i + 1 < len(pieces) else len(keys)
        tempos = tempo_map(score, reading.steps_per_beat)
        levels = None if sums is None else sums[i, : len(drums)].tolist()
        found.append(Quantised(keys[begin:end_at], grid, tempos, n_notes[i], off[i], levels))
    return found


def to_keys(table: np.ndarray) -> np.ndarray:
    """Rows of (track, pitch, start, end) as one int64 each, which sorts by voice, then start, then the longest first; rows with a
    level have it in two bits more, the loudest first."""
    track, pitch, start, end, *level = table.T
    keys = _keys(track, pitch, start, end)
    return _with_level(keys, level[0]) if level else keys


def _with_level(keys: np.ndarray, level: np.ndarray) -> np.ndarray:
    return keys << LEVEL_BITS | (_MAX_LEVEL - level)


def _without_velocity(notes: np.ndarray) -> np.ndarray:
    return notes[:, :3]


def _with_velocity(notes: np.ndarray) -> np.ndarray:
    """Notes ``(n, 4)``; where a file does not tell velocities, they are those of notes of which nothing is known."""
    return notes if notes.shape[1] == 4 else np.column_stack([notes, np.full(len(notes), VELOCITY)])


def _keys(track: np.ndarray, pitch: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    return ((track << 7 | pitch) << _STEP_BITS | start) << _STEP_BITS | (_MAX_STEP - end)


def from_keys(keys: np.ndarray, with_level: bool = False) -> np.ndarray:
    """Inverse of ``to_keys``: int64 ``(n, 4)``, or of keys with levels ``(n, 5)``."""
    level = [_MAX_LEVEL - (keys & _MAX_LEVEL)] if with_level else []
    keys = keys >> LEVEL_BITS if with_level else keys
    voice = keys >> 2 * _STEP_BITS
    columns = [voice >> 7, voice & 0x7F, keys >> _STEP_BITS & _MAX_STEP, _MAX_STEP - (keys & _MAX_STEP)]
    return np.stack([*columns, *level]).T


def _separate(keys: np.ndarray, n_beside: int = 0) -> np.ndarray:
    """Notes as keys, sorted, without doubles, and each ended where the same pitch begins again.

    Args:
        n_beside: bits of a key that are of its level.
    """
    keys.sort(
        kind="stable"
    )  # one integer per note sorts several times as fast as rows; they come in long runs that are sorted
    beside = keys & ((1 << n_beside) - 1) if n_beside else None
    keys = keys >> n_beside if n_beside else keys
    begins = keys >> _STEP_BITS  # voice and start
    double = begins[1:] == begins[:-1]
    if double.any():  # of notes that begin together the longest comes first and stays
        first = np.concatenate([[True], ~double])
        keys, begins = keys[first], begins[first]
        beside = None if beside is None else beside[first]
    # No note goes on beyond the next beginning of its voice.
    ends_there = (begins[:-1] << _STEP_BITS) + (_MAX_STEP - (begins[1:] & _MAX_STEP))
    same_voice = begins[1:] >> _STEP_BITS == begins[:-1] >> _STEP_BITS
    np.maximum(keys[:-1], ends_there, out=keys[:-1], where=same_voice)
    return keys if beside is None else keys << n_beside | beside


def pack_notes(table: np.ndarray, n_steps: int, n_tracks: int, first_step: int = 0) -> np.ndarray:
    """Rows of (track, pitch, start, end), apart from one another, to packed planes ``(n_steps, tracks, 2, 16)``; rows with a level
    to planes of notes and of levels, ``(n_steps, tracks, 5, 16)``.

    Args:
        first_step: of the planes, in the time of the notes; what lies outside is cut off.
    """
    n_planes = NOTE_PLANES + (LEVEL_PLANES if table.shape[1] == 5 else 0)
    planes = np.zeros(
        (n_steps + 1, n_tracks, n_planes, PACKED), np.uint8
    )  # the last step takes what ends after the others
    if first_step or (len(table) and table[:, 3].max() > n_steps):
        heard = (table[:, 2] < first_step + n_steps) & (table[:, 3] > first_step)
        table = table[heard] - [0, 0, first_step, first_step, 0][: table.shape[1]]
    track, pitch, start, end, *level = table.T
    place = track * (n_planes * PACKED) + (pitch >> 3)  # of a voice's byte in a step
    bit = np.left_shift(1, pitch & 7).astype(np.uint8)
    row = n_tracks * n_planes * PACKED
    flat = planes.reshape(-1)
    # A bit of the frame plane is turned at each start and each end, so that the exclusive or over time is the plane. Where a
    # note ends as the next of its voice begins, both turn the same bit, and addition modulo 256 would carry: leave both out.
    voice = track << 7 | pitch
    apart = (voice[1:] != voice[:-1]) | (end[:-1] != start[1:])
    turns_on, turns_off = bit.copy(), bit.copy()
    turns_on[1:] *= apart
    turns_off[:-1] *= apart
    np.add.at(flat, np.maximum(start, 0) * row + place, turns_on)
    np.add.at(flat, np.minimum(end, n_steps) * row + place, turns_off)
    frame = planes.view(np.uint64)[:n_steps, :, 0]  # (n_steps, tracks, 2)
    np.bitwise_xor.accumulate(frame, 0, out=frame)
    if first_step:
        begins_here = start >= 0
        start, place, bit, *level = (column[begins_here] for column in (start, place, bit, *level))
    np.add.at(flat, start * row + place + PACKED, bit)
    for k in range(LEVEL_PLANES if level else 0):
        np.add.at(flat, start * row + place + (NOTE_PLANES + k) * PACKED, bit * (level[0] > k))
    return planes[:n_steps]


def _grid(score: Score, length: int, reading: Reading, path: Path) -> Grid:
    """Bars and length of a piece.

    A metre that is said again changes nothing. Where a metre changes in the middle of a bar, that bar belongs to no stretch, as do
    bars that are no whole number of steps. The piece ends where its file does, at the end of a bar; a long rest there is cut.

    Args:
        length: of its notes, in steps.

    Raises:
        MidiError: there are too many steps.
    """
    steps_per_beat, said = reading.steps_per_beat, list(score.mended)
    if unplayable := sum(_unplayable(bpm) for _, bpm in score.tempos):
        said.append(f"an impossible tempo ({unplayable:,} times)" if unplayable > 1 else "an impossible tempo")
    end = to_steps(score.end, steps_per_beat, score.ticks_per_beat)
    changes = _changes(score, reading)
    starts = [step for step in sorted(changes) if step < max(length, end)]
    bar = changes[starts[-1]][0] * 4 * steps_per_beat / changes[starts[-1]][1]
    if end > length + LONGEST_REST_BARS * bar:
        said.append(f"a rest of {(end - length) / bar:,.0f} bars at the end, which is left out")
        end = length
        starts = [step for step in starts if step < length] or [0]
    length = max(length, end)
    apart = {to_steps(tick, steps_per_beat, score.ticks_per_beat) for tick in score.sections}
    segments, n_steps, n_odd = [], length, 0
    for i, start in enumerate(starts):
        numerator, denominator = changes[start]
        bar = bar_steps_of(numerator, denominator, steps_per_beat)
        stretch = (length if i == len(starts) - 1 else starts[i + 1]) - start
        if not bar:
            n_odd += max(1, round(stretch * denominator / (numerator * 4 * steps_per_beat)))
            continue
        n_bars, rest = divmod(stretch, bar)
        if rest and i == len(starts) - 1:
            n_bars, rest = n_bars + 1, 0
        n_odd += rest > 0 and not (i + 1 < len(starts) and starts[i + 1] in apart)  # a rest between pieces is no bar
        if n_bars:
            segments.append([start, n_bars, numerator, denominator])
            n_steps = max(n_steps, start + n_bars * bar)
    if n_steps > min(BEAT_CAP * steps_per_beat, _MAX_STEP):
        raise MidiError(path, f"is longer than {BEAT_CAP:,} beats")
    return Grid(segments, n_steps, n_odd, tuple(said))


def _changes(score: Score, reading: Reading) -> dict[int, tuple[int, int]]:
    """Metres by the step they begin at; one that goes on from bar line to bar line is named once."""
    if reading.file_metre:
        begins = [0, *(to_steps(tick, reading.steps_per_beat, score.ticks_per_beat) for tick in score.sections)]
        return dict.fromkeys(begins, signature(reading.file_metre))
    said = {0: (4, 4)}  # the standard's default
    for tick, numerator, denominator in sorted(score.time_signatures, key=lambda change: change[0]):
        said[to_steps(tick, reading.steps_per_beat, score.ticks_per_beat)] = (numerator, denominator)
    changes: dict[int, tuple[int, int]] = {}
    begun = 0
    for step, metre in sorted(said.items()):
        on_bar_line = (step - begun) * metre[1] % (metre[0] * 4 * reading.steps_per_beat) == 0
        if changes and metre == changes[begun] and on_bar_line:
            continue
        changes[step], begun = metre, step
    return changes


def _unplayable(bpm: float) -> bool:
    return not LOWEST_BPM <= bpm <= HIGHEST_BPM


def tempo_map(score: Score, steps_per_beat: int) -> list[list[float]]:
    """Tempos as (step, beats per minute), from step 0 on: 120 before the first, says the standard, and of several at one step the
    last. Tempos that nobody can play are left out."""
    found = {0: DEFAULT_BPM}
    for tick, bpm in score.tempos:
        if not _unplayable(bpm):
            found[to_steps(tick, steps_per_beat, score.ticks_per_beat)] = round(bpm, 4)
    tempos: list[list[float]] = []
    for step, bpm in sorted(found.items()):
        if not tempos or tempos[-1][1] != bpm:
            tempos.append([step, bpm])
    return tempos


def off_grid(starts: np.ndarray, ticks_per_beat: int) -> list[int]:
    """Of onsets at these ticks, how many lie further than a fifth of a step off a grid; for each of ``GRIDS``."""
    within = starts - starts // ticks_per_beat * ticks_per_beat  # % takes several times as long
    counts = np.bincount(within, minlength=ticks_per_beat)
    return (_off_grids(ticks_per_beat) @ counts).tolist()


@lru_cache(maxsize=64)
def _off_grids(ticks_per_beat: int) -> np.ndarray:
    """For each of ``GRIDS`` and each tick of a beat, 1 where it lies further than a fifth of a step off, int64."""
    fine = np.arange(ticks_per_beat) * np.array(GRIDS)[:, None]
    off = np.abs(fine - (2 * fine + ticks_per_beat) // (2 * ticks_per_beat) * ticks_per_beat)
    return (5 * off > ticks_per_beat).astype(np.int64)
