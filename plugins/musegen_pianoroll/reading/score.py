"""A file's music in ticks, as readers give it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Score", "ScoreTrack"]


@dataclass(frozen=True)
class ScoreTrack:
    """One track of a file: notes are int64 ``(n, 3)`` rows of start tick, end tick, pitch.

    Attributes:
        number: of the track in the file, from 1, as a user counts them.
        channel: of the notes, from 0; −1 where there are no channels.
        velocity: of each note, ``(n,)``; None where it is not known.
    """

    name: str
    program: int
    is_drum: bool
    notes: np.ndarray
    number: int = 0
    channel: int = -1
    velocity: np.ndarray | None = None

    @property
    def table(self) -> np.ndarray:
        """Notes, int64 ``(n, 3)``, or ``(n, 4)`` with their velocities where these are known."""
        return self.notes if self.velocity is None else np.column_stack([self.notes, self.velocity])


@dataclass(frozen=True)
class Score:
    """A file in ticks. Tempos are (tick, beats per minute), time signatures (tick, numerator, denominator).

    Attributes:
        end: tick at which the piece ends, rests included; notes may end later.
        mended: what was wrong with the file and did not keep it from being read, each a short phrase.
        sections: ticks at which music begins that does not go on from what was before, such as a phrase of a training array, or a
            tune of a book. A time signature stands at each, and before it is a beat of rest that belongs to no bar, so that no
            bars reach from one section into the next.
    """

    ticks_per_beat: int
    tempos: list[tuple[int, float]]
    time_signatures: list[tuple[int, int, int]]
    tracks: list[ScoreTrack]
    end: int = 0
    mended: tuple[str, ...] = ()
    sections: tuple[int, ...] = ()
