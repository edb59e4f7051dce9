"""Networks that belong to no domain: multilayer perceptrons over samples of any shape."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

if TYPE_CHECKING:
    from musegen.contracts.domain import Norm

__all__ = [
    "Biases",
    "BinaryNeurons",
    "ConditionalBatchNorm",
    "Conditioned",
    "GivenDecoder",
    "batch_norm",
    "normalised",
    "own_statistics",
]


def normalised(layer: nn.Module, norm: Norm, channels: int, first: bool = False) -> list[nn.Module]:
    """A linear or convolutional layer with its normalisation, as a list for ``nn.Sequential``.

    ``batch`` leaves the first layer of a discriminator alone (1511.06434, section 3); ``spectral`` takes every layer
    (Miyato et al. 2018, 1802.05957).
    """
    if norm == "spectral":
        return [spectral_norm(layer)]
    if norm == "batch" and not first:
        of_kind = {nn.Linear: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d}.get(type(layer), batch_norm)
        return [layer, of_kind(channels)]
    return [layer]


@contextlib.contextmanager
def own_statistics(network: nn.Module) -> Iterator[None]:
    """A scope in which batch normalisation uses the statistics of its batch, also in evaluation, and remembers none."""
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(layer.training, layer.track_running_stats) for layer in layers]
    for layer in layers:
        layer.training, layer.track_running_stats = True, False
    try:
        yield
    finally:
        for layer, (training, track) in zip(layers, before, strict=True):
            layer.training, layer.track_running_stats = training, track


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose scale and shift belong to the class (Dumoulin et al. 2017, 1610.07629; Miyato & Koyama 2018).

    With the same scale and shift for every class it is batch normalisation; it starts there, at 1 and 0.

    Args:
        channels: of x ``(B, channels, …)``.
        n_classes: classes.
    """

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.norm = _BatchNorm(channels, affine=False)
        self.scale = nn.Embedding(n_classes, channels)
        self.shift = nn.Embedding(n_classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        extra = [1] * (x.dim() - 2)
        scale, shift = (e(label).view(*x.shape[:2], *extra) for e in (self.scale, self.shift))  # (B, C) -> (B, C, 1…)
        return torch.addcmul(shift, self.norm(x), scale)


class _BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation of ``(B, C, …)`` of any number of axes."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


class Conditioned(nn.Sequential):
    """``nn.Sequential`` that hands the label to its ``ConditionalBatchNorm`` layers."""

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        for layer in self:
            x = layer(x, label) if isinstance(layer, ConditionalBatchNorm) else layer(x)
        return x


def batch_norm(channels: int, n_classes: int = 0) -> nn.Module:
    """Batch normalisation of ``(B, channels, …)``, conditional where there are classes."""
    return ConditionalBatchNorm(channels, n_classes) if n_classes else _BatchNorm(channels)


class GivenDecoder(nn.Module):
    """z ``(B, n)``, given ``(B, *S)`` → parameters ``(B, *params_shape)``: n features of what is given join the code.

    Args:
        encoder: of samples; has an attribute ``n_features``.
        decoder: of codes of length 2n; it may take a label.
        n_code: n.
    """

    def __init__(self, encoder: Any, decoder: nn.Module, n_code: int) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.summary = nn.Linear(encoder.n_features, n_code)

    def forward(self, z: Tensor, label: Tensor | None = None, *, given: Tensor) -> Tensor:
        code = torch.cat([z, self.summary(self.encoder(given))], 1)  # (B, n), (B, n) -> (B, 2n)
        return self.decoder(code) if label is None else self.decoder(code, label)


class BinaryNeurons(nn.Module):
    """Logits → 0 or 1, with the straight-through gradient (Bengio et al. 2013, 1308.3432; Dong & Yang 2018, 1804.09399).

    p = σ(s · logit), with slope s. Forward, a deterministic neuron is 1[p > ½], a stochastic one is 1[u < p] for uniform u;
    backward, both are p, whose derivative is s p (1 − p): the sigmoid-adjusted estimator. s = rate ^ epoch (Chung et al.
    2017, 1609.01704), up to ``MAX_SLOPE``, brings p closer to the step that it stands for.

    Args:
        kind: of neuron.
        rate: of annealing, per epoch; 1 leaves s at 1.
    """

    MAX_SLOPE = 5.0
    """Where Chung et al. stop; beyond it hardly any cell has a gradient."""
    slope: Tensor

    def __init__(self, kind: Literal["deterministic", "stochastic"], rate: float = 1.0) -> None:
        super().__init__()
        self.kind, self.rate = kind, rate
        self.register_buffer("slope", torch.ones(()))  # saved, because what a stochastic neuron draws depends on it

    def anneal(self, epoch: int) -> None:
        """Set the slope for an epoch, counted from 0."""
        # In logarithms: a power of a late epoch would overflow.
        self.slope.fill_(math.exp(min(epoch * math.log(self.rate), math.log(self.MAX_SLOPE))))

    def forward(self, logits: Tensor, mode: bool = False) -> Tensor:
        """Same shape, 0 or 1; ``mode`` asks a stochastic neuron for its more probable value."""
        p = (self.slope * logits).sigmoid()
        # The sign of the logit says p > ½ without the rounding of σ.
        on = logits > 0 if mode or self.kind == "deterministic" else p > torch.rand_like(p)
        return on.to(p.dtype) + (p - p.detach())  # the bracket is exactly 0, and carries the gradient


class Biases(nn.Module):
    """Learned parameters of units that nothing feeds, the same for every row: ``rows`` → ``(rows, *shape)``; 0 at first."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(*shape))

    def forward(self, rows: int) -> Tensor:
        return self.bias.expand(rows, *self.bias.shape)  # (*shape,) -> (rows, *shape)
