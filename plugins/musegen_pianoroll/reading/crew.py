"""The reading processes, seen from the one that builds: started when needed, watched, replaced when they die, busy side by side.

What such a process does, and how it is asked, is in ``reading.worker``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from musegen import children
from musegen.errors import MusegenError, OutsideFault
from musegen_pianoroll.reading.errors import FAULT_OUTSIDE
from musegen_pianoroll.reading.formats import NOTATION_SUFFIXES
from musegen_pianoroll.reading.options import Reading
from musegen_pianoroll.store.writer import StoreWriter

__all__ = ["Crew", "DoesNotStart", "Stopped", "Worker", "watching"]

TIMEOUT_S = 10.0
PATIENCE = 6
"""How many times as long sheet music may take: the library that reads it needs a second for some pages."""
WORKER = "from musegen_pianoroll.reading.worker import main; main()"
STARTS = 3
"""How many times in a row a process may end before it begins to read."""
_KEPT_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "268435456"}
"""For the C library of a worker: keep freed memory. Asking for it anew costs a quarter of the time that a file takes."""


class Stopped(MusegenError):
    """The build was stopped while a worker was busy."""

    def __str__(self) -> str:
        return "The readers were stopped from outside. What was read is kept: the same command goes on from there."


class DoesNotStart(MusegenError):
    """The reading process ends before it reads anything. Exit code 1.

    Args:
        reason: the last line that it wrote.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        why = f" ({reason})" if reason else ""
        super().__init__(
            f"The process that reads files ended {STARTS} times before it began{why}: see that musegen is installed whole."
        )


class Worker:
    """A reading process that is started when needed and replaced when it dies.

    Args:
        reading: how files are read.
        folder: for a small file that says which file is being read.
    """

    def __init__(self, reading: Reading, folder: Path) -> None:
        self.reading = reading
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = folder
        self.progress = folder / f"at-{id(self):x}"
        self.paths: Sequence[str] = ()
        self.closed = self.late = False
        self.since: float | None = None  # when the file at hand was begun, as far as ``look`` knows; None: none is
        self._seen = (0, 0)

    def read_part(self, paths: Sequence[str], part: Path, with_sources: bool = False) -> None:
        """Read files into a part. Those that cannot be used are named in it; ``with_sources``: and what their tracks are."""
        refused: dict[str, str] = {}
        self.paths = paths
        request = {"read": paths, "alone": False, "refused": refused, "part": os.fspath(part)}
        request |= {"reading": asdict(self.reading), "sources": with_sources}
        while not self._ask(request, patient=False):
            at, n_together = self.at()
            if n_together > 1:
                request["alone"] = True
                continue
            if at >= len(paths):  # after the last file: the fault is none of theirs
                raise OutsideFault(f"The folder {part.parent} cannot be written: is the disk full?")
            reason = f"took longer than {self._limit_s(at):.0f} s to read" if self.late else "crashed the reader"
            refused[str(at)] = reason

    def pack_part(self, part: Path, pieces: Sequence[Sequence[Any]], writer: StoreWriter) -> None:
        """Write the planes of a part's pieces."""
        request = {"pack": os.fspath(part), "pieces": pieces, "n_tracks": len(writer.tracks)}
        request |= {
            "n_planes": writer.n_planes,
            "planes": os.fspath(writer.planes_file),
            "steps_per_beat": writer.steps_per_beat,
        }
        if not self._ask(request, patient=True):
            part.with_suffix(".json").unlink(missing_ok=True)
            raise OutsideFault(
                f"{writer.planes_file.parent} could not be written: see that the disk is not full, and build again."
            )

    def _ask(self, request: dict[str, Any], patient: bool) -> bool:
        """Whether a request was answered; if not, the process is gone. ``patient``: however long it takes.

        Raises:
            DoesNotStart: the process ends before it begins with the request, ``STARTS`` times.
        """
        for n_failed in range(STARTS):
            if self._ask_once(request, patient, said := self.progress.with_suffix(".said") if n_failed else None):
                return True
            if self.at()[1]:
                return False
        lines = said.read_text("utf-8", "replace").split("\n") if said is not None else []
        raise DoesNotStart(next((line.strip() for line in reversed(lines) if line.strip()), ""))

    def _ask_once(self, request: dict[str, Any], patient: bool, said: Path | None) -> bool:
        """``_ask`` without another try; ``said``: a file for what the process writes, if it is to be kept."""
        self.progress.write_bytes(bytes(8))
        if self.closed:
            raise Stopped
        if self.process is None:
            # A session of its own: Ctrl-C is for the parent, which must not take it for a crash of the reader.
            with open(os.devnull if said is None else said, "wb") as noise:
                self.process = subprocess.Popen(
                    children.command(WORKER),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=noise,
                    env={**_KEPT_MEMORY, **children.environment()},
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
            if process.returncode == FAULT_OUTSIDE:
                raise OutsideFault(f"The folder {self.folder} cannot be written: is the disk full?")
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
        elif at != (0, 0) and time.monotonic() - since > self._limit_s(at[0]):
            self.late = True
            process.kill()

    def _limit_s(self, i: int) -> float:
        """How long a file may take."""
        slow = i < len(self.paths) and self.paths[i].lower().endswith(NOTATION_SUFFIXES)
        return TIMEOUT_S * PATIENCE if slow else TIMEOUT_S

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


class Crew:
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
