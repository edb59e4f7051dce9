"""The first Ctrl-C or SIGTERM ends training within about two seconds, with what was learnt saved; a second one stops at once."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any, Self

from musegen.errors import MusegenError

__all__ = ["CutShort", "Interrupted", "Signals"]

GRACE_S = 0.5
"""Seconds that what is under way has to end by itself. Most steps end in time, and nothing is done twice; longer ones are cut
short, and what is saved is the state before them. Waiting needs no guess at how long a step will take, which may be wrong: a
family may have many more updates in one step than in the one before (``critic_boost``)."""


class CutShort(Exception):
    """A signal has waited for longer than ``GRACE_S``: raised where training may stop, between moves and between batches."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class Interrupted(MusegenError):
    """A first Ctrl-C or SIGTERM ended the run, which is saved.

    Attributes:
        exit_code: 130 or 143.
    """

    def __init__(self, number: int, how: str) -> None:
        super().__init__(how)
        self.exit_code = 128 + number


class Signals:
    """A scope in which a first Ctrl-C or SIGTERM is noted, and a second one does what it does elsewhere.

    Attributes:
        number: the first that came; 0: none.
    """

    def __init__(self) -> None:
        self.number = 0
        self._came_at = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            self._restore()
            signal.raise_signal(number)
        self.number, self._came_at = number, time.monotonic()

    def overdue(self) -> int:
        """The signal that has waited for longer than ``GRACE_S``; 0: none."""
        return self.number if self.number and time.monotonic() - self._came_at >= GRACE_S else 0

    def check(self, *_: object) -> None:
        """Stop here if a signal has waited for too long. Takes what a listener of ``musegen.reporting`` is told.

        Raises:
            CutShort: one has.
        """
        if number := self.overdue():
            raise CutShort(number)

    def _restore(self) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    def __exit__(self, *_: object) -> None:
        self._restore()
