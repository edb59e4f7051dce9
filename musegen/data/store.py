"""The packed store: a corpus of binary rolls, one bit per cell, in a memory-mapped file.

A store is a folder:

    planes.safetensors   one tensor ``planes``, uint8, (total_steps, tracks, 2, 16): per time step and track the frame
                         plane and the onset plane, 128 pitches bit-packed, pitch p in bit p % 8 of byte p // 8
    store.json           steps per beat (quarter note), tracks, and per piece where it lies and what it is
    skipped.csv          files that were left out, and why

Steps come first, so that a window of any length is one contiguous range of bytes.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import mmap
import os
import shutil
import struct
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from musegen.errors import BadInput

__all__ = [
    "PACKED",
    "PLANES_AT",
    "Piece",
    "Shard",
    "Store",
    "StoreTrack",
    "StoreWriter",
    "map_planes",
    "pitch_name",
    "planes_header",
]

FORMAT = 1
PACKED = 16
"""Bytes that hold 128 pitches."""
HEADER_CAP = 1 << 20
PLANES_AT = 256
"""Byte of a store's file at which planes begin: the header is filled up, so that they can be written before it."""
MAP_NORESERVE = 0x4000  # Python names it from 3.13 on


def pitch_name(pitch: int) -> str:
    """Scientific name of a MIDI pitch: C4 for 60, middle C."""
    names = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
    return f"{names[pitch % 12]}{pitch // 12 - 1}"


@dataclass(frozen=True)
class StoreTrack:
    """A track of every piece: its name, the General MIDI program it is written with, and whether it is drums."""

    name: str
    program: int = 0
    is_drum: bool = False


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
        n_notes: per track.
        programs: General MIDI programs seen, per track.
        content: SHA-256 of what is in the store of it, as its builder sums it up.
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


class Tally:
    """What is counted per track of a store.

    Attributes:
        used: pitches that occur, packed, uint8 ``(tracks, 16)``.
        sounding, polyphonic: steps at which a pitch sounds, and at which several do, int64 ``(tracks,)``.
        empty: bars in which nothing sounds, int64 ``(tracks,)``.
        n_steps, n_bars: of all pieces.
    """

    def __init__(self, n_tracks: int) -> None:
        self.used = np.zeros((n_tracks, PACKED), np.uint8)
        self.sounding, self.polyphonic, self.empty = np.zeros((3, n_tracks), np.int64)
        self.n_steps = self.n_bars = 0

    def add(self, planes: np.ndarray, segments: Sequence[Sequence[int]], steps_per_beat: int) -> None:
        """Count a piece, packed planes ``(n_steps, tracks, 2, 16)``."""
        # Eight bytes at a time, and tracks before steps: reducing a short last axis takes many times as long.
        words = np.ascontiguousarray(planes).view(np.uint64)  # (steps, tracks, 2, 2)
        used = np.bitwise_or.reduce(words.reshape(len(words), 4 * len(self.used)), 0).reshape(words.shape[1:])
        self.used |= used[:, 0].view(np.uint8)
        first_half, second_half = words[:, :, 0].T  # (tracks, steps) each
        count = np.add(np.bitwise_count(first_half), np.bitwise_count(second_half), order="C")  # pitches
        sounds = count > 0
        self.sounding += [np.count_nonzero(track) for track in sounds]
        self.polyphonic += [np.count_nonzero(track) for track in count > 1]
        self.n_steps += len(planes)
        for first, bars, numerator, denominator in segments:
            bar = numerator * 4 * steps_per_beat // denominator
            heard = sounds[:, first : first + bars * bar].reshape(-1, bars, bar).any(2)
            self.empty += (~heard).sum(1)
            self.n_bars += bars

    def include(self, other: Tally) -> None:
        """Count what another has counted."""
        self.used |= other.used
        for name in ("sounding", "polyphonic", "empty", "n_steps", "n_bars"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_json(self) -> dict[str, Any]:
        return {
            "used": [track.tobytes().hex() for track in self.used],
            **{name: getattr(self, name).tolist() for name in ("sounding", "polyphonic", "empty")},
            "n_steps": self.n_steps,
            "n_bars": self.n_bars,
        }

    @classmethod
    def from_json(cls, index: Any, n_tracks: int) -> Self | None:
        """The counts of a store's index; None if there are none, or if they do not fit."""
        tally = cls(n_tracks)
        try:
            used = b"".join(bytes.fromhex(track) for track in index["used"])
            tally.used = np.frombuffer(used, np.uint8).reshape(n_tracks, PACKED)
            for name in ("sounding", "polyphonic", "empty"):
                setattr(tally, name, np.array(index[name], np.int64).reshape(n_tracks))
            tally.n_steps, tally.n_bars = int(index["n_steps"]), int(index["n_bars"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        return tally


@dataclass(frozen=True)
class Store:
    """An open store; ``planes`` stays on disk until it is touched."""

    path: Path
    planes: np.ndarray
    tracks: list[StoreTrack]
    pieces: list[Piece]
    steps_per_beat: int
    fingerprint: str
    mapping: str | dict[str, Any] | None = None
    """How tracks of files were assigned, in the terms of whoever built the store: new files are read alike."""
    shard: Shard | None = None
    """Which part of a folder it holds, if not all."""
    tally: Tally | None = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Memory-map a store.

        Raises:
            BadInput: there is none, it is damaged or truncated, or of another format version.
        """
        path = Path(path)
        try:
            index = json.loads((path / "store.json").read_bytes())
            version = index["format"]
        except FileNotFoundError:
            raise BadInput(f"There is no store in {path}: build one with musegen data build.") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise BadInput(f"The store {path} is damaged: store.json cannot be read. Build it again.") from None
        if version != FORMAT:
            raise BadInput(
                f"The store {path} has format {version}, and this musegen reads format {FORMAT}: build it again."
            )
        try:
            tracks = [StoreTrack(**track) for track in index["tracks"]]
            pieces = [Piece(**piece) for piece in index["pieces"]]
            steps_per_beat, fingerprint = int(index["steps_per_beat"]), str(index["sha256"])
            total = int(index["total_steps"])
            mapping = index.get("mapping")
            shard = Shard(**index["shard"]) if "shard" in index else None
        except (KeyError, TypeError, ValueError):
            raise BadInput(f"The store {path} is damaged: store.json is incomplete. Build it again.") from None
        if steps_per_beat < 1 or not all(_fits(piece, total, steps_per_beat) for piece in pieces):
            raise BadInput(f"The store {path} is damaged: a piece lies outside it. Build it again.")
        planes = map_planes(path / "planes.safetensors", (total, len(tracks), 2, PACKED))
        tally = Tally.from_json(index.get("tally"), len(tracks))
        return cls(path, planes, tracks, pieces, steps_per_beat, fingerprint, mapping, shard, tally)

    def windows(
        self,
        n_bars: int,
        numerator: int = 4,
        denominator: int = 4,
        split: str = "train",
        stride_bars: int = 1,
    ) -> np.ndarray:
        """First steps, in the store, of all windows of ``n_bars`` whole bars of one metre within one piece, int64 ``(N,)``."""
        bar = numerator * 4 * self.steps_per_beat // denominator
        starts = [
            piece.first_step + first + bar * np.arange(0, bars - n_bars + 1, stride_bars)
            for piece in self.pieces
            if piece.split == split
            for first, bars, n, d in piece.segments
            if (n, d) == (numerator, denominator) and bars >= n_bars
        ]
        return np.concatenate(starts).astype(np.int64) if starts else np.zeros(0, np.int64)

    def metres(self) -> dict[str, int]:
        """Bars per metre, the most frequent first."""
        bars: Counter[str] = Counter()
        for piece in self.pieces:
            for _, n_bars, numerator, denominator in piece.segments:
                bars[f"{numerator}/{denominator}"] += n_bars
        return dict(bars.most_common())

    def splits(self) -> dict[str, int]:
        """Pieces per split."""
        return dict(Counter(piece.split for piece in self.pieces))

    def tempo_range(self) -> tuple[float, float, float]:
        """Lowest, median and highest first tempo, beats per minute."""
        tempos = [piece.tempo_bpm for piece in self.pieces] or [0.0]
        return min(tempos), float(np.median(tempos)), max(tempos)

    def summary(self) -> list[dict[str, Any]]:
        """Per track: notes, lowest and highest pitch (names; numbers for drums), share of empty bars, share of steps that
        sound, and share of those at which several pitches do. Counted when the store was written; a store that does not hold
        the counts is read, one piece at a time."""
        tally = self.tally
        if tally is None:
            tally = Tally(len(self.tracks))
            for piece in self.pieces:
                tally.add(
                    self.planes[piece.first_step : piece.first_step + piece.n_steps],
                    piece.segments,
                    self.steps_per_beat,
                )
        rows = []
        for i, track in enumerate(self.tracks):
            name = str if track.is_drum else pitch_name
            pitches = np.flatnonzero(np.unpackbits(tally.used[i], bitorder="little")).tolist()
            sounding = int(tally.sounding[i])
            rows.append(
                {
                    "track": track.name,
                    "program": "drums" if track.is_drum else track.program,
                    "notes": sum(piece.n_notes[i] for piece in self.pieces if len(piece.n_notes) > i),
                    "pitches": f"{name(pitches[0])} to {name(pitches[-1])}" if pitches else "none",
                    "empty bars %": round(100 * int(tally.empty[i]) / max(tally.n_bars, 1), 1),
                    "sounding %": round(100 * sounding / max(tally.n_steps, 1), 1),
                    "polyphonic %": round(100 * int(tally.polyphonic[i]) / max(sounding, 1), 1),
                }
            )
        return rows

    def skipped(self) -> list[tuple[str, str]]:
        """Files left out when the store was built, and why."""
        file = self.path / "skipped.csv"
        if not file.is_file():
            return []
        with file.open(encoding="utf-8", errors="surrogateescape", newline="") as text:  # names are what they are
            rows = list(csv.reader(text))
        return [(row[0], row[1]) for row in rows[1:] if len(row) == 2]


def _fits(piece: Piece, total_steps: int, steps_per_beat: int) -> bool:
    """Whether a piece lies in the store and its bars in the piece, so that no window can reach outside."""
    try:
        inside = 0 <= piece.first_step and 0 <= piece.n_steps and piece.first_step + piece.n_steps <= total_steps
        for first, n_bars, numerator, denominator in piece.segments:
            bar, rest = divmod(numerator * 4 * steps_per_beat, denominator)
            inside &= rest == 0 and bar > 0 and 0 <= first and 0 <= n_bars and first + n_bars * bar <= piece.n_steps
        return inside and math.isfinite(piece.tempo_bpm) and piece.tempo_bpm > 0
    except (TypeError, ValueError, ZeroDivisionError):
        return False


def planes_header(shape: Sequence[int]) -> bytes:
    """What stands before planes of a shape in their file: ``PLANES_AT`` bytes."""
    tensor = {"dtype": "U8", "shape": list(shape), "data_offsets": [0, math.prod(shape)]}
    header = json.dumps({"planes": tensor}).encode().ljust(PLANES_AT - 8)
    return struct.pack("<Q", len(header)) + header


def map_planes(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Memory-map the one tensor, after checking what the header claims against the size of the file."""
    problem = BadInput(f"The store file {path} is damaged: its size does not fit its index. Build it again.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
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


class StoreWriter:
    """Writes a store piece by piece, with memory for one piece; nothing appears under its name before it is complete.

    Use it as a context manager, ``add`` pieces in a fixed order, then ``finish``. Whoever writes planes elsewhere, in other
    processes for instance, gives pieces their place with ``reserve`` and writes to ``planes_file``, where step i begins at byte
    ``PLANES_AT + i * step_bytes``.

    Args:
        path: the folder to create.
        mapping: kept as ``Store.mapping``.
        overwrite: replace an older store of that name, once the new one is complete.
        shard: kept as ``Store.shard``.
        temporary: the folder to write in until then, on the same disk; default one beside ``path``.

    Raises:
        BadInput: the folder exists, or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        tracks: Sequence[StoreTrack],
        steps_per_beat: int,
        mapping: str | dict[str, Any] | None = None,
        overwrite: bool = False,
        shard: Shard | None = None,
        temporary: Path | None = None,
    ) -> None:
        self.path, self.tracks, self.steps_per_beat, self.mapping = Path(path), list(tracks), steps_per_beat, mapping
        self.shard = shard
        if self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir())):
            if not overwrite:
                raise BadInput(f"{path} exists: choose another --out, or add --overwrite.")
            if not (self.path / "store.json").is_file():
                raise BadInput(f"{path} is no store, so --overwrite leaves it alone: choose another --out.")
        self.temporary = temporary or self.path.with_name(f".{self.path.name}.{os.getpid()}.new")
        self.planes_file = self.temporary / "planes.safetensors"
        self.step_bytes = len(self.tracks) * 2 * PACKED
        self.pieces: list[Piece] = []
        self.total = 0
        self.tally = Tally(len(self.tracks))

    def __enter__(self) -> Self:
        try:
            shutil.rmtree(self.temporary, ignore_errors=True)
            self.temporary.mkdir(parents=True)
            self._planes = self.planes_file.open("wb")
        except OSError as error:
            raise BadInput(f"The folder {self.path} cannot be written: {error.strerror}.") from None
        return self

    def reserve(self, n_steps: int, piece: dict[str, Any]) -> int:
        """Give a piece its place, after all others; its first step.

        Args:
            piece: the fields of ``Piece`` but its place.
        """
        self.pieces.append(Piece(first_step=self.total, n_steps=n_steps, **piece))
        self.total += n_steps
        return self.total - n_steps

    def add(self, planes: np.ndarray, piece: dict[str, Any]) -> None:
        """Append a piece.

        Args:
            planes: packed, uint8 ``(n_steps, tracks, 2, 16)``.
            piece: the fields of ``Piece`` but its place, and ``content`` if the planes themselves are to be summed up.
        """
        if planes.dtype != np.uint8 or planes.shape[1:] != (len(self.tracks), 2, PACKED):
            raise ValueError(f"planes of shape {planes.shape} and type {planes.dtype} do not fit the store")
        planes = np.ascontiguousarray(planes)
        content = piece.get("content") or hashlib.sha256(planes.data).hexdigest()
        self._planes.seek(PLANES_AT + self.reserve(len(planes), piece | {"content": content}) * self.step_bytes)
        self._planes.write(planes.data)
        self.tally.add(planes, self.pieces[-1].segments, self.steps_per_beat)

    def finish(self, skipped: Iterable[tuple[str, str]] = ()) -> None:
        """Write header and index, and give the store its name."""
        self._planes.seek(0)
        self._planes.write(planes_header((self.total, len(self.tracks), 2, PACKED)))
        self._planes.truncate(PLANES_AT + self.total * self.step_bytes)
        self._planes.flush()
        os.fsync(self._planes.fileno())
        self._planes.close()
        with (self.temporary / "skipped.csv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as text:
            writer = csv.writer(text)
            writer.writerow(["path", "reason"])
            writer.writerows(skipped)
        digest = hashlib.sha256()
        for piece in self.pieces:
            digest.update(f"{piece.n_steps} {piece.content}\n".encode())
        index: dict[str, Any] = {
            "format": FORMAT,
            "steps_per_beat": self.steps_per_beat,
            "total_steps": self.total,
            "sha256": digest.hexdigest(),
            "mapping": self.mapping,
            "tally": self.tally.as_json(),
            "tracks": [asdict(track) for track in self.tracks],
        }
        if self.shard:
            index["shard"] = asdict(self.shard)
        with (self.temporary / "store.json").open("w", encoding="utf-8") as file:
            # Piece by piece: the text of a million of them need not be in memory.
            file.write(json.dumps(index)[:-1] + ', "pieces": [')
            for i, piece in enumerate(self.pieces):
                file.write((",\n" if i else "\n") + json.dumps(vars(piece)))
            file.write("]}")
            file.flush()
            os.fsync(file.fileno())
        if self.path.exists():
            shutil.rmtree(self.path)
        self.temporary.replace(self.path)

    def __exit__(self, *_: object) -> None:
        self._planes.close()
        shutil.rmtree(self.temporary, ignore_errors=True)
