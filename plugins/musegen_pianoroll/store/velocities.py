"""How loud notes are: four levels of MIDI velocity, and the planes that hold them.

A level is the number of ``THRESHOLDS`` that a velocity lies above: those between p, mp, mf and f, as programs of notation have
them. In POP909 a tenth, a quarter, four tenths and a quarter of the notes have one level each. Planes of levels are on in cells
where a note begins whose level is above their number, as on a thermometer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

__all__ = [
    "LEVEL_BITS",
    "LEVEL_PLANES",
    "NOTE_PLANES",
    "THRESHOLDS",
    "TYPICAL",
    "VELOCITY",
    "level_of",
    "loudness",
    "typical",
]

THRESHOLDS = (63, 79, 95)
TYPICAL = (52, 72, 88, 104)
"""Velocities of the levels where there are no data."""
VELOCITY = 90
"""Of notes of which it is not known."""
NOTE_PLANES = 2
"""Planes of a track that say what sounds and what begins."""
LEVEL_PLANES = len(THRESHOLDS)
LEVEL_BITS = 2
"""That hold a level."""


def level_of(velocity: np.ndarray) -> np.ndarray:
    """The level of each velocity, int64 of the same shape.

    >>> import numpy as np
    >>> from musegen_pianoroll.store.velocities import level_of
    >>> level_of(np.array([1, 63, 64, 90, 127])).tolist()
    [0, 0, 1, 2, 3]
    """
    return np.searchsorted(THRESHOLDS, velocity, "left")


def loudness(velocity: np.ndarray, owner: np.ndarray, n: int) -> np.ndarray:
    """What is kept of velocities: how many notes of each level there are, and the sum of their velocities; sums can be added up.

    Args:
        velocity: of notes, ``(N,)``.
        owner: whose note each is, 0 to n − 1, ``(N,)``.

    Returns:
        int64 ``(n, 8)``.
    """
    n_levels = LEVEL_PLANES + 1
    place = owner * n_levels + level_of(velocity)
    counts, sums = (np.bincount(place, weights, n * n_levels) for weights in (None, velocity))
    return np.concatenate([x.reshape(n, n_levels) for x in (counts, sums)], 1).astype(np.int64)


def typical(sums: Iterable[Sequence[Sequence[int]]], n_tracks: int) -> list[list[int]]:
    """The mean velocity of each level of each track, of all tracks where it has no such notes, and ``TYPICAL`` where none has.

    Args:
        sums: of pieces, ``loudness`` of each track.
    """
    whole = np.zeros((n_tracks, 2, len(TYPICAL)), np.int64)
    for piece in sums:
        whole += np.array(piece, np.int64).reshape(whole.shape)
    n, total = whole[:, 0], whole[:, 1]
    of_all = np.where(n.sum(0), total.sum(0) / np.maximum(n.sum(0), 1), TYPICAL)
    return np.where(n, total / np.maximum(n, 1), of_all).round().astype(int).tolist()
