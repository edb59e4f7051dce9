"""How large a family would be, before anything of it takes memory.

A configuration of some bytes, in a stranger's model file or with a slip of the finger, may ask for networks of any size. So a
family is first built on the "meta" device, where tensors have shapes and no content, and what it would need is compared with what
there is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from musegen.contracts.family import Family
from musegen.errors import BadInput
from musegen.limits import NETWORK_CALLS, in_bytes

__all__ = ["check_shapes", "check_size", "outline"]

COPIES = 4
"""Times that training holds a weight: itself, its gradient, and the two moments of Adam."""


class _TooMany(Exception):
    """More layers than any network has."""


class _Counted(TorchDispatchMode):
    """Ends what makes tensors without end: layers are made one after the other, in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if self.calls > NETWORK_CALLS:
            raise _TooMany
        return func(*args, **(kwargs or {}))


def outline(build: Callable[[], Family], where: str) -> dict[str, Tensor] | None:
    """Names, shapes and types of a family's tensors, which have no content; None if it cannot be built without.

    Args:
        build: the family.
        where: its configuration is from, for messages.

    Raises:
        BadInput: it has more layers than any machine could train, or tensors of more bytes than there are numbers for.
    """
    try:
        with torch.device("meta"), _Counted():
            return dict(build().state_dict())
    except _TooMany:
        raise BadInput(
            f"{where} asks for networks of many thousand layers, which nobody can train: use smaller numbers."
        ) from None
    except (RuntimeError, OverflowError, MemoryError) as error:
        if any(word in str(error) for word in ("overflow", "too large", "negative dimension", "Storage size")):
            raise BadInput(f"{where} asks for networks that no machine can hold: use smaller numbers.") from None
        return None
    except (NotImplementedError, TypeError, ValueError):
        return None  # a plugin's, which looks at its weights while it makes them


def check_size(shapes: Mapping[str, Tensor] | None, device: torch.device, where: str) -> None:
    """Refuse a family that this machine could not train.

    Raises:
        BadInput: how much it would need, and how much there is.
    """
    memory = memory_of(device)
    if shapes is None or memory is None:
        return
    needed = COPIES * sum(t.numel() * t.element_size() for t in shapes.values())
    if needed > memory:
        raise BadInput(
            f"{where} asks for networks that need {in_bytes(needed)} of memory to train, and {device} has {in_bytes(memory)}: use "
            "smaller ones."
        )


def check_shapes(shapes: Mapping[str, Tensor] | None, weights: Mapping[str, Tensor], where: str) -> None:
    """Refuse a family whose tensors are not those that are there for it.

    Raises:
        BadInput: names the first that differs.
    """
    if shapes is None:
        return
    for name in [*shapes, *(name for name in weights if name not in shapes)]:
        claimed, found = shapes.get(name), weights.get(name)
        if found is None:
            what = f"has no tensor {name}, which its configuration needs"
        elif claimed is None:
            what = f"has a tensor {name}, which its configuration does not know"
        elif claimed.shape != found.shape:
            what = f"holds {name} in the shape {tuple(found.shape)}, and its configuration says {tuple(claimed.shape)}"
        else:
            continue
        raise BadInput(f"{where} is damaged, because its weights do not fit: it {what}.")


def memory_of(device: torch.device) -> int | None:
    """Bytes of memory that a device has; None if nobody knows."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None
