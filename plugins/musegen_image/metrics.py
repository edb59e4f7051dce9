"""Figures that compare sampled pictures with real ones."""

from __future__ import annotations

import torch
from torch import Tensor

from musegen.contracts.dataset import Dataset, generator_for
from musegen.evaluation.features import frechet_distance, neighbourhoods
from musegen_image.classifier import class_entropy, confidence, digit_features, digit_probabilities

__all__ = ["compare", "independent_pixels"]

NEIGHBOURS = 5
BASELINE_PICTURES = 2048
"""Training pictures that independent pixels are taken from."""


def compare(samples: Tensor, reference: Tensor) -> dict[str, float]:
    """Compare two sets of pictures ``(n, C, H, W)`` in [0, 1], pixel by pixel.

    Returns:
        ``mean_samples`` and ``mean_reference``: mean brightness; ``pixel_mean_distance``: root mean square difference of
        the two mean pictures; ``diversity_samples`` and ``diversity_reference``: mean Euclidean distance between
        neighbours in a random pairing, which collapses to 0 when all samples are one.

        Of pictures of MNIST's shape also ``confident_samples`` and ``confident_reference``: share that shows a digit beyond
        doubt; ``classes_entropy_samples``: entropy of the digits' frequencies, nats, log 10 where none is missing or rare; and
        ``digits_…``: Fréchet distance, precision, recall, density and coverage on the features of the classifier.
    """
    a, b = samples.flatten(1).float(), reference.flatten(1).float()
    figures = {
        "mean_samples": float(a.mean()),
        "mean_reference": float(b.mean()),
        "pixel_mean_distance": float((a.mean(0) - b.mean(0)).square().mean().sqrt()),
        "diversity_samples": _diversity(a),
        "diversity_reference": _diversity(b),
    }
    if samples.shape[1:] == reference.shape[1:] == (1, 28, 28):
        figures |= _digits(samples, reference)
    return figures


def _digits(samples: Tensor, reference: Tensor) -> dict[str, float]:
    p, q = digit_probabilities(samples), digit_probabilities(reference)
    figures = {
        "confident_samples": confidence(p),
        "confident_reference": confidence(q),
        "classes_entropy_samples": class_entropy(p),
    }
    if min(len(samples), len(reference)) > NEIGHBOURS:
        a, b = digit_features(samples), digit_features(reference)
        found = {"frechet_distance": frechet_distance(a, b), **neighbourhoods(a, b, NEIGHBOURS)}
        figures |= {f"digits_{name}": value for name, value in found.items()}
    return figures


def _diversity(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x - x.roll(1, 0), dim=1).mean()) if len(x) > 1 else 0.0


def independent_pixels(training: Dataset, n: int, seed: int) -> Tensor:
    """Pictures of which every value comes from another training picture, ``(n, C, H, W)``: right on average, without a shape."""
    generator = generator_for(torch.device("cpu"), seed, 7)
    index = torch.randperm(len(training), generator=generator)[:BASELINE_PICTURES]
    x = training.gather(index, generator).x.float()  # (m, C, H, W)
    values = x.flatten(1)
    whose = torch.randint(len(values), (n, values.shape[1]), generator=generator)
    return values.gather(0, whose).view(n, *x.shape[1:])
