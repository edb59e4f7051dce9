"""Distributions of codes: the prior p(z) and the posterior q(z|x)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LOG_VAR_BOUNDS", "DiagonalGaussian", "StandardNormal", "slerp"]

LOG_VAR_BOUNDS = (-12.0, 8.0)
"""Clamp of log σ²: σ between 0.0025 and 55. Outside it exp() overflows before a gradient could bring it back."""


@dataclass(frozen=True)
class StandardNormal:
    """p(z) = N(0, σ² I) over ``n`` dimensions. σ is 1 except where a paper says otherwise (AAE: 5)."""

    n: int
    sigma: float = 1.0

    def sample(self, n_samples: int, device: torch.device | str = "cpu", temperature: float = 1.0) -> Tensor:
        """Draw ``(n_samples, n)``; ``temperature`` scales σ."""
        return temperature * self.sigma * torch.randn(n_samples, self.n, device=device)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), nats, over the last axis."""
        return -0.5 * ((z / self.sigma).square() + math.log(2 * math.pi * self.sigma**2)).sum(-1)


@dataclass(frozen=True)
class DiagonalGaussian:
    """q(z|x) = N(mean(x), diag exp(log_var(x))). Both of shape ``(B, n)``."""

    mean: Tensor
    log_var: Tensor

    @classmethod
    def from_statistics(cls, statistics: Tensor) -> DiagonalGaussian:
        """From a head's output ``(B, 2n)``: means, then log-variances, clamped to ``LOG_VAR_BOUNDS``."""
        mean, log_var = statistics.chunk(2, -1)
        return cls(mean, log_var.clamp(*LOG_VAR_BOUNDS))

    def rsample(self, n_samples: int | None = None) -> Tensor:
        """Reparameterised draw z = μ + σ ε: ``(B, n)``, or ``(K, B, n)`` with ``n_samples`` K."""
        shape = self.mean.shape if n_samples is None else (n_samples, *self.mean.shape)
        return self.mean + (0.5 * self.log_var).exp() * torch.randn(
            shape, device=self.mean.device, dtype=self.mean.dtype
        )

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x), nats, summed over the last axis."""
        squares = (z - self.mean).square() * (-self.log_var).exp()
        return -0.5 * (squares + self.log_var + math.log(2 * math.pi)).sum(-1)

    def kl(self) -> Tensor:
        """KL(q ‖ N(0, I)) of each dimension, nats, ``(B, n)`` (Kingma & Welling 2014, appendix B)."""
        return 0.5 * (self.mean.square() + self.log_var.exp() - 1 - self.log_var)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation between codes ``(n,)`` at ``t`` (T,): ``(T, n)`` (White 2016, 1609.04468).

    A straight line between two draws of a high-dimensional Gaussian passes through norms that the prior never shows;
    the great circle does not. Parallel codes fall back to the straight line.
    """
    cosine = torch.dot(a, b) / (a.norm() * b.norm()).clamp_min(1e-12)
    omega = torch.arccos(cosine.clamp(-1, 1))
    t = t[:, None]
    if float(omega.sin().abs()) < 1e-6:
        return (1 - t) * a + t * b
    return (((1 - t) * omega).sin() * a + (t * omega).sin() * b) / omega.sin()
