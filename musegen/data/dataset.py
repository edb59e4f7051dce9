"""Batches, data sets, and which examples make up step s."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

__all__ = ["ArrayDataset", "Batch", "Batches", "Dataset", "Streamed", "View", "balanced_subset", "generator_for"]


@dataclass(frozen=True)
class Batch:
    """Examples on the training device.

    Args:
        x: ``(B, *S)``, floating point.
        index: which examples of the data set, ``(B,)``.
        label: class per example ``(B,)``, int64, if the data have classes.
        streams: batches of further data that a family asked for (see ``Family.streams``), by name, B examples each.
    """

    x: Tensor
    index: Tensor
    label: Tensor | None = None
    streams: Mapping[str, Batch] = field(default_factory=dict)

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
        return Batch(self.x[part], self.index[part], label, {name: b[part] for name, b in self.streams.items()})

    def float(self) -> Batch:
        """The same examples in single precision, for what counts and averages them."""
        return replace(self, x=self.x.float(), streams={name: b.float() for name, b in self.streams.items()})


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


class ArrayDataset:
    """Examples held as one array, of bytes or of half precision; cast and scaled when gathered.

    Args:
        x: uint8 or float16 ``(N, *S)``.
        label: int64 ``(N,)`` or None.
        transform: applied to the float batch with the batch's generator (dynamic binarisation, noise).
        scale: what x is divided by; 255 brings bytes to [0, 1].
        binary: batches are zeros and ones, once they are scaled and transformed.
        dtype: of batches, see ``in_type``.
    """

    def __init__(
        self,
        x: Tensor,
        label: Tensor | None = None,
        transform: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        scale: float = 255.0,
        binary: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.x, self.label, self.transform, self.scale = x, label, transform, scale
        self.binary, self.dtype = binary, dtype

    def __len__(self) -> int:
        return len(self.x)

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        x = self.x[index].float()
        if self.scale != 1:
            x = x / self.scale
        if self.transform is not None:
            x = self.transform(x, generator)
        return Batch(x.to(self.dtype), index, None if self.label is None else self.label[index])

    def to(self, device: torch.device) -> ArrayDataset:
        label = None if self.label is None else self.label.to(device)
        return ArrayDataset(self.x.to(device), label, self.transform, self.scale, self.binary, self.dtype)

    def in_type(self, dtype: torch.dtype) -> ArrayDataset:
        """With batches in ``dtype`` if they are zeros and ones, which every type holds exactly; others stay as they are."""
        return ArrayDataset(self.x, self.label, self.transform, self.scale, True, dtype) if self.binary else self


@dataclass(frozen=True)
class View:
    """Some examples of a data set, perhaps without their labels.

    Args:
        dataset: the whole.
        chosen: examples to keep, ``(M,)`` int64; None for all.
        labelled: whether batches show labels.
    """

    dataset: Dataset
    chosen: Tensor | None = None
    labelled: bool = True

    @property
    def label(self) -> Tensor | None:
        if not self.labelled or self.dataset.label is None:
            return None
        return self.dataset.label if self.chosen is None else self.dataset.label[self.chosen]

    def __len__(self) -> int:
        return len(self.dataset) if self.chosen is None else len(self.chosen)

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        batch = self.dataset.gather(index if self.chosen is None else self.chosen[index], generator)
        return batch if self.labelled else replace(batch, label=None)

    def to(self, device: torch.device) -> View:
        chosen = None if self.chosen is None else self.chosen.to(device)
        return View(self.dataset.to(device), chosen, self.labelled)


def balanced_subset(label: Tensor, n: int, seed: int) -> Tensor:
    """n examples with the same number of each class, as far as n divides: indices ``(n,)`` of ``label`` ``(N,)``.

    Raises:
        ValueError: a class has too few examples.
    """
    classes = label.unique().tolist()
    order = torch.randperm(len(label), generator=generator_for(torch.device("cpu"), seed, 5)).to(label.device)
    chosen = []
    for i, c in enumerate(classes):
        wanted = n // len(classes) + (i < n % len(classes))
        members = order[label[order] == c]
        if len(members) < wanted:
            raise ValueError(f"class {c} has {len(members)} examples, fewer than {wanted}")
        chosen.append(members[:wanted])
    return torch.cat(chosen)


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
        streams: further data, by name: every batch carries as many of their examples, each in an order of its own.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        device: torch.device,
        streams: Mapping[str, Dataset] | None = None,
        _stream: int = 0,
    ) -> None:
        self.dataset, self.batch_size, self.seed, self.device = dataset, batch_size, seed, device
        self._key = (seed, _stream) if _stream else (seed,)
        self.streams = {
            name: Batches(stream, batch_size, seed, device, _stream=i)
            for i, (name, stream) in enumerate(sorted((streams or {}).items()), 1)
        }
        self._epoch: tuple[int, Tensor] | None = None

    def _permutation(self, epoch: int) -> Tensor:
        if self._epoch is None or self._epoch[0] != epoch:
            if isinstance(self.dataset, Streamed):
                order = self.dataset.order(*self._key, 0, epoch)
            else:
                generator = generator_for(torch.device("cpu"), *self._key, 0, epoch)
                order = torch.randperm(len(self.dataset), generator=generator).to(self.device)
            self._epoch = (epoch, order)
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
        return self.rows(step, lambda index: index)

    def rows(self, step: int, own: Callable[[Tensor], Tensor]) -> Batch:
        """Those examples of step ``step`` that ``own`` keeps of its rows; the others are not gathered."""
        batch = self.dataset.gather(own(self.index(step)), generator_for(self.device, *self._key, 1, step))
        if not self.streams:
            return batch
        return replace(batch, streams={name: stream.rows(step, own) for name, stream in self.streams.items()})

    def once(self, limit: int | None = None, first: int = 0, every: int = 1) -> Iterator[Batch]:
        """Every example once, in order, with the same draws each time: for validation.

        Args:
            limit: examples to see, at most.
            first, every: batches first, first + every, … of these alone.
        """
        n = len(self.dataset) if limit is None else min(limit, len(self.dataset))
        indices = torch.arange(n, device=self.device).split(self.batch_size)
        for i in range(first, len(indices), every):
            streams = {name: stream[i][: len(indices[i])] for name, stream in self.streams.items()}
            batch = self.dataset.gather(indices[i], generator_for(self.device, *self._key, 2, i))
            yield replace(batch, streams=streams)
