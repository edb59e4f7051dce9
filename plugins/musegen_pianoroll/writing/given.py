"""The notes of a given piece, moved into a model's range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musegen_pianoroll.store.format import StoreTrack, pitch_name

__all__ = ["into_range", "moved_pitches", "range_name"]

N_PITCHES = 128
NOWHERE = -1


def moved_pitches(
    counts: np.ndarray, low: int, high: int, own: tuple[int, int] | None = None
) -> tuple[int, np.ndarray]:
    """Where the pitches of a track go so that they lie in [low, high] and every note keeps its name.

    The whole track moves by the number of octaves that brings most of its notes into its own range, or else into [low, high]: the
    smallest such move, up rather than down. Each pitch that is outside [low, high] then moves on by octaves until it is inside;
    outside its own range alone it may lie, so that a wide melody keeps its shape.

    Args:
        counts: notes per pitch, ``(128,)``.
        low, high: of the range, both included.
        own: lowest and highest pitch that the track has in the data, where that is known.

    Returns:
        Octaves that the track moves up, and the new pitch of each pitch, ``(128,)``; −1 where the range, being narrower than an
        octave, has no note of that name.
    """
    pitch = np.arange(N_PITCHES)
    own_low, own_high = own or (low, high)

    def kept(octaves: int, low: int, high: int) -> int:
        moved = pitch + 12 * octaves
        return int(counts[(low <= moved) & (moved <= high)].sum())

    octaves = max(
        range(-10, 11),
        key=lambda k: (kept(k, max(low, own_low), min(high, own_high)), kept(k, low, high), -abs(k), k),
    )
    moved = pitch + 12 * octaves
    below, above = -(-(low - moved) // 12), -(-(moved - high) // 12)  # octaves to the range, rounded up
    moved = moved + 12 * np.maximum(below, 0) - 12 * np.maximum(above, 0)
    return octaves, np.where((low <= moved) & (moved <= high), moved, NOWHERE)


def into_range(planes: np.ndarray, tracks: Sequence[StoreTrack], low: int, high: int) -> tuple[np.ndarray, list[str]]:
    """Tracks with notes outside [low, high], or outside what is known of their own ranges, moved by octaves, see ``moved_pitches``;
    drums, whose pitches are instruments, stay as they are, and those outside are counted.

    Args:
        planes: packed, uint8 ``(n_steps, tracks, P, 16)``.

    Returns:
        The planes, and what was moved, in words.
    """
    planes = planes.copy()
    said: list[str] = []
    lost: list[str] = []
    for i, track in enumerate(tracks):
        used = np.unpackbits(np.bitwise_or.reduce(planes[:, i], (0, 1)), bitorder="little").astype(bool)
        own = None if track.is_drum or track.lowest is None or track.highest is None else (track.lowest, track.highest)
        first, last = (low, high) if own is None else (max(low, own[0]), min(high, own[1]))
        outside = used & ~((np.arange(N_PITCHES) >= first) & (np.arange(N_PITCHES) <= last))
        if not outside.any():
            continue
        roll = np.unpackbits(planes[:, i], axis=-1, bitorder="little")  # (n_steps, P, 128)
        counts = roll[:, 1].sum(0, dtype=np.int64)
        if track.is_drum:
            lost.append(f"{_count(int(counts[outside].sum()), 'note')} of {track.name} left out")
            continue
        octaves, target = moved_pitches(counts, low, high, own)
        moved = np.zeros_like(roll)
        for pitch in np.flatnonzero(used & (target != NOWHERE)):
            moved[:, :, target[pitch]] |= roll[:, :, pitch]
        planes[:, i] = np.packbits(moved, axis=-1, bitorder="little")
        said += _words(track.name, octaves, counts, target)
    return planes, said + lost


def _words(name: str, octaves: int, counts: np.ndarray, target: np.ndarray) -> list[str]:
    """What was moved in one track."""
    folded = int(counts[(target != NOWHERE) & (target != np.arange(N_PITCHES) + 12 * octaves)].sum())
    lost = int(counts[target == NOWHERE].sum())
    parts = []
    if octaves:
        parts.append(f"{name} {'up' if octaves > 0 else 'down'} {_count(abs(octaves), 'octave')}")
    if folded:
        parts.append(f"{_count(folded, 'note')} of {name} by octaves{' more' if octaves else ''}")
    if lost:
        parts.append(f"{_count(lost, 'note')} of {name} left out")
    return parts


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def range_name(low: int, high: int) -> str:
    """``C1 to B7``."""
    return f"{pitch_name(low)} to {pitch_name(high)}"
