"""numpy's files of strangers: every size is checked against the bytes that are there, and nothing is unpickled."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from musegen_pianoroll.limits import MEMBER_CAP_BYTES
from musegen_pianoroll.reading.errors import MidiError

__all__ = ["array_header", "array_of", "member", "runs", "zipped_array"]


def member(archive: zipfile.ZipFile, name: str, path: Path, cap: int = MEMBER_CAP_BYTES) -> bytes:
    """A file in a zip, of which no more is unpacked than is allowed.

    Raises:
        MidiError: it is larger.
    """
    with archive.open(name) as file:
        content = file.read(cap + 1)
    if len(content) > cap:
        raise MidiError(path, f"holds more than {cap >> 20} MB in {name}")
    return content


def zipped_array(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    """The array of a ``.npy`` file in a zip; see ``array_of``."""
    return array_of(member(archive, name, path), name, path)


def array_header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """What the header of a ``.npy`` file says: shape, whether columns come first, type; and the byte after it.

    Raises:
        ValueError: it is none.
    """
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return *read_header(stream), stream.tell()


def array_of(content: bytes, name: str, path: Path) -> np.ndarray:
    """The array of a ``.npy`` file, without a copy.

    Raises:
        MidiError: its header does not match its size, or it holds objects, which are pickles.
        ValueError: it is no such file.
    """
    shape, fortran, dtype, begin = array_header(content)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - begin:
        raise MidiError(path, f"has a damaged array {name}")
    return np.frombuffer(content, dtype, offset=begin).reshape(shape, order="F" if fortran else "C")


def runs(voice: np.ndarray, step: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Notes of cells that sound: runs of steps of one voice and one value. All int64 ``(n,)``.

    Returns:
        Voice, start and end of each, sorted by voice, then start.
    """
    order = np.lexsort((step, voice))
    voice, step, value = voice[order], step[order], value[order]
    goes_on = (voice[1:] == voice[:-1]) & (step[1:] == step[:-1] + 1) & (value[1:] == value[:-1])
    first = np.flatnonzero(np.concatenate([[True], ~goes_on])) if len(step) else np.zeros(0, np.int64)
    last = np.concatenate([first[1:], [len(step)]]) - 1 if len(step) else first
    return voice[first], step[first], step[last] + 1
