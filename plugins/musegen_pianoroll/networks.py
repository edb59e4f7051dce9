"""Convolutional networks for pianorolls, after MuseGAN's composer model (Dong et al. 2018, 1709.06298).

One network writes all tracks together. A temporal network turns the phrase's code into one code per bar, and a bar
network, the same for every bar, turns that into steps × pitches × planes; encoder and discriminator are its mirror.
Pitch grows in two musical strides, first octaves, then the twelve semitones of each, so that a filter of the last layer
spans exactly an octave. Time grows through the prime factors of the bar's length, so any resolution fits. Pitch ranges
that are no whole octaves are padded at the top and cropped.

Deviations from the paper: the temporal generator is a two-layer perceptron per phrase instead of transposed convolutions
over bars, and steps of a bar are upsampled before and between the pitch strides instead of after them, which costs less.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from musegen.domain import Norm
from musegen.networks import Conditioned, batch_norm, normalised

__all__ = ["ComposerDecoder", "ComposerDiscriminator", "ComposerEncoder", "strides"]

SEMITONES = 12


def prime_factors(n: int) -> list[int]:
    """Prime factors of n, ascending: 48 → [2, 2, 2, 2, 3]."""
    factors, divisor = [], 2
    while n > 1:
        while n % divisor == 0:
            factors.append(divisor)
            n //= divisor
        divisor += 1
    return factors


def strides(bar_steps: int, n_pitches: int) -> list[tuple[int, int]]:
    """(time, pitch) factors from 1 × 1 to a whole bar, coarse to fine: pitch grows in the last two layers only.

    >>> strides(16, 84)
    [(2, 1), (2, 1), (2, 7), (2, 12)]
    """
    time = sorted(prime_factors(bar_steps), reverse=True)
    time = [1] * (2 - len(time)) + time
    octaves = -(-n_pitches // SEMITONES)
    return [(t, 1) for t in time[:-2]] + [(time[-2], octaves), (time[-1], SEMITONES)]


class ComposerDecoder(nn.Module):
    """z ``(B, n)`` → parameters ``(B, planes, bars · bar_steps, pitches)``.

    Args:
        n_code: n.
        shape: ``(planes, steps, pitches)``, planes = tracks × planes per track.
        bars: bars per sample; divides steps.
        channels: of the last hidden layer; each earlier one has twice as many, up to four times.
        n_classes: above 0, batch normalisation is conditional on a label.
    """

    def __init__(self, n_code: int, shape: Sequence[int], bars: int, channels: int, n_classes: int = 0) -> None:
        super().__init__()
        self.bars, self.shape = bars, tuple(shape)
        planes, steps, pitches = shape
        *plan, last = strides(steps // bars, pitches)
        widths = [min(channels << i, 4 * channels) for i in reversed(range(len(plan)))]  # e.g. 256, 128, 64
        width = widths[0]
        self.temporal = Conditioned(
            nn.Linear(n_code, 2 * width),
            batch_norm(2 * width, n_classes),
            nn.ReLU(),
            nn.Linear(2 * width, bars * width),
        )
        layers: list[nn.Module] = [batch_norm(width, n_classes), nn.ReLU()]
        for stride, out in zip(plan, widths, strict=True):
            layers += [
                nn.ConvTranspose2d(width, out, stride, stride, bias=False),
                batch_norm(out, n_classes),
                nn.ReLU(),
            ]
            width = out
        head = nn.ConvTranspose2d(width, planes, last, last)
        # About one cell in a hundred sounds; starting there spares the first hundred steps.
        nn.init.constant_(head.bias, -4.0)  # type: ignore[arg-type]
        self.bar = Conditioned(*layers, head)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        planes, steps, pitches = self.shape
        codes = self.temporal(z, label).view(len(z) * self.bars, -1, 1, 1)  # (B, bars · C) -> (B · bars, C, 1, 1)
        label = None if label is None else label.repeat_interleave(self.bars)  # a bar has its phrase's class
        h = self.bar(codes, label)[..., :pitches]  # (B · bars, planes, bar_steps, pitches)
        h = h.view(len(z), self.bars, planes, steps // self.bars, pitches)
        return h.transpose(1, 2).reshape(len(z), planes, steps, pitches)  # bars follow one another in time


class _ComposerTrunk(nn.Module):
    """x ``(B, planes, steps, pitches)`` → features ``(B, F)``: the bar network's mirror, then a layer over all bars."""

    def __init__(self, shape: Sequence[int], bars: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.bars = bars
        planes, steps, pitches = shape
        plan = strides(steps // bars, pitches)[::-1]
        self.pad = -pitches % SEMITONES
        layers: list[nn.Module] = []
        width = planes
        for i, stride in enumerate(plan):
            out = min(channels << i, 4 * channels)
            layers += normalised(nn.Conv2d(width, out, stride, stride), norm, out, first=i == 0)
            layers.append(nn.LeakyReLU(0.2))
            width = out
        self.bar = nn.Sequential(*layers, nn.Flatten())
        self.n_features = 2 * width
        whole = normalised(nn.Linear(bars * width, self.n_features), norm, self.n_features)
        self.phrase = nn.Sequential(*whole, nn.LeakyReLU(0.2))

    def forward(self, x: Tensor) -> Tensor:
        b, planes, steps, pitches = x.shape
        x = x.view(b, planes, self.bars, steps // self.bars, pitches).transpose(1, 2).flatten(0, 1)
        h = self.bar(F.pad(x, (0, self.pad)))  # (B · bars, C)
        return self.phrase(h.view(b, -1))  # (B, bars · C) -> (B, F)


class ComposerEncoder(_ComposerTrunk):
    """x ``(B, planes, steps, pitches)`` → features ``(B, F)``."""

    def __init__(self, shape: Sequence[int], bars: int, channels: int) -> None:
        super().__init__(shape, bars, channels, "batch")


class ComposerDiscriminator(nn.Module):
    """x ``(B, planes, steps, pitches)`` → (features ``(B, F)``, logit ``(B,)``)."""

    def __init__(self, shape: Sequence[int], bars: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.trunk = _ComposerTrunk(shape, bars, channels, norm)
        self.n_features = self.trunk.n_features
        self.logit = normalised(nn.Linear(self.n_features, 1), "spectral" if norm == "spectral" else "none", 1)[0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(x)
        return features, self.logit(features).squeeze(1)  # (B, F), (B,)
