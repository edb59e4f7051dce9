"""Sound in files: every format decodes to what went in."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musegen.errors import BadInput
from musegen.sound.files import FORMATS, encode, write_sound

RATE_HZ = 44_100


def tone(seconds: float) -> np.ndarray:
    """440 Hz on the left and 660 Hz on the right, ``(2, frames)``."""
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return 0.4 * np.sin(2 * np.pi * np.array([[440.0], [660.0]]) * t).astype(np.float32)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_keeps_pitch_level_and_length(kind: str, tmp_path: Path) -> None:
    clip = tone(2.0)
    write_sound(tmp_path / f"x.{kind}", clip, RATE_HZ)
    found, rate_hz = soundfile.read(tmp_path / f"x.{kind}")
    assert rate_hz == RATE_HZ
    assert len(found) == pytest.approx(clip.shape[1], abs=3000)  # MP3 pads
    assert found.std() == pytest.approx(clip.std(), rel=0.03)
    for channel, hz in enumerate((440, 660)):
        spectrum = np.abs(np.fft.rfft(found[:, channel]))
        assert spectrum.argmax() * RATE_HZ / len(found) == pytest.approx(hz, abs=1)
    if kind in ("wav", "flac"):
        np.testing.assert_allclose(found.T, clip, atol=1 / 30_000)


def test_a_long_piece_fits_into_ogg() -> None:
    """libsndfile's Vorbis encoder overflows its stack on one long block."""
    content = encode(tone(400.0), RATE_HZ, "ogg")
    assert soundfile.info(io.BytesIO(content)).duration == pytest.approx(400, abs=0.1)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match='Did you mean "mp3"'):
        write_sound(tmp_path / "x.mp4", tone(0.1), RATE_HZ)
    assert not list(tmp_path.iterdir())
