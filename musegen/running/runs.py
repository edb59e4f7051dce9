"""Run folders: what a training run leaves on disk.

config.yaml        complete, resolved: enough to train again
environment.json   versions, plugins, git state, arguments, data hash
metrics.jsonl      one JSON object per log point and per validation
checkpoints/       see ``musegen.engine.checkpoint``
samples/step_N/    samples in the domain's native format, and a picture
skipped.csv        files of the data that were left out, and why
data/              what the domain keeps, such as a packed store
state.json         how far the run is, see ``State``
lock               while it is written: the process that does
"""

from __future__ import annotations

import csv
import enum
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from musegen.errors import BadInput, OutsideFault, because_of
from musegen.files import content_of, remove_leftovers, user_path, write_atomically
from musegen.folders import Claim, NewFolder, forget
from musegen.limits import METRICS_CAP_BYTES, RECORD_CAP_BYTES
from musegen.options import load_yaml
from musegen.plugins import needs
from musegen.running.own import Own, records
from musegen.running.resolved import Resolved, resolve_dict
from musegen.running.surroundings import surroundings

__all__ = ["Run", "State", "line_of", "new_run"]


class State(enum.StrEnum):
    """How far a run is, on disk. Whatever a run was doing when it was killed is done again, so every step can be repeated.

    A checkpoint is written before the state that follows from it, so it says too whether it is the last one. What the state says of
    an older checkpoint does not count.
    """

    PLANNED = enum.auto()
    """The folder is complete, and nothing is learnt."""
    RUNNING = enum.auto()
    """There is a checkpoint."""
    TRAINED = enum.auto()
    """The last step is done. The domain has yet to adjust how samples are written (``Domain.calibrate``)."""
    DONE = enum.auto()
    """That too."""


class Run:
    """One run folder.

    Attributes:
        path: the folder.
        own: what the program brought itself, and the folder cannot hold.
    """

    def __init__(self, path: str | Path, own: Own | None = None) -> None:
        self.path = user_path(path)
        self.own = own or Own()
        self._place: os.stat_result | None = None

    def __repr__(self) -> str:
        try:
            state, step = self.state()
            flat = load_yaml(self.path / "config.yaml")
        except BadInput:
            return f"Run({str(self.path)!r})"
        how = f"{flat.get('family')} on {flat.get('domain')}, {state}"
        return f"Run({str(self.path)!r}: {how}{'' if step is None else f' at step {step:,}'})"

    @classmethod
    def open(cls, path: str | Path | Run, own: Own | None = None) -> Run:
        """An existing run.

        Args:
            own: what a program hands over for it; by default what a run in hand has.

        Raises:
            BadInput: there is no run there.
        """
        if isinstance(path, Run):
            own, path = own or path.own, path.path
        run = cls(path, own)
        if not (run.path / "config.yaml").is_file():
            what = "holds no run of musegen (no config.yaml)" if run.path.exists() else "does not exist"
            raise BadInput(f"The run folder {path} {what}: give the folder of a run.")
        return run

    def claimed(self) -> Claim:
        """A scope in which no other process trains this run."""
        return Claim(self.path, f"The run {self.path}")

    def check_place(self) -> None:
        """See that the folder is still the one that it was when this was first called.

        Raises:
            OutsideFault: it was moved or removed; nothing is written to what has its name now.
        """
        try:
            now = os.stat(self.path)
        except OSError:
            now = None
        self._place = self._place or now
        if now is None or self._place is None or not os.path.samestat(self._place, now):
            raise OutsideFault(
                f"The run folder {self.path} was moved or removed while it was trained, so training stopped. The last checkpoint "
                "is where the folder is now: go on there with musegen resume."
            )

    def tidy(self) -> None:
        """Remove what killed processes left of this run, half-written or half-removed; only who has claimed it may."""
        for folder in (self.path, self.path / "samples", self.path / "data"):
            remove_leftovers(folder)
        forget(self.path)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def killed_before_its_first_checkpoint(self) -> bool:
        """Whether there is none at all, not even a damaged one."""
        from musegen.engine.checkpoint import begun  # which imports torch

        return not begun(self.checkpoints)

    def state(self) -> tuple[State, int | None]:
        """How far the run is, and the step of the checkpoint that this is said of; of a run without that file nothing is known.

        Raises:
            BadInput: the file is damaged.
        """
        path = self.path / "state.json"
        try:
            found = json.loads(content_of(path, RECORD_CAP_BYTES))
            return State(found["state"]), None if found["step"] is None else int(found["step"])
        except FileNotFoundError:
            return State.RUNNING, None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            raise BadInput(f"{path} is damaged: remove it, and go on with musegen resume.") from None

    def write_state(self, state: State, step: int | None) -> None:
        write_atomically(self.path / "state.json", json.dumps({"state": state, "step": step}).encode())

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    def config(self) -> Resolved:
        try:
            needed = self.environment().get("needs", ())
        except (BadInput, AttributeError):  # it only helps to find them; what has no environment may still be complete
            needed = ()
        return resolve_dict(load_yaml(self.path / "config.yaml"), f"The run {self.path}", needed, True, self.own)

    def environment(self) -> dict[str, Any]:
        """What was recorded about the machine and the data.

        Raises:
            BadInput: the file is missing or damaged.
        """
        try:
            return json.loads(content_of(self.path / "environment.json", RECORD_CAP_BYTES))
        except (OSError, ValueError, RecursionError):
            raise BadInput(f"The run {self.path} is damaged: environment.json cannot be read.") from None

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; a last line cut off by a kill is left out.

        A figure that was NaN or infinite is None.

        Raises:
            BadInput: the file cannot be read, or another line is damaged.
        """
        try:
            lines = content_of(self.metrics_path, METRICS_CAP_BYTES).splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise because_of(error, f"{self.metrics_path} cannot be read: {error.strerror}.") from None
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                whole = isinstance(row, dict) and type(row["step"]) is int
            except (ValueError, KeyError, RecursionError):
                whole = False
            if whole:
                rows.append(row)
            elif number < len(lines):
                raise BadInput(
                    f"{self.metrics_path} is damaged in line {number}: correct that line, or remove the file."
                )
        return rows

    def write_config(self, resolved: Resolved) -> None:
        import yaml

        text = yaml.safe_dump(resolved.as_dict(), sort_keys=False, allow_unicode=True)
        write_atomically(self.path / "config.yaml", text.encode())

    def write_environment(
        self, resolved: Resolved, data_fingerprint: str, data_description: str, init: Mapping[str, Any] | None = None
    ) -> None:
        """What there is of the machine, the packages and the data; and what was taken of the model that ``init`` names."""
        environment = {
            **surroundings(
                [*needs(resolved.family.name, resolved.domain.name), *records(resolved.family, resolved.domain)]
            ),
            "data": {"sha256": data_fingerprint, "description": data_description},
            **({} if init is None else {"init": init}),
        }
        write_atomically(self.path / "environment.json", json.dumps(environment, indent=1).encode())

    def write_skipped(self, skipped: Sequence[tuple[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["path", "reason"])
        writer.writerows(skipped)
        write_atomically(self.path / "skipped.csv", text.getvalue().encode("utf-8", "surrogateescape"))

    def rewind_metrics(self, step: int) -> None:
        """Drop the metrics after ``step``: a killed run may have logged further than its last checkpoint."""
        rows = [row for row in self.metrics() if row["step"] <= step]
        write_atomically(self.metrics_path, "".join(map(line_of, rows)).encode())


def line_of(row: Mapping[str, Any]) -> str:
    """A line of ``metrics.jsonl``: JSON has no NaN and no infinity, and null stands for them."""
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(plain, allow_nan=False) + "\n"


def new_run(path: str | Path, overwrite: bool = False) -> NewFolder:
    """A run folder in the making.

    Raises:
        BadInput: the folder exists (unless ``overwrite`` and it is a run).
    """
    return NewFolder(path, "config.yaml", "run", overwrite, "resume it, ")
