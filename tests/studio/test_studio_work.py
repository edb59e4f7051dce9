"""The studio's queue: in order, one at a time, stopped when nobody wants it, and alive whatever happens in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from musegen.errors import BadInput
from musegen.reporting import report
from musegen.studio.work import Busy, Result, Work

DONE = Result(["a"], [])


@pytest.fixture
def work() -> Iterator[Work]:
    with Work(longest_s=60, most_waiting=3, most_kept=5) as work:
        yield work


def steps(begun: threading.Event | None = None) -> Result:
    """Work without an end, which reports."""
    while True:
        report("Counting", 1, 9, "steps")
        if begun:
            begun.set()
        time.sleep(0.001)


def test_one_after_the_other_in_order(work: Work) -> None:
    seen: list[int] = []
    running: list[int] = []

    def doing(i: int) -> Result:
        running.append(i)
        assert len(running) == 1
        seen.append(i)
        running.pop()
        return Result([str(i)], [])

    jobs = [work.add("count", lambda i=i: doing(i)) for i in range(3)]  # type: ignore[misc]
    for job in jobs:
        work.wait(job)
    assert seen == [0, 1, 2]
    assert [job.result.pieces for job in jobs] == [["0"], ["1"], ["2"]]


def test_what_runs_and_what_waits_can_be_cancelled(work: Work) -> None:
    begun = threading.Event()
    first, second = work.add("long", lambda: steps(begun)), work.add("never", lambda: DONE)
    assert begun.wait(30)
    assert first.progress == ("Counting", 1, 9, "steps")
    work.cancel(second)
    work.cancel(first)
    work.wait(first)
    assert (first.state, second.state, second.result.pieces) == ("cancelled", "cancelled", [])
    work.cancel(first)  # once more does nothing
    third = work.add("next", lambda: DONE)
    work.wait(third)
    work.cancel(third)
    assert (third.state, third.result) == ("done", DONE)


def test_what_takes_too_long_is_stopped() -> None:
    with Work(longest_s=0.05) as work:
        job = work.add("long", steps)
        work.wait(job)
        assert (job.state, job.error) == ("failed", "It took too long and was stopped: ask for less.")
        after = work.add("next", lambda: DONE)
        work.wait(after)
        assert after.state == "done"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BadInput("A is wrong: use B."), "A is wrong: use B."),
        (MemoryError(), "There is not enough memory for this: ask for less."),
        (KeyError("secret"), "Something unexpected happened: KeyError."),
    ],
)
def test_a_failure_is_said_and_the_queue_goes_on(work: Work, error: Exception, said: str) -> None:
    def fails() -> Result:
        raise error

    failed, after = work.add("bad", fails), work.add("good", lambda: DONE)
    work.wait(after)
    assert (failed.state, failed.error) == ("failed", said)
    assert after.state == "done"


def test_only_so_much_may_wait_and_is_remembered(work: Work) -> None:
    begun = threading.Event()
    first = work.add("long", lambda: steps(begun))
    assert begun.wait(30)
    waiting = [work.add("wait", lambda: DONE) for _ in range(3)]
    with pytest.raises(Busy, match="3 pieces of work are waiting"):
        work.add("one more", lambda: DONE)
    work.cancel(first)
    for job in waiting:
        work.wait(job)
    later = []
    for _ in range(4):
        later.append(work.add("later", lambda: DONE))
        work.wait(later[-1])
    assert work.get(first.id) is None
    assert work.get(later[-1].id) is later[-1]
    assert len(work._jobs) <= 5


def test_the_end_waits_for_nothing() -> None:
    work = Work()
    jobs = [work.add("long", steps) for _ in range(3)]
    work.close()
    assert {job.state for job in jobs} == {"cancelled"}
