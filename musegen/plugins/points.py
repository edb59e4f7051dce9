"""The entry points of plugins: those of installed distributions, and those of musegen's own parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from musegen.plugins.checks import one_line
from musegen.plugins.hooks import GROUP

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["CORE", "OURS", "entry_points_of_plugins", "origin_of"]

OURS = "musegen"
"""The distribution whose names no stranger can take."""
CORE = "core"
"""Its plugin that ``MUSEGEN_PLUGINS`` cannot leave out."""
BUILT_IN = {"array": "musegen.arrays", "trackers": "musegen.tracking"}
"""Plugins in musegen itself, besides its core: they come with it, and need no entry point of their own."""


def origin_of(point: EntryPoint) -> tuple[str, str]:
    """Name and version of an entry point's distribution, as far as its metadata say."""
    try:
        return (str(point.dist.name), str(point.dist.version)) if point.dist else ("?", "?")
    except Exception:  # metadata that are damaged fail in many ways
        return "?", "?"


def entry_points_of_plugins() -> list[EntryPoint]:
    """Those in our group; a distribution whose metadata are damaged costs only itself."""
    from importlib.metadata import (  # slow to import, and some processes need none
        EntryPoint,
        distributions,
        entry_points,
    )

    try:
        return _with_built_in(list(entry_points(group=GROUP)))
    except Exception:
        points: list[EntryPoint] = []
        for distribution in distributions():
            try:
                points += distribution.entry_points.select(group=GROUP)
            except Exception as error:
                text = distribution.read_text("entry_points.txt") or ""
                if f"[{GROUP}]" in text:
                    point = EntryPoint(distribution.name, f"{one_line(error)} in entry_points.txt", GROUP)
                    vars(point).update(dist=distribution)
                    points.append(point)
        return _with_built_in(points)


def _with_built_in(points: list[EntryPoint]) -> list[EntryPoint]:
    """Entry points, and those of the plugins that are part of musegen, wherever its core is one of them."""
    from importlib.metadata import EntryPoint

    core = next((point for point in points if point.name == CORE and origin_of(point)[0] == OURS), None)
    if core is None:
        return points
    ours = [EntryPoint(name, module, GROUP) for name, module in BUILT_IN.items()]
    for point in ours:
        vars(point).update(dist=core.dist)
    return [*points, *ours]
