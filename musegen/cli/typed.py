"""The command that is running, as it was typed: pages say which command made what they show."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

__all__ = ["running", "typed"]

_typed: ContextVar[str] = ContextVar("typed", default="")


@contextlib.contextmanager
def running(arguments: Sequence[str]) -> Iterator[None]:
    """A scope in which ``typed()`` gives the command of these arguments."""
    token = _typed.set(" ".join(["musegen", *map(_word, arguments)]))
    try:
        yield
    finally:
        _typed.reset(token)


def typed() -> str:
    """The command that is running, for a shell; empty outside of the command line."""
    return _typed.get()


def _word(argument: str) -> str:
    """An argument as a shell takes it. A shell has put the home folder in the place of ``~``, and a page need not tell whose it
    is."""
    home = os.path.expanduser("~").rstrip("/") + "/"
    if len(home) > 1 and argument.startswith(home):
        return "~/" + shlex.quote(argument.removeprefix(home)) if argument != home else "~/"
    return shlex.quote(argument)
