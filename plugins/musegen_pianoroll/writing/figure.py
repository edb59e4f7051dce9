"""A roll as a drawing with a layer for each track, for pages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musegen.contracts.figure import Figure, Layer
from musegen_pianoroll.store.format import StoreTrack, pitch_name
from musegen_pianoroll.writing.midi import notes_of
from musegen_pianoroll.writing.picture import COLOURS, sounding_range

__all__ = ["UNITS", "figure"]

UNITS = 5
"""Of the drawing's width that a step takes. One of them at the end of each note stays empty, so that a repeated note is two."""
MOST_RULES, MOST_MARKS = 128, 8
"""Lines between bars, and numbers of bars; of more, every second one, every fourth one and so on."""


def figure(
    roll: np.ndarray,
    tracks: Sequence[StoreTrack],
    *,
    bars: Sequence[int],
    length: str,
    times: Sequence[tuple[float, float]],
) -> Figure:
    """Time to the right, pitch upward, a layer for each track that has notes.

    Args:
        roll: bool ``(tracks, 2, steps, 128)``.
        bars: the first step of each bar.
        length: bars and metres, in words.
        times: steps and when they are heard, in seconds.
    """
    notes, n_steps = notes_of(roll), roll.shape[2]
    low, high = sounding_range(roll)
    width, height = UNITS * n_steps, high - low
    layers = [
        Layer(track.name, COLOURS[i % len(COLOURS)], _path(notes[notes[:, 0] == i], high), line=0.8)
        for i, track in enumerate(tracks)
        if (notes[:, 0] == i).any()
    ]
    about = f"{length}, {len(notes)} notes"
    if len(notes):
        about += f", {pitch_name(int(notes[:, 1].min()))} to {pitch_name(int(notes[:, 1].max()))}"
    black = (pitch for pitch in range(low, high) if pitch % 12 in (1, 3, 6, 8, 10))
    numbered = list(enumerate(bars, 1))
    return Figure(
        width,
        height,
        layers,
        about,
        ground="".join(f"M0 {high - pitch - 0.5:g}h{width}" for pitch in black),
        rules="".join(f"M{UNITS * step} 0v{height}" for _, step in _thinned(numbered, MOST_RULES)),
        marks=[(UNITS * step, str(number)) for number, step in _thinned(numbered, MOST_MARKS)],
        times=[(UNITS * step, seconds) for step, seconds in times],
    )


def _path(notes: np.ndarray, high: int) -> str:
    """Notes ``(n, 4)`` as lines, each from where the one before ended."""
    parts, x, y = ["M0 0.5"], 0, 0  # the middle of the highest row
    for pitch, start, end in notes[np.lexsort((notes[:, 1], notes[:, 2])), 1:].tolist():
        length, row = UNITS * (end - start) - 1, high - 1 - pitch
        parts.append(f"m{UNITS * start - x}{' ' if row >= y else ''}{row - y}h{length}")
        x, y = UNITS * start + length, row
    return "".join(parts)


def _thinned(bars: Sequence[tuple[int, int]], most: int) -> Sequence[tuple[int, int]]:
    every = 1
    while len(bars[::every]) > most:
        every *= 2
    return bars[::every]
