"""Notes in ticks to packed planes on a grid of steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from musegen.errors import MidiError
from musegen_pianoroll.midi import BEAT_CAP

__all__ = ["Quantised", "pack_notes", "quantise", "to_steps"]


@dataclass(frozen=True)
class Quantised:
    """A piece on the grid.

    Attributes:
        planes: packed, uint8 ``(n_steps, tracks, 2, 16)``.
        segments: (first step, bars, numerator, denominator) per stretch of one metre.
        tempos: (step, beats per minute).
        n_notes: per track.
    """

    planes: np.ndarray
    segments: list[list[int]]
    tempos: list[list[float]]
    n_notes: list[int]


def to_steps(ticks: np.ndarray, steps_per_beat: int, ticks_per_beat: int) -> np.ndarray:
    """Nearest step of each tick, halves up, in integers: exact for ticks on the grid."""
    return (2 * ticks * steps_per_beat + ticks_per_beat) // (2 * ticks_per_beat)


def quantise(
    notes: Sequence[np.ndarray],
    drums: Sequence[bool],
    ticks_per_beat: int,
    steps_per_beat: int,
    time_signatures: Sequence[tuple[int, int, int]],
    tempos: Sequence[tuple[int, float]],
    path: Path,
) -> Quantised:
    """Put notes on the grid.

    A note lasts at least one step. Where a pitch of a track begins again before it has ended, the earlier note ends
    there. A drum note is an onset, one step long.

    Args:
        notes: per track, int64 ``(n, 4)``: start tick, end tick, pitch, velocity.
        drums: per track.

    Raises:
        MidiError: no notes, or no bar is a whole number of steps.
    """
    rows = []
    for track, (track_notes, is_drum) in enumerate(zip(notes, drums, strict=True)):
        start = to_steps(track_notes[:, 0], steps_per_beat, ticks_per_beat)
        end = to_steps(track_notes[:, 1], steps_per_beat, ticks_per_beat)
        end = start + 1 if is_drum else np.maximum(end, start + 1)
        rows.append(np.stack([np.full_like(start, track), track_notes[:, 2], start, end], 1))
    table = np.concatenate(rows) if rows else np.zeros((0, 4), np.int64)
    if not len(table):
        raise MidiError(path, "has no notes for these tracks")
    table, length = _separate(table), int(table[:, 3].max())
    segments, n_steps = _segments(time_signatures, length, ticks_per_beat, steps_per_beat, path)
    if n_steps > BEAT_CAP * steps_per_beat:
        raise MidiError(path, f"is longer than {BEAT_CAP:,} beats")
    steps = [[int(to_steps(np.array(tick), steps_per_beat, ticks_per_beat)), round(bpm, 4)] for tick, bpm in tempos]
    counts = np.bincount(table[:, 0], minlength=len(notes)).tolist()
    return Quantised(pack_notes(table, n_steps, len(notes)), segments, steps, counts)


def _separate(table: np.ndarray) -> np.ndarray:
    """Sort rows of (track, pitch, start, end), drop doubles, and end each note where the same pitch begins again."""
    table = table[np.lexsort((-table[:, 3], table[:, 2], table[:, 1], table[:, 0]))]
    same_key = (table[1:, :2] == table[:-1, :2]).all(1)
    double = np.concatenate([[False], same_key & (table[1:, 2] == table[:-1, 2])])
    table = table[~double]  # of notes that begin together the longest comes first and stays
    same_key = (table[1:, :2] == table[:-1, :2]).all(1)
    table[:-1, 3] = np.where(same_key, np.minimum(table[:-1, 3], table[1:, 2]), table[:-1, 3])
    return table


def pack_notes(table: np.ndarray, n_steps: int, n_tracks: int) -> np.ndarray:
    """Rows of (track, pitch, start, end), apart from one another, to packed planes ``(n_steps, tracks, 2, 16)``."""
    track, pitch, start, end = table.T
    change = np.zeros((n_steps + 1, n_tracks, 128), np.int8)
    change[start, track, pitch] += 1
    change[np.minimum(end, n_steps), track, pitch] -= 1
    onset = np.zeros((n_steps, n_tracks, 128), bool)
    onset[start, track, pitch] = True
    frame = np.cumsum(change[:-1], 0, dtype=np.int8).astype(bool)
    return np.packbits(np.stack([frame, onset], 2), axis=-1, bitorder="little")


def _segments(
    time_signatures: Sequence[tuple[int, int, int]],
    length: int,
    ticks_per_beat: int,
    steps_per_beat: int,
    path: Path,
) -> tuple[list[list[int]], int]:
    """Stretches of one metre, and the number of steps with the last bar filled up.

    Where a metre changes in the middle of a bar, that bar belongs to no stretch.
    """
    changes = {0: (4, 4)}  # the standard's default
    for tick, numerator, denominator in sorted(time_signatures):
        changes[int(to_steps(np.array(tick), steps_per_beat, ticks_per_beat))] = (numerator, denominator)
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
    return segments, n_steps
