"""What a run shows and records while it runs: a bar on a terminal, plain lines elsewhere, metrics.jsonl, TensorBoard on request."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from musegen.errors import BadInput
from musegen.reporting import listening, styled, width_of
from musegen.running.runs import line_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.console import Console, ConsoleOptions, RenderResult

    from musegen.running.config import RunConfig
    from musegen.running.runs import Run

__all__ = ["Progress", "Record", "TensorBoard"]

PLAIN_EVERY_S = 10.0
"""Seconds between plain lines."""
Sound = tuple[Any, int]
"""Clips, and their sample rate in Hz."""
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


class Record:
    """Where metrics go: ``metrics.jsonl``, the terminal, TensorBoard. Of several processes the first one alone keeps a record.

    Raises:
        BadInput: TensorBoard is wanted, and not installed.
    """

    def __init__(self, run: Run, config: RunConfig, done: int, quiet: bool, main: bool) -> None:
        self._board = TensorBoard(run.path / "tensorboard") if config.tensorboard and main else None
        self._path = run.metrics_path if main else Path(os.devnull)
        self._progress = Progress(config.steps, done, quiet)
        self._scope = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if self._board is not None:
            self._scope.callback(self._board.close)
        self._log = self._scope.enter_context(self._path.open("a"))
        self._scope.enter_context(self._progress)
        # The progress has the terminal to itself.
        self._scope.enter_context(listening(lambda *_: None))
        return self

    def __exit__(self, *_: object) -> None:
        self._scope.close()

    def __call__(self, kind: str, step: int, metrics: dict[str, float], **extra: float) -> None:
        self._log.write(line_of({"step": step, "kind": kind, **metrics, **extra}))
        self._log.flush()
        self._progress.show(metrics if kind == "train" else {f"{kind} {key}": v for key, v in metrics.items()})
        if self._board is not None:
            self._board.scalars(kind, metrics, step)

    @property
    def rate(self) -> float:
        """Steps per second."""
        return self._progress.rate

    def advance(self) -> None:
        """One more step is done."""
        self._progress.advance()

    def media(self, picture: Image, sounds: Callable[[], Sequence[Sound | None]], step: int) -> None:
        """Show samples, and play them, in TensorBoard."""
        if self._board is not None:
            self._board.media(picture, sounds(), step)


class TensorBoard:
    """Scalars, pictures and playable sound for TensorBoard.

    Raises:
        BadInput: the extra is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise BadInput(
                "TensorBoard is not installed: pip install 'musegen[tensorboard]', or leave tensorboard off."
            ) from None
        self.writer = SummaryWriter(str(folder))

    def scalars(self, kind: str, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(f"{kind}/{name}", value, step)

    def media(self, picture: Image, sounds: Sequence[Sound | None], step: int) -> None:
        """The picture of the samples, and sounds as pieces have them, if they have any."""
        import numpy as np

        self.writer.add_image("samples", np.asarray(picture.convert("RGB")), step, dataformats="HWC")
        for i, sound in enumerate(sounds):
            if sound is not None:
                mono = np.asarray(sound[0]).mean(0, keepdims=True)
                self.writer.add_audio(f"sample_{i}", mono, step, sample_rate=sound[1])

    def close(self) -> None:
        self.writer.close()
