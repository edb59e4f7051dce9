"""The fused batching kernel: packed planes in device memory to windows in the compute type, in one pass.

One program writes ``BLOCK`` groups of neighbouring cells of one plane of one window, where the cells of a window's plane
are numbered as they lie in memory, step by step. A group is the largest power of two of cells, up to ``LARGEST_GROUP``,
that divides the pitch range, so that it never crosses into another step: it needs one division by a constant, at most
two packed bytes and one store of neighbouring addresses (64 bits per thread for 84 pitches in bfloat16; a warp's stores
touch 256 neighbouring bytes). What depends on the window alone is computed once per program.

Addresses: where a window starts in the store and where its plane starts in the output are 64-bit, once per program;
everything within a window is 32-bit, which ``gather_windows_fused`` makes sure suffices.

Importing this module needs Triton; ``TRITON_INTERPRET=1``, set before, runs the kernel on a CPU.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["BLOCK", "N_WARPS", "gather_windows_fused"]

LARGEST_GROUP = 8
BLOCK = 1024
"""Groups per program."""
N_WARPS = 4


@triton.jit
def first_cell(index, n_cells):
    """Where a plane (or a step of the store) starts; more than 2³¹ cells need 64 bits."""
    return index.to(tl.int64) * n_cells


@triton.jit
def _gather(
    planes,  # *uint8 (total_steps, C, 16), C = tracks · P
    starts,  # *int64 (B,)
    transpose,  # *int64 (B,)
    fixed,  # *uint8 (tracks,)
    out,  # (B, C, n_steps, n_pitches)
    n_steps: tl.constexpr,
    n_channels: tl.constexpr,
    n_planes: tl.constexpr,
    low: tl.constexpr,
    n_pitches: tl.constexpr,
    transposes: tl.constexpr,
    group: tl.constexpr,
    block: tl.constexpr,
):
    n_groups: tl.constexpr = n_steps * n_pitches // group  # of a plane of a window
    n_blocks: tl.constexpr = (n_groups + block - 1) // block
    program = tl.program_id(0)
    plane = program // n_blocks  # b · C + channel
    window = plane // n_channels
    channel = plane % n_channels

    number = (program % n_blocks) * block + tl.arange(0, block)
    here = number < n_groups
    step = number * group // n_pitches
    pitch = number * group - step * n_pitches + low
    if transposes:
        moves = tl.load(fixed + channel // n_planes) == 0
        pitch -= tl.where(moves, tl.load(transpose + window).to(tl.int32), 0)

    # A group's bits lie in one byte, or in two neighbours. Bytes outside 0 … 15 are pitches that do not exist: silence.
    byte = pitch >> 3
    source = planes + first_cell(tl.load(starts + window), n_channels * 16) + channel * 16
    source += step * (n_channels * 16) + byte
    word = tl.load(source, mask=here & (byte >= 0) & (byte < 16), other=0).to(tl.int32)
    bit = pitch & 7
    second = here & (bit + group > 8) & (byte >= -1) & (byte < 15)
    word |= tl.load(source + 1, mask=second, other=0).to(tl.int32) << 8
    word = word >> bit

    cell = tl.arange(0, group)
    sounds = ((word[:, None] >> cell[None, :]) & 1) != 0
    # A choice between two constants: conversions from integers run at a fraction of the rate.
    one = tl.full((), 1, out.dtype.element_ty)
    zero = tl.full((), 0, out.dtype.element_ty)
    target = out + first_cell(plane, n_steps * n_pitches) + number[:, None] * group + cell[None, :]
    tl.store(target, tl.where(sounds, one, zero), mask=here[:, None])


def gather_windows_fused(
    planes: Tensor,
    starts: Tensor,
    n_steps: int,
    pitch_range: tuple[int, int],
    transpose: Tensor | None,
    fixed: Tensor,
    dtype: torch.dtype = torch.float32,
    block: int = BLOCK,
    n_warps: int = N_WARPS,
) -> Tensor:
    """``musegen.data.packed.gather_windows`` in one pass over memory; the same arguments, the same values.

    Args:
        block, n_warps: groups of cells and warps per program. Powers of two; they change nothing but the speed.

    Raises:
        ValueError: a window does not fit into 32-bit addresses, or the planes are not contiguous.
    """
    low, high = pitch_range
    n_tracks, n_planes, n_bytes = planes.shape[1:]
    n_channels, n_pitches = n_tracks * n_planes, high - low
    if not planes.is_contiguous() or n_bytes != 16:
        raise ValueError(f"planes must be contiguous, (steps, tracks, P, 16), not {tuple(planes.shape)}")
    group = math.gcd(n_pitches, LARGEST_GROUP)
    n_blocks = triton.cdiv(n_steps * n_pitches // group, block)
    if max(n_steps * n_channels * 16, (n_blocks + 1) * block * group, len(starts) * n_channels * n_blocks) >= 2**31:
        raise ValueError(f"windows of {n_steps} steps, {len(starts)} of them, are too large for one launch")
    out = torch.empty(len(starts), n_channels, n_steps, n_pitches, dtype=dtype, device=planes.device)
    if out.numel():
        _gather[(len(starts) * n_channels * n_blocks,)](
            planes,
            starts.contiguous(),
            starts if transpose is None else transpose.contiguous(),
            fixed.to(torch.uint8),
            out,
            n_steps,
            n_channels,
            n_planes,
            low,
            n_pitches,
            transpose is not None,
            group,
            block,
            num_warps=n_warps,
        )
    return out
