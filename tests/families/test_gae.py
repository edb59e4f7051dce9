"""The Generative Auto Encoder: EM against numerical integration, the E-step by hand, the memory."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear import Identity
from torch import Tensor, nn

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.engine.engine import Engine
from musegen.families.gae import (
    GAE,
    SIGMA_MIN,
    GAEConfig,
    e_step,
    log_mixture,
    pairwise_log_density,
    pairwise_log_likelihood,
    regulariser,
)
from musegen.networks.mlp import MLPDecoder, MLPEncoder
from musegen.probability.latent import DiagonalGaussian
from musegen.probability.likelihood import Bernoulli, Categorical, Gaussian, Likelihood
from musegen.running.config import RunConfig

N_X = 6
TWO = torch.tensor([[1.0, 1, 1, 0, 0, 1], [0, 1, 0, 1, 0, 0]])
"""The two-point data set."""


SLIDES: dict[str, Any] = {
    "method": "components",
    "lambda_mean": 0.1,
    "lambda_variance": 0.1,
    "memory_components": 0,
}


def small_gae(n_code: int = 2, **options: Any) -> GAE:
    torch.manual_seed(0)
    config = GAEConfig(**(SLIDES | {"latent_dim": n_code, "memory": 8, "warmup_steps": 0} | options))
    networks: dict[str, nn.Module] = {
        "encoder": MLPEncoder((N_X,), [8]),
        "decoder": MLPDecoder(n_code, (N_X,), [8]),
    }
    return GAE(config, Spec((N_X,), ("cell",), Bernoulli()), networks)


def batch_of(x: Tensor, first: int = 0) -> Batch:
    return Batch(x, torch.arange(first, first + len(x)))


def random_x(n: int) -> Tensor:
    return (torch.rand(n, N_X) < 0.5).float()


def exact_objective(gae: GAE, x: Tensor) -> Tensor:
    """(1/n) L of a one-dimensional code, integrated on a fine grid: nothing of the family's E-step is used."""
    q = gae.q(x)
    grid = torch.linspace(-8, 8, 4001, dtype=x.dtype)[:, None]
    log_pz = torch.stack(
        [
            -0.5 * ((grid[:, 0] - m) ** 2 / v.exp() + v + math.log(2 * math.pi))
            for m, v in zip(q.mean[:, 0], q.log_var[:, 0], strict=True)
        ]
    )
    params = gae.decoder(grid)
    log_px = torch.stack([gae.likelihood.log_prob(params, row.expand(len(grid), -1)) for row in x])
    # log ∫ P(x_i|z) P(z|x_j) dz by the trapezoidal rule, whose ends are 0 here: (n, n).
    integral = (log_px[:, None] + log_pz[None]).logsumexp(2) + math.log(16 / 4000)
    if gae.config.own_component == "leave-one-out":
        mixture = integral.masked_fill(torch.eye(len(x), dtype=torch.bool), -math.inf).logsumexp(1) - math.log(
            len(x) - 1
        )
    else:
        mixture = integral.logsumexp(1) - math.log(len(x))
    penalty = gae.config.lambda_mean * q.mean.square() - gae.config.lambda_variance * (1 + q.log_var - q.log_var.exp())
    return mixture.mean() - penalty.sum(1).mean()


@pytest.fixture
def quantiles(monkeypatch: pytest.MonkeyPatch) -> int:
    """ε becomes a quadrature: for a batch of two examples repeated S times, ε of copy s is the middle of the s-th of S
    equally likely intervals, for both. Returns S."""
    copies = 100
    middles = torch.special.ndtri((torch.arange(copies, dtype=torch.float64) + 0.5) / copies)
    real = torch.randn

    def fake(*shape: Any, **kwargs: Any) -> Tensor:
        if tuple(*shape) == (2 * copies, 1):
            return middles.repeat_interleave(2)[:, None].to(kwargs["dtype"])
        return real(*shape, **kwargs)

    monkeypatch.setattr(torch, "randn", fake)
    return copies


@pytest.mark.parametrize("own_component", ["leave-one-out", "include"])
def test_em_raises_the_exact_objective_on_two_points_monotonically(own_component: str, quantiles: int) -> None:
    """Several M-steps of small gradient steps; the objective is integrated numerically after each."""
    gae = small_gae(n_code=1, own_component=own_component, draws=0, lambda_mean=0.05, lambda_variance=0.05).double()
    x = TWO.double()
    batch = Batch(x.repeat(quantiles, 1), torch.arange(2).repeat(quantiles))
    found = []
    for _ in range(60):
        found.append(exact_objective(gae, x).item())
        ((player, losses),) = gae.updates(batch)
        parameters = gae.parameters_of(player)
        gradients = torch.autograd.grad(losses["loss"], parameters)
        with torch.no_grad():
            for p, g in zip(parameters, gradients, strict=True):
                p -= 0.05 * g
    rises = torch.tensor(found).diff()
    assert (rises > 0).all()
    assert found[-1] - found[0] > 0.5


@pytest.mark.parametrize("own_component", ["leave-one-out", "include"])
def test_the_m_step_gradient_is_the_gradient_of_the_exact_objective(own_component: str, quantiles: int) -> None:
    """Fisher's identity at the responsibilities just computed, R included."""
    gae = small_gae(n_code=1, own_component=own_component, draws=0).double()
    torch.manual_seed(2)  # codes some way apart, so that whose code explains what makes a difference
    for p in gae.parameters():
        nn.init.normal_(p, std=0.6)
    x = TWO.double()
    batch = Batch(x.repeat(quantiles, 1), torch.arange(2).repeat(quantiles))
    ((player, losses),) = gae.updates(batch)
    found = torch.autograd.grad(losses["loss"], gae.parameters_of(player))
    exact = torch.autograd.grad(-exact_objective(gae, x), gae.parameters_of(player))
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other, atol=5e-3, rtol=2e-2)
    assert max(float(g.norm()) for g in exact) > 0.1
    # And the reported terms are the objective's.
    total = (losses["nll"] + losses["penalty"]).item()
    assert total == pytest.approx(-exact_objective(gae, x).item(), abs=2e-3)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.booleans())
def test_a_higher_q_is_a_higher_objective_by_at_least_as_much(seed: int, leave_one_out: bool) -> None:
    """L' − L ≥ Q' − Q for any new log-likelihoods whatever, with equality of gradients: what EM rests on."""
    generator = torch.Generator().manual_seed(seed)
    old, new = 5 * torch.randn(2, 4, 4, generator=generator, dtype=torch.float64)
    left_out = torch.eye(4, dtype=torch.bool) & leave_one_out
    log_r, before = e_step(old, left_out)
    _, after = e_step(new, left_out)
    r = log_r.exp()
    assert ((after - before) - (r * new - r * old).sum(1) > -1e-9).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 6), st.integers(0, 10_000), st.floats(1, 3000))
def test_responsibilities_sum_to_one_in_log_space(n: int, seed: int, spread: float) -> None:
    """However far apart log-likelihoods are: hundreds of nats are common, and exp() of them is 0."""
    log_likelihood = -spread * torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) - 1000
    own = torch.eye(n, dtype=torch.bool)
    for left_out in (own, torch.zeros_like(own)):
        log_r, log_px = e_step(log_likelihood, left_out)
        torch.testing.assert_close(log_r.logsumexp(1), torch.zeros(n), atol=1e-3, rtol=0)
        assert (log_r[left_out] == -math.inf).all()
        assert log_px.isfinite().all()


def test_the_e_step_by_hand() -> None:
    p = torch.tensor([[0.5, 0.2, 0.1], [0.3, 0.9, 0.6]])
    left_out = torch.tensor([[True, False, False], [False, True, False]])
    log_r, log_px = e_step(p.log(), left_out)
    torch.testing.assert_close(log_r.exp(), torch.tensor([[0, 2 / 3, 1 / 3], [1 / 3, 0, 2 / 3]]))
    torch.testing.assert_close(log_px.exp(), torch.tensor([0.15, 0.45]))
    alone_r, alone_px = e_step(torch.tensor([[-7.0]]), torch.tensor([[True]]))  # nothing else could explain it
    assert (float(alone_r), float(alone_px)) == (0, -7)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(), Categorical(3)])
def test_pairwise_log_likelihoods(likelihood: Likelihood, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row i, column c is example i under component c, in whatever portions."""
    params, x = torch.randn(5, *likelihood.params_shape((2, 3))), torch.randint(0, 2, (4, 2, 3)).float()
    expected = torch.stack([torch.stack([likelihood.log_prob(p[None], row[None])[0] for p in params]) for row in x])
    for numbers in (1, 50, 10_000):
        monkeypatch.setattr("musegen.families.gae.PAIRWISE_NUMBERS", numbers)
        torch.testing.assert_close(pairwise_log_likelihood(likelihood, params, x), expected)


def test_the_regulariser_is_largest_at_the_standard_normal() -> None:
    mean, log_var = torch.zeros(3, 2, requires_grad=True), torch.zeros(3, 2, requires_grad=True)
    at_prior = regulariser(DiagonalGaussian(mean, log_var), 0.7, 0.3)
    torch.testing.assert_close(at_prior, torch.zeros(3))
    for gradient in torch.autograd.grad(at_prior.sum(), (mean, log_var)):
        torch.testing.assert_close(gradient, torch.zeros(3, 2))
    for m, v in ((0.5, 0.0), (-0.5, 0.0), (0.0, 0.6), (0.0, -0.6)):
        off = DiagonalGaussian(torch.full((1, 2), m), torch.full((1, 2), v))
        expected = -0.7 * 2 * m**2 + 0.3 * 2 * (1 + v - math.exp(v))
        assert float(regulariser(off, 0.7, 0.3)) == pytest.approx(expected)
        assert expected < 0
    q = DiagonalGaussian(torch.randn(4, 3), torch.randn(4, 3))
    torch.testing.assert_close(regulariser(q, 0.5, 0.5), -q.kl().sum(1))


def test_drawn_components_give_the_m_step_in_expectation() -> None:
    """Monte Carlo EM: the mean over draws of the loss is the loss over all components."""
    gae = small_gae()
    for p in gae.decoder.parameters():
        nn.init.normal_(p, std=0.7)
    x, z = random_x(5), torch.randn(7, 2)
    with torch.no_grad():
        params = gae.decoder(z)
        log_r, _ = e_step(pairwise_log_likelihood(gae.likelihood, params, x), torch.zeros(5, 7, dtype=torch.bool))
        found = {}
        for draws in (0, 20_000):
            object.__setattr__(gae.config, "draws", draws)
            found[draws] = gae.expected_log_likelihood(log_r.exp(), params, x)
    torch.testing.assert_close(found[20_000], found[0], atol=0.05, rtol=0)


def test_an_example_is_never_explained_by_its_own_code_unless_asked() -> None:
    """Codes and decoder that copy x: a stranger's code explains it badly, wherever it is offered."""

    class Copy(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return 20 * (2 * z - 1)

    x = torch.eye(4)
    nlls = {}
    for own_component in ("leave-one-out", "include"):
        more = {
            "latent_dim": 4,
            "own_component": own_component,
            "warmup_steps": 0,
            "memory": 8,
            "memory_components": 30,
        }
        config = GAEConfig(**(SLIDES | more))
        gae = GAE(config, Spec((4,), ("cell",), Bernoulli()), {"encoder": Identity(4), "decoder": Copy()})
        with torch.no_grad():
            gae.posterior.weight.copy_(torch.cat([torch.eye(4), torch.zeros(4, 4)]))
            gae.posterior.bias.copy_(torch.tensor([0.0] * 4 + [-20.0] * 4))
        for _ in range(2):  # the second time the memory offers everybody's own code again
            ((_, losses),) = gae.updates(batch_of(x))
        nlls[own_component] = float(losses["nll"])
    assert nlls["leave-one-out"] > nlls["include"] + 20


def test_warm_up_knows_y() -> None:
    """Until warmup_steps the only component of x_i is its own code: an autoencoder's loss plus the penalty."""
    gae, x = small_gae(warmup_steps=3), random_x(5)
    for step, alone in ((2, True), (3, False)):
        gae.step = step
        torch.manual_seed(1)
        ((_, losses),) = gae.updates(batch_of(x))
        torch.manual_seed(1)
        gae.recall(0)[0].rsample()  # the same draws
        reconstruction = -gae.likelihood.log_prob(gae.decoder(gae.q(x).rsample()), x).mean()
        assert torch.allclose(losses["nll"], reconstruction) == alone
        assert (losses["entropy"].item() < 1e-6) == alone
    torch.testing.assert_close(losses["penalty"], -regulariser(gae.q(x), 0.1, 0.1).mean())


def test_sigma_has_a_floor_that_lets_gradients_through() -> None:
    gae = small_gae()
    with torch.no_grad():
        gae.posterior.bias[2:] = -30.0
    q = gae.q(random_x(4))
    torch.testing.assert_close((0.5 * q.log_var).exp(), torch.full((4, 2), SIGMA_MIN), rtol=2e-3, atol=0)
    with torch.no_grad():
        gae.posterior.bias[2:] = 2 * math.log(SIGMA_MIN / 2)
    q = gae.q(random_x(4))
    assert q.log_var.min().item() > 2 * math.log(SIGMA_MIN)
    (gradient,) = torch.autograd.grad(q.log_var.sum(), gae.posterior.bias)
    assert (gradient[2:] > 0).all()


def test_the_memory_keeps_the_last() -> None:
    gae = small_gae(memory=5)

    def remember(index: list[int], value: float) -> None:
        q = DiagonalGaussian(
            torch.full((len(index), 2), value) + torch.tensor(index)[:, None], torch.zeros(len(index), 2)
        )
        gae.remember(q, torch.tensor(index))

    remember([7, 3], 0.1)
    assert gae.owner.tolist() == [7, 3, -1, -1, -1]
    assert len(gae.remembered.mean) == 2
    remember([9, 3, 20, 4], 0.2)  # the last one takes the place of the first
    assert gae.owner.tolist() == [4, 3, 9, 3, 20]
    torch.testing.assert_close(gae.codes[:, 0], torch.tensor([4.2, 3.1, 9.2, 3.2, 20.2]))
    remember([0, 1, 2, 3, 4, 5, 6], 0.5)  # more than it holds
    assert sorted(gae.owner.tolist()) == [2, 3, 4, 5, 6]
    torch.testing.assert_close(gae.codes[:, 0], gae.owner + 0.5)


def test_samples_come_from_the_codes_of_the_memory() -> None:
    """z ~ (1/n) Σ_j N(μ_j, σ_j²) over the slots in use; before there are any, N(0, I)."""
    gae = small_gae(n_code=1, memory=4)
    torch.manual_seed(0)
    drawn, owner = gae.recall(20_000)
    assert (owner == -1).all()
    z = drawn.rsample()
    assert (float(z.mean()), float(z.std())) == (pytest.approx(0, abs=0.03), pytest.approx(1, abs=0.03))
    q = DiagonalGaussian(torch.tensor([[-3.0], [5.0]]), torch.tensor([[-2.0], [0.5]]))
    gae.remember(q, torch.tensor([8, 6]))
    drawn, owner = gae.recall(40_000)
    z = drawn.rsample()
    for j, (example, mean, log_var) in enumerate([(8, -3.0, -2.0), (6, 5.0, 0.5)]):
        mine = z[owner == example]
        assert len(mine) / 40_000 == pytest.approx(0.5, abs=0.02), j
        assert float(mine.mean()) == pytest.approx(mean, abs=0.03)
        assert float(mine.std()) == pytest.approx(math.exp(0.5 * log_var), rel=0.03)
    assert gae.sample(3).shape == (3, N_X)
    gae.sampling = replace(gae.sampling, temperature=0.0)
    shown = gae.decode(q.mean)
    assert all((row - shown).abs().sum(1).min() < 1e-5 for row in gae.sample(20))


def test_evaluation_leaves_the_memory_alone_and_asks_it_for_components() -> None:
    gae = small_gae()
    list(gae.updates(batch_of(random_x(6))))
    before = {name: t.clone() for name, t in gae.state_dict().items()}
    gae.eval()
    # Indices of validation examples mean nothing to the memory: the same numbers leave nothing out.
    with torch.no_grad():
        torch.manual_seed(3)
        ((_, one),) = gae.updates(batch_of(TWO))
        torch.manual_seed(3)
        ((_, other),) = gae.updates(batch_of(TWO, first=500))
    assert all(torch.equal(t, before[name]) for name, t in gae.state_dict().items())
    assert torch.equal(one["nll"], other["nll"])


@pytest.mark.parametrize("method", ["proposal", "components"])
def test_log_prob_approaches_the_integral_from_below(method: str) -> None:
    gae = small_gae(n_code=1, own_component="include", method=method).double()
    for p in gae.decoder.parameters():
        nn.init.normal_(p, std=0.8)
    x = TWO.double()
    with torch.no_grad():
        gae.remember(gae.q(x), torch.arange(2))
        object.__setattr__(gae.config, "lambda_mean", 0.0)
        object.__setattr__(gae.config, "lambda_variance", 0.0)
        exact = exact_objective(gae, x).item()
        torch.manual_seed(0)
        many = x.repeat(500, 1)
        bounds = {s: float(gae.log_prob(many, s).mean()) for s in (1, 10)}
        close = float(gae.log_prob(many, 40).view(500, 2).exp().mean(0).log().mean())  # (1000,) -> (2,): S = 20,000
    assert close == pytest.approx(exact, abs=0.03)
    assert bounds[1] < bounds[10] < exact


@pytest.mark.parametrize("method", ["proposal", "components"])
def test_one_player_moves_everything_but_the_memory_of_others(method: str) -> None:
    gae = small_gae(memory=2, method=method)
    engine = Engine(gae, RunConfig(steps=1, learning_rate=0.01))
    before = {name: t.clone() for name, t in gae.state_dict().items()}
    engine.step([batch_of(random_x(4))])
    changed = {name.split(".")[0] for name, t in gae.state_dict().items() if not torch.equal(t, before[name])}
    heads = {"proposal"} if method == "proposal" else set()
    assert changed == {"encoder", "posterior", "decoder", "owner", "codes", "written"} | heads
    assert [player for player, _ in gae.updates(batch_of(random_x(4)))] == ["autoencoder"]


@pytest.mark.parametrize("method", ["proposal", "components"])
def test_training_learns_the_clusters_of_the_data(method: str) -> None:
    """Two noisy prototypes: samples fall near both, and left-out examples are explained by codes of their own kind."""
    torch.manual_seed(0)
    gae = small_gae(memory=64, warmup_steps=50, memory_components=16, method=method)
    engine = Engine(gae, RunConfig(steps=250, learning_rate=0.02, schedule="cosine"))
    for _ in range(250):
        index = torch.randint(64, (24,))
        x = TWO[index % 2]
        engine.step([Batch((x - (torch.rand(24, N_X) < 0.03).float()).abs(), index)])
    gae.eval()
    with torch.no_grad():
        torch.manual_seed(0)
        nearest = (gae.sample(400)[:, None] - TWO).abs().sum(2)  # (400, 2)
        bound = float(gae.log_prob(TWO, 500).mean())
    share = (nearest.argmin(1) == 0).float().mean()
    assert 0.35 < share < 0.65
    assert float(nearest.min(1).values.mean()) < 0.8
    # A prototype has probability ½ · 0.97⁶.
    assert bound == pytest.approx(math.log(0.5 * 0.97**6), abs=0.25)


# Proposals


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 10_000))
def test_the_latent_density_leaves_out_the_example_s_own(n: int, others: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    mean, log_var = (2 * torch.randn(n + others, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    components = DiagonalGaussian(mean, log_var)
    density = pairwise_log_density(z, components)
    slowly = torch.stack(
        [
            torch.distributions.Normal(mean[j], (0.5 * log_var[j]).exp()).log_prob(z[i]).sum()
            for i in range(n)
            for j in range(n + others)
        ]
    ).view(n, -1)
    torch.testing.assert_close(density, slowly)
    own = torch.eye(n, n + others, dtype=torch.bool)
    found = log_mixture(density, own)
    for i in range(n):
        rest = [float(slowly[i, j].exp()) for j in range(n + others) if j != i]
        assert float(found[i].exp()) == pytest.approx(sum(rest) / len(rest), rel=1e-6)


def test_proposals_bound_the_likelihood_under_the_other_codes() -> None:
    """Over many draws of z, −nll is below log P(x_i) of the others' mixture, integrated on a grid; and with the posterior of z for
    q, which one can say here because the decoder is constant in z, it is equal to it."""
    gae = small_gae(n_code=1, method="proposal", lambda_mean=0.0, lambda_variance=0.0).double()
    torch.manual_seed(4)
    for p in gae.parameters():
        nn.init.normal_(p, std=0.7)
    x = TWO.double()
    exact = exact_objective(gae, x).item()
    with torch.no_grad():
        found = []
        for _ in range(800):
            ((_, losses),) = gae.updates(Batch(x, torch.arange(2)))
            found.append(float(losses["nll"]))
        gap = exact + sum(found) / len(found)
    assert gap > 0.01
    gae = small_gae(n_code=1, method="proposal").double()
    with torch.no_grad():
        for name in ("posterior", "proposal"):  # all codes are N(0, 0.25), and so is q
            head = getattr(gae, name)
            nn.init.zeros_(head.weight)
            head.bias.fill_(2 * math.log(0.5))
        gae.posterior.bias[0] = 0.0
        gae.posterior.bias[1] = math.log(0.25 - SIGMA_MIN**2)
        for p in gae.decoder.parameters():
            nn.init.zeros_(p)
        ((_, losses),) = gae.updates(Batch(x, torch.arange(2)))
    assert float(losses["nll"]) == pytest.approx(N_X * math.log(2))
    assert float(losses["rate"]) == pytest.approx(0, abs=1e-9)
