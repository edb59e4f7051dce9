"""MuseGAN's own training arrays: phrases of bars, as booleans (phrases, bars, steps, pitches, tracks).

They come as a plain array (``.npy``), or as the coordinates of the cells that sound, ``nonzero``, with ``shape`` (``.npz``); what
MuseGAN writes has the second form, too. Pitches are 84 from MIDI number 24 on, tracks are the five of LPD-5, bars are 4/4.
Source: Dong et al. 2018, and the loader of their code (``load_data_from_npz``, ``load_data_from_npy``).
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from musegen_pianoroll.limits import BEAT_CAP, CELL_CAP, SIZE_CAP_BYTES
from musegen_pianoroll.reading.arrays import array_header, array_of, runs, zipped_array
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.roles import BAND
from musegen_pianoroll.reading.score import Score, ScoreTrack

__all__ = ["READ", "described", "fits", "most_phrases", "read_npy", "read_sparse", "too_large"]

LOWEST_PITCH, N_PITCHES = 24, 84
READ = "MuseGAN's training arrays are read: phrases, bars, steps, 84 pitches, 5 tracks"
WAY_OUT = 'cut it into smaller files with "musegen data cut"'


def read_npy(data: bytes, path: Path) -> Score:
    """A plain array as a score, one phrase after the other.

    Raises:
        MidiError: the file cannot be used.
    """
    try:
        shape, _, dtype, _ = array_header(data)
        if not fits(shape) or dtype.kind not in "bui":
            raise MidiError(
                path, f"is an array {shape} of {dtype}; of .npy files, {READ}, of booleans or whole numbers"
            )
        too_large(data, path)
        cells = array_of(data, "", path)
        _check_length(shape, path)
        _check_cells(int(np.count_nonzero(cells)), path)
        return _score(shape, np.stack(cells.nonzero()), path)
    except (MidiError, MemoryError):
        raise
    except Exception:  # numpy raises whatever a damaged file leads it to
        raise MidiError(path, "is no .npy file, or a damaged one") from None


def read_sparse(archive: zipfile.ZipFile, path: Path) -> Score:
    """An array given by ``shape`` and the coordinates of the cells that sound, as a score.

    Raises:
        MidiError: the file cannot be used.
    """
    shape = tuple(int(n) for n in zipped_array(archive, "shape.npy", path).ravel())
    if not fits(shape):
        raise MidiError(path, f"holds an array {shape}; of .npz files with shape and nonzero, {READ}")
    _check_length(shape, path)
    cells = zipped_array(archive, "nonzero.npy", path)
    if cells.ndim != 2 or len(cells) != 5 or cells.dtype.kind not in "iu":
        raise MidiError(path, "has a damaged array nonzero.npy")
    _check_cells(cells.shape[1], path)
    if cells.size and (cells.min() < 0 or (cells.max(1) >= np.array(shape)).any()):
        raise MidiError(path, "has cells outside its array")
    return _score(shape, cells.astype(np.int64), path)


def too_large(data: bytes, path: Path) -> None:
    """Refuse a file of which only the beginning was read.

    Raises:
        MidiError: it is larger than files may be.
    """
    if len(data) > SIZE_CAP_BYTES:
        raise MidiError(path, f"is larger than {SIZE_CAP_BYTES >> 20} MB: if it is a training array, {WAY_OUT}")


def described(archive: zipfile.ZipFile) -> str:
    """What a ``.npz`` file is that nothing here reads."""
    found = []
    for name in archive.namelist()[:4]:
        shown = "".join(char if char.isprintable() else "?" for char in name[:60])
        try:
            with archive.open(name) as file:
                shape, _, dtype, _ = array_header(file.read(1 << 12))
            found.append(f"{shown.removesuffix('.npy')} {shape} of {dtype}")
        except Exception:  # no array, or a damaged one
            found.append(shown)
    more = len(archive.namelist()) - len(found)
    what = ", ".join(found) + (f" and {more} more" if more else "") if found else "nothing"
    return f"holds {what}; of .npz files, Lakh pianorolls are read, and MuseGAN's training arrays (shape and nonzero)"


def fits(shape: Sequence[int]) -> bool:
    """Whether a shape is that of a training array."""
    return (
        len(shape) == 5
        and min(shape) > 0
        and shape[2] % 4 == 0
        and shape[2] <= 4 * 960
        and tuple(shape[3:]) == (N_PITCHES, len(BAND))
    )


def most_phrases(shape: Sequence[int]) -> int:
    """How many phrases of an array of a shape are read of one file."""
    return BEAT_CAP // (4 * shape[1] + 1)


def _check_length(shape: Sequence[int], path: Path) -> None:
    most = most_phrases(shape)
    if shape[0] > most:
        raise MidiError(
            path, f"holds {shape[0]:,} phrases, more than the {most:,} that are read of one file: {WAY_OUT}"
        )


def _check_cells(n: int, path: Path) -> None:
    if n > CELL_CAP:
        raise MidiError(path, f"has more than {CELL_CAP:,} cells that sound: {WAY_OUT}")


def _score(shape: Sequence[int], cells: np.ndarray, path: Path) -> Score:
    """The score of an array, given the coordinates of cells that sound, int64 ``(5, n)``.

    A note ends with its phrase. Each phrase is a section of its own, a beat after the one before.
    """
    phrase, bar, step, pitch, track = cells
    bar_steps = shape[2]
    beat_steps = bar_steps // 4
    stride = shape[1] * bar_steps + beat_steps
    voice = (phrase * len(BAND) + track) * N_PITCHES + pitch
    voice, start, end = runs(voice, phrase * stride + bar * bar_steps + step, np.zeros_like(voice))
    track, pitch = voice // N_PITCHES % len(BAND), voice % N_PITCHES + LOWEST_PITCH
    notes = np.stack([start, end, pitch], 1)
    tracks = [
        ScoreTrack(role.name, role.program, role.is_drum, notes[track == i], i + 1) for i, role in enumerate(BAND)
    ]
    sections = tuple(i * stride for i in range(shape[0]))
    signatures = [(tick, 4, 4) for tick in sections]
    return Score(beat_steps, [(0, 120.0)], signatures, tracks, shape[0] * stride - beat_steps, sections=sections)
