"""Writing a store piece by piece."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np

from musegen.errors import because_of
from musegen.folders import NewFolder
from musegen_pianoroll.store.format import (
    FORMAT,
    PACKED,
    PLANES_AT,
    Heard,
    Piece,
    Shard,
    StoreTrack,
    digest_of,
    fingerprint_of,
    fits,
    planes_header,
)
from musegen_pianoroll.store.tally import Tally
from musegen_pianoroll.store.velocities import LEVEL_PLANES, NOTE_PLANES

__all__ = ["StoreWriter"]


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
        temporary: the folder to write in until then, on the same disk, in a folder that is claimed; default one beside ``path``.
        heard: kept as ``Store.heard``.
        velocities: whether there are planes of levels, see ``velocities``.

    Raises:
        BadInput: the folder exists, or another process makes it, or it cannot be written.
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
        heard: Heard = Heard(),  # noqa: B008
        velocities: bool = False,
    ) -> None:
        self.path, self.tracks, self.steps_per_beat, self.mapping = Path(path), list(tracks), steps_per_beat, mapping
        self.shard, self.heard = shard, heard
        self._new = NewFolder(path, "store.json", "store", overwrite, temporary=temporary)
        self.temporary = self._new.temporary
        self.planes_file = self.temporary / "planes.safetensors"
        self.n_planes = NOTE_PLANES + (LEVEL_PLANES if velocities else 0)
        self.step_bytes = len(self.tracks) * self.n_planes * PACKED
        self.pieces: list[Piece] = []
        self.total = 0
        self.tally = Tally(len(self.tracks))

    def __enter__(self) -> Self:
        self._new.__enter__()
        try:
            self._planes = self.planes_file.open("wb")
        except OSError as error:
            self._new.__exit__()
            raise because_of(error, f"The folder {self.path} cannot be written: {error.strerror}.") from None
        return self

    def reserve(self, n_steps: int, piece: dict[str, Any]) -> int:
        """Give a piece its place, after all others; its first step.

        Args:
            piece: the fields of ``Piece`` but its place.
        """
        placed = Piece(first_step=self.total, n_steps=n_steps, **piece)
        if not fits(placed, self.total + n_steps, self.steps_per_beat):
            raise ValueError(f"{placed.source}: bars, or a tempo, with which no store can be opened")
        self.pieces.append(placed)
        self.total += n_steps
        return self.total - n_steps

    def add(self, planes: np.ndarray, piece: dict[str, Any]) -> None:
        """Append a piece.

        Args:
            planes: packed, uint8 ``(n_steps, tracks, P, 16)``.
            piece: the fields of ``Piece`` but its place, and ``content`` if the planes themselves are to be summed up.
        """
        if planes.dtype != np.uint8 or planes.shape[1:] != (len(self.tracks), self.n_planes, PACKED):
            raise ValueError(f"planes of shape {planes.shape} and type {planes.dtype} do not fit the store")
        planes = np.ascontiguousarray(planes)
        content = piece.get("content") or hashlib.sha256(planes.data).hexdigest()
        self._planes.seek(PLANES_AT + self.reserve(len(planes), piece | {"content": content}) * self.step_bytes)
        self._planes.write(planes.data)
        self.tally.add(planes, self.pieces[-1].segments, self.steps_per_beat)

    def finish(self, skipped: Iterable[tuple[str, str]] = ()) -> None:
        """Write header and index, and give the store its name."""
        self._planes.seek(0)
        self._planes.write(planes_header((self.total, len(self.tracks), self.n_planes, PACKED)))
        self._planes.truncate(PLANES_AT + self.total * self.step_bytes)
        self._planes.flush()
        os.fsync(self._planes.fileno())
        self._planes.close()
        self._write_table("skipped.csv", "reason", skipped)
        mended = [(piece.source, what) for piece in self.pieces for what in piece.mended]
        if mended:
            self._write_table("mended.csv", "what was wrong", mended)
        index: dict[str, Any] = {
            "format": FORMAT,
            "steps_per_beat": self.steps_per_beat,
            "total_steps": self.total,
            "sha256": fingerprint_of(self.pieces),
            "planes_sha256": digest_of(self.planes_file),
            "mapping": self.mapping,
            "heard": asdict(self.heard),
            "tally": self.tally.as_json(),
            "tracks": [track.as_json() for track in self.tracks],
        }
        if self.n_planes != NOTE_PLANES:
            index["planes_per_track"] = self.n_planes
        if self.shard:
            index["shard"] = asdict(self.shard)
        with (self.temporary / "store.json").open("w", encoding="utf-8") as file:
            # Piece by piece: the text of a million of them need not be in memory.
            file.write(json.dumps(index)[:-1] + ', "pieces": [')
            for i, piece in enumerate(self.pieces):
                file.write((",\n" if i else "\n") + json.dumps(piece.as_json()))
            file.write("]}")
            file.flush()
            os.fsync(file.fileno())
        self._new.commit()

    def _write_table(self, name: str, column: str, rows: Iterable[tuple[str, str]]) -> None:
        with (self.temporary / name).open("w", encoding="utf-8", errors="surrogateescape", newline="") as text:
            writer = csv.writer(text)
            writer.writerow(["path", column])
            writer.writerows(rows)

    def __exit__(self, *_: object) -> None:
        self._planes.close()
        self._new.__exit__()
