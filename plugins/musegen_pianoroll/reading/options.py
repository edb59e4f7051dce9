"""How files are read, as a user chooses it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from musegen.errors import BadInput
from musegen_pianoroll.reading.decoding import Pedal

__all__ = ["Reading", "signature"]


@dataclass(frozen=True)
class Reading:
    """What becomes of a file on the grid.

    Args:
        tracks: see ``roles.track_specs``.
        steps_per_beat: time steps per quarter note.
        pedal: whose notes sound for as long as the sustain pedal is down.
        file_metre: every file is taken to be in this metre, whatever it says; "": as the file says.
        track: the track of the file, by name or number, that plays the first part a model is given; None: found.
    """

    tracks: str | dict[str, Any] = "band"
    steps_per_beat: int = 4
    pedal: Pedal = "piano"
    file_metre: str = ""
    track: str | int | None = None

    def __post_init__(self) -> None:
        if self.file_metre:
            signature(self.file_metre, "file_metre")


def signature(text: str, option: str = "metre") -> tuple[int, int]:
    """Numerator and denominator of a metre such as 4/4.

    Raises:
        BadInput: it is none.
    """
    match = re.fullmatch(r"([1-9]\d?)/(1|2|4|8|16|32)", text)
    if match is None:
        raise BadInput(f'{option}="{text}" is no time signature: write it like 4/4 or 6/8.')
    return int(match[1]), int(match[2])
