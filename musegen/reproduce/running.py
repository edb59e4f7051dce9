"""Train the rows of a table, measure them, and keep what was found. Run again, it goes on where it was."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from musegen.errors import BadInput
from musegen.models.loading import load
from musegen.reproduce import results
from musegen.reproduce.made import make
from musegen.reproduce.measuring import MEASURES
from musegen.reproduce.once import fingerprint, score_once
from musegen.reproduce.rows import Row
from musegen.running.resolved import resolve
from musegen.running.runs import Run
from musegen.sweeping.plan import Planned
from musegen.sweeping.runner import go

__all__ = ["planned", "reproduce"]

SMOKE_EXAMPLES = 32
"""Examples, samples and draws of a measure with the budget smoke."""
SMOKE = {"validate_every": 0, "checkpoint_every": 0, "sample_every": 0, "device": "cpu"}


def reproduce(
    rows: Sequence[Row],
    budget: str,
    out: Path,
    seeds: int | None = None,
    data: Path | None = None,
    kept: Path | None = None,
    valid: bool = False,
    again: bool = False,
    quiet: bool = False,
) -> Iterator[dict[str, Any]]:
    """Train and measure rows, seed by seed; yields table, row, seed, split and the score of each.

    Args:
        budget: smoke, cpu or gpu. ``smoke`` measures on a few validation examples, and its figures are not kept.
        out: run folders go here, ``TABLE/ROW-BUDGET-seed=N``.
        seeds: how many; as many as the row says if not given.
        data: folder of data sets that do not ship with musegen.
        kept: file of results; ``results.json`` in ``out`` if not given.
        valid: measure on validation examples, and keep nothing.
        again: read the test examples again.

    Raises:
        BadInput: what a row needs is not there; a run was made with other options; the test examples were already used.
    """
    plans = [(row, planned(row, budget, seed, out, data)) for row in rows for seed in range(_seeds(row, budget, seeds))]
    for _, plan in plans:  # before hours of work
        resolve(plan.family, plan.domain, plan.options)
    for row, plan in plans:
        go(plan, {}, quiet)
        split = "valid" if valid or budget == "smoke" else "test"
        score = _score(row, budget, plan, split, again)
        seed = plan.options["seed"]
        if split == "test":
            results.add(kept or out / "results.json", row, budget, seed, score, _where())
        yield {"table": row.table, "row": row.name, "seed": seed, "split": split, **score}


def planned(row: Row, budget: str, seed: int, out: Path, data: Path | None) -> Planned:
    """The run of a row.

    Raises:
        BadInput: data that the row needs are not there.
    """
    changes = dict(row.budgets[budget])
    changes.pop("measure", None)
    source = changes.pop("data", row.data)
    options = {**row.options, **(SMOKE if budget == "smoke" else {"sample_every": 0}), **changes, "seed": seed}
    options = {name: _in_folder(value, row, data) for name, value in options.items()}
    if source is not None and source.startswith("made:"):
        source = str(make(source.removeprefix("made:"), out / "data"))
    elif source == "bundled":
        source = None
    elif source is not None and source.startswith("package:"):
        source = str(_in_package(source.removeprefix("package:"), row))
    elif source is not None:
        source = _in_folder(f"{{data}}/{source}", row, data)
        if source.endswith(".mat"):
            source = str(make("pieces", out / "data", Path(source)))
    name = f"{row.name}-{budget}-seed={seed}"
    return Planned(name, out / row.table / name, row.family, row.domain, source, options, None)


def _in_package(place: str, row: Row) -> Path:
    """A folder of data within another package, ``NAME==VERSION/FOLDER``, which is not imported.

    Raises:
        BadInput: the package is not installed, or has no such folder.
    """
    wanted, _, folder = place.partition("/")
    found = find_spec(wanted.partition("==")[0])
    for parent in (found.submodule_search_locations or ()) if found else ():
        if (Path(parent) / folder).is_dir():
            return Path(parent) / folder
    raise BadInput(f"The row {row.name} of {row.table} needs pictures that come with {wanted}: pip install {wanted}.")


def _in_folder(value: Any, row: Row, data: Path | None) -> Any:
    """The value of an option; ``{data}`` in it becomes the folder of data."""
    if not (isinstance(value, str) and "{data}" in value):
        return value
    place = value.replace("{data}", str(data))
    if data is None or not Path(place).exists():
        wanted = value.replace("{data}/", "")
        looked = "add --data FOLDER, the folder that holds it" if data is None else f"{data} does not hold it"
        raise BadInput(f"The row {row.name} of {row.table} needs {wanted}, which does not ship with musegen: {looked}.")
    return place


def _seeds(row: Row, budget: str, seeds: int | None) -> int:
    return seeds if seeds is not None else 1 if budget == "smoke" else row.seeds


def _score(row: Row, budget: str, plan: Planned, split: str, again: bool) -> dict[str, Any]:
    """The value of a trained run, what stands beside it, steps and seconds of training."""
    model, run = load(plan.path), Run.open(plan.path)
    arguments = dict(row.measure) | dict(row.budgets[budget].get("measure", {}))
    measure = MEASURES[arguments.pop("name")]
    if budget == "smoke":
        arguments |= {name: SMOKE_EXAMPLES for name in measure.sizes if name != "prior" or name in arguments}

    def compute() -> dict[str, Any]:
        found = measure(model, split, **arguments)
        steps, seconds = _training(run)
        return {**found, "steps": steps, "seconds": round(seconds, 1)}

    if split != "test":
        return compute()
    described = run.environment()
    own = fingerprint(model, {**row.measure, **arguments}, str(described.get("data")))
    return score_once(plan.path, own, compute, again)


def _training(run: Run) -> tuple[int, float]:
    """Steps of a run, and the seconds that they took."""
    rows = [row for row in run.metrics() if row.get("kind") == "train" and row.get("steps_per_s")]
    seconds, before = 0.0, 0
    for row in rows:
        seconds += (row["step"] - before) / row["steps_per_s"]
        before = row["step"]
    return run.state()[1] or before, seconds


def _where() -> Mapping[str, Any]:
    """Machine, versions and date of a figure."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    versions = {name: version(name) for name in ("musegen", "torch", "numpy")}
    return {
        "machine": f"{platform.machine()}, {device}",
        "versions": {"python": platform.python_version(), **versions},
        "date": date.today().isoformat(),
    }
