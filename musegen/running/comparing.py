"""Runs beside each other: means and standard deviations over seeds, as a table in any format, and curves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musegen.errors import BadInput, did_you_mean
from musegen.files import content_of, user_path
from musegen.limits import RECORD_CAP_BYTES
from musegen.options import load_yaml
from musegen.running.beginning import short
from musegen.running.runs import Run

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["EVALUATION", "Comparison", "Group", "compare", "shown"]

EVALUATION = "evaluation.json"
"""In a run folder: what ``musegen evaluate RUN --out RUN/evaluation.json`` wrote, and ``musegen sweep`` writes."""
NOT_COMPARED = (
    "format",
    "seed",
    "device",
    "processes",
    "compile",
    "tensorboard",
    "trackers",
    "init",
    "data",
    "device_memory",
)
"""In ``config.yaml``: what says where a run was made, or which of several alike it is."""
OF_DATA = ("centre", "spread", "threshold", "classes")
"""Options that data or samples decide, so that they may differ from seed to seed."""
MOST = 8
"""Metrics that are shown where nobody names any."""


@dataclass(frozen=True)
class Group:
    """Runs that are alike but for their seeds.

    Attributes:
        values: what they have in common, by the name of the option.
        runs: their folders.
        metrics: a value per run that has it, by the name of the metric.
        curves: by name, for each run its steps and its values.
    """

    values: Mapping[str, Any]
    runs: Sequence[Path]
    metrics: Mapping[str, Sequence[float]]
    curves: Mapping[str, Sequence[Sequence[tuple[int, float]]]] = field(repr=False)

    @property
    def label(self) -> str:
        """Family and domain by their names alone."""
        plain = ("family", "domain")
        parts = [str(value) if name in plain else f"{name}={short(value)}" for name, value in self.values.items()]
        return ", ".join(parts) or "all"

    def mean(self, metric: str) -> float:
        """NaN if no run has it."""
        values = self.metrics.get(metric, ())
        return math.fsum(values) / len(values) if values else math.nan

    def deviation(self, metric: str) -> float:
        """Standard deviation of the runs (that of a sample, with n − 1); NaN of one run."""
        values, mean = self.metrics.get(metric, ()), self.mean(metric)
        return (
            math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else math.nan
        )


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, and metrics by which they are compared.

    >>> import musegen
    >>> options = {"steps": 2, "widths": [8], "validate_every": 1, "validate_examples": 8, "sample_every": 0, "quiet": True}
    >>> runs = [musegen.train("ae", "image", out=f"runs/{i}", seed=i, **options) for i in range(2)]
    >>> found = musegen.compare(runs)
    >>> found.metrics, len(found.groups[0].runs)
    (['valid/autoencoder/loss'], 2)
    >>> print(found.table("markdown").splitlines()[0])
    | runs | valid/autoencoder/loss |
    """

    by: Sequence[str]
    metrics: Sequence[str]
    groups: Sequence[Group]

    def rows(self) -> list[dict[str, Any]]:
        """A row of numbers for each group: options, the number of runs, and of each metric ``mean`` and ``sd``; None where
        there is no
        number."""
        rows = []
        for group in self.groups:
            row: dict[str, Any] = {**group.values, "runs": len(group.runs)}
            for metric in self.metrics:
                row |= {f"{metric} mean": _number(group.mean(metric)), f"{metric} sd": _number(group.deviation(metric))}
            rows.append(row)
        return rows

    def shown(self) -> list[dict[str, str]]:
        """The same as texts, a cell for each metric: ``98.1 ± 0.4``."""
        return [
            {
                **{name: short(value) for name, value in group.values.items()},
                "runs": str(len(group.runs)),
                **{metric: shown(group.mean(metric), group.deviation(metric)) for metric in self.metrics},
            }
            for group in self.groups
        ]

    def table(self, how: str = "markdown") -> str:
        """The table as ``markdown``, ``latex`` (for the package booktabs), ``csv`` or ``json``.

        Raises:
            BadInput: there is no such format.
        """
        from musegen.running.tables import FORMATS

        if how not in FORMATS:
            raise BadInput(f'There is no format "{how}": use {", ".join(FORMATS)}.{did_you_mean(how, FORMATS)}')
        return FORMATS[how](self)

    def picture(self) -> Image:
        """How the metrics went, a panel for each that was logged along the way: lines are means over seeds, bands from the
        lowest to the
        highest of them."""
        from musegen.running.curves import drawn

        return drawn(self)


def compare(
    runs: Sequence[str | Path | Run] | str | Path | Run,
    by: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
) -> Comparison:
    """Compare runs: means and standard deviations over seeds.

    Args:
        runs: run folders; of a folder that holds several, all.
        by: options that make groups, such as ``["family", "latent_dim"]``; by default the family and the domain, if they
            differ, and all options but the seed in which runs of one family on one domain do.
        metrics: names, or ends of names: ``nelbo`` for ``valid/autoencoder/nelbo``. Those of validation (at the step whose weights
            ``musegen.load`` takes) begin with ``valid``, those of training (the last) with ``train``, and those of
            ``RUN/evaluation.json`` with ``evaluation``; ``steps`` and ``steps_per_s`` are there too. By default the losses of
            validation and the log-probability of the evaluation.

    Raises:
        BadInput: no runs, or no such option or metric.
    """
    given = [runs] if isinstance(runs, (str, Path, Run)) else runs
    found = [_Read(run) for run in _folders(given)]
    if not found:
        raise BadInput("There is nothing to compare: give run folders, or a folder that holds some.")
    by = _differing(found) if by is None else [_option(name, found) for name in by]
    names = list(dict.fromkeys(name for run in found for name in run.metrics))
    chosen = _standard(names) if metrics is None else [name for metric in metrics for name in _named(metric, names)]
    members: dict[str, list[_Read]] = {}
    for run in found:
        members.setdefault(json.dumps([run.config.get(name) for name in by]), []).append(run)
    groups = [_group(mine, by, chosen) for mine in members.values()]
    return Comparison(by, chosen, groups)


def _folders(given: Sequence[str | Path | Run]) -> Iterator[Path]:
    for run in given:
        path = run.path if isinstance(run, Run) else user_path(run)
        inside = [] if (path / "config.yaml").is_file() or not path.is_dir() else sorted(path.glob("*/config.yaml"))
        yield from ([config.parent for config in inside] if inside else [Run.open(path).path])


class _Read:
    """What is in a run's folder, of its own accord: neither a family nor a domain is loaded.

    Attributes:
        config: as in ``config.yaml``.
        metrics: a number by name.
        curves: steps and values by name.
    """

    def __init__(self, path: Path) -> None:
        run = Run.open(path)
        self.path, self.config = run.path, load_yaml(path / "config.yaml")
        self.curves: dict[str, list[tuple[int, float]]] = {}
        rows = run.metrics()
        for row in rows:
            for name, value in row.items():
                if name not in ("step", "kind") and isinstance(value, (int, float)):
                    self.curves.setdefault(f"{row['kind']}/{name}", []).append((row["step"], float(value)))
        best = _best_step(run)
        self.metrics = {
            name: _at(curve, best if name.startswith("valid/") else None) for name, curve in self.curves.items()
        }
        if "train/steps_per_s" in self.metrics:
            self.metrics["steps_per_s"] = self.metrics.pop("train/steps_per_s")
        if rows:
            self.metrics["steps"] = float(rows[-1]["step"])
        self.metrics |= _evaluation(path / EVALUATION)


def _at(curve: Sequence[tuple[int, float]], step: int | None) -> float:
    """The value at a step, or the last."""
    return next((value for at, value in curve if at == step), curve[-1][1])


def _best_step(run: Run) -> int | None:
    """The step whose weights are the best on the validation data, if the family has such."""
    from musegen.engine.checkpoint import checkpoints, read_manifest

    try:
        step = read_manifest(checkpoints(run.checkpoints)[-1])["state"]["best"]["step"]
    except (BadInput, IndexError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None


def _evaluation(path: Path) -> dict[str, float]:
    """The figures of an evaluation by name: that of log p, and those of the samples."""
    try:
        found = json.loads(content_of(path, RECORD_CAP_BYTES))
        log_prob, figures = found["log_prob"], {**found["metrics"], **found["copies"]}
        values = {f"evaluation/{name}": figure["model"] for name, figure in figures.items()}
        values |= {} if log_prob is None else {"evaluation/log_prob": log_prob["nats"]}
        return {name: float(value) for name, value in values.items() if value is not None}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadInput(f"{path} is damaged: write it again with musegen evaluate.") from None


def _differing(runs: Sequence[_Read]) -> list[str]:
    """Options in which runs differ: family and domain, and those in which runs of one family on one domain do."""
    ignored = {"family", "domain", *NOT_COMPARED, *OF_DATA}
    names = dict.fromkeys(name for run in runs for name in run.config if name.rpartition(".")[2] not in ignored)
    values: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        pair = f"{run.config.get('family')} {run.config.get('domain')}"
        for name in names:
            values.setdefault((name, pair), set()).add(json.dumps(run.config.get(name)))
    several = {name for (name, _), found in values.items() if len(found) > 1}
    kinds = [name for name in ("family", "domain") if len({run.config.get(name) for run in runs}) > 1]
    return [*kinds, *(name for name in names if name in several)]


def _option(name: str, runs: Sequence[_Read]) -> str:
    known = {key for run in runs for key in run.config}
    if name not in known:
        raise BadInput(f'The runs have no option "{name}".{did_you_mean(name, known)}')
    return name


def _standard(names: Sequence[str]) -> list[str]:
    found = [name for name in names if name.startswith("valid/") or name == "evaluation/log_prob"]
    return (found or [name for name in names if name.startswith("train/")])[:MOST]


def _named(metric: str, names: Sequence[str]) -> list[str]:
    """Metrics of that name, or whose names end with it."""
    if metric in names:
        return [metric]
    found = [name for name in names if name.endswith(f"/{metric}")]
    held_out = [name for name in found if not name.startswith("train/")]
    if not found:
        raise BadInput(f'The runs have no metric "{metric}".{did_you_mean(metric, names)}')
    return held_out or found


def _group(runs: Sequence[_Read], by: Sequence[str], metrics: Sequence[str]) -> Group:
    return Group(
        {name: runs[0].config.get(name) for name in by},
        [run.path for run in runs],
        {metric: [run.metrics[metric] for run in runs if metric in run.metrics] for metric in metrics},
        {metric: [run.curves[metric] for run in runs if metric in run.curves] for metric in metrics},
    )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def shown(mean: float, deviation: float) -> str:
    """A mean with as many digits as its standard deviation allows: two of the deviation, or four of the mean alone."""
    if not math.isfinite(mean):
        return "–"
    if not math.isfinite(deviation):
        return f"{mean:.4g}"
    if deviation == 0:
        return f"{mean:.4g} ± 0"
    digits = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"
