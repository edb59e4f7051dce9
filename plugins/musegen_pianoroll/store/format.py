"""What a store's files hold: tracks, pieces, and planes in a memory-mapped file."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from musegen.errors import BadInput, because_of
from musegen.files import regular
from musegen_pianoroll.store.velocities import TYPICAL

__all__ = [
    "FORMAT",
    "GRIDS",
    "PACKED",
    "PLANES_AT",
    "Heard",
    "Piece",
    "Shard",
    "StoreTrack",
    "digest_of",
    "fingerprint_of",
    "fits",
    "map_planes",
    "pitch_name",
    "planes_header",
]

FORMAT = 1
PACKED = 16
"""Bytes that hold 128 pitches."""
GRIDS = (4, 6, 8, 12)
"""Steps per beat for which a store knows how many onsets lie off the grid."""
HEADER_CAP = 1 << 20
MAP_NORESERVE = 0x4000  # Python names it from 3.13 on
PLANES_AT = 256
"""Byte of a store's file at which planes begin: the header is filled up, so that they can be written before it."""


def pitch_name(pitch: int) -> str:
    """Scientific name of a MIDI pitch: C4 for 60, middle C."""
    names = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
    return f"{names[pitch % 12]}{pitch // 12 - 1}"


@dataclass(frozen=True)
class StoreTrack:
    """A track of every piece: its name, the General MIDI program it is written with, and whether it is drums.

    Attributes:
        lowest, highest: MIDI pitches that it has in the data, where that is known; they do not make it another track, and a store's
            index does not hold them.
        velocities: MIDI velocity of each level of loudness in the data, likewise.
    """

    name: str
    program: int = 0
    is_drum: bool = False
    lowest: int | None = field(default=None, compare=False)
    highest: int | None = field(default=None, compare=False)
    velocities: list[int] | None = field(default=None, compare=False)

    def as_json(self) -> dict[str, Any]:
        """What is known of it."""
        return {key: value for key, value in vars(self).items() if value is not None}

    @classmethod
    def from_json(cls, known: Any) -> Self:
        """The track that ``as_json`` tells of.

        Raises:
            TypeError: it tells of none.
        """
        if not isinstance(known, dict):
            raise TypeError("a track is a mapping")
        track = cls(**known)
        numbers = (track.program, *(pitch for pitch in (track.lowest, track.highest) if pitch is not None))
        if not (
            isinstance(track.name, str)
            and isinstance(track.is_drum, bool)
            and all(isinstance(n, int) and 0 <= n < 128 for n in numbers)
        ):
            raise TypeError("a track has a name, a program from 0 to 127, and is drums or not")
        if track.velocities is not None and not (
            isinstance(track.velocities, list)
            and len(track.velocities) == len(TYPICAL)
            and all(isinstance(n, int) and 0 < n < 128 for n in track.velocities)
        ):
            raise TypeError(f"a track has {len(TYPICAL)} velocities from 1 to 127")
        return track


@dataclass(frozen=True)
class Piece:
    """Where a piece lies and what it is.

    Attributes:
        source: name of its file, relative to the folder that was read.
        sha256: of that file.
        split: train, valid or test.
        first_step, n_steps: its range of steps in the store.
        tempo_bpm: at its beginning; tempos holds every change as (step, beats per minute).
        segments: stretches of one metre, as (first step in the piece, bars, numerator, denominator).
        n_odd: bars in no stretch: cut short by a change of metre, or no whole number of steps.
        n_notes: per track.
        off_grid: onsets that lie further than a fifth of a step off, for each of ``GRIDS``; and how many there are.
        programs: General MIDI programs seen, per track.
        content: SHA-256 of what is in the store of it, as its builder sums it up.
        mended: what was wrong with its file and did not keep it from being read.
        loudness: of each track, in a store with velocities; see ``velocities.loudness``.
    """

    source: str
    sha256: str
    split: str
    first_step: int
    n_steps: int
    tempo_bpm: float
    tempos: list[list[float]] = field(default_factory=list)
    segments: list[list[int]] = field(default_factory=list)
    n_notes: list[int] = field(default_factory=list)
    programs: list[list[int]] = field(default_factory=list)
    content: str = ""
    n_odd: int = 0
    off_grid: list[int] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    loudness: list[list[int]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "loudness" or value}


@dataclass(frozen=True)
class Heard:
    """How files were read, so that new files are read alike; see ``PianorollConfig``.

    Attributes:
        pedal: whose notes sound for as long as the sustain pedal is down: piano, all or off.
        file_metre: the metre that every file was taken to be in, if not its own.
    """

    pedal: Literal["piano", "all", "off"] = "off"
    file_metre: str = ""


@dataclass(frozen=True)
class Shard:
    """One of several stores that together hold a folder.

    Attributes:
        index, of: this is the index-th (from 1) of so many.
        files: SHA-256 of the names of all files in the folder, so that only shards of one folder are put together.
    """

    index: int
    of: int
    files: str


def map_planes(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Memory-map the one tensor, after checking what the header claims against the size of the file."""
    problem = BadInput(f"The store file {path} is damaged: its size does not fit its index. Build it again.")
    try:
        size = path.stat().st_size
        with open(regular(path), "rb") as file:
            (header_size,) = struct.unpack("<Q", file.read(8))
            if header_size > min(size, HEADER_CAP):
                raise problem
            header = json.loads(file.read(header_size))
        tensor = header["planes"]
        claimed = (tensor["dtype"], tuple(tensor["shape"]), list(tensor["data_offsets"]))
    except (OSError, ValueError, KeyError, TypeError, struct.error, RecursionError):
        raise problem from None
    n_bytes = math.prod(shape)
    if claimed != ("U8", shape, [0, n_bytes]) or size != 8 + header_size + n_bytes:
        raise problem
    if not n_bytes:
        return np.zeros(shape, np.uint8)
    # Copy-on-write: nothing reaches the file, and torch takes the array without complaining that it is read-only.
    if sys.platform != "linux":
        return np.memmap(path, np.uint8, "c", 8 + header_size, shape)
    # Linux sets memory aside for pages that could be written, and refuses a store larger than memory, unless told not to.
    with path.open("rb") as file:
        flags, access = mmap.MAP_PRIVATE | MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
        content = mmap.mmap(file.fileno(), size, flags=flags, prot=access)
    return np.frombuffer(content, np.uint8, n_bytes, 8 + header_size).reshape(shape)


def fits(piece: Piece, total_steps: int, steps_per_beat: int) -> bool:
    """Whether a piece lies in the store, its bars in the piece, and its tempo is one: only such are written and read."""
    try:
        inside = 0 <= piece.first_step and 0 <= piece.n_steps and piece.first_step + piece.n_steps <= total_steps
        for first, n_bars, numerator, denominator in piece.segments:
            bar, rest = divmod(numerator * 4 * steps_per_beat, denominator)
            inside &= rest == 0 and bar > 0 and 0 <= first and 0 <= n_bars and first + n_bars * bar <= piece.n_steps
        return inside and math.isfinite(piece.tempo_bpm) and piece.tempo_bpm > 0
    except (TypeError, ValueError, ZeroDivisionError):
        return False


def fingerprint_of(pieces: Iterable[Piece]) -> str:
    """SHA-256 over what pieces hold."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(f"{piece.n_steps} {piece.content}\n".encode())
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file of planes.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        with open(regular(path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise because_of(error, f"The store file {path} cannot be read: {error.strerror}.") from None


def planes_header(shape: Sequence[int]) -> bytes:
    """What stands before planes of a shape in their file: ``PLANES_AT`` bytes."""
    tensor = {"dtype": "U8", "shape": list(shape), "data_offsets": [0, math.prod(shape)]}
    header = json.dumps({"planes": tensor}).encode().ljust(PLANES_AT - 8)
    return struct.pack("<Q", len(header)) + header
