"""Sounds as pieces: clips, and recordings of any length that clips make up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from musegen.contracts.piece import Piece
from musegen.sound.files import write_sound
from musegen_audio.figure import figure
from musegen_audio.pictures import spectrograms
from musegen_audio.spectral import Spectral

if TYPE_CHECKING:
    from PIL.Image import Image

    from musegen.contracts.figure import Figure

__all__ = ["Clip", "Recording", "limited", "sheet"]

PEAK = 0.99
"""Louder sounds are brought down to this when they are written."""
LIMITER_S = 0.0002
"""How far from a peak the sound is softer for it, in seconds on either side. The shorter, the less does one peak take away, and the
more is it as if peaks were cut off; of loud music it makes next to no difference."""
SHOWN_FRAMES = 2048
"""Of a long recording's picture, at most."""


class Clip(Piece):
    """One sound and its spectrogram.

    Args:
        x: spectrogram ``(C, T, W)``, as the domain has it.
        spectral: says what its cells mean.
        sound: gives the sound, ``(frames,)``; called when somebody wants to hear it.
    """

    suffix = ".wav"

    def __init__(self, x: Tensor, spectral: Spectral, sound: Callable[[], Tensor]) -> None:
        self.x, self.spectral, self._sound = x, spectral, sound

    def save(self, path: str | Path) -> Path:
        return write_sound(path, *self.audio())

    def picture(self) -> Image:
        return sheet([self])

    def figure(self) -> Figure:
        """Its spectrogram and its waveform."""
        return figure(self.spectral.decibels(self.x[None])[0], *self.audio(), self.spectral.floor_db)

    def audio(self) -> tuple[np.ndarray, int]:
        sound, rate_hz = self._sound()[None], self.spectral.rate_hz
        if self.spectral.phases == "random":  # as musegen did at first: one peak makes all of it softer
            return (sound * (PEAK / sound.abs().max().clamp_min(PEAK))).numpy(), rate_hz
        return limited(sound, rate_hz).numpy(), rate_hz


class Recording:
    """Makes one sound of clips that follow each other (a ``Writer``).

    Args:
        spectral: of a clip.
        n_samples: length of the sound.
    """

    def __init__(self, spectral: Spectral, n_samples: int) -> None:
        self.spectral, self.n_samples = spectral, n_samples

    def pieces(self, samples: Tensor) -> list[Clip]:
        """Clips ``(n, C, T, W)`` as one sound."""
        x = self.spectral.joined(samples.float().cpu())
        spectral = self.spectral.of_frames(x.shape[1])
        sound = cache(lambda: spectral.synthesise_long(x)[: self.n_samples])  # once, however often it is wanted
        return [Clip(x, spectral, sound)]

    def sheet(self, pieces: Sequence[Clip], columns: int | None = None) -> Image:
        return sheet(pieces, columns)


def limited(sound: Tensor, rate_hz: int) -> Tensor:
    """Sound ``(1, frames)`` whose peaks are at most ``PEAK``: softer around those that were higher, and else as it is."""
    width = max(1, round(LIMITER_S * rate_hz))
    over = (sound.abs() / PEAK).clamp_min(1)[None]
    if not len(over[0, 0]) or float(over.max()) == 1:
        return sound
    highest = F.max_pool1d(F.pad(over, (2 * width, 2 * width), value=1.0), 2 * width + 1, 1)
    return sound / F.avg_pool1d(highest, 2 * width + 1, 1)[0]


def sheet(pieces: Sequence[Clip], columns: int | None = None) -> Image:
    """Spectrograms of sounds of one length, row by row in one picture."""
    s = pieces[0].spectral
    levels = s.decibels(torch.stack([piece.x for piece in pieces])[:, :, :: -(-s.frames // SHOWN_FRAMES)])
    return spectrograms(levels, s.centres_hz, s.n_samples / s.rate_hz, s.floor_db, columns)
