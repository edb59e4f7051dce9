"""Folders of files as data: classes from subfolders, and which files are held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

__all__ = ["split_indices", "subfolder_labels"]


def subfolder_labels(folder: Path, paths: Sequence[Path]) -> tuple[np.ndarray | None, list[str]]:
    """Labels int64 ``(N,)`` of files by the subfolder they lie in, and the classes' names.

    None and no names unless all files lie in two to 255 subfolders.
    """
    folders = [path.relative_to(folder).parts[0] if path.parent != folder else "" for path in paths]
    classes = sorted(set(folders))
    if len(classes) < 2 or "" in classes or len(classes) > 255:
        return None, []
    return np.array([classes.index(name) for name in folders], np.int64), classes


def split_indices(
    n: int, seed: int = 0, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> dict[str, np.ndarray]:
    """Shuffle 0 … n−1 and split it; every split has at least one when n ≥ 3, else all go to training."""
    order = np.random.default_rng(seed).permutation(n)
    if n < 3:
        return {"train": order, "valid": order[:0], "test": order[:0]}
    n_valid, n_test = (max(1, round(fraction * n)) for fraction in fractions[1:])
    return {
        "train": order[n_valid + n_test :],
        "valid": order[:n_valid],
        "test": order[n_valid : n_valid + n_test],
    }
