"""Data that are made on the fly: pictures of known factors, and arrays of polyphonic music."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from musegen.files import write_atomically
from musegen.reproduce.polyphonic import convert, random_pieces, read_pieces

__all__ = ["FACTORS", "factors", "make"]

FACTORS = (3, 4, 12, 12)
"""Values of the factors: shape (square, disc, cross), size, column, row."""
SIDE = 32


def factors() -> tuple[np.ndarray, np.ndarray]:
    """Every picture of one shape, in the manner of dSprites (Matthey et al. 2017), which differ in four known factors.

    Returns:
        Pictures uint8 ``(1728, 1, 32, 32)`` of zeros and ones, and the values of their factors ``(1728, 4)``.
    """
    value = np.stack(np.meshgrid(*map(np.arange, FACTORS), indexing="ij"), -1).reshape(-1, len(FACTORS))
    radius = (3 + value[:, 1])[:, None, None]
    x, y = (np.arange(SIDE) - (SIDE - FACTORS[i]) // 2 - value[:, i, None] for i in (2, 3))  # from the centre, (N, 32)
    a, b = np.abs(y)[:, :, None], np.abs(x)[:, None, :]
    square, disc = (a <= radius) & (b <= radius), a**2 + b**2 <= radius**2
    cross = ((a <= radius / 3) & (b <= radius)) | ((b <= radius / 3) & (a <= radius))
    return np.choose(value[:, 0, None, None], [square, disc, cross])[:, None].astype(np.uint8), value


def make(kind: str, folder: Path, data: Path | None = None) -> Path:
    """The ``.npz`` file of a kind of data, made if it is not there.

    Args:
        kind: ``factors``, ``random-pieces``, or ``pieces``, of a MATLAB file of polyphonic music.
        data: that file.
    """
    path = folder / f"{kind if data is None else data.stem}.npz"
    if path.is_file():
        return path
    if kind == "factors":
        content = io.BytesIO()
        np.savez_compressed(content, x=factors()[0])
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    else:
        convert(random_pieces() if data is None else read_pieces(data), path)
    return path
