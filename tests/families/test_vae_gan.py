"""VAE/GAN: which gradient reaches which player, with which sign; the game's optimum; that it learns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear import UnitGaussian
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.engine.engine import Engine
from musegen.families.gan import GAN, GANConfig
from musegen.families.vae_gan import VAEGAN, VAEGANConfig, feature_loss, three_way_loss
from musegen.networks.mlp import MLPDecoder, MLPDiscriminator, MLPEncoder
from musegen.probability.likelihood import Bernoulli
from musegen.running.config import RunConfig


def batch_of(x: Tensor) -> Batch:
    return Batch(x, torch.arange(len(x)))


def bits(n: int) -> Batch:
    return batch_of((torch.rand(n, 6) < 0.5).float())


def small(**options: Any) -> VAEGAN:
    """Binary x of 6 cells, a code of 3 dimensions, one hidden layer everywhere."""
    config = VAEGANConfig(**({"latent_dim": 3, "discriminator_norm": "none"} | options))
    networks: dict[str, nn.Module] = {
        "encoder": MLPEncoder((6,), [8]),
        "decoder": MLPDecoder(3, (6,), [8]),
        "discriminator": MLPDiscriminator((6,), [8], config.discriminator_norm),
    }
    return VAEGAN(config, Spec((6,), ("cell",), Bernoulli()), networks)


def gradient(family: VAEGAN, player: str, batch: Batch, seed: int = 0) -> Tensor:
    """The gradient that the engine takes at ``player``'s yield, flat; the same draws for the same seed."""
    torch.manual_seed(seed)
    loss = dict(family.updates(batch))[player]["loss"]
    return flat(torch.autograd.grad(loss, family.parameters_of(player)))


def flat(tensors: Any) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(0, 10_000))
def test_feature_loss_is_a_unit_gaussians(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mean, target = torch.randn(2, 4, n, generator=generator)
    torch.testing.assert_close(feature_loss(mean, target), -Normal(mean, 1.0).log_prob(target).sum(1))


@settings(deadline=None)
@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5))
def test_three_way_loss_by_hand(real: float, reconstructed: float, generated: float) -> None:
    def log_sigmoid(a: float) -> float:
        return -math.log1p(math.exp(-a))

    by_hand = -log_sigmoid(real) - log_sigmoid(-reconstructed) - log_sigmoid(-generated)
    logits = (torch.tensor([a], dtype=torch.float64) for a in (real, reconstructed, generated))
    assert float(three_way_loss(*logits)) == pytest.approx(by_hand, rel=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 5), st.integers(0, 10_000))
def test_the_optimal_discriminator_of_three_laws(n: int, seed: int) -> None:
    """Enumerated over n cells: Dis* = p / (p + q + r); with equal laws ⅓ and a loss of 3 log 3 − 2 log 2 nats."""
    generator = torch.Generator().manual_seed(seed)
    p, q, r = torch.rand(3, n, generator=generator, dtype=torch.float64).softmax(1)

    def value(a: Tensor, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
        losses = three_way_loss(*(grid.flatten() for grid in torch.meshgrid(a, a, a, indexing="ij"))).view(n, n, n)
        return torch.einsum("i,j,k,ijk->", p, q, r, losses)

    a = (p / (q + r)).log().requires_grad_()
    best = value(a, p, q, r)
    torch.testing.assert_close(torch.autograd.grad(best, a)[0], torch.zeros_like(a.detach()))
    assert value(a + 0.1 * torch.randn(n, generator=generator, dtype=torch.float64), p, q, r) > best
    equal = value(torch.full((n,), -math.log(2), dtype=torch.float64), p, p, p)
    assert float(equal) == pytest.approx(3 * math.log(3) - 2 * math.log(2))


@pytest.mark.parametrize("loss", ["minimax", "non-saturating"])
def test_the_three_gradients_reach_exactly_their_players(loss: str) -> None:
    family = small(loss=loss)
    engine = Engine(family, RunConfig(steps=1, learning_rate=0.01))
    moved: list[tuple[str, set[str]]] = []
    move = engine._move

    def watched(player: str) -> None:
        before = {name: p.detach().clone() for name, p in family.named_parameters()}
        move(player)
        changed = {name.split(".")[0] for name, p in family.named_parameters() if not torch.equal(before[name], p)}
        moved.append((player, changed))

    engine._move = watched  # type: ignore[method-assign]
    engine.step([bits(32)])
    assert moved == [
        ("encoder", {"encoder", "posterior"}),
        ("decoder", {"decoder"}),
        ("discriminator", {"discriminator"}),
    ]


def test_the_encoder_gets_kl_and_feature_loss_and_nothing_of_the_game() -> None:
    batch = bits(40)
    torch.manual_seed(5)
    family = small()
    got = gradient(family, "encoder", batch)

    torch.manual_seed(0)
    mean, log_var = family.posterior(family.encoder(batch.x)).chunk(2, 1)
    sigma = (0.5 * log_var).exp()
    z = mean + sigma * torch.randn(40, 3)
    f = lambda x: family.discriminator.layers(x)  # noqa: E731
    error = 0.5 * (f(batch.x).detach() - f(family.decoder(z).sigmoid())).square().sum(1)
    loss = (kl_divergence(Normal(mean, sigma), Normal(0.0, 1.0)).sum(1) + error).mean()
    torch.testing.assert_close(got, flat(torch.autograd.grad(loss, family.parameters_of("encoder"))))

    # The game is played on the logit. What the logit says cannot matter to the encoder; it does to the decoder.
    decoder = gradient(family, "decoder", batch)
    nn.init.normal_(family.discriminator.logit.weight, std=3.0)
    assert torch.equal(gradient(family, "encoder", batch), got)
    assert not torch.allclose(gradient(family, "decoder", batch), decoder)


def test_gamma_weighs_the_feature_loss_of_the_decoder_alone() -> None:
    batch = bits(40)
    torch.manual_seed(2)
    families = [small(gamma=gamma) for gamma in (0.0, 1.0, 3.0)]
    for family in families[1:]:
        family.load_state_dict(families[0].state_dict())
    game, one, three = (gradient(family, "decoder", batch) for family in families)
    torch.testing.assert_close(three - game, 3 * (one - game))
    for player in ("encoder", "discriminator"):
        torch.testing.assert_close(gradient(families[0], player, batch), gradient(families[2], player, batch))


def test_the_discriminator_does_not_learn_from_the_feature_loss() -> None:
    """Its gradient is that of the three-way game on the very examples it was shown."""
    batch = bits(40)
    family = small()
    shown: list[Tensor] = []
    hook = family.discriminator.register_forward_hook(lambda module, args, output: shown.append(args[0].detach()))
    got = gradient(family, "discriminator", batch)
    hook.remove()
    real, reconstructed, generated = (family.discriminator(x)[1] for x in shown[-3:])
    assert torch.equal(shown[-3], batch.x)
    loss = three_way_loss(real, reconstructed, generated).mean()
    torch.testing.assert_close(got, flat(torch.autograd.grad(loss, family.parameters_of("discriminator"))))


@pytest.mark.parametrize("loss", ["minimax", "non-saturating"])
def test_the_decoders_adversarial_gradient_is_a_plain_gans(loss: str) -> None:
    """With q(z|x) = p(z) reconstructed and generated examples have one law, and γ = 0 leaves twice a GAN's gradient."""
    torch.manual_seed(3)
    family = small(loss=loss, gamma=0.0)
    nn.init.zeros_(family.posterior.weight)
    nn.init.zeros_(family.posterior.bias)
    nn.init.normal_(family.discriminator.logit.weight)
    config = GANConfig(latent_dim=3, loss=loss, discriminator_norm="none")  # type: ignore[arg-type]
    networks = {"generator": family.decoder, "discriminator": family.discriminator}
    gan = GAN(config, family.spec, networks)
    batch = bits(20_000)
    plain = flat(torch.autograd.grad(dict(gan.updates(batch))["generator"]["loss"], gan.parameters_of("generator")))
    torch.testing.assert_close(
        gradient(family, "decoder", batch), 2 * plain, atol=0.05 * float(plain.abs().max()), rtol=0
    )


@pytest.mark.parametrize("loss", ["minimax", "non-saturating"])
def test_each_side_of_the_game_moves_logits_its_own_way(loss: str) -> None:
    torch.manual_seed(4)
    family = small(loss=loss, gamma=0.0).double()
    batch = batch_of((torch.rand(256, 6) < 0.8).double())
    codes = tuple(code.double() for code in torch.randn(2, 256, 3))
    family.codes = lambda x: codes  # type: ignore[method-assign]  # the same codes before and after

    def gap() -> float:
        """Logits of real examples above those of the two kinds of generated ones, each as it counts in L_GAN."""
        with torch.no_grad():
            fakes = sum(family.discriminator(family.decode(z))[1].mean() for z in codes)
            return float(family.discriminator(batch.x)[1].mean() - fakes)

    for player, direction in (("discriminator", 1), ("decoder", -1)):
        before, step = gap(), gradient(family, player, batch)
        parameters = family.parameters_of(player)
        nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(parameters) - 0.01 * step, parameters)
        assert direction * (gap() - before) > 0


def test_real_reconstructed_and_generated_examples_do_not_share_batch_statistics() -> None:
    family = small(discriminator_norm="batch")
    seen: list[int] = []
    family.discriminator.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    list(family.updates(bits(16)))
    assert seen == [16] * 7  # target; encoder's x̃; decoder's x̃ and x_p; the discriminator's three


def test_terms_add_up() -> None:
    family = small(gamma=0.3)
    losses = dict(family.updates(bits(16)))
    torch.testing.assert_close(losses["encoder"]["loss"], losses["encoder"]["kl"] + losses["encoder"]["feature"])
    torch.testing.assert_close(
        losses["decoder"]["loss"], 0.3 * losses["decoder"]["feature"] + losses["decoder"]["game"]
    )


def test_it_learns_to_reconstruct_and_to_sample() -> None:
    """Two clusters in the plane: reconstructions stay in their cluster, and samples fall into both."""
    torch.manual_seed(0)
    centres = torch.tensor([[2.0, -1.0], [-2.0, 1.0]])

    def data(n: int) -> tuple[Tensor, Tensor]:
        cluster = torch.randint(2, (n,))
        return centres[cluster] + 0.3 * torch.randn(n, 2), cluster

    networks: dict[str, nn.Module] = {
        "encoder": MLPEncoder((2,), [32]),
        "decoder": MLPDecoder(2, (2,), [32]),
        "discriminator": MLPDiscriminator((2,), [32, 32], "none"),
    }
    config = VAEGANConfig(latent_dim=2, gamma=0.1, discriminator_norm="none")
    family = VAEGAN(config, Spec((2,), ("cell",), UnitGaussian()), networks)
    engine = Engine(family, RunConfig(steps=800, learning_rate=2e-3, schedule="linear", ema=0.99))
    for step in range(800):
        if step == 600:
            engine.collect()
        engine.step([batch_of(data(64)[0])])
    x, cluster = data(2000)
    with torch.no_grad(), engine.averaged():
        reconstructed, samples = family.reconstruct(x), family.sample(2000)
    in_first = (reconstructed @ centres[0] > 0) == (cluster == 0)
    assert float(in_first.float().mean()) > 0.98
    assert float((reconstructed - x).square().mean()) < 0.15  # the variance of x is 2.6
    assert 0.3 < float((samples @ centres[0] > 0).float().mean()) < 0.7
    torch.testing.assert_close(samples.std(0), x.std(0), atol=0, rtol=0.3)
    # In the last 200 steps the discriminator has not won: its loss is nearer to that of equal laws, 1.91, than to 0.
    assert 1.2 < engine.collect()["discriminator/loss"] < 2.1
