"""Networks that belong to no domain: multilayer perceptrons over samples of any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from musegen.domain import Norm

__all__ = ["Biases", "MLPDecoder", "MLPDiscriminator", "MLPEncoder", "normalised"]


def normalised(layer: nn.Module, norm: Norm, channels: int, first: bool = False) -> list[nn.Module]:
    """A linear or convolutional layer with its normalisation, as a list for ``nn.Sequential``.

    ``batch`` leaves the first layer of a discriminator alone (1511.06434, section 3); ``spectral`` takes every layer
    (Miyato et al. 2018, 1802.05957).
    """
    if norm == "spectral":
        return [spectral_norm(layer)]
    if norm == "batch" and not first:
        batch_norm = nn.BatchNorm1d if isinstance(layer, nn.Linear) else nn.BatchNorm2d
        return [layer, batch_norm(channels)]
    return [layer]


class MLPEncoder(nn.Module):
    """x ``(B, *S)`` → features ``(B, F)``: ReLU layers of the given widths; F is the last."""

    def __init__(self, shape: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        sizes = [math.prod(shape), *widths]
        layers = [m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), nn.ReLU())]
        self.layers = nn.Sequential(*layers)
        self.n_features = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))  # (B, *S) -> (B, prod S)


class MLPDecoder(nn.Module):
    """z ``(B, n)`` → parameters ``(B, *params_shape)``: the encoder's widths backwards, the last layer linear."""

    def __init__(self, n_code: int, params_shape: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        sizes = [n_code, *reversed(widths)]
        layers = [m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], math.prod(params_shape)))
        self.params_shape = tuple(params_shape)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z).unflatten(1, self.params_shape)  # (B, prod) -> (B, *params_shape)


class MLPDiscriminator(nn.Module):
    """x ``(B, *S)`` → (features ``(B, F)``, logit ``(B,)``): leaky ReLU layers, normalised as asked."""

    def __init__(self, shape: Sequence[int], widths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        sizes = [math.prod(shape), *widths]
        layers: list[nn.Module] = []
        for n, (i, o) in enumerate(pairwise(sizes)):
            layers += [*normalised(nn.Linear(i, o), norm, o, first=n == 0), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.logit = normalised(nn.Linear(sizes[-1], 1), "spectral" if norm == "spectral" else "none", 1)[0]
        self.n_features = sizes[-1]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.layers(x.flatten(1))
        return features, self.logit(features).squeeze(1)  # (B, F), (B, 1) -> (B,)


class Biases(nn.Module):
    """Learned logits of n units that nothing feeds, the same for every row: ``rows`` → ``(rows, n)``; 0 at first."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n))

    def forward(self, rows: int) -> Tensor:
        return self.bias.expand(rows, -1)  # (n,) -> (rows, n)
