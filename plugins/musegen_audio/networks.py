"""Networks in the manner of GANSynth (Engel et al. 2019, 1902.08710, appendix A; after Karras et al. 2018, 1710.10196).

Nearest-neighbour upsampling or average pooling, two 3 × 3 convolutions at every size, leaky ReLU (0.2), in decoders pixel
normalisation, in discriminators the standard deviation over the minibatch as one more feature map. Deviations: all sizes are
trained at once instead of growing, weights start at He et al.'s scale instead of being rescaled in every pass, and a label
joins the code as an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.contracts.domain import Norm
from musegen.networks.dcgan import halvings, strides
from musegen.networks.layers import normalised
from musegen.probability.whole_batch import batch_mean

__all__ = ["GANSynthDecoder", "GANSynthDiscriminator", "GANSynthEncoder"]

LEAK = 0.2


class PixelNorm(nn.Module):
    """Every position's features ``(B, C, …)`` to a mean square of 1 (1710.10196, section 4.2)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)) and not hasattr(module, "parametrizations"):
        nn.init.kaiming_normal_(module.weight, LEAK)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


class GANSynthDecoder(nn.Module):
    """z ``(B, n)`` → parameters ``(B, *params_shape)``.

    Args:
        n_code: n.
        params_shape: ``(…, H, W)``; what stands before H and W becomes channels of the last layer.
        channels: at the full size; twice as many at every smaller one.
        n_classes: above 0, a label ``(B,)`` joins the code.
    """

    def __init__(self, n_code: int, params_shape: Sequence[int], channels: int, n_classes: int = 0) -> None:
        super().__init__()
        *planes, rows, columns = params_shape
        inwards = strides(rows, columns)
        side = (rows >> halvings(rows), columns >> halvings(columns))
        width = channels << len(inwards)
        self.label = nn.Embedding(n_classes, n_code) if n_classes else None
        inputs = n_code * (2 if n_classes else 1)
        layers: list[nn.Module] = [
            PixelNorm(),
            nn.Linear(inputs, width * math.prod(side)),
            nn.Unflatten(1, (width, *side)),
        ]
        layers += [nn.LeakyReLU(LEAK), PixelNorm()]
        for stride in reversed(inwards):
            layers.append(nn.Upsample(scale_factor=stride, mode="nearest"))
            for source, target in ((width, width // 2), (width // 2, width // 2)):
                layers += [nn.Conv2d(source, target, 3, padding=1), nn.LeakyReLU(LEAK), PixelNorm()]
            width //= 2
        layers.append(nn.Conv2d(width, math.prod(planes), 1))
        self.layers = nn.Sequential(*layers)
        self.params_shape = tuple(params_shape)
        self.apply(_initialise)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.label is not None:
            z = torch.cat([z, self.label(label)], 1)  # (B, n), (B, n) -> (B, 2n)
        return self.layers(z).reshape(-1, *self.params_shape)  # (B, planes, H, W) -> (B, *params_shape)


class _Trunk(nn.Module):
    """x ``(B, C, H, W)`` → feature maps ``(B, width, h, w)`` of the smallest size."""

    def __init__(self, shape: Sequence[int], channels: int, norm: Norm) -> None:
        super().__init__()
        planes, rows, columns = shape
        layers: list[nn.Module] = [
            *normalised(nn.Conv2d(planes, channels, 1), norm, channels, first=True),
            nn.LeakyReLU(LEAK),
        ]
        width = channels
        for stride in strides(rows, columns):
            for source, target in ((width, width), (width, 2 * width)):
                layers += [*normalised(nn.Conv2d(source, target, 3, padding=1), norm, target), nn.LeakyReLU(LEAK)]
            layers.append(nn.AvgPool2d(stride))
            width *= 2
        self.layers = nn.Sequential(*layers)
        self.width, self.cells = width, (rows >> halvings(rows)) * (columns >> halvings(columns))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class GANSynthEncoder(nn.Module):
    """x ``(B, C, H, W)`` → features ``(B, F)``."""

    def __init__(self, shape: Sequence[int], channels: int) -> None:
        super().__init__()
        self.trunk = _Trunk(shape, channels, "none")
        self.n_features = self.trunk.width
        self.last = nn.Linear(self.trunk.width * self.trunk.cells, self.n_features)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.last(self.trunk(x).flatten(1)), LEAK)


class GANSynthDiscriminator(nn.Module):
    """x ``(B, C, H, W)`` → (features ``(B, F)``, logit ``(B,)``)."""

    def __init__(self, shape: Sequence[int], channels: int, norm: Norm) -> None:
        super().__init__()
        self.trunk = _Trunk(shape, channels, norm)
        width = self.n_features = self.trunk.width
        last: list[nn.Module] = normalised(nn.Conv2d(width + 1, width, 3, padding=1), norm, width)
        self.last = nn.Sequential(*last, nn.LeakyReLU(LEAK), nn.Flatten())
        dense = normalised(
            nn.Linear(width * self.trunk.cells, width), "spectral" if norm == "spectral" else "none", width
        )
        self.dense = nn.Sequential(*dense, nn.LeakyReLU(LEAK))
        self.logit = normalised(nn.Linear(width, 1), "spectral" if norm == "spectral" else "none", 1)[0]
        self.apply(_initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.trunk(x)
        features = self.dense(self.last(torch.cat([maps, _deviation(maps)], 1)))
        return features, self.logit(features).squeeze(1)


def _deviation(x: Tensor) -> Tensor:
    """Mean standard deviation over the minibatch of features ``(B, C, h, w)``: one map ``(B, 1, h, w)`` (1710.10196, section 3)."""
    centred = x - batch_mean(x)
    deviation = (batch_mean(centred.square()) + 1e-8).sqrt().mean()
    return deviation.expand(x.shape[0], 1, *x.shape[2:])
