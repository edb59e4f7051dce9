"""MuseGAN's networks for pianorolls (Dong et al. 2018, 1709.06298): composer, jamming and hybrid, from scratch or to a given track.

A phrase of bars is written in two stages. A temporal generator G_temp turns a time-dependent code z_t into one code per bar; a
bar generator, the same for every bar, turns that and the time-independent code z into steps × pitches × planes. The three
models differ in who writes what, and in who judges it; M is the number of tracks:

    model     codes                                     generators   critics
    composer  z, z_t                                    1            1         one network writes all tracks
    jamming   z_i, z_i,t for each track                 M            M         everybody plays, nobody listens
    hybrid    shared z, z_t and z_i, z_i,t for each     M            1         everybody plays, and hears the composer

So one code vector of any length is cut into 2, 2M or 2 + 2M consecutive parts, in the order of that table (z before z_t, shared
before tracks), whose lengths differ by at most one. A class that a family puts into the code reaches some tracks only in jamming;
as a label of the decoder (conditional batch normalisation) it reaches all.

Track-conditional (section "track-conditional generator"): a bar encoder, the bar generator's mirror, reads the given part, and its
features at each resolution join the input of every layer of every bar generator.

Pitch grows in two musical strides, first octaves, then the twelve semitones of each, so that a filter of the last layer
spans exactly an octave. Time grows through the prime factors of the bar's length, so any resolution fits. Pitch ranges
that are no whole octaves are padded at the top and cropped. Only generators have batch normalisation unless a family asks
for it in the discriminator.

The encoder of all three is the composer's critic without its logit: a family's posterior may look at all tracks.

Deviations from the paper: steps of a bar are upsampled before and together with the pitch strides instead of all before them; the
temporal generator gives as many channels per bar as the bar generator's first layer has, so that short codes do not
starve it; and given bars also join the codes of all bars through one layer, so that a bar can follow those before it (``given`` =
past).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.contracts.domain import Norm
from musegen.errors import BadInput
from musegen.networks.layers import Conditioned, batch_norm, normalised

__all__ = [
    "Arrangement",
    "ComposerDiscriminator",
    "ComposerEncoder",
    "JammingDiscriminator",
    "MuseGANDecoder",
    "strides",
]

Arrangement = Literal["composer", "jamming", "hybrid"]
SEMITONES = 12
GIVEN_CHANNELS = 16
"""Feature maps of the bar encoder, as in the authors' code."""


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

    >>> from musegen_pianoroll.networks.musegan import strides
    >>> strides(16, 84)
    [(2, 1), (2, 1), (2, 7), (2, 12)]
    """
    time = sorted(prime_factors(bar_steps), reverse=True)
    time = [1] * (2 - len(time)) + time
    octaves = -(-n_pitches // SEMITONES)
    return [(t, 1) for t in time[:-2]] + [(time[-2], octaves), (time[-1], SEMITONES)]


def in_bars(x: Tensor, bars: int) -> Tensor:
    """x ``(B, planes, steps, pitches)`` → whole octaves of each bar, ``(B · bars, planes, bar_steps, pitches + padding)``."""
    b, planes, steps, pitches = x.shape
    x = x.view(b, planes, bars, steps // bars, pitches).transpose(1, 2).flatten(0, 1)
    return F.pad(x, (0, -pitches % SEMITONES))


class TemporalGenerator(nn.Module):
    """G_temp: z_t ``(B, n)`` → a code per bar ``(B, bars, channels)``: two transposed convolutions over bars, 1 → ⌈bars/2⌉ → bars.

    With four bars their kernels are 2 and 3, the paper's.
    """

    def __init__(self, n_code: int, bars: int, channels: int, n_classes: int = 0) -> None:
        super().__init__()
        half = -(-bars // 2)
        self.layers = Conditioned(
            nn.ConvTranspose1d(n_code, 2 * channels, half, bias=False),
            batch_norm(2 * channels, n_classes),
            nn.ReLU(),
            nn.ConvTranspose1d(2 * channels, channels, bars - half + 1, bias=False),
            batch_norm(channels, n_classes),
            nn.ReLU(),
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.layers(z[:, :, None], label).transpose(1, 2)  # (B, n, 1) -> (B, C, bars) -> (B, bars, C)


class BarGenerator(nn.Module):
    """G_bar: codes of bars ``(B, n)`` → parameters ``(B, planes, bar_steps, pitches)``, where B counts bars.

    Args:
        n_code: n.
        shape: ``(planes, bar_steps, pitches)``.
        channels: of the last hidden layer; each earlier one has twice as many, up to four times.
        n_classes: above 0, batch normalisation is conditional on a label.
        n_given: feature maps of the bar encoder that join the input of every layer; 0 without one.
    """

    def __init__(self, n_code: int, shape: Sequence[int], channels: int, n_classes: int = 0, n_given: int = 0) -> None:
        super().__init__()
        planes, bar_steps, self.pitches = shape
        *plan, last = strides(bar_steps, self.pitches)
        widths = [min(channels << i, 4 * channels) for i in reversed(range(len(plan)))]  # e.g. 256, 128, 64
        width = widths[0]
        self.first = Conditioned(nn.Linear(n_code, width, bias=False), batch_norm(width, n_classes), nn.ReLU())
        layers: list[nn.Module] = []
        for stride, out in zip(plan, widths, strict=True):
            grow = nn.ConvTranspose2d(width + n_given, out, stride, stride, bias=False)
            layers.append(Conditioned(grow, batch_norm(out, n_classes), nn.ReLU()))
            width = out
        head = nn.ConvTranspose2d(width + n_given, planes, last, last)
        # About one cell in a hundred sounds; starting there spares the first hundred steps.
        nn.init.constant_(head.bias, -4.0)  # type: ignore[arg-type]
        self.layers = nn.ModuleList([*layers, Conditioned(head)])

    def forward(self, code: Tensor, label: Tensor | None = None, given: Sequence[Tensor] = ()) -> Tensor:
        h = self.first(code, label)[:, :, None, None]  # (B, C) -> (B, C, 1, 1)
        for i, layer in enumerate(self.layers):
            h = layer(torch.cat([h, given[i]], 1) if given else h, label)
        return h[..., : self.pitches]


class BarEncoder(nn.Module):
    """A bar ``(B, planes, bar_steps, pitches)`` → features for each layer of a bar generator, coarse to fine.

    The first are ``(B, 16, 1, 1)``; the last have a cell per octave and per step or few.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        planes, bar_steps, pitches = shape
        widths = [planes] + [GIVEN_CHANNELS] * len(strides(bar_steps, pitches))
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, stride, stride, bias=False), batch_norm(o), nn.LeakyReLU(0.2))
            for i, o, stride in zip(widths[:-1], widths[1:], strides(bar_steps, pitches)[::-1], strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return features[::-1]


class MuseGANDecoder(nn.Module):
    """z ``(B, n)`` → parameters ``(B, planes, bars · bar_steps, pitches)``.

    Args:
        arrangement: who writes what, see the module's docstring.
        n_code: n.
        shape: ``(planes, steps, pitches)``, planes = tracks × planes per track.
        n_tracks: M.
        bars: bars per sample; divides steps.
        channels: of the last hidden layer of each bar generator.
        n_classes: above 0, batch normalisation is conditional on a label.
        given: it also takes what is given, zero elsewhere, ``(B, planes, steps, pitches)``.

    Raises:
        BadInput: the code is too short to be cut into its parts.
    """

    def __init__(
        self,
        arrangement: Arrangement,
        n_code: int,
        shape: Sequence[int],
        n_tracks: int,
        bars: int,
        channels: int,
        n_classes: int = 0,
        given: bool = False,
    ) -> None:
        super().__init__()
        planes, steps, pitches = shape
        self.bars = bars
        self.n_generators = 1 if arrangement == "composer" else n_tracks
        self.n_shared = int(arrangement == "hybrid")
        self.n_parts = 2 * (self.n_generators + self.n_shared)
        if n_code < self.n_parts:
            raise BadInput(
                f"networks=musegan-{arrangement} cuts the code into {self.n_parts} parts for {n_tracks} tracks, and a code of "
                f"{n_code} is too short: use latent_dim={self.n_parts} or more, or networks=mlp."
            )
        lengths = [len(part) for part in torch.zeros(n_code).tensor_split(self.n_parts)]
        self.temporal = nn.ModuleList(TemporalGenerator(n, bars, 4 * channels, n_classes) for n in lengths[1::2])
        # What each generator reads: z and G_temp(z_t) of its own, those that are shared, and the given bars' summary.
        per_pair = [n + 4 * channels for n in lengths[::2]]
        extra = sum(per_pair[: self.n_shared]) + given * 4 * channels
        bar_shape = (planes // self.n_generators, steps // bars, pitches)
        self.bar = nn.ModuleList(
            BarGenerator(extra + n, bar_shape, channels, n_classes, given * GIVEN_CHANNELS)
            for n in per_pair[self.n_shared :]
        )
        if given:
            self.given = BarEncoder((planes, steps // bars, pitches))
            self.before = nn.Linear(bars * GIVEN_CHANNELS, 4 * channels)

    def forward(self, z: Tensor, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        parts = z.tensor_split(self.n_parts, 1)
        codes = [
            torch.cat([still[:, None].expand(-1, self.bars, -1), temporal(moving, label)], 2)  # (B, bars, n + C)
            for still, moving, temporal in zip(parts[::2], parts[1::2], self.temporal, strict=True)
        ]
        common, own = codes[: self.n_shared], codes[self.n_shared :]
        seen: list[Tensor] = []
        if given is not None:
            seen = self.given(in_bars(given, self.bars))
            summary = F.relu(
                self.before(seen[0].view(z.shape[0], -1))
            )  # (B · bars, 16, 1, 1) -> (B, bars · 16) -> (B, C)
            common = [*common, summary[:, None].expand(-1, self.bars, -1)]
        label = None if label is None else label.repeat_interleave(self.bars)  # a bar has its phrase's class
        tracks = [
            generator(torch.cat([*common, code], 2).flatten(0, 1), label, seen)
            for generator, code in zip(self.bar, own, strict=True)
        ]
        x = torch.cat(tracks, 1)  # M × (B · bars, planes / M, bar_steps, pitches) -> (B · bars, planes, …)
        return x.unflatten(0, (-1, self.bars)).transpose(1, 2).flatten(2, 3)  # bars follow one another in time


class _ComposerTrunk(nn.Module):
    """x ``(B, planes, steps, pitches)`` → features ``(B, F)``: the bar network's mirror, then a layer over all bars."""

    def __init__(self, shape: Sequence[int], bars: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.bars = bars
        planes, steps, pitches = shape
        plan = strides(steps // bars, pitches)[::-1]
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
        h = self.bar(in_bars(x, self.bars))  # (B · bars, C)
        return self.phrase(h.view(x.shape[0], -1))  # (B, bars · C) -> (B, F)


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


class JammingDiscriminator(nn.Module):
    """One critic per track: x ``(B, planes, steps, pitches)`` → (features ``(B, M · F)``, logit ``(B,)``).

    The logit is the sum of the critics' logits. With ``loss`` = wasserstein-gp that makes the game the paper's, M independent
    ones: a sum of differences of means, and, because ``critics`` says so, a penalty on the gradient of each critic. A
    penalty on their joint gradient would instead make the critics share one Lipschitz constant, and the track that is furthest from
    the data would take most of it. With the other losses the tracks are judged apart, but win or lose together.

    Attributes:
        critics: M.
    """

    def __init__(self, shape: Sequence[int], n_tracks: int, bars: int, channels: int, norm: Norm) -> None:
        super().__init__()
        planes, steps, pitches = shape
        own = (planes // n_tracks, steps, pitches)
        self.tracks = nn.ModuleList(ComposerDiscriminator(own, bars, channels, norm) for _ in range(n_tracks))
        self.critics = n_tracks
        self.n_features = sum(track.n_features for track in self.tracks)  # type: ignore[misc]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        judged = [critic(part) for critic, part in zip(self.tracks, x.chunk(self.critics, 1), strict=True)]
        features, logits = zip(*judged, strict=True)
        return torch.cat(features, 1), torch.stack(logits).sum(0)  # (B, M · F), (M, B) -> (B,)
