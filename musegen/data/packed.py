"""Batches of pianoroll windows straight from bit-packed planes, wherever these live.

A batch is: window starts → gather packed bytes → unpack → transpose in pitch → crop to the pitch range → cast, all
vectorised over the batch; nothing happens per sample in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from musegen.data.dataset import Batch

__all__ = ["N_PITCHES", "WindowDataset", "gather_windows", "unpack_pitches"]

N_PITCHES = 128


def unpack_pitches(packed: Tensor) -> Tensor:
    """Bit-packed pitches, ``(…, 16)`` uint8, little-endian → ``(…, 128)`` uint8 of zeros and ones."""
    bits = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return ((packed[..., None] >> bits) & 1).flatten(-2)  # (…, 16, 8) -> (…, 128)


def gather_windows(
    planes: Tensor,
    starts: Tensor,
    n_steps: int,
    pitch_range: tuple[int, int],
    transpose: Tensor | None,
    fixed: Tensor,
) -> Tensor:
    """Windows as a float tensor.

    Args:
        planes: packed, ``(total_steps, tracks, P, 16)`` uint8, P planes per track.
        starts: first steps of the windows, ``(B,)`` int64.
        n_steps: length of a window.
        pitch_range: lowest MIDI pitch, and the one after the highest. Notes outside are cropped.
        transpose: semitones up per window, ``(B,)`` int64; None for no transposition.
        fixed: tracks that never transpose (drums), ``(tracks,)`` bool.

    Returns:
        ``(B, tracks · P, n_steps, pitches)``, zeros and ones in float32; a track's planes are neighbours.
    """
    b, low, high = len(starts), *pitch_range
    n_tracks, n_planes = planes.shape[1:3]
    steps = starts[:, None] + torch.arange(n_steps, device=starts.device)  # (B, T)
    packed = planes[steps]  # (B, T, tracks, P, 16)
    if transpose is None:
        first, last = low // 8, -(-high // 8)  # only the bytes that the range touches
        x = unpack_pitches(packed[..., first:last])[..., low - 8 * first : high - 8 * first]
    else:
        shift = torch.where(fixed, 0, transpose[:, None])  # (B, tracks)
        source = torch.arange(low, high, device=starts.device) - shift[..., None]  # (B, tracks, pitches)
        inside = (source >= 0) & (source < N_PITCHES)
        source = source.clamp(0, N_PITCHES - 1)
        index = (source >> 3)[:, None, :, None, :].expand(b, n_steps, n_tracks, n_planes, high - low)
        bit = (source & 7).to(torch.uint8)[:, None, :, None, :]
        x = (packed.gather(-1, index) >> bit) & inside.to(torch.uint8)[:, None, :, None, :]
    return x.permute(0, 2, 3, 1, 4).flatten(1, 2).float()  # (B, tracks, P, T, pitches) -> (B, tracks · P, T, pitches)


@dataclass(frozen=True)
class WindowDataset:
    """Windows of a packed store.

    Args:
        planes: ``(total_steps, tracks, P, 16)`` uint8, on the device.
        starts: first step of each window, ``(N,)`` int64.
        n_steps: length of a window.
        pitch_range: lowest MIDI pitch, and the one after the highest.
        fixed: tracks that never transpose, ``(tracks,)`` bool.
        transpositions: semitones to choose from when a training batch is augmented; empty for none.
        label: class of each window, ``(N,)`` int64, if there are classes.
    """

    planes: Tensor
    starts: Tensor
    n_steps: int
    pitch_range: tuple[int, int]
    fixed: Tensor
    transpositions: Sequence[int] = ()
    label: Tensor | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        shift = None
        if self.transpositions:
            choices = torch.tensor(self.transpositions, device=index.device)
            shift = choices[torch.randint(len(choices), (len(index),), generator=generator, device=index.device)]
        x = gather_windows(self.planes, self.starts[index], self.n_steps, self.pitch_range, shift, self.fixed)
        return Batch(x, index, None if self.label is None else self.label[index])

    def to(self, device: torch.device) -> Self:
        label = None if self.label is None else self.label.to(device)
        planes, starts, fixed = (t.to(device) for t in (self.planes, self.starts, self.fixed))
        return replace(self, planes=planes, starts=starts, fixed=fixed, label=label)
