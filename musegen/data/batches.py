"""Which examples make up step s."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from musegen.contracts.dataset import Batch, Dataset, generator_for

__all__ = ["Batches", "spread"]


def spread(n: int, total: int) -> Tensor:
    """n of the numbers 0 … total − 1, evenly spread and in order, ``(min(n, total),)`` int64: ⌊(i + ½) · total / n⌋.

    >>> from musegen.data.batches import spread
    >>> spread(3, 10), spread(3, 3)
    (tensor([1, 5, 8]), tensor([0, 1, 2]))
    """
    n = min(n, total)
    return (2 * torch.arange(n) + 1) * total // (2 * max(n, 1))


class Batches:
    """Which examples make up step s, as a pure function of (seed, s).

    Every epoch has an order of its own, which the data set decides, and step s takes the positions s·B … (s+1)·B − 1 of the
    endless sequence of epochs. Nothing has to be remembered to resume: asking for step s again gives the same batch,
    augmentation included.

    Args:
        dataset: already placed on ``device``.
        batch_size: B examples per step (minibatch size times minibatches).
        seed: of the run.
        auxiliary: further data, by name: every batch carries as many of their examples, each in an order of its own.

    >>> import torch
    >>> from musegen.data.arrays import ArrayDataset
    >>> from musegen.data.batches import Batches
    >>> batches = Batches(ArrayDataset(torch.zeros(10, 3), scale=1), batch_size=4, seed=0, device=torch.device("cpu"))
    >>> sorted(torch.cat([batches[step].index for step in range(5)]).tolist()) == sorted([*range(10), *range(10)])  # two epochs
    True
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        device: torch.device,
        auxiliary: Mapping[str, Dataset] | None = None,
        _number: int = 0,
    ) -> None:
        self.dataset, self.batch_size, self.seed, self.device = dataset, batch_size, seed, device
        self._key = (seed, _number) if _number else (seed,)
        self.auxiliary = {
            name: Batches(further, batch_size, seed, device, _number=i)
            for i, (name, further) in enumerate(sorted((auxiliary or {}).items()), 1)
        }
        self._epoch: tuple[int, Tensor] | None = None

    def _permutation(self, epoch: int) -> Tensor:
        if self._epoch is None or self._epoch[0] != epoch:
            order = self.dataset.order(*self._key, 0, epoch)
            self._epoch = (epoch, order.to(self.dataset.index_device))
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
        if not self.auxiliary:
            return batch
        return replace(batch, auxiliary={name: further.rows(step, own) for name, further in self.auxiliary.items()})

    def once(self, limit: int | None = None, first: int = 0, every: int = 1) -> Iterator[Batch]:
        """Every example once, in order, with the same draws each time: for validation.

        Args:
            limit: examples to see, at most: evenly spread over all of them, because neighbours are often alike (windows of one
                piece, clips of one recording).
            first, every: batches first, first + every, … of these alone.
        """
        total = len(self.dataset)
        seen = spread(total if limit is None else limit, total)
        indices = seen.to(self.dataset.index_device).split(self.batch_size)
        for i in range(first, len(indices), every):
            auxiliary = {name: further[i][: len(indices[i])] for name, further in self.auxiliary.items()}
            batch = self.dataset.gather(indices[i], generator_for(self.device, *self._key, 2, i))
            yield replace(batch, auxiliary=auxiliary)
