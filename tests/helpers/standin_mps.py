"""A stand-in for Apple's GPU, on any machine: tensors that say they are elsewhere, and refuse what that device refuses.

The device is called ``meta``, which torch can name on every machine, and which only musegen is told is Metal's name.

Their values lie on the host. Refused are float64, and operations on tensors of which some are on the host, as torch refuses them;
a host tensor of one value, and indices on the host, are allowed, as on every device. The device has a generator of its own. What
the stand-in cannot tell is whether Metal has an operation at all, how fast it is, and how it rounds.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

from musegen.probability import by_device

__all__ = ["OnDevice", "stand_in"]

aten = torch.ops.aten
METAL = torch.device("meta")
MIXED = {aten.copy_, aten._to_copy, aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
"""Operations that may have tensors of the device and of the host."""


class OnDevice(Tensor):
    """A tensor whose values are those of ``host``."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> OnDevice:
        if host.dtype in (torch.float64, torch.complex128):
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        made = Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=METAL,
        )
        made.host = host
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.host!r})"

    @property
    def is_meta(self) -> bool:  # torch loads no weights into those
        return False

    def tolist(self) -> Any:
        return self.host.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Makes tensors on the device where one is asked for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """Numbers that a program writes, which torch puts on a device without asking anybody."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.get("device") if func in (torch.tensor, torch.as_tensor) else None
        if device is not None and torch.device(device).type == METAL.type and not isinstance(args[0], Tensor):
            return OnDevice(func(*args, **{**kwargs, "device": "cpu"}))
        return func(*args, **kwargs)


_generator = torch.Generator()


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    flat = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
    wanted = kwargs.get("device")
    on_device = any(isinstance(leaf, OnDevice) for leaf in flat)
    if on_device and func.overloadpacket not in MIXED:
        for leaf in flat:
            if not isinstance(leaf, OnDevice) and leaf.dim():
                raise RuntimeError(f"{func}: Expected all tensors to be on the same device, but found mps and cpu.")
    if wanted is not None:
        on_device = torch.device(wanted).type == METAL.type
    if func.overloadpacket is aten.copy_:
        on_device = isinstance(args[0], OnDevice)
    plain = kwargs | ({"device": torch.device("cpu")} if wanted is not None else {})
    inner_args, inner_kwargs = tree_map(lambda leaf: leaf.host if isinstance(leaf, OnDevice) else leaf, (args, plain))
    with _drawing() if on_device and torch.Tag.nondeterministic_seeded in func.tags else contextlib.nullcontext():
        result = func(*inner_args, **inner_kwargs)
    if not on_device:
        return result
    wrapped = tree_map(lambda leaf: OnDevice(leaf) if isinstance(leaf, Tensor) else leaf, result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


@contextlib.contextmanager
def _drawing() -> Iterator[None]:
    """The device's generator draws."""
    host = torch.default_generator.get_state()
    torch.default_generator.set_state(_generator.get_state())
    try:
        yield
    finally:
        _generator.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(host)


@contextlib.contextmanager
def stand_in() -> Iterator[None]:
    """A scope in which torch has such a device."""

    class Generator(torch.Generator):
        def __new__(cls, device: Any = "cpu") -> torch.Generator:  # type: ignore[misc]
            return super().__new__(cls, "cpu" if torch.device(device).type == METAL.type else device)

    autocast = torch.autocast

    def cast(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return contextlib.nullcontext() if device_type == METAL.type else autocast(device_type, *args, **kwargs)

    with (
        mock.patch.object(torch, "autocast", cast),  # musegen enters it there to turn it off
        mock.patch.object(torch.backends.mps, "is_available", return_value=True),
        mock.patch.object(torch.mps, "_get_default_mps_generator", return_value=_generator),
        mock.patch.object(torch, "Generator", Generator),
        # torch lists Metal among the devices that it has the fused step of Adam for.
        mock.patch.object(sys.modules["torch.optim.adam"], "_device_dtype_check_for_fused"),
        _Factories(),
        _Literals(),
        mock.patch.object(by_device, "METAL", METAL.type),
    ):
        before = torch.__future__.get_overwrite_module_params_on_conversion()
        # A parameter cannot become another class in place.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            yield
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(before)
