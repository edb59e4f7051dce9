"""Polyphonic music in frames of 88 keys (Boulanger-Lewandowski et al. 2012), as arrays to train on and as whole pieces to measure.

Their MATLAB files hold pieces of different lengths. Networks learn from stretches of 64 frames in every transposition by up to five
semitones; a shorter one ends with rests. The figure is of whole pieces: −log p of frames 2 to the last, each given all earlier
ones.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from musegen.errors import BadInput
from musegen.files import read_file, write_atomically

__all__ = ["convert", "pieces_of", "random_pieces", "read_pieces"]

KEYS, FRAMES, HOP, SEMITONES = 88, 64, 32, 5
FILE_CAP_BYTES = 16 << 20
SPLITS = ("train", "valid", "test")
Pieces = dict[str, list[np.ndarray]]
"""By split: pieces uint8 ``(frames, 88)``."""


def read_pieces(path: Path) -> Pieces:
    """
    Raises:
        BadInput: the file is missing or holds something else.
    """
    from scipy.io import loadmat  # slow to import

    raw = read_file(path, FILE_CAP_BYTES)
    try:
        found = loadmat(io.BytesIO(raw), variable_names=[f"{split}data" for split in SPLITS])
        pieces = {split: [np.asarray(p).astype(np.uint8) for p in found[f"{split}data"][0]] for split in SPLITS}
    except Exception as error:  # loadmat raises whatever a damaged file leads it to
        raise BadInput(f"The file {path} holds no pieces ({error}). Fetch it again.") from None
    if any(p.ndim != 2 or p.shape[1] != KEYS or not len(p) or p.max() > 1 for ps in pieces.values() for p in ps):
        raise BadInput(f"The file {path} holds no pieces of {KEYS} keys.")
    return pieces


def random_pieces() -> Pieces:
    """Three short pieces of random notes per split, to try a row without data."""
    rng = np.random.default_rng(0)
    return {split: [(rng.random((n, KEYS)) < 0.04).astype(np.uint8) for n in (20, 70, 64)] for split in SPLITS}


def stretches(pieces: Sequence[np.ndarray], semitones: int) -> np.ndarray:
    """Windows of pieces in every transposition, uint8 ``(n, 1, 64, 88)``; notes that leave the keyboard are lost."""
    found = []
    for piece in pieces:
        for first in range(0, max(1, len(piece) - FRAMES + HOP), HOP):
            part = piece[first : first + FRAMES]
            wide = np.pad(part, ((0, FRAMES - len(part)), (SEMITONES, SEMITONES)))
            shifts = range(SEMITONES - semitones, SEMITONES + semitones + 1)
            found += [wide[:, shift : shift + KEYS] for shift in shifts]
    return np.stack(found)[:, None]


def convert(pieces: Pieces, path: Path) -> None:
    """Write an ``.npz`` file for the domain ``array``, with whole pieces, one after another, beside the examples."""
    arrays = {f"x_{split}": stretches(pieces[split], SEMITONES if split == "train" else 0) for split in SPLITS}
    for split in SPLITS:
        arrays[f"frames_{split}"] = np.concatenate(pieces[split])
        arrays[f"lengths_{split}"] = np.array([len(piece) for piece in pieces[split]])
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # numpy's stubs take names for options
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


def pieces_of(path: Path, split: str) -> list[np.ndarray]:
    """The whole pieces of a split, from a file of ``convert``."""
    with np.load(path, allow_pickle=False) as arrays:
        ends = np.cumsum(arrays[f"lengths_{split}"])[:-1]
        return list(np.split(arrays[f"frames_{split}"], ends))
