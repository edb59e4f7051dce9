"""Chords as a plan: two planes before those of the tracks, which say what the others will play.

The first plane holds the pitch classes of the chord that a step belongs to, the second its root, both within one octave in the
middle of the pitch range, at every step. They are found in the music (``find_chords``), one per beat at most, moved with it when
windows are transposed, and no notes: nothing of them is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.measures.chords import KINDS, find_chords
from musegen_pianoroll.store.format import PACKED, StoreTrack
from musegen_pianoroll.store.planes import in_channels

__all__ = ["NO_CHORD", "N_PLAN", "PLAN", "chord_planes", "found_chords", "planned", "step_chords"]

PLAN = "Chords"
"""What the plan is called where tracks have names."""
N_PLAN = 2
"""Its planes."""
NO_CHORD = 0
"""Pitch classes and root of a step that has no chord."""
CLASSES = torch.tensor(
    [sum(1 << (root + step) % 12 for step in steps) for steps in KINDS.values() for root in range(12)] + [NO_CHORD]
)
"""The pitch classes of the chords that ``find_chords`` knows, as numbers of 12 bits; of −1, none."""


def found_chords(planes: np.ndarray, tracks: Sequence[StoreTrack], beat: int, bar_steps: int) -> np.ndarray:
    """The chord of every step of some whole bars, by number as of ``find_chords``, int64 ``(steps,)``.

    Args:
        planes: packed, uint8 ``(steps, tracks, P, 16)``.
        beat: steps of a beat, of which a bar has a whole number.
    """
    pitched = [i for i, track in enumerate(tracks) if not track.is_drum]
    if not len(planes):
        return np.zeros(0, np.int64)
    frame = np.zeros((len(planes), 128), np.int32)
    for i in pitched:
        frame += np.unpackbits(planes[:, i, 0], axis=-1, bitorder="little")
    chords = find_chords(torch.from_numpy(frame)[None], beat, bar_steps // beat)[0]
    return chords.repeat_interleave(beat).numpy()


def step_chords(chords: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitch classes as numbers of 12 bits, and roots (−1: none), of chords by number; each ``(steps,)``."""
    return CLASSES[torch.from_numpy(chords)].numpy(), np.where(chords < 0, -1, chords % 12)


def chord_planes(classes: np.ndarray, roots: np.ndarray, config: PianorollConfig) -> np.ndarray:
    """The plan, packed, uint8 ``(steps, 1, 2, 16)``.

    Args:
        classes, roots: of every step, as of ``step_chords``.
    """
    cells = np.zeros((len(classes), 1, N_PLAN, 128), np.uint8)
    octave = slice(config.plan_octave, config.plan_octave + 12)
    cells[:, 0, 0, octave] = (classes[:, None] >> np.arange(12)) & 1
    cells[:, 0, 1, octave] = roots[:, None] == np.arange(12)
    return np.packbits(cells, axis=-1, bitorder="little")


def planned(
    planes: Tensor, runs: Iterable[tuple[int, int]], tracks: Sequence[StoreTrack], config: PianorollConfig
) -> Tensor:
    """Planes of a corpus as entries of samples, packed: with the plan before them, ``(steps, 1 + tracks, 2, 16)``; with velocities
    as of ``in_channels``; or as they are.

    Args:
        planes: ``(steps, tracks, P, 16)``.
        runs: first step and bars of each stretch of the model's metre; other steps have no chord.
    """
    plan = _plan_of(planes, runs, tracks, config) if config.chords else None
    if config.velocities:
        return in_channels(planes, plan)
    return planes if plan is None else torch.cat([plan, planes], 1)


def _plan_of(
    planes: Tensor, runs: Iterable[tuple[int, int]], tracks: Sequence[StoreTrack], config: PianorollConfig
) -> Tensor:
    found = np.full(len(planes), -1, np.int64)
    for first, n_bars in runs:
        steps = slice(first, first + n_bars * config.bar_steps)
        found[steps] = found_chords(planes[steps].numpy(), tracks, config.beat_steps, config.bar_steps)
    plan = chord_planes(*step_chords(found), config)
    assert plan.shape[-1] == PACKED
    return torch.from_numpy(plan)
