"""From a folder of MIDI or Lakh pianoroll files to a packed store.

Every file is opened once, in a worker process. A file that crashes its worker, or takes too long, costs itself and
nothing else. Pieces are written in the order of their names, so the number of workers does not change the store.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from musegen.data.store import PACKED, Piece, StoreWriter
from musegen.errors import BadInput, MidiError
from musegen_pianoroll.roles import track_specs

__all__ = ["BuildReport", "build_store", "find_files", "read_piece"]

SUFFIXES = {".mid", ".midi", ".npz"}
TIMEOUT_S = 10.0
WORKER = (sys.executable, "-m", "musegen_pianoroll.worker")


@dataclass(frozen=True)
class BuildReport:
    """What a build did: pieces kept, files left out with the reason, seconds taken."""

    n_read: int
    skipped: list[tuple[str, str]]
    seconds: float

    @property
    def n_skipped(self) -> int:
        return len(self.skipped)


class Worker:
    """A reading process that is started when needed and replaced when it dies."""

    def __init__(self, tracks: str | dict[str, Any], steps_per_beat: int) -> None:
        self.tracks, self.steps_per_beat = tracks, steps_per_beat
        self.process: subprocess.Popen[bytes] | None = None

    def read(self, path: Path) -> tuple[np.ndarray, dict[str, Any]]:
        """Planes and the known fields of a piece.

        Raises:
            MidiError: the file cannot be used, or crashed the reader, or took too long.
        """
        if self.process is None:
            self.process = subprocess.Popen(
                WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(TIMEOUT_S, stop)
        timer.start()
        try:
            request = {"path": os.fspath(path), "tracks": self.tracks, "steps_per_beat": self.steps_per_beat}
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            header = json.loads(process.stdout.readline() or b"null")
            content = process.stdout.read(header["size"]) if header else b""
        except (BrokenPipeError, ValueError):
            header, content = None, b""
        finally:
            timer.cancel()
        if not header or len(content) < header["size"]:
            self.close()
            raise MidiError(
                path, f"took longer than {TIMEOUT_S:.0f} s to read" if late.is_set() else "crashed the reader"
            )
        if "reason" in header:
            raise MidiError(path, header["reason"])
        planes = np.frombuffer(content, np.uint8).reshape(header["n_steps"], -1, 2, PACKED)
        return planes, header["piece"]

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):  # a request that the dead process never read
                        pipe.close()
            self.process.wait()
            self.process = None


def find_files(folder: Path) -> list[Path]:
    """All MIDI and npz files below a folder, in the order of their names.

    Raises:
        BadInput: no such folder, or none in it.
    """
    if not folder.is_dir():
        if folder.is_file() and folder.suffix.lower() in SUFFIXES:
            return [folder]
        problem = "is no MIDI file, folder or store" if folder.exists() else "does not exist"
        raise BadInput(f"{folder} {problem}: give a folder of MIDI files, or a store.")
    # os.walk rather than rglob: a folder without permission is passed over instead of ending the search.
    paths = [Path(where) / name for where, _, names in os.walk(folder) for name in names]
    files = sorted(path for path in paths if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    if not files:
        raise BadInput(f"The folder {folder} holds no MIDI files (.mid, .midi) and no Lakh pianoroll files (.npz).")
    return files


def read_piece(path: Path, tracks: str | dict[str, Any], steps_per_beat: int) -> tuple[np.ndarray, dict[str, Any]]:
    """One file: packed planes ``(n_steps, tracks, 2, 16)``, and what is known of it (``segments``, ``tempo_bpm`` … of ``Piece``).

    Raises:
        MidiError: it cannot be used.
    """
    worker = Worker(tracks, steps_per_beat)
    try:
        planes, piece = worker.read(path)
    finally:
        worker.close()
    return planes.copy(), piece


def build_store(
    folder: Path,
    out: Path,
    *,
    tracks: str | dict[str, Any] = "band",
    steps_per_beat: int = 4,
    splits: tuple[float, float, float] = (0.8, 0.1, 0.1),
    workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> BuildReport:
    """Build a packed store.

    Args:
        folder: searched recursively; a single file works too.
        out: the store's folder.
        tracks: see ``roles.track_specs``.
        steps_per_beat: time steps per quarter note.
        splits: shares of pieces for training, validation and test; pieces are dealt out by their checksum.
        workers: reading processes; default one per processor.
        overwrite: replace an older store.
        progress: called with files done and files in all.

    Raises:
        BadInput: nothing to read, nothing that can be read, or ``out`` exists.
    """
    started = time.monotonic()
    folder, specs = Path(folder), track_specs(tracks)
    files = find_files(folder)
    base = folder if folder.is_dir() else folder.parent
    skipped: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    with StoreWriter(Path(out), specs, steps_per_beat, tracks, overwrite) as writer:
        results = _read_all(files, tracks, steps_per_beat, workers or os.cpu_count() or 1)
        for done, (path, result) in enumerate(results, 1):
            name = path.relative_to(base).as_posix()
            if isinstance(result, MidiError):
                skipped.append((name, result.reason))
            elif result[1]["sha256"] in seen:
                skipped.append((name, f"same as {seen[result[1]['sha256']]}"))
            else:
                planes, piece = result
                seen[piece["sha256"]] = name
                writer.add(planes, piece | {"source": name, "split": "train"})
            if progress is not None:
                progress(done, len(files))
        if not writer.pieces:
            reasons = "; ".join(f"{name} {reason}" for name, reason in skipped[:3])
            raise BadInput(f"None of the {len(files)} files in {folder} can be used: {reasons}.")
        writer.pieces = _deal(writer.pieces, splits)
        writer.finish(skipped)
    return BuildReport(len(seen), skipped, time.monotonic() - started)


def _deal(pieces: list[Piece], splits: tuple[float, float, float]) -> list[Piece]:
    """Deal pieces out by checksum in exact proportions: at least one per split, but with fewer than three all to training."""
    n = len(pieces)
    if n < 3:
        return pieces
    n_valid, n_test = (max(1, round(share * n)) for share in splits[1:])
    order = sorted(range(n), key=lambda i: pieces[i].sha256)
    split = ["train"] * n
    for rank, i in enumerate(order):
        if rank < n_valid + n_test:
            split[i] = "valid" if rank < n_valid else "test"
    return [replace(piece, split=s) for piece, s in zip(pieces, split, strict=True)]


def _read_all(
    files: list[Path], tracks: str | dict[str, Any], steps_per_beat: int, n_workers: int
) -> Iterator[tuple[Path, tuple[np.ndarray, dict[str, Any]] | MidiError]]:
    """Read files in parallel, yielded in order; only a bounded number of results waits at any time."""
    n_workers = max(1, min(n_workers, len(files)))
    pool_of_workers = deque(Worker(tracks, steps_per_beat) for _ in range(n_workers))
    everyone = list(pool_of_workers)

    def read(path: Path) -> tuple[np.ndarray, dict[str, Any]] | MidiError:
        worker = pool_of_workers.popleft()  # as many threads as workers, so there is always one
        try:
            return worker.read(path)
        except MidiError as error:
            return error
        finally:
            pool_of_workers.append(worker)

    waiting: deque[tuple[Path, Future[Any]]] = deque()
    remaining = iter(files)
    try:
        with ThreadPoolExecutor(n_workers) as threads:
            for path in remaining:
                waiting.append((path, threads.submit(read, path)))
                if len(waiting) >= 4 * n_workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
    finally:
        for worker in everyone:
            worker.close()
