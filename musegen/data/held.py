"""Data that a program holds in memory, as data sets: tensors, arrays, and torch's ``Dataset`` objects."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data

from musegen.contracts.dataset import Batch, Dataset
from musegen.contracts.domain import Data
from musegen.data.arrays import ArrayDataset, View
from musegen.data.batches import spread
from musegen.errors import BadInput, did_you_mean
from musegen.reporting import each

__all__ = ["SPLITS", "TorchExamples", "divided", "held", "numeric"]

SPLITS = ("train", "valid", "test", "target", "target_valid", "target_test")
HELD_OUT = 10
"""Of so many examples of a class one is for validation, and another for test."""
PROBED = 256
"""Examples of a torch Dataset that stand for all of them in the fingerprint."""
AT_ONCE = 1 << 12
"""Examples that are looked at at a time."""


def held(given: Any) -> Data:
    """Data that a program hands over, as they are.

    Args:
        given: examples ``(N, *S)``, a tensor or a numpy array; a pair of these and of labels ``(N,)``, which may be texts; a torch
            ``Dataset`` of examples ``(*S)``, or of pairs of an example and its label; or one of these per split, as in
            ``{"train": …, "valid": …, "test": …}``. What comes without splits is divided, always in the same way: of ten examples
            of a class one is for validation, and one for test.

    Raises:
        BadInput: it is something else, or holds no numbers, or numbers that are NaN or infinite.

    >>> import torch
    >>> from musegen.data.held import held
    >>> data = held((torch.rand(20, 3), ["low", "high"] * 10))
    >>> {split: len(examples) for split, examples in data.splits.items()}, data.classes
    ({'train': 16, 'valid': 2, 'test': 2}, ('high', 'low'))
    """
    if isinstance(given, Data):
        return given
    if isinstance(given, Mapping):
        for name in given:
            if name not in SPLITS:
                raise BadInput(
                    f'data has no split "{name}": name them {", ".join(SPLITS[:3])}.{did_you_mean(str(name), SPLITS)}'
                )
        if "train" not in given:
            raise BadInput('data has no training examples: give them as {"train": …}.')
        parts = {name: _part(part, name) for name, part in given.items()}
    else:
        parts = {"": _part(given, "data")}
    labels, classes = _numbered({name: label for name, (_, label) in parts.items()})
    splits = {name: _dataset(x, labels[name]) for name, (x, _) in parts.items()}
    fingerprint = _fingerprint(splits, classes)
    n = sum(map(len, splits.values()))
    first = splits.get("train", next(iter(splits.values())))
    shape = tuple(first.gather(torch.tensor([0]), torch.Generator()).x.shape[1:])
    if not shape:
        raise BadInput("data has one number per example: give it a second axis, x[:, None].")
    splits = dict(splits) if "" not in splits else divided(splits[""])
    return Data(splits, fingerprint, f"{n} examples of shape {shape} in memory", classes=classes)


def divided(dataset: Dataset) -> dict[str, Dataset]:
    """The splits of a data set that has none: of ten examples of a class, shuffled, the fifth is for validation and the tenth for
    test; always the same ones."""
    order = np.random.default_rng(0).permutation(len(dataset))
    if dataset.label is not None:
        order = order[np.argsort(dataset.label.numpy()[order], kind="stable")]
    place = np.arange(len(order)) % HELD_OUT
    chosen = {"valid": place == HELD_OUT // 2 - 1, "test": place == HELD_OUT - 1}
    chosen = {"train": ~(chosen["valid"] | chosen["test"]), **chosen}
    return {split: _some(dataset, torch.from_numpy(np.sort(order[mine]))) for split, mine in chosen.items()}


def _some(dataset: Dataset, index: Tensor) -> Dataset:
    if not isinstance(dataset, ArrayDataset):
        return View(dataset, index)
    label = None if dataset.label is None else dataset.label[index]
    return ArrayDataset(dataset.x, label, scale=1, binary=dataset.binary, rows=index)


def _part(given: Any, name: str) -> tuple[Any, Any]:
    """Examples, a tensor or a data set, and their labels as they were given."""
    if isinstance(given, torch_data.TensorDataset) and len(given.tensors) <= 2:
        given = given.tensors if len(given.tensors) == 2 else given.tensors[0]
    if isinstance(given, torch_data.IterableDataset):
        raise BadInput(
            f"{name} is a torch IterableDataset, which has no order to come back to: give a Dataset with __len__ and __getitem__."
        )
    if isinstance(given, Dataset):
        return given, given.label
    if isinstance(given, torch_data.Dataset):
        examples = TorchExamples(given)
        return examples, examples.labels
    label = None
    if isinstance(given, (tuple, list)) and len(given) == 2 and hasattr(given[0], "shape"):
        given, label = given
    if not isinstance(given, (Tensor, np.ndarray)):
        raise BadInput(
            f"{name} is of the type {type(given).__name__}: give a tensor, an array, a torch Dataset, a pair of examples and "
            "labels, a dict of "
            "these by split, or the path of a file or folder."
        )
    return numeric(given, name), label


def numeric(given: Tensor | np.ndarray, name: str) -> Tensor:
    """Examples ``(N, *S)`` as a tensor on the CPU, which shares their memory where it can.

    Raises:
        BadInput: there are none, or they are no numbers, or not finite.
    """
    if isinstance(given, np.ndarray):
        if given.dtype.kind not in "biuf":
            raise BadInput(f"{name} holds {given.dtype}, not numbers: give integers, floats or booleans.")
        wider = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64, "float128": np.float64}.get(
            given.dtype.name
        )
        given = given.astype(wider) if wider else given.astype(given.dtype.newbyteorder("="), copy=False)
        if any(stride < 0 for stride in given.strides):
            given = given.copy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it cannot be written to: nobody does
            x = torch.from_numpy(given)
    else:
        x = given.detach().cpu()
    if x.is_complex() or x.is_sparse or x.is_quantized:
        raise BadInput(f"{name} holds {x.dtype} numbers, which no likelihood knows: give integers, floats or booleans.")
    if x.dim() < 2 or not x.numel():
        raise BadInput(f"{name} has the shape {tuple(x.shape)}: give examples (N, …), a number or more each.")
    if x.is_floating_point():
        for i, part in enumerate(x.split(AT_ONCE)):
            wrong = ~part.isfinite().flatten(1).all(1)
            if wrong.any():
                which = i * AT_ONCE + int(wrong.nonzero()[0])
                raise BadInput(f"{name}: example {which} holds NaN or infinity: leave it out, or fill it in.")
    return x


def _numbered(labels: Mapping[str, Any]) -> tuple[dict[str, Tensor | None], tuple[str, ...]]:
    """Labels of all splits as numbers ``(N,)`` int64, and the names of the classes.

    Raises:
        BadInput: they are no classes.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, label in labels.items():
        if label is not None:
            array = np.asarray(label.detach().cpu() if isinstance(label, Tensor) else label)
            if array.ndim == 2 and array.shape[1] == 1:
                array = array[:, 0]
            whole = array.dtype.kind in "biuUS" or (array.dtype.kind == "f" and bool((array == np.rint(array)).all()))
            if array.ndim != 1 or not whole:
                raise BadInput(
                    f"The labels of {name or 'data'} have the shape {array.shape} and the type {array.dtype}: give one "
                    "whole number "
                    "or text per example, (N,)."
                )
            arrays[name] = array.astype(np.int64) if array.dtype.kind in "biuf" else array.astype(str)
    if not arrays:
        return dict.fromkeys(labels), ()
    if len({array.dtype.kind for array in arrays.values()}) > 1:
        raise BadInput("The labels of some splits are numbers and those of others are texts: give one of the two.")
    known = np.unique(np.concatenate(list(arrays.values())))
    numbers = {name: torch.from_numpy(np.searchsorted(known, array)) for name, array in arrays.items()}
    return {name: numbers.get(name) for name in labels}, tuple(map(str, known))


def _dataset(x: Tensor | Dataset, label: Tensor | None) -> Dataset:
    n = len(x)
    if not n:
        raise BadInput("data has a split without examples: leave it out.")
    if label is not None and len(label) != n:
        raise BadInput(f"There are {n} examples and {len(label)} labels: give one label per example.")
    if isinstance(x, TorchExamples):
        x.label = label
    elif isinstance(x, Dataset) and label is not None and not torch.equal(label, torch.as_tensor(x.label)):
        raise BadInput("The labels of a musegen Dataset must be numbers from 0 on, with no class left out.")
    if isinstance(x, Dataset):
        return x
    return ArrayDataset(x, label, scale=1, binary=_binary(x))


def _binary(x: Tensor) -> bool:
    return x.dtype == torch.bool or all(bool(((part == 0) | (part == 1)).all()) for part in x.split(AT_ONCE))


def _fingerprint(splits: Mapping[str, Dataset], classes: Sequence[str]) -> str:
    digest = hashlib.sha256(repr(tuple(classes)).encode())
    for name, dataset in splits.items():
        digest.update(f"{name} {len(dataset)}".encode())
        if isinstance(dataset, ArrayDataset):
            digest.update(f"{dataset.x.dtype} {tuple(dataset.x.shape)}".encode())
            for part in dataset.x.split(AT_ONCE):
                digest.update(part.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            probe = dataset.gather(spread(PROBED, len(dataset)), torch.Generator().manual_seed(0))
            digest.update(probe.x.contiguous().numpy().tobytes())
        if dataset.label is not None:
            digest.update(dataset.label.numpy().tobytes())
    return digest.hexdigest()


class TorchExamples(Dataset):
    """A torch ``Dataset`` with ``__len__`` and ``__getitem__``, of examples or of pairs of an example and its label.

    Batches are made example by example, in this process. What an example draws, for augmentation, from torch's, numpy's or Python's
    own generators follows from the seed of the run, its step and the example, so a run that is resumed sees the same.

    Attributes:
        labels: as the data set gives them: its ``targets`` if it has them, or else those of all examples; None if there are none.

    Raises:
        BadInput: it has no length, or an example is no array of numbers.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        try:
            n = len(self.dataset)
        except (TypeError, NotImplementedError):
            raise BadInput(f"{type(dataset).__name__} has no length: give a torch Dataset with __len__.") from None
        if not n:
            raise BadInput(f"{type(dataset).__name__} has no examples: give some.")
        self.labels: Any = None
        _, label = self._example(0, 0)
        if label is not None:
            known = getattr(dataset, "targets", None)
            self.labels = known if known is not None and len(known) == n else self._all_labels()

    def _all_labels(self) -> list[Any]:
        numbers = range(len(self.dataset))
        labels = [self._example(i, 0)[1] for i in each(numbers, "Reading labels")]
        return [label.item() if isinstance(label, (Tensor, np.generic)) else label for label in labels]

    def __len__(self) -> int:
        return len(self.dataset)

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        seed = generator.initial_seed()
        x = torch.stack([self._example(i, seed)[0] for i in index.tolist()])
        return Batch(x, index, None if self.label is None else self.label[index])

    def _example(self, i: int, seed: int) -> tuple[Tensor, Any]:
        with _drawing(seed, i):
            found = self.dataset[i]
        x, label = found if isinstance(found, (tuple, list)) and len(found) == 2 else (found, None)
        if not isinstance(x, Tensor):
            array = np.asarray(x)
            if array.dtype.kind not in "biuf":
                raise BadInput(
                    f"Example {i} of {type(self.dataset).__name__} is a {type(x).__name__}: its __getitem__ must give a "
                    "tensor or an "
                    "array, alone or with a label."
                )
            x = torch.tensor(array)
        return x.detach().to("cpu", torch.float32), label


@contextmanager
def _drawing(*key: int) -> Iterator[None]:
    """A scope in which draws from the generators that all share follow from the key; they are left as they were."""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])  # noqa: NPY002
