"""Figures of arrays of any shape."""

from __future__ import annotations

import torch
from torch import Tensor

from musegen.contracts.dataset import Dataset, generator_for
from musegen.evaluation.distributions import Numbers
from musegen.evaluation.distributions import compare as compare_distributions

__all__ = ["compare", "independent_cells"]

BINS = 32
BASELINE_EXAMPLES = 2048
"""Training examples that independent cells are taken from."""


def compare(samples: Tensor, reference: Tensor) -> dict[str, float]:
    """Compare two sets of arrays ``(n, *S)``, cell by cell.

    Returns:
        Of each example three numbers, whose distributions are compared (``musegen.evaluation.distributions``): ``mean`` and
        ``deviation`` of its cells, and ``change``, the mean absolute difference of neighbours along the last axis. And of all:
        ``cell_mean_distance``, root mean square difference of the two mean arrays; ``diversity_samples`` and
        ``diversity_reference``, mean Euclidean distance between neighbours in a random pairing, 0 if all samples are one.
    """
    a, b = samples.float(), reference.float()
    of_samples, of_reference = _of_each(a), _of_each(b)
    edges = {name: _edges(values) for name, values in of_reference.items()}
    figures = compare_distributions(
        {name: Numbers(values, edges[name]) for name, values in of_samples.items()},
        {name: Numbers(values, edges[name]) for name, values in of_reference.items()},
    )
    return figures | {
        "cell_mean_distance": float((a.mean(0) - b.mean(0)).square().mean().sqrt()),
        "diversity_samples": _diversity(a.flatten(1)),
        "diversity_reference": _diversity(b.flatten(1)),
    }


def _of_each(x: Tensor) -> dict[str, Tensor]:
    cells = x.flatten(1)
    found = {"mean": cells.mean(1), "deviation": cells.std(1, correction=0)}
    return found | ({"change": x.diff(dim=-1).abs().flatten(1).mean(1)} if x.shape[-1] > 1 else {})


def _edges(values: Tensor) -> Tensor:
    low, high = float(values.min()), float(values.max())
    half = max((high - low) / 2, 1e-6)
    return torch.linspace((low + high) / 2 - half, (low + high) / 2 + half, BINS + 1, dtype=torch.float64)


def _diversity(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x - x.roll(1, 0), dim=1).mean()) if len(x) > 1 else 0.0


def independent_cells(training: Dataset, n: int, seed: int) -> Tensor:
    """Arrays of which every cell comes from another training example, ``(n, *S)``: right on average, and of no structure."""
    generator = generator_for(torch.device("cpu"), seed, 7)
    index = torch.randperm(len(training), generator=generator)[:BASELINE_EXAMPLES]
    x = training.gather(index, generator).x.float()
    values = x.flatten(1)
    whose = torch.randint(len(values), (n, values.shape[1]), generator=generator)
    return values.gather(0, whose).view(n, *x.shape[1:])
