"""Where codes are: mixtures that samples may be drawn from in place of a prior."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from musegen.probability.by_device import with_float64

__all__ = ["CodeMixture", "fitted"]

ITERATIONS, TOLERANCE = 200, 1e-4
"""Of the EM algorithm: at most so many, and the gain in nats per code below which it ends."""


@dataclass(frozen=True)
class CodeMixture:
    """Σ_k w_k Π_m Cat(c_m; π_km) N(z; μ_k, S_k S_kᵀ), over categorical codes c and continuous codes z.

    Args:
        log_weight: log w_k, normalised, ``(C,)``.
        classes: log π_km, one ``(C, K_m)`` for each categorical code; none for most families.
        mean: μ_k, ``(C, n)``.
        spread: S_k: standard deviations ``(C, n)``, or lower triangular matrices ``(C, n, n)``.

    >>> import torch
    >>> from musegen.probability.mixture import CodeMixture
    >>> two = CodeMixture(torch.tensor([0.5, 0.5]).log(), (), torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1))
    >>> two.sample(5).abs().flatten()
    tensor([1., 1., 1., 1., 1.])
    """

    log_weight: Tensor
    classes: tuple[Tensor, ...]
    mean: Tensor
    spread: Tensor

    def sample(self, n: int, temperature: float = 1.0, label: Tensor | None = None) -> Tensor:
        """Draw ``(n, Σ K_m + n_z)``: a one-hot c for each categorical code, then z.

        Args:
            temperature: scales the spread of each component around its mean.
            label: the first categorical code of each draw, ``(n,)``; the rest is drawn given it.
        """
        k = self._components(torch.rand(n, device=self.mean.device), label)
        drawn = [_inverse(log_p[k].exp(), torch.rand(n, device=self.mean.device)) for log_p in self.classes]
        if label is not None:
            drawn[0] = label
        one_hot = [torch.nn.functional.one_hot(c, p.shape[1]) for c, p in zip(drawn, self.classes, strict=True)]
        noise = temperature * torch.randn(n, self.mean.shape[1], device=self.mean.device)
        spread = self.spread[k]
        noise = spread * noise if spread.dim() == 2 else (spread @ noise[:, :, None])[..., 0]
        return torch.cat([*(c.to(noise.dtype) for c in one_hot), self.mean[k] + noise], 1)

    def _components(self, u: Tensor, label: Tensor | None) -> Tensor:
        """Which component each draw is of, ``(n,)``, of uniform numbers ``(n,)``; not (n, C) numbers at a time."""
        if label is None:
            return _inverse(self.log_weight.exp(), u)
        k = torch.empty_like(label)
        for y in label.unique().tolist():
            log_weight = self.log_weight + self.classes[0][:, y]
            k[label == y] = _inverse(log_weight.softmax(0), u[label == y])
        return k

    def to(self, device: torch.device) -> CodeMixture:
        return CodeMixture(
            self.log_weight.to(device),
            tuple(log_p.to(device) for log_p in self.classes),
            self.mean.to(device),
            self.spread.to(device),
        )


def _inverse(p: Tensor, u: Tensor) -> Tensor:
    """Draws of categories, ``(n,)``, of uniform numbers u ``(n,)``: p is ``(C,)``, the same for all, or ``(n, C)``."""
    device = p.device
    p, u = with_float64(p, u)
    bounds = p.double().cumsum(-1)
    at = (u * bounds[..., -1]).double()
    found = torch.searchsorted(bounds, at if p.dim() == 1 else at[:, None], right=True).view(-1)
    return found.clamp(max=p.shape[-1] - 1).to(device)


def fitted(codes: CodeMixture, components: int, seed: int = 0) -> CodeMixture:
    """A mixture of few components with full covariances, fitted to many codes by EM (Dempster, Laird & Rubin 1977): the density
    after training of Ghosh et al. 2020, 1903.12436, section 4.

    One draw of every component of ``codes`` is what it is fitted to. A covariance is that of its codes with the variances of
    all codes as one code more, so that none is singular. A component's classes are its codes' mean classes.

    Args:
        codes: one component per example, with standard deviations, all of the same weight, as ``Memory`` keeps them.
        components: at most; as many as there are codes are always enough.
        seed: of the draws and of where EM begins. torch's own generators are left alone.
    """
    generator = torch.Generator().manual_seed(seed)
    mean, spread = codes.mean.cpu().double(), codes.spread.cpu().double()
    z = mean + spread * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
    r = _nearest(z, _far_apart(z, components, generator))  # (N, C)
    variance = z.var(0, correction=0).clamp_min(1e-12).diag()
    before = -math.inf
    for _ in range(ITERATIONS):
        count = r.sum(0)  # (C,)
        mean = (r.T @ z) / count[:, None]
        squares = torch.stack([(r_k[:, None] * d).T @ d for r_k, m in zip(r.T, mean, strict=True) for d in (z - m,)])
        scale = torch.linalg.cholesky((squares + variance) / (count + 1)[:, None, None])
        log_weight = (count / count.sum()).log()
        joint = log_weight + _log_normal(z, mean, scale)  # (N, C)
        evidence = joint.logsumexp(1)
        r = (joint - evidence[:, None]).exp().clamp_min(1e-30)
        if abs(float(evidence.mean()) - before) < TOLERANCE:
            break
        before = float(evidence.mean())
    weights = (r / r.sum(0)).float().T  # (C, N)
    classes = tuple((weights @ log_p.float().cpu().exp()).clamp_min(1e-30).log() for log_p in codes.classes)
    found = CodeMixture(log_weight.float(), classes, mean.float(), scale.float())
    return found.to(codes.mean.device)


def _far_apart(z: Tensor, components: int, generator: torch.Generator) -> Tensor:
    """Codes to begin with, each drawn in proportion to its squared distance from those before (k-means++), ``(≤ C, n)``."""
    chosen = [int(torch.randint(len(z), (1,), generator=generator))]
    nearest = (z - z[chosen[0]]).square().sum(1)
    while len(chosen) < components and float(nearest.max()) > 0:
        chosen.append(int(torch.multinomial(nearest, 1, generator=generator)))
        nearest = torch.minimum(nearest, (z - z[chosen[-1]]).square().sum(1))
    return z[chosen]


def _nearest(z: Tensor, centres: Tensor) -> Tensor:
    """Whether each centre is the nearest of each code, ``(N, C)`` of 0 and 1."""
    return torch.nn.functional.one_hot(torch.cdist(z, centres).argmin(1), len(centres)).to(z.dtype)


def _log_normal(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """log N(z_i; μ_k, S_k S_kᵀ), nats: ``(N, n)``, ``(C, n)``, ``(C, n, n)`` → ``(N, C)``."""
    columns = [
        torch.linalg.solve_triangular(s, (z - m).T, upper=False).square().sum(0) / 2 + s.diagonal().log().sum()
        for m, s in zip(mean, scale, strict=True)
    ]
    return -torch.stack(columns, 1) - z.shape[1] / 2 * math.log(2 * math.pi)
