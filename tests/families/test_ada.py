"""Adversarial domain adaptation: the reversal layer, every gradient's sign, who moves when, and that labels stay unread."""

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
from musegen.contracts.domain import Spec
from musegen.engine.engine import Engine
from musegen.errors import BadInput
from musegen.families.ada import ADA, ADAConfig, instance_normalised, reverse_gradient
from musegen.networks.mlp import MLPEncoder
from musegen.running.config import RunConfig

K = 3
METHODS = ("dann", "adda")


def small_ada(**options: Any) -> ADA:
    config = ADAConfig(**({"discriminator_widths": [8]} | options))
    spec = Spec((2,), ("coordinate",), UnitGaussian(), tuple("abc"))
    networks: dict[str, nn.Module] = {name: MLPEncoder((2,), [16, 8]) for name in ADA.networks(config, spec)}
    return ADA(config, spec, networks)


def blobs(n: int, angle: float = 0.0, shift: tuple[float, float] = (0.0, 0.0), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three Gaussian blobs on a line, turned about the origin and moved: ``(n, 2)`` and classes ``(n,)``."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, K, (n,), generator=generator)
    x = torch.stack([3.0 * (label - 1), torch.zeros(n)], 1) + 0.5 * torch.randn(n, 2, generator=generator)
    rotation = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return x @ rotation + torch.tensor(shift), label


def source_and_target(n: int = 24, target_label: bool = True) -> Batch:
    """A batch of the source, with one of the target beside it."""
    (x, y), (x_t, y_t) = blobs(n), blobs(n, 0.7, (0.5, 1.0), seed=1)
    target = Batch(x_t, torch.arange(n), y_t if target_label else None)
    return Batch(x, torch.arange(n), y, {"target": target})


def gradients(loss: Tensor, module: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(module.parameters()), retain_graph=True))


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 5), st.integers(0, 1000))
def test_the_reversal_layer_is_the_identity_forward_and_minus_lambda_backward(weight: float, seed: int) -> None:
    """1505.07818, eqs. 16–17."""
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed), requires_grad=True)
    y = reverse_gradient(x, weight)
    assert torch.equal(y, x)
    upstream = torch.randn(4, 3)
    (gradient,) = torch.autograd.grad(y, x, upstream)
    torch.testing.assert_close(gradient, -weight * upstream)


def test_the_ramp_by_hand() -> None:
    """λ_p = 2 / (1 + e^{−10 p}) − 1 times the weight (1505.07818, section 5.2.2): 0 at first, and it stays at its end."""
    ada = small_ada(weight=0.5, ramp_steps=100)
    seen = []
    for ada.step in (0, 10, 50, 100, 100_000):
        seen.append(ada.reversal_weight)
    by_hand = [0.0, 0.5 * 0.46211716, 0.5 * 0.98661430, 0.5 * 0.99990920, 0.5 * 0.99990920]
    assert seen == pytest.approx(by_hand, abs=1e-7)


@pytest.mark.parametrize("step", [0, 3, 50])
def test_dann_gradients_are_those_of_the_saddle_point(step: int) -> None:
    """Features descend class − λ · domain loss, the discriminator descends the domain loss, the classifier its own."""
    ada = small_ada(weight=0.8, ramp_steps=10)
    ada.step = step
    batch = source_and_target()
    ((player, losses),) = ada.updates(batch)
    assert player == "adaptation"
    assert set(ada.players[player].networks) == {"encoder", "classifier", "discriminator"}

    f_s, f_t = ada.encoder(batch.x), ada.encoder(batch.auxiliary["target"].x)
    a_s, a_t = ada.discriminator(f_s)[1], ada.discriminator(f_t)[1]
    domain = F.binary_cross_entropy_with_logits(a_s, torch.ones(24)) + F.binary_cross_entropy_with_logits(
        a_t, torch.zeros(24)
    )
    label = F.cross_entropy(ada.classifier(f_s), batch.label)
    torch.testing.assert_close(losses["class"], label)
    torch.testing.assert_close(losses["domain"], domain)
    expected = {
        "encoder": label - ada.reversal_weight * domain,
        "discriminator": domain,
        "classifier": label,
    }
    for name, loss in expected.items():
        module = ada.get_submodule(name)
        for ours, theirs in zip(gradients(losses["loss"], module), gradients(loss, module), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
    if step:
        assert max(float(g.abs().max()) for g in gradients(domain, ada.encoder)) > 1e-3  # so that its sign shows


def watched(engine: Engine) -> list[tuple[str, set[str]]]:
    """Fills with (player, networks that changed) as the engine moves."""
    moved: list[tuple[str, set[str]]] = []
    move, family = engine._move, engine.family

    def watching(player: str) -> None:
        before = {name: p.detach().clone() for name, p in family.named_parameters()}
        move(player)
        changed = {name.split(".")[0] for name, p in family.named_parameters() if not torch.equal(before[name], p)}
        moved.append((player, changed))

    engine._move = watching  # type: ignore[method-assign]
    return moved


def test_dann_moves_everything_at_once() -> None:
    ada = small_ada(ramp_steps=1)
    engine = Engine(ada, RunConfig(steps=1, learning_rate=0.01))
    moved = watched(engine)
    engine.step([source_and_target()])
    assert moved == [("adaptation", {"encoder", "classifier", "discriminator"})]


def test_adda_first_learns_on_the_source_then_copies_then_adapts() -> None:
    ada = small_ada(method="adda", pretraining_steps=2)
    engine = Engine(ada, RunConfig(steps=4, learning_rate=0.01))
    moved = watched(engine)
    copies: list[bool] = []
    updates = ada.adda

    def copying(source: Batch, target: Batch) -> Any:
        for i, update in enumerate(updates(source, target)):
            if i == 0:  # before anybody moves
                own, theirs = ada.encoder.state_dict(), ada.target_encoder.state_dict()
                copies.append(all(torch.equal(own[name], theirs[name]) for name in own))
            yield update

    ada.adda = copying  # type: ignore[method-assign]
    for _ in range(4):
        engine.step([source_and_target()])
    adapting = [("discriminator", {"discriminator"}), ("target_encoder", {"target_encoder"})]
    assert moved == [("classifier", {"encoder", "classifier"})] * 2 + adapting * 2
    assert copies == [False, False, True, False]  # exact at the step after pretraining, and only then


def test_adda_losses_by_hand_and_their_signs() -> None:
    """Source is 1 and target is 0 for the discriminator; the target encoder asks for 1 (1702.05464, eqs. 7–8)."""
    ada = small_ada(method="adda", pretraining_steps=1)
    ada.step = 7
    batch = source_and_target()
    target = batch.auxiliary["target"].x

    def logits() -> tuple[Tensor, Tensor]:
        return ada.discriminator(ada.encoder(batch.x))[1], ada.discriminator(ada.target_encoder(target))[1]

    def gap() -> float:
        with torch.no_grad():
            a_s, a_t = logits()
            return float(a_s.mean() - a_t.mean())

    updates = ada.updates(batch)
    for player, sign in (("discriminator", 1), ("target_encoder", -1)):
        (yielded, losses), (a_s, a_t) = next(updates), logits()
        assert yielded == player
        by_hand = {
            "discriminator": -(a_s.sigmoid().log() + (1 - a_t.sigmoid()).log()).mean(),
            "target_encoder": -a_t.sigmoid().log().mean(),
        }
        torch.testing.assert_close(losses["loss"], by_hand[player])
        before, parameters = gap(), ada.parameters_of(player)
        found = torch.autograd.grad(losses["loss"], parameters)
        with torch.no_grad():
            for p, g in zip(parameters, found, strict=True):
                p -= 0.1 * g
        # The discriminator tells source from target by more than before; the target's encoder closes the gap again.
        assert sign * (gap() - before) > 1e-4


def test_under_a_moving_average_the_target_begins_as_the_copy() -> None:
    """Nothing is left in the average of the random encoder that the copy took the place of."""
    ada = small_ada(method="adda", pretraining_steps=3)
    engine = Engine(ada, RunConfig(steps=5, learning_rate=1e-9, ema=0.99))
    for step in range(5):
        engine.step([source_and_target()])
        assert engine.average is not None
        average, own = engine.average, ada.state_dict()
        theirs = [name for name in own if name.startswith("target_encoder.")]
        same = [torch.allclose(average[name], own[name.removeprefix("target_")], atol=1e-6) for name in theirs]
        assert all(same) == (step >= 3)
    assert ada.begun_anew == ()


def test_the_terms_of_other_papers_by_hand() -> None:
    """The entropy of the target's classes, and D of products of features and class probabilities."""
    plain, ada = small_ada(ramp_steps=1), small_ada(ramp_steps=1, conditional=True, entropy=0.3)
    for name in ("encoder", "classifier"):
        ada.get_submodule(name).load_state_dict(plain.get_submodule(name).state_dict())
    plain.step = ada.step = 3
    batch = source_and_target()
    ((_, losses),) = ada.updates(batch)
    f_s, f_t = ada.encoder(batch.x), ada.encoder(batch.auxiliary["target"].x)
    p_s, p_t = (ada.classifier(f).softmax(1) for f in (f_s, f_t))
    a_s, a_t = (
        ada.discriminator(torch.stack([torch.outer(a, b).flatten() for a, b in zip(f, p, strict=True)]))[1]
        for f, p in ((f_s, p_s), (f_t, p_t))
    )
    domain = -(a_s.sigmoid().log() + (1 - a_t.sigmoid()).log()).mean()
    entropy = torch.distributions.Categorical(p_t).entropy().mean()
    torch.testing.assert_close(losses["domain"], domain, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(losses["entropy"], entropy)
    torch.testing.assert_close(losses["loss"], losses["class"] + domain + 0.3 * entropy, atol=1e-5, rtol=1e-4)


def test_the_change_that_classes_mind_most_is_across_the_boundary() -> None:
    """Of linear logits ±w·x, KL(p ‖ p(x + r)) over ‖r‖ = ε is largest along w: the power method finds that direction."""
    ada = small_ada(consistency=1.0, radius=0.5)
    w = torch.tensor([3.0, 1.0])
    ada.encoder = nn.Identity()
    ada.classifier = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        ada.classifier.weight.copy_(torch.stack([w, -w]) / 2)
    x = torch.tensor([[0.4, -0.2], [-1.0, 2.0], [0.1, 0.1]])
    found = ada.change(x, ada.classifier(x))

    def kl(r: Tensor) -> Tensor:
        p, q = ((t @ w)[:, None] * torch.tensor([0.5, -0.5]) for t in (x, x + r))
        return (p.softmax(1) * (p.log_softmax(1) - q.log_softmax(1))).sum(1)

    along = 0.5 * w / w.norm()
    angles = torch.linspace(0, 2 * math.pi, 361)
    around = [kl(0.5 * torch.stack([a.cos(), a.sin()])) for a in angles]
    largest, across = torch.stack(around).max(0).values.mean(), torch.minimum(kl(along), kl(-along)).mean()
    assert float(across) - 1e-3 < float(found.detach()) < float(largest) + 1e-3
    assert float(across) > 1.5 * float(torch.stack(around).mean())


@settings(deadline=None, max_examples=30)
@given(
    st.floats(0.1, 5), st.floats(-3, 3), st.integers(0, 1000), st.sampled_from([(4, 50), (4, 1, 7, 6), (4, 3, 5, 5)])
)
def test_brightness_and_contrast_are_not_seen(scale: float, shift: float, seed: int, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    found = instance_normalised(x)
    cells = found.flatten(2) if len(shape) > 2 else found
    torch.testing.assert_close(cells.mean(-1), torch.zeros_like(cells.mean(-1)), atol=1e-5, rtol=0)
    torch.testing.assert_close(cells.var(-1, correction=0), torch.ones_like(cells.mean(-1)), atol=1e-3, rtol=0)
    torch.testing.assert_close(instance_normalised(scale * x + shift), found, atol=2e-2, rtol=0)
    torch.testing.assert_close(instance_normalised(1 - x), -found, atol=1e-4, rtol=0)  # a negative


def test_half_of_the_source_is_shown_as_negatives_in_training_alone() -> None:
    ada = small_ada(instance_norm=True, source_flip=True)
    x = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    shown = instance_normalised(ada.shown(x))
    same, negative = ((shown - sign * instance_normalised(x)).abs().amax(1) < 1e-3 for sign in (1, -1))
    assert bool((same | negative).all())
    assert 900 < int(negative.sum()) < 1100
    ada.eval()
    assert torch.equal(ada.shown(x), x)
    with pytest.raises(BadInput, match="source_flip=True needs instance_norm=True"):
        ADAConfig(source_flip=True)


@pytest.mark.parametrize("method", METHODS)
def test_every_network_sees_normalised_examples(method: str) -> None:
    """Losses and classes are the same if both domains are brighter and of other contrast."""
    ada = small_ada(method=method, instance_norm=True, pretraining_steps=1)
    ada.step = 5
    batch, brighter = source_and_target(), source_and_target()
    target = brighter.auxiliary["target"]
    brighter = replace(brighter, x=3 * batch.x + 1, auxiliary={"target": replace(target, x=0.5 * target.x - 2)})
    for (_, one), (_, other) in zip(ada.updates(batch), ada.updates(brighter), strict=True):
        torch.testing.assert_close(one["loss"], other["loss"], atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(ada.classify(batch.x), ada.classify(3 * batch.x + 1), atol=1e-2, rtol=1e-2)


def test_terms_of_dann_are_refused_with_adda() -> None:
    with pytest.raises(BadInput, match=r"consistency=1\.0 is a term of method=dann"):
        ADAConfig(method="adda", consistency=1.0)


@pytest.mark.parametrize("step", [0, 2, 9])
@pytest.mark.parametrize("method", METHODS)
def test_labels_of_the_target_are_not_read_in_training(method: str, step: int) -> None:
    ada = small_ada(method=method, pretraining_steps=2, ramp_steps=5)
    state = {name: t.clone() for name, t in ada.state_dict().items()}
    shown = source_and_target()
    shown_wrong = replace(shown.auxiliary["target"], label=torch.full((24,), 10_000))  # no class at all
    seen = []
    for batch in (shown, source_and_target(target_label=False), replace(shown, auxiliary={"target": shown_wrong})):
        ada.load_state_dict(state)
        ada.step = step
        seen.append(
            [(player, {n: float(v.detach()) for n, v in losses.items()}) for player, losses in ada.updates(batch)]
        )
    assert seen[0] == seen[1] == seen[2]
    assert not any("target_error" in losses for _, losses in seen[0])


@pytest.mark.parametrize("method", METHODS)
def test_validation_reports_the_errors_of_both_and_copies_nothing(method: str) -> None:
    ada = small_ada(method=method, pretraining_steps=2).eval()
    ada.step = 2
    before = {name: t.clone() for name, t in ada.state_dict().items()}
    batch = source_and_target()
    reported = {name: float(v.detach()) for _, losses in ada.updates(batch) for name, v in losses.items()}
    target = batch.auxiliary["target"]
    f_t = (ada.encoder if method == "dann" else ada.target_encoder)(target.x)
    assert reported["target_error"] == pytest.approx(
        float((ada.classifier(f_t).argmax(1) != target.label).float().mean())
    )
    f_s = ada.encoder(batch.x)
    assert reported["source_error"] == pytest.approx(
        float((ada.classifier(f_s).argmax(1) != batch.label).float().mean())
    )
    assert all(torch.equal(before[name], t) for name, t in ada.state_dict().items())


def test_batch_normalisation_keeps_the_statistics_of_the_target() -> None:
    """Training normalises each domain by its own batch; what evaluation finds is the target's, not a mixture."""
    ada = small_ada()
    norm = nn.BatchNorm1d(2, momentum=0.1)
    ada.encoder = nn.Sequential(norm, ada.encoder)
    batch = source_and_target()
    target = batch.auxiliary["target"].x
    ada.train()
    list(ada.updates(batch))
    torch.testing.assert_close(norm.running_mean, 0.1 * target.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * target.var(0))
    assert norm.training
    assert norm.track_running_stats
    # In evaluation the source still counts by its own batch, and the target by what was remembered.
    ada.eval()
    shifted = Batch(batch.x + 100, batch.index, batch.label, batch.auxiliary)
    (_, here), (_, there) = (next(iter(ada.updates(b))) for b in (batch, shifted))
    torch.testing.assert_close(here["class"], there["class"], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(norm.running_mean, 0.1 * target.mean(0))
    assert not norm.training


def test_data_without_classes_are_refused() -> None:
    with pytest.raises(BadInput, match="no classes"):
        ADA.networks(ADAConfig(), Spec((2,), ("coordinate",), UnitGaussian()))


SHIFT = (0.2, (1.4, 2.5))
"""The target's blobs of the toy problem: no two of them touch, and a boundary of the source runs through each."""


def accuracy(steps: int, rate: float, **options: Any) -> float:
    """On new examples of the target, after training on batches of 64 whose target shows no labels."""
    torch.manual_seed(0)
    ada = small_ada(discriminator_widths=[32], **options)
    engine = Engine(ada, RunConfig(steps=steps, learning_rate=rate, ema=0.99))
    for i in range(steps):
        (x, y), (x_t, _) = blobs(64, seed=2 * i), blobs(64, *SHIFT, seed=2 * i + 1)
        engine.step([Batch(x, torch.arange(64), y, {"target": Batch(x_t, torch.arange(64))})])
    x, y = blobs(2000, *SHIFT, seed=10**6)
    with torch.no_grad(), engine.averaged() as family:
        return float((family.classify(x).argmax(1) == y).float().mean())


def test_both_methods_beat_the_source_alone() -> None:
    """Three blobs that are turned and moved: a classifier of the source is carried over to them."""
    assert accuracy(300, 5e-3, weight=0.0) < 0.8
    assert accuracy(600, 5e-3, ramp_steps=400) > 0.9
    assert accuracy(800, 1e-3, method="adda", pretraining_steps=300) > 0.9
