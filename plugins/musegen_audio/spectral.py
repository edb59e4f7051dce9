"""Sound as grids that networks take, and back.

A clip of n = (T − 1) · hop samples has T frames, frame t centred on sample t · hop (Hann windows of n_fft samples, ends
mirrored). Levels are decibels of a sine of amplitude 1, which has 0 dB; they are clipped to [floor, 0] and brought to [−1, 1].

``mel``: one channel, the level of each mel band (triangles on the HTK scale, which add up to 1 at every frequency) → ``(1, T,
bands)``. Back: a non-negative power spectrum whose bands are these (multiplicative updates for the Kullback-Leibler
divergence, Lee & Seung 2001), then phases by the fast Griffin-Lim algorithm (Perraudin et al. 2013, α = 0.99). With
``phases=tracked`` both begin with the tones that ``musegen_audio.tones`` finds, and no sound on the way exceeds full scale; with
``phases=random``, as musegen did at first, with spectra that are flat within a band, and phases of one fixed draw.

``if``: level and instantaneous frequency of every bin but that at half the sample rate, as in GANSynth (Engel et al. 2019,
1902.08710, section 2.2) → ``(2, T, n_fft / 2)``. The second channel is the phase's advance since the frame before, in half
turns, in [−1, 1]; of the first frame, the phase itself. Back: the phases added up. Exact but for what lies below the floor.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from musegen.errors import BadInput
from musegen_audio.backend import torchaudio
from musegen_audio.tones import Tones

__all__ = ["Spectral"]

HANN_BINS = 1.5
"""Bins over which a Hann window spreads the power of a sine, as an equivalent rectangle."""
PART_FRAMES, OVERLAP_FRAMES = 2048, 16
"""Of a long sound, which are made at a time, and which two parts share, at least."""
INVERSION_STEPS, PHASE_STEPS, MOMENTUM = 40, 32, 0.99
CHUNK = 64


class Spectral:
    """One representation of clips; holds no parameters.

    Args:
        kind: mel, or if (instantaneous frequency).
        rate_hz: sample rate.
        frames: T.
        n_fft, hop: length of a window and step from one to the next, samples.
        n_mels: bands of ``mel``, from 0 Hz to half the sample rate.
        floor_db: the lowest level, which is −1.
        phases: with which ``mel`` is brought back to sound.
    """

    def __init__(
        self,
        kind: Literal["mel", "if"],
        rate_hz: int,
        frames: int,
        n_fft: int,
        hop: int,
        n_mels: int,
        floor_db: float,
        phases: Literal["tracked", "random"] = "tracked",
    ) -> None:
        self.kind, self.rate_hz, self.frames, self.n_fft, self.hop = kind, rate_hz, frames, n_fft, hop
        self.n_mels, self.floor_db, self.phases = n_mels, floor_db, phases
        self.n_samples = (frames - 1) * hop
        self.shape = (1, frames, n_mels) if kind == "mel" else (2, frames, n_fft // 2)

    @cached_property
    def window(self) -> Tensor:
        return torch.hann_window(self.n_fft)

    @cached_property
    def bands(self) -> Tensor:
        """Weight of each bin in each mel band, ``(F, n_mels)``.

        Raises:
            BadInput: a band has no bin.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bands = torchaudio().functional.melscale_fbanks(
                self.n_fft // 2 + 1, 0.0, self.rate_hz / 2, self.n_mels, self.rate_hz
            )
        if not bool((bands.sum(0) > 0).all()):
            raise BadInput(
                f"n_mels={self.n_mels} is too many for n_fft={self.n_fft}: some bands would be empty. Use fewer, or a longer n_fft."
            )
        return bands

    @cached_property
    def centres_hz(self) -> Tensor:
        """Frequency of each column, Hz, ``(W,)``."""
        if self.kind == "if":
            return torch.arange(self.n_fft // 2) * (self.rate_hz / self.n_fft)
        top = 2595 * math.log10(1 + self.rate_hz / 2 / 700)
        mel = torch.linspace(0, top, self.n_mels + 2, dtype=torch.float64)[1:-1]
        return (700 * (10 ** (mel / 2595) - 1)).float()

    def decibels(self, x: Tensor) -> Tensor:
        """The first channel of grids ``(n, C, T, W)`` as levels, dB: ``(n, T, W)``."""
        return self.floor_db * (1 - x[:, 0].float().clamp(-1, 1)) / 2

    def _level(self, power: Tensor) -> Tensor:
        """Power, 1 for a sine of amplitude 1 → [−1, 1]."""
        db = 10 * power.clamp_min(10 ** (self.floor_db / 10)).log10()
        return (1 - 2 * db / self.floor_db).clamp(-1, 1)

    def _power(self, level: Tensor) -> Tensor:
        """[−1, 1] → power; nothing where the level is within 1 dB of the floor."""
        db = self.floor_db * (1 - level.clamp(-1, 1)) / 2
        return torch.where(db > self.floor_db + 1, 10 ** (db / 10), 0.0)

    def _transform(self, waves: Tensor) -> Tensor:
        """``(n, samples)`` → complex ``(n, F, T)``; a sine of amplitude 1 has magnitude 1 in its bin."""
        spectrum = torch.stft(waves, self.n_fft, self.hop, window=self.window, return_complex=True)
        return spectrum * (2 / self.window.sum())

    def _inverse(self, spectrum: Tensor) -> Tensor:
        """Complex ``(n, F, T)`` → ``(n, samples)``."""
        scaled = spectrum * (self.window.sum() / 2)
        return torch.istft(scaled, self.n_fft, self.hop, window=self.window, length=self.n_samples)

    @torch.no_grad()
    def analyse(self, waves: Tensor) -> Tensor:
        """Clips ``(n, samples)`` in [−1, 1] → grids ``(n, C, T, W)`` in [−1, 1]."""
        if not len(waves):
            return torch.zeros(0, *self.shape)
        return torch.cat([self._analyse(part.float()) for part in waves.split(CHUNK)])

    def _analyse(self, waves: Tensor) -> Tensor:
        spectrum = self._transform(waves).mT  # (n, T, F)
        if self.kind == "mel":
            power = spectrum.abs().square() @ self.bands / HANN_BINS  # (n, T, n_mels)
            return self._level(power)[:, None]
        spectrum = spectrum[..., :-1]
        turns = spectrum.angle() / math.pi  # [−1, 1]
        advance = _wrap(turns.diff(dim=1, prepend=torch.zeros_like(turns[:, :1])))
        return torch.stack([self._level(spectrum.abs().square()), advance], 1)

    @torch.no_grad()
    def synthesise(self, x: Tensor) -> Tensor:
        """Grids ``(n, C, T, W)`` → clips ``(n, samples)``; the same grid always gives the same sound, whatever comes with it."""
        if not len(x):
            return torch.zeros(0, self.n_samples)
        return torch.cat([self._synthesise(torch.nan_to_num(part.float(), nan=-1.0)) for part in x.split(CHUNK)])

    def of_frames(self, frames: int) -> Spectral:
        """The same representation of sounds of another length."""
        same = (self.kind, self.rate_hz, frames, self.n_fft, self.hop, self.n_mels, self.floor_db, self.phases)
        return Spectral(*same)

    @property
    def margin(self) -> int:
        """Frames at either end of a clip that see the sound mirrored, as far as there are so many to spare."""
        return min(-(-self.n_fft // (2 * self.hop)), (self.frames - 1) // 4)

    def windows(self, sounds: Sequence[np.ndarray]) -> np.ndarray:
        """Sounds int16 ``(m,)`` as clips that overlap by twice the margin: ``(len(sounds), n, samples)``, silence at the end."""
        stride = self.n_samples - 2 * self.margin * self.hop
        longest = max(map(len, sounds))
        n = 1 + max(0, -(-(longest - self.n_samples) // stride))
        padded = np.zeros((len(sounds), (n - 1) * stride + self.n_samples), np.int16)
        for row, sound in zip(padded, sounds, strict=True):
            row[: len(sound)] = sound
        return np.lib.stride_tricks.sliding_window_view(padded, self.n_samples, 1)[:, ::stride]

    def joined(self, x: Tensor) -> Tensor:
        """Grids of ``windows`` of a sound, ``(n, C, T, W)``, as one ``(C, T', W)``, without the margins where two of them meet."""
        m = self.margin
        parts = [part[:, m + 1 if i else 0 : self.frames - m] for i, part in enumerate(x[:-1])]
        return torch.cat([*parts, x[-1, :, m + 1 if parts else 0 :]], 1)

    @torch.no_grad()
    def synthesise_long(self, x: Tensor) -> Tensor:
        """A grid of this many frames, ``(C, T, W)`` → sound ``(samples,)``; memory for a long one is that of a part at a time.

        Parts are cross-faded. Phases go on from one part to the next, unless they are random.
        """
        overlap = max(OVERLAP_FRAMES, 2 + self.n_fft // self.hop)  # longer than what is mirrored at an end
        sound = torch.zeros(self.n_samples)
        fade = torch.linspace(0, 1, overlap * self.hop)
        if self.kind == "mel" and self.phases == "random":
            fade = fade.sqrt()  # of what is unrelated, powers add up
        start: Tensor | None = None
        for first in range(0, self.frames - 1, PART_FRAMES):
            grid = torch.nan_to_num(x[:, first : first + PART_FRAMES + overlap + 1].float(), nan=-1.0)
            last = first + grid.shape[1] >= self.frames
            made, start = self.of_frames(grid.shape[1])._go_on(grid[None], start)
            part = made[0]
            if first:
                part[: len(fade)] *= fade
            if not last:
                part[-len(fade) :] *= fade.flip(0)
            sound[first * self.hop : first * self.hop + len(part)] += part
            if last:
                break
        return sound

    def _synthesise(self, x: Tensor) -> Tensor:
        return self._go_on(x, None)[0]

    def _go_on(self, x: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Grids ``(n, C, T, W)`` → sound ``(n, samples)``, and the phases ``(n, F or W)`` of frame ``PART_FRAMES`` if there is one.

        Args:
            start: phases of the first frame, if they are known.
        """
        power = self._power(x[:, 0])  # (n, T, W)
        if self.kind == "if":
            turns = x[:, 1].double()
            if start is not None:
                turns = torch.cat([start[:, None], turns[:, 1:]], 1)
            turns = _wrap(turns.cumsum(1))
            spectrum = torch.polar(power.sqrt(), math.pi * turns.float())
            sound = self._inverse(torch.nn.functional.pad(spectrum, (0, 1)).mT)
            return sound, turns[:, PART_FRAMES] if self.frames > PART_FRAMES else None
        power = power * HANN_BINS
        if self.phases == "random":
            flat = (power / self.bands.sum(0)) @ self.bands.T
            magnitude = self._fitted(flat, power).sqrt().mT
            return self._with_random_phases(magnitude), None
        guess, hz, tone = self.tones.spread(power)
        phases = self.tones.phases(hz, tone, start)
        sign = math.pi * torch.arange(guess.shape[2])  # from the middle of a frame to its beginning
        magnitude = self._fitted(guess, power).sqrt()
        sound = self._within_full_scale(magnitude.mT, torch.polar(magnitude, phases + sign).mT)
        later = self._transform(sound)[..., PART_FRAMES].angle() - sign if self.frames > PART_FRAMES else None
        return sound, later

    @cached_property
    def tones(self) -> Tones:
        return Tones(self.bands, self.centres_hz, self.n_fft, self.hop, self.rate_hz)

    def _fitted(self, guess: Tensor, power: Tensor) -> Tensor:
        """A guess of the power of bins ``(n, T, F)`` so changed that bands have the power ``(n, T, n_mels)``; all at least 0."""
        bands = self.bands
        per_bin = bands.sum(1).clamp_min(1e-12)
        for _ in range(INVERSION_STEPS):
            ratio = power / (guess @ bands).clamp_min(1e-30)
            guess = guess * ((ratio @ bands.T) / per_bin)
        return guess

    def _with_random_phases(self, magnitude: Tensor) -> Tensor:
        """Magnitudes ``(n, F, T)`` → sound ``(n, samples)`` whose magnitudes they nearly are: fast Griffin-Lim."""
        # One draw for all, so that a sound does not depend on which others are made with it.
        generator = torch.Generator().manual_seed(0)
        turns = torch.rand(magnitude.shape[1:], generator=generator)
        spectrum = magnitude * torch.polar(torch.ones(()), 2 * math.pi * turns)
        before = torch.zeros_like(spectrum)
        for _ in range(PHASE_STEPS):
            consistent = self._transform(self._inverse(spectrum))
            ahead = consistent + MOMENTUM * (consistent - before)
            spectrum, before = ahead * (magnitude / ahead.abs().clamp_min(1e-12)), consistent
        return self._inverse(spectrum)

    def _within_full_scale(self, magnitude: Tensor, spectrum: Tensor) -> Tensor:
        """A spectrum ``(n, F, T)`` → sound ``(n, samples)`` near to it, of its magnitudes, whose peaks are low.

        Fast Griffin-Lim with one constraint more, that no sound exceeds full scale; in the end its power is that of the magnitudes.
        """
        before: Tensor | None = None
        for _ in range(PHASE_STEPS):
            consistent = self._transform(self._inverse(spectrum).clamp(-1, 1))
            ahead = consistent if before is None else consistent + MOMENTUM * (consistent - before)
            spectrum, before = ahead * (magnitude / ahead.abs().clamp_min(1e-12)), consistent
        sound = self._inverse(spectrum)
        there = self._transform(sound).abs().square().sum((1, 2)).clamp_min(1e-20)
        return sound * (magnitude.square().sum((1, 2)) / there).sqrt().clamp(0.5, 2)[:, None]


def _wrap(turns: Tensor) -> Tensor:
    """Angles in half turns to [−1, 1)."""
    return (turns + 1).remainder(2) - 1
