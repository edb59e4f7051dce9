"""The sound of a roll."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musegen.sound.soundfont import general_midi
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.writing.midi import VELOCITY, notes_of

__all__ = ["SAMPLE_RATE_HZ", "synthesise"]

SAMPLE_RATE_HZ = 44_100
PEAK = 10 ** (-1 / 20)
"""−1 dBFS: louder sound is scaled down to it."""
RUNG_OUT = 10 ** (-60 / 20)
"""Of the peak: what is below it after the last note is cut off."""


def synthesise(roll: np.ndarray, tracks: Sequence[StoreTrack], *, steps_per_beat: int, tempo_bpm: float) -> np.ndarray:
    """Sound of a roll: float32 ``(2, frames)`` at ``SAMPLE_RATE_HZ``; peaks above −1 dBFS are scaled down, silence stays silent.

    The last notes ring after their end, until nothing is left above −60 dB of the peak.
    """
    notes = notes_of(roll)
    if not len(notes):
        return np.zeros((2, SAMPLE_RATE_HZ), np.float32)
    track, pitch, start, end = notes.T
    step_s = 60 / tempo_bpm / steps_per_beat
    sound = general_midi().render(
        pitch,
        start * step_s,
        end * step_s,
        program=np.array([t.program for t in tracks])[track],
        drums=np.array([t.is_drum for t in tracks])[track],
        velocity=VELOCITY,
        rate_hz=SAMPLE_RATE_HZ,
    )
    peak = float(np.abs(sound).max(initial=0.0))
    last = round(end.max() * step_s * SAMPLE_RATE_HZ)
    rings = np.flatnonzero(np.abs(sound[:, last:]).max(0) > RUNG_OUT * peak)
    sound = sound[:, : last + (int(rings[-1]) + 1 if len(rings) else 0)]
    return sound * (PEAK / peak) if peak > PEAK else sound
