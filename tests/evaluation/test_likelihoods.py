"""Estimates of log p(x), where it is known."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor
from torch.distributions import Bernoulli, MultivariateNormal, Normal

from musegen.evaluation.likelihoods import DRAWS, annealed_log_prob, prior_log_prob


def test_draws_of_the_prior_average_the_likelihood_of_every_example() -> None:
    p = torch.tensor([[0.9, 0.2, 0.5], [0.1, 0.6, 0.3]])  # two codes, equally probable
    x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
    found = prior_log_prob(lambda n: p.repeat(n // 2, 1), x, 2 * DRAWS)
    exact = torch.stack([Bernoulli(q).log_prob(x).sum(1) for q in p]).logsumexp(0) - math.log(2)
    assert torch.allclose(found, exact, atol=1e-5)
    assert math.isclose(float(found.exp().sum()), 1, rel_tol=1e-5)


def test_annealed_chains_bracket_log_p_of_a_linear_gaussian_model() -> None:
    torch.manual_seed(0)
    weights, noise = torch.randn(6, 2), 0.6
    z = torch.randn(4, 2)
    x = z @ weights.T + noise * torch.randn(4, 6)
    exact = MultivariateNormal(torch.zeros(6), weights @ weights.T + noise**2 * torch.eye(6)).log_prob(x)

    def log_prior(z: Tensor) -> Tensor:
        return Normal(0.0, 1.0).log_prob(z).sum(-1)

    def log_likelihood(z: Tensor) -> Tensor:
        return Normal(z @ weights.T, noise).log_prob(x).sum(-1)

    betas = torch.linspace(0, 1, 100).square().tolist()
    precision = torch.eye(2) + weights.T @ weights / noise**2
    posterior = MultivariateNormal(x @ weights @ torch.linalg.inv(precision).T / noise**2, precision_matrix=precision)
    forward = annealed_log_prob(log_prior, log_likelihood, torch.randn(200, 4, 2), betas, 3, 0.3)
    backward = annealed_log_prob(log_prior, log_likelihood, posterior.sample((200,)), betas, 3, 0.3, reverse=True)
    assert (forward.mean(0) - 0.05 < exact).all()  # below on average, but for the error of 200 chains
    assert (backward.mean(0) + 0.05 > exact).all()
    assert torch.allclose(forward.logsumexp(0) - math.log(200), exact.double(), atol=0.15)  # three standard errors
    assert ((backward.mean(0) - forward.mean(0)).abs() < 1).all()
