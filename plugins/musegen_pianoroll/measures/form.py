"""How bars relate over time: what repeats, what is held, and whether somebody plays a tune."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LAGS", "groove", "longest_notes", "self_similarity", "tunes"]

LAGS = (1, 2, 4, 8, 16)
"""Bars between two that are compared: neighbours, and the lengths of phrases and sections."""
FEW_ONSETS, FEW_PITCHES = 3, 2
"""Notes, and different pitches, that a bar of a tune has at least."""
LINE = 0.8
"""Share of its sounding steps at which a tune has one note."""


def self_similarity(onset: Tensor, lag: int) -> Tensor:
    """How much of two bars is the same, ``lag`` bars apart: notes that begin alike in both, of those that begin in either.

    Args:
        onset: bool ``(n, tracks, bars, bar_steps, pitches)``.

    Returns:
        Jaccard index, 0 to 1, double ``(n, bars − lag)``; NaN where both bars are empty. No columns if there are too few bars.
    """
    before, after = onset[:, :, :-lag], onset[:, :, lag:]
    dims = (1, 3, 4)
    return (before & after).sum(dims).double() / (before | after).sum(dims)


def groove(onset: Tensor) -> Tensor:
    """How alike the rhythms of neighbouring bars are (grooving pattern similarity, Wu & Yang 2020, 2008.01307, eq. 2).

    One minus the share of steps at which notes begin in one of the two bars alone.

    Args:
        onset: of a track, bool ``(n, bars, bar_steps, pitches)``.

    Returns:
        0 to 1, double ``(n, bars − 1)``; NaN unless notes begin in both bars.
    """
    rhythm = onset.any(-1)  # (n, bars, bar_steps)
    differs = (rhythm[:, :-1] ^ rhythm[:, 1:]).double().mean(2)
    plays = rhythm.any(2)
    return torch.where(plays[:, :-1] & plays[:, 1:], 1 - differs, torch.nan)


def longest_notes(note_table: Tensor, n: int, n_tracks: int, bar_steps: int) -> Tensor:
    """Length of the longest note of each sample and track, in bars.

    Args:
        note_table: rows sample, track, pitch, first step, the one after the last; see ``Bars.note_table``.

    Returns:
        double ``(n, tracks)``; NaN without notes.
    """
    sample, track, _, start, end = note_table.T
    found = torch.full((n * n_tracks,), -1, dtype=torch.int64)
    found.scatter_reduce_(0, sample * n_tracks + track, end - start, "amax")
    return torch.where(found >= 0, found.double() / bar_steps, torch.nan).view(n, n_tracks)


def tunes(frame: Tensor, onset: Tensor) -> Tensor:
    """Bars in which a track plays a tune: three notes or more, of two pitches or more, mostly one at a time.

    Args:
        frame, onset: bool ``(n, tracks, bars, bar_steps, pitches)``.

    Returns:
        bool ``(n, tracks, bars)``.
    """
    playing = frame.sum(-1)
    alone = (playing == 1).sum(3) >= LINE * (playing > 0).sum(3)
    return alone & (onset.sum((3, 4)) >= FEW_ONSETS) & (onset.any(3).sum(3) >= FEW_PITCHES)
