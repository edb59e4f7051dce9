"""Linear networks and data whose optima are known in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from musegen.probability.likelihood import Gaussian


class Identity(nn.Module):
    """An encoder that passes x on."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n_features = n

    def forward(self, x: Tensor) -> Tensor:
        return x


class Linear(nn.Module):
    """A linear decoder of means."""

    def __init__(self, n_code: int, n_data: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n_code, n_data)

    def forward(self, z: Tensor) -> Tensor:
        return self.layer(z)


class LinearGaussian(nn.Module):
    """The decoder of probabilistic PCA: x = W z + b + noise of one σ for all dimensions."""

    def __init__(self, n_code: int, n_data: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n_code, n_data)
        self.raw_scale = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor) -> Tensor:
        loc = self.layer(z)
        return torch.stack([loc, self.raw_scale.expand_as(loc)], 1)  # (B, 2, n)


@dataclass(frozen=True)
class UnitGaussian(Gaussian):
    """x ∈ ℝ with σ = 1; params are the mean alone."""

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def cell_log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return -0.5 * (x - params).square() - 0.5 * math.log(2 * math.pi)

    def mean(self, params: Tensor) -> Tensor:
        return params


def correlated(n: int, n_data: int, seed: int = 0) -> Tensor:
    """n draws of a Gaussian whose principal variances are well apart, float32 ``(n, n_data)``."""
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(n_data, n_data, generator=generator))[0]
    scales = torch.tensor([2.0 * 0.62**i for i in range(n_data)])
    return torch.randn(n, n_data, generator=generator) * scales @ rotation.T + 0.3
