"""Training runs that a studio shows: their curves as they grow, and pictures of their samples. Nothing here writes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from musegen.errors import BadInput, shown
from musegen.options import load_yaml
from musegen.running.runs import Run

__all__ = ["Runs"]

MOST_POINTS = 500
"""Of a curve; of more, every second one, every third one and so on."""
MOST_RUNS = 500


class Runs:
    """Runs by name.

    Args:
        given: run folders.
        folder: every run in it, or in a folder of it, is shown, too; runs that begin later are found.
    """

    def __init__(self, given: Sequence[Path] = (), folder: Path | None = None) -> None:
        self.given, self.folder = list(given), folder

    def places(self) -> dict[str, Path]:
        """The folders of runs, by name; the newest first."""
        found: dict[str, Path] = {}
        for path in sorted({*self.given, *self._in_folder()}, key=_written, reverse=True)[:MOST_RUNS]:
            name = path.name or str(path)
            if self.folder is not None and path.parent.parent == self.folder:
                name = f"{path.parent.name} · {name}"
            number = 2
            while name in found:
                name = f"{path.name} {number}"
                number += 1
            found[name] = path
        return found

    def _in_folder(self) -> Iterator[Path]:
        if self.folder is not None:
            for pattern in ("*/config.yaml", "*/*/config.yaml"):
                for path in self.folder.glob(pattern):
                    yield path.parent

    def about(self, name: str) -> dict[str, Any]:
        """What a run is, how far it is, its curves ``{"train loss": [[step, value], …]}``, and the steps that it has samples of.

        Raises:
            BadInput: there is no such run, or its files are damaged.
        """
        path = self._place(name)
        flat, rows = load_yaml(path / "config.yaml"), Run(path).metrics()
        curves: dict[str, list[tuple[int, float]]] = {}
        for row in rows:
            kind = str(row.get("kind", "train"))
            for key, value in row.items():
                if key not in ("step", "kind") and isinstance(value, int | float) and math.isfinite(value):
                    curves.setdefault(f"{kind} {key}", []).append((row["step"], value))
        steps = flat.get("steps")
        return {
            "name": name,
            "about": f"{flat.get('family')} on {flat.get('domain')}",
            "step": rows[-1]["step"] if rows else 0,
            "steps": steps if isinstance(steps, int) else None,
            "curves": {key: _thinned(points) for key, points in curves.items()},
            "samples": self._samples(path),
        }

    def picture(self, name: str, step: int) -> Path:
        """The picture of the samples of a step.

        Raises:
            BadInput: there is none.
        """
        path = self._place(name)
        if step not in self._samples(path):
            raise BadInput(f'The run "{shown(name)}" has no samples of step {step}.')
        return path / "samples" / f"step_{step}" / "picture.png"

    def _samples(self, path: Path) -> list[int]:
        numbers = (picture.parent.name.removeprefix("step_") for picture in path.glob("samples/step_*/picture.png"))
        return sorted(int(number) for number in numbers if number.isascii() and number.isdigit())

    def _place(self, name: str) -> Path:
        places = self.places()
        if name not in places:
            raise BadInput(f'The studio has no run "{shown(name)}".')
        return places[name]


def _written(path: Path) -> float:
    try:
        return (path / "config.yaml").stat().st_mtime
    except OSError:  # it was removed meanwhile
        return 0.0


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Some of the points, the last one among them."""
    every = -(-len(points) // MOST_POINTS)
    return [*points[:-1][::every], *points[-1:]]
