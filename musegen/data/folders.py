"""Folders of files as data: which files, their classes, and which are held out.

    files = find_files(folder, (".png",), "pictures")        # names alone
    ...                                                      # read them; some may be damaged
    divided = divide(files, read)                            # classes, labels, splits, what is to be said

**Classes** are the subfolders where there are two or more, each with everything below it. Folders around them that hold nothing
else change nothing. A folder whose name is the same in another Unicode form is the same class. A class needs a training example;
without one it is left out. Files beside the class folders are left out, unless they are the majority: then there are no classes.

**Splits** are the folders ``train``, ``val`` and ``test`` (or ``training``, ``valid``, ``validation``, ``testing``; in any case) if
they stand above the classes or, each class alike, below them. Otherwise ``musegen.data.splits`` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from musegen.data.splits import SHARES, split_indices
from musegen.errors import BadInput
from musegen.walking import plain_name, walk

__all__ = ["Divided", "Files", "divide", "find_files"]

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
"""Names of folders that are splits, in lower case."""
OUTSIDE, NO_SPLIT, UNTRAINED = (
    "outside the class folders",
    "outside the folders of the splits",
    "of a class with nothing for training",
)


@dataclass(frozen=True)
class Files:
    """Files of a folder before they are read.

    Args:
        paths: N files, in the order of their names.
        classes: names, in order; empty if there are none.
        label: class of each file, int64 ``(N,)``; None if there are none.
        split: name of each file's split if folders say it, else None.
        left_out: what is not read, and why.
        remarks: what a user should know, a sentence each.
        noun: what the files are: pictures, recordings.
    """

    paths: Sequence[Path]
    classes: Sequence[str]
    label: np.ndarray | None
    split: Sequence[str] | None
    left_out: Sequence[tuple[str, str]]
    remarks: Sequence[str]
    noun: str


@dataclass(frozen=True)
class Divided:
    """Files after they are read.

    Args:
        index: of the files of each split ``train``, ``valid``, ``test``, ascending, as numbers in what was read.
        classes, label, left_out, remarks: as of ``Files``, of those that were read; labels of what is in no split are −1.
    """

    index: Mapping[str, np.ndarray]
    classes: list[str]
    label: np.ndarray | None
    left_out: list[tuple[str, str]]
    remarks: list[str]


def find_files(folder: Path, suffixes: Sequence[str], noun: str, labelled: bool = True) -> Files:
    """The files of a folder that end with one of ``suffixes``, with their classes, and their splits if folders say so.

    Args:
        noun: what they are, for messages: pictures.
        labelled: whether subfolders are classes.

    Raises:
        BadInput: no such folder, or none of its files is of this kind.

    >>> from pathlib import Path
    >>> from musegen.data.folders import divide, find_files
    >>> for name in ("train/cats/1.png", "train/cats/2.png", "train/dogs/3.png", "test/dogs/4.png", "Thumbs.db"):
    ...     Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
    ...     _ = Path("photos", name).write_bytes(b"")
    >>> files = find_files(Path("photos"), (".png",), "pictures")
    >>> files.classes, files.split
    (['cats', 'dogs'], ['test', 'train', 'train', 'train'])
    """
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "does not exist"
        raise BadInput(f"{folder} {problem}: give a folder of {noun}.")
    paths, left_out = walk(folder, suffixes)
    if not paths:
        raise BadInput(f"The folder {folder} holds no {noun} ({', '.join(suffixes)}).")
    tree = _Node()
    for i, path in enumerate(paths):
        node = tree
        for part in path.relative_to(folder).parts[:-1]:
            node = node.subs.setdefault(plain_name(part), _Node())
        node.own.append(i)
    layout = _Layout(tree, labelled, noun)
    kept = sorted(layout.place)
    left_out = sorted([*left_out, *((str(paths[i]), reason) for i, reason in layout.left_out.items())])
    classes = sorted({c for c, _ in layout.place.values() if c is not None})
    if len(classes) < 2:
        classes = []
    numbers = {name: i for i, name in enumerate(classes)}
    label = np.array([numbers[layout.place[i][0]] for i in kept], np.int64) if classes else None  # type: ignore[index]
    split = [layout.place[i][1] or "train" for i in kept] if layout.splits else None
    return Files([paths[i] for i in kept], classes, label, split, left_out, layout.remarks, noun)


@dataclass
class _Node:
    """A folder: numbers of its own files, and its subfolders by name."""

    own: list[int] = field(default_factory=list)
    subs: dict[str, _Node] = field(default_factory=dict)

    def all(self) -> list[int]:
        """Files in it and below it."""
        found, waiting = [], [self]
        while waiting:
            node = waiting.pop()
            found += node.own
            waiting += node.subs.values()
        return found

    def inner(self) -> _Node:
        """The first folder on the way down that has several subfolders; this one if there is none."""
        node = self
        while len(node.subs) == 1:
            (node,) = node.subs.values()
        return node if node.subs else self


def _are_splits(folders: Mapping[str, _Node]) -> bool:
    """Whether some folders are splits: those of training and of one more at least."""
    names = {SPLITS.get(name.lower()) for name in folders} - {None}
    return "train" in names and len(names) > 1


class _Layout:
    """What the folders mean.

    Attributes:
        place: class and split of each file that is kept; None where it has none.
        left_out: reason by file.
        splits: names of the folders that are splits.
        remarks: sentences.
    """

    def __init__(self, tree: _Node, labelled: bool, noun: str) -> None:
        self.place: dict[int, tuple[str | None, str | None]] = {}
        self.left_out: dict[int, str] = {}
        self.splits: list[str] = []
        self.remarks: list[str] = []
        self.noun, self.labelled = noun, labelled
        node = tree.inner()
        if _are_splits(node.subs):
            self._by_split(node.subs)
            self._leave_out(tree.all(), NO_SPLIT)
            return
        inside = {name: sub.all() for name, sub in node.subs.items()} if labelled and len(node.subs) > 1 else {}
        total, n_inside = len(tree.all()), sum(map(len, inside.values()))
        if not inside or 2 * n_inside < total:
            if inside:
                self.remarks.append(f"no classes: {total - n_inside} of {total} {noun} lie outside the subfolders")
            self.place = dict.fromkeys(tree.all(), (None, None))
            return
        below = all(_are_splits(sub.subs) and not sub.own for sub in node.subs.values())
        for name, sub in node.subs.items():
            if below:
                self._by_split(sub.subs, name)
            else:
                self.place |= dict.fromkeys(inside[name], (name, None))
        self._leave_out(tree.all(), NO_SPLIT if below else OUTSIDE)

    def _leave_out(self, files: Sequence[int], reason: str) -> None:
        """Those of the files that have no place yet, nor a reason."""
        self.left_out |= {i: reason for i in files if i not in self.place and i not in self.left_out}

    def _by_split(self, folders: Mapping[str, _Node], of_class: str | None = None) -> None:
        """Folders that are splits: their files, by class where they have subfolders that training has."""
        splits = {name: SPLITS[name.lower()] for name in folders if name.lower() in SPLITS}
        self.splits += [name for name in splits if name not in self.splits]
        classes: set[str] = set()
        if of_class is None and self.labelled:
            classes = {c for name, split in splits.items() if split == "train" for c in folders[name].inner().subs}
        for name, split in splits.items():
            node = folders[name]
            if len(classes) < 2:
                self.place |= dict.fromkeys(node.all(), (of_class, split))
                continue
            whole = node
            while len(node.subs) == 1 and not classes & node.subs.keys():  # a folder around the classes
                (node,) = node.subs.values()
            for c, sub in node.subs.items():
                if c in classes:
                    self.place |= dict.fromkeys(sub.all(), (c, split))
                else:
                    self._leave_out(sub.all(), UNTRAINED)
            self._leave_out(whole.all(), OUTSIDE)


def divide(files: Files, read: Sequence[int], weight: Sequence[float] | None = None, seed: int = 0) -> Divided:
    """Splits, and the classes that training sees, of those files that could be read.

    Args:
        read: their numbers among ``files.paths``.
        weight: how much each of them holds, such as clips of a recording; the same if None.
        seed: of ``split_indices``.

    Raises:
        BadInput: nothing is left for training.
    """
    chosen = np.asarray(read, np.int64)
    label = None if files.label is None else files.label[chosen]
    remarks, left_out = list(files.remarks), list(files.left_out)
    if files.split is None:
        index = split_indices(len(chosen), label, weight, seed)
        remarks += _few(index, files.noun)
    else:
        split = np.array(files.split)[chosen]
        index = {name: np.flatnonzero(split == name) for name in ("train", *SHARES)}
        if not len(index["train"]):
            raise BadInput(f"None of the {files.noun} for training can be read.")
        remarks.append(f"the {files.noun} are split by their folders")
        if not len(index["valid"]):
            index, said = _with_validation(index, label, weight, seed, files.noun)
            remarks += said
    if label is None:
        return Divided(index, [], None, left_out, remarks)
    there = np.bincount(label[index["train"]], minlength=len(files.classes)) > 0
    classes = [name for name, has in zip(files.classes, there, strict=True) if has]
    gone = [name for name, has in zip(files.classes, there, strict=True) if not has]
    if gone:
        shown = ", ".join(gone[:5]) + (f" and {len(gone) - 5} more" if len(gone) > 5 else "")
        remarks.append(f"no classes, because training has nothing of them: {shown}")
    if len(classes) < 2:
        return Divided(index, [], None, left_out, [*remarks, "no classes: fewer than two are left"])
    left_out += [(str(files.paths[chosen[i]]), UNTRAINED) for i in np.flatnonzero(~there[label])]
    numbers = np.where(there, there.cumsum() - 1, -1)
    index = {name: which[there[label[which]]] for name, which in index.items()}
    return Divided(index, classes, numbers[label], left_out, remarks)


def _with_validation(
    index: dict[str, np.ndarray], label: np.ndarray | None, weight: Sequence[float] | None, seed: int, noun: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Splits of folders without one for validation: a tenth of training is held out for it."""
    train = index["train"]
    inner = split_indices(
        len(train),
        None if label is None else label[train],
        None if weight is None else np.asarray(weight)[train],
        seed,
        {"valid": SHARES["valid"]},
    )
    if not len(inner["valid"]):
        return index, [f"no {noun} are for validation"]
    index = index | {name: train[inner[name]] for name in ("train", "valid")}
    n, total = len(inner["valid"]), len(train)
    return index, [f"no folder is for validation: {n} of the {total} {noun} for training are held out for it"]


def _few(index: Mapping[str, np.ndarray], noun: str) -> list[str]:
    """What is to be said where a split is empty."""
    sizes = {name: len(which) for name, which in index.items()}
    n = sum(sizes.values())
    what = noun if n != 1 else noun.removesuffix("s")
    if n == sizes["train"]:
        return [f"{n} {what}: all are for training, nothing is held out" if n > 1 else f"1 {what}: it is for training"]
    if all(sizes.values()):
        return []
    return [f"{n} {what}: {sizes['train']} for training, {sizes['valid']} for validation, {sizes['test']} for test"]
