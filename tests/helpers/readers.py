"""One file at a time, where the code under test reads several together."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import mido
import numpy as np

from musegen_pianoroll.reading import roles, worker
from musegen_pianoroll.reading.midi import read_scores
from musegen_pianoroll.reading.options import Pedal, Reading
from musegen_pianoroll.reading.quantise import Quantised
from musegen_pianoroll.reading.score import Score

HERE = Path("file.mid")
Event = tuple[int, bytes]
"""A tick, and the bytes of an event."""


def events_by_mido(file: bytes | mido.MidiFile, clip: bool = False) -> list[list[Event]]:
    """Every event of every track by tick, without the ends of tracks; mido gives system exclusive events without their length."""
    tracks = []
    for messages in (
        file if isinstance(file, mido.MidiFile) else mido.MidiFile(file=io.BytesIO(file), clip=clip)
    ).tracks:
        now, found = 0, []
        for message in messages:
            now += message.time
            if message.type != "end_of_track":
                found.append((now, bytes(message.bytes())))
        tracks.append(found)
    return tracks


def read_score(data: bytes, pedal: Pedal = "piano") -> Score:
    (score,) = read_scores([(HERE, data)], pedal)
    return score


def read_file(path: Path, tracks: str | dict[str, Any], steps_per_beat: int) -> tuple[Quantised, dict[str, Any]]:
    ((piece, known, _),) = worker.interpret([(path, worker.load(path))], Reading(tracks, steps_per_beat))
    return piece, known


def notes_by_role(data: bytes, tracks: str | dict[str, Any]) -> tuple[list[np.ndarray], list[list[int]]]:
    """Per role, notes int64 ``(n, 3)``, and the programs seen."""
    parts, programs = roles.assign(read_score(data), tracks)
    empty = np.zeros((0, 3), np.int64)
    return [np.concatenate([empty, *(n for r, n in parts if r == role)]) for role in range(len(programs))], programs
