"""Kernel density (Parzen) log-likelihood, the figure of early papers on GANs (Goodfellow et al. 2014), under one protocol.

10,000 samples in [0, 1] are the centres of Gaussian kernels of one σ, which is chosen on validation examples only, from a grid:

    log p(x) = log 1/S Σ_s N(x; x_s, σ² I)

The same of 10,000 training examples belongs beside it. The measure prefers samples that are smoother than real ones (Theis et al.
2016, 1511.01844), so that models may score higher than the training examples, and being higher says nothing good there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["SAMPLES", "SIGMAS", "best_sigma", "parzen_log_prob"]

SAMPLES = 10_000
SIGMAS = tuple(round(10 ** (-1.5 + 0.05 * i), 4) for i in range(25))
"""The grid of σ: 0.0316 to 0.5012, in steps of 12 %."""
ROWS = 250
"""Examples at a time, so that distances to 10,000 samples take 10 MB."""


def _squares(x: Tensor, centres: Tensor) -> Tensor:
    """Squared distances ``(n, S)`` of ``(n, d)`` and ``(S, d)``."""
    return (x.square().sum(1)[:, None] + centres.square().sum(1) - 2 * x @ centres.T).clamp_min(0)


def parzen_log_prob(x: Tensor, centres: Tensor, sigmas: Sequence[float]) -> Tensor:
    """log p of each example with each σ, nats: x ``(n, *S)`` and samples ``(S, *S)`` → ``(n, len(sigmas))``.

    >>> import torch
    >>> from musegen.evaluation.parzen import parzen_log_prob
    >>> parzen_log_prob(torch.zeros(1, 1), torch.zeros(3, 1), [1.0])  # log N(0; 0, 1)
    tensor([[-0.9189]])
    """
    x, centres = x.flatten(1).float(), centres.flatten(1).float()
    constant = [-math.log(len(centres)) - x.shape[1] * math.log(s * math.sqrt(2 * math.pi)) for s in sigmas]
    rows = []
    for part in x.split(ROWS):
        squares = _squares(part, centres)
        of_sigma = [(squares * (-0.5 / s**2)).logsumexp(1) + c for s, c in zip(sigmas, constant, strict=True)]
        rows.append(torch.stack(of_sigma, 1))
    return torch.cat(rows)


def best_sigma(validation: Tensor, centres: Tensor, sigmas: Sequence[float] = SIGMAS) -> float:
    """The σ with which validation examples ``(n, *S)`` are most probable."""
    return sigmas[int(parzen_log_prob(validation, centres, sigmas).double().mean(0).argmax())]
