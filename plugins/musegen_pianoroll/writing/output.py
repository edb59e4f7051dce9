"""From rolls to MIDI files, sound and pictures.

A roll is bool ``(tracks, 2, steps, 128)``, planes frame and onset. A frame that rises without an onset begins a note too.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musegen.files import write_atomically
from musegen.sound.soundfont import general_midi
from musegen_pianoroll.store.format import StoreTrack, pitch_name

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "SAMPLE_RATE_HZ",
    "contact_sheet",
    "midi_bytes",
    "notes_of",
    "picture",
    "synthesise",
    "to_pretty_midi",
    "write_midi",
]

SAMPLE_RATE_HZ = 44_100
VELOCITY = 90
PEAK = 10 ** (-1 / 20)
"""−1 dBFS: louder sound is scaled down to it."""

RUNG_OUT = 10 ** (-60 / 20)

MIN_LINE_DISTANCE_PX = 10
"""Lines and numbers that would come closer are left out."""

COLOURS = ("#4e79a7", "#e15759", "#59a14f", "#f28e2b", "#b07aa1", "#76b7b2", "#edc948", "#9c755f")


def notes_of(roll: np.ndarray) -> np.ndarray:
    """Notes of a roll as int64 ``(n, 4)`` rows of track, pitch, start step, end step, sorted in that order."""
    frame, onset = roll[:, 0].transpose(0, 2, 1), roll[:, 1].transpose(0, 2, 1)  # (tracks, 128, steps)
    frame = frame | onset
    before = np.concatenate([np.zeros_like(frame[..., :1]), frame[..., :-1]], -1)
    begins = onset | (frame & ~before)
    # A note ends where its frame stops or where the next one begins; each start has exactly one such end after it.
    ends = np.concatenate([before, frame[..., -1:]], -1) & ~np.concatenate(
        [frame & ~begins, np.zeros_like(frame[..., :1])], -1
    )
    track, pitch, start = np.nonzero(begins)
    end = np.nonzero(ends)[2]
    return np.stack([track, pitch, start, end], 1).astype(np.int64)


def to_pretty_midi(
    roll: np.ndarray,
    tracks: Sequence[StoreTrack],
    *,
    steps_per_beat: int,
    tempo_bpm: float = 120.0,
    metre: tuple[int, int] = (4, 4),
) -> Any:
    """A roll as a ``pretty_midi.PrettyMIDI``, exact on the grid.

    Args:
        roll: bool ``(tracks, 2, steps, 128)``.
        tracks: names, programs, drums.
        steps_per_beat: steps per quarter note.
    """
    import pretty_midi

    ticks_per_step = max(1, 480 // steps_per_beat)
    midi = pretty_midi.PrettyMIDI(resolution=ticks_per_step * steps_per_beat, initial_tempo=tempo_bpm)
    midi.time_signature_changes.append(pretty_midi.TimeSignature(*metre, 0))
    for track in tracks:
        midi.instruments.append(pretty_midi.Instrument(track.program, track.is_drum, track.name))
    step_s = 60 / tempo_bpm / steps_per_beat
    for track, pitch, start, end in notes_of(roll).tolist():
        midi.instruments[track].notes.append(pretty_midi.Note(VELOCITY, pitch, start * step_s, end * step_s))
    return midi


def midi_bytes(midi: Any) -> bytes:
    """A ``pretty_midi.PrettyMIDI`` as the content of a file."""
    content = io.BytesIO()
    midi.write(content)
    return content.getvalue()


def write_midi(roll: np.ndarray, path: Path, tracks: Sequence[StoreTrack], **grid: Any) -> None:
    """Write a roll as a MIDI file, whole or not at all; arguments as of ``to_pretty_midi``."""
    write_atomically(path, midi_bytes(to_pretty_midi(roll, tracks, **grid)))


def synthesise(roll: np.ndarray, tracks: Sequence[StoreTrack], *, steps_per_beat: int, tempo_bpm: float) -> np.ndarray:
    """Sound of a roll: float32 ``(2, frames)`` at ``SAMPLE_RATE_HZ``; peaks above −1 dBFS are scaled down, silence stays silent.

    The last notes ring after their end, until nothing is left above −60 dB of the peak.
    """
    notes = notes_of(roll)
    if not len(notes):
        return np.zeros((2, SAMPLE_RATE_HZ), np.float32)
    track, pitch, start, end = notes.T
    step_s = 60 / tempo_bpm / steps_per_beat
    sound = general_midi().render(
        pitch,
        start * step_s,
        end * step_s,
        program=np.array([t.program for t in tracks])[track],
        drums=np.array([t.is_drum for t in tracks])[track],
        velocity=VELOCITY,
        rate_hz=SAMPLE_RATE_HZ,
    )
    peak = float(np.abs(sound).max(initial=0.0))
    last = round(end.max() * step_s * SAMPLE_RATE_HZ)
    rings = np.flatnonzero(np.abs(sound[:, last:]).max(0) > RUNG_OUT * peak)
    sound = sound[:, : last + (int(rings[-1]) + 1 if len(rings) else 0)]
    return sound * (PEAK / peak) if peak > PEAK else sound


def picture(
    roll: np.ndarray,
    tracks: Sequence[StoreTrack],
    *,
    steps_per_bar: int,
    steps_per_beat: int,
    pitch_range: tuple[int, int] | None = None,
    width: int = 900,
) -> Image:
    """A roll as a picture: time to the right, pitch upward, one colour per track, onsets darker; numbered bars and faint beats.

    Args:
        pitch_range: lowest pitch and the one after the highest; by default what sounds, in whole octaves.
        width: of the grid, in pixels, about.
    """
    from PIL import Image, ImageColor, ImageDraw, ImageFont

    low, high = pitch_range or _sounding_range(roll)
    n_steps = roll.shape[2]
    cell_w, cell_h = max(2, width // n_steps), 4
    canvas = np.full((high - low, n_steps, 3), 255.0)
    black_keys = np.isin(np.arange(low, high) % 12, (1, 3, 6, 8, 10))
    canvas[black_keys] = 246.0
    sounds = (roll[:, 0] | roll[:, 1])[:, :, low:high].transpose(0, 2, 1)  # (tracks, pitches, steps)
    grid = np.repeat(np.repeat(canvas[::-1], cell_h, 0), cell_w, 1)
    left, top, font = 34, 34, ImageFont.load_default()
    # Lines lie under the notes, which they would cut up otherwise.
    if steps_per_beat * cell_w >= MIN_LINE_DISTANCE_PX:
        grid[:, :: steps_per_beat * cell_w] = 225.0
    for pitch in range(low + (-low) % 12, high, 12):
        grid[(high - pitch) * cell_h - 1] = 200.0
    grid[:, :: steps_per_bar * cell_w] = 110.0
    notes = np.zeros_like(canvas)
    for i in range(len(tracks)):
        colour = np.array(ImageColor.getrgb(COLOURS[i % len(COLOURS)]), float)
        notes[sounds[i]] = 0.55 * colour + 0.45 * 255
        notes[roll[i, 1, :, low:high].T] = colour
    cells, covered = (
        np.repeat(np.repeat(x[::-1], cell_h, 0), cell_w, 1) for x in (notes, np.bitwise_or.reduce(sounds, 0))
    )
    grid = np.where(covered[..., None], cells, grid).astype(np.uint8)

    image = Image.new("RGB", (left + grid.shape[1] + 6, top + grid.shape[0] + 6), "white")
    image.paste(Image.fromarray(grid), (left, top))
    draw = ImageDraw.Draw(image)
    for pitch in range(low, high):
        if pitch % 12 in (0, 7):  # C and G: twelve rows leave room for two names
            draw.text((6, top + (high - pitch) * cell_h - 9), pitch_name(pitch), fill="#555555", font=font)
    for bar, step in enumerate(range(0, n_steps, steps_per_bar), 1):
        if steps_per_bar * cell_w >= MIN_LINE_DISTANCE_PX:
            draw.text((left + step * cell_w, top - 13), str(bar), fill="#777777", font=font)
    x = left
    for i, track in enumerate(tracks):
        draw.rectangle([x, 5, x + 10, 15], fill=COLOURS[i % len(COLOURS)])
        draw.text((x + 14, 4), track.name, fill="#333333", font=font)
        x += 28 + int(draw.textlength(track.name, font=font))
    return image


def contact_sheet(
    rolls: np.ndarray,
    tracks: Sequence[StoreTrack],
    *,
    steps_per_bar: int,
    steps_per_beat: int,
    pitch_range: tuple[int, int] | None = None,
    columns: int = 2,
) -> Image:
    """Several rolls ``(n, tracks, 2, steps, 128)`` in one picture."""
    from PIL import Image

    pitch_range = pitch_range or _sounding_range(np.asarray(rolls.any(0)))
    width = 900 if len(rolls) == 1 else 1120 // columns if columns < 4 else 240
    tiles = [
        picture(
            roll,
            tracks,
            steps_per_bar=steps_per_bar,
            steps_per_beat=steps_per_beat,
            pitch_range=pitch_range,
            width=width,
        )
        for roll in rolls
    ]
    columns = min(columns, len(tiles))
    w, h = tiles[0].size
    sheet = Image.new("RGB", (columns * (w + 8), -(-len(tiles) // columns) * (h + 8)), "white")
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % columns * (w + 8), i // columns * (h + 8)))
    return sheet


def _sounding_range(roll: np.ndarray) -> tuple[int, int]:
    """Whole octaves around what sounds; two octaves around middle C for silence."""
    pitches = np.flatnonzero(roll.any((0, 1, 2)))
    if not len(pitches):
        return 48, 72
    return int(pitches[0]) // 12 * 12, min(128, (int(pitches[-1]) // 12 + 1) * 12)
