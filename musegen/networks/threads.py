"""How many threads have enough to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["threads_for"]

FEW = 16
"""Samples up to which a step has too little work for several threads: they would wait for each other for longer than they work,
the more so where other programs run."""


@contextlib.contextmanager
def threads_for(n: int) -> Iterator[None]:
    """A scope in which n samples are drawn step by step on a CPU: in one thread if they are few."""
    before = torch.get_num_threads()
    if n <= FEW:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
