"""Reading Lakh pianoroll files (pypianoroll's ``.npz``) without trusting what they claim.

An LPD file is a zip with ``info.json`` and, per track, a sparse matrix (steps × 128 velocities) in compressed-column
form. pypianoroll itself allocates whatever shape the file claims; here every size is checked against the bytes first.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.midi import BEAT_CAP, NOTE_CAP
from musegen_pianoroll.reading.score import Score, ScoreTrack

__all__ = ["read_lpd"]

MEMBER_CAP_BYTES = 256 << 20


def read_lpd(data: bytes, path: Path) -> Score:
    """The bytes of an LPD file as a score whose ticks are the file's own steps.

    Notes begin where a pitch starts to sound or changes its velocity.

    Raises:
        MidiError: the file cannot be used.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            info: dict[str, Any] = dict(json.loads(_member(archive, "info.json", path)))
            names = set(archive.namelist())
            resolution = int(info.get("resolution", info.get("beat_resolution", 24)))
            if not 1 <= resolution <= 960:
                raise MidiError(path, f"claims {resolution} steps per beat")
            tracks = []
            for i in range(len(info)):
                entry = info.get(str(i))
                if not isinstance(entry, dict) or f"pianoroll_{i}_csc_shape.npy" not in names:
                    continue
                notes = _notes(archive, f"pianoroll_{i}_csc", resolution, path)
                name, program = str(entry.get("name") or ""), int(entry.get("program") or 0) & 0x7F
                tracks.append(ScoreTrack(name, program, bool(entry.get("is_drum")), notes))
            tempo = _array(archive, "tempo.npy", path).ravel() if "tempo.npy" in names else np.zeros(0)
    except MidiError:
        raise
    except Exception as error:  # zipfile, zlib, json and numpy raise whatever a damaged file leads them to
        raise MidiError(path, f"is no Lakh pianoroll file, or a damaged one ({type(error).__name__})") from None
    bpm = float(tempo[0]) if len(tempo) and np.isfinite(tempo[0]) and tempo[0] > 0 else 120.0
    return Score(resolution, [(0, bpm)], [(0, 4, 4)], tracks)  # LPD has no metres; its bars are 4/4


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    with archive.open(name) as file:
        content = file.read(MEMBER_CAP_BYTES + 1)
    if len(content) > MEMBER_CAP_BYTES:
        raise MidiError(path, f"holds more than {MEMBER_CAP_BYTES >> 20} MB in {name}")
    return content


def _array(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    """A ``.npy`` member whose header matches its size; object arrays, which hold pickles, are refused."""
    content = _member(archive, name, path)
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    rest = len(content) - stream.tell()
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != rest:
        raise MidiError(path, f"has a damaged array {name}")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran else "C")


def _notes(archive: zipfile.ZipFile, stem: str, resolution: int, path: Path) -> np.ndarray:
    """Notes ``(n, 3)`` of one sparse matrix: runs of equal velocity down a column."""
    values, rows, pointers, shape = (
        _array(archive, f"{stem}_{part}.npy", path) for part in ("data", "indices", "indptr", "shape")
    )
    n_steps, n_pitches = (int(n) for n in shape.ravel())
    rows, pointers, velocity = rows.astype(np.int64), pointers.astype(np.int64), values.astype(np.int64)
    sound = (
        n_pitches <= 128
        and 0 <= n_steps <= BEAT_CAP * resolution
        and len(values) == len(rows) <= NOTE_CAP * resolution
        and pointers.shape == (n_pitches + 1,)
        and (np.diff(pointers) >= 0).all()
        and pointers[0] == 0
        and pointers[-1] == len(rows)
        and (not len(rows) or (rows.min() >= 0 and rows.max() < n_steps))
    )
    if not sound:
        raise MidiError(path, f"has a damaged matrix {stem}")
    pitch = np.repeat(np.arange(n_pitches), np.diff(pointers))
    order = np.lexsort((rows, pitch))
    order = order[velocity[order] > 0]
    pitch, rows, velocity = pitch[order], rows[order], velocity[order]
    goes_on = (pitch[1:] == pitch[:-1]) & (rows[1:] == rows[:-1] + 1) & (velocity[1:] == velocity[:-1])
    first = np.flatnonzero(np.concatenate([[True], ~goes_on])) if len(rows) else np.zeros(0, np.int64)
    last = np.concatenate([first[1:], [len(rows)]]) - 1 if len(rows) else first
    return np.stack([rows[first], rows[last] + 1, pitch[first]], 1)
