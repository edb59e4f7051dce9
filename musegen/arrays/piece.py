"""Arrays as pieces: files and pictures."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from musegen.contracts.piece import Piece
from musegen.errors import BadInput
from musegen.files import write_file

__all__ = ["ArrayPiece"]

LEAST_SIDE, MOST_SIDE = 96, 768
"""Pixels of a picture's shorter and longer side, as far as whole cells allow."""
MOST_PLANES = 16
CURVE = (256, 96)
"""Pixels of the picture of a row of numbers."""


class ArrayPiece(Piece):
    """One sample as an array in the units of the data.

    Args:
        array: ``(*S)``.
        low, high: what is black and white in pictures; the array's own extremes if None.

    >>> import numpy as np
    >>> from musegen.arrays.piece import ArrayPiece
    >>> piece = ArrayPiece(np.arange(6.0).reshape(1, 2, 3))
    >>> piece.save("a.npy").name, piece.save("a.png").name, np.load("a.npy").shape
    ('a.npy', 'a.png', (1, 2, 3))
    """

    suffix = ".npy"

    def __init__(self, array: np.ndarray, low: float | None = None, high: float | None = None) -> None:
        self.array, self.low, self.high = array, low, high

    def __repr__(self) -> str:
        return f"ArrayPiece({' × '.join(map(str, self.array.shape))}, {self.array.dtype})"

    def save(self, path: str | Path) -> Path:
        path, content = Path(path), io.BytesIO()
        match path.suffix.lower():
            case ".npy":
                np.save(content, self.array, allow_pickle=False)
            case ".png" if self._is_flat:
                self.picture().save(content, "PNG")
            case ".png":
                raise BadInput(f"{path}: an array of shape {self.array.shape} is no picture: save it as .npy.")
            case _:
                raise BadInput(
                    f"{path}: arrays are saved as .npy files, those of two axes also as .png: use one of these endings."
                )
        return write_file(path, content.getvalue())

    @property
    def _is_flat(self) -> bool:
        """Whether it has two axes, besides those of one cell."""
        return sum(side > 1 for side in self.array.shape) <= 2 <= self.array.ndim

    def picture(self) -> Image.Image:
        """Two axes as grey levels, one as a curve; of more, the planes of the last two beside each other."""
        values = np.nan_to_num(np.asarray(self.array, np.float64))
        low = float(values.min()) if self.low is None else self.low
        high = float(values.max()) if self.high is None else self.high
        unit = ((values - low) / ((high - low) or 1)).clip(0, 1)
        if sum(side > 1 for side in unit.shape) <= 1:
            return _curve(unit.ravel())
        planes = unit.reshape(-1, *unit.shape[-2:])[:MOST_PLANES]
        zoom = _zoom(planes.shape)
        tiles = np.rint(255 * planes).astype(np.uint8).repeat(zoom, 1).repeat(zoom, 2)
        return Image.fromarray(_beside(tiles))


def _zoom(shape: tuple[int, ...]) -> int:
    """Pixels per cell."""
    columns = math.ceil(math.sqrt(shape[0]))
    shorter, longer = min(shape[1:]), columns * max(shape[1:])
    return max(1, min(-(-LEAST_SIDE // shorter), MOST_SIDE // longer))


def _beside(tiles: np.ndarray) -> np.ndarray:
    """Planes ``(n, H, W)`` row by row in one, with a grey line between them."""
    n, height, width = tiles.shape
    columns = math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), 128, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * (height + 1), i % columns * (width + 1)
        sheet[y : y + height, x : x + width] = tile
    return sheet


def _curve(unit: np.ndarray) -> Image.Image:
    width, height = CURVE
    picture = Image.new("L", CURVE, 255)
    x = np.linspace(2, width - 3, len(unit)) if len(unit) > 1 else np.array([2.0])
    y = 2 + (height - 5) * (1 - unit)
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    draw = ImageDraw.Draw(picture)
    if len(points) > 1:
        draw.line(points, fill=0, width=1)
    else:
        draw.line([points[0], (width - 3, points[0][1])], fill=0)
    return picture
