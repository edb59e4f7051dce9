"""A small corpus that looks like the archive of POP909: two songs of four beats to a bar, and one of three."""

from __future__ import annotations

import zipfile
from itertools import pairwise
from pathlib import Path

import pretty_midi

from musegen_pianoroll.corpora import pop909

__all__ = ["BEATS", "archive", "beats_of", "song"]

BEATS = {"001": 4, "002": 4, "003": 3}
BEAT_S = 0.6
FIRST_S = 0.31
"""Of the first beat, which is the third of a bar."""


def beats_of(per_bar: int, n: int = 24) -> bytes:
    """The list of beats: each a little shorter than the one before, the third one the first downbeat."""
    now, lines = FIRST_S, []
    for i in range(n):
        downbeat = float(i % per_bar == 2)
        lines.append(f"{now!r} {float(i % 2 == 0)} {downbeat}")
        now += BEAT_S * 0.99**i
    return "\n".join(lines).encode()


def song(path: Path, per_bar: int) -> bytes:
    """Each track plays a note of half a beat on every beat from the first on, as loud as its number from 40 on."""
    times = [float(line.split()[0]) for line in beats_of(per_bar).decode().splitlines()]
    midi = pretty_midi.PrettyMIDI(resolution=9_600, initial_tempo=97.0)
    for name, pitch in (("MELODY", 72), ("BRIDGE", 64), ("PIANO", 48)):
        track = pretty_midi.Instrument(0, name=name)
        for i, (start, after) in enumerate(pairwise(times)):
            track.notes.append(pretty_midi.Note(40 + i, pitch + i % 3, start, (start + after) / 2))
        midi.instruments.append(track)
    midi.write(str(path))
    return path.read_bytes()


def archive(folder: Path) -> tuple[Path, str]:
    """The archive in a folder, and the digest of the files that are used of it."""
    files = {"LICENSE": b"MIT License"}
    for number, per_bar in BEATS.items():
        files[f"POP909/{number}/{number}.mid"] = song(folder / "song.mid", per_bar)
        files[f"POP909/{number}/beat_midi.txt"] = beats_of(per_bar)
    path = folder / "pop.zip"
    with zipfile.ZipFile(path, "w") as out:
        for name, content in {**files, "README.md": b"read me", "POP909/001/versions/001-v1.mid": b"none"}.items():
            out.writestr(f"POP909-Dataset-{pop909.COMMIT}/{name}", content)
    (folder / "song.mid").unlink()
    return path, pop909.digest_of_files(files)
