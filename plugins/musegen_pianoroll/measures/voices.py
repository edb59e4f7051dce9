"""How voices move against each other, and how lines move: what a teacher of counterpoint marks.

A voice is the highest note of a track. Voices are looked at wherever one of them moves, so that slow and fast pieces count alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["FIFTH", "OCTAVE", "crossings", "moves", "parallels", "spacing", "steps_of_lines", "top_notes"]

FIFTH, OCTAVE = 7, 0
"""Intervals modulo 12."""
NARROW = 2
"""Semitones of a step, as against a leap."""
WIDE = 12
"""Semitones between neighbouring upper voices that textbooks allow."""


def top_notes(frame: Tensor) -> Tensor:
    """The highest pitch of every track at every step, −1 for a rest.

    bool ``(n, tracks, steps, pitches)`` → int64 ``(n, tracks, steps)``.
    """
    n_pitches = frame.shape[-1]
    highest = n_pitches - 1 - frame.flip(-1).int().argmax(-1)
    return torch.where(frame.any(-1), highest, -1)


def moves(top: Tensor) -> Tensor:
    """Where the chord changes: some voice goes from one pitch to another. ``(n, tracks, steps)`` → bool ``(n, steps − 1)``."""
    before, after = top[..., :-1], top[..., 1:]
    return ((before >= 0) & (after >= 0) & (before != after)).any(1)


def parallels(top: Tensor, interval: int) -> Tensor:
    """How often two voices move from one interval to the same interval, octaves apart or not.

    Both have to move, in either direction; a repeated note is no motion.

    Args:
        top: ``(n, tracks, steps)``, see ``top_notes``.
        interval: semitones modulo 12, such as ``FIFTH``.

    Returns:
        int64 ``(n,)``, over all pairs of voices.
    """
    before, after = top[..., :-1], top[..., 1:]
    both = (before >= 0) & (after >= 0) & (before != after)
    found = torch.zeros(len(top), dtype=torch.int64, device=top.device)
    for low in range(top.shape[1]):
        for high in range(low):
            kept = _interval(before, high, low) == interval
            kept &= _interval(after, high, low) == interval
            found += (kept & both[:, high] & both[:, low]).sum(1)
    return found


def _interval(top: Tensor, one: int, other: int) -> Tensor:
    return (top[:, one] - top[:, other]).abs() % 12


def crossings(top: Tensor) -> Tensor:
    """After how many moves some voice lies above one that is written above it: ``(n, tracks, steps)`` → int64 ``(n,)``.

    Tracks stand in their order from high to low.
    """
    crossed = torch.zeros_like(top[:, 0], dtype=torch.bool)
    for low in range(1, top.shape[1]):
        above, below = top[:, low - 1], top[:, low]
        crossed |= (above >= 0) & (below >= 0) & (above < below)
    return (crossed[:, 1:] & moves(top)).sum(1)


def spacing(top: Tensor) -> Tensor:
    """After how many moves two neighbouring voices are more than an octave apart, except the lowest two: int64 ``(n,)``."""
    wide = torch.zeros_like(top[:, 0], dtype=torch.bool)
    for low in range(1, top.shape[1] - 1):
        above, below = top[:, low - 1], top[:, low]
        wide |= (above >= 0) & (below >= 0) & (above - below > WIDE)
    return (wide[:, 1:] & moves(top)).sum(1)


def steps_of_lines(top: Tensor, onset: Tensor) -> tuple[Tensor, Tensor]:
    """Of each track's line, how many of its intervals are steps (one or two semitones), and how many leaps of more than an octave.

    A line is the highest note that begins at a step; rests do not interrupt it, and repeated notes are no intervals.

    Args:
        top: ``(n, tracks, steps)``.
        onset: bool ``(n, tracks, steps, pitches)``.

    Returns:
        Two shares, double ``(n, tracks)``; NaN for a line without intervals.
    """
    n, n_tracks, n_steps = top.shape
    begins = onset.any(-1) & (top >= 0)
    line = torch.where(begins, top, -1)
    # The last note that began before each step: its place runs along the steps.
    place = torch.where(begins, torch.arange(n_steps), -1).cummax(2).values
    before = torch.cat([place.new_full((n, n_tracks, 1), -1), place[..., :-1]], 2)
    pitch_before = line.gather(2, before.clamp(min=0))
    interval = torch.where(begins & (before >= 0), (line - pitch_before).abs(), 0)
    moved = (interval > 0).sum(2).double()
    return ((interval > 0) & (interval <= NARROW)).sum(2) / moved, (interval > WIDE).sum(2) / moved
