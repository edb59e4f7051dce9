"""What torch, numpy and Python keep once for the whole process, lent to one call at a time, and given back as it was.

Families draw from the default generators, because dropout knows no others. A call that draws therefore has the turn: it puts
generators of its own in place, and other calls that draw wait meanwhile, whatever thread they come from. So each gives what it
gives alone, to the last bit, and a caller's own generators are left as they were. A training takes the turn too, but between two
moves it gives way to those that wait, and takes its generators with it.

The default floating point type is shared as well: musegen computes in float32, whatever a program has set.
"""

from __future__ import annotations

import contextlib
import math
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from musegen.probability.by_device import default_generator, device_state, set_device_state

__all__ = ["Generators", "host_rng_state", "in_float32", "reseed", "seeded", "set_host_rng_state"]

SLICE_S = 0.02
"""Seconds that a training keeps the turn, at least, while others wait: to give it away takes a tenth of a millisecond."""


class _Turn:
    """A lock that a thread may take several times, that goes round in the order of asking, and whose holder can give way."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._holder: int | None = None
        self._depth = 0

    @property
    def wanted(self) -> bool:
        """Whether another thread waits."""
        return bool(self._waiting)

    def take(self, depth: int = 1) -> None:
        """Wait for the turn; at once if this thread has it."""
        me = threading.get_ident()
        with self._changed:
            if self._holder != me:
                ticket = object()
                self._waiting.append(ticket)
                try:
                    while self._holder is not None or self._waiting[0] is not ticket:
                        self._changed.wait()
                finally:  # an interrupt must leave nobody waiting for a thread that is gone
                    self._waiting.remove(ticket)
                    self._changed.notify_all()
                self._holder = me
            self._depth += depth

    def leave(self, depth: int = 1) -> None:
        with self._changed:
            self._depth -= depth
            if not self._depth:
                self._holder = None
                self._changed.notify_all()

    def leave_wholly(self) -> int:
        """Let others have it; returns what ``take`` needs to have it back as it was."""
        depth = self._depth
        self.leave(depth)
        return depth


_TURN = _Turn()


class _State(NamedTuple):
    """Where the default generators stand."""

    cpu: Tensor
    device: Tensor | None
    python: tuple[Any, ...]
    numpy: dict[str, Any]

    @classmethod
    def now(cls, device: torch.device) -> _State:
        return cls(torch.get_rng_state(), device_state(device), random.getstate(), np.random.get_state(legacy=False))  # noqa: NPY002

    def put(self, device: torch.device) -> None:
        torch.set_rng_state(self.cpu)
        set_device_state(device, self.device)
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002


class Generators:
    """Random generators that are in place within the scope, and go on in the next one where they stood; all others wait.

    Args:
        seed: where they begin.
        device: the one that is drawn on; other devices are left alone.

    >>> import torch
    >>> from musegen.engine.shared_state import Generators
    >>> mine, caller = Generators(1, torch.device("cpu")), torch.get_rng_state()
    >>> with mine:
    ...     first = torch.rand(2)
    >>> with mine:
    ...     second = torch.rand(2)
    >>> both = torch.rand(4, generator=torch.Generator().manual_seed(1))
    >>> torch.equal(torch.cat([first, second]), both), torch.equal(torch.get_rng_state(), caller)
    (True, True)
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed, self._device = seed, device
        self._own: _State | None = None
        self._callers: list[_State | None] = []  # one per scope, as they may lie within each other
        self._since = 0.0

    def __enter__(self) -> Self:
        _TURN.take()
        self._callers.append(None if self._callers else _State.now(self._device))
        if len(self._callers) == 1:
            if self._own is None:
                reseed(self._seed, self._device)
            else:
                self._own.put(self._device)
            self._since = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        caller = self._callers.pop()
        if caller is not None:
            self._own = _State.now(self._device)
            caller.put(self._device)
        _TURN.leave()

    def give_way(self) -> None:
        """Within the scope: let others have the turn if they wait, and go on afterwards as if nothing had been."""
        if not (_TURN.wanted and self._callers and time.monotonic() - self._since > SLICE_S):
            return
        caller, own = self._callers[0], _State.now(self._device)
        assert caller is not None
        caller.put(self._device)
        depth = _TURN.leave_wholly()
        _TURN.take(depth)
        self._callers[0] = _State.now(self._device)
        own.put(self._device)
        self._since = time.monotonic()


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """A scope in which all draws follow from the seed. Calls of several threads take turns; generators are left as they were."""
    with Generators(seed, device):
        yield


def reseed(seed: int, device: torch.device) -> None:
    """Have the default generators begin where the seed says: those of the host, and that of one device."""
    torch.default_generator.manual_seed(seed)
    default_generator(device).manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002


def host_rng_state() -> dict[str, Tensor]:
    """Where Python's and numpy's generators stand, as tensors that a checkpoint can hold."""
    _, words, gauss = random.getstate()
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002
    state = legacy["state"]
    return {
        "python": torch.tensor(words, dtype=torch.int64),
        "python_gauss": torch.tensor(math.nan if gauss is None else gauss, dtype=torch.float64),
        "numpy": torch.from_numpy(state["key"].astype(np.int64)),
        "numpy_rest": torch.tensor([state["pos"], legacy["has_gauss"], legacy["gauss"]], dtype=torch.float64),
    }


def set_host_rng_state(rng: dict[str, Tensor]) -> None:
    """Put Python's and numpy's generators where they stood."""
    gauss = float(rng["python_gauss"])
    random.setstate((3, tuple(rng["python"].tolist()), None if math.isnan(gauss) else gauss))
    position, has_gauss, cached = rng["numpy_rest"].tolist()
    key = rng["numpy"].cpu().numpy().astype(np.uint32)
    np.random.set_state(("MT19937", key, int(position), int(has_gauss), cached))  # noqa: NPY002


_float32 = threading.Lock()
_float32_users = 0
_callers_type = torch.float32


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """A scope, or a decorator of functions, in which new tensors are float32, whatever the program's default type is.

    The default is one for all threads: it is changed with the first call and put back with the last, and nobody waits.
    """
    global _float32_users, _callers_type
    with _float32:
        if not _float32_users:
            _callers_type = torch.get_default_dtype()
            torch.set_default_dtype(torch.float32)
        _float32_users += 1
    try:
        yield
    finally:
        with _float32:
            _float32_users -= 1
            if not _float32_users:
                torch.set_default_dtype(_callers_type)
