"""The measures of MuseGAN's Table 1 as its public code computes them (version 1, ``eval/metrics.py``), for comparison with
the paper alone.

They differ from ``metrics`` where that code errs or chooses otherwise: chroma is folded by ``reshape(12, 7)`` of the 84
pitches, so that its "pitch classes" are groups of seven neighbouring semitones; a note is qualified from 2 steps on (the
paper says 3); notes are cut at bar lines, and repeated notes run together where no rest parts them; a drum note counts
where it falls on a sixteenth, and 0.3 beside one, at the best of six shifts of the pattern; tonal distance is averaged over
beats, and a bar counts only if both tracks play in each of its beats.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from musegen.evaluation.distributions import Numbers, Values
from musegen_pianoroll.measures.bars import CLASSES, RATE, TONAL, YES_NO, tonal_centroid
from musegen_pianoroll.store.format import StoreTrack

__all__ = [
    "MUSEGAN_BAR_STEPS",
    "MUSEGAN_PITCHES",
    "musegan_compatible",
    "musegan_measures",
    "musegan_tonal_distance",
]

MUSEGAN_BAR_STEPS = 96
MUSEGAN_PITCHES = (24, 108)
"""Lowest MIDI pitch, and the one after the highest."""
QUALIFIED_STEPS = 2


def musegan_measures(rolls: Tensor, tracks: Sequence[StoreTrack]) -> dict[str, Values]:
    """Table 1 of rolls ``(n, tracks, 2, bars · 96, 128)`` by bar: EB, UPC, QN and PP per track, DP of drums, TD of pairs."""
    # (n, tracks, bars · 96, 84) -> (n, tracks, bars, 96, 84) -> (n · bars, tracks, 96, 84)
    frame = rolls[:, :, 0, :, slice(*MUSEGAN_PITCHES)].unflatten(2, (-1, MUSEGAN_BAR_STEPS))
    frame = frame.transpose(1, 2).flatten(0, 1)
    pitched = [i for i, track in enumerate(tracks) if not track.is_drum]
    edges = {"EB": YES_NO, "UPC": CLASSES, "QN": RATE, "PP": RATE, "DP": RATE}
    found: dict[str, Values] = {}
    for name, values in musegan_compatible(frame).items():
        for i, track in enumerate(tracks):
            if name == "EB" or (name == "DP") == track.is_drum:
                found[f"MuseGAN {name}/{track.name}"] = Numbers(values[:, i], edges[name])
    for a, b in combinations(pitched, 2):
        distance = musegan_tonal_distance(frame[:, a], frame[:, b])
        found[f"MuseGAN TD/{tracks[a].name}–{tracks[b].name}"] = Numbers(distance, TONAL)
    return found


def musegan_compatible(frame: Tensor) -> dict[str, Tensor]:
    """EB, UPC, QN, PP and DP of bars, each ``(n, tracks)``; NaN but for EB where the bar is empty.

    Args:
        frame: bool ``(n, tracks, 96, 84)``, one bar each, MIDI pitches 24 to 107.
    """
    _check(frame)
    empty = ~frame.flatten(2).any(2)
    before = torch.nn.functional.pad(frame, (0, 0, 1, 0))[:, :, :-1]
    onset = frame & ~before  # (n, tracks, 96, 84)
    n_notes = onset.sum((2, 3)).double()
    # A note is too short if the step after its first is silent; so long as the bound is two steps, that is all there is to it.
    after = torch.nn.functional.pad(frame, (0, 0, 0, QUALIFIED_STEPS - 1))[:, :, QUALIFIED_STEPS - 1 :]
    figures = {
        "UPC": (_chroma(frame).sum(2) > 0).sum(2).double(),
        "QN": (onset & after).sum((2, 3)).double() / n_notes,
        "PP": (frame.sum(3) >= 2).sum(2).double() / MUSEGAN_BAR_STEPS,
        "DP": _drum_pattern(onset) / n_notes,
    }
    return {"EB": empty.double()} | {name: x.masked_fill(empty, float("nan")) for name, x in figures.items()}


def musegan_tonal_distance(first: Tensor, second: Tensor) -> Tensor:
    """TD of two tracks, each bool ``(n, 96, 84)``, ``(n,)``; NaN where a beat has no notes."""
    _check(first)
    _check(second)
    # (n, 96, 12) -> (n, 4 beats, 24, 12) -> (n, 4, 12)
    a, b = (tonal_centroid(_chroma(x).unflatten(1, (4, -1)).sum(2)) for x in (first, second))
    return (a - b).norm(dim=2).mean(1)


def _check(frame: Tensor) -> None:
    wanted = (MUSEGAN_BAR_STEPS, MUSEGAN_PITCHES[1] - MUSEGAN_PITCHES[0])
    if frame.shape[-2:] != wanted:
        raise ValueError(
            f"MuseGAN's bars have {wanted[0]} steps and {wanted[1]} pitches, not {tuple(frame.shape[-2:])}"
        )


def _chroma(frame: Tensor) -> Tensor:
    """MuseGAN's fold, which groups neighbouring semitones: ``(…, 84)`` → ``(…, 12)``."""
    return frame.unflatten(-1, (12, -1)).sum(-1)


def _drum_pattern(onset: Tensor) -> Tensor:
    """Notes on the pattern, weighted, at the best of six shifts: ``(n, tracks, 96, 84)`` → ``(n, tracks)``."""
    pattern = torch.tensor([1, 0.3, 0, 0, 0, 0.3], dtype=torch.float64).repeat(MUSEGAN_BAR_STEPS // 6)
    shifted = torch.stack([pattern.roll(shift) for shift in range(6)], 1)  # (96, 6)
    return (onset.sum(3).double() @ shifted).amax(2)
