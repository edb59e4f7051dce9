"""A trained model beside data that it has not seen: likelihood, measures of samples, and what samples copy.

Every figure of samples stands beside a floor, the same figure of as many real examples: training data for measures (nothing
can be expected to come closer to held-out data than they do), and held-out data for copies (as much is shared by chance and
by style alone).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from musegen.contracts.dataset import Dataset, generator_for
from musegen.engine.shared_state import in_float32
from musegen.errors import BadInput, MusegenWarning
from musegen.models.loading import load
from musegen.models.model import Model
from musegen.plugins import registry
from musegen.plugins.checks import one_line, quiet
from musegen.reporting import doing

if TYPE_CHECKING:
    from musegen.running.runs import Run

__all__ = ["Evaluation", "Figure", "evaluate", "rows", "tables"]


@dataclass(frozen=True)
class Figure:
    """One figure of the model's samples, of real examples, and of the domain's baselines by name; NaN where it is not defined."""

    model: float
    floor: float
    baselines: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What was found.

    Attributes:
        split: where held-out examples come from, ``test`` or ``valid``.
        n_samples, n_held_out: how many were compared.
        log_prob: ``nats`` per held-out example, its standard ``error``, whether it is ``exact`` or a ``bound``, and from
            how many ``draws``; None for families without one.
        metrics: of the domain and of plugins, figures ``measure/part/figure``, beside those of training examples.
        copies: of the domain, beside those of held-out examples.
    """

    split: str
    n_samples: int
    n_held_out: int
    log_prob: dict[str, Any] | None
    metrics: dict[str, Figure]
    copies: dict[str, Figure]

    def __repr__(self) -> str:
        parts = [f"{self.split}, {self.n_held_out} held-out examples"]
        if self.log_prob is not None:
            sign = "=" if self.log_prob["kind"] == "exact" else "≥"
            parts.append(f"log p {sign} {self.log_prob['nats']:.2f} ± {self.log_prob['error']:.2f} nats")
        return f"Evaluation({', '.join([*parts, f'{len(self.metrics)} figures of {self.n_samples} samples'])})"

    def within(self, factor: float) -> tuple[list[str], list[str]]:
        """Names of the measures whose distance from held-out data is at most ``factor`` times the floor's, and of the others.

        The distance is Wasserstein's of numbers, and the KL divergence of tables of counts; measures are left out that are not
        defined for samples, training or held-out data.
        """
        close = {
            name: figure.model <= factor * figure.floor
            for name, figure in self._distances().items()
            if math.isfinite(figure.model) and math.isfinite(figure.floor)
        }
        return [name for name in close if close[name]], [name for name in close if not close[name]]

    @property
    def baselines(self) -> list[str]:
        """Names of the domain's baselines."""
        return list(next(iter(self.metrics.values())).baselines) if self.metrics else []

    def behind(self, baseline: str) -> list[str]:
        """Names of the measures in which samples are farther from held-out data than a baseline is."""
        return [
            name
            for name, figure in self._distances().items()
            if figure.model > figure.baselines.get(baseline, math.inf)
        ]

    def _distances(self) -> dict[str, Figure]:
        """How far each measure is from held-out data: Wasserstein's distance of numbers, the KL divergence of counts."""
        names = dict.fromkeys(name.rpartition("/")[0] for name in self.metrics)
        found = {name: self.metrics.get(f"{name}/distance", self.metrics.get(f"{name}/kl")) for name in names}
        return {name: figure for name, figure in found.items() if figure is not None}

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which knows no NaN: None instead."""
        return _plain(asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


@in_float32()
def evaluate(
    model: Model | Run | str | Path,
    n: int = 512,
    k: int = 16,
    seed: int = 0,
    split: str | None = None,
    source: Any = None,
) -> Evaluation:
    """Evaluate a model.

    Args:
        model: or what ``musegen.load`` takes.
        n: samples to draw, and real examples to compare with.
        k: draws per example where log p is a bound.
        split: ``test`` or ``valid``; by default the first of them that has examples.
        source: the data, as for training, also in memory; those of the run if not given.

    Raises:
        BadInput: a model file, which knows no data, without source; no held-out data; a family that neither samples nor has log p.

    >>> import musegen
    >>> run = musegen.train("vae", "image", out="run", steps=2, widths=[16], validate_every=0, sample_every=0, quiet=True)
    >>> found = musegen.evaluate(run, n=8, k=1)
    >>> found.split, found.n_samples, found.log_prob["kind"], "diversity_samples" in found.metrics
    ('test', 8, 'bound', True)
    """
    model = model if isinstance(model, Model) else load(model)
    can, domain = model.family.capabilities, model.domain
    if not can.log_prob:
        model._require("sample")
    data = model.data(source)
    if data is None:
        raise BadInput(
            "A model file knows no data to compare with: say where they are (source=FOLDER, or source=bundled for those that "
            "ship), or give the run folder."
        )
    found = [name for name in ((split,) if split else ("test", "valid")) if len(data.splits.get(name, ()))]
    if not found:
        raise BadInput(f"There are no held-out data in {split or 'test or valid'}: train on more pieces or pictures.")
    held_out = _draw(data.splits[found[0]], n, seed)

    log_prob = None
    if can.log_prob:
        with doing("Computing log p"):
            log_prob = _log_prob(model, held_out, k, seed)
    if not can.sample:
        return Evaluation(found[0], 0, len(held_out), log_prob, {}, {})
    takes_given = can.given and domain.spec.given
    samples = model.sample(len(held_out) if takes_given else n, seed=seed, given=held_out if takes_given else None)
    metrics, copies = _compared(model, samples, held_out, data.splits["train"], n, seed)
    return Evaluation(found[0], len(samples), len(held_out), log_prob, metrics, copies)


def _compared(
    model: Model, samples: Tensor, held_out: Tensor, train: Dataset, n: int, seed: int
) -> tuple[dict[str, Figure], dict[str, Figure]]:
    """Measures of samples against held-out data, and what they share with the training data; beside each, the floor."""
    domain, real = model.domain, _draw(train, n, seed)
    with doing("Measuring samples"):
        baselines = domain.baselines(train, n, seed)
        theirs = {name: domain.metrics(x, held_out) for name, x in baselines.items()}
        metrics = _beside(domain.metrics(samples, held_out), domain.metrics(real, held_out), theirs)
    more = _measures_of_plugins(model, {"": samples, "training": real, **baselines}, held_out, seed)
    metrics |= {name: figure for name, figure in more.items() if name not in metrics}
    with doing("Looking for copies"):
        copies = _beside(domain.copies(samples, train), domain.copies(held_out, train))
    return metrics, copies


def _log_prob(model: Model, x: Tensor, k: int, seed: int) -> dict[str, Any]:
    """log p of examples: kind, mean, its standard error, and draws per example."""
    kind, values = model.family.capabilities.log_prob, model.log_prob(x, k, seed).double()
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return {"kind": kind, "nats": float(values.mean()), "error": error, "draws": 1 if kind == "exact" else k}


def _draw(dataset: Dataset, n: int, seed: int) -> Tensor:
    """n examples at random, each at most once: ``(min(n, N), *S)``."""
    generator = generator_for(torch.device("cpu"), seed, 6)
    index = torch.randperm(len(dataset), generator=generator)[:n]
    return dataset.gather(index, generator).x.float()


def _measures_of_plugins(
    model: Model, everybody: Mapping[str, Tensor], held_out: Tensor, seed: int
) -> dict[str, Figure]:
    """Figures of the measures that plugins offer for this domain; one that fails costs only itself, and a line says so.

    Args:
        everybody: samples of the model, training examples, and baselines by name, in this order.
    """
    found: dict[str, Figure] = {}
    for name in registry().measures(model.domain.name):
        try:
            measure, figures = registry().measure(name), []
            for x in everybody.values():
                # Copies, and draws of their own: no measure can change what another one sees.
                with model.drawing(seed), quiet():
                    figures.append(_as_figures(measure(x.clone(), held_out.clone())))
        except (Exception, SystemExit) as error:
            provider = registry().provider("measure", name)
            why = str(error) if isinstance(error, BadInput) else f"{one_line(error)}."
            whose = f" of {provider.origin}" if provider else ""
            warnings.warn(f'The measure "{name}"{whose} was left out: {why}', MusegenWarning, stacklevel=2)
        else:
            own, floor, *others = figures
            beside = _beside(own, floor, dict(zip([*everybody][2:], others, strict=True)))
            found |= {f"{name}/{figure}": value for figure, value in beside.items()}
    return found


def _as_figures(returned: Any) -> dict[str, float]:
    """What a measure returned, by name.

    Raises:
        TypeError, ValueError: it is something else.
    """
    if not isinstance(returned, Mapping) or not all(isinstance(name, str) and name for name in returned):
        raise TypeError(f"it returned {type(returned).__name__}, and must return a dict of figures by name")
    return {name: float(value) for name, value in returned.items()}


def _beside(
    model: Mapping[str, float], floor: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]] | None = None
) -> dict[str, Figure]:
    def beside(name: str) -> dict[str, float]:
        return {who: figures.get(name, math.nan) for who, figures in (baselines or {}).items()}

    return {name: Figure(value, floor.get(name, math.nan), beside(name)) for name, value in model.items()}


def tables(figures: Mapping[str, Figure]) -> list[tuple[str, list[dict[str, str]]]]:
    """Figures as tables of text, each with its title: a row per measure, and a column for each of those that were measured.

    Means of numbers come first, then the overlap of every distribution with that of held-out data, then what else there is. Further
    figures of a distribution are for those who compute with them.
    """
    distributions = [name.rpartition("/")[0] for name in figures if name.endswith("/overlap")]
    names = list(dict.fromkeys(name for figure in figures.values() for name in figure.baselines))

    def others(figure: Figure) -> dict[str, str]:
        beside = {name: _short(figure.baselines.get(name, math.nan)) for name in names}
        return {"training": _short(figure.floor), **beside}

    means, overlaps, rest = [], [], []
    for name in distributions:
        if (mean := figures.get(f"{name}/mean")) is not None:
            held_out = figures[f"{name}/reference"].model
            means.append({"": name, "model": _short(mean.model), "held-out": _short(held_out), **others(mean)})
        overlap = figures[f"{name}/overlap"]
        overlaps.append({"": name, "model": _short(overlap.model), **others(overlap)})
    for name, figure in figures.items():
        if name.rpartition("/")[0] not in distributions:
            rest.append({"": name, "model": _short(figure.model), **others(figure)})
    found = [
        ("Means", means),
        ("Overlap with held-out examples (1: the same distribution)", overlaps),
        ("Figures", rest),
    ]
    return [(title, table) for title, table in found if table]


def rows(figures: Mapping[str, Figure]) -> list[dict[str, str]]:
    """Figures as rows of text: names alike up to the last / share a row, and each cell is "model (floor)"."""
    table: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for name, figure in figures.items():
        row, _, column = name.rpartition("/") if "/" in name else (name, "", "value")
        columns[column] = None
        table.setdefault(row, {})[column] = f"{_short(figure.model)} ({_short(figure.floor)})"
    return [{"": row, **{column: cells.get(column, "") for column in columns}} for row, cells in table.items()]


def _short(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"
