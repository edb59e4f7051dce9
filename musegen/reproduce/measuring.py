"""What rows of tables are measured by. Each measure gives ``value``, in the unit of the row, and what stands ``beside`` it.

Whatever is chosen (σ, names of clusters) is chosen on validation examples. A measure's ``split`` is where its value comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musegen.contracts.dataset import Batch
from musegen.errors import BadInput
from musegen.evaluation.factors import mutual_information_gap
from musegen.evaluation.likelihoods import prior_log_prob
from musegen.evaluation.parzen import SAMPLES, best_sigma, parzen_log_prob
from musegen.models.model import Model
from musegen.reproduce.made import factors
from musegen.reproduce.polyphonic import pieces_of

__all__ = ["MEASURES", "Measure"]

Score = dict[str, Any]
ALL = 10_000
"""Test examples of MNIST."""
CHOSEN_ON = 1000
"""Validation examples that σ is chosen on."""


@dataclass(frozen=True)
class Measure:
    """A function of a model and a split, and those of its arguments that say how much is drawn."""

    function: Callable[..., Score]
    sizes: tuple[str, ...]

    def __call__(self, model: Model, split: str, **arguments: Any) -> Score:
        return self.function(model, split, **arguments)


def _examples(model: Model, n: int, split: str) -> Batch:
    batch = model.examples(n, split)
    assert batch is not None  # a run knows its data
    return batch


def _sampled(model: Model, n: int) -> Tensor:
    return torch.cat([model.sample(min(500, n - i), seed=i) for i in range(0, n, 500)])


def log_prob(model: Model, split: str, n: int = ALL, k: int = 100, prior: int = 0) -> Score:
    """Mean log p of examples, nats: exact, or a bound from k draws; beside it, from ``prior`` draws of the prior."""
    x = _examples(model, n, split).x
    values = model.log_prob(x, 1 if model.family.capabilities.log_prob == "exact" else k).double()
    beside = {"standard error": float(values.std()) / math.sqrt(len(values))}
    if prior:
        drawn = iter(range(prior))
        own = prior_log_prob(lambda s: model.sample(s, seed=next(drawn)), x[:1000], prior)
        beside[f"from {prior:,} draws of the prior (1,000 images)"] = float(own.double().mean())
    return {"value": float(values.mean()), "beside": beside}


def parzen(model: Model, split: str, n: int = ALL, samples: int = SAMPLES) -> Score:
    """Kernel density log-likelihood, nats; beside it, the same with as many training examples."""
    x, validation = _examples(model, n, split).x, _examples(model, min(n, CHOSEN_ON), "valid").x

    def scored(centres: Tensor) -> tuple[float, float]:
        sigma = best_sigma(validation, centres)
        return float(parzen_log_prob(x, centres, [sigma]).double().mean()), sigma

    value, sigma = scored(_sampled(model, samples))
    real, own = scored(_examples(model, samples, "train").x)
    return {"value": value, "beside": {"σ": sigma, "training examples": real, "their σ": own}}


def class_error(model: Model, split: str, n: int = ALL) -> Score:
    """Share of wrong classes."""
    batch = _examples(model, n, split)
    return {"value": _wrong(model.classify(batch.x).argmax(1), _labels(batch))}


def target_accuracy(model: Model, split: str, n: int = ALL) -> Score:
    """Share of right classes of the second data set; beside it, of the first."""
    if model.config.get("target", "none") == "none":
        raise BadInput("target_accuracy needs a second data set: use a model that was trained with target=….")
    target = _examples(model, n, "target_test" if split == "test" else "target_valid")
    own = _examples(model, min(n, 2000), "valid")
    right = [1 - _wrong(model.classify(batch.x).argmax(1), _labels(batch)) for batch in (target, own)]
    return {"value": right[0], "beside": {"source (validation)": right[1]}}


def cluster_error(model: Model, split: str, n: int = ALL) -> Score:
    """Share of wrong classes if each cluster has the name of the class that most of its validation examples have."""
    batch, valid = _examples(model, n, split), _examples(model, n, "valid")
    predicted, found, label = (
        model.classify(batch.x).argmax(1),
        model.classify(valid.x).argmax(1),
        _labels(valid),
    )
    name = torch.full((int(torch.cat([predicted, found]).max()) + 1,), -1)  # a cluster without examples is always wrong
    for cluster in found.unique().tolist():
        name[cluster] = label[found == cluster].mode().values
    return {"value": _wrong(name[predicted], _labels(batch)), "beside": {"clusters": float(len(found.unique()))}}


def _labels(batch: Batch) -> Tensor:
    if batch.label is None:
        raise BadInput("This measure compares with classes, and the data have none: use data with classes.")
    return batch.label


def _wrong(predicted: Tensor, label: Tensor) -> float:
    return float((predicted != label).double().mean())


def frechet(model: Model, split: str, n: int = ALL, samples: int = ALL) -> Score:
    """Fréchet distance of digits, as ``musegen evaluate`` has it; beside it, of training examples; and neighbourhoods."""
    real = _examples(model, n, split).x
    found, own = (
        model.domain.metrics(x, real) for x in (_sampled(model, samples), _examples(model, samples, "train").x)
    )
    if "digits_frechet_distance" not in found:
        raise BadInput("frechet knows digits of 28 × 28 pixels alone: use a model of MNIST.")
    beside = {name.removeprefix("digits_"): value for name, value in found.items() if name.startswith("digits_")}
    value = beside.pop("frechet_distance")
    return {"value": value, "beside": {"training examples": own["digits_frechet_distance"], **beside}}


def mig(model: Model, split: str) -> Score:
    """Mutual information gap of the codes of all pictures of which the factors are known."""
    pictures, values = factors()
    if model.domain.spec.shape != pictures.shape[1:]:
        raise BadInput("mig needs a model of the pictures of factors: musegen reproduce disentanglement makes one.")
    codes = model.encode(torch.from_numpy(pictures).float())
    return {"value": mutual_information_gap(codes, torch.from_numpy(values))}


def nats_per_frame(model: Model, split: str, n: int = ALL) -> Score:
    """−log p of frames 2 to the last of the first n whole pieces, each given all earlier ones, averaged over frames, nats."""
    step_log_prob: Any = getattr(model.family, "step_log_prob", None)
    if model.run is None or step_log_prob is None:
        raise BadInput("nats_per_frame needs a run of rnn_nade: musegen reproduce polyphonic-likelihood makes one.")
    pieces = pieces_of(Path(str(model.run.config().data)), split)[:n]
    total, count = 0.0, 0
    with torch.no_grad():
        for piece in pieces:
            x = torch.from_numpy(piece).float().to(model.family.device)[None, None]  # (1, 1, frames, 88)
            log_p = step_log_prob(x)[0, 1:]
            total, count = total - float(log_p.double().sum()), count + len(log_p)
    return {"value": total / count}


def musegan_figure(model: Model, split: str, which: str, n: int = 2048, samples: int = 512) -> Score:
    """One of the figures of MuseGAN's Table 1, in %, mean over tracks; beside it, of real bars of the split.

    Args:
        which: EB, UPC, QN or DP.
    """
    drawn, real = _sampled(model, samples), _examples(model, n, split).x
    found = model.domain.metrics(drawn, real)
    names = [name for name in found if name.startswith(f"MuseGAN {which}/") and name.endswith("/mean")]
    if not names:
        raise BadInput("MuseGAN's figures need bars of 96 steps and its own range, 24 to 107: set steps_per_beat=24.")
    reference = [found[f"{name.removesuffix('mean')}reference"] for name in names]
    scale = 1.0 if which == "UPC" else 100.0
    mean, real_mean = (scale * _mean(values) for values in ([found[name] for name in names], reference))
    return {"value": abs(mean - real_mean), "beside": {"samples": mean, "real bars": real_mean}}


def _mean(values: list[float]) -> float:
    defined = [value for value in values if math.isfinite(value)]
    return sum(defined) / len(defined) if defined else math.nan


MEASURES = {
    "log_prob": Measure(log_prob, ("n", "k", "prior")),
    "parzen": Measure(parzen, ("n", "samples")),
    "class_error": Measure(class_error, ("n",)),
    "target_accuracy": Measure(target_accuracy, ("n",)),
    "cluster_error": Measure(cluster_error, ("n",)),
    "frechet": Measure(frechet, ("n", "samples")),
    "mig": Measure(mig, ()),
    "nats_per_frame": Measure(nats_per_frame, ("n",)),
    "musegan_figure": Measure(musegan_figure, ("n", "samples")),
}
