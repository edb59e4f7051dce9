"""What a run shows while it runs: a rich progress bar on a terminal, plain lines elsewhere, TensorBoard on request."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from musegen.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Progress", "TensorBoard"]

PLAIN_EVERY_S = 10.0
"""Seconds between plain lines."""


class Progress:
    """Steps done, steps per second, time left, and the last metrics.

    Args:
        total: steps of the whole run.
        done: steps done before this session.
        quiet: show nothing.
    """

    def __init__(self, total: int, done: int = 0, quiet: bool = False) -> None:
        self.total, self.done, self.first, self.quiet = total, done, done, quiet
        self.started = self.last_line = time.monotonic()
        self.text = ""
        self._bar: Any = None
        self._task: Any = None
        if not quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bar

            self._bar = Bar(
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]:.1f} steps/s"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}"),
                console=Console(stderr=True),
                refresh_per_second=4,
            )
            self._task = self._bar.add_task("", total=total, completed=done, rate=0.0, text="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=self.rate)
            self._bar.stop()
        elif not self.quiet and self.done > self.first:
            self._line()

    @property
    def rate(self) -> float:
        """Steps per second of this session, samples and validations included."""
        return (self.done - self.first) / max(time.monotonic() - self.started, 1e-9)

    def advance(self) -> None:
        self.done += 1
        now = time.monotonic()
        if self.quiet or now - self.last_line < (0.25 if self._bar is not None else PLAIN_EVERY_S):
            return
        self.last_line = now
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=self.rate)
        else:
            self._line()

    def show(self, metrics: dict[str, float]) -> None:
        """Metrics for the next refresh: each player's, without repeating the player's name."""
        shown = {
            name.rsplit("/", 1)[0] if name.endswith("/loss") else name.rsplit("/", 1)[-1]: v
            for name, v in metrics.items()
        }
        self.text = "  ".join(f"{name} {value:.4g}" for name, value in list(shown.items())[:5])
        if self._bar is not None:
            self._bar.update(self._task, text=self.text)

    def _line(self) -> None:
        left = (self.total - self.done) / self.rate if self.rate else 0.0
        print(
            f"step {self.done}/{self.total}  {self.rate:.1f} steps/s  {left:.0f} s left  {self.text}",
            file=sys.stderr,
            flush=True,
        )


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

    def media(self, picture: Image, sounds: Sequence[tuple[Any, int] | None], step: int) -> None:
        """The picture of the samples, and sounds as pieces have them, if they have any."""
        import numpy as np

        self.writer.add_image("samples", np.asarray(picture.convert("RGB")), step, dataformats="HWC")
        for i, sound in enumerate(sounds):
            if sound is not None:
                mono = np.asarray(sound[0]).mean(0, keepdims=True)
                self.writer.add_audio(f"sample_{i}", mono, step, sample_rate=sound[1])

    def close(self) -> None:
        self.writer.close()
