"""Conditional GAN: conditional batch normalisation, the projection, what is given comes back, who moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear import UnitGaussian
from torch import nn

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Decoder, Discriminator, Spec
from musegen.engine.engine import Engine
from musegen.errors import BadInput
from musegen.families.conditional_gan import ConditionalGAN, ConditionalGANConfig
from musegen.families.conditions import paste
from musegen.networks.layers import ConditionalBatchNorm, GivenDecoder, batch_norm
from musegen.networks.mlp import MLPDecoder, MLPDiscriminator, MLPEncoder
from musegen.running.config import RunConfig

CLASSES = ("a", "b", "c")


def small(
    shape: tuple[int, ...] = (6,), slabs: tuple[tuple[int, int, int], ...] = (), **options: Any
) -> ConditionalGAN:
    config = ConditionalGANConfig(**({"latent_dim": 3} | options))
    spec = Spec(shape, ("cell",), UnitGaussian(), CLASSES, slabs)
    networks: dict[str, nn.Module] = {}
    for name, wanted in ConditionalGAN.networks(config, spec).items():
        if name == "generator":
            assert isinstance(wanted, Decoder)
            n = wanted.n_code
            networks[name] = MLPDecoder(n * (1 + wanted.given), shape, [16], wanted.n_classes)
            if wanted.given:
                networks[name] = GivenDecoder(MLPEncoder(shape, [16]), networks[name], n)
        else:
            assert isinstance(wanted, Discriminator)
            networks[name] = MLPDiscriminator(shape, [16], wanted.norm)
    return ConditionalGAN(config, spec, networks)


def batch_of(n: int) -> Batch:
    return Batch(torch.randn(n, 6), torch.arange(n), torch.arange(n) % 3)


@pytest.mark.parametrize("shape", [(8, 5), (8, 5, 3), (8, 5, 3, 4)])
def test_with_equal_classes_it_is_batch_normalisation(shape: tuple[int, ...]) -> None:
    conditional, plain = ConditionalBatchNorm(5, 3), batch_norm(5)
    scale, shift = torch.rand(5), torch.randn(5)
    with torch.no_grad():
        plain.weight.copy_(scale)  # type: ignore[operator]
        plain.bias.copy_(shift)  # type: ignore[operator]
        conditional.scale.weight.copy_(scale.expand(3, 5))
        conditional.shift.weight.copy_(shift.expand(3, 5))
    x, label = torch.randn(shape), torch.arange(8) % 3
    torch.testing.assert_close(conditional(x, label), plain(x))
    conditional.eval(), plain.eval()
    torch.testing.assert_close(conditional(x, label), plain(x))


def test_each_class_has_its_own_scale_and_shift() -> None:
    layer = ConditionalBatchNorm(2, 2).eval()
    with torch.no_grad():
        layer.scale.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        layer.shift.weight.copy_(torch.tensor([[0.0, 0.0], [10.0, 20.0]]))
    found = layer(torch.ones(2, 2), torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 2.0], [13.0, 24.0]]), atol=1e-4, rtol=1e-4)


def test_the_projection_is_an_inner_product() -> None:
    """a(x, y) = v_yᵀ φ(x) + ψ(φ(x)) (1802.05637, eq. 4)."""
    gan = small().eval()
    x, label = torch.randn(5, 6), torch.tensor([0, 1, 2, 0, 1])
    features, plain = gan.discriminator(x)
    _, logit = gan.judge(x, label)
    by_hand = plain + torch.stack([gan.embedding.weight[c] @ f for c, f in zip(label, features, strict=True)])
    torch.testing.assert_close(logit, by_hand)


def test_every_layer_of_the_discriminator_is_spectrally_normalised() -> None:
    for head in ("projection", "auxiliary"):
        gan = small(head=head)
        for _ in range(40):
            gan.judge(torch.randn(4, 6), torch.arange(4) % 3)
            if head == "auxiliary":
                gan.classifier(torch.randn(4, 16))
        modules = [*gan.discriminator.modules(), gan.embedding if head == "projection" else gan.classifier]
        weights = [m.weight for m in modules if isinstance(m, (nn.Linear, nn.Embedding))]
        assert len(weights) == 3
        for weight in weights:
            assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=0.02)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.booleans(), min_size=6, max_size=6))
def test_pasting(mask: list[bool]) -> None:
    m = torch.tensor(mask)
    x, inside = torch.randn(3, 6), torch.randn(3, 6)
    found = paste(x, inside, m)
    assert torch.equal(found[:, m], inside[:, m])
    assert torch.equal(found[:, ~m], x[:, ~m])


def test_what_is_given_comes_back_and_the_rest_depends_on_it() -> None:
    gan = small(slabs=((0, 1, 4),), condition="given").eval()
    first, second = torch.randn(2, 6).unbind()
    with torch.no_grad():
        for x in (first, second):
            samples = gan.sample(7, given=x)
            assert torch.equal(samples[:, 1:4], x[1:4].expand(7, 3))
        torch.manual_seed(0)
        a = gan.sample(7, given=first)
        torch.manual_seed(0)
        b = gan.sample(7, given=second)
        assert not torch.allclose(a[:, [0, 4, 5]], b[:, [0, 4, 5]])
        torch.manual_seed(0)
        hidden = first.clone()
        hidden[[0, 4, 5]] += 5  # what is not given must not leak into the generator
        assert torch.equal(gan.sample(7, given=hidden), a)
    for wrong in (torch.zeros(7), torch.zeros(2, 6)):
        with pytest.raises(BadInput, match="What is given has the shape"):
            gan.sample(7, given=wrong)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"head": "auxiliary"},
        {"condition": "given"},
        {"loss": "wasserstein-gp"},
        {"condition": "given", "loss": "wasserstein-gp"},
    ],
    ids=str,
)
def test_only_the_yielded_player_moves_and_all_of_it(options: dict[str, Any]) -> None:
    gan = small(slabs=((0, 0, 2),), critic_steps=2, **options)
    gan.prepare(batch_of(4))
    engine = Engine(gan, RunConfig(steps=1, learning_rate=0.05))
    moved: list[tuple[str, set[str]]] = []
    move = engine._move

    def watched(player: str) -> None:
        before = {name: p.detach().clone() for name, p in gan.named_parameters()}
        move(player)
        moved.append((player, {n.split(".")[0] for n, p in gan.named_parameters() if not torch.equal(before[n], p)}))

    engine._move = watched  # type: ignore[method-assign]
    engine.step([batch_of(32)])
    assert [player for player, _ in moved] == ["discriminator", "discriminator", "generator"]
    for player, changed in moved:
        assert changed == set(gan.players[player].networks)


def test_the_auxiliary_head_learns_from_real_examples_in_the_discriminators_step() -> None:
    gan = small(head="auxiliary")
    (player, losses), *_ = gan.updates(batch_of(12))
    batch = batch_of(12)
    assert player == "discriminator"
    features, _ = gan.discriminator(batch.x)
    assert float(losses["class"].detach()) == pytest.approx(
        float(nn.functional.cross_entropy(gan.classifier(features), batch.label).detach()), abs=0.5
    )


@pytest.mark.parametrize("options", [{}, {"head": "auxiliary"}, {"condition": "given"}], ids=str)
def test_the_game_is_that_of_gan_with_its_options(options: dict[str, Any]) -> None:
    """What D minimises: the Wasserstein loss, λ times the penalty, and the auxiliary head's weight times its loss."""
    gan = small(slabs=((0, 0, 2),), loss="wasserstein-gp", gradient_penalty=3.0, auxiliary_weight=0.5, **options)
    player, losses = next(gan.updates(batch_of(12)))
    expected = -losses["wasserstein"] + 3 * losses["penalty"] + 0.5 * losses.get("class", torch.zeros(()))
    assert player == "discriminator"
    torch.testing.assert_close(losses["loss"], expected)
    assert float(losses["penalty"].detach()) > 0


def test_real_labels_are_softened_as_in_gan() -> None:
    """−(1 − s) log σ(a) − s log σ(−a) is s a above −log σ(a)."""
    with pytest.raises(BadInput, match="real_smoothing"):
        small(loss="hinge", real_smoothing=0.1)
    gan, batch, found = small(loss="non-saturating").eval(), batch_of(12), []
    for smoothing in (0.0, 0.4):
        gan.config = replace(gan.config, real_smoothing=smoothing)
        torch.manual_seed(0)
        found.append(next(gan.updates(batch))[1])
    torch.testing.assert_close(found[1]["loss"], found[0]["loss"] + 0.4 * found[0]["real_logit"])


def three_blobs(n: int) -> Batch:
    label = torch.randint(3, (n,))
    centres = torch.tensor([[2.0, 0.0], [-1.0, 2.0], [-1.0, -2.0]])
    return Batch(centres[label] + 0.3 * torch.randn(n, 2), torch.arange(n), label)


@pytest.mark.parametrize("head", ["projection", "auxiliary"])
def test_labels_reach_their_modes(head: Any) -> None:
    gan = small((2,), head=head)
    engine = Engine(gan, RunConfig(steps=900, learning_rate=3e-3, schedule="linear", ema=0.99))
    for _ in range(900):
        engine.step([three_blobs(96)])
    with torch.no_grad(), engine.averaged() as family:
        means = torch.stack([family.sample(200, label=torch.full((200,), c)).mean(0) for c in range(3)])
    torch.testing.assert_close(means, torch.tensor([[2.0, 0.0], [-1.0, 2.0], [-1.0, -2.0]]), atol=0.6, rtol=0)


def test_missing_conditions_are_refused() -> None:
    spec = Spec((6,), ("cell",), UnitGaussian())
    with pytest.raises(BadInput, match="needs classes"):
        ConditionalGAN.networks(ConditionalGANConfig(), spec)
    with pytest.raises(BadInput, match="option given"):
        ConditionalGAN.networks(ConditionalGANConfig(condition="given"), spec)


def test_the_mask_of_slabs() -> None:
    spec = Spec((2, 3), ("track", "step"), UnitGaussian(), given=((0, 1, 2), (1, 0, 1)))
    assert spec.given_mask().tolist() == [[True, False, False], [True, True, True]]
