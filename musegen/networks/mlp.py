"""Multilayer perceptrons over samples of any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

from musegen.networks.layers import Conditioned, batch_norm, normalised

if TYPE_CHECKING:
    from musegen.contracts.domain import Norm

__all__ = ["MLPDecoder", "MLPDiscriminator", "MLPEncoder"]


class MLPEncoder(nn.Module):
    """x ``(B, *S)`` → features ``(B, F)``: ReLU layers of the given widths; F is the last.

    >>> import torch
    >>> from musegen.networks.mlp import MLPEncoder
    >>> encoder = MLPEncoder((1, 28, 28), widths=[400, 200])
    >>> encoder(torch.zeros(2, 1, 28, 28)).shape, encoder.n_features
    (torch.Size([2, 200]), 200)
    """

    def __init__(self, shape: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        sizes = [math.prod(shape), *widths]
        layers = [m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), nn.ReLU())]
        self.layers = nn.Sequential(*layers)
        self.n_features = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))  # (B, *S) -> (B, prod S)


class MLPDecoder(nn.Module):
    """z ``(B, n)`` → parameters ``(B, *params_shape)``: the encoder's widths backwards, the last layer linear.

    With classes it also takes a label ``(B,)``, for conditional batch normalisation of the hidden layers.
    """

    def __init__(self, n_code: int, params_shape: Sequence[int], widths: Sequence[int], n_classes: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        sizes = [n_code, *reversed(widths)]
        for i, o in pairwise(sizes):
            layers += [nn.Linear(i, o), *([batch_norm(o, n_classes)] if n_classes else []), nn.ReLU()]
        self.layers = Conditioned(*layers, nn.Linear(sizes[-1], math.prod(params_shape)))
        self.params_shape = tuple(params_shape)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.layers(z, label).unflatten(1, self.params_shape)  # (B, prod) -> (B, *params_shape)


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
