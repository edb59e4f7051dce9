"""The runs of a sweep, one after the other or several at a time. Whatever was interrupted goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

from musegen import children
from musegen.errors import BadInput
from musegen.evaluation.evaluate import evaluate
from musegen.files import content_of, write_atomically
from musegen.limits import RECORD_CAP_BYTES
from musegen.models.loading import load
from musegen.plugins import registry
from musegen.reporting import say
from musegen.running.comparing import EVALUATION
from musegen.running.runs import Run, State
from musegen.running.training import resume, train
from musegen.sweeping.plan import Planned

__all__ = ["go", "is_done", "run_all"]

POLL_S = 0.1


def is_done(planned: Planned) -> bool:
    """Whether nothing is left to do.

    Raises:
        BadInput: the run that is there was asked for otherwise.
    """
    measured = planned.evaluate is None or (planned.path / EVALUATION).is_file()
    return measured and _trained(planned, _existing(planned))


def go(planned: Planned, networks: Mapping[str, str], quiet: bool = False) -> None:
    """Train a run, or go on with it, and evaluate it.

    Args:
        networks: of the user's own, as for ``musegen.train``.

    Raises:
        BadInput, TrainingDiverged, Interrupted: as ``musegen.train`` and ``musegen.resume``.
    """
    run, own, figures = _existing(planned), dict[str, Any](networks), planned.path / EVALUATION
    if run is None:
        planned.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(_record(planned), json.dumps(_asked(planned)).encode())
        train(
            planned.family,
            planned.domain,
            data=planned.data,
            out=planned.path,
            quiet=quiet,
            options=planned.options,
            **own,
        )
    elif not _trained(planned, run):
        figures.unlink(missing_ok=True)
        steps: dict[str, Any] = {"steps": planned.options["steps"]} if "steps" in planned.options else {}
        resume(run, quiet=quiet, **steps, **own)
        write_atomically(_record(planned), json.dumps(_asked(planned)).encode())
    if planned.evaluate is not None and not figures.is_file():
        found = evaluate(load(planned.path, **own), **planned.evaluate)
        write_atomically(figures, json.dumps(found.as_dict(), indent=1).encode())


def _asked(planned: Planned) -> dict[str, Any]:
    return {"family": planned.family, "domain": planned.domain, "data": planned.data, "options": dict(planned.options)}


def _record(planned: Planned) -> Path:
    """Beside a run: what it was asked for, so that a file that has changed since is noticed."""
    return planned.path.with_name(f".{planned.name}.json")


def _asked_before(planned: Planned) -> dict[str, Any]:
    """
    Raises:
        BadInput: the run is of no sweep.
    """
    try:
        before = json.loads(content_of(_record(planned), RECORD_CAP_BYTES))
        before["options"].get("steps")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadInput(f"The run {planned.path} is of no sweep: choose another out.") from None
    return before


def _existing(planned: Planned) -> Run | None:
    if not (planned.path / "config.yaml").is_file():
        return None
    before, now = _asked_before(planned), json.loads(json.dumps(_asked(planned)))
    for said in (before, now):
        said["options"].pop("steps", None)  # more of them may be asked for later
    if before != now:
        raise BadInput(
            f"The run {planned.path} was made with other options than the sweep says now: choose another out."
        )
    return Run.open(planned.path)


def _trained(planned: Planned, run: Run | None) -> bool:
    """Whether a run has done what is asked for; one that ended early by itself has."""
    if run is None:
        return False
    (state, step), before = run.state(), _asked_before(planned)["options"].get("steps")
    wanted = planned.options.get("steps")
    more = wanted != before and isinstance(wanted, int) and step is not None and step < wanted
    return state == State.DONE and not more


def run_all(plans: Sequence[Planned], command: Sequence[str], jobs: int) -> list[str]:
    """Run those that are not done in processes of their own; what each says is in a file beside its folder.

    Args:
        command: of ``musegen``, to which the name of a run is added.
        jobs: as many at a time.

    Returns:
        Names of those that failed.

    Raises:
        SystemExit: a signal ended them; it was passed on, and they have saved what they had.
    """
    waiting, running, failed = list(plans), list[_Child](), list[str]()
    signals: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        for child in running:
            child.process.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while running or (waiting and not signals):
            while waiting and len(running) < jobs and not signals:
                running.append(_Child(waiting.pop(0), command, jobs))
            for child in [child for child in running if child.process.poll() is not None]:
                running.remove(child)
                child.log.close()
                done = len(plans) - len(waiting) - len(running)
                if child.process.returncode == 0:
                    say(f"{done}/{len(plans)} {child.planned.name}: done in {time.monotonic() - child.begun:.0f} s")
                elif not signals:
                    failed.append(child.planned.name)
                    say(f"{done}/{len(plans)} {child.planned.name}: failed: {child.last_line()}")
            time.sleep(POLL_S)
    finally:
        for child in running:
            child.process.kill()
        for number, handler in previous.items():
            signal.signal(number, handler)
    if signals:
        say("Interrupted; what was under way is saved. The same command goes on.")
        raise SystemExit(128 + signals[0])
    return failed


class _Child:
    """A run in a process of its own."""

    def __init__(self, planned: Planned, command: Sequence[str], jobs: int) -> None:
        self.planned, self.begun = planned, time.monotonic()
        self.path = planned.path.with_name(f"{planned.name}.log")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.log: IO[bytes] = self.path.open("wb")
        threads = max(1, (os.cpu_count() or 1) // jobs)
        files = [found.file for found in registry().found if found.file]
        own = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
        own |= {"MUSEGEN_PLUGIN_FILES": os.pathsep.join(files)} if files else {}
        # A session of its own: Ctrl-C on a terminal reaches the sweep alone, and this process through it, once.
        self.process = subprocess.Popen(
            children.command("from musegen.cli import main; sys.exit(main())", *command, planned.name),
            env=children.environment(**own),
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def last_line(self) -> str:
        lines = self.path.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self.process.returncode}"
