"""One file, read as a store's are: in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from musegen_pianoroll.limits import MOST_BARS
from musegen_pianoroll.reading.crew import Worker, watching
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.options import Reading
from musegen_pianoroll.reading.quantise import NO_NOTES, from_keys, pack_notes
from musegen_pianoroll.reading.roles import track_specs

__all__ = ["read_by", "read_piece"]


def read_piece(
    path: Path, reading: Reading, with_sources: bool = False, most_bars: int = MOST_BARS, bar_steps: int = 16
) -> tuple[np.ndarray, dict[str, Any]]:
    """One file: packed planes ``(n_steps, tracks, P, 16)``, and what is known of it (``segments``, ``tempo_bpm`` … of ``Piece``).

    Args:
        with_sources: also ``sources``, the tracks of the file: ``number``, ``channel``, ``name``, ``n_notes``, and ``role``, the
            number of the track whose notes they are, or None; and ``chosen``, in words.
        most_bars: that it may last, of ``bar_steps`` steps each.

    Raises:
        MidiError: it cannot be used, or is too long, or crashed the reader, or took too long.
    """
    with (
        tempfile.TemporaryDirectory(prefix="musegen-") as folder,
        contextlib.closing(Worker(reading, Path(folder))) as worker,
    ):
        return read_by(worker, path, with_sources, most_bars, bar_steps)


def read_by(
    worker: Worker, path: Path, with_sources: bool = False, most_bars: int = MOST_BARS, bar_steps: int = 16
) -> tuple[np.ndarray, dict[str, Any]]:
    """``read_piece`` by a process that may read more of them; what it finds lies in the worker's folder."""
    part = worker.folder / "one"
    with watching([worker]):
        worker.read_part([os.fspath(path)], part, with_sources)
    (entry,) = json.loads(part.with_suffix(".json").read_bytes())
    if entry.get("reason") == NO_NOTES:
        names = ", ".join(track.name for track in track_specs(worker.reading.tracks))
        raise MidiError(path, f"{NO_NOTES}: {names}. Use a piece that has some, or a model with other tracks")
    if "reason" in entry:
        raise MidiError(path, entry["reason"])
    n_bars = -(-entry["n_steps"] // bar_steps)
    if n_bars > most_bars:  # before there are planes of that length
        raise MidiError(
            path,
            f"lasts {n_bars:,} bars, longer than the {most_bars:,} that a model is given: cut it, or use most_bars={n_bars}",
        )
    keys = np.fromfile(part.with_suffix(".notes"), np.int64)
    table = from_keys(keys, worker.reading.velocities)
    return pack_notes(table, entry["n_steps"], len(track_specs(worker.reading.tracks))), entry["piece"]
