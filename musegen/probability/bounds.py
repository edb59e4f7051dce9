"""Averages of importance weights, which bound log p(x) from below (Burda et al. 2016, 1509.00519, eq. 8)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["log_mean_exp", "log_mean_of_draws"]


def log_mean_exp(log_w: Tensor) -> Tensor:
    """log 1/K Σ_k exp(log w_k) over the first axis: ``(K, B)`` → ``(B,)``, nats."""
    return log_w.logsumexp(0) - math.log(len(log_w))


def log_mean_of_draws(log_w: Callable[[], Tensor], k: int) -> Tensor:
    """The same of K draws ``(B,)`` that are made one after another, so that K costs time and no memory."""
    total = log_w()
    for _ in range(k - 1):
        total = torch.logaddexp(total, log_w())
    return total - math.log(k)
