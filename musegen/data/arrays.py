"""Data sets held as arrays, and parts of data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from musegen.contracts.dataset import Batch, Dataset, generator_for
from musegen.data.rows import RowDataset, Source

__all__ = ["ArrayDataset", "Transformed", "View", "balanced_subset"]


class ArrayDataset(RowDataset):
    """Examples held as one array; cast to float and scaled when gathered.

    Args:
        x: ``(N, *S)`` of any type (bytes take least memory), in memory or mapped from a file, as by
            ``torch.from_numpy(np.load(file, mmap_mode="r+"))``.
        label: int64, one per example, or None.
        transform: applied to the float batch with the batch's generator (dynamic binarisation, noise).
        scale: what x is divided by; 255 brings bytes to [0, 1].
        binary: batches are zeros and ones, once they are scaled and transformed.
        dtype: of batches.
        rows: which rows of x are examples, int64 ``(M,)``, ascending; None: all. Several data sets may share one x.

    >>> import torch
    >>> from musegen.data.arrays import ArrayDataset
    >>> pictures = ArrayDataset(torch.full((10, 1, 4, 4), 255, dtype=torch.uint8), label=torch.arange(10) % 2)
    >>> batch = pictures.gather(torch.tensor([0, 3]), torch.Generator())
    >>> batch.x.shape, float(batch.x.max()), batch.label
    (torch.Size([2, 1, 4, 4]), 1.0, tensor([0, 1]))
    """

    def __init__(
        self,
        x: Tensor,
        label: Tensor | None = None,
        transform: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        scale: float = 255.0,
        binary: bool = False,
        dtype: torch.dtype = torch.float32,
        rows: Tensor | None = None,
    ) -> None:
        self.x, self.label, self.transform, self.scale = x, label, transform, scale
        self.binary, self.dtype, self.rows = binary, dtype, rows

    def source(self) -> Source:
        return Source(self.x, self.rows)

    def make(self, rows: Tensor, first: Tensor, generator: torch.Generator) -> Tensor:
        x = rows[first].float()
        if self.scale != 1:
            x = x / self.scale
        return x if self.transform is None else self.transform(x, generator)


class View(Dataset):
    """Some examples of a data set, perhaps without their labels.

    It goes through its examples in an order of its own. Where the data set is streamed, they are therefore read from the host,
    batch by batch, and take none of the device's memory.

    Args:
        dataset: the whole.
        chosen: examples to keep, ``(M,)`` int64; None for all.
        labelled: whether batches show labels.
    """

    def __init__(self, dataset: Dataset, chosen: Tensor | None = None, labelled: bool = True) -> None:
        self.dataset, self.chosen, self.labelled = dataset, chosen, labelled
        self.binary = dataset.binary
        if labelled and dataset.label is not None:
            self.label = dataset.label if chosen is None else dataset.label[chosen]

    def __len__(self) -> int:
        return len(self.dataset) if self.chosen is None else len(self.chosen)

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        batch = self.dataset.gather(index if self.chosen is None else self.chosen[index], generator)
        return batch if self.labelled else replace(batch, label=None)

    @property
    def index_device(self) -> torch.device:
        return self.dataset.index_device

    @property
    def n_bytes(self) -> int:
        return self.dataset.n_bytes

    def placed(self, device: torch.device, memory: int | None = None, dtype: torch.dtype = torch.float32) -> Dataset:
        placed = self.dataset.placed(device, memory, dtype)
        chosen = None if self.chosen is None else self.chosen.to(placed.index_device)
        return View(placed, chosen, self.labelled)


class Transformed(Dataset):
    """Examples of another data set, each batch changed on the host.

    Args:
        dataset: the whole.
        transform: of the float batch, with the batch's generator.
        binary: batches are zeros and ones, once they are transformed.
    """

    def __init__(
        self, dataset: Dataset, transform: Callable[[Tensor, torch.Generator], Tensor], binary: bool = False
    ) -> None:
        self.dataset, self.transform, self.binary = dataset, transform, binary
        self.label = dataset.label

    def __len__(self) -> int:
        return len(self.dataset)

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        batch = self.dataset.gather(index, generator)
        return replace(batch, x=self.transform(batch.x, generator))

    def order(self, *key: int) -> Tensor:
        return self.dataset.order(*key)


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
