"""The adversarial autoencoder: what its latent discriminator converges to, who moves, where the codes end up."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear import Identity, Linear, UnitGaussian
from torch import Tensor, nn
from torch.distributions import Normal

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.engine.engine import Engine
from musegen.errors import BadInput
from musegen.families.aae import AAE, AAEConfig
from musegen.families.adversarial import discriminator_loss
from musegen.networks.mlp import MLPDecoder, MLPEncoder
from musegen.probability.likelihood import Bernoulli
from musegen.running.config import RunConfig


def batch_of(x: Tensor) -> Batch:
    return Batch(x, torch.arange(len(x)))


def bits(n: int) -> Batch:
    return batch_of((torch.rand(n, 6) < 0.5).float())


def small_aae(**options: Any) -> AAE:
    """Binary x of 6 cells, a code of 2 dimensions, one hidden layer everywhere."""
    config = AAEConfig(**({"latent_dim": 2, "discriminator_widths": [8]} | options))
    networks: dict[str, nn.Module] = {
        "encoder": MLPEncoder((6,), [8]),
        "decoder": MLPDecoder(config.latent_dim, (6,), [8]),
    }
    return AAE(config, Spec((6,), ("cell",), Bernoulli()), networks)


def scalar_aae(mean: float, scale: float) -> AAE:
    """x and z are numbers, and the encoder is z = mean + scale · x; the prior is N(0, 2²)."""
    config = AAEConfig(latent_dim=1, prior_sigma=2.0, discriminator_widths=[32, 32])
    networks: dict[str, nn.Module] = {"encoder": Identity(1), "decoder": Linear(1, 1)}
    aae = AAE(config, Spec((1,), ("cell",), UnitGaussian()), networks)
    nn.init.constant_(aae.posterior.weight, scale)
    nn.init.constant_(aae.posterior.bias, mean)
    return aae


def train_discriminator(aae: AAE, steps: int) -> float:
    """Move the discriminator alone, on x ~ N(0, 1); its mean loss over the last hundred steps, nats."""
    optimiser = torch.optim.Adam(aae.discriminator.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    losses = []
    for _ in range(steps):
        updates = dict(aae.updates(batch_of(torch.randn(512, 1))))
        loss = updates["discriminator"]["loss"]
        optimiser.zero_grad()
        loss.backward(inputs=list(aae.discriminator.parameters()))
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return sum(losses[-100:]) / 100


def optimal_loss(p: Normal, q: Normal) -> float:
    """2 log 2 − 2 JSD(p ‖ q), nats, by quadrature (Goodfellow et al. 2014, theorem 1)."""
    z = torch.linspace(-20, 20, 40_001, dtype=torch.float64)
    log_p, log_q = p.log_prob(z), q.log_prob(z)
    log_sum = torch.logaddexp(log_p, log_q)
    return float((log_p.exp() * (log_sum - log_p) + log_q.exp() * (log_sum - log_q)).sum() * 40 / 40_000)


@pytest.mark.parametrize(("mean", "scale"), [(1.5, 1.0), (0.0, 2.0)], ids=["other-law", "equal-laws"])
def test_the_latent_discriminator_finds_the_ratio_of_prior_and_aggregated_posterior(mean: float, scale: float) -> None:
    """D*(z) = p(z) / (p(z) + q(z)) with p the prior: above ½ where the prior is denser; ½ everywhere if q = p."""
    torch.manual_seed(0)
    aae = scalar_aae(mean, scale)
    loss = train_discriminator(aae, 700)
    p, q = Normal(0.0, 2.0), Normal(mean, scale)
    z = torch.linspace(-4, 4, 33)[:, None]
    with torch.no_grad():
        found = aae.discriminator(z)[1].sigmoid()
    expected = torch.sigmoid(p.log_prob(z) - q.log_prob(z)).squeeze(1)
    torch.testing.assert_close(found, expected, atol=0.08, rtol=0)
    assert loss == pytest.approx(optimal_loss(p.expand(()), q.expand(())), abs=0.03)
    if mean == 0:
        assert loss == pytest.approx(2 * math.log(2), abs=0.01)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 6), st.integers(0, 10_000))
def test_the_ratio_is_the_exact_optimum_over_a_few_codes(n: int, seed: int) -> None:
    """Enumerated: codes 1 … n with laws p and q, one free logit each, expectations as sums over all pairs."""
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.rand(2, n, generator=generator, dtype=torch.float64).softmax(1)

    def value(a: Tensor) -> Tensor:
        losses = discriminator_loss("minimax", a.repeat_interleave(n), a.repeat(n)).view(n, n)  # pairs -> (n, n)
        return p @ losses @ q

    a = (p / q).log().requires_grad_()
    best = value(a)
    (gradient,) = torch.autograd.grad(best, a)
    torch.testing.assert_close(gradient, torch.zeros_like(a))
    m = (p + q) / 2
    jsd = 0.5 * (p * (p / m).log() + q * (q / m).log()).sum()
    torch.testing.assert_close(best.detach(), 2 * math.log(2) - 2 * jsd)
    assert value(a + 0.1 * torch.randn(n, generator=generator, dtype=torch.float64)) > best


def test_an_undecided_discriminator_pays_two_log_two_and_the_encoder_log_two() -> None:
    aae = small_aae()
    nn.init.zeros_(aae.discriminator.logit.weight)
    nn.init.zeros_(aae.discriminator.logit.bias)
    losses = dict(aae.updates(bits(16)))
    assert losses["discriminator"]["loss"].item() == pytest.approx(2 * math.log(2), rel=1e-6)
    assert losses["encoder"]["loss"].item() == pytest.approx(math.log(2), rel=1e-6)
    aae = small_aae(loss="minimax")
    nn.init.zeros_(aae.discriminator.logit.weight)
    nn.init.zeros_(aae.discriminator.logit.bias)
    assert dict(aae.updates(bits(16)))["encoder"]["loss"].item() == pytest.approx(-math.log(2), rel=1e-6)


@pytest.mark.parametrize("posterior", ["deterministic", "gaussian"])
def test_the_three_players_move_in_the_papers_order_and_nobody_else_does(posterior: str) -> None:
    aae = small_aae(posterior=posterior)
    engine = Engine(aae, RunConfig(steps=1, learning_rate=0.01))
    moved: list[tuple[str, set[str]]] = []
    move = engine._move

    def watched(player: str) -> None:
        before = {name: p.detach().clone() for name, p in aae.named_parameters()}
        move(player)
        changed = {name.split(".")[0] for name, p in aae.named_parameters() if not torch.equal(before[name], p)}
        moved.append((player, changed))

    engine._move = watched  # type: ignore[method-assign]
    engine.step([bits(32)])
    assert moved == [
        ("autoencoder", {"encoder", "posterior", "decoder"}),
        ("discriminator", {"discriminator"}),
        ("encoder", {"encoder", "posterior"}),
    ]


@pytest.mark.parametrize("loss", ["minimax", "non-saturating"])
def test_a_step_of_the_encoder_makes_codes_look_more_like_the_prior(loss: str) -> None:
    """And a step of the discriminator does the reverse: no sign is the wrong way round."""
    torch.manual_seed(1)
    aae = small_aae(loss=loss).double()
    batch = batch_of((torch.rand(256, 6) < 0.5).double())
    z = aae.prior.sample(256).double()
    aae.prior = type("Fixed", (), {"sample": lambda self, n, device: z})()  # the same draw before and after

    def gap() -> float:
        """Mean logit of the prior above that of the codes."""
        with torch.no_grad():
            return float((aae.discriminator(z)[1] - aae.discriminator(aae.draw(batch.x))[1]).mean())

    for player, direction in (("discriminator", 1), ("encoder", -1)):
        before = gap()
        parameters = aae.parameters_of(player)
        gradients = torch.autograd.grad(dict(aae.updates(batch))[player]["loss"], parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.01 * gradient
        assert direction * (gap() - before) > 0


def test_reconstruction_is_the_negative_log_likelihood_in_nats() -> None:
    aae = small_aae()
    batch = bits(9)
    _, losses = next(aae.updates(batch))
    p = torch.distributions.Bernoulli(logits=aae.decoder(aae.encode(batch.x)))
    torch.testing.assert_close(losses["loss"], -p.log_prob(batch.x).sum(1).mean())
    torch.testing.assert_close(aae.reconstruct(batch.x), p.mean)


def test_gaussian_codes_vary_about_the_deterministic_one() -> None:
    x = bits(4).x
    aae = small_aae(posterior="gaussian")
    with torch.no_grad():
        draws = torch.stack([aae.draw(x) for _ in range(4000)])
        mean, log_var = aae.posterior(aae.encoder(x)).chunk(2, 1)
        torch.testing.assert_close(aae.encode(x), mean)
    torch.testing.assert_close(draws.mean(0), mean, atol=0.1, rtol=0)
    torch.testing.assert_close(draws.std(0), (0.5 * log_var).exp(), atol=0, rtol=0.1)
    point = small_aae()
    assert torch.equal(point.draw(x), point.encode(x))


def test_samples_are_decoded_from_the_wide_prior() -> None:
    seen: list[Tensor] = []
    aae = small_aae(prior_sigma=5.0)
    aae.decoder.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    with torch.no_grad():
        assert aae.sample(20_000).shape == (20_000, 6)
        aae.sampling = aae.Sampling(temperature=0.5)
        aae.sample(20_000)
    assert float(seen[0].std()) == pytest.approx(5, rel=0.03)
    assert float(seen[1].std()) == pytest.approx(2.5, rel=0.03)


def test_batch_normalisation_is_nowhere_in_the_latent_discriminator() -> None:
    aae = small_aae(discriminator_widths=[8, 8])
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in aae.discriminator.modules())
    z = 5 * torch.randn(6, 2)
    together = aae.discriminator(z)[1]
    torch.testing.assert_close(torch.cat([aae.discriminator(row[None])[1] for row in z]), together)


def test_a_discriminator_without_layers_is_refused() -> None:
    for widths in ([], [8, 0]):
        with pytest.raises(BadInput, match="discriminator_widths"):
            AAEConfig(discriminator_widths=widths)


def test_the_aggregated_posterior_reaches_the_prior_and_samples_reach_the_data() -> None:
    """x on a plane in 4 dimensions, z in 2: the codes become N(0, 3²) and samples have the data's covariance."""
    torch.manual_seed(0)
    basis = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]])

    def data(n: int) -> Tensor:
        return torch.randn(n, 2) * torch.tensor([2.0, 1.0]) @ basis

    config = AAEConfig(latent_dim=2, prior_sigma=3.0, discriminator_widths=[32])
    networks: dict[str, nn.Module] = {"encoder": Identity(4), "decoder": Linear(2, 4)}
    aae = AAE(config, Spec((4,), ("cell",), UnitGaussian()), networks)
    engine = Engine(aae, RunConfig(steps=1200, learning_rate=1e-2, schedule="linear", ema=0.99))
    for _ in range(1200):
        engine.step([batch_of(data(128))])
    x = data(4000)
    with torch.no_grad(), engine.averaged() as family:
        z, samples = family.encode(x), family.sample(4000)
        error = float((family.reconstruct(x) - x).square().mean())
    torch.testing.assert_close(z.mean(0), torch.zeros(2), atol=0.5, rtol=0)
    torch.testing.assert_close(z.T.cov(), 9 * torch.eye(2), atol=2, rtol=0)
    assert error < 0.05
    torch.testing.assert_close(samples.T.cov(), x.T.cov(), atol=1, rtol=0.2)
