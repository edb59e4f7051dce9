"""Distributions of codes: the prior p(z) and the posterior q(z|x)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LOG_VAR_BOUNDS", "Concrete", "DiagonalGaussian", "StandardNormal", "slerp"]

LOG_VAR_BOUNDS = (-12.0, 8.0)
"""Clamp of log σ²: σ between 0.0025 and 55. Outside it exp() overflows before a gradient could bring it back."""


@dataclass(frozen=True)
class StandardNormal:
    """p(z) = N(0, σ² I) over ``n`` dimensions. σ is 1 except where a paper says otherwise (AAE: 5).

    >>> from musegen.probability.latent import StandardNormal
    >>> StandardNormal(8).sample(3).shape
    torch.Size([3, 8])
    """

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
    """q(z|x) = N(mean(x), diag exp(log_var(x))). Both of shape ``(B, n)``.

    >>> import torch
    >>> from musegen.probability.latent import DiagonalGaussian
    >>> q = DiagonalGaussian.from_statistics(torch.zeros(3, 8))  # of a head with 2n outputs: N(0, I) over 4 dimensions
    >>> q.rsample().shape, q.rsample(n_samples=5).shape
    (torch.Size([3, 4]), torch.Size([5, 3, 4]))
    >>> q.kl().sum(1)
    tensor([0., 0., 0.])
    """

    mean: Tensor
    log_var: Tensor

    @classmethod
    def from_statistics(cls, statistics: Tensor) -> DiagonalGaussian:
        """From a head's output ``(B, 2n)``: means, then log-variances, clamped to ``LOG_VAR_BOUNDS``."""
        mean, log_var = statistics.chunk(2, -1)
        return cls(mean, log_var.clamp(*LOG_VAR_BOUNDS))

    def rsample(self, n_samples: int | None = None) -> Tensor:
        """Reparameterised draw z = μ + σ ε: ``(B, n)``, or ``(K, B, n)`` with ``n_samples`` K."""
        rows, *rest = self.mean.shape
        shape = ((n_samples or 1) * rows, *rest)
        noise = torch.randn(shape, device=self.mean.device, dtype=self.mean.dtype)
        if n_samples is not None:
            noise = noise.view(n_samples, rows, *rest)  # (K·B, n) -> (K, B, n)
        return self.mean + (0.5 * self.log_var).exp() * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x), nats, summed over the last axis."""
        squares = (z - self.mean).square() * (-self.log_var).exp()
        return -0.5 * (squares + self.log_var + math.log(2 * math.pi)).sum(-1)

    def kl(self) -> Tensor:
        """KL(q ‖ N(0, I)) of each dimension, nats, ``(B, n)`` (Kingma & Welling 2014, appendix B)."""
        return 0.5 * (self.mean.square() + self.log_var.exp() - 1 - self.log_var)


@dataclass(frozen=True)
class Concrete:
    """Concrete(α, λ) over K classes (Maddison et al. 2017, 1611.00712; Jang et al. 2017, 1611.01144): relaxed one-hot c.

    Codes are log c, because c itself underflows at small λ, and the density is that of log c (ExpConcrete, appendix C).
    The density of c on the simplex is this minus Σ_k log c_k, which cancels in every difference of two log-densities.
    λ = 0 is the limit, the categorical distribution: c is exactly one-hot, and ``log_prob`` a log-probability.

    Args:
        log_alpha: log-probabilities of the classes, normalised, ``(…, K)``.
        relaxation: the temperature λ.
    """

    log_alpha: Tensor
    relaxation: float

    def rsample(self) -> Tensor:
        """Reparameterised draw of log c, ``(…, K)``: log-softmax of (log α + Gumbel noise) / λ."""
        # An exponential draw of exactly 0 would be infinite noise.
        noise = torch.empty_like(self.log_alpha).exponential_().clamp_min(torch.finfo(self.log_alpha.dtype).tiny)
        scores = self.log_alpha - noise.log()
        if self.relaxation == 0:
            return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype).log()
        return (scores / self.relaxation).log_softmax(-1)

    def log_prob(self, log_c: Tensor) -> Tensor:
        """Log-density of log c, nats, over the last axis (1611.00712, their ExpConcrete); broadcasts."""
        if self.relaxation == 0:
            return (log_c.exp() * self.log_alpha).sum(-1)
        k = self.log_alpha.shape[-1]
        scores = self.log_alpha - self.relaxation * log_c
        constant = math.lgamma(k) + (k - 1) * math.log(self.relaxation)
        return constant + scores.sum(-1) - k * scores.logsumexp(-1)


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
