"""log p(x) of models with a code: from draws of the prior, and by annealed importance sampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["annealed_log_prob", "prior_log_prob"]

DRAWS = 2000
"""Draws of the prior at a time: with 10,000 examples, 80 MB."""
NEVER = 1e-6
"""Probabilities are kept this far from 0 and 1: no draw is impossible."""


def prior_log_prob(sample: Callable[[int], Tensor], x: Tensor, draws: int) -> Tensor:
    """log 1/S Σ_s P(x|z_s) with z_s ~ P(z), nats ``(n,)``; the draws are the same for all x.

    On average below log p(x), by much unless S is about e to the power of the nats that a code carries about x.

    Args:
        sample: so many samples of a model whose cells are Bernoulli, each the probabilities that P(x|z_s) has, ``(s, *S)``.
        x: binary, ``(n, *S)``.
        draws: S.
    """
    x, total = x.flatten(1).float(), torch.full((len(x),), -math.inf)
    for done in range(0, draws, DRAWS):
        logits = sample(min(DRAWS, draws - done)).flatten(1).float().clamp(NEVER, 1 - NEVER).logit()  # (s, d)
        log_p = x @ logits.T - F.softplus(logits).sum(1)  # (n, s)
        total = torch.logaddexp(total, log_p.logsumexp(1))
    return total - math.log(draws)


def annealed_log_prob(
    log_prior: Callable[[Tensor], Tensor],
    log_likelihood: Callable[[Tensor], Tensor],
    z: Tensor,
    temperatures: Sequence[float],
    leaps: int = 10,
    step_size: float = 0.1,
    reverse: bool = False,
) -> Tensor:
    """log p(x) by annealed importance sampling (Neal 2001; Wu et al. 2017, 1611.04273) with Hamiltonian moves, nats ``(C, n)``.

    On average the forward chains' estimate is below log p(x), and the reverse chains' above it, so that both together bracket it
    (Grosse et al. 2015, 1511.02543); log-mean-exp over the C chains is tighter than any of them.

    Args:
        log_prior, log_likelihood: of codes ``(C, n, d)``: log p(z) and log p(x|z), nats ``(C, n)``; differentiable.
        z: where chains begin, ``(C, n, d)``: draws of the prior; of reverse chains, draws of p(z|x), known where x was drawn
            with z.
        temperatures: β from 0 to 1, ascending, of p(z) p(x|z)^β.
        leaps: leapfrog steps of a move.
        step_size: of the first move; it is adapted to accept two thirds of them.
    """
    betas = list(temperatures) if not reverse else list(temperatures)[::-1]
    log_w = torch.zeros(z.shape[:-1], dtype=torch.float64)
    size = torch.full(z.shape[1:-1], step_size, dtype=z.dtype)  # of each x
    for before, now in pairwise(betas):
        with torch.no_grad():
            log_w += (now - before) * log_likelihood(z).double()

        def at_now(code: Tensor, beta: float = now) -> Tensor:
            return log_prior(code) + beta * log_likelihood(code)

        z, accepted = _move(at_now, z, size, leaps)
        size = (size * torch.where(accepted > 0.65, 1.02, 0.98)).clamp(1e-4, 1.0)
    return -log_w if reverse else log_w


def _move(log_p: Callable[[Tensor], Tensor], z: Tensor, size: Tensor, leaps: int) -> tuple[Tensor, Tensor]:
    """A Hamiltonian move (Neal 2011) of codes ``(C, n, d)``, and the share of chains of each x that went along, ``(n,)``."""

    def force(at: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            at = at.detach().requires_grad_()
            value = log_p(at)
            (gradient,) = torch.autograd.grad(value.sum(), at)
        return value.detach(), gradient

    momentum, step = torch.randn_like(z), size[:, None]
    before, gradient = force(z)
    at, speed = z, momentum + 0.5 * step * gradient
    for leap in range(leaps):
        at = at + step * speed
        after, gradient = force(at)
        speed = speed + (0.5 if leap == leaps - 1 else 1.0) * step * gradient
    gain = after - before + 0.5 * (momentum.square() - speed.square()).sum(-1)
    went = torch.rand_like(gain).log() < gain  # NaN goes nowhere
    return torch.where(went[..., None], at, z), went.float().mean(0)
