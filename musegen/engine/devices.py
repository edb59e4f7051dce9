"""The device that a run works on, and how it keeps memory."""

from __future__ import annotations

import ctypes
import sys

import torch

from musegen.errors import BadInput

__all__ = ["choose_device", "keep_freed_memory"]


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one.

    Raises:
        BadInput: no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadInput(f'There is no device "{name}": use auto, cpu, cuda or cuda:N.') from None
    if device.type not in ("cpu", "cuda"):
        raise BadInput(f'The device "{name}" is not supported: use auto, cpu, cuda or cuda:N.')
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadInput(f'The device "{name}" is not there ({torch.cuda.device_count()} CUDA devices): use auto or cpu.')
    return device


def keep_freed_memory() -> None:
    """Have this process keep memory that tensors on the CPU free, up to 2 GB, for the next ones.

    glibc returns blocks above 32 MB to the system as they are freed, and the system fills them with zeros, page by page, when they
    are next asked for. Gradients of a large layer and activations of a large batch come and go in every step, so that costs up to
    half of a step (``docs/performance.md``). Does nothing with another C library.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_threshold, 2**30)
