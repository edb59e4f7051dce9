"""Likelihoods p(x|z): what the numbers that a decoder puts out mean.

A domain chooses one; families only ever call these methods. A likelihood holds no tensors. For a sample of shape
``shape`` the decoder puts out ``params`` of shape ``(B, *params_shape(shape))``; ``log_prob`` is in nats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Bernoulli", "Categorical", "Gaussian", "Likelihood"]


class Likelihood(Protocol):
    """The contract. ``B`` is the batch, ``S = spec.shape`` the shape of one sample."""

    @property
    def name(self) -> str: ...

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the parameters of one sample of shape ``shape``."""
        ...

    def cell_log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p of each cell, nats: ``(B, *S)``."""
        ...

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x), nats, summed over cells: ``(B,)``. Cells are independent given the parameters."""
        ...

    def mean(self, params: Tensor) -> Tensor:
        """E[x], differentiable, ``(B, *S)``: what a generator shows a discriminator."""
        ...

    def sample(self, params: Tensor, temperature: float = 1.0) -> Tensor:
        """A draw, ``(B, *S)``; ``temperature`` 0 is the mode."""
        ...


class _Summed:
    """``log_prob`` as the sum over the cells of a sample."""

    def cell_log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        raise AssertionError("abstract")  # every subclass defines it

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return self.cell_log_prob(params, x).flatten(1).sum(1)  # (B, *S) -> (B,)


@dataclass(frozen=True)
class Bernoulli(_Summed):
    """x ∈ {0, 1}; params are logits of shape S. For grey x ∈ [0, 1] it is a cross-entropy, not a log-probability.

    >>> import torch
    >>> from musegen.probability.likelihood import Bernoulli
    >>> logits = torch.zeros(1, 3)  # one sample of three cells, each on with probability ½
    >>> Bernoulli().log_prob(logits, torch.tensor([[0.0, 1.0, 1.0]])).exp()
    tensor([0.1250])
    """

    name = "bernoulli"

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def cell_log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(params, x, reduction="none")

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        # The sign after the sum: one pass less over all cells, there and back.
        return -F.binary_cross_entropy_with_logits(params, x, reduction="none").flatten(1).sum(1)

    def mean(self, params: Tensor) -> Tensor:
        return params.sigmoid()

    def sample(self, params: Tensor, temperature: float = 1.0) -> Tensor:
        if temperature == 0:
            return (params > 0).to(params.dtype)
        return torch.bernoulli((params / temperature).sigmoid())


@dataclass(frozen=True)
class Gaussian(_Summed):
    """x ∈ ℝ; params (2, *S): location, then the raw scale. σ = sigma_min + softplus(raw) never reaches 0.

    Without the floor the density of a Gaussian decoder is unbounded and training runs away (Mattei & Frellsen 2018,
    1802.04826). With ``bounds`` the mean is kept inside them by a sigmoid, as pictures in [0, 1] need.

    Args:
        sigma_min: the floor of σ, in the unit of x.
        bounds: lowest and highest mean, in the unit of x; None leaves it free.

    >>> import torch
    >>> from musegen.probability.likelihood import Gaussian
    >>> pictures = Gaussian(bounds=(0.0, 1.0))
    >>> pictures.params_shape((1, 28, 28))
    (2, 1, 28, 28)
    >>> pictures.mean(torch.zeros(1, 2, 3))
    tensor([[0.5000, 0.5000, 0.5000]])
    """

    sigma_min: float = 0.05
    bounds: tuple[float, float] | None = None
    name = "gaussian"

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (2, *shape)

    def _loc_scale(self, params: Tensor) -> tuple[Tensor, Tensor]:
        loc, raw = params.unbind(1)  # (B, 2, *S) -> 2 × (B, *S)
        if self.bounds is not None:
            low, high = self.bounds
            loc = low + (high - low) * loc.sigmoid()
        return loc, self.sigma_min + F.softplus(raw)

    def cell_log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        loc, scale = self._loc_scale(params)
        return -0.5 * ((x - loc) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)

    def mean(self, params: Tensor) -> Tensor:
        return self._loc_scale(params)[0]

    def sample(self, params: Tensor, temperature: float = 1.0) -> Tensor:
        loc, scale = self._loc_scale(params)
        return loc + temperature * scale * torch.randn_like(loc)


@dataclass(frozen=True)
class Categorical(_Summed):
    """x ∈ {0, 1/(K−1), …, 1}: K evenly spaced levels; params (K, *S) are logits over the levels.

    Args:
        levels: K, e.g. 256 for 8-bit pictures.

    >>> import torch
    >>> from musegen.probability.likelihood import Categorical
    >>> even = torch.zeros(1, 5, 2)  # one sample of two cells, five levels each
    >>> Categorical(levels=5).log_prob(even, torch.tensor([[0.0, 0.75]])).exp()
    tensor([0.0400])
    """

    levels: int = 256
    name = "categorical"

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.levels, *shape)

    def cell_log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        level = (x * (self.levels - 1)).round().long().clamp(0, self.levels - 1)
        return -F.cross_entropy(params, level, reduction="none")  # (B, K, *S), (B, *S) -> (B, *S)

    def mean(self, params: Tensor) -> Tensor:
        values = torch.linspace(0, 1, self.levels, device=params.device, dtype=params.dtype)
        return torch.einsum("bk...,k->b...", params.softmax(1), values)

    def sample(self, params: Tensor, temperature: float = 1.0) -> Tensor:
        if temperature == 0:
            return params.argmax(1).to(params.dtype) / (self.levels - 1)
        # Gumbel-max: one argmax instead of a multinomial per cell.
        gumbel = -torch.empty_like(params).exponential_().log()
        return (params / temperature + gumbel).argmax(1).to(params.dtype) / (self.levels - 1)
