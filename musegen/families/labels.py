"""Class labels of families whose network takes a condition vector."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from musegen.errors import BadInput

__all__ = ["class_vector", "log_posterior", "summed_out"]


def class_vector(label: Tensor | None, n_classes: int, device: torch.device) -> Tensor | None:
    """The label's one-hot vector, ``(B,)`` → ``(B, K)``; None where the model takes no condition, and K is 0."""
    if not n_classes:
        return None
    if label is None:
        raise BadInput("This model is conditional: its data need a class label per example.")
    return F.one_hot(label, n_classes).to(device, torch.get_default_dtype())


def summed_out(log_prob: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, n_classes: int) -> Tensor:
    """log p(x) = log 1/K Σ_y p(x | y) of log p(x | y), nats, ``(B,)``; itself where the model takes no condition, and K is 0."""
    if not n_classes:
        return log_prob(x, None)
    return _of_each(log_prob, x, n_classes).logsumexp(0) - math.log(n_classes)  # (K, B) -> (B,)


def log_posterior(log_prob: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, n_classes: int) -> Tensor:
    """log p(y | x) ∝ log p(x | y) + log p(y) by Bayes' rule, every class as likely as another, nats, ``(B, K)``."""
    return _of_each(log_prob, x, n_classes).log_softmax(0).T


def _of_each(log_prob: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, n_classes: int) -> Tensor:
    """log p(x | y) of every class, ``(K, B)``."""
    return torch.stack([log_prob(x, label.expand(len(x))) for label in torch.arange(n_classes, device=x.device)])
