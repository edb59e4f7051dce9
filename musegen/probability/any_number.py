"""Samples that do not depend on how many are drawn together: the first four of eight are the four that one asks for.

A sample takes more random numbers than one call draws: a class and a code, a row of a picture and the next. Drawn from one
generator, the second call's numbers would begin where the first call's end, which depends on the number of samples. Therefore every
call has a stream of its own: the first that of the seed, and each of the others one whose seed follows from the one before. Within
a call the numbers belong to the samples in their order.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from musegen.probability.by_device import default_generator
from musegen.probability.whole_batch import FACTORIES, FROM_TENSORS

__all__ = ["AnyNumber", "own_streams"]

BLOCK = 16
"""Normal numbers that torch makes together on a CPU, and otherwise where there are fewer (``normal_fill``)."""


class AnyNumber(TorchFunctionMode):
    """A scope in which the first n samples that a family draws are the same, however many follow.

    It intercepts torch's random functions, whose first axis runs over samples; a call with a generator of its own is left alone.

    >>> import torch
    >>> from musegen.engine.shared_state import seeded
    >>> from musegen.probability.any_number import AnyNumber
    >>> def draw(n):
    ...     with seeded(1, torch.device("cpu")), AnyNumber():
    ...         return torch.randn(n, 3), torch.rand(n, 2)
    >>> [torch.equal(few, many[:4]) for few, many in zip(draw(4), draw(7))]
    [True, True]
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _RANDOM or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        drawn = _NORMAL.get(func, _as_it_is)(func, args, kwargs)
        generator = default_generator(drawn.device)
        generator.manual_seed(_next_seed(generator.initial_seed()))
        return drawn


@contextlib.contextmanager
def own_streams() -> Iterator[None]:
    """A scope for code of many small steps that sees to this itself: nothing is intercepted, which costs microseconds a call."""
    with torch._C.DisableTorchFunction():
        yield


def _next_seed(seed: int) -> int:
    digest = hashlib.sha256((seed % 2**64).to_bytes(8, "little")).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _as_it_is(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return func(*args, **kwargs)


def _normal_numbers(size: Sequence[int], **options: Any) -> Tensor:
    """Standard normal numbers: whole blocks are drawn, and what is too much left out."""
    if not len(size):
        return torch.randn(BLOCK, **options)[0]
    return torch.randn(-(-size[0] // BLOCK) * BLOCK, *size[1:], **options)[: size[0]]


def _randn(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """``torch.randn(2, 3)``, ``torch.randn((2, 3))``, ``torch.randn(size=(2, 3))``."""
    size = args[0] if args and isinstance(args[0], Sequence) else args
    return _normal_numbers(**({"size": size} | kwargs))


def _randn_like(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return _fill(torch.empty_like(*args, **kwargs))


def _fill(x: Tensor, mean: float = 0, std: float = 1, generator: None = None) -> Tensor:
    """``x.normal_(mean, std)``."""
    with torch.no_grad():
        return x.copy_(_normal_numbers(x.shape, dtype=x.dtype, device=x.device) * std + mean)


def _normal(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """``torch.normal(mean, std)``, either of them a tensor, or both numbers with a size."""
    mean, std, *rest = *args, *(kwargs[name] for name in ("mean", "std", "size")[len(args) :] if name in kwargs)
    if rest:
        return _fill(torch.empty(rest[0], device=kwargs.get("device"), dtype=kwargs.get("dtype")), mean, std)
    like = torch.as_tensor(mean) + torch.as_tensor(std)
    return _normal_numbers(like.shape, dtype=like.dtype, device=like.device) * std + mean


_NORMAL: dict[Any, Callable[..., Tensor]] = {
    torch.randn: _randn,
    torch.randn_like: _randn_like,
    torch.normal: _normal,
    Tensor.normal_: lambda func, args, kwargs: _fill(*args, **kwargs),
}
_RANDOM = {*FACTORIES, *FROM_TENSORS, torch.normal}
