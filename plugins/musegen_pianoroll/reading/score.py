"""A file's music in ticks, as readers give it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Score", "ScoreTrack"]


@dataclass(frozen=True)
class ScoreTrack:
    """One track of a file: notes are int64 ``(n, 3)`` rows of start tick, end tick, pitch."""

    name: str
    program: int
    is_drum: bool
    notes: np.ndarray


@dataclass(frozen=True)
class Score:
    """A file in ticks. Tempos are (tick, beats per minute), time signatures (tick, numerator, denominator)."""

    ticks_per_beat: int
    tempos: list[tuple[int, float]]
    time_signatures: list[tuple[int, int, int]]
    tracks: list[ScoreTrack]
