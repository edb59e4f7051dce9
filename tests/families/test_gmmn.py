"""MMD against closed forms and loops; the two phases of the code space; learning a law without an adversary."""

from __future__ import annotations

import math
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
from musegen.families.gmmn import BANDWIDTHS, GMMN, GMMNConfig, mean_squared_distance, mmd_squared, root
from musegen.networks.mlp import MLPDecoder, MLPEncoder
from musegen.probability.likelihood import Bernoulli
from musegen.running.config import RunConfig


class NormalisedEncoder(MLPEncoder):
    """With batch statistics, as convolutional encoders have."""

    def __init__(self, n: int) -> None:
        super().__init__((n,), [8])
        self.layers.append(nn.BatchNorm1d(8))


def small_gmmn(**options: Any) -> GMMN:
    config = GMMNConfig(**({"latent_dim": 3, "code_dim": 4, "generator_widths": [8]} | options))
    networks: dict[str, nn.Module] = {"generator": MLPDecoder(3, (6,), [8])}
    if config.code_space:
        networks = {"encoder": NormalisedEncoder(6), "decoder": MLPDecoder(4, (6,), [8])}
    return GMMN(config, Spec((6,), ("cell",), Bernoulli()), networks)


def batch_of(n: int) -> Batch:
    return Batch((torch.rand(n, 6) < 0.5).float(), torch.arange(n))


def expected_kernel(mean_a: Tensor, var_a: float, mean_b: Tensor, var_b: float, bandwidths: list[float]) -> float:
    """E k(a, b) for independent a ~ N(μ_a, v_a I), b ~ N(μ_b, v_b I) in n dimensions.

    a − b ~ N(μ, v I) with μ = μ_a − μ_b, v = v_a + v_b. With the kernel exp(−‖a − b‖² / 2σ), proportional to the density
    at 0 of N(a − b, σ I), the expectation is a convolution of Gaussians: (σ / (σ + v))^{n/2} exp(−‖μ‖² / 2(σ + v)).
    """
    n, squares, v = len(mean_a), float((mean_a - mean_b).square().sum()), var_a + var_b
    return sum((s / (s + v)) ** (n / 2) * math.exp(-squares / (2 * (s + v))) for s in bandwidths)


def expected_mmd_squared(
    p: tuple[Tensor, float], q: tuple[Tensor, float], bandwidths: list[float], n: float, m: float
) -> float:
    """Of the V-statistic with n and m draws: the terms i = i' are k(x, x) = number of kernels, not E k(x, x')."""
    within = [
        len(bandwidths) / count + (1 - 1 / count) * expected_kernel(*law, *law, bandwidths)
        for law, count in ((p, n), (q, m))
    ]
    return sum(within) - 2 * expected_kernel(*p, *q, bandwidths)


@pytest.mark.parametrize("bandwidths", [[1.0], [0.2, 3.0, 20.0]])
@pytest.mark.parametrize(("n", "m"), [(40, 40), (30, 55)])
def test_two_gaussians_have_their_closed_form(bandwidths: list[float], n: int, m: int) -> None:
    p, q = (torch.tensor([0.5, -1.0, 0.0]), 1.0), (torch.tensor([0.0, 0.3, 0.2]), 0.49)
    draws = []
    for _ in range(1500):
        x, y = p[0] + torch.randn(n, 3), q[0] + 0.7 * torch.randn(m, 3)
        draws.append(mmd_squared(x, y, bandwidths))
    found = torch.stack(draws)
    standard_error = float(found.std()) / math.sqrt(len(found))
    expected = expected_mmd_squared(p, q, bandwidths, n, m)
    assert float(found.mean()) == pytest.approx(expected, abs=4 * standard_error)
    assert standard_error < 0.01 * expected  # so that agreeing says something


def test_large_samples_approach_the_population_value() -> None:
    p, q = (torch.zeros(2), 1.0), (torch.ones(2), 1.0)
    x, y = torch.randn(1500, 2), 1 + torch.randn(1500, 2)
    expected = expected_mmd_squared(p, q, [1.0], math.inf, math.inf)
    assert float(mmd_squared(x, y, [1.0])) == pytest.approx(expected, rel=0.08)


def test_equal_laws_have_an_mmd_of_zero_up_to_the_bias() -> None:
    law = (torch.zeros(2), 1.0)
    assert expected_mmd_squared(law, law, BANDWIDTHS, math.inf, math.inf) == pytest.approx(0, abs=1e-12)
    for n in (100, 1000):
        found = float(mmd_squared(torch.randn(n, 2), torch.randn(n, 2), BANDWIDTHS))
        assert 0 < found < 1.5 * expected_mmd_squared(law, law, BANDWIDTHS, n, n)
    x = torch.randn(100, 5)
    assert float(mmd_squared(x, x[torch.randperm(100)], BANDWIDTHS)) == pytest.approx(0, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10_000))
def test_it_is_the_double_sum(n: int, m: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(k, 3, generator=generator, dtype=torch.float64) for k in (n, m))
    bandwidths = [0.5, 2.0]

    def k(a: Tensor, b: Tensor) -> float:
        return sum(math.exp(-float((a - b).square().sum()) / (2 * s)) for s in bandwidths)

    by_hand = (
        sum(k(a, b) for a in x for b in x) / n**2
        - 2 * sum(k(a, b) for a in x for b in y) / (n * m)
        + sum(k(a, b) for a in y for b in y) / m**2
    )
    found = mmd_squared(x, y, bandwidths)
    assert float(found) == pytest.approx(by_hand, abs=1e-12)
    torch.testing.assert_close(mmd_squared(y, x, bandwidths), found)
    torch.testing.assert_close(mmd_squared(x + 7, y + 7, bandwidths), found)
    torch.testing.assert_close(mmd_squared(3 * x, 3 * y, bandwidths, unit=9.0), found)


def test_the_gradient_is_that_of_the_paper() -> None:
    """∂MMD²/∂x̃_j = 2/M² Σ_j' k(x̃_j, x̃_j')(x̃_j' − x̃_j)/σ − 2/NM Σ_i k(x̃_j, x_i)(x_i − x̃_j)/σ (section 3.1)."""
    sigma, x = 1.7, torch.randn(7, 3, dtype=torch.float64)
    made = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(mmd_squared(x, made, [sigma]), made)
    with torch.no_grad():
        own, data = made[None] - made[:, None], x[None] - made[:, None]  # (5, 5, 3), (5, 7, 3): other − x̃_j
        weight = lambda d: torch.exp(-d.square().sum(-1, keepdim=True) / (2 * sigma)) / sigma  # noqa: E731
        expected = 2 / 25 * (weight(own) * own).sum(1) - 2 / 35 * (weight(data) * data).sum(1)
    torch.testing.assert_close(found, expected)


def test_the_gradient_at_zero_is_finite() -> None:
    x = torch.randn(20, 4)
    made = x.clone().requires_grad_()
    loss = root(mmd_squared(x, made, BANDWIDTHS))
    assert float(loss.detach()) < 2e-3
    (gradient,) = torch.autograd.grad(loss, made)
    assert gradient.isfinite().all()
    assert float(gradient.abs().max()) < 1
    zero = torch.zeros((), requires_grad=True)
    (slope,) = torch.autograd.grad(root(zero), zero)
    assert slope.isfinite()


def test_the_root_does_not_fade_near_the_optimum() -> None:
    """Section 3.3: for a shift δ → 0 the slope of MMD² vanishes, that of its root does not."""
    x = torch.randn(200, 2, dtype=torch.float64)
    slopes: dict[str, list[float]] = {"squared": [], "root": []}
    for shift in (1e-1, 1e-2):
        delta = torch.tensor(shift, dtype=torch.float64, requires_grad=True)
        squared = mmd_squared(x, x + delta, [1.0])
        for name, loss in (("squared", squared), ("root", root(squared))):
            slopes[name].append(float(torch.autograd.grad(loss, delta, retain_graph=True)[0]))
    assert slopes["squared"][1] / slopes["squared"][0] == pytest.approx(0.1, rel=0.02)
    assert slopes["root"][1] / slopes["root"][0] == pytest.approx(1, rel=0.02)


def test_half_precision_around_it_does_not_reach_it() -> None:
    x, y = 5 + torch.randn(50, 30), 5 + torch.randn(50, 30)
    with torch.autocast("cpu", torch.bfloat16):
        found = mmd_squared(x, y, [30.0])
    torch.testing.assert_close(found, mmd_squared(x, y, [30.0]))
    rounded = mmd_squared(x.bfloat16(), y.bfloat16(), [30.0])
    assert rounded.dtype == torch.float32


def test_bandwidths_in_units_of_the_data_do_not_depend_on_its_scale() -> None:
    x = torch.randn(9, 3)
    by_hand = sum(float((a - b).square().sum()) for a in x for b in x) / 81
    assert float(mean_squared_distance(x)) == pytest.approx(by_hand, rel=1e-5)
    losses = []
    for unit, bandwidths in (("data", [0.5]), ("absolute", [0.5 * by_hand]), ("absolute", [0.5])):
        gmmn = GMMN(
            GMMNConfig(latent_dim=2, bandwidths=bandwidths, bandwidth_unit=unit),  # type: ignore[arg-type]
            Spec((3,), ("cell",), UnitGaussian()),
            {"generator": MLPDecoder(2, (3,), [4])},
        )
        torch.manual_seed(3)
        for p in gmmn.parameters():
            nn.init.normal_(p)
        losses.append(dict(gmmn.updates(Batch(x, torch.arange(9))))["generator"]["loss"])
    torch.testing.assert_close(losses[0], losses[1])
    assert not torch.allclose(losses[0], losses[2])


def test_one_example_or_many_alike_give_numbers() -> None:
    for x in (torch.zeros(1, 6), torch.ones(8, 6)):
        gmmn = small_gmmn()
        for training in (True, False):
            losses = dict(gmmn.train(training).updates(Batch(x, torch.arange(len(x)))))["generator"]
            assert all(value.isfinite() for value in losses.values())
        gradients = torch.autograd.grad(losses["loss"], gmmn.parameters_of("generator"))
        assert all(g.isfinite().all() for g in gradients)


def test_noise_is_uniform_between_minus_one_and_one() -> None:
    h = small_gmmn().noise(5000)
    assert h.shape == (5000, 3)
    assert -1 <= float(h.min()) < -0.99
    assert 0.99 < float(h.max()) <= 1
    torch.testing.assert_close(h.var(0), torch.full((3,), 1 / 3), atol=0.02, rtol=0)


def test_the_autoencoder_learns_first_and_then_stands_still() -> None:
    gmmn = small_gmmn(code_space=True, pretraining_steps=3)
    engine = Engine(gmmn, RunConfig(steps=6, learning_rate=0.01))
    moved = []
    for _ in range(6):
        before = {name: t.clone() for name, t in gmmn.state_dict().items()}  # batch statistics too
        engine.step([batch_of(16)])
        moved.append({n.split(".")[0] for n, t in gmmn.state_dict().items() if not torch.equal(before[n], t)})
    assert moved == [{"encoder", "code", "decoder"}] * 3 + [{"generator"}] * 3


def test_validation_in_between_does_not_thaw_the_autoencoder() -> None:
    gmmn = small_gmmn(code_space=True, pretraining_steps=1)
    engine = Engine(gmmn, RunConfig(steps=9, learning_rate=0.01))
    engine.step([batch_of(16)])
    before = {n: t.clone() for n, t in gmmn.state_dict().items() if not n.startswith("generator")}
    engine.evaluate([batch_of(16)])
    engine.step([batch_of(16)])
    assert all(torch.equal(before[n], gmmn.state_dict()[n]) for n in before)


def test_dropout_acts_in_pretraining_alone() -> None:
    gmmn = small_gmmn(code_space=True, pretraining_steps=2, dropout=0.5)
    x = batch_of(16).x

    def codes_differ() -> bool:
        return not torch.equal(gmmn.encode(x), gmmn.encode(x))

    next(gmmn.updates(batch_of(16)))
    assert codes_differ()
    gmmn.step = 2
    next(gmmn.updates(batch_of(16)))
    assert not codes_differ()


def test_codes_and_generated_codes_are_between_zero_and_one() -> None:
    gmmn = small_gmmn(code_space=True)
    for codes in (gmmn.encode(batch_of(16).x), gmmn.generate_code(10 * gmmn.noise(16))):
        assert codes.shape == (16, 4)
        assert ((codes > 0) & (codes < 1)).all()


@pytest.mark.parametrize("step", [0, 5])
def test_evaluation_reports_both_players_and_the_same_discrepancy_in_either_phase(step: int) -> None:
    gmmn = small_gmmn(code_space=True, pretraining_steps=3, bandwidths=[7.0], bandwidth_unit="absolute").eval()
    gmmn.step = step
    batch = batch_of(16)
    torch.manual_seed(2)
    losses = dict(gmmn.updates(batch))
    assert list(losses) == ["autoencoder", "generator"]
    reconstruction = -gmmn.likelihood.log_prob(gmmn.decoder(gmmn.encode(batch.x)), batch.x).mean()
    torch.testing.assert_close(losses["autoencoder"]["loss"], reconstruction)
    torch.manual_seed(2)
    made = gmmn.sample(16)
    unit = mean_squared_distance(batch.x)
    torch.testing.assert_close(losses["generator"]["mmd"], root(mmd_squared(batch.x, made, BANDWIDTHS, unit)))
    torch.manual_seed(2)
    codes = gmmn.generate_code(gmmn.noise(16))
    torch.testing.assert_close(losses["generator"]["loss"], root(mmd_squared(gmmn.encode(batch.x), codes, [7.0])))


def test_the_graph_of_the_code_space_agrees_with_its_networks() -> None:
    gmmn = small_gmmn(code_space=True)
    learning = {n for n, module in gmmn.named_children() if list(module.parameters())}
    players = {player: entry.networks for player, entry in gmmn.players.items()}
    GMMN.graph(gmmn.config).check(learning, players)
    assert {n for networks in players.values() for n in networks} == learning


def test_options_that_will_not_do_are_refused() -> None:
    for bad in ([], [1.0, 0.0], [-1.0], [float("nan")]):
        with pytest.raises(BadInput, match="bandwidths"):
            GMMNConfig(bandwidths=bad)
    with pytest.raises(BadInput, match="generator_widths"):
        GMMNConfig(generator_widths=[0])
    with pytest.raises(TypeError, match="gmmn has no encoder"):
        small_gmmn().encode(torch.zeros(1, 6))


def test_a_gmmn_learns_a_distribution() -> None:
    """A skew law of two dimensions: mean, spread and correlation, without an adversary."""
    mix, mean = torch.tensor([[1.0, 0.8], [0.0, 0.6]]), torch.tensor([1.0, -2.0])
    gmmn = GMMN(
        GMMNConfig(latent_dim=2), Spec((2,), ("cell",), UnitGaussian()), {"generator": MLPDecoder(2, (2,), [32])}
    )
    engine = Engine(gmmn, RunConfig(steps=400, learning_rate=1e-2, schedule="cosine"))
    for _ in range(400):
        engine.step([Batch(mean + torch.randn(100, 2) @ mix, torch.arange(100))])
    with torch.no_grad():
        x = gmmn.sample(5000)
    torch.testing.assert_close(x.mean(0), mean, atol=0.1, rtol=0)
    torch.testing.assert_close(x.T.cov(), mix.T @ mix, atol=0.2, rtol=0)


def test_in_the_code_space_it_learns_the_codes_and_so_the_data() -> None:
    """Two prototypes of 6 cells with unequal shares: samples show both, in their shares, and nothing in between."""
    prototypes = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    gmmn = small_gmmn(code_space=True, pretraining_steps=200, dropout=0.0, generator_widths=[64])
    engine = Engine(gmmn, RunConfig(steps=800, learning_rate=2e-2, schedule="cosine"))
    for _ in range(800):
        x = prototypes[(torch.rand(100) < 0.3).long()]
        engine.step([Batch(x, torch.arange(100))])
    with torch.no_grad():
        made = gmmn.eval().sample(2000)
    distance = torch.cdist(made, prototypes)
    assert float((distance.min(1).values < 0.3).float().mean()) > 0.9
    assert float((distance.argmin(1) == 1).float().mean()) == pytest.approx(0.3, abs=0.07)
