"""What a step needs of the whole batch where several processes have a part of it each.

A family is written for a batch and never sees a process. Most of its losses are means over examples, and then the mean of the
processes' gradients is the gradient of the whole batch. Three things are not, and this module is about them:

* What couples examples goes through the functions here: ``gathered`` (pairs of examples), ``batch_mean`` (a mean inside of
  something that is not linear, or one that is remembered), ``batch_length``. In one process, and in evaluation, they are what
  they seem: the rows, ``mean`` and the number itself.
* Random numbers. Every process draws for the whole batch, from generators that stand alike everywhere, and keeps its own rows:
  the numbers are those of one process, and a checkpoint has one set of generators. A draw has n·B rows, batch fastest;
  what is drawn once for all stands within ``same_everywhere()``, and dropout of rows of which an example has some number within
  ``uneven_rows()``. A draw that fits none of them is refused.
* Batch normalisation takes its statistics over the whole batch.

The last two need no word in a family: ``SharedBatch`` is a scope in which torch's functions do so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from musegen.errors import BadInput, ProcessLost
from musegen.probability.by_device import device_state

__all__ = ["Part", "SharedBatch", "batch_length", "batch_mean", "gathered", "same_everywhere", "uneven_rows", "watched"]


@dataclass(frozen=True)
class Part:
    """The part of every minibatch that this process has: rows rank·b … (rank + 1)·b − 1 of count·b.

    Args:
        rank: which part, from 0.
        count: of parts.
        rows: b; two or more, so that a draw for the examples cannot be mistaken for one that is made once.
    """

    rank: int
    count: int
    rows: int

    def own(self, whole: Tensor) -> Tensor:
        """This process's rows: ``(K · count · b, …)``, batch fastest, → ``(K · b, …)``."""
        # (K · count · b, …) -> (K, count, b, …) -> (K, b, …)
        return whole.unflatten(0, (-1, self.count, self.rows))[:, self.rank].flatten(0, 1)

    def enlarged(self, x: Tensor) -> Tensor:
        """A tensor for the whole batch, laid out in memory as one like x is, with x's rows wherever anybody's are."""
        rest = x.shape[1:]
        whole = x.unflatten(0, (-1, 1, self.rows)).expand(-1, self.count, self.rows, *rest).flatten(0, 2)
        # Random functions fill a new tensor in the order of its memory, which follows x's.
        order = sorted(range(x.dim()), key=torch.empty_like(x).stride, reverse=True)
        return whole.permute(order).contiguous().permute([order.index(axis) for axis in range(x.dim())])


_part: Part | None = None  # while a step runs on a part of the batch
_ragged = False


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """A scope for communication: what fails in it fails because another process ended."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost from error


class _Gather(torch.autograd.Function):
    """Everybody's x, ``(count, *x.shape)``. The loss of all is the sum of each one's, so gradients add up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, part: Part) -> Tensor:
        ctx.rank = part.rank
        everybody = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(part.count)]
        with watched():
            dist.all_gather(everybody, x.contiguous())
        return torch.stack(everybody)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        with watched():
            dist.all_reduce(total)
        return total[ctx.rank], None


class _Mean(torch.autograd.Function):
    """The mean of everybody's x. Its gradient is the mean of everybody's gradients, so that it can be taken again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, part: Part) -> Tensor:
        ctx.part = part
        total = x.clone(memory_format=torch.contiguous_format)
        with watched():
            dist.all_reduce(total)
        return total / part.count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Mean.apply(gradient, ctx.part), None


def gathered(x: Tensor, own_first: bool = False) -> Tensor:
    """The rows of the whole batch, ``(B, …)``, differentiable, of the rows that are here ``(b, …)``.

    Args:
        own_first: the rows that are here come first, so that row i meets itself on the diagonal of any ``(b, B)``; otherwise
            rows are in the batch's order.
    """
    if _part is None:
        return x
    everybody = _Gather.apply(x, _part)  # (count, b, …)
    return (everybody.roll(-_part.rank, 0) if own_first else everybody).flatten(0, 1)


def batch_mean(x: Tensor) -> Tensor:
    """The mean over the rows of the whole batch, differentiable: ``(b, …)`` → ``(…)``."""
    return x.mean(0) if _part is None else _Mean.apply(x.mean(0), _part)


def batch_length(n: int) -> int:
    """How many examples the whole batch has, of which n are here."""
    return n if _part is None else n * _part.count


@contextlib.contextmanager
def same_everywhere() -> Iterator[None]:
    """A scope for what every process does with the same numbers: draws that belong to no example, networks on whole batches."""
    global _part
    before, _part = _part, None
    try:
        yield
    finally:
        _part = before


@contextlib.contextmanager
def uneven_rows() -> Iterator[None]:
    """A scope in which dropout's rows belong to the examples in their order, any number to each."""
    global _ragged
    before, _ragged = _ragged, True
    try:
        yield
    finally:
        _ragged = before


def _draw_factory(part: Part, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """``torch.randn(n, 3)``, ``torch.randint(10, (n,))`` and the like: the size may be written in three ways."""
    n_bounds = 0 if func in (torch.rand, torch.randn) else sum(isinstance(a, (int, float)) for a in args)
    if "size" in kwargs:
        size = tuple(kwargs["size"])
        bounds, kwargs = args, {name: value for name, value in kwargs.items() if name != "size"}
    else:
        bounds, rest = args[:n_bounds], args[n_bounds:]
        size = tuple(rest[0]) if rest and isinstance(rest[0], Sequence) else rest
    _check_rows(part, size)
    return part.own(func(*bounds, size=(size[0] * part.count, *size[1:]), **kwargs))


def _draw_from(part: Part, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """``torch.bernoulli(p)``, ``torch.randn_like(x)``, ``x.exponential_()`` and the like.

    How many numbers they take from the generator does not depend on the parameters, so that any will do for the others' rows.
    """
    first = args[0]
    _check_rows(part, first.shape)
    if func in (torch.multinomial, Tensor.multinomial) and first.dim() == 1:
        raise BadInput(_REFUSED.format("as many as it likes from one row of weights"))
    larger = [part.enlarged(a.detach()) if isinstance(a, Tensor) and a.dim() else a for a in args]
    result = part.own(func(*larger, **kwargs))
    if func.__name__.endswith("_"):
        with torch.no_grad():
            return first.copy_(result)
    return result


def _dropout(part: Part, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Dropout as a product with a mask, so that nothing but the mask has to be as large as the whole batch."""
    x, p, training, inplace = (
        *args,
        *(kwargs[n] for n in ("p", "training", "inplace")[len(args) - 1 :] if n in kwargs),
    )
    if not training or p == 0:
        return func(*args, **kwargs)
    if _ragged:
        lengths = _Gather.apply(torch.tensor(len(x), device=x.device), part).tolist()
        first = sum(lengths[: part.rank])
        ones, own = x.new_ones(sum(lengths), *x.shape[1:]), lambda whole: whole[first : first + len(x)]
    else:
        _check_rows(part, x.shape)
        ones, own = part.enlarged(torch.ones_like(x)), part.own
    with torch.enable_grad():
        # On CUDA another kernel, with other numbers, serves inputs that need no gradient.
        ones.requires_grad_(x.requires_grad and torch.is_grad_enabled())
        mask = own(func(ones, p, True).detach())
    return x.mul_(mask) if inplace else x * mask


def _batch_norm(
    part: Part,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``F.batch_norm`` with the statistics of the whole batch (Ioffe & Szegedy 2015, 1502.03167): x ``(B, C, …)``."""
    shape = [1, -1] + [1] * (x.dim() - 2)
    own_var, own_mean = (t.double() for t in torch.var_mean(x.float(), [0, *range(2, x.dim())], correction=0))
    # In double precision the difference of the second moment and the square is as good as a sum of squares.
    mean, second = _Mean.apply(torch.stack([own_mean, own_var + own_mean.square()]), part)
    dtype = torch.promote_types(x.dtype, torch.float32)
    mean, var = mean.to(dtype), (second - mean.square()).clamp_min(0).to(dtype)
    if running_mean is not None and running_var is not None:
        n = part.count * x.numel() // x.shape[1]
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((var * (n / (n - 1))).to(running_var), momentum)
    scale = (var + eps).rsqrt() if weight is None else weight * (var + eps).rsqrt()
    y = (x - mean.view(shape)) * scale.view(shape)
    return (y if bias is None else y + bias.view(shape)).to(x.dtype)


def _normal(part: Part, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    draw = _draw_from if args and isinstance(args[0], Tensor) else _draw_factory
    return draw(part, func, args, kwargs)


_REFUSED = (
    "This model draws random numbers ({}) in a way that several processes cannot share "
    "(see docs/distributed.md): train it with one process."
)


def _check_rows(part: Part, size: Sequence[int]) -> None:
    if not len(size) or size[0] == 0 or size[0] % part.rows:
        raise BadInput(_REFUSED.format(f"of shape {tuple(size)}, where {part.rows} examples are at hand"))


FACTORIES = {torch.randn, torch.rand, torch.randint}
_DROPOUTS = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d}
FROM_TENSORS = {
    *(torch.randn_like, torch.rand_like, torch.randint_like, torch.bernoulli, torch.multinomial),
    *(getattr(Tensor, name) for name in ("bernoulli", "multinomial")),
    *(
        getattr(Tensor, f"{name}_")
        for name in ("normal", "uniform", "exponential", "bernoulli", "random", "log_normal")
    ),
}


class SharedBatch(TorchFunctionMode):
    """A scope in which a family sees its part of the batch and draws, and normalises, as if it saw the whole.

    It intercepts torch's random functions and ``F.batch_norm``; everything else costs about two microseconds a call.

    Args:
        part: of this process.
        device: whose generator is watched, beside the CPU's, for draws that no function here has seen.

    Raises:
        BadInput: on leaving, or at the next draw: something drew numbers that are not shared.
    """

    def __init__(self, part: Part, device: torch.device) -> None:
        super().__init__()
        self.part, self.device = part, device
        self._state: tuple[Tensor, ...] = ()

    def __enter__(self) -> SharedBatch:
        global _part
        _part = self.part
        self._state = self._generators()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        global _part
        _part = None
        super().__exit__(*error)
        if error[0] is None:
            self._check()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm:
            if _part is None or not kwargs["training"]:
                return func(*args, **kwargs)
            return _batch_norm(_part, *args, **kwargs)
        handler = _HANDLERS.get(func)
        if handler is None:
            return func(*args, **kwargs)
        self._check()
        result = func(*args, **kwargs) if _part is None else handler(_part, func, args, kwargs)
        self._state = self._generators()
        return result

    def _generators(self) -> tuple[Tensor, ...]:
        state, own = torch.get_rng_state(), device_state(self.device)
        return (state,) if own is None else (state, own)

    def _check(self) -> None:
        """Nobody else may have moved the generators: such numbers would be the same for every process's examples."""
        if not all(map(torch.equal, self._generators(), self._state)):
            raise BadInput(_REFUSED.format("inside of one operation, as a recurrent network with dropout does"))


_HANDLERS: dict[Any, Callable[..., Tensor]] = {
    **dict.fromkeys(FACTORIES, _draw_factory),
    **dict.fromkeys(FROM_TENSORS, _draw_from),
    **dict.fromkeys(_DROPOUTS, _dropout),
    torch.normal: _normal,
}
