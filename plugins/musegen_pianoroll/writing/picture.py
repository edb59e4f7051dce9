"""Pictures of rolls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from musegen_pianoroll.store.format import StoreTrack, pitch_name

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

__all__ = ["COLOURS", "contact_sheet", "picture", "sounding_range"]

CELL_H = 4
"""Pixels of a pitch."""
LEFT, TOP, MARGIN = 34, 34, 6
"""Pixels around the grid: names of pitches on the left, legend and numbers of bars on top, and the other two sides."""
MIN_LINE_DISTANCE_PX = 10
"""Lines and numbers that would come closer are left out."""
COLOURS = ("#4e79a7", "#e15759", "#59a14f", "#f28e2b", "#b07aa1", "#76b7b2", "#edc948", "#9c755f")


def picture(
    roll: np.ndarray,
    tracks: Sequence[StoreTrack],
    *,
    bars: Sequence[int],
    steps_per_beat: int,
    pitch_range: tuple[int, int] | None = None,
    width: int = 900,
) -> Image:
    """A roll as a picture: time to the right, pitch upward, one colour per track, onsets darker; numbered bars and faint beats.

    Args:
        bars: the first step of each bar.
        pitch_range: lowest pitch and the one after the highest; by default what sounds, in whole octaves.
        width: of the grid, in pixels, about.
    """
    from PIL import Image, ImageDraw

    pitch_range = pitch_range or sounding_range(roll)
    cell_w = max(2, width // roll.shape[2])
    lines = np.array(bars, np.int64) * cell_w
    grid = _grid(roll, pitch_range, cell_w, lines, steps_per_beat * cell_w)
    image = Image.new("RGB", (LEFT + grid.shape[1] + MARGIN, TOP + grid.shape[0] + MARGIN), "white")
    image.paste(Image.fromarray(grid), (LEFT, TOP))
    draw = ImageDraw.Draw(image)
    _write_scales(draw, pitch_range, lines)
    _write_legend(draw, tracks)
    return image


def _grid(roll: np.ndarray, pitch_range: tuple[int, int], cell_w: int, lines: np.ndarray, beat_px: int) -> np.ndarray:
    """Notes over lines over rows, which are darker for black keys: uint8 ``(pixels high, pixels wide, 3)``."""
    from PIL import ImageColor

    low, high = pitch_range

    def magnified(cells: np.ndarray) -> np.ndarray:
        return np.repeat(np.repeat(cells[::-1], CELL_H, 0), cell_w, 1)

    canvas = np.full((high - low, roll.shape[2], 3), 255.0)
    canvas[np.isin(np.arange(low, high) % 12, (1, 3, 6, 8, 10))] = 246.0
    grid = magnified(canvas)
    # Lines lie under the notes, which they would cut up otherwise.
    if beat_px >= MIN_LINE_DISTANCE_PX:
        for line, end in zip(lines, [*lines[1:], grid.shape[1]], strict=True):
            grid[:, line:end:beat_px] = 225.0
    for pitch in range(low + (-low) % 12, high, 12):
        grid[(high - pitch) * CELL_H - 1] = 200.0
    grid[:, lines] = 110.0
    sounds = (roll[:, 0] | roll[:, 1])[:, :, low:high].transpose(0, 2, 1)  # (tracks, pitches, steps)
    notes = np.zeros_like(canvas)
    for i in range(len(roll)):
        colour = np.array(ImageColor.getrgb(COLOURS[i % len(COLOURS)]), float)
        notes[sounds[i]] = 0.55 * colour + 0.45 * 255
        notes[roll[i, 1, :, low:high].T] = colour
    return np.where(magnified(sounds.any(0))[..., None], magnified(notes), grid).astype(np.uint8)


def _write_scales(draw: ImageDraw, pitch_range: tuple[int, int], lines: np.ndarray) -> None:
    """Names of pitches beside the grid, and numbers of bars above it."""
    low, high = pitch_range
    for pitch in range(low, high):
        if pitch % 12 in (0, 7):  # C and G: twelve rows leave room for two names
            draw.text((6, TOP + (high - pitch) * CELL_H - 9), pitch_name(pitch), fill="#555555")
    if np.diff(lines).min(initial=MIN_LINE_DISTANCE_PX) >= MIN_LINE_DISTANCE_PX:
        for bar, x in enumerate(lines.tolist(), 1):
            draw.text((LEFT + x, TOP - 13), str(bar), fill="#777777")


def _write_legend(draw: ImageDraw, tracks: Sequence[StoreTrack]) -> None:
    """A square of each track's colour, and its name."""
    x = LEFT
    for i, track in enumerate(tracks):
        draw.rectangle([x, 5, x + 10, 15], fill=COLOURS[i % len(COLOURS)])
        draw.text((x + 14, 4), track.name, fill="#333333")
        x += 28 + int(draw.textlength(track.name))


def contact_sheet(
    rolls: Sequence[np.ndarray],
    tracks: Sequence[StoreTrack],
    *,
    bars: Sequence[Sequence[int]],
    steps_per_beat: int,
    pitch_range: tuple[int, int] | None = None,
    columns: int = 2,
) -> Image:
    """Several rolls ``(tracks, 2, steps, 128)``, with the first step of each bar of each, in one picture."""
    from PIL import Image

    pitch_range = pitch_range or sounding_range(np.concatenate(list(rolls), 2))
    width = 900 if len(rolls) == 1 else 1120 // columns if columns < 4 else 240
    tiles = [
        picture(
            roll,
            tracks,
            bars=of_roll,
            steps_per_beat=steps_per_beat,
            pitch_range=pitch_range,
            width=width,
        )
        for roll, of_roll in zip(rolls, bars, strict=True)
    ]
    columns = min(columns, len(tiles))
    w, h = max(tile.width for tile in tiles), tiles[0].height
    sheet = Image.new("RGB", (columns * (w + 8), -(-len(tiles) // columns) * (h + 8)), "white")
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % columns * (w + 8), i // columns * (h + 8)))
    return sheet


def sounding_range(roll: np.ndarray) -> tuple[int, int]:
    """Whole octaves around what sounds; two octaves around middle C for silence."""
    pitches = np.flatnonzero(roll.any((0, 1, 2)))
    if not len(pitches):
        return 48, 72
    return int(pitches[0]) // 12 * 12, min(128, (int(pitches[-1]) // 12 + 1) * 12)
