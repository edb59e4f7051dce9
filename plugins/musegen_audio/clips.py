"""Sounds as pieces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from musegen.contracts.piece import Piece
from musegen.sound.files import write_sound
from musegen_audio.pictures import spectrograms
from musegen_audio.spectral import Spectral

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Clip"]


class Clip(Piece):
    """One sound and its spectrogram.

    Args:
        x: spectrogram ``(C, T, W)``, as the domain has it.
        spectral: says what its cells mean.
        sound: gives the sound, float ``(1, frames)``; called when somebody wants to hear it.
    """

    suffix = ".wav"

    def __init__(self, x: Tensor, spectral: Spectral, sound: Callable[[], np.ndarray]) -> None:
        self.x, self.spectral, self._sound = x, spectral, sound

    def save(self, path: str | Path) -> Path:
        return write_sound(path, *self.audio())

    def picture(self) -> Image:
        s = self.spectral
        seconds = s.n_samples / s.rate_hz
        return spectrograms(s.decibels(self.x[None]), s.centres_hz, seconds, s.floor_db)

    def audio(self) -> tuple[np.ndarray, int]:
        return self._sound(), self.spectral.rate_hz
