"""The Figure contract: a drawing of a piece, in layers that can be shown and hidden one by one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from musegen.errors import BadInput, shown

__all__ = ["Figure", "Layer"]

PATH = re.compile(r"[MmLlHhVvZz0-9 ,.\-]*")
COLOUR = re.compile(r"#[0-9a-f]{6}")
BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


@dataclass(frozen=True)
class Layer:
    """What can be shown and hidden by itself, as each track of a piece of music.

    Args:
        name: for people.
        colour: ``#rrggbb``.
        path: SVG path data, in units of the figure: straight lines alone.
        line: height of the lines along the path; 0: the areas that it encloses.
        image: PNG in base64, in the place of a path; it fills the figure.

    Raises:
        BadInput: a colour, a path or an image is written in another way; nothing else may get into a page.
    """

    name: str
    colour: str
    path: str = ""
    line: float = 0
    image: str = ""

    def __post_init__(self) -> None:
        for what, value, pattern in (
            ("colour", self.colour, COLOUR),
            ("path", self.path, PATH),
            ("image", self.image, BASE64),
        ):
            if not pattern.fullmatch(value):
                raise BadInput(f"The {what} {shown(value)} of a layer is invalid: see musegen.contracts.figure.Layer.")


@dataclass(frozen=True)
class Figure:
    """A drawing of a piece: x to the right, y downward, stretched to whatever room there is.

    Args:
        width, height: in units of its own.
        layers: from the lowest to the highest.
        about: what it shows, in words; also for those who do not see it.
        ground: SVG path data of lines of height 1 below the layers, faint.
        rules: of thin lines below the layers, such as those between bars.
        marks: texts along the upper edge: x, text.
        times: where the sound is when: x, seconds, both ascending, and in between in proportion; empty: nowhere.

    Raises:
        BadInput: it has no room, or a path or a time is invalid.

    >>> from musegen.contracts.figure import Figure, Layer
    >>> line = Layer("rises", "#4e79a7", "M0 3L8 1", line=0.2)
    >>> Figure(8, 4, [line], "A line that rises", times=[(0, 0), (8, 2.5)]).layers[0].name
    'rises'
    """

    width: float
    height: float
    layers: Sequence[Layer]
    about: str
    ground: str = ""
    rules: str = ""
    marks: Sequence[tuple[float, str]] = ()
    times: Sequence[tuple[float, float]] = ()

    def __post_init__(self) -> None:
        if not (0 < self.width < 1e9 and 0 < self.height < 1e9):
            raise BadInput(
                f"A figure of {shown(self.width)} × {shown(self.height)} units is invalid: use positive ones."
            )
        for path in (self.ground, self.rules):
            if not PATH.fullmatch(path):
                raise BadInput(f"The path {shown(path)} is invalid: see musegen.contracts.figure.Layer.")
        if any(not a <= b for one, other in pairwise(self.times) for a, b in zip(one, other, strict=True)):
            raise BadInput("The times of a figure do not ascend: order them.")
