"""In which precision a device computes."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from musegen.engine.config import Precision

__all__ = ["TensorFloat32", "computing"]


class TensorFloat32:
    """While entered, products of float32 matrices on a CUDA device round their factors to 10 binary digits (TF32), as its
    convolutions do anyway. On other devices nothing changes.

    >>> import torch
    >>> from musegen.engine.precision import TensorFloat32
    >>> with TensorFloat32():
    ...     torch.get_float32_matmul_precision()
    'high'
    >>> torch.get_float32_matmul_precision()
    'highest'
    """

    def __init__(self) -> None:
        self._before: list[str] = []

    def __enter__(self) -> None:
        self._before.append(torch.get_float32_matmul_precision())
        torch.set_float32_matmul_precision("high")

    def __exit__(self, *_: object) -> None:
        torch.set_float32_matmul_precision(self._before.pop())


def computing(precision: Precision, device: torch.device) -> tuple[Any, torch.dtype]:
    """What a device computes within, and the type of batches of cells that are 0 or 1.

    bfloat16 holds these exactly, so that a likelihood, which autocast computes in float32, sees the same targets; and what
    autocast would convert before every first layer is made in that type at once.
    """
    if device.type != "cuda" or precision == "float32":
        return contextlib.nullcontext(), torch.float32
    if precision == "tf32":
        return TensorFloat32(), torch.float32
    return torch.autocast("cuda", torch.bfloat16), torch.bfloat16
