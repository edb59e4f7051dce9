"""The drawing of a sound in a page: its spectrogram and its waveform."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import torch
from PIL import Image

from musegen_audio.figure import HEIGHT, MOST_COLUMNS, MOST_ROWS, WIDTH, figure


def test_what_is_loud_is_bright_and_high_is_above() -> None:
    levels = torch.full((40, 20), -80.0)
    levels[10, 15] = 0.0  # a quarter of the way, three quarters up
    sound = np.zeros((1, 16_000), np.float32)
    sound[0, 8_000:8_100] = -0.5
    found = figure(levels, sound, 8_000, -80.0)
    spectrogram, waveform = found.layers
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(spectrogram.image))).convert("L"))
    assert picture.shape == (20, 40)
    assert np.unravel_index(picture.argmax(), picture.shape) == (20 - 1 - 15, 10)
    points = [tuple(map(int, pair.split())) for pair in re.findall(r"\d+ \d+", waveform.path)]
    x, y = min(points, key=lambda point: point[1])
    assert abs(x - WIDTH / 2) < 10
    assert y == round(HEIGHT / 8 / 2)
    assert found.times == [(0, 0), (WIDTH, 2.0)]
    assert found.about == "Sound at 8,000 Hz"


def test_long_sounds_are_drawn_small() -> None:
    rng = np.random.default_rng(0)
    levels = torch.from_numpy(rng.uniform(-80, 0, (5000, 1025)))
    found = figure(levels, rng.uniform(-1, 1, (2, 100_000)), 44_100, -80.0)
    picture = Image.open(io.BytesIO(base64.b64decode(found.layers[0].image)))
    assert picture.size == (MOST_COLUMNS, MOST_ROWS)
    assert len(found.layers[1].path) < 5_000


def test_a_sound_of_a_few_frames() -> None:
    found = figure(torch.zeros(1, 4), np.ones((1, 3)), 8_000, -80.0)
    assert Image.open(io.BytesIO(base64.b64decode(found.layers[0].image))).size == (1, 4)
