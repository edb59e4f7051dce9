"""Figures that compare sampled pictures with real ones."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["compare"]


def compare(samples: Tensor, reference: Tensor) -> dict[str, float]:
    """Compare two sets of pictures ``(n, C, H, W)`` in [0, 1], pixel by pixel.

    Returns:
        ``mean_samples`` and ``mean_reference``: mean brightness; ``pixel_mean_distance``: root mean square difference of
        the two mean pictures; ``diversity_samples`` and ``diversity_reference``: mean Euclidean distance between
        neighbours in a random pairing, which collapses to 0 when all samples are one.
    """
    a, b = samples.flatten(1).float(), reference.flatten(1).float()
    return {
        "mean_samples": float(a.mean()),
        "mean_reference": float(b.mean()),
        "pixel_mean_distance": float((a.mean(0) - b.mean(0)).square().mean().sqrt()),
        "diversity_samples": _diversity(a),
        "diversity_reference": _diversity(b),
    }


def _diversity(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x - x.roll(1, 0), dim=1).mean()) if len(x) > 1 else 0.0
