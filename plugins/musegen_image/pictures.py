"""Pictures as pieces: single files and grids."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from musegen.contracts.piece import Piece
from musegen.errors import BadInput
from musegen.files import write_file

__all__ = ["Picture", "grid", "to_uint8"]


def to_uint8(images: Tensor | np.ndarray) -> np.ndarray:
    """``(N, C, H, W)`` in [0, 1] → uint8 ``(N, H, W, 3)``; values outside are clipped, NaN is black."""
    x = np.nan_to_num(np.asarray(images, np.float64)).clip(0, 1)
    x = np.rint(255 * x).astype(np.uint8).transpose(0, 2, 3, 1)
    return np.repeat(x, 3, -1) if x.shape[-1] == 1 else x


def grid(images: Tensor | np.ndarray, columns: int | None = None, pad: int = 2) -> Image.Image:
    """Pictures ``(N, C, H, W)`` in [0, 1], row by row in one; as square as it gets unless ``columns`` is given."""
    tiles = to_uint8(images)
    n, height, width, _ = tiles.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    sheet = np.full((rows * (height + pad) + pad, columns * (width + pad) + pad, 3), 128, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = pad + i // columns * (height + pad), pad + i % columns * (width + pad)
        sheet[y : y + height, x : x + width] = tile
    zoom = max(1, 56 // height)  # small digits are hard to see at their own size
    return Image.fromarray(sheet).resize((sheet.shape[1] * zoom, sheet.shape[0] * zoom), Image.Resampling.NEAREST)


class Picture(Piece):
    """One picture.

    Args:
        x: ``(C, H, W)`` in [0, 1], 1 or 3 channels.
    """

    suffix = ".png"

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def save(self, path: str | Path) -> Path:
        path = Path(path)
        if path.suffix.lower() != self.suffix:
            raise BadInput(f"{path}: pictures are saved as .png files: give a name that ends with .png.")
        content = io.BytesIO()
        self.picture().save(content, "PNG")
        return write_file(path, content.getvalue())

    def picture(self) -> Image.Image:
        """At its own size, a grey one as grey."""
        (tile,) = to_uint8(self.x[None])
        return Image.fromarray(tile[..., 0] if len(self.x) == 1 else tile)
