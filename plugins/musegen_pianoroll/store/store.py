"""The packed store: a corpus of binary rolls, one bit per cell, in a memory-mapped file.

A store is a folder:

    planes.safetensors   one tensor ``planes``, uint8, (total_steps, tracks, P, 16): per time step and track the frame
                         plane and the onset plane, 128 pitches bit-packed, pitch p in bit p % 8 of byte p // 8; in a
                         store with velocities (P = 5) also three planes of levels, see ``velocities``
    store.json           steps per beat (quarter note), tracks, and per piece where it lies and what it is
    skipped.csv          files that were left out, and why
    mended.csv           what was wrong with files that were read all the same, if there are any

Steps come first, so that a window of any length is one contiguous range of bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from musegen.errors import BadInput
from musegen.files import content_of
from musegen_pianoroll.limits import INDEX_CAP_BYTES
from musegen_pianoroll.store.format import (
    FORMAT,
    GRIDS,
    PACKED,
    Heard,
    Piece,
    Shard,
    StoreTrack,
    digest_of,
    fingerprint_of,
    fits,
    map_planes,
    pitch_name,
)
from musegen_pianoroll.store.metres import bar_steps_of, bars_in, is_part, signature, usual_metre
from musegen_pianoroll.store.rooms import Rooms
from musegen_pianoroll.store.tally import Tally
from musegen_pianoroll.store.velocities import LEVEL_PLANES, NOTE_PLANES, TYPICAL, typical

__all__ = ["Store", "UseOfBars"]


def _has_loudness(piece: Piece, n_tracks: int) -> bool:
    """Whether a piece tells velocities as ``velocities.loudness`` does."""
    numbers = piece.loudness
    return (
        isinstance(numbers, list)
        and len(numbers) == n_tracks
        and all(isinstance(row, list) and len(row) == 2 * len(TYPICAL) for row in numbers)
        and all(isinstance(n, int) and 0 <= n < 1 << 40 for row in numbers for n in row)
    )


@dataclass(frozen=True)
class UseOfBars:
    """Bars of a store.

    Attributes:
        used: in windows.
        short: of the metre, but with too few of them in a row.
        other: of other metres, or cut short.
    """

    used: int
    short: int
    other: int

    @property
    def all(self) -> int:
        return self.used + self.short + self.other

    @property
    def unused(self) -> int:
        return self.short + self.other


@dataclass(frozen=True)
class Store:
    """An open store; ``planes`` stays on disk until it is touched.

    >>> import shutil
    >>> from pathlib import Path
    >>> from musegen.data.bundled import bundled
    >>> from musegen_pianoroll.reading.build import build_store
    >>> from musegen_pianoroll.store.store import Store
    >>> Path("midi").mkdir()
    >>> _ = shutil.copy(bundled("chorales") / "bwv253.mid", "midi")
    >>> report = build_store(Path("midi"), Path("store"), tracks="voices", workers=1)
    >>> store = Store.open(Path("store"))
    >>> len(store.pieces), store.metres(), [track.name for track in store.tracks]
    (1, {'4/4': 11}, ['Soprano', 'Alto', 'Tenor', 'Bass'])
    """

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
    heard: Heard = field(default_factory=Heard)
    planes_sha256: str | None = None

    def verify(self) -> None:
        """Read all planes, and compare them with their checksum; a store of an older version of musegen has none.

        Raises:
            BadInput: they are not those that were written.
        """
        if self.planes_sha256 is not None and digest_of(self.path / "planes.safetensors") != self.planes_sha256:
            raise BadInput(f"The store {self.path} is damaged: its notes do not match their checksum. Build it again.")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Memory-map a store.

        Raises:
            BadInput: there is none, it is damaged or truncated, or of another format version.
        """
        path = Path(path)
        try:
            index = json.loads(content_of(path / "store.json", INDEX_CAP_BYTES))
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
            tracks = [StoreTrack.from_json(track) for track in index["tracks"]]
            pieces = [Piece(**piece) for piece in index["pieces"]]
            steps_per_beat, fingerprint = int(index["steps_per_beat"]), str(index["sha256"])
            total = int(index["total_steps"])
            mapping = index.get("mapping")
            shard = Shard(**index["shard"]) if "shard" in index else None
            heard = Heard(**index.get("heard", {}))
            planes_sha256 = index.get("planes_sha256")
            n_planes = index.get("planes_per_track", NOTE_PLANES)
            intact = fingerprint == fingerprint_of(pieces)
        except (KeyError, TypeError, ValueError):
            raise BadInput(f"The store {path} is damaged: store.json is incomplete. Build it again.") from None
        if not intact:
            raise BadInput(f"The store {path} is damaged: its pieces are not those of its checksum. Build it again.")
        if n_planes not in (NOTE_PLANES, NOTE_PLANES + LEVEL_PLANES):
            raise BadInput(f"The store {path} is damaged: its tracks have {n_planes} planes. Build it again.")
        if n_planes > NOTE_PLANES and not all(_has_loudness(piece, len(tracks)) for piece in pieces):
            raise BadInput(f"The store {path} is damaged: a piece lacks velocities. Build it again.")
        if steps_per_beat < 1 or not all(fits(piece, total, steps_per_beat) for piece in pieces):
            raise BadInput(f"The store {path} is damaged: a piece lies outside it. Build it again.")
        planes = map_planes(path / "planes.safetensors", (total, len(tracks), n_planes, PACKED))
        tally = Tally.from_json(index.get("tally"), len(tracks))
        return cls(
            path, planes, tracks, pieces, steps_per_beat, fingerprint, mapping, shard, tally, heard, planes_sha256
        )

    def windows(
        self,
        n_bars: int,
        numerator: int = 4,
        denominator: int = 4,
        split: str = "train",
        stride_bars: int = 1,
    ) -> np.ndarray:
        """First steps, in the store, of all windows of ``n_bars`` whole bars of one metre within one piece, int64 ``(N,)``; parts
        of bars are joined, see ``metres.bars_in``."""
        bar = bar_steps_of(numerator, denominator, self.steps_per_beat)
        starts = [
            piece.first_step + first + bar * np.arange(0, bars - n_bars + 1, stride_bars)
            for piece in self.pieces
            if piece.split == split
            for first, bars in bars_in(piece.segments, (numerator, denominator), self.steps_per_beat)[0]
            if bars >= n_bars
        ]
        return np.concatenate(starts).astype(np.int64) if starts else np.zeros(0, np.int64)

    def use_of_bars(self, n_bars: int, rooms: Rooms) -> UseOfBars:
        """How many bars are in windows of ``n_bars`` bars of some metres, and why the others are not."""
        used = short = other = 0
        for piece in self.pieces:
            runs = [sum(s.n_bars for s in group) for group in rooms.stretches(piece.segments)]
            used += sum(n for n in runs if n >= n_bars)
            short += sum(n for n in runs if n < n_bars)
            other += rooms.others(piece.segments) + piece.n_odd
        return UseOfBars(used, short, other)

    def other_metres(self, rooms: Rooms) -> dict[str, int]:
        """Bars of metres that are not used where bars of these are, the most frequent first."""
        return {
            name: n
            for name, n in self.metres().items()
            if not any(is_part(*signature(name), metre) for metre in rooms.metres)
        }

    def off_grid(self) -> dict[int, float]:
        """Share of onsets that lie further than a fifth of a step off, by steps per beat; empty if it was not counted."""
        known = [piece.off_grid for piece in self.pieces if len(piece.off_grid) == len(GRIDS) + 1]
        *off, n_onsets = map(sum, zip(*known, strict=True)) if known else (0,)
        return {grid: n / n_onsets for grid, n in zip(GRIDS, off, strict=True)} if n_onsets else {}

    @property
    def has_velocities(self) -> bool:
        """Whether it holds levels of loudness."""
        return self.planes.shape[2] > NOTE_PLANES

    def velocities(self) -> list[list[int]]:
        """The MIDI velocity of each level of each track, of a store with velocities."""
        return typical((piece.loudness for piece in self.pieces), len(self.tracks))

    @property
    def usual_metre(self) -> tuple[int, int]:
        """The metre that most of the music is in."""
        return usual_metre([piece.segments for piece in self.pieces], self.steps_per_beat)

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
        try:
            text = content_of(file, INDEX_CAP_BYTES).decode("utf-8", "surrogateescape")  # names are what they are
            rows = list(csv.reader(io.StringIO(text, newline="")))
        except (OSError, csv.Error):
            raise BadInput(f"{file} is damaged: remove it, or build the store again.") from None
        return [(row[0], row[1]) for row in rows[1:] if len(row) == 2]
