"""How files are read, as a user chooses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from musegen_pianoroll.store.metres import signature

__all__ = ["Pedal", "Reading"]

Pedal = Literal["piano", "all", "off"]


@dataclass(frozen=True)
class Reading:
    """What becomes of a file on the grid.

    Args:
        tracks: see ``roles.track_specs``.
        steps_per_beat: time steps per quarter note.
        pedal: whose notes sound for as long as the sustain pedal is down.
        file_metre: every file is taken to be in this metre, whatever it says; "": as the file says.
        given: names of the parts that a model is given; none: all.
        track: the track of the file, by name or number, that plays the first of these; None: found.
        velocities: whether levels of velocity are read, too.
    """

    tracks: str | dict[str, Any] = "band"
    steps_per_beat: int = 4
    pedal: Pedal = "piano"
    file_metre: str = ""
    given: tuple[str, ...] = ()
    track: str | int | None = None
    velocities: bool = False

    def __post_init__(self) -> None:
        if self.file_metre:
            signature(self.file_metre, "file_metre")
