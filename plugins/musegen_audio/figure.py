"""A sound as a drawing for pages: its spectrogram, and its waveform."""

from __future__ import annotations

import base64
import io

import numpy as np
from torch import Tensor

from musegen.contracts.figure import Figure, Layer

__all__ = ["figure"]

WIDTH, HEIGHT = 1000, 200
MOST_COLUMNS, MOST_ROWS = 256, 96
"""Of the spectrogram's image; of more the loudest of neighbours are shown."""
LEVELS = 64
"""Colours of the image: a page is small."""
POINTS = 160
"""Of the waveform's outline, which stands in the upper quarter, where most sounds have little."""


def figure(levels_db: Tensor, sound: np.ndarray, rate_hz: int, floor_db: float) -> Figure:
    """Time to the right; frequency upward, level as colour; and the waveform.

    Args:
        levels_db: ``(T, W)``.
        sound: ``(channels, frames)`` in [−1, 1].
    """
    seconds = sound.shape[-1] / rate_hz
    layers = [
        Layer("Spectrogram", "#b63679", image=_image(levels_db.double().numpy(), floor_db)),
        Layer("Waveform", "#76b7b2", _outline(np.abs(sound).max(0))),
    ]
    about = f"Sound at {rate_hz:,} Hz"
    return Figure(WIDTH, HEIGHT, layers, about, times=[(0, 0), (WIDTH, seconds)])


def _image(levels_db: np.ndarray, floor_db: float) -> str:
    """PNG in base64, a pixel per cell or for the loudest of some."""
    from matplotlib import colormaps
    from PIL import Image

    cells = _loudest(_loudest(levels_db, MOST_COLUMNS).T, MOST_ROWS)[::-1]  # the highest row first
    index = np.rint((cells / -floor_db + 1).clip(0, 1) * (LEVELS - 1)).astype(np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette((colormaps["magma"](np.linspace(0, 1, LEVELS))[:, :3] * 255).astype(np.uint8).tobytes())
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


def _loudest(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many rows, each the highest of its neighbours."""
    starts = np.unique(np.arange(min(most, len(rows))) * len(rows) // min(most, len(rows)))
    return np.maximum.reduceat(rows, starts, 0)


def _outline(level: np.ndarray) -> str:
    """Path around a waveform ``(frames,)`` of magnitudes."""
    high = _loudest(level, POINTS) * HEIGHT / 8
    x = np.linspace(0, WIDTH, len(high)).round().astype(int).tolist()
    upper = [f"{a} {HEIGHT / 8 - b:.0f}" for a, b in zip(x, high, strict=True)]
    lower = [f"{a} {HEIGHT / 8 + b:.0f}" for a, b in zip(x, high, strict=True)]
    return f"M{'L'.join([*upper, *reversed(lower)])}Z"
