"""Sound as files: WAV, FLAC, Ogg Vorbis or MP3, through libsndfile."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from musegen.errors import BadInput, did_you_mean
from musegen.files import write_file

__all__ = ["FORMATS", "encode", "encode_floats", "write_sound"]

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
"""libsndfile's names for format and encoding, by suffix."""
BLOCK_FRAMES = 1 << 15
"""libsndfile's Vorbis encoder puts a whole block on its stack, and crashes on long ones."""


def encode(clip: np.ndarray, rate_hz: int, kind: str = "wav") -> bytes:
    """Sound as the content of a file.

    Args:
        clip: float ``(channels, frames)`` in [−1, 1].
        kind: a key of ``FORMATS``.

    Raises:
        BadInput: no such kind, or this system's libsndfile cannot write it.
    """
    import soundfile

    if kind not in FORMATS:
        raise BadInput(f'Sound cannot be written as "{kind}".{did_you_mean(kind, FORMATS)} Use {", ".join(FORMATS)}.')
    major, minor = FORMATS[kind]
    if major not in soundfile.available_formats():
        raise BadInput(
            f"This system's libsndfile is too old to write {kind} files: use wav, or install libsndfile 1.1."
        )
    content = io.BytesIO()
    with soundfile.SoundFile(content, "w", rate_hz, len(clip), minor, format=major) as file:
        for first in range(0, clip.shape[1], BLOCK_FRAMES):
            file.write(np.ascontiguousarray(clip[:, first : first + BLOCK_FRAMES].T))
    return content.getvalue()


def encode_floats(clip: np.ndarray, rate_hz: int) -> bytes:
    """Sound of any level as the content of a WAV file of floats: float ``(channels, frames)``."""
    import soundfile

    content = io.BytesIO()
    soundfile.write(content, np.ascontiguousarray(clip.T, np.float32), rate_hz, "FLOAT", format="WAV")
    return content.getvalue()


def write_sound(path: str | Path, clip: np.ndarray, rate_hz: int) -> Path:
    """Write sound, whole or not at all, in the format of the path's suffix (see ``encode``); returns the path.

    Raises:
        BadInput: no such format, or a place that cannot be written to.

    >>> import numpy as np
    >>> from musegen.sound.files import write_sound
    >>> tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)  # a second of A4
    >>> write_sound("a4.wav", tone[None], rate_hz=8000).stat().st_size
    16044
    """
    path = Path(path)
    return write_file(path, encode(clip, rate_hz, path.suffix.lower().removeprefix(".")))
