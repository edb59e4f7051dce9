"""The fused batching kernel: packed planes in device memory to windows in the compute type, in one pass.

One program writes ``BLOCK`` groups of neighbouring cells of one plane of one window, where the cells of a window's plane
are numbered as they lie in memory, step by step. A group is the largest power of two of cells, up to ``LARGEST_GROUP``,
that divides the pitch range, so that it never crosses into another step: it needs one division by a constant, at most
two packed words and one store of neighbouring addresses (64 bits per thread for 84 pitches in bfloat16; a warp's stores
touch 256 neighbouring bytes). What depends on the window alone is computed once per program.

At the memory's full speed an H200 has time for about 14 instructions per cell in bfloat16; here are 9. So cells are not
converted one by one: 32 bits of output, two cells of 16 bits, come from spreading two bits and one multiplication by the
pattern of 1.0.

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


# One function of more than 50 lines: it is one pass over memory, whose steps share what they compute once per program.
@triton.jit
def _gather(
    planes,  # *int32 (total_steps, C, 4), 32 pitches each, C = tracks · P
    starts,  # *int64 (B,)
    transpose,  # *int64 (B,)
    fixed,  # *uint8 (tracks,)
    out,  # (B, C, n_steps, n_pitches / per_word), whole numbers that hold per_word cells each
    n_steps: tl.constexpr,
    n_channels: tl.constexpr,
    n_planes: tl.constexpr,
    low: tl.constexpr,
    n_pitches: tl.constexpr,
    transposes: tl.constexpr,
    group: tl.constexpr,
    per_word: tl.constexpr,
    one: tl.constexpr,
    block: tl.constexpr,
):
    per_step: tl.constexpr = n_pitches // group
    n_groups: tl.constexpr = n_steps * per_step  # of a plane of a window
    n_blocks: tl.constexpr = (n_groups + block - 1) // block
    program = tl.program_id(0)
    plane = program // n_blocks  # b · C + channel
    window = plane // n_channels
    channel = plane % n_channels

    number = (program % n_blocks) * block + tl.arange(0, block)
    here = number < n_groups
    if per_step == 1:
        step = number
    else:  # number // per_step, exact below 2³² / per_step; the compiler's own division wanders through 16 bits
        magic: tl.constexpr = (2**32 + per_step - 1) // per_step
        step = tl.umulhi(number.to(tl.uint32), magic).to(tl.int32)
    pitch = (number - step * per_step) * group + low
    if transposes:
        moves = tl.load(fixed + channel // n_planes) == 0
        pitch -= tl.where(moves, tl.load(transpose + window).to(tl.int32), 0)

    # A group's bits lie in one word of 32 pitches, or in two neighbours. Words outside 0 … 3 are pitches that do not exist:
    # silence. As unsigned numbers, negative ones lie above 3 too.
    index = pitch >> 5
    source = planes + first_cell(tl.load(starts + window), n_channels * 4) + channel * 4
    source += step * (n_channels * 4) + index
    lower = tl.load(source, mask=here & (index.to(tl.uint32, bitcast=True) < 4), other=0).to(tl.uint32, bitcast=True)
    there = here & ((index + 1).to(tl.uint32, bitcast=True) < 4)
    upper = tl.load(source + 1, mask=there, other=0).to(tl.uint32, bitcast=True)
    both = (upper.to(tl.uint64) << 32) | lower
    word = ((both >> (pitch & 31).to(tl.uint64)) & ((1 << group) - 1)).to(tl.int32)

    words: tl.constexpr = group // per_word
    i = tl.arange(0, words)[None, :]
    if per_word == 1:
        cells = (word[:, None] >> i) & 1
    elif per_word == 2:  # bit 2i to bit 0, bit 2i + 1 to bit 16
        cells = ((word | (word << 15))[:, None] >> (2 * i)) & 0x00010001
    else:  # bits 4i … 4i + 3 to bits 0, 8, 16, 24
        cells = (((word[:, None] >> (4 * i)) & 15) * 0x00204081) & 0x01010101
    target = out + first_cell(plane, n_groups * words) + number[:, None] * words + i
    tl.store(target, (cells * one).to(out.dtype.element_ty), mask=here[:, None])


ONE = {torch.float32: 0x3F800000, torch.bfloat16: 0x3F80, torch.float16: 0x3C00, torch.uint8: 1}
"""Bits of the number 1."""
WORD = {1: torch.int8, 2: torch.int16, 4: torch.int32}


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
    """``musegen_pianoroll.store.windows.gather_windows`` in one pass over memory; the same arguments, the same values.

    Args:
        block, n_warps: groups of cells and warps per program. Powers of two; they change nothing but the speed.

    Raises:
        ValueError: a window does not fit into 32-bit addresses, the planes are not contiguous, or another type.
    """
    _check(planes, dtype)
    low, high = pitch_range
    n_tracks, n_planes, _ = planes.shape[1:]
    n_channels, n_pitches = n_tracks * n_planes, high - low
    group, per_word = math.gcd(n_pitches, LARGEST_GROUP), 4 // dtype.itemsize
    per_word = per_word if group % per_word == 0 else 1
    n_blocks = triton.cdiv(n_steps * n_pitches // group, block)
    if max(n_steps * n_channels * 16, (n_blocks + 1) * block * group, len(starts) * n_channels * n_blocks) >= 2**31:
        raise ValueError(f"windows of {n_steps} steps, {len(starts)} of them, are too large for one launch")
    out = torch.empty(len(starts), n_channels, n_steps, n_pitches, dtype=dtype, device=planes.device)
    if out.numel():
        _gather[(len(starts) * n_channels * n_blocks,)](
            planes.view(torch.int32),
            starts.contiguous(),
            starts if transpose is None else transpose.contiguous(),
            fixed.view(torch.uint8),
            out.view(WORD[dtype.itemsize * per_word]),
            n_steps,
            n_channels,
            n_planes,
            low,
            n_pitches,
            transpose is not None,
            group,
            per_word,
            ONE[dtype],
            block,
            num_warps=n_warps,
        )
    return out


def _check(planes: Tensor, dtype: torch.dtype) -> None:
    if not planes.is_contiguous() or planes.shape[-1] != 16:
        raise ValueError(f"planes must be contiguous, (steps, tracks, P, 16), not {tuple(planes.shape)}")
    if dtype not in ONE:
        raise ValueError(f"windows come as {', '.join(map(str, ONE))}, not as {dtype}")
