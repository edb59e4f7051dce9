"""DCGAN networks (Radford et al. 2016, 1511.06434) for grids ``(C, H, W)``, pictures or spectrograms, whose sides halve down
to 4–8.

With ``dense`` units there is one fully connected layer more between the code, or the features, and the convolutions, as in
the networks of InfoGAN (Chen et al. 2016, 1606.03657, table 1: 64 channels, 1,024 units): the parts of a code can then act
together before they take up space, and features are of the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from musegen.contracts.domain import Norm
from musegen.errors import BadInput
from musegen.networks.layers import Conditioned, batch_norm, normalised

__all__ = ["DCGANDecoder", "DCGANDiscriminator", "DCGANEncoder", "fits", "halvings", "nearest_side", "strides"]


def _halved(side: int) -> tuple[int, int]:
    """How often a side can be halved until it is 4 or odd, and what it is then."""
    n = 0
    while side % 2 == 0 and side > 4:
        n, side = n + 1, side // 2
    return n, side


def fits(side: int) -> bool:
    """Whether a side halves down to 8 cells or fewer."""
    n, left = _halved(side)
    return n > 0 and left <= 8


def nearest_side(side: float, multiple: int = 1) -> int:
    """The side next to this one that halves down to 8 cells or fewer, and is a multiple of so many."""
    sides = (base << k for base in (4, 5, 6, 7) for k in range(1, 16))
    return min((s for s in sides if s % multiple == 0), key=lambda s: abs(s - side))


def halvings(side: int) -> int:
    """How often a side is halved: 28 → 14 → 7 is 2, 32 → 16 → 8 → 4 is 3.

    Args:
        option: that sets the side, for the message, where the domain has one.

    Raises:
        BadInput: the side does not halve down to 8 cells or fewer; a domain says it first, in the words of its options.
    """
    if not fits(side):
        raise BadInput(
            f"A side of {side} cells does not fit convolutional networks, which halve it to 4–8: "
            f"use {nearest_side(side)} cells, or other networks."
        )
    return _halved(side)[0]


def strides(height: int, width: int) -> list[tuple[int, int]]:
    """Stride of each layer over rows and columns, from the grid inwards; the longer side is halved alone at first.

    Raises:
        BadInput: a side does not halve down to 8 cells or fewer.
    """
    per_side = halvings(height), halvings(width)
    n = max(per_side)
    return [(2 if i >= n - per_side[0] else 1, 2 if i >= n - per_side[1] else 1) for i in range(n)]


def _kernel(stride: tuple[int, int]) -> tuple[int, int]:
    """With padding 1, 4 halves or doubles a side, and 3 keeps it."""
    return (4 if stride[0] == 2 else 3, 4 if stride[1] == 2 else 3)


def _initialise(module: nn.Module) -> None:
    """N(0, 0.02) weights, as in section 3 of the paper; batch normalisation around 1."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)


class DCGANDecoder(nn.Module):
    """z ``(B, n)`` → parameters ``(B, *params_shape)``: transposed convolutions, batch normalisation, ReLU.

    Args:
        n_code: n.
        params_shape: ``(…, H, W)``; what stands before H and W becomes channels of the last layer.
        channels: of the last hidden layer; each earlier one has twice as many.
        dense: units of a fully connected layer before the convolutions; 0 for none.
        n_classes: above 0, batch normalisation is conditional on a label.
    """

    def __init__(
        self, n_code: int, params_shape: Sequence[int], channels: int, dense: int = 0, n_classes: int = 0
    ) -> None:
        super().__init__()
        *planes, rows, columns = params_shape
        inwards = strides(rows, columns)
        n = len(inwards)
        side, width = (rows >> halvings(rows), columns >> halvings(columns)), channels << (n - 1)
        n_planes = 1
        for plane in planes:
            n_planes *= plane
        layers: list[nn.Module] = []
        if dense:
            layers += [nn.Linear(n_code, dense), batch_norm(dense, n_classes), nn.ReLU()]
        layers += [nn.Linear(dense or n_code, width * side[0] * side[1]), nn.Unflatten(1, (width, *side))]
        layers += [batch_norm(width, n_classes), nn.ReLU()]
        for i, stride in enumerate(reversed(inwards)):
            last = i == n - 1
            out = n_planes if last else width // 2
            layers.append(nn.ConvTranspose2d(width, out, _kernel(stride), stride, padding=1))  # side -> stride · side
            layers += [] if last else [batch_norm(out, n_classes), nn.ReLU()]
            width = out
        self.layers = Conditioned(*layers)
        self.params_shape = tuple(params_shape)
        self.apply(_initialise)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.layers(z, label).reshape(-1, *self.params_shape)  # (B, planes, H, W) -> (B, *params_shape)


class _Trunk(nn.Module):
    """x ``(B, C, H, W)`` → features ``(B, F)``: strided convolutions, leaky ReLU; F is ``dense`` if that is not 0."""

    def __init__(self, shape: Sequence[int], channels: int, dense: int, norm: Norm) -> None:
        super().__init__()
        width_in, rows, columns = shape
        layers: list[nn.Module] = []
        for i, stride in enumerate(strides(rows, columns)):
            out = channels << i
            layers += normalised(nn.Conv2d(width_in, out, _kernel(stride), stride, padding=1), norm, out, first=i == 0)
            layers.append(nn.LeakyReLU(0.2))
            width_in = out
        layers.append(nn.Flatten())
        self.n_features = width_in * (rows >> halvings(rows)) * (columns >> halvings(columns))
        if dense:
            layers += [*normalised(nn.Linear(self.n_features, dense), norm, dense), nn.LeakyReLU(0.2)]
            self.n_features = dense
        self.layers = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class DCGANEncoder(_Trunk):
    """x ``(B, C, H, W)`` → features ``(B, F)``; the discriminator's trunk, as in most VAEs built on DCGAN."""

    def __init__(self, shape: Sequence[int], channels: int, dense: int = 0) -> None:
        super().__init__(shape, channels, dense, "batch")


class DCGANDiscriminator(nn.Module):
    """x ``(B, C, H, W)`` → (features ``(B, F)``, logit ``(B,)``)."""

    def __init__(self, shape: Sequence[int], channels: int, dense: int, norm: Norm) -> None:
        super().__init__()
        self.trunk = _Trunk(shape, channels, dense, norm)
        self.n_features = self.trunk.n_features
        self.logit = normalised(nn.Linear(self.n_features, 1), "spectral" if norm == "spectral" else "none", 1)[0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(x)
        return features, self.logit(features).squeeze(1)
