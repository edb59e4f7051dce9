"""Batches, and what a data set promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

__all__ = ["Batch", "Dataset", "generator_for"]

CPU = torch.device("cpu")


def generator_for(device: torch.device, *key: int) -> torch.Generator:
    """A generator on ``device`` whose seed is a hash of ``key``: the same key, the same draws."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator(device).manual_seed(seed)


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


class Dataset(ABC):
    """Examples, gathered a batch at a time; it knows how to place itself on a device.

    A subclass has a length and ``gather``, and with that it trains on any device: batches are made on the host and copied to
    the device. Examples that are rows of one tensor, or windows of such rows, had better be a ``RowDataset``
    (``musegen.data.rows``; ``ArrayDataset`` is the simplest one): it lies on the device, and streams what does not fit.

    Attributes:
        label: class per example ``(N,)``, int64; None without classes.
        binary: whether the cells of every batch are 0 or 1. Every type holds these exactly, so such batches come in bfloat16
            where networks compute in it.
    """

    label: Tensor | None = None
    binary: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        """The examples of ``index`` (B,), which is on ``index_device``; augmentation draws from ``generator`` alone, which is on
        the device where batches are made."""

    @property
    def index_device(self) -> torch.device:
        """Where ``gather`` wants its indices."""
        return CPU

    @property
    def n_bytes(self) -> int:
        """Bytes that the examples take on a device if all of them lie there, or more. Labels and positions of examples, a number
        each, are not counted. 0 where nothing but batches gets there."""
        return 0

    def placed(self, device: torch.device, memory: int | None = None, dtype: torch.dtype = torch.float32) -> Dataset:
        """The data set whose batches are made on ``device``; this one stays as it is.

        Args:
            memory: bytes of the device that the examples may take; if they need more they are streamed. None: no limit.
            dtype: of batches whose cells are 0 or 1; what needs more digits comes in float32.

        Raises:
            BadInput: ``memory`` is too small to stream the examples.
        """
        if device.type == "cpu" and not (self.binary and dtype != torch.float32):
            return self
        return _FromHost(self, device, dtype)

    def order(self, *key: int) -> Tensor:
        """All examples, in the order of the epoch ``key[-1]``: ``(N,)`` int64, on the host; a function of the key alone."""
        return torch.randperm(len(self), generator=generator_for(CPU, *key))

    def count(self, label: int) -> int:
        """How many examples are of a class."""
        return 0 if self.label is None else int((self.label == label).sum())


class _FromHost(Dataset):
    """Batches of a data set that stays on the host, made there and copied to ``device``."""

    def __init__(self, dataset: Dataset, device: torch.device, dtype: torch.dtype) -> None:
        self.dataset, self.device, self.dtype = dataset, device, dtype
        self.label = None if dataset.label is None else dataset.label.to(device)
        self.binary = dataset.binary

    def __len__(self) -> int:
        return len(self.dataset)

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        if generator.device.type != "cpu":
            # Every batch has a generator of its own, so its seed is as good as a draw from it.
            generator = torch.Generator().manual_seed(generator.initial_seed())
        batch = self.dataset.gather(index, generator)
        x = batch.x.to(self.dtype) if self.binary else batch.x
        label = None if batch.label is None else batch.label.to(self.device)
        return replace(batch, x=x.to(self.device), index=batch.index.to(self.device), label=label)

    def placed(self, device: torch.device, memory: int | None = None, dtype: torch.dtype = torch.float32) -> Dataset:
        return self.dataset.placed(device, memory, dtype)

    def order(self, *key: int) -> Tensor:
        return self.dataset.order(*key)
