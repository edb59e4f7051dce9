"""Two sets of examples by their features: Fréchet distance, precision and recall, density and coverage, nearest neighbours.

prdc and torchmetrics have most of these; the one was last released in 2020, the other brings 20 MB and its own networks for a
page of code.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["frechet_distance", "nearest", "neighbourhoods"]

ROWS = 1000
"""Examples at a time, so that distances to 10,000 others take 40 MB."""


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½) of features ``(n, d)`` and ``(m, d)`` (Heusel et al. 2017, 1706.08500).

    >>> import torch
    >>> from musegen.evaluation.features import frechet_distance
    >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    >>> round(frechet_distance(x, x + 2), 3)  # moved by 2 in three dimensions: 3 · 2²
    12.0
    """
    a, b = a.double(), b.double()
    s, t = (torch.atleast_2d(torch.cov(x.T)) for x in (a, b))
    # tr (ST)^½ is the sum of the singular values of S^½ T^½.
    cross = torch.linalg.svdvals(_root(s) @ _root(t)).sum()
    return max(0.0, float((a.mean(0) - b.mean(0)).square().sum() + s.trace() + t.trace() - 2 * cross))


def _root(s: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(s)
    return vectors * values.clamp_min(0).sqrt() @ vectors.T


def _radii(x: Tensor, k: int) -> Tensor:
    """Distance of each to its k-th nearest other one, ``(n,)``."""
    return torch.cat([torch.cdist(part, x).kthvalue(k + 1, dim=1).values for part in x.split(ROWS)])


def neighbourhoods(samples: Tensor, real: Tensor, k: int = 5) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019, 1904.06991), density and coverage (Naeem et al. 2020, 2002.09797).

    Args:
        samples, real: features ``(n, d)`` and ``(m, d)``, both of more than k.
        k: a neighbourhood reaches to the k-th nearest neighbour.
    """
    samples, real = samples.float(), real.float()
    around_real, around_samples = _radii(real, k), _radii(samples, k)
    inside, recalled, covered = [], torch.zeros(len(real), dtype=torch.bool), torch.zeros(len(real), dtype=torch.bool)
    for part, radius in zip(samples.split(ROWS), around_samples.split(ROWS), strict=True):
        distance = torch.cdist(part, real)  # (rows, m)
        within = distance <= around_real
        inside.append(within.sum(1))
        covered |= within.any(0)
        recalled |= (distance <= radius[:, None]).any(0)
    count = torch.cat(inside).double()
    return {
        "precision": float((count > 0).double().mean()),
        "recall": float(recalled.double().mean()),
        "density": float(count.mean()) / k,
        "coverage": float(covered.double().mean()),
    }


def nearest(x: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the nearest of others ``(m, *S)``, and which one it is, of each of x ``(n, *S)``."""
    x, others = x.flatten(1).float(), others.flatten(1).float()
    found = [torch.cdist(part, others).min(1) for part in x.split(ROWS)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
