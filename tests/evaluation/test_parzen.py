"""Kernel densities, where the answer is known."""

from __future__ import annotations

import math

import torch
from torch.distributions import MultivariateNormal

from musegen.evaluation.parzen import ROWS, SIGMAS, best_sigma, parzen_log_prob


def test_it_is_the_mixture_of_gaussians() -> None:
    generator = torch.Generator().manual_seed(0)
    x, centres = torch.rand(ROWS + 3, 2, 3, generator=generator), torch.rand(5, 2, 3, generator=generator)
    found = parzen_log_prob(x, centres, [0.2, 0.7])
    for i, sigma in enumerate((0.2, 0.7)):
        each = MultivariateNormal(centres.flatten(1), sigma**2 * torch.eye(6)).log_prob(x.flatten(1)[:, None])
        assert torch.allclose(found[:, i], each.logsumexp(1) - math.log(5), atol=1e-3)


def test_sigma_is_the_best_of_the_grid_and_near_the_truth() -> None:
    generator = torch.Generator().manual_seed(0)
    centre = torch.full((1, 400), 0.5)
    x = centre + 0.2 * torch.randn(50, 400, generator=generator)
    chosen = best_sigma(x, centre)
    assert chosen in SIGMAS
    assert abs(math.log(chosen / 0.2)) < 0.12  # a step of the grid
