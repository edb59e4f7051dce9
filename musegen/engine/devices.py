"""The device that a run works on, and how it keeps memory."""

from __future__ import annotations

import ctypes
import sys

import torch

from musegen.errors import BadInput
from musegen.probability import by_device

__all__ = ["choose_device", "keep_freed_memory"]

DEVICES = "auto, cpu, cuda, cuda:N or mps"


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, and otherwise the CPU. ``mps``, the GPU of Apple's machines, has to be asked for:
    musegen has not been tried on one.

    Raises:
        BadInput: no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadInput(f'There is no device "{name}": use {DEVICES}.') from None
    if device.type not in ("cpu", "cuda", by_device.METAL):
        raise BadInput(f'The device "{name}" is not supported: use {DEVICES}.')
    if device.type == by_device.METAL and ((device.index or 0) > 0 or not torch.backends.mps.is_available()):
        raise BadInput(f'The device "{name}" is not there (Apple\'s GPU, for torch on macOS): use auto or cpu.')
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
