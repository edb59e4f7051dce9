"""Tones in mel bands: where exactly they are, and which phases they have.

A tone between the centres of two bands leaves power in both. Bands are triangles that add up to 1, so the mean of their centres,
weighted by their power, is the tone's frequency, however wide they are. Where the power of a frame gathers in few bands beside
quiet ones, there is a tone: its power goes to the bins around its frequency in the shape of the window, and its phase advances by
its frequency from one frame to the next (single pass spectrogram inversion, Beauregard et al. 2015, "Single pass spectrogram
inversion"). What is no tone stays flat within its bands, with random phases.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["Tones"]

REACH = 3
"""Bins on either side of a tone whose phase is the tone's; its power goes to those within two, the main lobe of a Hann window."""
QUIET = 0.1
"""Power per band around a tone, in parts of its own, at which it is no tone any more; below, it is one the more."""


class Tones:
    """What tones there are in power spectra of mel bands.

    Args:
        bands: weight of each bin in each band ``(F, W)``.
        centres_hz: of the bands ``(W,)``.
        n_fft, hop, rate_hz: of the transform.
    """

    def __init__(self, bands: Tensor, centres_hz: Tensor, n_fft: int, hop: int, rate_hz: int) -> None:
        self.bands, self.centres_hz = bands, centres_hz
        self.n_bins, self.bin_hz, self.hop_s = n_fft // 2 + 1, rate_hz / n_fft, hop / rate_hz
        centres = centres_hz.double()
        (gap,) = torch.gradient(centres)
        apart = (centres[None] - centres[:, None]).abs()
        near = apart <= (1.001 * gap + 2 * self.bin_hz)[:, None]  # where a tone in a band leaves power
        around = (apart <= (2 * gap + 4 * self.bin_hz)[:, None]) & ~near
        self._near = near.T.float()
        self._around = (around / around.sum(1, keepdim=True).clamp_min(1)).T.float()

    def spread(self, power: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Power of bands ``(n, T, W)`` → a first guess of the power of bins, and the frequency that each bin's phase follows.

        Returns:
            power ``(n, T, F)``; frequency in Hz ``(n, T, F)``; whether it is a tone's, bool ``(n, T, F)``.
        """
        left, right = power.roll(1, -1), power.roll(-1, -1)
        left[..., 0] = right[..., -1] = 0
        share = (1 - power @ self._around / (QUIET * power).clamp_min(1e-30)).clamp(0, 1)
        share = torch.where((power >= left) & (power > right) & (power > 0), share, 0.0)
        gathered = power @ self._near
        hz = (power * self.centres_hz) @ self._near / gathered.clamp_min(1e-30)

        flat = (power / self.bands.sum(0)) @ self.bands.T
        rest = 1 - (share @ self._near.T).clamp(0, 1)
        guess = (power * rest / self.bands.sum(0)) @ self.bands.T + 1e-4 * flat

        example, frame, band = share.nonzero(as_tuple=True)
        place = hz[example, frame, band] / self.bin_hz  # (M,)
        bins = place.round().long()[:, None] + torch.arange(-REACH, REACH + 1)
        apart = bins - place[:, None]  # (M, 2 · REACH + 1)
        lobe = _hann_lobe(apart)
        lobe = lobe * (share * gathered)[example, frame, band][:, None] / lobe.sum(1, keepdim=True)
        inside = (bins >= 0) & (bins < self.n_bins)
        row = ((example * power.shape[1] + frame)[:, None] * self.n_bins + bins)[inside]
        guess.view(-1).index_add_(0, row, lobe[inside])

        nearest = torch.full((guess.numel(),), torch.inf).scatter_reduce_(0, row, apart.abs()[inside], "amin")
        follows = (torch.arange(self.n_bins) * self.bin_hz).expand_as(guess).reshape(-1).clone()
        closest = apart.abs()[inside] == nearest[row]
        follows[row[closest]] = (self.bin_hz * place)[:, None].expand_as(bins)[inside][closest]
        return guess, follows.view_as(guess), nearest.isfinite().view_as(guess)

    def phases(self, hz: Tensor, tone: Tensor, start: Tensor | None = None) -> Tensor:
        """Phases at the middle of each frame, radians ``(n, T, F)``, which advance by frequencies ``hz`` ``(n, T, F)``.

        The bins of a tone have one phase. Tones begin as sines, so that the partials of a sharp wave add up to one.

        Args:
            tone: whether a bin belongs to a tone.
            start: phases of the first frame ``(n, F)``, where they are known.
        """
        own = (hz / self.bin_hz).round().long().clamp(0, self.n_bins - 1)
        phase = torch.empty(hz.shape)
        if start is None:
            # One draw for all, so that a sound does not depend on which others are made with it.
            random = torch.rand(self.n_bins, generator=torch.Generator().manual_seed(0))
            start = torch.where(tone[:, 0], -math.pi / 2, 2 * math.pi * random)
        phase[:, 0] = start
        for t in range(1, hz.shape[1]):
            ahead = phase[:, t - 1] + math.pi * self.hop_s * (hz[:, t - 1] + hz[:, t])
            phase[:, t] = torch.where(tone[:, t], ahead.gather(1, own[:, t]), ahead).remainder(2 * math.pi)
        return phase


def _hann_lobe(apart: Tensor) -> Tensor:
    """Power of a tone in bins so far from it, at most 1, as a Hann window has it; 0 beyond its main lobe."""
    amplitude = torch.where((apart.abs() - 1).abs() < 1e-3, 0.5, torch.sinc(apart) / (1 - apart.square()))
    return torch.where(apart.abs() < 2, amplitude.square(), 0.0)
