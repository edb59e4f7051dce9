"""What kinds of devices differ in: which generator draws where no other is named, and whether there are numbers of 64 bits.

Metal (``mps``) has no float64. What needs it is computed on the host there, or, where nothing depends on it, in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["METAL", "default_generator", "device_state", "set_device_state", "widest", "with_float64"]

METAL = "mps"
"""What torch calls the GPUs of Apple's machines."""


def default_generator(device: torch.device) -> torch.Generator:
    """The one that draws on a device where no other is named.

    >>> import torch
    >>> from musegen.probability.by_device import default_generator
    >>> default_generator(torch.device("cpu")) is torch.default_generator
    True
    """
    if device.type == "cuda":
        torch.cuda.init()  # before that there are none
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]
    if device.type == METAL:
        return torch.mps._get_default_mps_generator()
    return torch.default_generator


def device_state(device: torch.device) -> Tensor | None:
    """Where the generator of a device stands; None where the host's draws."""
    own = default_generator(device)
    return None if own is torch.default_generator else own.get_state()


def set_device_state(device: torch.device, state: Tensor | None) -> None:
    """Have the generator of a device stand where ``device_state`` says."""
    if state is not None:
        default_generator(device).set_state(state.cpu())


def widest(device: torch.device) -> torch.dtype:
    """The floating point type of most digits that a device has."""
    return torch.float32 if device.type == METAL else torch.float64


def with_float64(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors where float64 is to be had: where they are, or on the host."""
    return tuple(t.cpu() if t.device.type == METAL else t for t in tensors)
