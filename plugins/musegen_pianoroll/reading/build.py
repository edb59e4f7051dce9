"""From a folder of MIDI or Lakh pianoroll files to a packed store.

Files are read in worker processes, some at a time: a part. Every file is opened once. One that crashes its worker, or takes too
long, costs itself and nothing else (the part is read again without it). What a part holds, notes and what is known of each
piece, lies in two files in the folder ``OUT.building`` under a name made of all that it depends on: the options, and the names,
sizes and times of its files. So an interrupted build goes on where it was, a changed file costs its part, and other options find
nothing.
When all parts are there, pieces get their places in the order of their names, and workers write the planes. Neither the
number of workers nor the parts change the store.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import numpy as np

from musegen.errors import BadInput, MusegenError
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.quantise import from_keys, pack_notes
from musegen_pianoroll.reading.roles import track_specs
from musegen_pianoroll.store.format import PLANES_AT, Shard
from musegen_pianoroll.store.merge import SPLITS, deal, name_order
from musegen_pianoroll.store.tally import Tally
from musegen_pianoroll.store.writer import StoreWriter

__all__ = ["BuildReport", "build_store", "find_files", "read_piece"]

SUFFIXES = (".mid", ".midi", ".npz")
TIMEOUT_S = 10.0
PART_FILES = 32
WORKER = (sys.executable, "-m", "musegen_pianoroll.reading.worker")
_KEPT_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "268435456"}
"""For the C library of a worker: keep freed memory. Asking for it anew costs a quarter of the time that a file takes."""


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
    """A reading process that is started when needed and replaced when it dies.

    Args:
        tracks, steps_per_beat: as for ``build_store``.
        folder: for a small file that says which file is being read.
    """

    def __init__(self, tracks: str | dict[str, Any], steps_per_beat: int, folder: Path | None = None) -> None:
        self.tracks, self.steps_per_beat = tracks, steps_per_beat
        self.process: subprocess.Popen[bytes] | None = None
        self._own = None if folder else tempfile.TemporaryDirectory(prefix="musegen-")
        self.folder = folder or Path(self._own.name)  # type: ignore[union-attr]
        self.progress = self.folder / f"at-{id(self):x}"
        self.closed = self.late = False
        self.since: float | None = None  # when the file at hand was begun, as far as ``look`` knows; None: none is
        self._seen = (0, 0)

    def read_part(self, paths: Sequence[str], part: Path) -> None:
        """Read files into a part. Those that cannot be used are named in it."""
        refused: dict[str, str] = {}
        request = {"read": paths, "alone": False, "refused": refused, "part": os.fspath(part)}
        request |= {"tracks": self.tracks, "steps_per_beat": self.steps_per_beat}
        while not self._ask(request, patient=False):
            at, n_together = self.at()
            if n_together > 1:
                request["alone"] = True
                continue
            if at >= len(paths):  # after the last file: the fault is none of theirs
                raise BadInput(f"The folder {part.parent} cannot be written: is the disk full?")
            reason = f"took longer than {TIMEOUT_S:.0f} s to read" if self.late else "crashed the reader"
            refused[str(at)] = reason

    def pack_part(self, part: Path, pieces: Sequence[Sequence[Any]], writer: StoreWriter) -> None:
        """Write the planes of a part's pieces."""
        request = {"pack": os.fspath(part), "pieces": pieces, "n_tracks": len(writer.tracks)}
        request |= {"planes": os.fspath(writer.planes_file), "steps_per_beat": self.steps_per_beat}
        if not self._ask(request, patient=True):
            part.with_suffix(".json").unlink(missing_ok=True)
            raise BadInput(
                f"{writer.planes_file.parent} could not be written: see that the disk is not full, and build again."
            )

    def read(self, path: Path) -> tuple[np.ndarray, dict[str, Any]]:
        """Planes and the known fields of one piece.

        Raises:
            MidiError: the file cannot be used, or crashed the reader, or took too long.
        """
        part = self.folder / "one"
        with watching([self]):
            self.read_part([os.fspath(path)], part)
        (entry,) = json.loads((self.folder / "one.json").read_bytes())
        if "reason" in entry:
            raise MidiError(path, entry["reason"])
        keys = np.fromfile(self.folder / "one.notes", np.int64)
        return pack_notes(from_keys(keys), entry["n_steps"], len(track_specs(self.tracks))), entry["piece"]

    def _ask(self, request: dict[str, Any], patient: bool) -> bool:
        """Whether a request was answered; if not, the process is gone. ``patient``: however long it takes."""
        self.progress.write_bytes(bytes(8))
        if self.closed:
            raise Stopped
        if self.process is None:
            # A session of its own: Ctrl-C is for the parent, which must not take it for a crash of the reader.
            self.process = subprocess.Popen(
                WORKER,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**_KEPT_MEMORY, **os.environ},
                start_new_session=True,
            )
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        self._seen, self.late, self.since = (0, 0), False, None if patient else time.monotonic()
        try:
            process.stdin.write(json.dumps({"progress": os.fspath(self.progress), **request}).encode() + b"\n")
            process.stdin.flush()
            answered = process.stdout.readline() == b"\n"
        except (BrokenPipeError, ValueError):
            answered = False
        self.since = None
        if not answered:
            self._end()
            if self.closed or process.returncode in (-signal.SIGINT, -signal.SIGTERM):
                raise Stopped  # from outside: no fault of the file
        return answered

    def at(self) -> tuple[int, int]:
        """The number, within its part, of the first file that is being read, and how many are."""
        at, n_together = struct.unpack("<II", self.progress.read_bytes()[:8])
        return at, n_together

    def look(self) -> None:
        """Kill the process if a file takes too long. To start takes what it takes: on a busy machine, no file's fault."""
        since, process = self.since, self.process
        if since is None or process is None:
            return
        at = self.at()
        if at != self._seen:
            self._seen, self.since = at, time.monotonic()
        elif at != (0, 0) and time.monotonic() - since > TIMEOUT_S:
            self.late = True
            process.kill()

    def _end(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):  # a request that the dead process never read
                        pipe.close()
            process.wait()

    def close(self) -> None:
        """End the process; a request under way in another thread raises ``Stopped``."""
        self.closed = True
        if self.since is None:
            self._end()
        elif self.process is not None:
            self.process.kill()
        if self._own is not None:
            self._own.cleanup()


class Stopped(MusegenError):
    """The build was stopped while a worker was busy."""

    def __str__(self) -> str:
        return "The readers were stopped from outside. What was read is kept: the same command goes on from there."


@contextlib.contextmanager
def watching(workers: Sequence[Worker]) -> Iterator[None]:
    """One thread that sees to it that no file takes too long."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(min(TIMEOUT_S / 10, 0.5)):
            for worker in workers:
                worker.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def find_files(folder: Path) -> list[Path]:
    """All MIDI and npz files below a folder, in the order of their names.

    Raises:
        BadInput: no such folder, or none in it.
    """
    base, names = _find(folder)
    return [base / name for name in names]


def _find(folder: Path) -> tuple[Path, list[str]]:
    """The folder that names are relative to, and the names, with "/", in their order."""
    if not folder.is_dir():
        if folder.is_file() and folder.suffix.lower() in SUFFIXES:
            return folder.parent, [folder.name]
        problem = "is no MIDI file, folder or store" if folder.exists() else "does not exist"
        raise BadInput(f"{folder} {problem}: give a folder of MIDI files, or a store.")
    names = []
    # os.walk rather than rglob: a folder without permission is passed over instead of ending the search.
    for where, _, files in os.walk(folder):
        within = "" if Path(where) == folder else Path(where).relative_to(folder).as_posix() + "/"
        names += [within + name for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    if not names:
        raise BadInput(f"The folder {folder} holds no MIDI files (.mid, .midi) and no Lakh pianoroll files (.npz).")
    names.sort(key=name_order)
    return folder, names


def read_piece(path: Path, tracks: str | dict[str, Any], steps_per_beat: int) -> tuple[np.ndarray, dict[str, Any]]:
    """One file: packed planes ``(n_steps, tracks, 2, 16)``, and what is known of it (``segments``, ``tempo_bpm`` … of ``Piece``).

    Raises:
        MidiError: it cannot be used.
    """
    worker = Worker(tracks, steps_per_beat)
    try:
        return worker.read(path)
    finally:
        worker.close()


def build_store(
    folder: Path,
    out: Path,
    *,
    tracks: str | dict[str, Any] = "band",
    steps_per_beat: int = 4,
    splits: tuple[float, float, float] = SPLITS,
    workers: int | None = None,
    overwrite: bool = False,
    shard: tuple[int, int] = (1, 1),
    progress: Callable[[int, int], None] | None = None,
) -> BuildReport:
    """Build a packed store. When interrupted, what was read stays in ``OUT.building``, and the same call goes on from there.

    Args:
        folder: searched recursively; a single file works too.
        out: the store's folder.
        tracks: see ``roles.track_specs``.
        steps_per_beat: time steps per quarter note.
        splits: shares of pieces for training, validation and test; pieces are dealt out by their checksum.
        workers: reading processes; default one per processor.
        overwrite: replace an older store.
        shard: (i, n): only every n-th file, from the i-th on; ``merge_stores`` makes one store of all n.
        progress: called with files done and files in all.

    Raises:
        BadInput: nothing to read, nothing that can be read, ``out`` exists, or another process is building it.
    """
    started = time.monotonic()
    folder, out, specs = Path(folder), Path(out), track_specs(tracks)
    index, of = shard
    if not 1 <= index <= of:
        raise BadInput(f"Shard {index}/{of} does not exist: use 1/{of} to {of}/{of}.")
    base, every = _find(folder)
    names = every[index - 1 :: of]
    digest = hashlib.sha256("\n".join(every).encode(errors="surrogateescape")).hexdigest()
    building = out.with_name(f"{out.name}.building")
    writer = StoreWriter(
        out, specs, steps_per_beat, tracks, overwrite, Shard(index, of, digest) if of > 1 else None, building / "store"
    )
    options = [version("musegen"), tracks, steps_per_beat, os.fspath(base.resolve())]
    with _Folder(building) as parts_folder:
        parts = [names[i : i + PART_FILES] for i in range(0, len(names), PART_FILES)]
        parts_at = [parts_folder / _part_name(base, part, options) for part in parts]
        n_workers = max(1, min(workers or os.cpu_count() or 1, len(parts)))
        with _Crew([Worker(tracks, steps_per_beat, building) for _ in range(n_workers)]) as crew:
            done = 0
            missing = []
            for part, at in zip(parts, parts_at, strict=True):
                if _entries(at, part) is None:
                    missing.append((part, at))
                else:
                    done += len(part)
            if progress is not None and done:
                progress(done, len(names))
            tasks = [([os.path.join(base, name) for name in part], at) for part, at in missing]
            for i in crew.do(lambda w, t: w.read_part(t[0], t[1]), tasks):
                done += len(missing[i][0])
                if progress is not None:
                    progress(done, len(names))
            with writer:
                skipped, packing = _place(writer, parts, parts_at)
                if not writer.pieces and of == 1:
                    reasons = "; ".join(f"{name} {reason}" for name, reason in skipped[:3])
                    shutil.rmtree(building, ignore_errors=True)
                    raise BadInput(f"None of the {len(names)} files in {folder} can be used: {reasons}.")
                for i in crew.do(lambda w, t: w.pack_part(t[0], t[1], writer), packing):
                    _count(packing[i][0], len(specs), writer)
                writer.pieces = deal(writer.pieces, splits)
                n_read = len(writer.pieces)
                writer.finish(skipped)
    shutil.rmtree(building, ignore_errors=True)
    return BuildReport(n_read, skipped, time.monotonic() - started)


def _place(
    writer: StoreWriter, parts: list[list[str]], parts_at: list[Path]
) -> tuple[list[tuple[str, str]], list[tuple[Path, list[list[Any]]]]]:
    """Give every piece its place in the store; files left out, and per part what is to be written where."""
    skipped: list[tuple[str, str]] = []
    packing: list[tuple[Path, list[list[Any]]]] = []
    seen: dict[str, str] = {}
    for part, at in zip(parts, parts_at, strict=True):
        first_key, places = 0, []
        entries = _entries(at, part)
        if entries is None:
            raise BadInput(f"{at}.json was damaged while the store was built: build again.")
        for name, entry in zip(part, entries, strict=True):
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
        packing.append((at, places))
    return skipped, packing


def _count(part: Path, n_tracks: int, writer: StoreWriter) -> None:
    """Add what a worker counted in the pieces of a part."""
    tally = Tally.from_json(json.loads(Path(f"{part}.tally").read_bytes()), n_tracks)
    assert tally is not None
    writer.tally.include(tally)


def _part_name(base: Path, names: Sequence[str], options: Sequence[Any]) -> str:
    """Of all that a part depends on: options, and names, sizes and times of its files."""
    digest = hashlib.sha256(json.dumps(options).encode())
    for name in names:
        try:
            state = os.stat(os.path.join(base, name))  # a Path for each would take longer than the rest
            size, changed = state.st_size, state.st_mtime_ns
        except OSError:  # gone, or a link to nowhere: reading it will say so
            size = changed = -1
        digest.update(os.fsencode(name) + struct.pack("<xqq", size, changed))
    return digest.hexdigest()[:32]


def _entries(part: Path, names: Sequence[str]) -> list[dict[str, Any]] | None:
    """What a part holds; None if it is not there, or not whole."""
    try:
        entries = json.loads(Path(f"{part}.json").read_bytes())
        n_keys = sum(entry.get("n_keys", 0) for entry in entries)
        whole = len(entries) == len(names) and os.stat(f"{part}.notes").st_size == 8 * n_keys
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return entries if whole else None


class _Folder:
    """The folder in which a store is built, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Path:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("a")
        except OSError as error:
            raise BadInput(f"The folder {self.path} cannot be written: {error.strerror}.") from None
        try:
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # no such locks on this system
        except OSError:
            self._lock.close()
            raise BadInput(
                f"Another process is building in {self.path}: wait for it, or choose another --out."
            ) from None
        return self.path

    def __exit__(self, *_: object) -> None:
        self._lock.close()


class _Crew:
    """Workers that do tasks side by side."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = workers

    def __enter__(self) -> Self:
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self.workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(len(self.workers))
        self._watch = watching(self.workers)
        self._watch.__enter__()
        return self

    def do(self, work: Callable[[Worker, Any], None], tasks: Sequence[Any]) -> Iterator[int]:
        """Do all tasks; yields the number of each as it is done."""

        def one(i: int) -> int:
            worker = self._idle.get()  # as many threads as workers, so there is always one
            try:
                work(worker, tasks[i])
            finally:
                self._idle.put(worker)
            return i

        for future in as_completed([self._threads.submit(one, i) for i in range(len(tasks))]):
            yield future.result()

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.close()
        self._threads.shutdown(cancel_futures=True)
        for worker in self.workers:  # one may have started a process meanwhile
            worker.close()
        self._watch.__exit__(None, None, None)
