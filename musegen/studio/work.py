"""A queue of work: one thing at a time, which can be watched, cancelled and is stopped when it takes too long."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from musegen.errors import BadInput, MusegenError
from musegen.reporting import listening, plain

__all__ = ["Busy", "Job", "Result", "Work"]

State = Literal["waiting", "running", "done", "failed", "cancelled"]
OVER: tuple[State, ...] = ("done", "failed", "cancelled")


class Busy(BadInput):
    """More waits already than may wait."""


class Result(NamedTuple):
    """What came of a piece of work: ids of pieces, what their user should know of them, a sentence each, and codes."""

    pieces: list[str]
    notes: list[str]
    codes: Sequence[Sequence[float]] = ()


class _Stopped(MusegenError):
    """A piece of work was cancelled, or took too long."""


@dataclass
class Job:
    """A piece of work.

    Attributes:
        id: which nobody can guess.
        what: is done, for people.
        state: of it.
        progress: what is under way, how much of it is done, of how much, and in what unit.
        error: why it failed, a sentence.
        result: what came of it.
    """

    what: str
    call: Callable[[], Result]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    state: State = "waiting"
    progress: tuple[str, int, int, str] = ("", 0, 0, "")
    error: str = ""
    result: Result = field(default_factory=lambda: Result([], []))
    wanted: bool = True
    stops_at: float = float("inf")

    @property
    def over(self) -> bool:
        return self.state in OVER

    def heard(self, what: str, done: int, total: int, unit: str) -> None:
        """Listens to reports of the work itself, and stops it there."""
        self.progress = (what, done, total, unit)
        if not self.wanted:
            raise _Stopped("It was cancelled.")
        if time.monotonic() > self.stops_at:
            raise _Stopped("It took too long and was stopped: ask for less.")


class Work:
    """Does jobs in a thread of its own, in the order in which they were given.

    Work is stopped where it reports how far it is (``musegen.reporting``), which drawing does at every step.

    Args:
        longest_s: that one may take.
        most_waiting: that may wait at a time.
        most_kept: that are remembered when they are over.

    >>> from musegen.studio.work import Result, Work
    >>> with Work() as work:
    ...     job = work.add("nothing much", lambda: Result(["a"], []))
    ...     work.wait(job)
    >>> job.state, job.result.pieces
    ('done', ['a'])
    """

    def __init__(self, longest_s: float = 300, most_waiting: int = 32, most_kept: int = 256) -> None:
        self.longest_s, self.most_waiting, self.most_kept = longest_s, most_waiting, most_kept
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="studio", daemon=True)
        self._thread.start()

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, what: str, call: Callable[[], Result]) -> Job:
        """Have something done.

        Raises:
            Busy: too much is waiting.
        """
        with self._changed:
            if len(self._waiting) >= self.most_waiting:
                raise Busy(f"{len(self._waiting)} pieces of work are waiting: try again when some are done.")
            job = Job(what, call)
            self._jobs[job.id] = job
            for old in [j.id for j in self._jobs.values() if j.over][: max(0, len(self._jobs) - self.most_kept)]:
                del self._jobs[old]
            self._waiting.append(job)
            self._changed.notify_all()
        return job

    def get(self, id: str) -> Job | None:
        """A job; None if there is none, or it was over long ago."""
        return self._jobs.get(id)

    def cancel(self, job: Job) -> None:
        """Not to be done any more; what is done already stays."""
        with self._changed:
            job.wanted = False
            if job in self._waiting:
                self._waiting.remove(job)
                job.state = "cancelled"
                self._changed.notify_all()

    def wait(self, job: Job, seconds: float | None = None) -> None:
        """Until a job is over, or for so long."""
        with self._changed:
            self._changed.wait_for(lambda: job.over, seconds)

    def close(self) -> None:
        """Cancel everything, and wait for what is running to stop."""
        with self._changed:
            self._closed = True
            jobs = [*self._jobs.values()]
            self._changed.notify_all()
        for job in jobs:
            self.cancel(job)
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                job = self._waiting.popleft()
                job.state, job.stops_at = "running", time.monotonic() + self.longest_s
            self._do(job)

    def _do(self, job: Job) -> None:
        state: State = "done"
        try:
            with listening(job.heard):
                job.result = job.call()
        except _Stopped as error:
            state, job.error = ("failed" if job.wanted else "cancelled"), str(error)
        except MusegenError as error:
            state, job.error = "failed", plain(str(error))
        except MemoryError:
            state, job.error = "failed", "There is not enough memory for this: ask for less."
        except Exception as error:  # a fault of ours, or of a plugin; the server goes on
            state, job.error = "failed", f"Something unexpected happened: {type(error).__name__}."
        with self._changed:
            job.call = lambda: job.result  # which may hold much
            job.state = state
            self._changed.notify_all()
