"""The five games against their formulas; who moves on what data; the gradient penalty in closed form."""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

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
from musegen.families.adversarial import GANLoss, discriminator_loss, diversity, generator_loss, gradient_penalty
from musegen.families.gan import GAN, GANConfig
from musegen.networks.mlp import MLPDecoder, MLPDiscriminator
from musegen.probability.likelihood import Bernoulli
from musegen.running.config import RunConfig

LOSSES = get_args(GANLoss)


def small_gan(**options: Any) -> GAN:
    config = GANConfig(**({"latent_dim": 3} | options))
    spec = Spec((6,), ("cell",), Bernoulli())
    networks: dict[str, nn.Module] = {
        "generator": MLPDecoder(3, (6,), [8]),
        "discriminator": MLPDiscriminator((6,), [8], config.norm),
    }
    return GAN(config, spec, networks)


def batch_of(n: int) -> Batch:
    return Batch((torch.rand(n, 6) < 0.5).float(), torch.arange(n))


def test_an_undecided_discriminator_pays_two_log_two() -> None:
    """Goodfellow et al. 2014, theorem 1: at D ≡ ½ the value of the game is −log 4."""
    a = torch.zeros(4)
    for loss in ("minimax", "non-saturating"):
        torch.testing.assert_close(discriminator_loss(loss, a, a), torch.full((4,), 2 * math.log(2)))
    torch.testing.assert_close(generator_loss("minimax", a), torch.full((4,), -math.log(2)))
    torch.testing.assert_close(generator_loss("non-saturating", a), torch.full((4,), math.log(2)))


@settings(deadline=None)
@given(st.floats(-8, 8))
def test_minimax_and_non_saturating_gradients_have_the_ratio_of_d_to_1_minus_d(logit: float) -> None:
    """d/da log(1 − σ(a)) = −D and d/da −log σ(a) = −(1 − D): same sign, ratio D / (1 − D)."""
    found = []
    for loss in ("minimax", "non-saturating"):
        a = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(generator_loss(loss, a).sum(), a)
        found.append(float(gradient))
    d = 1 / (1 + math.exp(-logit))
    assert found[0] == pytest.approx(-d, rel=1e-6)
    assert found[0] / found[1] == pytest.approx(d / (1 - d), rel=1e-6)


@settings(deadline=None)
@given(st.floats(-5, 5), st.floats(-5, 5))
def test_losses_by_hand(real: float, fake: float) -> None:
    def log_sigmoid(a: float) -> float:
        return -math.log1p(math.exp(-a))

    by_hand = {
        "minimax": -log_sigmoid(real) - log_sigmoid(-fake),
        "non-saturating": -log_sigmoid(real) - log_sigmoid(-fake),
        "least-squares": 0.5 * (real - 1) ** 2 + 0.5 * fake**2,
        "hinge": max(0, 1 - real) + max(0, 1 + fake),
        "wasserstein-gp": fake - real,
    }
    a_real, a_fake = torch.tensor([real]), torch.tensor([fake])
    for loss in LOSSES:
        assert float(discriminator_loss(loss, a_real, a_fake)) == pytest.approx(by_hand[loss], rel=1e-4, abs=1e-4)


def test_smoothing_touches_real_labels_only() -> None:
    a = torch.tensor([0.7])
    d = float(torch.sigmoid(a))
    smooth = discriminator_loss("non-saturating", a, a, real_smoothing=0.1)
    expected = -0.9 * math.log(d) - 0.1 * math.log(1 - d) - math.log(1 - d)
    assert float(smooth) == pytest.approx(expected, rel=1e-5)


class LinearCritic(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x.flatten(1) @ self.weight


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic(norm: float) -> None:
    """∇ₓ w·x = w everywhere, so the penalty is (‖w‖ − 1)² and its gradient 2 (‖w‖ − 1) w / ‖w‖."""
    direction = torch.tensor([0.6, 0.0, 0.8, 0.0])
    critic = LinearCritic(norm * direction)
    penalty = gradient_penalty(critic, torch.randn(5, 4), torch.randn(5, 4))
    torch.testing.assert_close(penalty, torch.full((5,), (norm - 1) ** 2), atol=1e-5, rtol=1e-5)
    penalty.mean().backward()
    torch.testing.assert_close(critic.weight.grad, 2 * (norm - 1) * direction * (norm > 0), atol=1e-4, rtol=1e-4)


def test_the_penalty_is_taken_between_real_and_generated_examples() -> None:
    seen = []

    class Watching(LinearCritic):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            seen.append(x.detach())
            return super().forward(x)

    real, fake = torch.zeros(200, 4), torch.ones(200, 4)
    gradient_penalty(Watching(torch.ones(4)), real, fake)
    u = seen[0]
    assert (u == u[:, :1]).all()  # one mixture per example
    assert 0 < float(u.min()) < 0.1
    assert 0.9 < float(u.max()) < 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 3), min_size=1, max_size=4))
def test_several_critics_have_a_penalty_each(norms: list[float]) -> None:
    """Critics w_i·x_i of the parts x_i: the penalty is Σ_i (‖w_i‖ − 1)², not (‖(w_1, …)‖ − 1)²."""
    weight = torch.cat([norm * torch.tensor([0.6, 0.8]) for norm in norms])
    x = torch.randn(2, 5, len(norms), 2)
    found = gradient_penalty(LinearCritic(weight), x[0], x[1], critics=len(norms))
    torch.testing.assert_close(found, torch.full((5,), sum((n - 1) ** 2 for n in norms)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_each_player_improves_its_own_objective(loss: GANLoss) -> None:
    """A step along each gradient lowers that player's loss: no sign is the wrong way round."""
    torch.manual_seed(0)
    gan = small_gan(loss=loss, discriminator_norm="none").double()
    real = (torch.rand(256, 6) < 0.8).double()
    z = torch.randn(256, 3, dtype=torch.float64)

    def value(player: str) -> Tensor:
        (_, a_real), (_, a_fake) = gan.discriminator(real), gan.discriminator(gan.decode(z))
        if player == "generator":
            return generator_loss(loss, a_fake).mean()
        return discriminator_loss(loss, a_real, a_fake).mean()

    def gap() -> float:
        with torch.no_grad():
            return float(gan.discriminator(real)[1].mean() - gan.discriminator(gan.decode(z))[1].mean())

    for player, direction in (("discriminator", 1), ("generator", -1)):
        before, gap_before = value(player), gap()
        parameters = gan.parameters_of(player)
        gradients = torch.autograd.grad(before, parameters)
        with torch.no_grad():
            for p, g in zip(parameters, gradients, strict=True):
                p -= 0.01 * g
        assert value(player).item() < before.item()
        # The discriminator widens the gap between real and generated logits; every generator closes it.
        assert direction * (gap() - gap_before) > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_updates_follow_algorithm_1(loss: GANLoss) -> None:
    """critic_steps discriminator updates, each on its own minibatch, then one of the generator."""
    gan = small_gan(loss=loss, critic_steps=3)
    seen: list[Tensor] = []
    gan.discriminator.register_forward_hook(lambda module, args, output: seen.append(args[0].detach()))
    batch = batch_of(3 * 16)
    order = [player for player, _ in gan.updates(batch)]
    assert order == ["discriminator"] * 3 + ["generator"]
    assert gan.minibatches == 3
    reals = [x for x in seen if ((x == 0) | (x == 1)).all()]
    torch.testing.assert_close(torch.cat(reals), batch.x)  # every example once, none twice


@pytest.mark.parametrize(("step", "updates"), [(0, 7), (24, 7), (25, 2), (499, 2), (500, 7), (501, 2), (1000, 7)])
def test_the_critic_schedule(step: int, updates: int) -> None:
    """More updates in the first 25 steps and in every 500th, from the same minibatches; as usual in an evaluation."""
    gan = small_gan(loss="wasserstein-gp", critic_steps=2, critic_boost=7)
    gan.step = step
    seen: list[Tensor] = []
    gan.discriminator.register_forward_hook(lambda module, args, output: seen.append(args[0].detach()))
    batch = batch_of(2 * 16)
    assert [player for player, _ in gan.updates(batch)] == ["discriminator"] * updates + ["generator"]
    reals = seen[0 : 3 * updates : 3]  # then comes the generated batch, then the points between the two
    for i, x in enumerate(reals):
        assert torch.equal(x, batch.x[16 * (i % 2) : 16 * (i % 2) + 16])
    fakes = seen[1 : 3 * updates : 3]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(fakes, 2))  # fresh noise each time
    assert len(list(gan.eval().updates(batch))) == 3


def test_betas() -> None:
    found = [
        small_gan(**options).players["generator"].betas
        for options in ({}, {"loss": "wasserstein-gp"}, {"loss": "wasserstein-gp", "beta1": 0.5}, {"beta1": 0.0})
    ]
    assert found == [(0.5, 0.999), (0.0, 0.9), (0.5, 0.9), (0.0, 0.999)]


@pytest.mark.parametrize("kind", ["deterministic", "stochastic"])
def test_binary_neurons_show_and_sample_binary_cells(kind: Any) -> None:
    gan = small_gan(loss="wasserstein-gp", neurons=kind, slope_annealing=1.1)
    seen: list[Tensor] = []
    gan.discriminator.register_forward_hook(lambda module, args, output: seen.append(args[0].detach()))
    gan.n_examples, gan.step = 32, 7
    updates = list(gan.updates(batch_of(16)))
    fake, last = seen[1], seen[3]
    for x in (fake, last, gan.sample(50), gan.decode(torch.randn(50, 3))):
        assert ((x == 0) | (x == 1)).all()
    assert gan.neurons is not None
    assert float(gan.neurons.slope) == pytest.approx(1.1**3)  # 7 · 16 of 32 examples are three whole epochs
    loss = updates[-1][1]["loss"]
    gradients = torch.autograd.grad(loss, gan.parameters_of("generator"))
    assert all(g.abs().sum() > 0 for g in gradients)
    z = torch.randn(20, 3)
    assert torch.equal(gan.decode(z), gan.decode(z))
    assert gan.draws
    assert not small_gan().draws


def test_binary_neurons_need_binary_cells() -> None:
    config = GANConfig(latent_dim=2, neurons="stochastic")
    networks = {"generator": MLPDecoder(2, (2,), [4]), "discriminator": MLPDiscriminator((2,), [4], "none")}
    with pytest.raises(BadInput, match="needs cells that are 0 or 1"):
        GAN(config, Spec((2,), ("cell",), UnitGaussian()), networks)


@pytest.mark.parametrize("loss", LOSSES)
def test_only_the_yielded_player_moves(loss: GANLoss) -> None:
    gan = small_gan(loss=loss, critic_steps=2)
    engine = Engine(gan, RunConfig(steps=1, learning_rate=0.01))
    moved: list[tuple[str, set[str]]] = []
    move = engine._move

    def watched(player: str) -> None:
        before = {name: p.detach().clone() for name, p in gan.named_parameters()}
        move(player)
        changed = {name.split(".")[0] for name, p in gan.named_parameters() if not torch.equal(before[name], p)}
        moved.append((player, changed))

    engine._move = watched  # type: ignore[method-assign]
    engine.step([batch_of(32)])
    assert moved == [("discriminator", {"discriminator"})] * 2 + [("generator", {"generator"})]


def test_real_and_generated_examples_do_not_share_batch_statistics() -> None:
    gan = small_gan(loss="hinge", discriminator_norm="batch")
    seen: list[int] = []
    gan.discriminator.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    list(gan.updates(batch_of(16)))
    assert seen == [16, 16, 16]


def test_contradictions_are_refused() -> None:
    with pytest.raises(BadInput, match="batch normalisation"):
        GANConfig(loss="wasserstein-gp", discriminator_norm="batch")
    with pytest.raises(BadInput, match="real_smoothing"):
        GANConfig(loss="hinge", real_smoothing=0.1)
    assert GANConfig(loss="wasserstein-gp").norm == "none"


@pytest.mark.parametrize(
    ("loss", "critic_steps", "steps", "rate"), [("non-saturating", 1, 2000, 2e-3), ("wasserstein-gp", 5, 800, 5e-3)]
)
def test_a_gan_learns_a_distribution(loss: GANLoss, critic_steps: int, steps: int, rate: float) -> None:
    """Two independent Gaussians: the generator finds their means and spreads."""
    mean, std = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0])
    config = GANConfig(
        latent_dim=2, loss=loss, critic_steps=critic_steps, gradient_penalty=1.0, discriminator_norm="none"
    )
    networks = {"generator": MLPDecoder(2, (2,), [24]), "discriminator": MLPDiscriminator((2,), [24], "none")}
    gan = GAN(config, Spec((2,), ("cell",), UnitGaussian()), networks)
    engine = Engine(gan, RunConfig(steps=steps, learning_rate=rate, schedule="linear", ema=0.99))
    for _ in range(steps):
        x = mean + std * torch.randn(64 * critic_steps, 2)
        engine.step([Batch(x, torch.arange(len(x)))])
    with torch.no_grad(), engine.averaged() as family:
        x = family.sample(4000)
    torch.testing.assert_close(x.mean(0), mean, atol=0.3, rtol=0)
    torch.testing.assert_close(x.std(0), std, atol=0, rtol=0.5)


@given(seed=st.integers(0, 1000), most=st.floats(0.01, 3))
def test_diversity_is_a_ratio_of_mean_distances(seed: int, most: float) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b, z, other = (torch.randn(5, *shape, generator=g) for shape in ((2, 3), (2, 3), (4,), (4,)))
    slowly = [
        min(most, sum(map(abs, (a[i] - b[i]).flatten().tolist())) / 6 / (sum(map(abs, (z[i] - other[i]).tolist())) / 4))
        for i in range(5)
    ]
    assert torch.allclose(diversity(a, b, z, other, most), torch.tensor(slowly), rtol=1e-4)


def test_the_generator_minimises_its_loss_less_diversity() -> None:
    """With the same draws: the loss of the game, less the weight times what the term says of the two pictures of each noise."""
    torch.manual_seed(0)
    gan, plain = small_gan(diversity=2.0, most_diverse=0.4), small_gan()
    plain.load_state_dict(gan.state_dict())
    found = []
    for model in (gan, plain):
        torch.manual_seed(5)
        *_, (player, losses) = model.updates(batch_of(16))
        assert player == "generator"
        found.append(losses)
    assert torch.allclose(found[0]["loss"], found[1]["loss"] - 2 * found[0]["diversity"], atol=1e-5)
    assert 0 < float(found[0]["diversity"].detach()) < 0.4
    constant = small_gan(diversity=2.0)
    for weight in constant.generator.parameters():
        nn.init.zeros_(weight)
    *_, (_, losses) = constant.updates(batch_of(16))
    assert float(losses["diversity"].detach()) == 0
