"""The information bound against channels whose mutual information is known; who learns from it; the game itself."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear import UnitGaussian
from torch import Tensor, nn

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.engine.engine import Engine
from musegen.errors import BadInput
from musegen.families.adversarial import discriminator_loss
from musegen.families.ae import AE
from musegen.families.infogan import InfoGAN, InfoGANConfig, categorical_information, continuous_information
from musegen.networks.mlp import MLPDecoder, MLPDiscriminator
from musegen.probability.latent import DiagonalGaussian
from musegen.probability.likelihood import Bernoulli
from musegen.running.config import RunConfig


def small_infogan(**options: Any) -> InfoGAN:
    """Binary x of 6 cells; batch normalisation off unless asked for, so that examples do not see each other."""
    config = InfoGANConfig(**({"latent_dim": 3, "n_classes": 4, "discriminator_norm": "none"} | options))
    networks: dict[str, nn.Module] = {
        "generator": MLPDecoder(config.n_code, (6,), [8]),
        "discriminator": MLPDiscriminator((6,), [8], config.discriminator_norm),
    }
    return InfoGAN(config, Spec((6,), ("cell",), Bernoulli()), networks)


def batch_of(n: int) -> Batch:
    return Batch((torch.rand(n, 6) < 0.5).float(), torch.arange(n))


class Through(nn.Module):
    """A generator that shows its input, and a discriminator whose features are x."""

    def __init__(self, n: int, discriminates: bool) -> None:
        super().__init__()
        self.n_features, self.discriminates = n, discriminates
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Any:
        return (x, x[:, 0] * self.weight) if self.discriminates else x * self.weight


def transparent(**options: Any) -> InfoGAN:
    """x = (z, c₁, c₂): everything that went in can be read off."""
    config = InfoGANConfig(latent_dim=2, continuous_sigma=0.0, **options)
    n = config.n_code
    return InfoGAN(
        config,
        Spec((n,), ("cell",), UnitGaussian()),
        {"generator": Through(n, False), "discriminator": Through(n, True)},
    )


@pytest.mark.parametrize("k", [2, 5, 10])
def test_a_perfect_q_reaches_log_k(k: int) -> None:
    infogan = transparent(n_classes=k, n_continuous=1)

    class Oracle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            one_hot, continuous = x[:, 2 : 2 + k], x[:, 2 + k :]
            return torch.cat([100 * one_hot, continuous, torch.full_like(continuous, -4.0)], 1)

    infogan.recognition = Oracle()
    with torch.no_grad():
        losses = dict(infogan.updates(Batch(torch.zeros(64, infogan.config.n_code), torch.arange(64))))["generator"]
    assert float(losses["categorical_information"]) == pytest.approx(math.log(k), abs=1e-5)
    # Q(c₂|x) = N(c₂, e⁻⁴): log 2 − ½ log(2π e⁻⁴), nats.
    expected = math.log(2) - 0.5 * (math.log(2 * math.pi) - 4)
    assert float(losses["continuous_information"]) == pytest.approx(expected, abs=1e-5)


def test_a_q_that_knows_nothing_has_no_information() -> None:
    label = torch.arange(5)
    torch.testing.assert_close(categorical_information(torch.zeros(5, 5), label), torch.zeros(5))
    # For c₂ the uniform law would give 0; a Gaussian of the same variance 1/3 loses KL(U ‖ N) = ½ log(πe/6).
    c = torch.linspace(-1, 1, 20_001, dtype=torch.float64)[:, None]
    q = DiagonalGaussian(torch.zeros_like(c), torch.full_like(c, -math.log(3)))
    assert float(continuous_information(q, c).mean()) == pytest.approx(-0.5 * math.log(math.pi * math.e / 6), abs=1e-4)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 5), st.integers(2, 6), st.integers(0, 10_000))
def test_the_bound_is_tight_for_the_posterior_and_below_for_any_other_q(k: int, n_x: int, seed: int) -> None:
    """A channel c₁ → x over few symbols: I(c₁; x) by enumeration."""
    generator = torch.Generator().manual_seed(seed)
    channel = torch.randn(k, n_x, generator=generator, dtype=torch.float64).mul(2).softmax(1)  # p(x|c)
    joint = channel / k
    information = float((joint * (joint / (joint.sum(0) / k)).log()).sum())
    posterior = joint.T.log()  # (n_x, K), up to a constant per row
    other = posterior + torch.randn(n_x, k, generator=generator, dtype=torch.float64)

    def bound(logits: Tensor) -> float:
        x, c = torch.arange(n_x).repeat(k), torch.arange(k).repeat_interleave(n_x)  # all pairs, c slowest
        return float((joint.flatten() * categorical_information(logits[x], c)).sum())

    assert bound(posterior) == pytest.approx(information, abs=1e-9)
    assert bound(other) < information - 1e-9
    assert information <= math.log(k)


def test_codes_follow_their_prior() -> None:
    infogan = small_infogan(n_continuous=2)
    code = infogan.draw(8000)
    z, one_hot, continuous = code.split([3, 4, 2], 1)
    assert (one_hot.sum(1) == 1).all()
    assert set(one_hot.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(one_hot.mean(0), torch.full((4,), 0.25), atol=0.02, rtol=0)
    assert -1 <= float(continuous.min()) < -0.99
    assert 0.99 < float(continuous.max()) <= 1
    torch.testing.assert_close(continuous.var(0), torch.full((2,), 1 / 3), atol=0.02, rtol=0)
    torch.testing.assert_close(z.std(0), torch.ones(3), atol=0.04, rtol=0)
    cold = infogan.draw(100, temperature=0.0)
    assert (cold[:, :3] == 0).all()
    assert (cold[:, 7:] == 0).all()


def test_a_label_fixes_the_categorical_code() -> None:
    infogan = transparent(n_classes=5)
    label = torch.tensor([4, 0, 0, 2])
    assert torch.equal(infogan.sample(4, label=label)[:, 2:7].argmax(1), label)
    assert infogan.sample(3, label=torch.zeros(3, dtype=torch.long)).shape == (3, infogan.config.n_code)
    for wrong in (torch.tensor([0, 5, 1]), torch.tensor([0, -1, 1]), torch.tensor([0, 1])):
        with pytest.raises(BadInput, match="3 whole numbers from 0 to 4"):
            infogan.sample(3, label=wrong)


def test_classify_is_the_posterior_of_the_code() -> None:
    infogan = small_infogan()
    x = (torch.rand(7, 6) < 0.5).float()
    log_q = infogan.classify(x)
    assert log_q.shape == (7, 4)
    torch.testing.assert_close(log_q.exp().sum(1), torch.ones(7))
    logits, _ = infogan.q(infogan.discriminator(x)[0])
    for c in range(4):
        information = categorical_information(logits, torch.full((7,), c))
        torch.testing.assert_close(log_q[:, c], information - math.log(4))


def test_families_without_a_classifier_say_so() -> None:
    with pytest.raises(TypeError, match="ae has no classifier"):
        AE.classify(AE.__new__(AE), torch.zeros(1, 6))


def gradients(infogan: InfoGAN, player: str, seed: int = 5) -> list[Tensor]:
    """The gradient that ``player`` gets, parameter by parameter."""
    torch.manual_seed(seed)
    losses = dict(infogan.updates(batch_of(32)))[player]
    return list(torch.autograd.grad(losses["loss"], infogan.parameters_of(player), materialize_grads=True))


def test_the_trunk_learns_the_code_only_if_asked() -> None:
    infogan = small_infogan(trunk_learns_code=False)
    learning = small_infogan(trunk_learns_code=True, lambda_categorical=0.7, lambda_continuous=0.3)
    learning.load_state_dict(infogan.state_dict())
    plain, both = gradients(infogan, "discriminator"), gradients(learning, "discriminator")

    torch.manual_seed(5)
    batch = batch_of(32)
    code = infogan.draw(32)
    (_, real), (features, fake) = infogan.discriminator(batch.x), infogan.discriminator(infogan.decode(code).detach())
    logits, q = infogan.q(features)
    game = discriminator_loss("non-saturating", real, fake).mean()
    information = (
        0.7 * categorical_information(logits, code[:, 3:7].argmax(1)) + 0.3 * continuous_information(q, code[:, 7:])
    ).mean()
    parameters = [*infogan.discriminator.parameters()]
    game_alone = torch.autograd.grad(game, parameters, retain_graph=True)
    total = torch.autograd.grad(game - information, [*parameters, *infogan.recognition.parameters()])
    for one, other in zip(plain, game_alone, strict=True):
        torch.testing.assert_close(one, other)
    for one, other in zip(both, total, strict=True):
        torch.testing.assert_close(one, other)
    assert not all(torch.allclose(one, other) for one, other in zip(plain, both[: len(plain)], strict=True))


def test_without_information_it_is_a_plain_gan() -> None:
    infogan = small_infogan(lambda_categorical=0.0, lambda_continuous=0.0, trunk_learns_code=False)
    found = dict(zip([n for n, _ in named(infogan)], gradients(infogan, "generator"), strict=True))
    assert all((g == 0).all() for n, g in found.items() if n.startswith("recognition"))
    assert any((g != 0).any() for n, g in found.items() if n.startswith("generator"))


def named(infogan: InfoGAN) -> list[tuple[str, nn.Parameter]]:
    """The generator player's parameters with their names, in the order of ``parameters_of``."""
    return [
        (f"{network}.{n}", p)
        for network in ("generator", "recognition")
        for n, p in getattr(infogan, network).named_parameters()
    ]


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_both_players_raise_the_information(player: str) -> None:
    """A step along the gradient of a loss that is nearly all λ L_I raises L_I: the sign is right."""
    infogan = small_infogan(lambda_categorical=1e4, lambda_continuous=1e4, trunk_learns_code=True).double()
    torch.manual_seed(1)
    code = infogan.draw(256).double()

    def information() -> float:
        with torch.no_grad():
            features, _ = infogan.discriminator(infogan.decode(code))
            return float(infogan.information(features, code)[0])

    before = information()
    infogan.draw = lambda n: code  # type: ignore[method-assign]
    losses = dict(infogan.updates(Batch((torch.rand(256, 6) < 0.5).double(), torch.arange(256))))[player]
    parameters = infogan.parameters_of(player)
    found = torch.autograd.grad(losses["loss"], parameters)
    with torch.no_grad():
        for p, g in zip(parameters, found, strict=True):
            p -= 1e-7 * g
    assert information() > before


def test_statistics_of_generated_examples_are_not_remembered() -> None:
    """What D normalises real examples with when it classifies them is what a network that saw them alone has."""
    infogan, alone = small_infogan(), MLPDiscriminator((6,), [8, 8], "batch")
    infogan.discriminator = MLPDiscriminator((6,), [8, 8], "batch")
    alone.load_state_dict(infogan.discriminator.state_dict())
    batch = batch_of(32)
    list(infogan.updates(batch))
    alone(batch.x)
    remembered = dict(infogan.discriminator.named_buffers())
    assert any("running_mean" in name for name in remembered)
    for name, buffer in alone.named_buffers():
        torch.testing.assert_close(remembered[name], buffer)


def test_a_fixed_sigma_makes_information_a_squared_error() -> None:
    infogan = small_infogan(continuous_sigma=1.0)
    features, c = torch.randn(8, infogan.discriminator.n_features), torch.rand(8, 2)
    _, q = infogan.q(features)
    expected = -0.5 * (c - q.mean).square().sum(1) - math.log(2 * math.pi) + 2 * math.log(2)
    torch.testing.assert_close(continuous_information(q, c), expected)


@pytest.mark.parametrize("with_discriminator", [False, True])
def test_who_moves(with_discriminator: bool) -> None:
    infogan = small_infogan(discriminator_norm="batch", trunk_learns_code=with_discriminator)
    engine = Engine(infogan, RunConfig(steps=1, learning_rate=0.01))
    moved: list[tuple[str, set[str]]] = []
    move = engine._move

    def watched(player: str) -> None:
        before = {name: p.detach().clone() for name, p in infogan.named_parameters()}
        move(player)
        changed = {name.split(".")[0] for name, p in infogan.named_parameters() if not torch.equal(before[name], p)}
        moved.append((player, changed))

    engine._move = watched  # type: ignore[method-assign]
    engine.step([batch_of(32)])
    q = {"recognition"}
    judges, makers = (q, set()) if with_discriminator else (set[str](), q)
    assert moved == [("discriminator", {"discriminator"} | judges), ("generator", {"generator"} | makers)]


def test_every_batch_through_the_discriminator_is_real_or_generated_and_codes_are_fresh() -> None:
    infogan = small_infogan()
    seen: list[Tensor] = []
    infogan.discriminator.register_forward_hook(lambda module, args, output: seen.append(args[0].detach()))
    batch = batch_of(16)
    list(infogan.updates(batch))
    real, *fakes = seen
    assert torch.equal(real, batch.x)
    assert [len(x) for x in fakes] == [16, 16]
    assert all(not torch.equal(a, b) for a, b in pairwise(fakes))


def test_without_continuous_codes_there_is_no_such_term() -> None:
    infogan = small_infogan(n_continuous=0)
    losses = dict(infogan.updates(batch_of(8)))["generator"]
    assert set(losses) == {"loss", "categorical_information"}
    assert infogan.sample(2).shape == (2, 6)


def test_it_finds_the_clusters_of_a_mixture() -> None:
    """Three clusters without labels: c₁ takes them over, and Q tells real examples apart."""
    means = torch.tensor([[3.0, 0.0], [-1.5, 2.6], [-1.5, -2.6]])
    config = InfoGANConfig(latent_dim=2, n_classes=3, n_continuous=0, discriminator_norm="none")
    networks = {
        "generator": MLPDecoder(config.n_code, (2,), [24]),
        "discriminator": MLPDiscriminator((2,), [24], "none"),
    }
    infogan = InfoGAN(config, Spec((2,), ("cell",), UnitGaussian()), networks)
    engine = Engine(infogan, RunConfig(steps=1000, learning_rate=2e-3, schedule="linear"))
    for _ in range(1000):
        x = means[torch.randint(3, (64,))] + 0.4 * torch.randn(64, 2)
        engine.step([Batch(x, torch.arange(64))])
    label = torch.arange(3).repeat_interleave(200)
    with torch.no_grad():
        generated = infogan.sample(600, label=label).view(3, 200, 2)
        found = infogan.classify(means[label] + 0.4 * torch.randn(600, 2)).argmax(1)
    nearest = torch.cdist(generated.mean(1), means).argmin(1)  # which cluster each value of c₁ became
    assert sorted(nearest.tolist()) == [0, 1, 2]
    assert float((nearest[found] == label).float().mean()) > 0.95
