"""Curves of runs in one picture."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from musegen.errors import BadInput

if TYPE_CHECKING:
    from musegen.running.comparing import Comparison

__all__ = ["band", "drawn"]

PANEL_INCHES = (4.2, 3.0)
MOST_COLUMNS = 3
DPI = 120
FEW_POINTS = 20
"""Fewer of them are marked."""


def band(curves: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float, float, float]]:
    """Curves of several runs as (step, mean, lowest, highest), at the steps that all of them have.

    >>> from musegen.running.curves import band
    >>> band([[(10, 1.0), (20, 3.0)], [(10, 2.0), (20, 5.0), (30, 7.0)]])
    [(10, 1.5, 1.0, 2.0), (20, 4.0, 3.0, 5.0)]
    """
    by_step = [dict(curve) for curve in curves]
    common = sorted(set.intersection(*map(set, by_step))) if by_step else []
    found = []
    for step in common:
        values = [curve[step] for curve in by_step]
        if all(map(math.isfinite, values)):
            found.append((step, math.fsum(values) / len(values), min(values), max(values)))
    return found


def drawn(comparison: Comparison) -> Image.Image:
    """A panel for each metric that was logged along the way, with a line for each group.

    Raises:
        BadInput: none was.
    """
    from matplotlib import colormaps  # slow to import
    from matplotlib.figure import Figure

    metrics = [m for m in comparison.metrics if any(band(group.curves.get(m, ())) for group in comparison.groups)]
    if not metrics:
        raise BadInput("None of these metrics was logged along the way, so there are no curves: compare by others.")
    n = len(comparison.groups)
    colours = [f"C{i}" for i in range(n)] if n <= 10 else [colormaps["viridis"](i / (n - 1)) for i in range(n)]
    columns = min(MOST_COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure((PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, metric in zip(panels, metrics, strict=False):
        for group, colour in zip(comparison.groups, colours, strict=True):
            points = band(group.curves.get(metric, ()))
            if points:
                step, mean, low, high = zip(*points, strict=True)
                panel.plot(step, mean, label=group.label, color=colour, marker="." if len(step) < FEW_POINTS else None)
                panel.fill_between(step, low, high, color=colour, alpha=0.2, linewidth=0)
        panel.set_title(metric, fontsize=10)
        panel.set_xlabel("step")
    for panel in panels[len(metrics) :]:
        panel.axis("off")
    handles = {label: h for panel in panels for h, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    if n > 1:
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(3, len(handles)), fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, dpi=DPI, format="png")
    return Image.open(content)
