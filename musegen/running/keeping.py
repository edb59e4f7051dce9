"""Data that a program handed over in memory, kept in the run's folder where they are arrays of moderate size.

A run that has them there goes on without the program that made it, and so do ``musegen evaluate`` and its like.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from musegen.contracts.domain import Data
from musegen.data.arrays import ArrayDataset
from musegen.errors import BadInput, because_of

__all__ = ["keep", "kept"]

KEPT_BYTES = 1 << 30
"""More than this is not copied into a run folder: it would fill disks that nobody meant to fill."""
FILE = "given.safetensors"


def keep(data: Data, folder: Path) -> str:
    """Keep data in a folder, which is made.

    Returns:
        Why they are not kept, as the end of a sentence; empty if they are.

    Raises:
        BadInput: the disk is full.
    """
    datasets = list(data.splits.values())
    arrays = [dataset for dataset in datasets if isinstance(dataset, ArrayDataset)]
    if len(arrays) < len(datasets):
        return "as they are no tensors"
    sources = list({id(d.x): d.x for d in arrays}.values())
    n_bytes = sum(x.nbytes for x in sources)
    if n_bytes > KEPT_BYTES:
        return f"as they are {n_bytes / 1e9:.1f} GB"
    tensors: dict[str, Tensor] = {f"x.{i}": x.contiguous().clone() for i, x in enumerate(sources)}
    which = {}
    for split, dataset in zip(data.splits, arrays, strict=True):
        which[split] = next(i for i, x in enumerate(sources) if x is dataset.x)
        if dataset.rows is not None:
            tensors[f"{split}.rows"] = dataset.rows.contiguous().clone()
        if dataset.label is not None:
            tensors[f"{split}.label"] = dataset.label.contiguous().clone()
    about: dict[str, Any] = {
        "classes": list(data.classes),
        "fingerprint": data.fingerprint,
        "description": data.description,
    }
    about |= {"splits": which, "binary": {split: dataset.binary for split, dataset in data.splits.items()}}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / FILE, {"data": json.dumps(about)})
    except OSError as error:
        raise because_of(error, f"The data cannot be kept in {folder}: {error.strerror}.") from None
    return ""


def kept(folder: Path) -> Data:
    """Data that were kept.

    Raises:
        BadInput: they were not, or the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise BadInput(
            f"The data of {folder.parent} were handed over in memory, and are not kept with the run: hand over the same in Python, "
            "data=…."
        )
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["data"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
        splits = {}
        for split, number in about["splits"].items():
            x, rows, label = tensors[f"x.{number}"], tensors.get(f"{split}.rows"), tensors.get(f"{split}.label")
            splits[split] = ArrayDataset(x, label, scale=1, binary=bool(about["binary"][split]), rows=rows)
        return Data(splits, about["fingerprint"], about["description"], classes=tuple(about["classes"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, IndexError):
        raise BadInput(f"{path} is damaged: hand over the data again in Python, data=….") from None
