"""Reading pictures of any size and kind: one, or all of a folder, whose memory is little more than what is kept.

What is black and what is white follows from the kind of a file, never from one picture: 8 bits go from 0 to 255, 16 bits from
0 to 65,535, floats from 0 to 1. Where floats or 32-bit integers of a folder do not fit that, one pair of levels is taken for all.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, features

from musegen.errors import BadFile, BadInput
from musegen.reporting import report
from musegen.walking import UNREADABLE
from musegen_image.limits import LARGE_PIXELS, PIXEL_CAP

__all__ = ["PICTURE_SUFFIXES", "Pictures", "as_sample", "read_pictures", "sizes_of"]

CODECS = {".webp": "webp", ".avif": "avif", ".jp2": "jpg_2000", ".j2k": "jpg_2000", ".jpx": "jpg_2000"}
"""Suffixes that not every build of Pillow reads, and what it lacks then."""
PICTURE_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".tga",
    *CODECS,
)
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM", "TGA", "WEBP", "AVIF", "JPEG2000")
"""What Pillow may take a file for, whatever it is called: some of its other readers start programs."""
GREY = {"1", "L", "LA", "La", "F"}
"""Modes without colour; so are those of 16 and 32 bits."""
DEEP = {"F": (0.0, 1.0), "I": (0.0, 65535.0)}
"""Levels of black and white of floats and of 32-bit integers, in which 16 bits often come."""
BYTES = (0.0, 255.0)
ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held."""
ONE_AT_A_TIME = threading.Lock()
"""For large pictures, of which several at once would fill the memory."""
Mode = Literal["auto", "grey", "rgb"]
Levels = tuple[float, float]


def sizes_of(paths: Sequence[Path]) -> Iterator[str]:
    """Width and height of each picture, as ``640 × 480``; headers alone are read, and what has none is passed over."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in paths:
            try:
                with Image.open(path, formats=FORMATS) as picture:
                    yield f"{picture.width} × {picture.height}"
            except Exception:
                continue


@dataclass(frozen=True)
class Pictures:
    """Pictures of a folder.

    Args:
        images: uint8 ``(N, C, size, size)``, of 1 or 3 channels.
        read: which of the paths they are, ascending.
        left_out: the others, and why.
        levels: of black and white, of floats and 32-bit integers; None: those of ``DEEP``.
        remarks: what a user should know.
    """

    images: np.ndarray
    read: list[int]
    left_out: list[tuple[str, str]]
    levels: Levels | None
    remarks: list[str]


def read_pictures(
    paths: Sequence[Path], size: int = 28, mode: Mode = "auto", levels: Levels | None = None, workers: int = 4
) -> Pictures:
    """Pictures of any size and kind, in their order.

    Each is turned upright (EXIF), laid over white if it is transparent, scaled to cover size × size, and cropped around its centre.

    Args:
        mode: auto: grey if none has colour.
        levels: of black and white, of floats and 32-bit integers; found if not given.

    Raises:
        BadInput: none of them can be read, or all of them do not fit into memory.
    """
    images = _room(len(paths), 3 if mode == "rgb" else 1, size)
    spans: dict[int, tuple[str, Levels]] = {}
    reasons: dict[int, str] = {}
    first = ""
    for i, result in _loaded(paths, range(len(paths)), size, mode, levels, workers):
        if isinstance(result, BadFile):
            reasons[i] = result.reason
            first = first or str(result)
            continue
        if result.span is not None:
            spans[i] = (result.kind, result.span)
        if result.image.ndim == 3 and images.shape[1] == 1:  # the first one with colour
            grey, images = images, _room(len(paths), 3, size)
            images[:i] = grey[:i]
            del grey
        images[i] = result.image if result.image.ndim == 2 else result.image.transpose(2, 0, 1)
    if len(reasons) == len(paths):
        raise BadInput(f"None of the {len(paths)} pictures can be read; the first: {first}")
    remarks = []
    if levels is None and (levels := _levels(spans)) is not None:
        for i, result in _loaded(paths, sorted(spans), size, mode, levels, workers):
            if isinstance(result, BadFile):
                reasons[i] = result.reason
            else:
                images[i] = result.image
        low, high = levels
        remarks = [f"{low:g} is black and {high:g} is white in the {len(spans)} pictures of floats or 32-bit integers"]
    read = [i for i in range(len(paths)) if i not in reasons]
    if reasons:
        images = images[read]
    return Pictures(images, read, [(str(paths[i]), reason) for i, reason in reasons.items()], levels, remarks)


def _room(n: int, channels: int, size: int) -> np.ndarray:
    """An array for n pictures."""
    try:
        return np.empty((n, channels, size, size), np.uint8)
    except MemoryError:
        gigabytes = n * channels * size**2 / 1e9
        raise BadInput(
            f"{n} pictures of size={size} take {gigabytes:.0f} GB, which this machine has not: use a smaller size."
        ) from None


def _loaded(
    paths: Sequence[Path], which: Sequence[int], size: int, mode: Mode, levels: Levels | None, workers: int
) -> Iterator[tuple[int, _Loaded | BadFile]]:
    """Some of the pictures, or what is wrong with them, by number; few are read ahead."""

    def load(i: int) -> _Loaded | BadFile:
        try:
            return _load(paths[i], size, mode, levels)
        except BadFile as error:
            error.__context__ = error.__traceback__ = None  # they hold the picture, as far as it was decoded
            return error

    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")
        for first in range(0, len(which), 8 * workers):
            report("Reading", first, len(which), "pictures")
            part = which[first : first + 8 * workers]
            yield from zip(part, pool.map(load, part), strict=True)
    report("Reading", len(which), len(which), "pictures")


def _levels(spans: dict[int, tuple[str, Levels]]) -> Levels | None:
    """Black and white for all floats and 32-bit integers together; None where those of ``DEEP`` are right."""
    if not spans:
        return None
    low, high = min(span[0] for _, span in spans.values()), max(span[1] for _, span in spans.values())
    kinds = {kind for kind, _ in spans.values()}
    if kinds == {"I"} and low >= 0 and high <= BYTES[1]:  # bytes that somebody saved as 32-bit integers
        return BYTES
    if all(DEEP[kind][0] <= span[0] and span[1] <= DEEP[kind][1] for kind, span in spans.values()):
        return None
    return low, high if high > low else low + 1


@dataclass(frozen=True)
class _Loaded:
    """A picture.

    Args:
        image: uint8 ``(size, size)``, or with 3 channels behind.
        kind, span: of floats (F) and 32-bit integers (I): which of them, lowest and highest value.
    """

    image: np.ndarray
    kind: str = ""
    span: Levels | None = None


def _load(path: Path, size: int, mode: Mode, levels: Levels | None) -> _Loaded:
    """One picture, scaled and cropped.

    Raises:
        BadFile: it is no picture, damaged, too large, or cannot be opened.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            if file.width * file.height > PIXEL_CAP:
                raise BadFile(
                    f"{path} has {file.width} × {file.height} pixels, more than {PIXEL_CAP:,}: make it smaller.",
                    f"with more than {PIXEL_CAP:,} pixels",
                )
            # JPEG is decoded at a half, a quarter or an eighth, but twice as large as it is wanted; grey without its colour.
            file.draft("L" if mode == "grey" and file.mode in ("L", "RGB") else None, (2 * size, 2 * size))
            kind = file.mode if file.mode in DEEP else ""
            with ONE_AT_A_TIME if file.width * file.height > LARGE_PIXELS else contextlib.nullcontext():
                picture, span = _smaller(file, path, size, mode, levels)
            image = np.asarray(ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS))
    except BadFile:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise _unreadable(path, error) from None
    if mode == "auto" and image.ndim == 3 and (image == image[..., :1]).all():
        image = image[..., 0]
    return _Loaded(image, kind, span if kind else None)


def _smaller(
    file: Image.Image, path: Path, size: int, mode: Mode, levels: Levels | None
) -> tuple[Image.Image, Levels | None]:
    """A picture as L or RGB, upright, at least twice as large as it is wanted if it was; and the span of deep values.

    It is converted strip by strip, each made smaller at once: a large one takes little more memory than its own pixels.
    """
    width, height = file.size
    by = max(1, min(width, height) // (2 * size)) if width * height > LARGE_PIXELS else 1
    rows = height if by == 1 else by * max(1, LARGE_PIXELS // (4 * width * by))
    turned = file.getexif().get(ORIENTATION, 1)
    strips, spans = [], []
    for top in range(0, height, rows):
        strip = file if rows >= height else file.crop((0, top, width, min(top + rows, height)))
        if strip.mode.startswith(("I", "F")):
            strip, span = _eight_bits(strip, path, levels)
            spans.append(span)
        strip = _opaque(strip, mode)
        strips.append(strip if by == 1 else strip.reduce(by))
    picture = strips[0]
    if len(strips) > 1:
        picture = Image.new(picture.mode, (picture.width, sum(strip.height for strip in strips)))
        for i, strip in enumerate(strips):
            picture.paste(strip, (0, i * strips[0].height))
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    picture.info["exif"] = exif.tobytes()
    span_of_all = (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None
    return ImageOps.exif_transpose(picture), span_of_all


def _unreadable(path: Path, error: Exception) -> BadFile:
    codec = CODECS.get(path.suffix.lower())
    if codec is not None and not features.check(codec):
        reason = f"{path.suffix.lower()}, which this Pillow cannot read"
        return BadFile(f"{path} cannot be read: this Pillow has no {codec}. Install Pillow anew.", reason)
    if isinstance(error, OSError) and error.strerror:
        return BadFile(f"{path} cannot be read: {error.strerror}.", UNREADABLE)
    return BadFile(f"{path} cannot be read: it is no picture, or a damaged one.", "damaged")


def _eight_bits(picture: Image.Image, path: Path, levels: Levels | None) -> tuple[Image.Image, Levels]:
    """A picture of 16 or 32 bits or of floats in 8 bits, and its lowest and highest value."""
    values = np.asarray(picture)
    span = float(values.min()), float(values.max())
    if not np.isfinite(span).all():
        raise BadFile(f"{path} holds values that are no numbers.", "with values that are no numbers")
    low, high = (0.0, 65535.0) if picture.mode not in DEEP else (levels or DEEP[picture.mode])
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return Image.fromarray(np.rint(scaled.clip(0, 255, out=scaled), out=scaled).astype(np.uint8)), span


def _opaque(picture: Image.Image, mode: Mode) -> Image.Image:
    """A picture over white, as L or RGB."""
    grey = mode == "grey" or (mode == "auto" and picture.mode in GREY)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("L" if grey else "RGB")


def as_sample(path: Path, size: int, channels: int, levels: Levels | None) -> np.ndarray:
    """A picture as float32 ``(channels, size, size)`` in [0, 1], scaled to cover and cropped around its centre.

    Args:
        levels: of black and white, of floats and 32-bit integers; None: those of ``DEEP``.

    Raises:
        BadFile: it is no picture, or its values lie outside those levels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = _load(path, size, "grey" if channels == 1 else "rgb", levels)
    if levels is None and loaded.span is not None:
        (low, high), (black, white) = loaded.span, DEEP[loaded.kind]
        if low < black or high > white:
            raise BadFile(
                f"{path} has values from {low:g} to {high:g}, and {black:g} is black and {white:g} is white: scale them.",
                "with values out of range",
            )
    x = loaded.image.astype(np.float32) / 255
    return x[None] if channels == 1 else np.ascontiguousarray(x.transpose(2, 0, 1))
