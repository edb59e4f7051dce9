"""What is wrong with a file of music."""

from __future__ import annotations

from pathlib import Path

from musegen.errors import BadInput

__all__ = ["FAULT_OUTSIDE", "MidiError", "TooManyEvents"]


FAULT_OUTSIDE = 74
"""Exit code of a reading process that cannot write what it has read, as on a full disk (EX_IOERR of sysexits.h)."""


class MidiError(BadInput):
    """A MIDI file that cannot be used.

    Attributes:
        path: the file.
        reason: a short phrase, as written to ``skipped.csv``.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(str(path), reason)
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class TooManyEvents(Exception):
    """Tracks hold more events than may be read."""
