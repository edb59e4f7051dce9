"""The variational autoencoder against closed forms, enumeration and numerical integration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear import Identity, LinearGaussian, correlated
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.engine.engine import Engine
from musegen.errors import BadInput
from musegen.families.vae import VAE, VAEConfig, free_bits_kl, vimco_signal
from musegen.networks.mlp import MLPDecoder, MLPEncoder
from musegen.probability.bounds import log_mean_exp
from musegen.probability.latent import DiagonalGaussian, StandardNormal
from musegen.probability.likelihood import Bernoulli, Gaussian
from musegen.running.config import RunConfig


def batch_of(x: Tensor) -> Batch:
    return Batch(x, torch.arange(len(x)))


def small_vae(**options: Any) -> VAE:
    """Binary x of 6 cells, a code of 1 to 3 dimensions, one hidden layer."""
    config = VAEConfig(**({"latent_dim": 2} | options))
    spec = Spec((6,), ("cell",), Bernoulli())
    networks: dict[str, nn.Module] = {
        "encoder": MLPEncoder((6,), [8]),
        "decoder": MLPDecoder(config.latent_dim, (6,), [8]),
    }
    return VAE(config, spec, networks)


def test_linear_vae_reaches_the_likelihood_of_probabilistic_pca() -> None:
    """Tipping & Bishop 1999, eqs. 4 and 8; that a linear VAE's bound is tight there: Lucas et al. 2019, 1911.02469."""
    n_data, n_code = 5, 2
    x = correlated(500, n_data)
    covariance = np.cov(x.double().numpy().T, bias=True)
    eigenvalues = np.sort(np.linalg.eigvalsh(covariance))[::-1]
    noise = eigenvalues[n_code:].mean()
    log_det = np.log(eigenvalues[:n_code]).sum() + (n_data - n_code) * math.log(noise)
    optimum = -0.5 * (n_data * math.log(2 * math.pi) + log_det + n_data)  # nats per example, at maximum likelihood

    spec = Spec((n_data,), ("feature",), Gaussian(sigma_min=1e-3))
    networks = {"encoder": Identity(n_data), "decoder": LinearGaussian(n_code, n_data)}
    vae = VAE(VAEConfig(latent_dim=n_code), spec, networks)
    engine = Engine(vae, RunConfig(steps=4000, learning_rate=0.02, schedule="cosine"))
    for _ in range(4000):
        engine.step([batch_of(x)])

    with torch.no_grad():
        elbo = -np.mean([float(next(vae.updates(batch_of(x)))[1]["nelbo"]) for _ in range(400)])
        bound = float(vae.log_prob(x, 500).mean())
        scale = float(vae.likelihood._loc_scale(vae.decoder(torch.zeros(1, n_code)))[1][0, 0])
    assert elbo == pytest.approx(optimum, abs=0.01)
    assert bound == pytest.approx(optimum, abs=0.01)
    assert scale**2 == pytest.approx(noise, rel=0.03)


def gradients(vae: VAE, x: Tensor, n: int) -> Tensor:
    """n independent gradient estimates of the encoder side, ``(n, parameters)``."""
    parameters = [*vae.encoder.parameters(), *vae.posterior.parameters()]
    rows = []
    for _ in range(n):
        ((_, losses),) = vae.updates(batch_of(x))
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(losses["loss"], parameters)]))
    return torch.stack(rows)


@pytest.mark.parametrize("k", [1, 4])
def test_both_estimators_agree_in_expectation_and_pathwise_varies_less(k: int) -> None:
    x = (torch.rand(3, 6) < 0.5).float().repeat(20, 1)
    pathwise, score = (small_vae(estimator=e, importance_samples=k) for e in ("pathwise", "score-function"))
    score.load_state_dict(pathwise.state_dict())
    score.baseline.fill_(-4.0)
    score.eval()  # a fixed baseline: with a moving one the estimates would not be independent
    n = 1500
    a, b = gradients(pathwise, x, n), gradients(score, x, n)
    standard_error = ((a.var(0) + b.var(0)) / n).sqrt()
    z_scores = (a.mean(0) - b.mean(0)) / standard_error.clamp_min(1e-8)
    assert float(z_scores.abs().max()) < 5
    assert float(z_scores.square().mean()) < 1.6  # 1 in expectation if they agree
    if k == 1:  # VIMCO's baselines may win over the pathwise gradient of L_K (Rainforth et al. 2018, 1802.04537)
        assert float(a.var(0).sum()) < 0.5 * float(b.var(0).sum())
    # The difference of means is small against the gradient itself, so that agreeing says something.
    assert float(standard_error.norm()) < 0.1 * float(a.mean(0).norm())


def test_both_estimators_give_the_decoder_the_same_gradient() -> None:
    x = (torch.rand(50, 6) < 0.5).float()
    found = []
    for estimator in ("pathwise", "score-function"):
        torch.manual_seed(3)
        vae = small_vae(estimator=estimator)
        ((_, losses),) = vae.updates(batch_of(x))
        found.append(torch.autograd.grad(losses["loss"], list(vae.decoder.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_the_baseline_follows_the_signal_and_lowers_the_variance() -> None:
    x = (torch.rand(60, 6) < 0.5).float()
    vae = small_vae(estimator="score-function")
    for _ in range(100):
        next(vae.updates(batch_of(x)))
    with torch.no_grad():
        signal = vae.log_likelihood(x, vae.q(x).rsample()).mean()
    assert float(vae.baseline) == pytest.approx(float(signal), abs=0.3)
    without = small_vae(estimator="score-function")
    without.load_state_dict(vae.state_dict())
    without.baseline.fill_(0.0)
    vae.eval(), without.eval()
    assert gradients(vae, x, 300).var(0).sum() < 0.5 * gradients(without, x, 300).var(0).sum()


def test_vimco_baselines_do_not_depend_on_their_own_sample() -> None:
    log_w = torch.randn(5, 3)
    changed = log_w.clone()
    changed[2] += 1.7
    baseline = [log_mean_exp(w) - vimco_signal(w) for w in (log_w, changed)]  # (5, 3): L̂ of the others
    torch.testing.assert_close(baseline[0][2], baseline[1][2])
    assert not torch.allclose(baseline[0][1], baseline[1][1])


def test_vimco_signal_by_hand() -> None:
    """K = 2: the other sample's weight stands in for one's own, so L̂^{−k} is the other's log-weight."""
    log_w = torch.tensor([[1.0], [-2.0]])
    both = math.log((math.exp(1) + math.exp(-2)) / 2)
    torch.testing.assert_close(vimco_signal(log_w), torch.tensor([[both + 2.0], [both - 1.0]]))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 6), st.integers(0, 10_000))
def test_kl_and_densities_match_torch(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    q = DiagonalGaussian(torch.randn(4, n, generator=generator), 2 * torch.randn(4, n, generator=generator))
    theirs = Normal(q.mean, (0.5 * q.log_var).exp())
    torch.testing.assert_close(q.kl(), kl_divergence(theirs, Normal(0.0, 1.0)), rtol=1e-4, atol=1e-5)
    z = torch.randn(4, n, generator=generator)
    torch.testing.assert_close(q.log_prob(z), theirs.log_prob(z).sum(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(StandardNormal(n, 5.0).log_prob(z), Normal(0.0, 5.0).log_prob(z).sum(1))


def test_extreme_statistics_stay_finite() -> None:
    q = DiagonalGaussian.from_statistics(torch.tensor([[0.0, 0.0, 1e6, -1e6]]))
    assert q.kl().isfinite().all()
    assert q.rsample().isfinite().all()
    assert q.log_prob(q.rsample()).isfinite().all()


def test_log_prob_approaches_the_exact_marginal() -> None:
    """One latent dimension: log p(x) by quadrature on a fine grid."""
    vae = small_vae(latent_dim=1).eval()
    nn.init.normal_(vae.decoder.layers[-1].weight, std=1.0)
    x = (torch.rand(7, 6) < 0.5).float()
    grid = torch.linspace(-9, 9, 20_001)[:, None]
    with torch.no_grad():
        log_prior = StandardNormal(1).log_prob(grid)
        joint = torch.stack([vae.log_likelihood(row.expand(len(grid), 6), grid) + log_prior for row in x])
        exact = joint.logsumexp(1) + math.log(18 / 20_000)
        bounds = {k: torch.stack([vae.log_prob(x, k) for _ in range(4000 // k)]).mean(0) for k in (1, 20, 2000)}
    torch.testing.assert_close(bounds[2000], exact, atol=0.03, rtol=0)
    # Burda et al. 2016, theorem 1: the bound grows with K and stays below log p(x).
    assert (bounds[1] < bounds[20]).all()
    assert (bounds[20] < bounds[2000] + 0.02).all()


def test_the_training_bound_is_the_one_that_log_prob_reports() -> None:
    x = (torch.rand(40, 6) < 0.5).float()
    vae = small_vae(importance_samples=8)
    with torch.no_grad():
        trained = np.mean([float(next(vae.updates(batch_of(x)))[1]["nelbo"]) for _ in range(300)])
        reported = np.mean([float(vae.log_prob(x, 8).mean()) for _ in range(300)])
    assert -trained == pytest.approx(reported, abs=0.02)


def test_terms_add_up_to_the_elbo() -> None:
    x = (torch.rand(30, 6) < 0.5).float()
    torch.manual_seed(1)
    ((_, losses),) = small_vae().updates(batch_of(x))
    torch.testing.assert_close(losses["nelbo"], losses["reconstruction"] + losses["kl"])
    torch.testing.assert_close(losses["loss"], losses["nelbo"])
    torch.manual_seed(1)
    ((_, weighted),) = small_vae(beta=4.0).updates(batch_of(x))
    torch.testing.assert_close(weighted["loss"], losses["reconstruction"] + 4 * losses["kl"])
    torch.testing.assert_close(weighted["nelbo"], losses["nelbo"])


@given(st.floats(0, 3), st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_free_bits(free_bits: float, seed: int) -> None:
    kl = 2 * torch.rand(10, 4, generator=torch.Generator().manual_seed(seed))
    by_hand = sum(max(free_bits, float(kl[:, j].mean())) for j in range(4))
    assert float(free_bits_kl(kl, free_bits)) == pytest.approx(by_hand, rel=1e-5)


def test_dimensions_below_the_free_bits_get_no_gradient() -> None:
    kl = torch.tensor([[0.1, 2.0], [0.3, 4.0]], requires_grad=True)
    free_bits_kl(kl, 0.5).backward()
    torch.testing.assert_close(kl.grad, torch.tensor([[0.0, 0.5], [0.0, 0.5]]))


def test_warm_up_grows_linearly_and_evaluation_uses_the_whole_kl() -> None:
    vae = small_vae(warmup_steps=4, beta=2.0)
    seen = []
    for vae.step in range(6):
        seen.append(vae.beta())
    assert seen == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    vae.step = 0
    assert vae.eval().beta() == 2.0


def test_options_that_contradict_each_other_are_refused() -> None:
    for other in ({"beta": 2.0}, {"warmup_steps": 10}, {"free_bits": 0.1}):
        with pytest.raises(BadInput, match="importance_samples"):
            VAEConfig(importance_samples=5, **other)
