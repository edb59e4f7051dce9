"""What the process has once is lent to one call at a time, and given back as it was."""

from __future__ import annotations

import itertools
import random
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from musegen.engine import shared_state
from musegen.engine.shared_state import Generators, in_float32, seeded

CPU = torch.device("cpu")


def draws(n: int = 1) -> list[tuple[float, float, float]]:
    """One number of each generator, n times."""
    return [(float(torch.rand(())), random.random(), float(np.random.rand())) for _ in range(n)]  # noqa: NPY002


def in_threads(*work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_a_seed_decides_all_draws_and_the_callers_own_go_on_as_if_nothing_had_been() -> None:
    torch.manual_seed(5), random.seed(5), np.random.seed(5)  # noqa: NPY002
    alone = draws(4)
    torch.manual_seed(5), random.seed(5), np.random.seed(5)  # noqa: NPY002
    found = draws(2)
    with seeded(7, CPU):
        first = draws(3)
        with seeded(8, CPU):  # one within the other
            other = draws(1)
        first += draws(1)
    found += draws(2)
    assert found == alone
    with seeded(7, CPU):
        assert draws(4) == first
    with pytest.raises(ZeroDivisionError), seeded(7, CPU):
        raise ZeroDivisionError
    with seeded(8, CPU):
        assert draws(1) == other


def test_scopes_of_several_threads_are_what_each_is_alone() -> None:
    def drawn(seed: int) -> list[tuple[float, float, float]]:
        with seeded(seed, CPU):
            found = []
            for _ in range(3):
                found += draws(1)
                time.sleep(0.001)  # for others, if they could
            return found

    alone = {seed: drawn(seed) for seed in range(16)}
    before, together = torch.get_rng_state(), dict[int, list[tuple[float, float, float]]]()
    in_threads(*(lambda seed=seed: together.update({seed: drawn(seed)}) for seed in alone))  # type: ignore[misc]
    assert together == alone
    assert torch.equal(torch.get_rng_state(), before)


def test_who_gives_way_goes_on_where_it_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that draw in turns, 40 times each, also from within a scope of their own."""
    monkeypatch.setattr(shared_state, "SLICE_S", -1.0)
    changes: list[int] = []

    def long(seed: int, found: list[object]) -> None:
        with Generators(seed, CPU) as mine, mine:
            for i in range(40):
                found += draws(1)
                changes.append(seed)
                time.sleep(0.0005)
                mine.give_way()
                if i % 10 == 0:
                    with seeded(seed, CPU):
                        mine.give_way()
                        found += draws(1)

    alone: dict[int, list[object]] = {1: [], 2: []}
    together: dict[int, list[object]] = {1: [], 2: []}
    for seed, found in alone.items():
        long(seed, found)
    changes.clear()
    before = torch.get_rng_state()
    in_threads(*(lambda s=seed, f=found: long(s, f) for seed, found in together.items()))  # type: ignore[misc]
    assert together == alone
    assert torch.equal(torch.get_rng_state(), before)
    assert sum(a != b for a, b in itertools.pairwise(changes)) > 20  # they did take turns


def test_others_wait_in_the_order_of_asking_and_an_interrupted_one_leaves_the_queue() -> None:
    turn, order = shared_state._Turn(), list[int]()

    def ask(i: int) -> None:
        turn.take()
        order.append(i)
        turn.leave()

    turn.take()
    threads = []
    for i in range(5):
        threads.append(threading.Thread(target=ask, args=(i,)))
        threads[-1].start()
        while len(turn._waiting) <= i:
            time.sleep(0.001)
    holder, turn._holder = turn._holder, -1  # as if another thread had it
    with pytest.MonkeyPatch.context() as context:
        context.setattr(turn._changed, "wait", lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            turn.take()
    turn._holder = holder
    assert len(turn._waiting) == 5
    turn.leave()
    for thread in threads:
        thread.join(60)
    assert order == [0, 1, 2, 3, 4]
    assert not turn.wanted


def test_tensors_are_float32_until_the_last_call_ends() -> None:
    torch.set_default_dtype(torch.float64)
    try:

        @in_float32()
        def made() -> torch.dtype:
            return torch.zeros(1).dtype

        assert made() == torch.float32
        assert torch.get_default_dtype() == torch.float64
        inside, go_on = threading.Event(), threading.Event()

        def long() -> None:
            with in_float32():
                inside.set()
                go_on.wait(60)

        thread = threading.Thread(target=long)
        thread.start()
        inside.wait(60)
        assert made() == torch.float32
        assert torch.zeros(1).dtype == torch.float32  # the other one has not ended
        go_on.set()
        thread.join()
        assert torch.zeros(1).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
