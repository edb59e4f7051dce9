"""From rolls to notes and MIDI files.

A roll is bool ``(tracks, 2, steps, 128)``, planes frame and onset. A frame that rises without an onset begins a note too.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from musegen.files import write_atomically
from musegen_pianoroll.store.format import StoreTrack

__all__ = ["VELOCITY", "midi_bytes", "notes_of", "to_pretty_midi", "write_midi"]

VELOCITY = 90


def notes_of(roll: np.ndarray) -> np.ndarray:
    """Notes of a roll as int64 ``(n, 4)`` rows of track, pitch, start step, end step, sorted in that order."""
    frame, onset = roll[:, 0].transpose(0, 2, 1), roll[:, 1].transpose(0, 2, 1)  # (tracks, 128, steps)
    frame = frame | onset
    before = np.concatenate([np.zeros_like(frame[..., :1]), frame[..., :-1]], -1)
    begins = onset | (frame & ~before)
    # A note ends where its frame stops or where the next one begins; each start has exactly one such end after it.
    ends = np.concatenate([before, frame[..., -1:]], -1) & ~np.concatenate(
        [frame & ~begins, np.zeros_like(frame[..., :1])], -1
    )
    track, pitch, start = np.nonzero(begins)
    end = np.nonzero(ends)[2]
    return np.stack([track, pitch, start, end], 1).astype(np.int64)


def to_pretty_midi(
    roll: np.ndarray,
    tracks: Sequence[StoreTrack],
    *,
    steps_per_beat: int,
    tempo_bpm: float = 120.0,
    metre: tuple[int, int] = (4, 4),
) -> Any:
    """A roll as a ``pretty_midi.PrettyMIDI``, exact on the grid.

    Args:
        roll: bool ``(tracks, 2, steps, 128)``.
        tracks: names, programs, drums.
        steps_per_beat: steps per quarter note.
    """
    import pretty_midi

    ticks_per_step = max(1, 480 // steps_per_beat)
    midi = pretty_midi.PrettyMIDI(resolution=ticks_per_step * steps_per_beat, initial_tempo=tempo_bpm)
    midi.time_signature_changes.append(pretty_midi.TimeSignature(*metre, 0))
    for track in tracks:
        midi.instruments.append(pretty_midi.Instrument(track.program, track.is_drum, track.name))
    step_s = 60 / tempo_bpm / steps_per_beat
    for track, pitch, start, end in notes_of(roll).tolist():
        midi.instruments[track].notes.append(pretty_midi.Note(VELOCITY, pitch, start * step_s, end * step_s))
    return midi


def midi_bytes(midi: Any) -> bytes:
    """A ``pretty_midi.PrettyMIDI`` as the content of a file."""
    content = io.BytesIO()
    midi.write(content)
    return content.getvalue()


def write_midi(roll: np.ndarray, path: Path, tracks: Sequence[StoreTrack], **grid: Any) -> None:
    """Write a roll as a MIDI file, whole or not at all; arguments as of ``to_pretty_midi``."""
    write_atomically(path, midi_bytes(to_pretty_midi(roll, tracks, **grid)))
