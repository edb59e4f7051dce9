"""Cuts a training array of MuseGAN that is too large to be read at once into files of some phrases each."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from musegen.errors import BadInput, because_of
from musegen.files import write_file
from musegen.reporting import report
from musegen_pianoroll.reading.arrays import array_header, zipped_array
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.training_arrays import READ, fits, most_phrases

__all__ = ["cut_array"]

CELLS_AT_ONCE = 1 << 20
"""Cells that sound, read at a time: five numbers of eight bytes for each."""

Blocks = Iterator[tuple[int, np.ndarray]]
"""First phrase, and the cells that sound from there on, int64 ``(5, n)``, phrases counted from it."""


def cut_array(source: Path, out: Path, phrases: int = 100) -> int:
    """Write files ``OUT/NUMBER.npz`` of so many phrases each, with ``shape`` and ``nonzero``; the number is the first phrase's.

    Memory is for one file and a block of cells, however large the source is.

    Args:
        source: an ``.npz`` file with ``shape`` and ``nonzero``, or a plain ``.npy`` file.
        out: a new or empty folder.

    Returns:
        How many files.

    Raises:
        BadInput: the source is no training array, or the folder holds something.
    """
    try:
        if out.exists() and any(out.iterdir()):
            raise BadInput(f"The folder {out} is not empty: choose another --out.")
        out.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            shape, blocks = _opened(source, phrases, stack)
            most = most_phrases(shape)
            if not 1 <= phrases <= most:
                raise BadInput(f"--phrases {phrases} is invalid: use 1 to {most:,}.")
            files = 0
            for first, cells in blocks:
                content = io.BytesIO()
                size = (min(phrases, shape[0] - first), *shape[1:])
                np.savez_compressed(content, shape=np.array(size), nonzero=cells)
                write_file(out / f"{first:0{len(str(shape[0]))}}.npz", content.getvalue())
                files += 1
                report("Cutting", min(first + phrases, shape[0]), shape[0], "phrases")
            return files
    except OSError as error:
        raise because_of(error, f"{error.filename or source} cannot be used: {error.strerror}.") from None
    except MidiError as error:
        raise BadInput(f"{source} cannot be cut: it {error.reason}.") from None
    except (ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput(f"{source} is damaged, or no file of arrays: {error}.") from None


def _opened(source: Path, phrases: int, stack: contextlib.ExitStack) -> tuple[tuple[int, ...], Blocks]:
    """The shape of an array, and its cells by file."""
    if source.suffix.lower() == ".npy":
        array = np.load(source, mmap_mode="r", allow_pickle=False)
        if not fits(array.shape) or array.dtype.kind not in "bui":
            raise MidiError(source, f"is an array {array.shape} of {array.dtype}; {READ}")
        return array.shape, _of_plain(array, phrases)
    archive = stack.enter_context(zipfile.ZipFile(source))
    if not {"shape.npy", "nonzero.npy"} <= set(archive.namelist()):
        raise MidiError(source, "has no shape and nonzero")
    shape = tuple(int(n) for n in zipped_array(archive, "shape.npy", source).ravel())
    if not fits(shape):
        raise MidiError(source, f"holds an array {shape}; {READ}")
    return shape, _of_sparse(archive, shape, phrases, source, stack)


def _of_plain(array: np.ndarray, phrases: int) -> Blocks:
    for first in range(0, len(array), phrases):
        yield first, np.stack(array[first : first + phrases].nonzero())


def _of_sparse(
    archive: zipfile.ZipFile, shape: tuple[int, ...], phrases: int, source: Path, stack: contextlib.ExitStack
) -> Blocks:
    """The cells of ``nonzero``, whose five rows are read side by side; each is a stream of its own."""
    with archive.open("nonzero.npy") as file:
        size, columns_first, dtype, begin = array_header(file.read(1 << 12))
    if len(size) != 2 or size[0] != 5 or columns_first or dtype.kind not in "iu":
        raise MidiError(source, "has a damaged array nonzero.npy")
    rows = [stack.enter_context(archive.open("nonzero.npy")) for _ in range(5)]
    for i, row in enumerate(rows):
        row.seek(begin + i * size[1] * dtype.itemsize)
    waiting = np.zeros((5, 0), np.int64)
    first, last = 0, 0
    for at in range(0, size[1], CELLS_AT_ONCE):
        n = min(CELLS_AT_ONCE, size[1] - at)
        parts = [np.frombuffer(row.read(n * dtype.itemsize), dtype).astype(np.int64) for row in rows]
        if any(len(part) != n for part in parts):
            raise MidiError(source, "has a damaged array nonzero.npy")
        phrase = parts[0]
        if phrase[0] < last or (np.diff(phrase) < 0).any() or phrase[-1] >= shape[0]:
            raise MidiError(source, "has cells that are not in the order of its phrases")
        last = int(phrase[-1])
        waiting = np.concatenate([waiting, parts], 1)
        while last >= first + phrases:
            end = np.searchsorted(waiting[0], first + phrases)
            yield first, waiting[:, :end] - [[first], [0], [0], [0], [0]]
            waiting, first = waiting[:, end:], first + phrases
    while first < shape[0]:
        end = np.searchsorted(waiting[0], first + phrases)
        yield first, waiting[:, :end] - [[first], [0], [0], [0], [0]]
        waiting, first = waiting[:, end:], first + phrases
