"""What a run shows while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

from musegen.reporting import styled, width_of

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


__all__ = ["Progress"]

PLAIN_EVERY_S = 10.0
"""Seconds between plain lines."""
LEAST_BAR = 8
"""Cells: a shorter bar is left out."""


class Progress:
    """Steps done, steps per second, time left, and below them the last metrics.

    On a terminal these two lines stay in place, which takes escape codes: without (``NO_COLOR``, ``TERM=dumb``), and in a file or
    a pipe, there is a plain line now and then.

    Args:
        total: steps of the whole run.
        done: steps done before this session.
        quiet: show nothing.
    """

    def __init__(self, total: int, done: int = 0, quiet: bool = False) -> None:
        self.total, self.done, self.first, self.quiet = total, done, done, quiet
        self.started = self.last_line = time.monotonic()
        self.metrics: list[str] = []
        self._live: Any = None
        if not quiet and styled(sys.stderr):
            from rich.console import Console
            from rich.live import Live

            self._live = Live(self, console=Console(stderr=True), refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        elif not self.quiet and self.done > self.first:
            self._line()
            if in_notebook():
                print(file=sys.stderr)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        width, text = options.max_width, self._state()
        n = (
            width - len(text) - 2
        )  # one space before the text, and one after it: some terminals wrap a line that is full
        line = Text(no_wrap=True)
        if n >= LEAST_BAR:
            filled = round(n * min(self.done / self.total, 1.0))
            done, rest = ("-", " ") if options.ascii_only else ("━", "━")
            line.append(done * filled, "green").append(rest * (n - filled) + " ", "bright_black")
        yield line.append(text)
        yield Text(fitting(self.metrics, width - 1), no_wrap=True)

    @property
    def rate(self) -> float:
        """Steps per second of this session, samples and validations included."""
        return (self.done - self.first) / max(time.monotonic() - self.started, 1e-9)

    def advance(self) -> None:
        self.done += 1
        now = time.monotonic()
        if self._live is None and not self.quiet and now - self.last_line >= PLAIN_EVERY_S:
            self.last_line = now
            self._line()

    def show(self, metrics: dict[str, float]) -> None:
        """Metrics for the next refresh: each player's, without repeating the player's name."""
        shown = {
            name.rsplit("/", 1)[0] if name.endswith("/loss") else name.rsplit("/", 1)[-1]: v
            for name, v in metrics.items()
        }
        self.metrics = [f"{name} {value:.4g}" for name, value in list(shown.items())[:5]]

    def _state(self) -> str:
        """Step, rate and time left."""
        rate = self.rate
        if not rate:
            return f"{self.done}/{self.total}  {_clock(time.monotonic() - self.started)} so far"
        pace = f"{rate:.1f} steps/s" if rate >= 1 else f"{1 / rate:.1f} s/step"
        return f"{self.done}/{self.total}  {pace}  {_clock((self.total - self.done) / rate)} left"

    def _line(self) -> None:
        parts = [f"step {self._state()}", *self.metrics]
        line = fitting(parts, width_of(sys.stderr, 80) - 1) if sys.stderr.isatty() else "  ".join(parts)
        # In a notebook every line would stay: there each takes the place of the one before.
        print(line, file=sys.stderr, flush=True, end=" " * 8 + "\r" if in_notebook() else "\n")


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook, whose standard error is no terminal."""
    return "ipykernel" in sys.modules


def fitting(parts: list[str], width: int) -> str:
    """As many of the parts, beside each other, as fit; none is cut."""
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if len(longer) > width:
            break
        line = longer
    return line


def _clock(seconds: float) -> str:
    """``1:02:03``."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}"
