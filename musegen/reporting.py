"""What takes long says how far it is, to whoever listens. Outside of a scope nobody does, and a report costs 0.1 µs.

    with listening(listener):
        for step in each(range(64), "Drawing 8 samples", "steps"):  # tells the listener 64 times
            ...

``Terminal`` is the listener of the command line. Nothing here needs torch.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Self, TextIO, TypeVar

from musegen.limits import MESSAGE_CHARACTERS

__all__ = [
    "Terminal",
    "doing",
    "each",
    "listening",
    "no_color",
    "plain",
    "report",
    "say",
    "several",
    "styled",
    "width_of",
    "worded",
]

Listener = Callable[[str, int, int, str], None]
T = TypeVar("T")

# Of this thread alone: what another thread does in the meantime is no business of this one's listener.
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)

_wording: ContextVar[Callable[[str], str]] = ContextVar("wording", default=str)

KEPT = {"\n", "\u00a0", "\u3000"}
"""Characters that are not printable, says Python, and harmless."""
PATIENCE_S = 0.5
"""What ends within so long shows nothing."""
REFRESH_S = 0.1
BAR = 30
"""Cells of a bar, at most."""


def report(what: str, done: int, total: int, unit: str = "") -> None:
    """Say how far something is; it is over when ``done`` has reached ``total``.

    A listener may raise: that is how a signal cuts short what takes long while training.
    """
    listener = _listener.get()
    if listener is not None:
        listener(what, done, total, unit)


def each(items: Sequence[T], what: str, unit: str = "") -> Iterator[T]:
    """The items, one after the other, with a report before each and one at the end."""
    for i, item in enumerate(items):
        report(what, i, len(items), unit)
        yield item
    report(what, len(items), len(items), unit)


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """A scope for something of which nobody knows how far it is."""
    report(what, 0, 1)
    try:
        yield
    finally:
        report(what, 1, 1)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """A scope whose reports go to this listener alone; an outer one hears that nothing is under way."""
    report("", 1, 1)
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextlib.contextmanager
def worded(wording: Callable[[str], str]) -> Iterator[None]:
    """A scope in which ``say`` puts messages into the words of those who read them."""
    token = _wording.set(wording)
    try:
        yield
    finally:
        _wording.reset(token)


def say(text: str) -> None:
    """Print a message on standard error. It names options as Python does: ``steps=20``."""
    print(plain(_wording.get()(text), MESSAGE_CHARACTERS), file=sys.stderr)


def plain(text: str, most: int | None = None) -> str:
    """A text without what a terminal obeys: names of strangers' files may hold any character but ``/``. Lines stay lines.

    Args:
        most: characters; what is longer is cut.

    >>> from musegen.reporting import plain
    >>> plain("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    if most is not None and len(text) > most:
        text = f"{text[:most]} …"
    if text.isprintable():
        return text
    return "".join(c if c in KEPT or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def several(n: int, noun: str) -> str:
    """``"1 sample"``, ``"8 samples"``."""
    return f"{n} {noun}{'s' * (n != 1)}"


def width_of(stream: TextIO, otherwise: int) -> int:
    """Columns of the terminal that a stream writes to, or those of ``COLUMNS``; ``otherwise`` for a file or a pipe."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or otherwise
    except (OSError, ValueError, AttributeError):
        return otherwise


def styled(stream: TextIO) -> bool:
    """Whether a stream may get escape codes: it is a terminal that knows them, and nobody has set ``NO_COLOR``."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown") and not no_color()


def no_color() -> bool:
    """Whether the user wants no colour (no-color.org); then bold is left out too, and with it every escape code."""
    return bool(os.environ.get("NO_COLOR"))


class Terminal:
    """One line of a terminal that says what is under way. It is erased when that is over, and before anything else is printed.

    It is drawn with carriage returns and spaces alone, so that every terminal can show it, by a thread of its own, so that what
    takes long need not report often.

    Args:
        stream: a terminal; standard error, so that results may go elsewhere.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._started = stream, time.monotonic()
        self._now: tuple[str, int, int, str] | None = None
        self._drawn = 0  # cells
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._scope = contextlib.ExitStack()
        self._scope.enter_context(contextlib.redirect_stdout(_Erasing(sys.stdout, self)))
        self._scope.enter_context(contextlib.redirect_stderr(_Erasing(sys.stderr, self)))
        self._scope.enter_context(listening(self))
        return self

    def __exit__(self, *error: object) -> None:
        self._scope.close()
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.erase()

    def __call__(self, what: str, done: int, total: int, unit: str) -> None:
        if done >= total:
            self._now = None
            self.erase()
            return
        self._now = (what, done, total, unit)
        if self._thread is None:
            self._thread = threading.Thread(target=self._draw_now_and_then, daemon=True)
            self._thread.start()

    def erase(self) -> None:
        with self._lock:
            if self._drawn:
                self._write("\r" + " " * self._drawn + "\r")
                self._drawn = 0

    def _draw_now_and_then(self) -> None:
        while not self._over.wait(REFRESH_S):
            with self._lock:
                now = self._now
                if now is not None and time.monotonic() - self._started > PATIENCE_S:
                    # The last cell stays empty: many terminals would begin a new line.
                    line = _line(*now, width_of(self._stream, 80) - 1, self._encodes("█…"))
                    n = _cells(line)
                    self._write("\r" + line + " " * (self._drawn - n))
                    self._drawn = n

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone is no reason to stop
            self._stream.write(text)
            self._stream.flush()

    def _encodes(self, text: str) -> bool:
        try:
            text.encode(self._stream.encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return False
        return True


class _Erasing:
    """A stream before whose output the terminal's line is erased."""

    def __init__(self, stream: TextIO, terminal: Terminal) -> None:
        self._stream, self._terminal = stream, terminal

    def write(self, text: str) -> int:
        with self._terminal._lock:
            self._terminal.erase()
            return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _line(what: str, done: int, total: int, unit: str, width: int, fine: bool) -> str:
    """What is shown, in at most ``width`` cells: the bar goes first, then the end of the name."""
    if total <= 1:
        count, room = "", width - 4
    else:
        count = f" {done}/{total}{' ' * bool(unit)}{unit}"
        room = width - _cells(count) - 1
    what = _cut(plain(what), room)
    if not count:
        return f"{what} …" if fine else f"{what} ..."
    n = min(BAR, room - _cells(what) - 1)
    if n < 5:
        return f"{what} {count}"
    filled = n * done // total
    bar = "█" * filled + "░" * (n - filled) if fine else "#" * filled + "." * (n - filled)
    return f"{what}  {bar}{count}"


def _cells(text: str) -> int:
    """Cells that a text takes; some characters take two."""
    from rich.cells import cell_len

    return cell_len(text)


def _cut(text: str, cells: int) -> str:
    from rich.cells import set_cell_size

    return text if _cells(text) <= cells else set_cell_size(text, max(cells, 0))
