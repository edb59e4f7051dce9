"""Batches of pianoroll windows straight from bit-packed planes, wherever these live.

A batch is: window starts → gather packed bytes → unpack → transpose in pitch → crop to the pitch range → cast, all
vectorised over the batch; nothing happens per sample in Python.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from musegen.contracts.missing import MARK, missing_rows
from musegen.data.rows import RowDataset, Source
from musegen.errors import MusegenWarning

__all__ = ["WindowDataset", "gather_windows", "gather_windows_torch", "unpack_pitches"]


@cache
def _byte_cells(device: torch.device) -> Tensor:
    """For each byte its bits, lowest first, as eight bytes of 0 or 1: int64 ``(256,)``, eight cells in each number."""
    bits = (torch.arange(256)[:, None] >> torch.arange(8)) & 1
    return bits.to(torch.uint8).view(torch.int64).flatten().to(device)


def unpack_pitches(packed: Tensor) -> Tensor:
    """Bit-packed pitches, ``(…, n)`` uint8, little-endian → ``(…, 8 · n)`` uint8 of zeros and ones, contiguous."""
    # One look-up per byte; a shift per cell would cost four times as much on a CPU.
    index = packed.to(torch.int64, memory_format=torch.contiguous_format)
    return _byte_cells(packed.device).gather(0, index.view(-1)).view(torch.uint8).view(*packed.shape[:-1], -1)


def gather_windows(
    planes: Tensor,
    starts: Tensor,
    n_steps: int,
    pitch_range: tuple[int, int],
    transpose: Tensor | None,
    fixed: Tensor,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Windows as a tensor of zeros and ones.

    On CUDA one fused kernel does it (``musegen_pianoroll.store.kernels``); ``gather_windows_torch`` gives the same values.

    Args:
        planes: packed, ``(total_steps, tracks, P, 16)`` uint8, P planes per track.
        starts: first steps of the windows, ``(B,)`` int64.
        n_steps: length of a window.
        pitch_range: lowest MIDI pitch, and the one after the highest. Notes outside are cropped.
        transpose: semitones up per window, ``(B,)`` int64; None for no transposition.
        fixed: tracks that never transpose (drums), ``(tracks,)`` bool.
        dtype: of the result: float32, bfloat16, float16 or uint8.

    Returns:
        ``(B, tracks · P, n_steps, pitches)``, contiguous; a track's planes are neighbours.
    """
    gather = (_fused() if planes.is_cuda else None) or gather_windows_torch
    return gather(planes, starts, n_steps, pitch_range, transpose, fixed, dtype)


@cache
def _fused() -> Callable[..., Tensor] | None:
    """The kernel; None, with one warning, where Triton is missing."""
    try:
        from musegen_pianoroll.store.kernels import gather_windows_fused
    except ImportError:
        message = "Triton is not installed: batches are made by several slower kernels. Install triton."
        warnings.warn(message, MusegenWarning, stacklevel=3)
        return None
    return gather_windows_fused


def gather_windows_torch(
    planes: Tensor,
    starts: Tensor,
    n_steps: int,
    pitch_range: tuple[int, int],
    transpose: Tensor | None,
    fixed: Tensor,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """``gather_windows`` in torch alone, on any device: the reference of the kernel."""
    low, high = pitch_range
    steps = starts[:, None] + torch.arange(n_steps, device=starts.device)  # (B, T)
    packed = planes[steps].permute(0, 2, 3, 1, 4)  # (B, T, tracks, P, 16) -> (B, tracks, P, T, 16)
    if transpose is not None:
        shift = torch.where(fixed, 0, transpose[:, None])  # (B, tracks)
        packed = _from_bit(packed, (low - shift)[:, :, None, None])
        low, high = 0, high - low
    first, last = low // 8, -(-high // 8)  # only the bytes that the range touches
    x = unpack_pitches(packed[..., first:last])[..., low - 8 * first : high - 8 * first]  # (B, tracks, P, T, pitches)
    return x.to(dtype, memory_format=torch.contiguous_format).contiguous().flatten(1, 2)


def _from_bit(packed: Tensor, first: Tensor) -> Tensor:
    """Packed pitches shifted so that pitch ``first`` comes to lie in bit 0, as if all pitches outside 0 … 127 were silent.

    While they are packed, in words of 64 bits, moving pitches costs little.

    Args:
        packed: ``(…, 16)`` uint8.
        first: int64, broadcasts against the leading axes of ``packed``.

    Returns:
        ``(…, 16)`` uint8.
    """
    words = packed.view(torch.int64).unbind(-1)
    words = tuple(word.contiguous() for word in words)
    n, bit = first >> 6, first & 63
    # Words n, n + 1 and n + 2 of a row that has words 0 and 1 and silence elsewhere. −1 is a mask of ones, 0 of none.
    a, b, c = ((words[0] & -(n == -i).long()) | (words[1] & -(n == 1 - i).long()) for i in range(3))
    upper = -2 << (63 - bit)  # ones from bit 64 − bit on; in two shifts, because a shift by 64 is undefined
    shifted = [((one >> bit) & ~upper) | ((other << 1) << (63 - bit)) for one, other in ((a, b), (b, c))]
    return torch.stack(shifted, -1).view(torch.uint8)


@dataclass(frozen=True)
class WindowDataset(RowDataset):
    """Windows of a packed store.

    Args:
        planes: ``(total_steps, tracks, P, 16)`` uint8.
        starts: first step of each window, ``(N,)`` int64.
        n_steps: length of a window.
        pitch_range: lowest MIDI pitch, and the one after the highest.
        fixed: tracks that never transpose, ``(tracks,)`` bool.
        transpositions: semitones to choose from when a training batch is augmented; empty for none.
        shorten: how often a window in which no row is missing loses those that another metre lacks.
        lacks: rows that bars of other metres lack, bool ``(metres, rows of a bar)``; None: there are none.
        label: class of each window, ``(N,)`` int64, if there are classes.
        dtype: of batches.
    """

    planes: Tensor
    starts: Tensor
    n_steps: int
    pitch_range: tuple[int, int]
    fixed: Tensor
    transpositions: Sequence[int] = ()
    label: Tensor | None = None
    dtype: torch.dtype = torch.float32
    shorten: float = 0.0
    lacks: Tensor | None = None

    binary = True

    def source(self) -> Source:
        return Source(self.planes, self.starts, self.n_steps)

    def make(self, rows: Tensor, first: Tensor, generator: torch.Generator) -> Tensor:
        shift = self.draw_transpositions(len(first), generator, first.device)
        x = gather_windows(rows, first, self.n_steps, self.pitch_range, shift, self.fixed, self.dtype)
        return x if self.lacks is None or not self.shorten else self._shortened(x, self.lacks, generator)

    def _shortened(self, x: Tensor, lacks: Tensor, generator: torch.Generator) -> Tensor:
        """Windows of which some, drawn anew each time, are of another metre."""
        n, device = len(x), x.device
        which = torch.randint(len(lacks), (n,), generator=generator, device=device)
        drawn = torch.rand(n, generator=generator, device=device) < self.shorten
        whole = ~missing_rows(x).any(1)
        rows = lacks[which].repeat(1, -(-self.n_steps // lacks.shape[1]))[:, : self.n_steps] & (drawn & whole)[:, None]
        return x.masked_fill(rows[:, None, :, None], MARK)

    def draw_transpositions(self, n: int, generator: torch.Generator, device: torch.device) -> Tensor | None:
        """Semitones for n windows, ``(n,)`` int64; None without augmentation."""
        if not self.transpositions:
            return None
        choices = torch.tensor(self.transpositions, device=device)
        return choices[torch.randint(len(choices), (n,), generator=generator, device=device)]
