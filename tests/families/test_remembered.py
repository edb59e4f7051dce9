"""Samples from where the codes are: mixtures, and the memory of codes that a model keeps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import musegen
from musegen.contracts.family import build
from musegen.data.batches import Batches
from musegen.engine.engine import Engine
from musegen.families.remembered import Memory, gaussian_codes
from musegen.models.model import Model
from musegen.probability.mixture import CodeMixture, fitted
from musegen.running.config import RunConfig
from musegen.running.resolved import resolve

RUN: dict[str, Any] = {
    "steps": 30,
    "batch_size": 16,
    "validate_every": 0,
    "sample_every": 0,
    "device": "cpu",
    "quiet": True,
}
KEEPS = {"ae": {}, "vae": {}, "aae": {"discriminator_widths": [8]}, "vae_gan": {}}
"""Families whose codes are numbers alone."""
ALL = {**KEEPS, "structured_vae": {"discrete": [3], "continuous": [2]}}


def rotated(angle: float, a: float, b: float) -> Tensor:
    """A lower triangular root of a covariance of an ellipse with half axes a and b."""
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return torch.linalg.cholesky(turn @ torch.diag(torch.tensor([a**2, b**2])) @ turn.T)


def log_density(mixture: CodeMixture, z: Tensor) -> Tensor:
    components = [
        torch.distributions.MultivariateNormal(m, scale_tril=s)
        for m, s in zip(mixture.mean, mixture.spread, strict=True)
    ]
    return torch.stack([w + c.log_prob(z) for w, c in zip(mixture.log_weight, components, strict=True)]).logsumexp(0)


def test_em_finds_the_mixture_that_the_codes_are_drawn_from() -> None:
    torch.manual_seed(0)
    spreads = torch.stack([rotated(0.5, 2.0, 0.3), rotated(-0.7, 1.0, 0.5), rotated(0.0, 0.4, 0.4)])
    truth = CodeMixture(torch.tensor([0.2, 0.3, 0.5]).log(), (), torch.tensor([[-6.0, 0], [4, 4], [3, -4]]), spreads)
    z = truth.sample(6000)
    found = fitted(gaussian_codes(z, torch.zeros_like(z)), 3)
    order = [int((found.mean - mean).square().sum(1).argmin()) for mean in truth.mean]
    assert sorted(order) == [0, 1, 2]
    torch.testing.assert_close(found.log_weight.exp()[order], truth.log_weight.exp(), atol=0.02, rtol=0)
    torch.testing.assert_close(found.mean[order], truth.mean, atol=0.15, rtol=0)
    covariance = [s @ s.mT for s in (found.spread[order], truth.spread)]
    torch.testing.assert_close(*covariance, atol=0.15, rtol=0.1)
    fresh = truth.sample(4000)
    assert float((log_density(truth, fresh) - log_density(found, fresh)).mean()) < 0.01  # nats: KL(truth ‖ found)


def test_one_gaussian_of_codes_with_spread_has_their_moments() -> None:
    """Var z = E σ² + Var μ, up to the one code more that stands for the variances of all."""
    torch.manual_seed(1)
    mean, spread = (
        torch.randn(4000, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]]),
        torch.tensor([0.5, 2.0]).expand(4000, 2),
    )
    found = fitted(gaussian_codes(mean, spread), 1)
    torch.testing.assert_close(found.mean[0], mean.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(
        found.spread[0] @ found.spread[0].T, mean.T.cov() + spread[0].square().diag(), atol=0.3, rtol=0
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 15), st.booleans())
def test_any_codes_give_a_mixture_that_can_be_drawn_from(n: int, dims: int, components: int, alike: bool) -> None:
    z = torch.ones(n, dims) if alike else torch.randn(n, dims)
    found = fitted(gaussian_codes(z, torch.zeros_like(z)), components)
    assert len(found.mean) <= min(n, components)
    assert float(found.log_weight.exp().sum()) == pytest.approx(1, abs=1e-5)
    assert found.sample(20).isfinite().all()


def test_a_label_weighs_components_by_their_classes() -> None:
    """p(k | c = y) ∝ w_k π_k(y), and the class itself is the label."""
    classes = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    two = CodeMixture(
        torch.tensor([0.25, 0.75]).log(), (classes.log(),), torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1)
    )
    torch.manual_seed(0)
    label = torch.arange(20_000) % 2
    drawn = two.sample(20_000, label=label)
    assert torch.equal(drawn[:, :2].argmax(1), label)
    for y in (0, 1):
        joint = two.log_weight.exp() * classes[:, y]
        share = (drawn[label == y, 2] > 0).float().mean()
        assert float(share) == pytest.approx(float(joint[1] / joint.sum()), abs=0.015)
    free = two.sample(20_000)
    assert float(free[:, 1].mean()) == pytest.approx(0.25 * 0.1 + 0.75 * 0.8, abs=0.015)


@settings(deadline=None)
@given(st.integers(1, 9), st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_the_memory_keeps_the_newest_codes_and_no_more(size: int, batches: list[int]) -> None:
    memory, seen = Memory(size, 1), torch.zeros(0, 1)
    for rows in batches:
        new = torch.arange(len(seen), len(seen) + rows).float()[:, None] + 1
        memory.remember(new)
        seen = torch.cat([seen, new])
    assert torch.equal(memory.kept.sort(0).values, seen[-size:])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """Models with a moving average that is far behind."""
    folder = tmp_path_factory.mktemp("models")
    models = {}
    for name, options in ALL.items():
        latent = {} if name == "structured_vae" else {"latent_dim": 2}
        run = musegen.train(name, "toy", out=folder / name, ema=0.99, memory=24, **latent, **options, **RUN)
        models[name] = musegen.load(run.path)
    return models


@pytest.mark.parametrize("name", ALL)
def test_samples_come_from_there_and_survive_a_model_file(name: str, trained: dict[str, Model], tmp_path: Path) -> None:
    model = trained[name]
    memory = model.family.memory
    assert len(memory.kept) == 24  # of 480 that were seen
    assert int(memory.written) == 30 * 16
    model.save(tmp_path / "model.safetensors")
    copy = musegen.load(tmp_path / "model.safetensors")
    found = {}
    for prior in ("aggregate", "mixture", *([] if name == "ae" else ["standard"])):
        found[prior] = model.sample(8, seed=1, prior=prior)
        assert found[prior].isfinite().all()
        torch.testing.assert_close(found[prior][:3], model.sample(3, seed=1, prior=prior))
        assert torch.equal(found[prior], copy.sample(8, seed=1, prior=prior))
    values = list(found.values())
    assert not any(torch.equal(a, b) for i, a in enumerate(values) for b in values[:i])


@pytest.mark.parametrize("name", ["ae", "aae"])
def test_the_aggregate_of_codes_without_spread_is_these_codes(name: str, trained: dict[str, Model]) -> None:
    family = trained[name].family
    known = family.decode(family.memory.kept)  # (M, *S)
    x = trained[name].sample(20, seed=3, prior="aggregate")
    distance = torch.cdist(x.flatten(1), known.flatten(1))
    assert float(distance.min(1).values.max()) < 1e-4
    assert len(distance.argmin(1).unique()) > 5


def test_the_mixture_is_fitted_anew_when_codes_change(trained: dict[str, Model]) -> None:
    family = trained["vae"].family
    family.sampling = family.Sampling(prior="mixture", components=1)
    far = family.memory.rows.clone()
    try:
        torch.manual_seed(0)
        assert float(family.remembered_codes(200).mean()) < 20
        family.memory.rows[:, :2] += 50
        assert float(family.remembered_codes(200).mean()) == pytest.approx(50, abs=3)
    finally:
        family.memory.rows.copy_(far)
        family.sampling = family.Sampling()


def test_the_moving_average_leaves_codes_as_they_are() -> None:
    """Their mean with zeros, or with the codes of other examples, is no code."""
    resolved = resolve("vae", "toy", {"latent_dim": 2, "memory": 24})
    domain = resolved.make_domain()
    engine = Engine(build(resolved.family, resolved.family_config, domain), RunConfig(steps=5, ema=0.99))
    x = domain.synthetic(32).splits["train"]
    for step in range(5):
        engine.step([Batches(x, 8, 0, torch.device("cpu"))[step]])
    own = engine.family.memory.rows.clone()
    with engine.averaged() as family:
        assert torch.equal(family.memory.rows, own)
    assert float(own.abs().sum(1).min()) > 0


def test_an_autoencoder_without_codes_says_so() -> None:
    resolved = resolve("ae", "toy", {})
    family = build(resolved.family, resolved.family_config, resolved.make_domain())
    with pytest.raises(musegen.BadInput, match="no codes to sample from: train it"):
        family.sample(2)
