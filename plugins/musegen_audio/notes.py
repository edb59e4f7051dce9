"""The notes that ship with musegen: single notes of 79 General MIDI programs, rendered when they are wanted.

pretty_midi's wheel carries a soundfont (TimGM6mb, 6 MB), and symusic renders it some thousand times faster than it plays, so
that nothing is stored. Every program plays the 36 semitones of its family's range, each once short and once long: 5,632 notes
without those that the soundfont does not have.
The synthesiser knows neither velocities nor releases: all notes are brought to one peak level, and fade out where they end.
It is asked for 44.1 kHz alone, because at low sample rates it never returns from some high notes (symusic 0.5.9:
program 11, pitch 92, 16 kHz).

Both notes of a program's pitch are in the same split, so that no note of the test or validation split has been heard in training.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from musegen_audio.files import resample

__all__ = ["FAMILIES", "LENGTHS_S", "PITCHES", "note_name", "render", "splits"]

FAMILIES: dict[str, tuple[int, int]] = {
    "piano": (0, 48),
    "mallet": (8, 60),
    "organ": (16, 48),
    "guitar": (24, 40),
    "bass": (32, 28),
    "strings": (40, 48),
    "ensemble": (48, 48),
    "brass": (56, 45),
    "reed": (64, 48),
    "pipe": (72, 60),
}
"""General MIDI's families of eight programs that are instruments: first program, and lowest pitch as a MIDI number."""
UNSTABLE = {78}
"""Programs (Whistle) whose filter the synthesiser lets grow beyond all bounds."""
FAINT = 0.1
"""Of the median level of a program's notes: what is softer is a note that the soundfont does not have, or a click alone."""
PROGRAMS, PITCHES = 8, 36
"""Programs of a family, and semitones of its range."""
LENGTHS_S = (0.25, 0.75)
"""A short note and a long one; both ring in clips of a second."""
RELEASE_S = 0.08
"""Time in which a note that has ended loses 60 dB."""
RENDERED_HZ = 44100
PEAK = 0.9
"""Of every note, of full scale."""


def note_name(pitch: int) -> str:
    """MIDI number → name: 60 → C4."""
    return f"{('C', 'C#', 'D', 'D#', 'E', 'F', 'F#', 'G', 'G#', 'A', 'A#', 'B')[pitch % 12]}{pitch // 12 - 1}"


def render(
    rate_hz: int, n: int, programs: int = PROGRAMS, pitches: int = PITCHES
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All notes, in the order of program, pitch and length.

    Args:
        rate_hz, n: sample rate and samples of a clip.
        programs, pitches: how many of each family, the first ones; fewer for a quick look.

    Returns:
        clips int16 ``(N, n)``; family, from 0, ``(N,)``; pitch as a MIDI number ``(N,)``.
    """
    time_s = np.arange(n) / rate_hz
    # 60 dB are a factor of 1,000; what is quieter than −100 dB is nothing.
    envelopes = np.stack([10 ** (-3 * np.maximum(0, time_s - length) / RELEASE_S) for length in LENGTHS_S])  # (2, n)
    envelopes[envelopes < 1e-5] = 0
    clips, family, pitch = [], [], []
    for number, (first, lowest) in enumerate(FAMILIES.values()):
        for program in sorted(set(range(first, first + programs)) - UNSTABLE):
            played = np.arange(lowest, lowest + pitches)
            rendered = np.stack([_held(program, int(p), n / rate_hz) for p in played])
            held = resample(rendered, RENDERED_HZ, rate_hz)[:, :n]  # (pitches, n)
            level = np.sqrt(np.square(held).mean(1))
            there = level > FAINT * np.median(level)
            sound = held[there][:, None] * envelopes  # (pitches, 2, n)
            sound *= PEAK * 32767 / np.abs(sound).max((1, 2), keepdims=True)
            clips.append(np.rint(sound).astype(np.int16).reshape(-1, n))
            family += [number] * len(clips[-1])
            pitch += list(np.repeat(played[there], len(LENGTHS_S)))
    return np.concatenate(clips), np.array(family, np.int64), np.array(pitch, np.int64)


def _held(program: int, pitch: int, seconds: float) -> np.ndarray:
    """A note that lasts, float32 ``(m,)`` at ``RENDERED_HZ``."""
    from symusic import Note, Score, Tempo, Track

    score: Any = Score(1000)  # a tick is a millisecond
    score.tempos.append(Tempo(0, qpm=60))
    track: Any = Track(program=program)
    track.notes.append(Note(0, int(1000 * seconds) + 50, pitch, 100))
    score.tracks.append(track)
    m = round((seconds + 0.02) * RENDERED_HZ)  # a little more than will be kept
    sound = np.asarray(_synthesiser().render(score, stereo=False))[0]
    return np.pad(sound[:m], (0, max(0, m - len(sound))))


@cache
def _synthesiser() -> Any:
    from importlib.resources import files

    from symusic import Synthesizer

    return Synthesizer(sf_path=str(files("pretty_midi") / "TimGM6mb.sf2"), sample_rate=RENDERED_HZ)


def splits(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Indices of n notes by split, 80, 10 and 10 %; notes that differ in length alone stay together."""
    pairs = np.random.default_rng(seed).permutation(n // len(LENGTHS_S))
    tenth = max(1, len(pairs) // 10)
    parts = {"valid": pairs[:tenth], "test": pairs[tenth : 2 * tenth], "train": pairs[2 * tenth :]}
    both = np.arange(len(LENGTHS_S))
    return {name: (len(LENGTHS_S) * np.sort(part)[:, None] + both).ravel() for name, part in parts.items()}
