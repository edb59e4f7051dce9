"""The semi-supervised VAE against enumeration over classes, numerical integration, and a problem with few labels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from linear import UnitGaussian
from torch import Tensor, nn

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Encoder, Labelled, Spec
from musegen.contracts.family import Sampling
from musegen.engine.engine import Engine
from musegen.errors import BadInput
from musegen.families.semisupervised_vae import (
    M2,
    SemisupervisedVAE,
    SemisupervisedVAEConfig,
    unlabelled_bound,
)
from musegen.networks.mlp import MLPDecoder, MLPEncoder
from musegen.probability.bounds import log_mean_exp
from musegen.probability.latent import DiagonalGaussian, StandardNormal
from musegen.probability.likelihood import Bernoulli, Likelihood
from musegen.running.config import RunConfig

K = 3
N = 20_000
"""Draws per example where an expectation is wanted."""
MODELS = ("m1", "m2", "m1+m2")


def small(
    model: str, n: int = 6, k: int = K, width: int = 8, likelihood: Likelihood | None = None, **options: Any
) -> SemisupervisedVAE:
    """Binary x of 6 cells unless said otherwise; one hidden layer."""
    config = SemisupervisedVAEConfig(
        **({"model": model, "latent_dim": 2, "feature_dim": 2, "hidden": 8, "pretraining_steps": 2} | options)
    )
    spec = Spec((n,), ("cell",), likelihood or Bernoulli(), tuple("abcdefgh"[:k]))
    networks: dict[str, nn.Module] = {}
    for name, wanted in SemisupervisedVAE.networks(config, spec).items():
        encoder = isinstance(wanted, Encoder)
        networks[name] = MLPEncoder((n,), [width]) if encoder else MLPDecoder(wanted.n_code, (n,), [width])
    return SemisupervisedVAE(config, spec, networks)


def binary(n: int) -> Tensor:
    return (torch.rand(n, 6) < 0.5).float()


def batch_of(n: int = 12, label: Tensor | None = None) -> Batch:
    labelled = Batch(binary(n), torch.arange(n), torch.arange(n) % K)
    return Batch(binary(n), torch.arange(n), label, {"labelled": labelled})


def reported(family: SemisupervisedVAE, batch: Batch) -> list[tuple[str, dict[str, Tensor]]]:
    torch.manual_seed(5)
    return [(player, {n: v.detach() for n, v in losses.items()}) for player, losses in family.updates(batch)]


# The bounds


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(0, 10_000))
def test_the_unlabelled_bound_by_hand(k: int, seed: int) -> None:
    """U = Σ_y q (L + log q), eq. 7; over q it is least at q = softmax(−L), where it is −log Σ_y exp(−L)."""
    generator = torch.Generator().manual_seed(seed)
    bounds = 3 * torch.randn(4, k, generator=generator, dtype=torch.float64)
    q = torch.randn(4, k, generator=generator, dtype=torch.float64).softmax(1)
    by_hand = [sum(float(q[i, y]) * (float(bounds[i, y]) + math.log(q[i, y])) for y in range(k)) for i in range(4)]
    found = unlabelled_bound(bounds, q.log())
    torch.testing.assert_close(found, torch.tensor(by_hand, dtype=torch.float64))

    least = unlabelled_bound(bounds, (-bounds).log_softmax(1))
    torch.testing.assert_close(least, -(-bounds).logsumexp(1))
    assert (found >= least - 1e-9).all()
    # What q is worse by is its divergence from that optimum.
    torch.testing.assert_close(found - least, (q * (q.log() - (-bounds).log_softmax(1))).sum(1))


def test_a_certain_classifier_pays_the_bound_of_its_class() -> None:
    bounds = torch.tensor([[3.0, 1.0, 7.0]])
    torch.testing.assert_close(unlabelled_bound(bounds, torch.tensor([[-200.0, -200.0, 0.0]])), torch.tensor([7.0]))


def by_class(m2: M2, v: Tensor, y: int, noise: Tensor) -> Tensor:
    """L(v, y) from the parts of the model, with the given ε ``(B, n)``."""
    one_hot = torch.zeros(len(v), m2.k)
    one_hot[:, y] = 1
    both = torch.cat([m2.encoder(v), one_hot], 1)  # one linear layer on (features, class), written as two
    weight = torch.cat([m2.from_features.weight, m2.from_class.weight], 1)
    mean, log_var = m2.posterior((both @ weight.T + m2.from_features.bias).relu()).chunk(2, 1)
    z = mean + (log_var / 2).exp() * noise
    log_p = m2.likelihood.log_prob(m2.decoder(torch.cat([one_hot, z], 1)), v)
    kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)
    return -log_p - math.log(1 / m2.k) + kl


def test_the_bounds_of_all_classes_are_those_of_each_with_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    m2 = small("m2").m2
    x, noise = binary(5), torch.randn(K, 5, 2)
    expected = torch.stack([by_class(m2, x, y, noise[y]) for y in range(K)], 1)

    one_at_a_time = []
    for y in range(K):
        monkeypatch.setattr(torch, "randn", lambda *size, y=y, **_: noise[y])
        one_at_a_time.append(m2.bound(x, torch.full((5,), y)))
    torch.testing.assert_close(torch.stack(one_at_a_time, 1), expected)

    monkeypatch.setattr(torch, "randn", lambda *size, **_: noise.reshape(K * 5, 2))
    torch.testing.assert_close(m2.bounds(x), expected)


def test_the_objective_is_an_explicit_enumeration_over_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """J = U + w L + α (−log q(y|x)), eqs. 6 to 9, with y summed out by hand."""
    family = small("m2", alpha=3.0, labelled_weight=0.5)
    batch = batch_of(4)
    labelled = batch.auxiliary["labelled"]
    noise, noise_labelled = torch.randn(K, 4, 2), torch.randn(4, 2)
    draws = iter([noise.reshape(K * 4, 2), noise_labelled])
    monkeypatch.setattr(torch, "randn", lambda *size, **_: next(draws))
    ((player, losses),) = family.updates(batch)
    assert player == "m2"

    q = family.m2.classifier(family.m2.class_encoder(batch.x)).softmax(1)
    u = torch.zeros(4)
    for y in range(K):
        u = u + q[:, y] * (by_class(family.m2, batch.x, y, noise[y]) + q[:, y].log())
    q_labelled = family.m2.classifier(family.m2.class_encoder(labelled.x)).softmax(1)
    bound = [
        by_class(family.m2, labelled.x[i : i + 1], int(y), noise_labelled[i : i + 1])
        for i, y in enumerate(labelled.label)
    ]
    cross_entropy = torch.stack([-q_labelled[i, int(y)].log() for i, y in enumerate(labelled.label)]).mean()
    torch.testing.assert_close(losses["nelbo"], u.mean())
    torch.testing.assert_close(losses["labelled"], torch.cat(bound).mean())
    torch.testing.assert_close(losses["class"], cross_entropy)
    torch.testing.assert_close(losses["loss"], u.mean() + 0.5 * torch.cat(bound).mean() + 3 * cross_entropy)


def exact_m2(m2: M2, v: Tensor, steps: int = 4001) -> tuple[Tensor, Tensor]:
    """log p(v) and log p(v, y) ``(B, K)``, for one latent dimension, by quadrature on a grid."""
    grid = torch.linspace(-9, 9, steps)[:, None]
    log_prior = StandardNormal(1).log_prob(grid) + math.log(18 / (steps - 1))
    joint = []
    for y in range(m2.k):
        one_hot = F.one_hot(torch.full((len(grid),), y), m2.k).float()
        params = m2.decoder(torch.cat([one_hot, grid], 1))
        log_p = [(m2.likelihood.log_prob(params, row.expand(len(grid), -1)) + log_prior).logsumexp(0) for row in v]
        joint.append(torch.stack(log_p) - math.log(m2.k))
    log_joint = torch.stack(joint, 1)
    return log_joint.logsumexp(1), log_joint


def test_the_bounds_stay_below_the_exact_marginal() -> None:
    """One latent dimension: −L(x, y) ≤ log p(x, y) and −U(x) ≤ log p(x); the reported log_prob approaches log p(x)."""
    family = small("m2", latent_dim=1)
    nn.init.normal_(family.m2.decoder.layers[-1].weight, std=0.6)
    x = binary(6)
    with torch.no_grad():
        log_p, log_joint = exact_m2(family.m2, x)
        many = x.repeat(N, 1)  # (N·6, 6)
        bounds = family.m2.bounds(many).view(N, 6, K)
        u = unlabelled_bound(family.m2.bounds(many), family.m2.log_q(many)).view(N, 6)
        assert (-bounds.mean(0) <= log_joint + 4 * bounds.std(0) / math.sqrt(N)).all()
        assert (-u.mean(0) <= log_p + 4 * u.std(0) / math.sqrt(N)).all()
        assert (-u.mean(0) > log_p - 10).all()  # a bound, and not by far
        torch.testing.assert_close(log_mean_exp(family.log_prob(many, 2).view(N, 6)), log_p, atol=0.05, rtol=0)
    # All 2⁶ pictures: the model that the bounds speak of is a distribution.
    every = torch.tensor([[float(i >> j & 1) for j in range(6)] for i in range(64)])
    with torch.no_grad():
        assert float(exact_m2(family.m2, every, 801)[0].exp().sum()) == pytest.approx(1, abs=1e-4)


def test_the_bound_is_tight_where_the_posterior_is_exact() -> None:
    """p(x|y, z) = N(z + m_y, 1) has the posterior N((x − m_y) / 2, ½): with it and with q(y|x) = p(y|x), −U is log p(x)."""
    means = torch.tensor([-1.5, 0.5, 2.0])

    class Sum(nn.Module):
        def forward(self, yz: Tensor) -> Tensor:
            return yz[:, :K] @ means[:, None] + yz[:, K:]

    class Exact(M2):
        def q(self, features: Tensor, one_hot: Tensor) -> DiagonalGaussian:
            mean = (features - one_hot @ means[:, None]) / 2
            return DiagonalGaussian.from_statistics(torch.cat([mean, torch.full_like(mean, math.log(0.5))], 1))

    class Passing(nn.Module):
        n_features = 1

        def forward(self, x: Tensor) -> Tensor:
            return x

    m2 = Exact(UnitGaussian(), K, 1, 4, Passing(), Passing(), Sum())
    m2.from_features = nn.Identity()
    x = torch.linspace(-3, 3, 7)[:, None]
    log_joint = torch.distributions.Normal(means, math.sqrt(2)).log_prob(x) - math.log(K)  # (7, K)
    with torch.no_grad():
        bounds = m2.bounds(x.repeat(20_000, 1)).view(20_000, 7, K).mean(0)
    torch.testing.assert_close(bounds, -log_joint, atol=0.03, rtol=0)
    u = unlabelled_bound(-log_joint, log_joint.log_softmax(1))
    torch.testing.assert_close(u, -log_joint.logsumexp(1))
    # Weights p(x, y, z) / q(z|x, y) are then constant: a single draw gives log p(x).
    torch.testing.assert_close(m2.log_prob(x), log_joint.logsumexp(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model", ["m1", "m1+m2"])
def test_log_prob_approaches_the_exact_marginal_of_stacked_models(model: str) -> None:
    """One dimension each for z₁ and z: log p(x) = log ∫ p(x|z₁) p(z₁), the inner marginal by quadrature as well."""
    family = small(model, latent_dim=1, feature_dim=1)
    x = binary(4)
    grid = torch.linspace(-8, 8, 401)[:, None]
    with torch.no_grad():
        prior = StandardNormal(1).log_prob(grid) if model == "m1" else exact_m2(family.m2, grid, 1001)[0]
        assert float(prior.exp().sum() * 16 / 400) == pytest.approx(1, abs=1e-3)
        params = family.decoder(grid)
        terms = [family.likelihood.log_prob(params, row.expand(len(grid), -1)) + prior for row in x]
        exact = torch.stack(terms).logsumexp(1) + math.log(16 / 400)
        log_w = [family.log_prob(x.repeat(N, 1), n).view(N, 4) for n in (1, 10)]
    torch.testing.assert_close(log_mean_exp(log_w[0]), exact, atol=0.05, rtol=0)  # exp of it is unbiased
    # Burda et al. 2016, theorem 1: a bound that grows with the number of draws.
    assert (log_w[0].mean(0) < log_w[1].mean(0)).all()
    assert (log_w[1].mean(0) < exact + 0.02).all()


# Who sees and who moves


@pytest.mark.parametrize("step", [0, 1, 2, 9])
@pytest.mark.parametrize("model", MODELS)
def test_labels_of_the_batch_are_not_read_in_training(model: str, step: int) -> None:
    family = small(model)
    family.step = step
    shown = batch_of(label=torch.arange(12) % K)
    assert shown.label is not None
    found = [reported(family, replace(shown, label=label)) for label in (shown.label, shown.label.flip(0), None)]
    for other in found[1:]:
        assert [player for player, _ in other] == [player for player, _ in found[0]]
        for (_, ours), (_, theirs) in zip(found[0], other, strict=True):
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("model", MODELS)
def test_labels_of_the_stream_are_read(model: str) -> None:
    """So that the test above says something: the others change the losses."""
    family = small(model)
    family.step = 9
    batch = batch_of()
    labelled = batch.auxiliary["labelled"]
    assert labelled.label is not None
    other = replace(batch, auxiliary={"labelled": replace(labelled, label=labelled.label.flip(0))})
    (((_, ours),), ((_, theirs),)) = reported(family, batch), reported(family, other)
    assert float(ours["loss"]) != float(theirs["loss"])


@pytest.mark.parametrize("model", MODELS)
def test_validation_reports_the_error_of_the_classifier(model: str) -> None:
    family = small(model).eval()
    batch = batch_of(label=torch.arange(12) % K)
    losses = {name: value for _, found in reported(family, batch) for name, value in found.items()}
    expected = (family.classify(batch.x).argmax(1) != batch.label).float().mean()
    assert float(losses["error"]) == pytest.approx(float(expected))
    assert "nelbo" in losses


@pytest.mark.parametrize(("model", "second"), [("m1", "classifier"), ("m1+m2", "m2"), ("m2", "m2")])
def test_stages_move_only_their_players(model: str, second: str) -> None:
    family = small(model)
    engine = Engine(family, RunConfig(steps=4, learning_rate=0.01))
    moved: list[tuple[str, set[str]]] = []
    move = engine._move

    def watching(player: str) -> None:
        before = {name: p.detach().clone() for name, p in family.named_parameters()}
        move(player)
        changed = {name.split(".")[0] for name, p in family.named_parameters() if not torch.equal(before[name], p)}
        moved.append((player, changed))

    engine._move = watching  # type: ignore[method-assign]
    for _ in range(4):
        engine.step([batch_of()])
    first = [("features", {"encoder", "posterior", "decoder"})] * (0 if model == "m2" else 2)
    assert moved == first + [(second, {second})] * (4 - len(first))


def test_the_features_are_those_of_a_vae() -> None:
    """Stage one of M1 minimises −ELBO of x, whatever the labelled examples are."""
    family = small("m1+m2")
    batch = batch_of()
    ((player, losses),) = reported(family, batch)
    torch.manual_seed(5)
    q = DiagonalGaussian.from_statistics(family.posterior(family.encoder(batch.x)))
    log_p = family.likelihood.log_prob(family.decoder(q.rsample()), batch.x)
    assert player == "features"
    torch.testing.assert_close(losses["loss"], (q.kl().sum(1) - log_p).mean())


@pytest.mark.parametrize("model", ["m2", "m1+m2"])
def test_the_prior_of_the_weights_is_a_part_of_the_objective(model: str) -> None:
    plain, held = small(model), small(model, weight_prior=2.0)
    held.load_state_dict(plain.state_dict())
    batch = batch_of()
    for family in (plain, held):
        family.step, family.n_examples = 9, 50
    ((_, ours),), ((_, theirs),) = reported(held, batch), reported(plain, batch)
    log_p = sum(float(torch.distributions.Normal(0.0, 1.0).log_prob(p.detach()).sum()) for p in plain.m2.parameters())
    constant = sum(p.numel() for p in plain.m2.parameters()) * 0.5 * math.log(2 * math.pi)
    assert float(ours["loss"] - theirs["loss"]) == pytest.approx(2 * (-log_p - constant) / 50, rel=1e-3)


def test_weights_begin_near_zero_if_asked_to() -> None:
    family = small("m2", width=200, hidden=200, initial_sigma=1e-3)
    layers = [layer for layer in family.m2.modules() if isinstance(layer, nn.Linear)]
    assert all(
        float(layer.weight.std()) == pytest.approx(1e-3, rel=0.2) for layer in layers if layer.weight.numel() > 500
    )
    assert all(layer.bias is None or not layer.bias.any() for layer in layers)
    assert float(small("m2").m2.classifier.weight.std()) > 0.05


def test_features_that_carry_nothing_are_left_out_of_m2() -> None:
    """The second feature's mean is the same for all x: M2 does not see it, and its density is that of N(0, 1)."""
    family = small("m1+m2", least_spread=0.1)
    with torch.no_grad():
        family.posterior.weight[1] = 0
        family.posterior.weight[0] *= 20
    family.step = 2  # the first of M2's
    reported(family, batch_of(64))
    assert family.m2.kept.tolist() == [True, False]
    v = torch.randn(5, 2)
    other = v.clone()
    other[:, 1] += 3
    torch.testing.assert_close(family.m2.log_q(v), family.m2.log_q(other))
    params, normal = family.m2.params(torch.zeros(5, dtype=torch.long), torch.zeros(5, 2)), StandardNormal(1)
    difference = family.m2.log_likelihood(params, v) - family.m2.log_likelihood(params, other)
    torch.testing.assert_close(difference, normal.log_prob(v[:, 1:]) - normal.log_prob(other[:, 1:]))
    torch.manual_seed(0)
    drawn = family.m2.draw(params[:1].expand(4000, -1, -1), 1.0)
    assert float(drawn[:, 1].std()) == pytest.approx(1, abs=0.05)


# Sampling


def test_samples_are_of_the_class_asked_for() -> None:
    """With a decoder that looks at y alone, the class can be read off the sample; without a label every class has its turn."""
    family = small("m2")
    nn.init.zeros_(family.m2.decoder.layers[0].weight)
    nn.init.zeros_(family.m2.decoder.layers[0].bias)
    with torch.no_grad():
        for y in range(K):
            family.m2.decoder.layers[0].weight[y, y] = 5.0
            family.m2.decoder.layers[-1].weight[y, y] = 5.0
        assert family.sample(4, label=torch.tensor([2, 0, 1, 1]))[:, :K].argmax(1).tolist() == [2, 0, 1, 1]
        assert family.sample(5)[:, :K].argmax(1).tolist() == [0, 1, 2, 0, 1]


def test_stacked_samples_have_the_spread_of_their_features() -> None:
    """z₁ is drawn from p(z₁|y, z), not set to its mean; at temperature 0 all that is left is the mean."""
    family = small("m1+m2", n=2, likelihood=UnitGaussian())
    for p in family.m2.decoder.parameters():
        nn.init.zeros_(p)  # p(z₁|y, z) = N(0, σ²) whatever y and z
    sigma = 0.05 + math.log(2)
    family.decoder = nn.Identity()
    with torch.no_grad():
        x = family.sample(4000)
        family.sampling = Sampling(temperature=0.0)
        assert torch.equal(family.sample(5), torch.zeros(5, 2))
    torch.testing.assert_close(x.std(0), torch.full((2,), sigma), atol=0.03, rtol=0)


# Asking for what is needed


def test_it_asks_for_a_balanced_labelled_stream_and_refuses_data_without_classes() -> None:
    config = SemisupervisedVAEConfig(labelled=30)
    assert SemisupervisedVAE.auxiliary(config, small("m2").spec) == {"labelled": Labelled(30)}
    with pytest.raises(BadInput, match="no classes"):
        SemisupervisedVAE.networks(config, Spec((6,), ("cell",), Bernoulli()))


# Learning


CELLS, FLIPPED = 24, 0.25


def patterns(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three patterns of 24 cells, a quarter of them flipped: ``(n, 24)`` and classes ``(n,)``. 97 % can be told."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, K, (n,), generator=generator)
    flips = (torch.rand(n, CELLS, generator=generator) < FLIPPED).float()
    return (torch.eye(K).repeat_interleave(CELLS // K, 1)[label] - flips).abs(), label


def test_examples_without_labels_help() -> None:
    """Two labels per class and 2,000 examples without: M2 and M1+M2 beat the same network on the six labels alone."""
    (x, y), (x_test, y_test) = patterns(2000, 0), patterns(2000, 1)
    few = torch.cat([(y == k).nonzero()[:2, 0] for k in range(K)])

    alone = nn.Sequential(MLPEncoder((CELLS,), [24]), nn.Linear(24, K))
    adam = torch.optim.Adam(alone.parameters(), 3e-3)
    for _ in range(300):
        adam.zero_grad()
        F.cross_entropy(alone(x[few]), y[few]).backward()
        adam.step()
    accuracy = {"alone": float((alone(x_test).argmax(1) == y_test).float().mean())}

    options = {"latent_dim": 1, "hidden": 24, "alpha": 1.0, "labelled_weight": 0.1, "pretraining_steps": 400}
    for model, steps in (("m2", 500), ("m1+m2", 800)):
        family = small(model, n=CELLS, width=24, **options)
        engine = Engine(family, RunConfig(steps=steps, learning_rate=5e-3))
        for _ in range(steps):
            i, j = torch.randint(0, len(x), (64,)), few[torch.randint(0, len(few), (64,))]
            engine.step([Batch(x[i], i, None, {"labelled": Batch(x[j], j, y[j])})])
        with torch.no_grad(), engine.averaged():
            accuracy[model] = float((family.classify(x_test).argmax(1) == y_test).float().mean())
    assert accuracy["alone"] < 0.88, accuracy
    assert min(accuracy["m2"], accuracy["m1+m2"]) > 0.92, accuracy
