"""Data sets whose examples are windows of consecutive rows of one long tensor.

Such a data set says where its rows are, and how windows of rows become a batch. Everything else follows from that: the rows lie
on the device, one copy for all data sets that share them; or, where they take more memory than they may, a part of them at a time
(``musegen.data.streaming``); or in a file that is mapped into memory, of which nothing is read but what batches need.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import NamedTuple, Self
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from musegen.contracts.dataset import Batch, Dataset
from musegen.data.streaming import Streamed

__all__ = ["RowDataset", "Source"]


class Source(NamedTuple):
    """Where examples lie.

    Args:
        rows: ``(R, …)`` of any type; in the host's memory or mapped from a file until they are placed on a device.
        first: first row of each example, ``(N,)`` int64; None: example i is row i.
        n_rows: of every example.
    """

    rows: Tensor
    first: Tensor | None = None
    n_rows: int = 1


class RowDataset(Dataset):
    """Examples that are windows of consecutive rows of one long tensor.

    A subclass has ``source`` and ``make``. The tensors among its attributes, those of its source included, are what is placed on a
    device; what it keeps in lists or dictionaries stays where it is.

    Attributes:
        dtype: of batches; ``placed`` sets it where their cells are 0 or 1.
    """

    dtype: torch.dtype = torch.float32

    @abstractmethod
    def source(self) -> Source:
        """Where the examples lie; its tensors are attributes of the data set."""

    @abstractmethod
    def make(self, rows: Tensor, first: Tensor, generator: torch.Generator) -> Tensor:
        """Examples as a batch has them, ``(B, *S)``; augmentation draws from ``generator`` alone.

        Args:
            rows: ``(R', …)``: some rows or all, in the order of the source within every example.
            first: where in them the examples begin, ``(B,)`` int64. All arguments are on the device where the batch is made.
        """

    def taken(self, rows: Tensor, first: Tensor) -> Tensor:
        """The rows of examples that begin at ``first`` ``(B,)`` in ``rows``, for ``make``: ``(B, n_rows, …)``."""
        return rows[first[:, None] + torch.arange(self.source().n_rows, device=first.device)]

    def __len__(self) -> int:
        rows, first, _ = self.source()
        return len(rows if first is None else first)

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        rows, first, _ = self.source()
        return self.batch(rows, index if first is None else first[index], index, generator)

    def batch(self, rows: Tensor, first: Tensor, index: Tensor, generator: torch.Generator) -> Batch:
        """The examples ``index``, which begin at ``first`` in ``rows``."""
        x = self.make(rows, first, generator)
        if x.dtype != self.dtype:
            x = x.to(self.dtype)
        return Batch(x, index, None if self.label is None else self.label[index])

    @property
    def index_device(self) -> torch.device:
        return self.source().rows.device

    @property
    def n_bytes(self) -> int:
        return self.source().rows.nbytes

    def placed(self, device: torch.device, memory: int | None = None, dtype: torch.dtype = torch.float32) -> Dataset:
        if memory is not None and self.n_bytes > memory:
            return Streamed(self, device, memory, dtype)
        return self.moved(device, dtype)

    def moved(self, device: torch.device, dtype: torch.dtype, with_source: bool = True) -> Self:
        """A copy whose tensors are on ``device``, those of the source only ``with_source``.

        Raises:
            TypeError: rows, or first rows, are no attribute.
        """
        rows, first, _ = self.source()
        other = copy.copy(self)
        attributes = vars(other)
        tensors = {name: value for name, value in attributes.items() if isinstance(value, Tensor)}
        for wanted in (rows, first):
            if wanted is not None and all(value is not wanted for value in tensors.values()):
                raise TypeError(
                    f"{type(self).__name__}.source must return tensors that are attributes of the data set."
                )
        for name, value in tensors.items():
            if value is rows:
                attributes[name] = _shared(rows, device) if with_source else rows
            elif value is not first or with_source:
                attributes[name] = value.to(device)
        attributes["dtype"] = dtype if self.binary else self.dtype
        return other


_copies: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def _shared(rows: Tensor, device: torch.device) -> Tensor:
    """The rows on a device, one copy for all data sets that have them."""
    copies = _copies.setdefault(rows, WeakValueDictionary())
    found = copies.get(str(device))
    if found is None:
        found = copies[str(device)] = rows.to(device)
    return found
