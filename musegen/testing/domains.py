"""What every domain promises of itself: options, specification, likelihood, synthetic data, measures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from musegen.contracts.dataset import Dataset
from musegen.contracts.domain import Domain
from musegen.data.batches import Batches
from musegen.options import validate
from musegen.probability.likelihood import Bernoulli, Categorical, Likelihood, LogisticMixture
from musegen.testing.rules import expect, rule

__all__ = ["RULES", "check_split", "examples", "expected", "options_of", "support"]

CPU = torch.device("cpu")
N_EXAMPLES = 24
"""Synthetic examples that the checks work on."""
N_DRAWS = 20_000
"""Draws of one cell, for sums over its values and for means."""


def examples(domain: Domain, n: int = 6, split: str = "train", seed: int = 0) -> Tensor:
    """Synthetic samples ``(n, *S)``, as a batch brings them."""
    return next(Batches(domain.synthetic(N_EXAMPLES, seed).splits[split], n, 0, CPU).once()).x


def expected(domain: Domain, n: int = 6) -> Tensor:
    """What an untrained model gives: means ``(n, *S)`` of the likelihood for random parameters."""
    params = torch.randn(n, *domain.spec.params_shape, generator=torch.Generator().manual_seed(1))
    return domain.spec.likelihood.mean(params)


def support(likelihood: Likelihood, x: Tensor) -> str:
    """Why x has no likelihood; empty if it has."""
    if not bool(x.isfinite().all()):
        return "some are not finite"
    low, high = float(x.min()), float(x.max())
    if isinstance(likelihood, (Bernoulli, Categorical, LogisticMixture)) and not 0 <= low <= high <= 1:
        return f"they go from {low:g} to {high:g}, outside 0 to 1"
    if isinstance(likelihood, (Categorical, LogisticMixture)):
        levels = x * (likelihood.levels - 1)
        if not torch.allclose(levels, levels.round(), atol=1e-3):
            return f"some are none of its {likelihood.levels} levels"
    return ""


@rule("options")
def options(domain: Domain) -> None:
    """Config is a frozen dataclass of options with meanings, and a config.yaml brings it back."""
    options_of(type(domain).Config, domain.config)
    for name, value in (("name", domain.name), ("summary", domain.summary)):
        expect(
            isinstance(value, str) and value.strip() == value and len(value.splitlines()) == 1,
            f"{name} must be one line of text, not {value!r}.",
        )


def options_of(kind: type, found: Any) -> None:
    """Hold a set of options against what options are."""
    import yaml

    expect(
        isinstance(found, kind), f"options are a {type(found).__name__}, not the {kind.__name__} that the class names."
    )
    params = getattr(kind, "__dataclass_params__", None)
    expect(
        params is not None and params.frozen,
        f"{kind.__name__} must be a frozen dataclass: write @dataclass(frozen=True).",
    )
    for option in dataclasses.fields(found):
        expect(
            bool(option.metadata.get("meaning")),
            f'the option "{option.name}" has no meaning, which --help shows: declare it with musegen.options.option.',
        )
    written = yaml.safe_load(yaml.safe_dump(dataclasses.asdict(found)))
    again: object = validate(kind, written, "the domain")
    expect(again == found, f"options written to config.yaml and read again differ: {again} for {found}.")


@rule("spec")
def spec(domain: Domain) -> None:
    """The spec names an axis per dimension, its conditions lie within a sample, and it is always the same."""
    found = domain.spec
    shape = found.shape
    expect(
        bool(shape) and all(isinstance(n, int) and n > 0 for n in shape), f"shape {shape} must be of positive integers."
    )
    expect(
        len(found.axes) == len(shape),
        f"{len(found.axes)} axes are named for a sample of shape {shape}: name each, with its unit.",
    )
    expect(len(set(found.classes)) == len(found.classes), f"classes must differ: {found.classes}.")
    for axis, first, last in found.given:
        expect(
            0 <= axis < len(shape) and 0 <= first < last <= shape[axis],
            f"given ({axis}, {first}, {last}) lies outside a sample of shape {shape}: write (axis, first, last + 1).",
        )
    expect(
        not bool(found.given) or not bool(found.given_mask().all()), "given names every cell: nothing is left to model."
    )
    if found.bar:
        expect(
            len(shape) == 3 and 0 < found.bar <= shape[1],
            f"bar {found.bar} counts rows (axis 1) of a sample of shape {shape}: at most {shape[1] if len(shape) > 1 else 0}.",
        )
    expect(domain.spec == found, "spec differs from one call to the next: derive it from config alone.")
    expect(
        type(domain)(domain.config).spec == found, "spec must follow from config alone, so that a model needs no data."
    )


@rule("likelihood", "spec")
def likelihood(domain: Domain) -> None:
    """The likelihood of one cell sums (or integrates) to 1 over its values, and its draws have its mean (no order: its mode)."""
    shape = (1,) * len(domain.spec.shape)  # one cell: cells are independent
    law = domain.spec.likelihood
    params = torch.randn(1, *law.params_shape(shape)).requires_grad_()
    with torch.no_grad():
        draws = law.sample(params.expand(N_DRAWS, *params.shape[1:])).flatten()  # (N,)
    values = draws.unique()
    discrete = len(values) < N_DRAWS // 8
    if not discrete:
        spread = 12 * float(draws.std())
        values = torch.linspace(float(draws.mean()) - spread, float(draws.mean()) + spread, 4 * N_DRAWS)
    cells = values.view(-1, *shape)
    each = law.cell_log_prob(params.expand(len(values), *params.shape[1:]), cells).flatten()
    p = each.detach().double().exp().nan_to_num()
    total = float(p.sum() if discrete else torch.trapezoid(p, values.double()))
    # Of very many values a few may not have been drawn.
    expect(
        0.98 < total < 1.001,
        f"the probabilities of one cell {'sum' if discrete else 'integrate'} to {total:.4f}, not 1: "
        "cell_log_prob must be a normalised log-probability, in nats, of what sample draws.",
    )
    mean = law.mean(params)
    expect(mean.shape == (1, *shape), f"mean of one cell has shape {tuple(mean.shape)}, not {(1, *shape)}.")
    if isinstance(law, Categorical) and not law.ordered:
        mode = float(values[p.argmax()])
        expect(abs(float(mean.detach()) - mode) < 1e-4, f"mean is {float(mean.detach()):.4f}, and the mode {mode:.4f}.")
    else:
        error = 6 * float(draws.double().std()) / math.sqrt(N_DRAWS) + 1e-4
        expect(
            abs(float(mean.detach()) - float(draws.double().mean())) < error,
            f"mean is {float(mean.detach()):.4f}, and {N_DRAWS} draws have {float(draws.double().mean()):.4f}.",
        )
    expect(mean.requires_grad, "mean must be differentiable: generators learn through it.")
    still = [law.sample(params.detach(), 0.0) for _ in range(2)]
    expect(torch.equal(*still), "sample at temperature 0 must be the mode, the same each time.")
    pair = params.detach().expand(3, *params.shape[1:])
    x = draws[:3].view(3, *shape)
    expect(
        torch.allclose(law.log_prob(pair, x), law.cell_log_prob(pair, x).flatten(1).sum(1), atol=1e-4),
        "log_prob must be the sum of cell_log_prob over the cells of a sample.",
    )


@rule("synthetic", "spec")
def synthetic(domain: Domain) -> None:
    """synthetic(n) has n training examples, some for validation and test, with the spec's shape, values and classes."""
    found = domain.spec
    data = domain.synthetic(N_EXAMPLES)
    missing = {"train", "valid", "test"} - set(data.splits)
    expect(not missing, f"synthetic data lack the split {', '.join(sorted(missing))}.")
    n = len(data.splits["train"])
    expect(n == N_EXAMPLES, f"synthetic({N_EXAMPLES}) has {n} training examples.")
    expect(bool(data.description), "synthetic data have no description: say in one line what they are.")
    for split, dataset in data.splits.items():
        check_split(domain, split, dataset)
    expect(
        not found.classes or data.splits["train"].label is not None,
        f"the spec has the classes {found.classes}, and the synthetic data no labels.",
    )


def check_split(domain: Domain, split: str, dataset: Dataset) -> None:
    """Hold a split of a domain's data against its spec."""
    expect(
        isinstance(dataset, Dataset),
        f"{split}: {type(dataset).__name__} is no Dataset: derive it from musegen.contracts.dataset.Dataset, or RowDataset.",
    )
    expect(len(dataset) > 0, f"the split {split} is empty.")
    index = torch.arange(min(len(dataset), N_EXAMPLES)).flip(0)
    batch = dataset.gather(index, torch.Generator().manual_seed(0))
    wanted = (len(index), *domain.spec.shape)
    expect(tuple(batch.x.shape) == wanted, f"{split}: a batch of x has shape {tuple(batch.x.shape)}, not {wanted}.")
    expect(batch.x.dtype == torch.float32, f"{split}: x is {batch.x.dtype}, not torch.float32.")
    expect(torch.equal(batch.index, index), f"{split}: a batch must say which examples it holds, in index.")
    why = support(domain.spec.likelihood, batch.x)
    expect(
        not why, f"{split}: values of x are outside the support of the likelihood {domain.spec.likelihood.name}: {why}."
    )
    if batch.label is not None and domain.spec.classes:
        label, k = batch.label, len(domain.spec.classes)
        expect(
            label.dtype == torch.int64 and label.shape == (len(index),) and bool(((label >= 0) & (label < k)).all()),
            f"{split}: labels must be int64 from 0 to {k - 1}, one per example.",
        )


@rule("seed", "synthetic")
def seed(domain: Domain) -> None:
    """The same seed gives the same data and fingerprint, another seed others."""
    first, again, other = (domain.synthetic(N_EXAMPLES, seed=s) for s in (3, 3, 4))
    batches = [Batches(d.splits["train"], N_EXAMPLES, 0, CPU)[0] for d in (first, again, other)]
    expect(
        torch.equal(batches[0].x, batches[1].x),
        "synthetic data of one seed differ from call to call: draw from a generator made of the seed, and in gather "
        "from the generator that it is given.",
    )
    expect(first.fingerprint == again.fingerprint, "equal data have different fingerprints: hash the content alone.")
    expect(
        not torch.equal(batches[0].x, batches[2].x), "synthetic data are the same for every seed: draw from the seed."
    )
    expect(
        first.fingerprint != other.fingerprint,
        "different data have one fingerprint, so a resumed run would not notice: hash the content.",
    )


@rule("metrics", "synthetic")
def metrics(domain: Domain) -> None:
    """metrics gives named figures that are finite for data, and perfect for data beside themselves."""
    x = examples(domain, N_EXAMPLES)
    figures = _figures(domain, x, x)
    for name, value in figures.items():
        best = {"overlap": 1.0, "kl": 0.0, "distance": 0.0}.get(name.rpartition("/")[2])
        expect(
            best is None or math.isnan(value) or abs(value - best) < 1e-6,
            f'metrics of data beside themselves: "{name}" is {value:g}, and {best} is what equal distributions have.',
        )
    expect(
        any(math.isfinite(v) for v in figures.values()), "no figure of metrics is a number, for data beside themselves."
    )
    _figures(domain, examples(domain, N_EXAMPLES, seed=1), x)
    _figures(domain, expected(domain), x)  # what an untrained model gives must not stop an evaluation


@rule("baselines", "options", "synthetic")
def baselines(domain: Domain) -> None:
    """What baselines makes has the shape of samples, as many as are asked for, and the same again for the same seed."""
    training = domain.synthetic(N_EXAMPLES).splits["train"]
    shape, found = (5, *domain.spec.shape), domain.baselines(training, 5, 1)
    for name, x in found.items():
        expect(tuple(x.shape) == shape, f'baselines: "{name}" has the shape {tuple(x.shape)}, not {shape}.')
    again = domain.baselines(training, 5, 1)
    expect(
        found.keys() == again.keys() and all(torch.equal(found[name], again[name]) for name in found),
        "baselines gives other samples for the same seed.",
    )


def _figures(domain: Domain, samples: Tensor, reference: Tensor) -> Mapping[str, float]:
    before = samples.clone(), reference.clone()
    figures = domain.metrics(samples, reference)
    expect(
        torch.equal(before[0], samples) and torch.equal(before[1], reference),
        "metrics changes the samples that it is given.",
    )
    expect(bool(figures), "metrics names no figure.")
    for name, value in figures.items():
        expect(
            isinstance(name, str) and isinstance(value, float) and not math.isinf(value),
            f'metrics: "{name}" is {value!r}; a figure is a float, finite, or NaN where it is not defined.',
        )
    return figures


@rule("calibration", "options", "synthetic")
def calibration(domain: Domain) -> None:
    """calibrate gives a Writing that the domain takes, and samples keep their shape."""
    x = examples(domain, N_EXAMPLES)
    writing = domain.calibrate(expected(domain, N_EXAMPLES), x)
    expect(
        isinstance(writing, type(domain).Writing),
        f"calibrate returns a {type(writing).__name__}, not the domain's Writing: return replace(self.writing, …).",
    )
    expect(
        type(domain)(domain.config, writing).spec == domain.spec,
        "calibrate changes the spec: a trained model would no longer fit.",
    )


RULES = [options, spec, likelihood, synthetic, seed, metrics, baselines, calibration]
