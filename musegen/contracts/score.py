"""The Score contract: the notes of a piece one by one, for those who look at them closely, hear some of them, or edit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Note", "Score", "Voice"]

Note = Sequence[int]
"""The number of its voice, the tick at which it begins, the tick at which it ends, MIDI pitch, MIDI velocity."""


@dataclass(frozen=True)
class Voice:
    """What plays some of the notes.

    Args:
        name: for people; several may have the same.
        colour: ``#rrggbb``.
        is_drum: a drum kit, whose pitches are instruments.
    """

    name: str
    colour: str
    is_drum: bool = False


@dataclass(frozen=True)
class Score:
    """The notes of a piece.

    Args:
        ticks_per_beat: of a quarter note.
        ticks_per_step: of the grid on which a model writes; notes that are added by hand are best placed there.
        end: tick at which the piece ends; notes lie before it.
        bars: the first tick of each bar.
        times: ticks and when they are heard, in seconds, both ascending, and in between in proportion.
        voices: of the notes, by number.
        notes: in the order of their beginnings.
    """

    ticks_per_beat: int
    ticks_per_step: float
    end: int
    bars: Sequence[int]
    times: Sequence[tuple[float, float]]
    voices: Sequence[Voice]
    notes: Sequence[Note]
