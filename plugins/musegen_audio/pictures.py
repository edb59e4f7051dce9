"""Spectrograms as pictures: time to the right, frequency upward, level as colour."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["spectrograms"]

TICKS_HZ = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)


def spectrograms(
    levels_db: Tensor, centres_hz: Tensor, seconds: float, floor_db: float, columns: int | None = None
) -> Image:
    """Levels ``(n, T, W)`` in dB, row by row in one picture, with axes in seconds and Hz.

    Args:
        centres_hz: frequency of each column, ascending, ``(W,)``.
        seconds: that T frames take.
    """
    from matplotlib.figure import Figure
    from PIL import Image as Pictures

    n = len(levels_db)
    rows = -(-n // (columns := columns or math.ceil(math.sqrt(n))))
    width, height = 1.2 + 1.7 * columns, 0.8 + 1.5 * rows
    # Margins in inches: what labels and a colour bar take is known, and having it measured takes as long as drawing.
    left, right, bottom, top = 0.55 / width, 1 - 0.95 / width, 0.45 / height, 1 - 0.1 / height
    figure = Figure(figsize=(width, height), dpi=90)
    space = {"left": left, "right": right, "bottom": bottom, "top": top, "wspace": 0.2, "hspace": 0.12}
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False, gridspec_kw=space).ravel()
    centres = centres_hz.double().numpy()
    ticks = [f for f in TICKS_HZ if centres[0] <= f <= centres[-1]]
    places = np.interp(ticks, centres, np.arange(len(centres)))  # columns need not be evenly spaced in Hz
    names = [f"{f // 1000}k" if f >= 1000 else str(f) for f in ticks]
    shown = None
    for i, panel in enumerate(panels):
        if i >= n:
            panel.set_visible(False)
            continue
        shown = panel.imshow(
            levels_db[i].double().numpy().T,
            origin="lower",
            aspect="auto",
            extent=(0, seconds, -0.5, len(centres) - 0.5),
            vmin=floor_db,
            vmax=0,
            cmap="magma",
            interpolation="nearest",
        )
        panel.set_yticks(places, names)
        panel.tick_params(labelsize=7)
    if shown is not None:
        figure.supxlabel("time (s)", fontsize=8, x=(left + right) / 2, y=0.04 / height, va="bottom")
        figure.supylabel("frequency (Hz)", fontsize=8, x=0.04 / width, y=(bottom + top) / 2, ha="left")
        bar = figure.colorbar(shown, cax=figure.add_axes((right + 0.1 / width, bottom, 0.15 / width, top - bottom)))
        bar.set_label("level (dB)", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return Pictures.open(io.BytesIO(content.getvalue())).convert("RGB")
