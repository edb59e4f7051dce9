"""From a folder of MIDI or Lakh pianoroll files to a packed store.

Files are read in worker processes (``reading.crew``), some at a time: a part (``reading.parts``). Every file is opened once. One
that crashes its worker, or takes too long, costs itself and nothing else (the part is read again without it). What was read is
kept, so an interrupted build goes on where it was.
When all parts are there, pieces get their places in the order of their names, and workers write the planes. Neither the
number of workers nor the parts change the store.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from musegen.errors import BadInput
from musegen.folders import Claim
from musegen.reporting import report
from musegen_pianoroll.reading.crew import Crew, Worker
from musegen_pianoroll.reading.folder import find_files, unread_suffixes
from musegen_pianoroll.reading.options import Pedal, Reading
from musegen_pianoroll.reading.parts import Part, parts_of
from musegen_pianoroll.reading.roles import track_specs
from musegen_pianoroll.store.format import PLANES_AT, Heard, Shard
from musegen_pianoroll.store.merge import SPLITS, deal
from musegen_pianoroll.store.tally import Tally
from musegen_pianoroll.store.writer import StoreWriter

__all__ = ["BuildReport", "build_store"]


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        n_read: pieces kept.
        skipped: files left out, and why.
        seconds: taken.
        unread: files of other kinds, by suffix.
    """

    n_read: int
    skipped: list[tuple[str, str]]
    seconds: float
    unread: Counter[str]

    @property
    def n_skipped(self) -> int:
        return len(self.skipped)


def build_store(
    folder: Path,
    out: Path,
    *,
    tracks: str | dict[str, Any] = "band",
    steps_per_beat: int = 4,
    pedal: Pedal = "piano",
    file_metre: str = "",
    velocities: bool = False,
    splits: tuple[float, float, float] = SPLITS,
    workers: int | None = None,
    overwrite: bool = False,
    shard: tuple[int, int] = (1, 1),
) -> BuildReport:
    """Build a packed store. When interrupted, what was read stays in ``OUT.building``, and the same call goes on from there.

    Args:
        folder: searched recursively; a single file works too.
        out: the store's folder.
        tracks, steps_per_beat, pedal, file_metre, velocities: as of ``Reading``.
        splits: shares of pieces for training, validation and test; pieces are dealt out by their checksum.
        workers: reading processes; default one per processor.
        overwrite: replace an older store.
        shard: (i, n): only every n-th file, from the i-th on; ``merge_stores`` makes one store of all n.

    Raises:
        BadInput: nothing to read, nothing that can be read, ``out`` exists, or another process is building it.
    """
    started = time.monotonic()
    folder, out, specs = Path(folder), Path(out), track_specs(tracks)
    reading = Reading(tracks, steps_per_beat, pedal, file_metre, velocities=velocities)
    base, names, share = _share(folder, *shard)
    building = out.with_name(f"{out.name}.building")
    heard = Heard(pedal, file_metre)
    writer = StoreWriter(out, specs, steps_per_beat, tracks, overwrite, share, building / "store", heard, velocities)
    with Claim(building, f"The store {out}"):
        parts = parts_of(base, names, [version("musegen"), asdict(reading)], building)
        n_workers = max(1, min(workers or os.cpu_count() or 1, len(parts)))
        with Crew([Worker(reading, building) for _ in range(n_workers)]) as crew:
            _read(parts, crew)
            with writer:
                skipped, places = _place(parts, writer)
                if not writer.pieces and not share:
                    shutil.rmtree(building, ignore_errors=True)
                    raise _nothing_usable(folder, skipped)
                _pack(parts, places, crew, writer)
                writer.pieces = deal(writer.pieces, splits)
                writer.finish(skipped)
        shutil.rmtree(building, ignore_errors=True)  # before another process may use it
    return BuildReport(len(writer.pieces), skipped, time.monotonic() - started, unread_suffixes(folder))


def _share(folder: Path, index: int, of: int) -> tuple[Path, list[str], Shard | None]:
    """What there is to read of a folder: what names are relative to, the names, and which share of all files they are."""
    if not 1 <= index <= of:
        raise BadInput(f"Shard {index}/{of} does not exist: use 1/{of} to {of}/{of}.")
    base, names = find_files(folder)
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()
    return base, names[index - 1 :: of], Shard(index, of, digest) if of > 1 else None


def _read(parts: Sequence[Part], crew: Crew) -> None:
    """Read the parts that are not there yet."""
    missing = [part for part in parts if part.entries() is None]
    total = sum(len(part.names) for part in parts)
    done = total - sum(len(part.names) for part in missing)
    report("Reading", done, total, "files")
    for i in crew.do(lambda worker, part: worker.read_part(part.files, part.at), missing):
        done += len(missing[i].names)
        report("Reading", done, total, "files")


Places = list[list[Any]]
"""Of the pieces of a part, as a worker is told: first key, keys, steps, byte in the store, content, segments."""


def _place(parts: Sequence[Part], writer: StoreWriter) -> tuple[list[tuple[str, str]], list[Places]]:
    """Give every piece its place in the store; files left out, and per part what is to be written where."""
    skipped: list[tuple[str, str]] = []
    every: list[Places] = []
    seen: dict[str, str] = {}
    for part in parts:
        first_key, places = 0, []
        entries = part.entries()
        if entries is None:
            raise BadInput(f"{part.at}.json was damaged while the store was built: build again.")
        for name, entry in zip(part.names, entries, strict=True):
            if "reason" in entry:
                skipped.append((name, entry["reason"]))
                continue
            piece, n_steps = entry["piece"], entry["n_steps"]
            if piece["sha256"] in seen:
                skipped.append((name, f"same as {seen[piece['sha256']]}"))
            else:
                seen[piece["sha256"]] = name
                place = PLANES_AT + writer.step_bytes * writer.reserve(
                    n_steps, piece | {"source": name, "split": "train"}
                )
                places.append([first_key, entry["n_keys"], n_steps, place, piece["content"], piece["segments"]])
            first_key += entry["n_keys"]
        every.append(places)
    return skipped, every


def _pack(parts: Sequence[Part], places: Sequence[Places], crew: Crew, writer: StoreWriter) -> None:
    """Write the planes of all pieces, and add up what the workers count in them."""
    tasks = list(zip(parts, places, strict=True))
    for i in crew.do(lambda worker, task: worker.pack_part(task[0].at, task[1], writer), tasks):
        tally = Tally.from_json(json.loads(Path(f"{parts[i].at}.tally").read_bytes()), len(writer.tracks))
        assert tally is not None
        writer.tally.include(tally)


def _nothing_usable(folder: Path, skipped: Sequence[tuple[str, str]]) -> BadInput:
    reasons = "; ".join(f"{name} {reason}" for name, reason in skipped[:3])
    return BadInput(f"None of the {len(skipped)} files in {folder} can be used: {reasons}.")
