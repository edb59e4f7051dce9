"""``make demo`` in short: a real training run whose music sounds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
import soundfile
from PIL import Image


@pytest.mark.slow
def test_the_demo_makes_music(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "musegen_pianoroll.demo",
        "--out",
        str(tmp_path / "out"),
        "--minutes",
        "0.2",
        "-n",
        "4",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "notes per bar" in result.stdout
    assert "musegen generate" in result.stdout
    song, again = (pretty_midi.PrettyMIDI(str(tmp_path / "out" / f"{name}.mid")) for name in ("song", "song_again"))
    for track, other in zip(song.instruments, again.instruments, strict=True):
        same = [str(note) for note in track.notes] == [str(note) for note in other.notes]
        assert same == (track.name != "Melody")
    contents, sounding = set(), set()
    for i in range(4):
        midi = pretty_midi.PrettyMIDI(str(tmp_path / "out" / f"band_{i:02d}.mid"))
        sounding |= {instrument.name for instrument in midi.instruments if instrument.notes}
        contents.add((tmp_path / "out" / f"band_{i:02d}.mid").read_bytes())
        sound, rate = soundfile.read(tmp_path / "out" / f"band_{i:02d}.wav")
        assert rate == 44_100
        assert 0.01 < np.abs(sound).max() <= 1
        assert np.sqrt((sound**2).mean()) > 0.002
        assert Image.open(tmp_path / "out" / f"band_{i:02d}.png").width > 500
    assert len(contents) == 4
    walk = pretty_midi.PrettyMIDI(str(tmp_path / "out" / "walk.mid"))
    assert 25 < walk.get_end_time() < 60  # sixteen bars
    assert soundfile.info(tmp_path / "out" / "walk.wav").duration > 25
    assert sounding == {"Drums", "Piano", "Guitar", "Bass", "Strings"}
