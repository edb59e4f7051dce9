"""Data sets held as arrays, and parts of data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from musegen.contracts.dataset import Batch, Dataset
from musegen.data.batches import generator_for

__all__ = ["ArrayDataset", "View", "balanced_subset"]


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
