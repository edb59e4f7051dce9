"""Which files music is read from, by suffix, and what reads them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from musegen_pianoroll.reading.score import Score

__all__ = ["MIDI_SUFFIXES", "NOTATION_SUFFIXES", "SUFFIXES", "other_reader"]

MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi", ".smf")
_OTHER = {
    ".npz": ("lpd", "read_npz"),
    ".npy": ("training_arrays", "read_npy"),
    ".musicxml": ("notation", "read_musicxml"),
    ".xml": ("notation", "read_musicxml"),
    ".mxl": ("notation", "read_mxl"),
    ".abc": ("notation", "read_abc"),
}
NOTATION_SUFFIXES = tuple(suffix for suffix, (module, _) in _OTHER.items() if module == "notation")
SUFFIXES = (*MIDI_SUFFIXES, *_OTHER)
"""How names of files end that are read, in lower case."""


def other_reader(path: Path) -> Callable[[bytes, Path], Score] | None:
    """What makes a score of a file's bytes and path; None for MIDI files, which are read several together.

    It is imported here and not before: most folders have no use for it.
    """
    if path.suffix.lower() not in _OTHER:
        return None
    module, name = _OTHER[path.suffix.lower()]
    reader: Callable[[bytes, Path], Score] = getattr(import_module(f"musegen_pianoroll.reading.{module}"), name)
    return reader
