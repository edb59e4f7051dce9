"""What the cells of arrays are: found in the data, or as a user says."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from musegen.arrays.config import ArrayConfig
from musegen.contracts.dataset import Dataset
from musegen.data.arrays import ArrayDataset
from musegen.data.batches import spread
from musegen.errors import BadInput

__all__ = ["found_in"]

MOST_LEVELS = 64
"""Values that cells of an integer type may have to be taken for categorical ones."""
AT_ONCE = 1 << 12
LOOKED_AT = 4096
"""Examples of a data set that is no array, which are looked at."""


def found_in(config: ArrayConfig, dataset: Dataset) -> tuple[ArrayConfig, str]:
    """The options with what is found in training data, and a remark on how cells are taken.

    Raises:
        BadInput: an option does not fit the data.
    """
    x = dataset.x if isinstance(dataset, ArrayDataset) else _looked_at(dataset)
    rows = dataset.source().first if isinstance(dataset, ArrayDataset) else None
    low, high, whole = _extent(x)
    integers = not x.is_floating_point()
    config = replace(config, shape=list(x.shape[1:]))
    match config.cells:
        case "auto" if whole and low >= 0 and high <= 1:
            return replace(config, cells="binary"), "cells are 0 or 1, and taken as binary"
        case "auto" if integers and low >= 0 and high < MOST_LEVELS:
            config = replace(config, cells="categorical", levels=config.levels or int(high) + 1)
            remark = f"cells are whole numbers from 0 to {high:g}, and taken as categorical: cells=real takes them as numbers"
            return _categorical(config, low, high, whole), remark
        case "categorical":
            config = replace(config, levels=config.levels or max(int(high) + 1, 2))
            return _categorical(config, low, high, whole), f"cells are taken as one of {config.levels} values"
        case "binary":
            if low < 0 or high > 1:
                raise BadInput(
                    f"cells=binary does not fit these data, whose cells go from {low:g} to {high:g}: scale them, or use cells=real."
                )
            return config, "cells are taken as binary" + ("" if whole else ", or probabilities of being 1")
    mean, deviation = _moments(x, rows)
    centre = mean if config.centre is None else config.centre
    spread_ = (deviation or 1.0) if config.spread is None else config.spread
    config = replace(config, cells="real", centre=centre, spread=spread_)
    return config, f"cells are real, from {low:g} to {high:g}; networks see (x − {centre:.4g}) / {spread_:.4g}"


def _categorical(config: ArrayConfig, low: float, high: float, whole: bool) -> ArrayConfig:
    assert config.levels is not None
    if not whole or low < 0 or high > config.levels - 1:
        raise BadInput(
            f"cells=categorical with {config.levels} levels does not fit these data, whose cells go from {low:g} to "
            f"{high:g}: they must "
            f"be whole numbers from 0 to {config.levels - 1}; or use cells=real."
        )
    return config


def _looked_at(dataset: Dataset) -> Tensor:
    index = spread(LOOKED_AT, len(dataset))
    generator = torch.Generator().manual_seed(0)
    return torch.cat([dataset.gather(part, generator).x for part in index.split(256)])


def _extent(x: Tensor) -> tuple[float, float, bool]:
    """Lowest and highest cell, and whether all are whole numbers."""
    low, high, whole = math.inf, -math.inf, True
    for part in x.split(AT_ONCE):
        part = part.double() if part.is_floating_point() else part.long()
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        whole = whole and (not part.is_floating_point() or bool((part == part.round()).all()))
    return low, high, whole


def _moments(x: Tensor, rows: Tensor | None) -> tuple[float, float]:
    """Mean and standard deviation of the cells of some examples, in two passes."""
    index = torch.arange(len(x)) if rows is None else rows
    n = len(index) * math.prod(x.shape[1:])
    mean = sum(float(x[part].double().sum()) for part in index.split(AT_ONCE)) / n
    square = sum(float((x[part].double() - mean).square().sum()) for part in index.split(AT_ONCE)) / n
    return mean, math.sqrt(square)
