"""Arrays in files: ``.npy``, which is mapped into memory, and ``.npz``. Nothing is unpickled."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from musegen.arrays.limits import MEMBER_CAP_BYTES, MOST_MEMBERS
from musegen.data.held import SPLITS
from musegen.errors import BadInput, because_of, did_you_mean
from musegen.files import regular, user_path

__all__ = ["read_array", "read_source"]

EXAMPLES = "x"
"""Name of the examples in an ``.npz`` file; with splits ``x_train``, ``x_valid`` …"""


def read_source(path: Path, labels: str) -> Any:
    """Examples of a file as ``musegen.data.held.held`` takes them.

    An ``.npz`` file holds one array, or examples ``x`` and labels, or these per split: ``x_train``, ``y_train``, ``x_valid`` …

    Args:
        labels: name of the labels in the ``.npz`` file, or the path of an ``.npy`` file.

    Raises:
        BadInput: what, where, what to do.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder: give an .npy or an .npz file.")
    beside = None
    if labels.endswith(".npy"):
        beside = user_path(labels)
        beside = beside if beside.is_absolute() or beside.exists() else path.parent / beside
    if path.suffix.lower() != ".npz":
        x = read_array(path)
        return x if beside is None else (x, read_array(beside))
    return _members(path, labels, beside)


def read_array(path: Path) -> np.ndarray:
    """The array of an ``.npy`` file, mapped into memory; what is written to it never reaches the file.

    Raises:
        BadInput: it cannot be read, is none, or holds Python objects.
    """
    if path.suffix.lower() != ".npy":
        raise BadInput(f"{path} is no .npy file: give an .npy or an .npz file.")
    try:
        os.close(regular(path))
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except OSError as error:
        raise because_of(error, f"The file {path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, EOFError, SyntaxError, MemoryError, OverflowError) as error:
        raise BadInput(f"The file {path} is no array of numbers ({_short(error)}): write it with numpy.save.") from None


def _members(path: Path, labels: str, beside: Path | None) -> Any:
    arrays = _Archive(path)
    splits = {f"{EXAMPLES}_{split}": split for split in SPLITS if f"{EXAMPLES}_{split}" in arrays.names}
    if splits:
        return {
            split: (arrays[name], arrays[f"{labels}_{split}"]) if f"{labels}_{split}" in arrays.names else arrays[name]
            for name, split in splits.items()
        }
    others = [name for name in arrays.names if name != labels]
    name = EXAMPLES if EXAMPLES in others or len(others) != 1 else others[0]
    if name not in others:
        known = ", ".join(arrays.names[:8])
        raise BadInput(
            f"{path} has no array {EXAMPLES} ({known}): name the examples {EXAMPLES}, or {EXAMPLES}_train, {EXAMPLES}_valid and "
            f"{EXAMPLES}_test."
        )
    if beside is not None:
        return arrays[name], read_array(beside)
    if labels in arrays.names:
        return arrays[name], arrays[labels]
    if labels != "y":
        raise BadInput(f'{path} has no array "{labels}": use another labels=….{did_you_mean(labels, arrays.names)}')
    return arrays[name]


class _Archive:
    """The arrays of an ``.npz`` file, each read when it is wanted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(os.fdopen(regular(path), "rb"))
        except OSError as error:
            raise because_of(error, f"The file {path} cannot be read: {error.strerror or error}.") from None
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise BadInput(f"The file {path} is no .npz file ({_short(error)}): write it with numpy.savez.") from None
        names = [name for name in self._zip.namelist() if name.endswith(".npy")]
        if len(names) > MOST_MEMBERS:
            raise BadInput(f"{path} holds {len(names):,} arrays: put the examples into one.")
        self.names = [name.removesuffix(".npy") for name in names]

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            with self._zip.open(f"{name}.npy") as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                claimed = dtype.itemsize * math.prod(shape)
            if claimed > MEMBER_CAP_BYTES:
                raise BadInput(
                    f"{name} in {self.path} claims {claimed:,} bytes, more than {MEMBER_CAP_BYTES:,}: save it as an "
                    ".npy file, which is "
                    "not read into memory."
                )
            if claimed > self._zip.getinfo(f"{name}.npy").file_size:
                raise BadInput(f"{name} in {self.path} is shorter than it claims: fetch the file again.")
            with self._zip.open(f"{name}.npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except (
            zipfile.BadZipFile,
            zipfile.LargeZipFile,
            ValueError,
            EOFError,
            OSError,
            SyntaxError,
            RuntimeError,
        ) as error:
            raise BadInput(
                f"{name} in {self.path} is no array of numbers ({_short(error)}): write it with numpy.savez."
            ) from None
        except (NotImplementedError, MemoryError, OverflowError) as error:
            raise BadInput(f"{name} in {self.path} cannot be read ({_short(error)}).") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120].rstrip(".")
