"""Where the figures of a run go: metrics.jsonl, the terminal, and the trackers that are asked for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from musegen.contracts.tracker import Tracker
from musegen.errors import MusegenError, shown
from musegen.plugins import registry
from musegen.reporting import listening, say
from musegen.running.progress import Progress
from musegen.running.runs import line_of
from musegen.tracking.tensorboard import TensorBoard

if TYPE_CHECKING:
    from PIL.Image import Image

    from musegen.contracts.piece import Sound
    from musegen.running.resolved import Resolved
    from musegen.running.runs import Run

__all__ = ["Record"]


class Record:
    """Where metrics go: ``metrics.jsonl``, the terminal, trackers. Of several processes the first one alone keeps a record.

    Attributes:
        done: whether the last step is done, set by whoever trains.

    Raises:
        BadInput: there is no such tracker, or it cannot be used.
    """

    def __init__(self, run: Run, resolved: Resolved, begun_at: int, quiet: bool, main: bool) -> None:
        config = resolved.run
        kinds = [registry().tracker(name) for name in dict.fromkeys(config.trackers)] if main else []
        kinds += [TensorBoard] if config.tensorboard and main else []
        self._trackers = [kind(run.path, resolved.as_dict()) for kind in kinds]
        self._path = run.metrics_path if main else Path(os.devnull)
        self._progress = Progress(config.steps, begun_at, quiet)
        self._scope = contextlib.ExitStack()
        self.done = False

    def __enter__(self) -> Self:
        self._scope.callback(lambda: self._tell(lambda tracker: tracker.close(self.done)))
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
        self._tell(lambda tracker: tracker.scalars(kind, metrics, step))

    @property
    def rate(self) -> float:
        """Steps per second."""
        return self._progress.rate

    def advance(self) -> None:
        """One more step is done."""
        self._progress.advance()

    def media(self, picture: Image, sounds: Callable[[], Sequence[Sound | None]], step: int) -> None:
        """Hand samples to the trackers, as a picture and to be played."""
        if self._trackers:
            heard = sounds()
            self._tell(lambda tracker: tracker.media(picture, heard, step))

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        """Tell every tracker; one that fails is left out from then on, because a run is worth more than its record elsewhere."""
        for tracker in list(self._trackers):
            try:
                what(tracker)
            except MusegenError:
                raise
            except Exception as error:
                self._trackers.remove(tracker)
                say(f"The tracker {tracker.name} is left out from now on: {type(error).__name__}: {shown(error)}")
