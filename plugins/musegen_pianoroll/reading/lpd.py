"""Reading Lakh pianoroll files (pypianoroll's ``.npz``) without trusting what they claim.

An LPD file is a zip with ``info.json``; per track a sparse matrix (steps × 128 velocities) in compressed-column form; and, per
step, the tempo and whether a bar begins. pypianoroll itself allocates whatever shape the file claims; here every size is checked
against the bytes first. What ``Pianoroll.save`` writes has two members more, ``notes`` and ``metre``, which pypianoroll passes
over.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from musegen_pianoroll.limits import BEAT_CAP, LPD_CELL_CAP, NOTE_CAP, TEMPO_CAP
from musegen_pianoroll.reading.arrays import member, runs, zipped_array
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.metres import metres_from_downbeats
from musegen_pianoroll.reading.score import Score, ScoreTrack
from musegen_pianoroll.reading.training_arrays import described, read_sparse, too_large
from musegen_pianoroll.store.velocities import VELOCITY

__all__ = ["read_lpd", "read_npz"]

SLOWEST_BPM, FASTEST_BPM, DEFAULT_BPM = 1.0, 10_000.0, 120.0


def read_npz(data: bytes, path: Path) -> Score:
    """A ``.npz`` file as a score: a Lakh pianoroll, or a training array of MuseGAN.

    Raises:
        MidiError: the file cannot be used.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
            if "info.json" in names:
                return read_lpd(data, path)
            if names >= {"shape.npy", "nonzero.npy"}:
                return read_sparse(archive, path)
            raise MidiError(path, described(archive))
    except (MidiError, MemoryError):
        raise
    except Exception:  # zipfile, zlib and numpy raise whatever a damaged file leads them to
        too_large(data, path)
        raise MidiError(path, "is no .npz file, or a damaged one") from None


def read_lpd(data: bytes, path: Path) -> Score:
    """The bytes of an LPD file as a score whose ticks are the file's own steps.

    Notes begin where a pitch starts to sound or changes its velocity. Bars are those between downbeats.

    Raises:
        MidiError: the file cannot be used.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            info: dict[str, Any] = dict(json.loads(member(archive, "info.json", path)))
            resolution = int(info.get("resolution", info.get("beat_resolution", 24)))
            if not 1 <= resolution <= 960:
                raise MidiError(path, f"claims {resolution} steps per beat")
            return _score(archive, info, resolution, path)
    except (MidiError, MemoryError):
        raise
    except Exception:  # zipfile, zlib, json and numpy raise whatever a damaged file leads them to
        raise MidiError(path, "is no Lakh pianoroll file, or a damaged one") from None


def _score(archive: zipfile.ZipFile, info: dict[str, Any], resolution: int, path: Path) -> Score:
    names = set(archive.namelist())
    own = zipped_array(archive, "notes.npy", path) if "notes.npy" in names else None
    tracks, end, n_cells = [], 0, 0
    for i in range(len(info)):
        entry = info.get(str(i))
        if not isinstance(entry, dict) or f"pianoroll_{i}_csc_shape.npy" not in names:
            continue
        cells, n_steps = _cells(archive, f"pianoroll_{i}_csc", resolution, LPD_CELL_CAP - n_cells, path)
        n_cells += len(cells)
        pitch, start, stop = runs(*cells[cells[:, 2] > 0].T)
        notes = np.stack([start, stop, pitch], 1) if own is None else _own_notes(own, i, resolution, path)
        end = max(end, n_steps)
        name, program = str(entry.get("name") or ""), int(entry.get("program") or 0) & 0x7F
        tracks.append(
            ScoreTrack(name, program, bool(entry.get("is_drum")), notes, i + 1, velocity=_velocities(cells, notes))
        )
    tempo, downbeat, bar = (
        zipped_array(archive, f"{name}.npy", path).ravel() if f"{name}.npy" in names else np.zeros(0)
        for name in ("tempo", "downbeat", "metre")
    )
    end = min(max(end, len(tempo), len(downbeat)), BEAT_CAP * resolution)
    tempos, mended = _tempos(tempo[:end].astype(np.float64), resolution)
    metre = None
    if bar.shape == (2,):
        numerator, denominator = (int(n) for n in bar)
        if 1 <= numerator <= 255 and denominator in (1, 2, 4, 8, 16, 32, 64):
            metre = numerator, denominator
    signatures = metres_from_downbeats(np.flatnonzero(downbeat[:end] > 0), resolution, metre)
    if signatures is None:
        mended.append("its downbeats make no bars, so 4/4 was taken")
        signatures = [(0, 4, 4)]
    return Score(resolution, tempos, signatures, tracks, end, tuple(mended))


def _tempos(bpm: np.ndarray, resolution: int) -> tuple[list[tuple[int, float]], list[str]]:
    """Changes of tempo, (step, beats per minute), and what was left out.

    Args:
        bpm: per step, float64.
    """
    mended = []
    possible = (bpm >= SLOWEST_BPM) & (bpm <= FASTEST_BPM)  # not a number is neither
    if not possible.all():
        n = int((~possible).sum())
        mended.append(f"tempos outside 1 to 10,000 beats per minute were left out, at {n:,} of {len(bpm):,} steps")
    step, value = np.flatnonzero(possible), bpm[possible]
    changes = np.concatenate([[True], value[1:] != value[:-1]]) if len(value) else possible[:0]
    if changes.sum() > TEMPO_CAP:
        on_beat = step % resolution == 0
        step, value = step[on_beat], value[on_beat]
        changes = np.concatenate([[True], value[1:] != value[:-1]]) if len(value) else possible[:0]
        mended.append(f"the tempo changes more than {TEMPO_CAP:,} times, so one per beat was kept")
    tempos = list(zip(step[changes].tolist(), value[changes].tolist(), strict=True))
    return tempos or [(0, DEFAULT_BPM)], mended


def _cells(archive: zipfile.ZipFile, stem: str, resolution: int, most: int, path: Path) -> tuple[np.ndarray, int]:
    """Cells of one sparse matrix, int64 rows of pitch, step and velocity ``(n, 3)``, and how many steps it has.

    Args:
        most: cells that it may have.
    """
    values, rows, pointers, shape = (
        zipped_array(archive, f"{stem}_{part}.npy", path) for part in ("data", "indices", "indptr", "shape")
    )
    n_steps, n_pitches = (int(n) for n in shape.ravel())
    if len(values) > most:
        raise MidiError(path, f"has more than {LPD_CELL_CAP:,} cells that sound")
    rows, pointers, velocity = rows.astype(np.int64), pointers.astype(np.int64), values.astype(np.int64)
    sound = (
        n_pitches <= 128
        and 0 <= n_steps <= BEAT_CAP * resolution
        and len(values) == len(rows)
        and pointers.shape == (n_pitches + 1,)
        and (np.diff(pointers) >= 0).all()
        and pointers[0] == 0
        and pointers[-1] == len(rows)
        and (not len(rows) or (rows.min() >= 0 and rows.max() < n_steps))
    )
    if not sound:
        raise MidiError(path, f"has a damaged matrix {stem}")
    pitch = np.repeat(np.arange(n_pitches), np.diff(pointers))
    return np.stack([pitch, rows, velocity], 1), n_steps


def _velocities(cells: np.ndarray, notes: np.ndarray) -> np.ndarray | None:
    """Velocities of the cells where notes begin, ``(n,)``; None if the matrix tells none, as a binary one does."""
    pitch, step, velocity = cells.T
    if not len(cells) or velocity.max() <= 1:
        return None
    key = pitch * (BEAT_CAP * 960 + 1) + step
    order = np.argsort(key)
    wanted = notes[:, 2] * (BEAT_CAP * 960 + 1) + notes[:, 0]
    found = order[np.searchsorted(key[order], wanted).clip(max=len(key) - 1)]
    return np.where((key[found] == wanted) & (velocity[found] > 0), velocity[found].clip(max=127), VELOCITY)


def _own_notes(table: np.ndarray, track: int, resolution: int, path: Path) -> np.ndarray:
    """Notes ``(n, 3)`` of a track, of a table that musegen wrote: track, pitch, start, end."""
    if table.ndim != 2 or table.shape[1] != 4 or table.dtype.kind not in "iu" or len(table) > NOTE_CAP:
        raise MidiError(path, "has a damaged array notes.npy")
    notes = table[table[:, 0] == track].astype(np.int64)
    _, pitch, start, end = notes.T
    sound = (pitch >= 0) & (pitch < 128) & (start >= 0) & (end > start) & (end <= BEAT_CAP * resolution)
    if not sound.all():
        raise MidiError(path, "has a damaged array notes.npy")
    return np.stack([start, end, pitch], 1)
