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

__all__ = ["Bernoulli", "Categorical", "Gaussian", "Likelihood", "LogisticMixture"]

LOG_SCALE_BOUNDS = (-7.0, 7.0)
"""Of log M s in a logistic mixture: the lower one is that of the authors' code, for s; both keep 1/s and its gradient finite."""


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
        """E[x], differentiable, ``(B, *S)``: what a generator shows a discriminator. The mode of classes without an order."""
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
        levels: K, e.g. 256 for 8-bit pictures (van den Oord et al. 2016, 1601.06759, section 3.4).
        ordered: whether a level between two others means something, as a grey between two greys. Classes without an order
            have no expected value: their ``mean`` is the most probable level, with the gradient of the expected value.

    >>> import torch
    >>> from musegen.probability.likelihood import Categorical
    >>> even = torch.zeros(1, 5, 2)  # one sample of two cells, five levels each
    >>> Categorical(levels=5).log_prob(even, torch.tensor([[0.0, 0.75]])).exp()
    tensor([0.0400])
    """

    levels: int = 256
    ordered: bool = True
    name = "categorical"

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.levels, *shape)

    def cell_log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        level = (x * (self.levels - 1)).round().long().clamp(0, self.levels - 1)
        return -F.cross_entropy(params, level, reduction="none")  # (B, K, *S), (B, *S) -> (B, *S)

    def mean(self, params: Tensor) -> Tensor:
        values = torch.linspace(0, 1, self.levels, device=params.device, dtype=params.dtype)
        expected = torch.einsum("bk...,k->b...", params.softmax(1), values)
        if self.ordered:
            return expected
        return expected + (values[params.argmax(1)] - expected).detach()

    def sample(self, params: Tensor, temperature: float = 1.0) -> Tensor:
        if temperature == 0:
            return params.argmax(1).to(params.dtype) / (self.levels - 1)
        # Gumbel-max: one argmax instead of a multinomial per cell.
        gumbel = -torch.empty_like(params).exponential_().log()
        return (params / temperature + gumbel).argmax(1).to(params.dtype) / (self.levels - 1)


@dataclass(frozen=True)
class LogisticMixture(_Summed):
    """x ∈ {0, 1/(K−1), …, 1}: a mixture of logistic distributions, rounded to K levels; params (3M, *S).

    Levels are 2x − 1 ∈ [−1, 1], δ = 2/(K−1) apart, and of M components (Salimans et al. 2017, 1701.05517, eqs. 1 and 2)

        P(x) = Σ_i π_i [σ((2x − 1 + δ/2 − μ_i) / s_i) − σ((2x − 1 − δ/2 − μ_i) / s_i)],

    where the lowest level also has all that lies below it, and the highest all above. Params are the logits of π, then what is
    added to means that lie evenly in [−1, 1], then log M s: parameters of zero are components side by side.

    Deviations: each cell has a mixture of its own. Green depends on red through the network that gives the parameters, as in
    1601.06759, and not through a mean that is linear in red (eq. 3).

    Args:
        levels: K, e.g. 256 for 8-bit pictures.
        components: M.

    >>> import torch
    >>> from musegen.probability.likelihood import LogisticMixture
    >>> even = torch.zeros(1, 30, 1)  # one sample of one cell, ten components
    >>> LogisticMixture().log_levels(even).exp().sum()
    tensor(1.0000)
    """

    levels: int = 256
    components: int = 10
    name = "logistic_mixture"

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (3 * self.components, *shape)

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log π, μ and 1/s, each ``(B, M, *S)``."""
        logits, shift, raw = params.chunk(3, 1)
        m = self.components
        evenly = (2 * torch.arange(m, device=params.device, dtype=params.dtype) + 1) / m - 1
        mean = shift + evenly.view(-1, *[1] * (params.dim() - 2))
        return logits.log_softmax(1), mean, m * (-raw.clamp(*LOG_SCALE_BOUNDS)).exp()

    def _log_interval(self, x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
        """log of a component's probability of the level x in [0, 1], whatever the shapes are that broadcast.

        With upper bound b, lower bound a: σ(b) − σ(a) = σ(b) σ(−a) (1 − e^(a − b)). All three factors have logarithms
        without cancellation, so no probability needs a floor.
        """
        half = 1 / (self.levels - 1)  # δ/2
        at = 2 * x - 1 - mean
        upper, lower = (at + half) * inverse, (at - half) * inverse
        below, above = F.logsigmoid(upper), F.logsigmoid(-lower)
        inside = below + above + (-torch.expm1(-2 * half * inverse)).log()
        return torch.where(x < half / 2, below, torch.where(x > 1 - half / 2, above, inside))

    def cell_log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        log_pi, mean, inverse = self._parts(params)
        level = (x * (self.levels - 1)).round().clamp(0, self.levels - 1) / (self.levels - 1)
        return (log_pi + self._log_interval(level[:, None], mean, inverse)).logsumexp(1)

    def log_levels(self, params: Tensor) -> Tensor:
        """log P of every level: ``(B, 3M, *S)`` → ``(B, K, *S)``."""
        log_pi, mean, inverse = (part.unbind(1) for part in self._parts(params))
        values = torch.linspace(0, 1, self.levels, device=params.device, dtype=params.dtype)
        x = values.view(-1, *[1] * (params.dim() - 2))  # (K, 1, …)
        total = None
        for pi, mu, inv in zip(log_pi, mean, inverse, strict=True):  # one by one: M times less memory
            part = pi[:, None] + self._log_interval(x, mu[:, None], inv[:, None])
            total = part if total is None else torch.logaddexp(total, part)
        assert total is not None
        return total

    def mean(self, params: Tensor) -> Tensor:
        return Categorical(self.levels).mean(self.log_levels(params))

    def sample(self, params: Tensor, temperature: float = 1.0) -> Tensor:
        return Categorical(self.levels).sample(self.log_levels(params), temperature)
