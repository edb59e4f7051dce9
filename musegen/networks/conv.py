"""Convolutional networks for grids of one to three axes and of any size.

They are DCGAN's (Radford et al. 2016, 1511.06434) but for two things. Every axis is halved, rounded up, until it has ``SMALLEST``
cells or fewer, so that sizes need not be powers of two. And a decoder enlarges by repeating cells before each convolution, to the
very size that the encoder had there, instead of by transposed convolutions (Odena et al. 2016, "Deconvolution and checkerboard
artifacts").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from musegen.networks.layers import Conditioned, batch_norm, normalised

if TYPE_CHECKING:
    from musegen.contracts.domain import Norm

__all__ = ["ConvDecoder", "ConvDiscriminator", "ConvEncoder", "sizes"]

SMALLEST = 4
MOST_CHANNELS = 8
"""Times as many channels inside as outside, at most."""
CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def sizes(grid: Sequence[int]) -> list[tuple[int, ...]]:
    """The grid before each layer and after the last: an axis is halved, rounded up, while it has more than four cells.

    >>> from musegen.networks.conv import sizes
    >>> sizes((28, 9))
    [(28, 9), (14, 5), (7, 3), (4, 3)]
    """
    found = [tuple(grid)]
    while len(found) == 1 or any(side > SMALLEST for side in found[-1]):
        found.append(tuple(-(-side // 2) if side > SMALLEST else side for side in found[-1]))
    return found


def _channels(outermost: int, layers: int) -> list[int]:
    """Of each layer, from the grid inwards."""
    return [outermost * min(1 << i, MOST_CHANNELS) for i in range(layers)]


def _split(shape: Sequence[int], rank: int) -> tuple[int, tuple[int, ...]]:
    """Channels and grid of a sample whose last ``rank`` axes are the grid."""
    return math.prod(shape[: len(shape) - rank]), tuple(shape[len(shape) - rank :])


class ConvEncoder(nn.Module):
    """x ``(B, *S)`` → features ``(B, F)``: convolutions of three cells that halve the grid, leaky ReLU.

    Args:
        shape: S; its last ``rank`` axes are the grid, those before are channels.
        channels: of the first layer; each later one has twice as many, up to eight times.
        rank: axes that convolutions run over, 1 to 3.

    >>> import torch
    >>> from musegen.networks.conv import ConvEncoder
    >>> encoder = ConvEncoder((2, 100), channels=8, rank=1)  # two signals of 100 steps
    >>> encoder(torch.zeros(3, 2, 100)).shape, encoder.n_features
    (torch.Size([3, 256]), 256)
    """

    def __init__(self, shape: Sequence[int], channels: int, rank: int, norm: Norm = "batch") -> None:
        super().__init__()
        width, grid = _split(shape, rank)
        grids = sizes(grid)
        layers: list[nn.Module] = []
        self.input_shape = (width, *grid)
        for i, (out, (before, after)) in enumerate(
            zip(_channels(channels, len(grids) - 1), pairwise(grids), strict=True)
        ):
            stride = tuple(2 if b != a else 1 for b, a in zip(before, after, strict=True))
            layers += normalised(CONV[rank](width, out, 3, stride, padding=1), norm, out, first=i == 0)
            layers.append(nn.LeakyReLU(0.2))
            width = out
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.n_features = width * math.prod(grids[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.reshape(-1, *self.input_shape))  # (B, *S) -> (B, channels, *grid)


class ConvDecoder(nn.Module):
    """z ``(B, n)`` → parameters ``(B, *params_shape)``: the encoder's grids backwards, batch normalisation, ReLU.

    Args:
        n_code: n.
        params_shape: its last ``rank`` axes are the grid.
        channels, rank: as of the encoder.
        n_classes: above 0, batch normalisation is conditional on a label.
    """

    def __init__(self, n_code: int, params_shape: Sequence[int], channels: int, rank: int, n_classes: int = 0) -> None:
        super().__init__()
        planes, grid = _split(params_shape, rank)
        outwards = sizes(grid)[::-1]
        widths = _channels(channels, len(outwards) - 1)[::-1]
        width = widths[0]
        layers: list[nn.Module] = [nn.Linear(n_code, width * math.prod(outwards[0]))]
        layers += [nn.Unflatten(1, (width, *outwards[0])), batch_norm(width, n_classes), nn.ReLU()]
        for i, (out, larger) in enumerate(zip([*widths[1:], planes], outwards[1:], strict=True), 1):
            last = i == len(widths)
            layers += [nn.Upsample(size=larger, mode="nearest"), CONV[rank](width, out, 3, padding=1)]
            layers += [] if last else [batch_norm(out, n_classes), nn.ReLU()]
            width = out
        self.layers = Conditioned(*layers)
        self.params_shape = tuple(params_shape)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.layers(z, label).reshape(-1, *self.params_shape)  # (B, planes, *grid) -> (B, *params_shape)


class ConvDiscriminator(nn.Module):
    """x ``(B, *S)`` → (features ``(B, F)``, logit ``(B,)``); arguments as of the encoder."""

    def __init__(self, shape: Sequence[int], channels: int, rank: int, norm: Norm) -> None:
        super().__init__()
        self.trunk = ConvEncoder(shape, channels, rank, norm)
        self.n_features = self.trunk.n_features
        self.logit = normalised(nn.Linear(self.n_features, 1), "spectral" if norm == "spectral" else "none", 1)[0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(x)
        return features, self.logit(features).squeeze(1)
