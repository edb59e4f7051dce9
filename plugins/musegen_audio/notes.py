"""The notes that ship with musegen: single notes of 79 General MIDI programs, rendered when they are wanted.

pretty_midi's wheel carries a soundfont (TimGM6mb, 6 MB). Every program plays the 36 semitones of its family's range, each once
softly and once loudly, and the loud ones are brought to one peak level: 5,678 notes. They take some seconds, once, and are then
kept in the user's cache folder.

Both notes of a program's pitch are in the same split, so that no note of the test or validation split has been heard in training.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from platformdirs import user_cache_dir
from safetensors import SafetensorError
from safetensors.numpy import load, save

from musegen.errors import BadInput
from musegen.files import write_atomically
from musegen.sound.soundfont import general_midi
from musegen_audio.files import resample

__all__ = ["FAMILIES", "PITCHES", "VELOCITIES", "cached", "note_name", "render", "splits"]

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
LEFT_OUT = {78}
"""Programs (Whistle) that sound at other pitches than they are asked for."""
FAINT = 0.1
"""Of the median level of a program's notes: what is softer is a note that the soundfont does not have, or a click alone."""
PROGRAMS, PITCHES = 8, 36
"""Programs of a family, and semitones of its range."""
VELOCITIES = (60, 110)
"""Of a soft note and a loud one: 10.5 dB apart, and where the program has samples for them, of different timbre."""
HELD_S = 0.75
"""When a note is let go; it rings until the end of a clip of a second."""
VERSION = 2
"""Of what ``render`` makes: another one, another file in the cache."""
RENDERED_HZ = 32000
"""Synthesis is by interpolation, which mirrors what lies above half of the rate; so it is done at a higher one."""
PEAK = 0.9
"""Of every loud note, of full scale."""


def note_name(pitch: int) -> str:
    """MIDI number → name: 60 → C4."""
    return f"{('C', 'C#', 'D', 'D#', 'E', 'F', 'F#', 'G', 'G#', 'A', 'A#', 'B')[pitch % 12]}{pitch // 12 - 1}"


def render(
    rate_hz: int, n: int, programs: int = PROGRAMS, pitches: int = PITCHES
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All notes, in the order of program, pitch and velocity.

    Args:
        rate_hz, n: sample rate and samples of a clip.
        programs, pitches: how many of each family, the first ones; fewer for a quick look.

    Returns:
        clips int16 ``(N, n)``; family, from 0, ``(N,)``; pitch as a MIDI number ``(N,)``.
    """
    font = general_midi()
    seconds = n / rate_hz + 0.02  # a little more than will be kept
    clips: list[np.ndarray] = []
    family: list[int] = []
    pitch: list[int] = []
    for number, (first, lowest) in enumerate(FAMILIES.values()):
        for program in sorted(set(range(first, first + programs)) - LEFT_OUT):
            played = np.arange(lowest, lowest + pitches)
            rendered = [font.note(program, int(p), v, HELD_S, seconds, RENDERED_HZ) for p in played for v in VELOCITIES]
            sound = resample(np.stack(rendered), RENDERED_HZ, rate_hz)[:, :n].reshape(pitches, len(VELOCITIES), n)
            level = np.sqrt(np.square(sound).mean((1, 2)))
            there = level > FAINT * np.median(level)
            sound = sound[there] * (PEAK * 32767 / np.abs(sound[there]).max((1, 2), keepdims=True))
            clips.append(np.rint(sound).astype(np.int16).reshape(-1, n))
            family += [number] * len(clips[-1])
            pitch += list(np.repeat(played[there], len(VELOCITIES)))
    return np.concatenate(clips), np.array(family, np.int64), np.array(pitch, np.int64)


def cached(rate_hz: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``render``, from the user's cache folder where it has been made before."""
    path = Path(user_cache_dir("musegen")) / f"notes-{VERSION}-{rate_hz}-{n}.safetensors"
    names = ("clips", "family", "pitch")
    try:
        found = load(path.read_bytes())
        return found["clips"], found["family"], found["pitch"]
    except (OSError, KeyError, SafetensorError):  # not there yet, or damaged
        pass
    print(f"Rendering the notes that ship, once, into {path.parent} …", file=sys.stderr, flush=True)
    made = render(rate_hz, n)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(dict(zip(names, made, strict=True))))
    except (OSError, BadInput):  # no room, or not ours: then they are made again the next time
        pass
    return made


def splits(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Indices of n notes by split, 80, 10 and 10 %; notes that differ in velocity alone stay together."""
    pairs = np.random.default_rng(seed).permutation(n // len(VELOCITIES))
    tenth = max(1, len(pairs) // 10)
    parts = {"valid": pairs[:tenth], "test": pairs[tenth : 2 * tenth], "train": pairs[2 * tenth :]}
    both = np.arange(len(VELOCITIES))
    return {name: (len(VELOCITIES) * np.sort(part)[:, None] + both).ravel() for name, part in parts.items()}
