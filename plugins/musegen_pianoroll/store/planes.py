"""Planes of rolls: frames, which say what sounds, onsets, which say where it begins, and levels, which say how loud."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from musegen.errors import because_of
from musegen.files import temporary_path
from musegen_pianoroll.store.format import PACKED, map_planes, planes_header
from musegen_pianoroll.store.store import Store
from musegen_pianoroll.store.velocities import NOTE_PLANES

__all__ = ["begun", "in_channels", "mapped_planes", "model_planes", "unpacked"]

BLOCK_STEPS = 1 << 16
"""Steps whose planes are computed at a time."""


def unpacked(planes: np.ndarray) -> tuple[Tensor, Tensor]:
    """Packed planes ``(steps, tracks, P, 16)`` → frames and onsets, bool ``(tracks, steps, 128)`` each."""
    roll = torch.from_numpy(np.unpackbits(planes, axis=-1, bitorder="little").astype(bool))
    return roll[:, :, 0].transpose(0, 1), roll[:, :, 1].transpose(0, 1)


def begun(frame: Tensor, onset: Tensor) -> Tensor:
    """Frames in an unbroken run since an onset, bool ``(…, steps, pitches)``."""
    step = torch.arange(frame.shape[-2])[:, None]
    last_onset = torch.where(onset, step, -1).cummax(-2).values
    last_silence = torch.where(frame, -1, step).cummax(-2).values
    return frame & (last_onset > last_silence)


def model_planes(planes: Tensor, n_planes: int) -> Tensor:
    """The planes that a model sees, ``(steps, tracks, P, 16)``: the first ones.

    With one plane, the last step before a repeated note becomes a rest, as in MuseGAN's data, so that repeats stay
    apart. A one-step note has no step to spare, so it merges with its repeat.
    """
    if n_planes > 1:
        return planes[:, :, :n_planes].contiguous()
    frame, onset = planes[:, :, 0], planes[:, :, 1]
    following = torch.cat([onset[1:], torch.zeros_like(onset[:1])])
    return (frame & ~(following & ~onset))[:, :, None]


def in_channels(planes: Tensor, plan: Tensor | None) -> Tensor:
    """Planes of notes and of levels ``(steps, tracks, 5, 16)`` as channels of samples, each an entry of its own: those of the plan
    ``(steps, 1, P, 16)``, if there is one, of notes, and last those of levels; ``(steps, C, 1, 16)``."""
    parts = [planes[:, :, :NOTE_PLANES], planes[:, :, NOTE_PLANES:]]
    return torch.cat([part.flatten(1, 2) for part in ([] if plan is None else [plan]) + parts], 1)[:, :, None]


def mapped_planes(store: Store, n_planes: int, cache: Path) -> Tensor:
    """``model_planes`` of a whole store, mapped from a file, however large it is.

    Where a model sees all planes, that file is the store's. The one plane of a model without onsets, and the two of one without
    velocities in a store that has them, are written to the cache, a block of steps at a time, when they are not there.

    Raises:
        BadInput: the cache cannot be written.
    """
    if n_planes == store.planes.shape[2]:
        return torch.from_numpy(store.planes)
    n_steps, shape = len(store.planes), (len(store.planes), len(store.tracks), n_planes, PACKED)
    file = cache / f"{'frames' if n_planes == 1 else 'notes'}-{store.fingerprint[:16]}.safetensors"
    if not file.is_file():
        unfinished = temporary_path(file)  # other processes of the run may write it, too
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as out:
                out.write(planes_header(shape))
                for first in range(0, n_steps, BLOCK_STEPS):
                    # With the step that follows: a note may begin there anew.
                    block = torch.from_numpy(store.planes[first : first + BLOCK_STEPS + 1])
                    out.write(model_planes(block, n_planes)[:BLOCK_STEPS].numpy().tobytes())
            unfinished.replace(file)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise because_of(error, f"{file} cannot be written: {error.strerror}.") from None
    return torch.from_numpy(map_planes(file, shape))
