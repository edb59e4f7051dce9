"""Batches, data sets, and which examples make up step s."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

__all__ = ["ArrayDataset", "Batch", "Batches", "Dataset", "generator_for"]


@dataclass(frozen=True)
class Batch:
    """Examples on the training device.

    Args:
        x: ``(B, *S)``, floating point.
        index: which examples of the data set, ``(B,)``.
        label: class per example ``(B,)``, int64, if the data have classes.
    """

    x: Tensor
    index: Tensor
    label: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def split(self, n: int) -> Iterator[Batch]:
        """n minibatches of equal size; fewer, and the last one smaller, where an evaluation runs out of examples."""
        size = -(-len(self) // n)
        for first in range(0, len(self), size):
            part = slice(first, first + size)
            yield Batch(self.x[part], self.index[part], None if self.label is None else self.label[part])


class Dataset(Protocol):
    """Examples that live on a device and are gathered there, a batch at a time."""

    def __len__(self) -> int: ...

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        """The examples of ``index`` (B,), on ``index``'s device; augmentation draws from ``generator`` alone."""
        ...

    def to(self, device: torch.device) -> Self: ...


class ArrayDataset:
    """Examples held as one uint8 array; cast and scaled to [0, 1] when gathered.

    Args:
        x: uint8 ``(N, *S)``.
        label: int64 ``(N,)`` or None.
        transform: applied to the float batch with the batch's generator (dynamic binarisation, noise).
        scale: what x is divided by.
    """

    def __init__(
        self,
        x: Tensor,
        label: Tensor | None = None,
        transform: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        scale: float = 255.0,
    ) -> None:
        self.x, self.label, self.transform, self.scale = x, label, transform, scale

    def __len__(self) -> int:
        return len(self.x)

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        x = self.x[index].float()
        if self.scale != 1:
            x = x / self.scale
        if self.transform is not None:
            x = self.transform(x, generator)
        return Batch(x, index, None if self.label is None else self.label[index])

    def to(self, device: torch.device) -> ArrayDataset:
        label = None if self.label is None else self.label.to(device)
        return ArrayDataset(self.x.to(device), label, self.transform, self.scale)


def generator_for(device: torch.device, *key: int) -> torch.Generator:
    """A generator on ``device`` whose seed is a hash of ``key``: the same key, the same draws."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator(device).manual_seed(seed)


class Batches:
    """Which examples make up step s, as a pure function of (seed, s).

    Every epoch is a new permutation, and step s takes the positions s·B … (s+1)·B − 1 of the endless sequence of
    epochs. Nothing has to be remembered to resume: asking for step s again gives the same batch, augmentation included.

    Args:
        dataset: already on ``device``.
        batch_size: B examples per step (minibatch size times minibatches).
        seed: of the run.
    """

    def __init__(self, dataset: Dataset, batch_size: int, seed: int, device: torch.device) -> None:
        self.dataset, self.batch_size, self.seed, self.device = dataset, batch_size, seed, device
        self._epoch: tuple[int, Tensor] | None = None

    def _permutation(self, epoch: int) -> Tensor:
        if self._epoch is None or self._epoch[0] != epoch:
            order = torch.randperm(len(self.dataset), generator=generator_for(torch.device("cpu"), self.seed, 0, epoch))
            self._epoch = (epoch, order.to(self.device))
        return self._epoch[1]

    def index(self, step: int) -> Tensor:
        """Examples of step ``step``: ``(B,)`` int64."""
        n, first = len(self.dataset), step * self.batch_size
        parts, wanted = [], self.batch_size
        while wanted:
            epoch, position = divmod(first, n)
            part = self._permutation(epoch)[position : position + wanted]
            parts.append(part)
            first, wanted = first + len(part), wanted - len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def __getitem__(self, step: int) -> Batch:
        return self.dataset.gather(self.index(step), generator_for(self.device, self.seed, 1, step))

    def once(self, limit: int | None = None) -> Iterator[Batch]:
        """Every example once, in order (at most ``limit`` of them), with the same draws each time: for validation."""
        generator = generator_for(self.device, self.seed, 2)
        n = len(self.dataset) if limit is None else min(limit, len(self.dataset))
        for index in torch.arange(n, device=self.device).split(self.batch_size):
            yield self.dataset.gather(index, generator)
