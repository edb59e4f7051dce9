"""Notes in ticks to packed planes on a grid of steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.midi import BEAT_CAP
from musegen_pianoroll.reading.score import Score
from musegen_pianoroll.store.format import PACKED

__all__ = ["Quantised", "from_keys", "pack_notes", "quantise", "to_keys", "to_steps"]


@dataclass(frozen=True)
class Quantised:
    """A piece on the grid.

    Attributes:
        keys: its notes, apart from one another, as ``to_keys`` gives them, sorted.
        n_steps, n_tracks: size of its planes.
        segments: (first step, bars, numerator, denominator) per stretch of one metre.
        tempos: (step, beats per minute).
        n_notes: per track.
    """

    keys: np.ndarray
    n_steps: int
    n_tracks: int
    segments: list[list[int]]
    tempos: list[list[float]]
    n_notes: list[int]

    @property
    def planes(self) -> np.ndarray:
        """Packed, uint8 ``(n_steps, tracks, 2, 16)``."""
        return pack_notes(from_keys(self.keys), self.n_steps, self.n_tracks)


Ticks = TypeVar("Ticks", int, np.ndarray)
_STEP_BITS = 23
_MAX_STEP = (1 << _STEP_BITS) - 1  # more than BEAT_CAP beats of 96 steps
_VOICE_BITS = 7 + 2 * _STEP_BITS
_TRACK_BITS = 4


def to_steps(ticks: Ticks, steps_per_beat: int, ticks_per_beat: int) -> Ticks:
    """Nearest step of each tick, halves up, in integers: exact for ticks on the grid."""
    return (2 * ticks * steps_per_beat + ticks_per_beat) // (2 * ticks_per_beat)


def quantise(
    pieces: Sequence[tuple[Path, Score, Sequence[tuple[int, np.ndarray]]]], drums: Sequence[bool], steps_per_beat: int
) -> list[Quantised]:
    """Put the notes of up to 64 pieces on the grid, all together.

    A note lasts at least one step. Where a pitch of a track begins again before it has ended, the earlier note ends
    there. A drum note is an onset, one step long.

    Args:
        pieces: the file, for messages; its score; and of its notes those that have a track, with the number of that, int64
            ``(n, 3)``: start tick, end tick, pitch.
        drums: per track.

    Raises:
        MidiError: one of them has no notes, or no bar that is a whole number of steps, or is too long.
    """
    bounds = [0]  # of pieces, among all notes
    for path, _, parts in pieces:
        bounds.append(bounds[-1] + sum(len(notes) for _, notes in parts))
        if bounds[-1] == bounds[-2]:
            raise MidiError(path, "has no notes for these tracks")
    every = np.concatenate([notes.T for *_, parts in pieces for _, notes in parts], 1)  # (3, N)
    for (_, score, _), a, b in zip(pieces, bounds, bounds[1:], strict=False):
        every[:2, a:b] = to_steps(every[:2, a:b], steps_per_beat, score.ticks_per_beat)
    start, end, pitch = every
    sizes = [len(notes) for *_, parts in pieces for _, notes in parts]
    np.putmask(end, np.repeat([drums[track] for *_, parts in pieces for track, _ in parts], sizes), 0)
    np.maximum(end, start + 1, out=end)
    lengths = np.maximum.reduceat(end, bounds[:-1]).tolist()
    grids = [
        _segments(score, length, steps_per_beat, path) for (path, score, _), length in zip(pieces, lengths, strict=True)
    ]
    owner = [i << _TRACK_BITS | track for i, (*_, parts) in enumerate(pieces) for track, _ in parts]
    keys = _separate(_keys(np.repeat(owner, sizes), pitch, start, end))
    # Where the notes of each track of each piece begin, (pieces, 16).
    tracks = np.arange(len(pieces))[:, None] << _TRACK_BITS | np.arange(1 << _TRACK_BITS)
    at = np.searchsorted(keys, tracks.reshape(-1) << _VOICE_BITS)
    keys &= (1 << _TRACK_BITS + _VOICE_BITS) - 1
    n_notes = np.diff(at, append=len(keys)).reshape(tracks.shape)[:, : len(drums)].tolist()
    found = []
    for i, ((_, score, _), (segments, n_steps)) in enumerate(zip(pieces, grids, strict=True)):
        tempos = [[to_steps(tick, steps_per_beat, score.ticks_per_beat), round(bpm, 4)] for tick, bpm in score.tempos]
        begin, end_at = at[i << _TRACK_BITS], at[i + 1 << _TRACK_BITS] if i + 1 < len(pieces) else len(keys)
        found.append(Quantised(keys[begin:end_at], n_steps, len(drums), segments, tempos, n_notes[i]))
    return found


def to_keys(table: np.ndarray) -> np.ndarray:
    """Rows of (track, pitch, start, end) as one int64 each, which sorts by voice, then start, then the longest first."""
    return _keys(*table.T)


def _keys(track: np.ndarray, pitch: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    return ((track << 7 | pitch) << _STEP_BITS | start) << _STEP_BITS | (_MAX_STEP - end)


def from_keys(keys: np.ndarray) -> np.ndarray:
    """Inverse of ``to_keys``: int64 ``(n, 4)``."""
    voice = keys >> 2 * _STEP_BITS
    return np.stack([voice >> 7, voice & 0x7F, keys >> _STEP_BITS & _MAX_STEP, _MAX_STEP - (keys & _MAX_STEP)]).T


def _separate(keys: np.ndarray) -> np.ndarray:
    """Notes as keys, sorted, without doubles, and each ended where the same pitch begins again."""
    keys.sort()  # one integer per note sorts several times as fast as rows
    begins = keys >> _STEP_BITS  # voice and start
    double = begins[1:] == begins[:-1]
    if double.any():  # of notes that begin together the longest comes first and stays
        first = np.concatenate([[True], ~double])
        keys, begins = keys[first], begins[first]
    # No note goes on beyond the next beginning of its voice.
    ends_there = (begins[:-1] << _STEP_BITS) + (_MAX_STEP - (begins[1:] & _MAX_STEP))
    same_voice = begins[1:] >> _STEP_BITS == begins[:-1] >> _STEP_BITS
    np.maximum(keys[:-1], ends_there, out=keys[:-1], where=same_voice)
    return keys


def pack_notes(table: np.ndarray, n_steps: int, n_tracks: int, first_step: int = 0) -> np.ndarray:
    """Rows of (track, pitch, start, end), apart from one another, to packed planes ``(n_steps, tracks, 2, 16)``.

    Args:
        first_step: of the planes, in the time of the notes; what lies outside is cut off.
    """
    planes = np.zeros((n_steps + 1, n_tracks, 2, PACKED), np.uint8)  # the last step takes what ends after the others
    if first_step or (len(table) and table[:, 3].max() > n_steps):
        heard = (table[:, 2] < first_step + n_steps) & (table[:, 3] > first_step)
        table = table[heard] - [0, 0, first_step, first_step]
    track, pitch, start, end = table.T
    place = track * (2 * PACKED) + (pitch >> 3)  # of a voice's byte in a step
    bit = np.left_shift(1, pitch & 7).astype(np.uint8)
    row = n_tracks * 2 * PACKED
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
        start, place, bit = start[begins_here], place[begins_here], bit[begins_here]
    np.add.at(flat, start * row + place + PACKED, bit)
    return planes[:n_steps]


def _segments(score: Score, length: int, steps_per_beat: int, path: Path) -> tuple[list[list[int]], int]:
    """Stretches of one metre, and the number of steps with the last bar filled up.

    Where a metre changes in the middle of a bar, that bar belongs to no stretch.

    Raises:
        MidiError: there is none, or there are too many steps.
    """
    changes = {0: (4, 4)}  # the standard's default
    for tick, numerator, denominator in sorted(score.time_signatures):
        changes[to_steps(tick, steps_per_beat, score.ticks_per_beat)] = (numerator, denominator)
    starts = [step for step in sorted(changes) if step < length]
    segments, n_steps = [], length
    for i, start in enumerate(starts):
        numerator, denominator = changes[start]
        bar, rest = divmod(numerator * 4 * steps_per_beat, denominator)
        if rest or bar == 0:
            continue
        last = i == len(starts) - 1
        n_bars = -(-(length - start) // bar) if last else (starts[i + 1] - start) // bar
        if n_bars:
            segments.append([start, n_bars, numerator, denominator])
            n_steps = max(n_steps, start + n_bars * bar)
    if not segments:
        raise MidiError(path, f"has no bar that is a whole number of steps at {steps_per_beat} steps per beat")
    if n_steps > min(BEAT_CAP * steps_per_beat, _MAX_STEP):
        raise MidiError(path, f"is longer than {BEAT_CAP:,} beats")
    return segments, n_steps
