"""Planes of rolls: frames, which say what sounds, and onsets, which say where it begins."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["begun", "model_planes", "unpacked"]


def unpacked(planes: np.ndarray) -> tuple[Tensor, Tensor]:
    """Packed planes ``(steps, tracks, 2, 16)`` → frames and onsets, bool ``(tracks, steps, 128)`` each."""
    roll = torch.from_numpy(np.unpackbits(planes, axis=-1, bitorder="little").astype(bool))
    return roll[:, :, 0].transpose(0, 1), roll[:, :, 1].transpose(0, 1)


def begun(frame: Tensor, onset: Tensor) -> Tensor:
    """Frames in an unbroken run since an onset, bool ``(…, steps, pitches)``."""
    step = torch.arange(frame.shape[-2])[:, None]
    last_onset = torch.where(onset, step, -1).cummax(-2).values
    last_silence = torch.where(frame, -1, step).cummax(-2).values
    return frame & (last_onset > last_silence)


def model_planes(planes: Tensor, n_planes: int) -> Tensor:
    """The planes that a model sees, ``(steps, tracks, P, 16)``.

    With one plane, the last step before a repeated note becomes a rest, as in MuseGAN's data, so that repeats stay
    apart; only notes of a single step cannot give one away.
    """
    if n_planes == 2:
        return planes
    frame, onset = planes[:, :, 0], planes[:, :, 1]
    following = torch.cat([onset[1:], torch.zeros_like(onset[:1])])
    return (frame & ~(following & ~onset))[:, :, None]
