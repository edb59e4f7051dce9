"""Batches, and what a data set promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

__all__ = ["Batch", "Dataset", "Streamed"]


@dataclass(frozen=True)
class Batch:
    """Examples on the training device.

    Args:
        x: ``(B, *S)``, floating point.
        index: which examples of the data set, ``(B,)``.
        label: class per example ``(B,)``, int64, if the data have classes.
        auxiliary: batches of further data that a family asked for (see ``Family.auxiliary``), by name, B examples each.
    """

    x: Tensor
    index: Tensor
    label: Tensor | None = None
    auxiliary: Mapping[str, Batch] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def split(self, n: int) -> Iterator[Batch]:
        """n minibatches of equal size; fewer, and the last one smaller, where an evaluation runs out of examples."""
        size = -(-len(self) // n)
        for first in range(0, len(self), size):
            part = slice(first, first + size)
            yield self[part]

    def __getitem__(self, part: slice) -> Batch:
        label = None if self.label is None else self.label[part]
        return Batch(self.x[part], self.index[part], label, {name: b[part] for name, b in self.auxiliary.items()})

    def float(self) -> Batch:
        """The same examples in single precision, for what counts and averages them."""
        return replace(self, x=self.x.float(), auxiliary={name: b.float() for name, b in self.auxiliary.items()})


class Dataset(Protocol):
    """Examples that live on a device and are gathered there, a batch at a time.

    Attributes:
        label: class per example ``(N,)``, int64; None without classes.
    """

    @property
    def label(self) -> Tensor | None: ...

    def __len__(self) -> int: ...

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        """The examples of ``index`` (B,), on ``index``'s device; augmentation draws from ``generator`` alone."""
        ...

    def to(self, device: torch.device) -> Self: ...


@runtime_checkable
class Streamed(Protocol):
    """A data set of which a part is on the device at a time: it says in which order it wants an epoch gone through."""

    def order(self, *key: int) -> Tensor:
        """All examples, in the order of the epoch ``key[-1]``: ``(N,)`` int64, on the host; a function of the key alone."""
        ...
