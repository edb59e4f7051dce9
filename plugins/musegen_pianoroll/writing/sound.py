"""The sound of rolls and of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from musegen.sound.soundfont import general_midi
from musegen_pianoroll.reading.midi import read_scores
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.writing.midi import MidiFile, notes_of, velocities_of

__all__ = ["SAMPLE_RATE_HZ", "PlayedNotes", "seconds_of", "synthesise", "synthesise_midi"]

SAMPLE_RATE_HZ = 44_100
PEAK = 10 ** (-1 / 20)
"""−1 dBFS: louder sound is scaled down to it."""
RUNG_OUT = 10 ** (-60 / 20)
"""Of the peak: what is below it after the last note is cut off."""


def synthesise(
    roll: np.ndarray,
    tracks: Sequence[StoreTrack],
    *,
    steps_per_beat: int,
    tempo_bpm: float,
    velocities: np.ndarray | None = None,
) -> np.ndarray:
    """Sound of a roll: float32 ``(2, frames)`` at ``SAMPLE_RATE_HZ``; peaks above −1 dBFS are scaled down, silence stays silent.

    The last notes ring after their end, until nothing is left above −60 dB of the peak.

    Args:
        velocities: of notes, as of ``velocities_of``.
    """
    notes = notes_of(roll)
    track, pitch, start, end = notes.T
    step_s = 60 / tempo_bpm / steps_per_beat
    programs, drums = np.array([t.program for t in tracks]), np.array([t.is_drum for t in tracks])
    loud = velocities_of(notes, velocities)
    return _played(pitch, start * step_s, end * step_s, programs[track], drums[track], loud)


def synthesise_midi(midi: MidiFile) -> np.ndarray:
    """Sound of a file by its own velocities, programs, pedals and tempos, as of ``synthesise``."""
    played = PlayedNotes.of(midi)
    return _played(played.pitch, played.start_s, played.end_s, played.program, played.is_drum, played.velocity)


@dataclass(frozen=True)
class PlayedNotes:
    """The notes of a file as they are heard, pedals included, one entry each.

    Args:
        track, channel: number of the track from 1, and channel.
    """

    track: np.ndarray
    channel: np.ndarray
    pitch: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray
    program: np.ndarray
    is_drum: np.ndarray
    velocity: np.ndarray

    @classmethod
    def of(cls, midi: MidiFile) -> Self:
        (score,) = read_scores([(Path("piece.mid"), midi.content())], pedal="all", with_velocity=True)
        columns = [
            np.column_stack(
                [np.tile([t.number, t.channel, t.program, t.is_drum], (len(t.notes), 1)), t.notes, t.velocity]
            )
            for t in score.tracks
            if t.velocity is not None
        ]
        rows = np.concatenate([np.zeros((0, 8), np.int64), *columns]).T
        track, channel, program, is_drum, start, end, pitch, velocity = rows
        seconds = seconds_of(score.tempos, score.ticks_per_beat)
        return cls(track, channel, pitch, seconds(start), seconds(end), program, is_drum > 0, velocity)

    def stem(self, track: int, channel: int, first_s: float, last_s: float) -> np.ndarray:
        """What one track plays on one channel, of the notes that begin from a time to before another one: float32
        ``(2, frames)`` from the first time on, at any level."""
        own = (self.track == track) & (self.channel == channel)
        heard = own & (self.start_s >= first_s) & (self.start_s < last_s)
        if not heard.any():
            return np.zeros((2, 0), np.float32)
        return general_midi().render(
            self.pitch[own],
            self.start_s[own] - first_s,
            self.end_s[own] - first_s,
            program=self.program[own],
            drums=self.is_drum[own],
            velocity=self.velocity[own],
            heard=heard[own],
            rate_hz=SAMPLE_RATE_HZ,
        )


def seconds_of(tempos: Sequence[tuple[int, float]], ticks_per_beat: int) -> Callable[[np.ndarray], np.ndarray]:
    """Ticks to seconds by a tempo map: 120 before the first tempo, and of several at one tick the last."""
    changes = {0: 120.0} | dict(tempos)
    at = np.array(sorted(changes), np.float64)
    tick_s = np.array([60 / changes[tick] / ticks_per_beat for tick in sorted(changes)])
    begun = np.concatenate([[0.0], np.cumsum(np.diff(at) * tick_s[:-1])])

    def seconds(ticks: np.ndarray) -> np.ndarray:
        i = np.searchsorted(at, ticks, "right") - 1
        return begun[i] + (ticks - at[i]) * tick_s[i]

    return seconds


def _played(
    pitch: np.ndarray,
    start_s: np.ndarray,
    end_s: np.ndarray,
    program: np.ndarray,
    drums: np.ndarray,
    velocity: np.ndarray,
) -> np.ndarray:
    """Notes by General MIDI instruments."""
    if not len(pitch):
        return np.zeros((2, SAMPLE_RATE_HZ), np.float32)
    sound = general_midi().render(
        pitch, start_s, end_s, program=program, drums=drums, velocity=velocity, rate_hz=SAMPLE_RATE_HZ
    )
    peak = float(np.abs(sound).max(initial=0.0))
    last = round(end_s.max() * SAMPLE_RATE_HZ)
    rings = np.flatnonzero(np.abs(sound[:, last:]).max(0) > RUNG_OUT * peak)
    sound = sound[:, : last + (int(rings[-1]) + 1 if len(rings) else 0)]
    return sound * (PEAK / peak) if peak > PEAK else sound
