"""Keys, and class labels of pieces: mode, or the folder that a file came from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from musegen_pianoroll.measures.chords import best_path
from musegen_pianoroll.store.store import Store

__all__ = ["KEY_PROFILES", "MODES", "correlations", "find_keys", "key_of", "piece_labels", "pitch_classes"]

MODES = ("major", "minor")

# Krumhansl & Kessler 1982: how well each pitch class fits a context in C major and in C minor.
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
KEY_PROFILES = np.stack([np.roll(profile, tonic) for profile in (_MAJOR, _MINOR) for tonic in range(12)])
"""``(24, 12)``: the major keys from C upward, then the minor ones."""


def pitch_classes(planes: np.ndarray, drums: np.ndarray) -> np.ndarray:
    """Steps that each pitch class sounds, drums left out: packed ``(steps, tracks, 2, 16)`` → ``(12,)``."""
    frame = planes[:, ~drums, 0].reshape(-1, 16)  # (steps · tracks, 16)
    pitches = np.unpackbits(frame, axis=-1, bitorder="little").sum(0)  # (128,)
    return np.bincount(np.arange(128) % 12, pitches, minlength=12)


NEAR = 2
"""Bars before and after one that decide what its key is: a bar alone has a chord, not a key."""
MODULATION = 0.4
"""Cost of another key than in the bar before, in correlations: the new one has to be better by this, over all its bars together."""


def correlations(counts: Tensor) -> Tensor:
    """How well pitch classes fit each key (Krumhansl 1990, chapter 4): ``(…, 12)`` → Pearson's r, double ``(…, 24)``.

    0 where all classes are equally frequent, as in silence.
    """
    counts = counts.double()
    counts = counts - counts.mean(-1, keepdim=True)
    profiles = torch.from_numpy(KEY_PROFILES - KEY_PROFILES.mean(1, keepdims=True))
    profiles = profiles / profiles.norm(dim=-1, keepdim=True)
    return counts / counts.norm(dim=-1, keepdim=True).clamp(min=1e-9) @ profiles.T


def find_keys(chroma: Tensor) -> Tensor:
    """The key of every bar: the most probable sequence, with few changes.

    Args:
        chroma: how long each pitch class sounds in each bar, ``(n, bars, 12)``.

    Returns:
        int64 ``(n, bars)``: tonic from 0 (C) for major keys, 12 more for minor ones.
    """
    padded = torch.nn.functional.pad(chroma.double().transpose(1, 2), (NEAR, NEAR))
    around = padded.unfold(2, 2 * NEAR + 1, 1).sum(-1).transpose(1, 2)  # (n, bars, 12)
    return best_path(correlations(around), torch.full((1, chroma.shape[1]), MODULATION))


def key_of(counts: np.ndarray) -> tuple[int, int]:
    """Tonic (0 is C) and mode (0 major, 1 minor) whose profile correlates best (Krumhansl 1990, chapter 4)."""
    if not np.ptp(counts):
        return 0, 0  # silence, or all alike: no key is better than another
    centred = counts - counts.mean()
    profiles = KEY_PROFILES - KEY_PROFILES.mean(1, keepdims=True)
    best = int(np.argmax(profiles @ centred / np.linalg.norm(profiles, axis=1)))
    return best % 12, best // 12


def piece_labels(store: Store, how: str) -> tuple[np.ndarray, list[str]]:
    """Class of every piece, int64 ``(pieces,)``, and the names of the classes.

    Args:
        how: ``mode``, from all notes of the piece, or ``folder``, the first part of the file's path.
    """
    if how == "mode":
        drums = np.array([track.is_drum for track in store.tracks])
        counts = [pitch_classes(store.planes[p.first_step : p.first_step + p.n_steps], drums) for p in store.pieces]
        return np.array([key_of(c)[1] for c in counts], np.int64), list(MODES)
    folders = [piece.source.split("/")[0] if "/" in piece.source else "" for piece in store.pieces]
    names = sorted(set(folders))
    return np.array([names.index(folder) for folder in folders], np.int64), [name or "(top)" for name in names]
