"""Pictures that a program hands over in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from musegen.contracts.dataset import Dataset
from musegen.contracts.domain import Data
from musegen.data.arrays import ArrayDataset, Transformed
from musegen.errors import BadInput
from musegen_image.data import binarising

if TYPE_CHECKING:
    from musegen_image.config import ImageConfig

__all__ = ["as_pictures"]

BYTES = 255


def as_pictures(config: ImageConfig, data: Data) -> tuple[ImageConfig, dict[str, Dataset]]:
    """The options with the size and colour of pictures in memory, and their data sets.

    Args:
        data: of pictures ``(H, W)``, ``(1, H, W)`` or ``(3, H, W)``, square, of bytes or of numbers from 0 to 1.

    Raises:
        BadInput: they are none, with the shape, or options do not fit them.
    """
    shape = _first(data.splits["train"]).shape
    size, channels = shape[-1], shape[0] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or shape[-2] != size or channels not in (1, 3):
        raise BadInput(
            f"Examples of shape {tuple(shape)} are no square pictures: give (H, W), (1, H, W) or (3, H, W), with H = W, "
            "or train on the "
            "domain array, which takes any shape."
        )
    if config.target != "none" or config.binarisation == "static":
        raise BadInput("target and binarisation=static are for files: give data in memory without these options.")
    colour: Literal["grey", "rgb"] = "rgb" if channels == 3 else "grey"
    if config.colour not in ("auto", colour):
        raise BadInput(f"colour={config.colour} does not fit pictures with {channels} channels: leave it out.")
    config = replace(config, size=size, colour=colour, classes=list(data.classes))
    config = replace(config, binarisation=config.binary)
    return config, {split: _pictures(config, dataset, tuple(shape), split) for split, dataset in data.splits.items()}


def _first(dataset: Dataset) -> Tensor:
    return dataset.gather(torch.tensor([0]), torch.Generator().manual_seed(0)).x[0]


def _pictures(config: ImageConfig, dataset: Dataset, shape: tuple[int, ...], split: str) -> Dataset:
    """A data set of ``(C, H, W)`` from 0 to 1.

    Raises:
        BadInput: pictures have another shape, or other values.
    """
    if len(dataset) and (found := tuple(_first(dataset).shape)) != shape:
        raise BadInput(f"Pictures of {split} have the shape {found}, and those of train {shape}: make them equal.")
    binarised = binarising(config.binary)
    rounded = in_levels if config.likelihood != "auto" else binarised
    with_channel = (1, *shape) if len(shape) == 2 else shape
    if not isinstance(dataset, ArrayDataset):
        several = partial(_changed, shape=with_channel, changed=rounded)
        return Transformed(dataset, several, binarised is not None)
    low, high = (float(extreme) for extreme in (dataset.x.min(), dataset.x.max()))
    of_bytes = dataset.x.dtype == torch.uint8 and high > 1
    if not of_bytes and not (low >= 0 and high <= 1):
        raise BadInput(f"Pictures of {split} go from {low:g} to {high:g}: give bytes, or numbers from 0 to 1.")
    x = dataset.x.reshape(-1, *with_channel)
    binary = binarised is not None or dataset.binary
    return ArrayDataset(
        x,
        dataset.label,
        None if of_bytes and binarised is None else rounded,
        BYTES if of_bytes else 1,
        binary,
        rows=dataset.rows,
    )


def _changed(
    x: Tensor,
    generator: torch.Generator,
    shape: tuple[int, ...],
    changed: Callable[[Tensor, torch.Generator], Tensor] | None,
) -> Tensor:
    x = x.reshape(-1, *shape)
    return x if changed is None else changed(x, generator)


def in_levels(x: Tensor, generator: torch.Generator) -> Tensor:
    """The nearest levels: what lies between two would tell a network more of a cell than the likelihood counts."""
    return (x * BYTES).round() / BYTES
