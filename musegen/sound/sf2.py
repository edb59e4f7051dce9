"""What is in a SoundFont 2 file (Creative's specification 2.04): recordings, and presets made of zones that play them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from musegen.errors import BadInput
from musegen.files import read_file
from musegen.limits import SOUNDFONT_CAP_BYTES
from musegen.sound.zones import CUTOFF, INSTRUMENT, SAMPLE, Generators, Zone, joined

__all__ = ["Sf2File"]

SAMPLE_HEADER = np.dtype(
    [
        ("name", "S20"),
        *((name, "<u4") for name in ("start", "end", "loop_start", "loop_end", "rate")),
        ("key", "u1"),
        ("correction", "i1"),
        ("link", "<u2"),
        ("kind", "<u2"),
    ]
)
PRESET_HEADER = np.dtype(
    [
        ("name", "S20"),
        ("preset", "<u2"),
        ("bank", "<u2"),
        ("bag", "<u2"),
        ("library", "<u4"),
        ("genre", "<u4"),
        ("morph", "<u4"),
    ]
)
TABLES = {
    "phdr": PRESET_HEADER,
    "pbag": np.dtype([("generator", "<u2"), ("modulator", "<u2")]),
    "pgen": np.dtype([("number", "<u2"), ("amount", "<i2")]),
    "inst": np.dtype([("name", "S20"), ("bag", "<u2")]),
    "ibag": np.dtype([("generator", "<u2"), ("modulator", "<u2")]),
    "igen": np.dtype([("number", "<u2"), ("amount", "<i2")]),
    "shdr": SAMPLE_HEADER,
}


MODULATOR = np.dtype(
    [("source", "<u2"), ("target", "<u2"), ("amount", "<i2"), ("scaled_by", "<u2"), ("transform", "<u2")]
)
MODULATORS = {"pmod": MODULATOR, "imod": MODULATOR}
"""Tables that a file may leave out."""
VELOCITY = 0x0102
"""As a modulator's source: the velocity of a note, linear, from 1 for the softest to 0 (section 8.2)."""


class Sf2File:
    """A file of instruments.

    Attributes:
        values: of all recordings, one after the other, int16.
        samples: headers of the recordings, a table of ``SAMPLE_HEADER``.

    Raises:
        BadInput: it is no SoundFont 2 file.
    """

    def __init__(self, path: Path) -> None:
        content = read_file(path, SOUNDFONT_CAP_BYTES)
        if content[:4] != b"RIFF" or content[8:12] != b"sfbk":
            raise BadInput(f"{path} is no SoundFont 2 file.")
        chunks = dict(_chunks(content))
        try:
            tables = {name: np.frombuffer(chunks[name], kind) for name, kind in TABLES.items()}
            for name, kind in MODULATORS.items():
                content_ = chunks.get(name, b"")
                tables[name] = np.frombuffer(content_[: len(content_) // kind.itemsize * kind.itemsize], kind)
            self.values = np.frombuffer(chunks["smpl"], "<i2")
        except (KeyError, ValueError):
            raise BadInput(f"{path} is a damaged SoundFont 2 file.") from None
        self.samples = tables["shdr"]
        self._tables = tables

    def presets(self, program: int, bank: int = 0) -> np.ndarray:
        """Numbers of the presets of a program: one, or none."""
        headers = self._tables["phdr"][:-1]
        return np.flatnonzero((headers["preset"] == program) & (headers["bank"] == bank))

    @cache  # noqa: B019  of a few programs, for as long as the soundfont itself
    def zones(self, program: int, bank: int = 0) -> list[Zone]:
        """What a program is made of.

        Raises:
            BadInput: there is no such program.
        """
        found = self.presets(program, bank)
        if not len(found):
            raise BadInput(f"The soundfont has no program {program} in bank {bank}.")
        return [
            joined(inner, outer, inner_darker, outer_darker)
            for outer, outer_darker in self._bags("p", self._tables["phdr"]["bag"], int(found[0]), INSTRUMENT)
            for inner, inner_darker in self._bags("i", self._tables["inst"]["bag"], outer[INSTRUMENT], SAMPLE)
        ]

    def _bags(self, which: str, bags: np.ndarray, number: int, last: int) -> list[tuple[Generators, int]]:
        """Zones of a preset or an instrument, and what their modulators say of velocity and the filter; the first is for all of
        them if it does not end in the generator ``last``."""
        generators, modulators = self._tables[f"{which}gen"], self._tables[f"{which}mod"]
        starts = self._tables[f"{which}bag"]
        everywhere: Generators = {}
        darker_everywhere = 0
        zones: list[tuple[Generators, int]] = []
        for bag in range(bags[number], bags[number + 1]):
            part = generators[starts["generator"][bag] : starts["generator"][bag + 1]]
            own = {int(n): int(a) for n, a in part}
            of_filter = modulators[starts["modulator"][bag] : starts["modulator"][bag + 1]]
            amounts = of_filter["amount"][(of_filter["source"] == VELOCITY) & (of_filter["target"] == CUTOFF)]
            darker = int(amounts[-1]) if len(amounts) else darker_everywhere
            if last in own:
                zones.append(({**everywhere, **own}, darker))
            elif bag == bags[number]:
                everywhere, darker_everywhere = own, darker
        return zones


def _chunks(content: bytes) -> list[tuple[str, bytes]]:
    """Chunks within the lists of a RIFF file."""
    found, at = [], 12
    while at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if name == b"LIST":
            at += 12  # what is in it follows
            continue
        found.append((name.decode("latin-1"), content[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return found
