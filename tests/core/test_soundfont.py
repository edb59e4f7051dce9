"""Notes of a SoundFont 2 file: pitch, loops, envelopes, zones."""

from __future__ import annotations

import struct
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from musegen.errors import BadInput
from musegen.soundfont import SoundFont
from musegen_audio.metrics import pitch_midi

RATE = 16000
PERIOD = 100
"""Samples per period of the test's instrument: 160 Hz at its own rate."""


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def soundfont(path: Path, generators: list[tuple[int, int]], root: int = 60, correction: int = 0) -> SoundFont:
    """One program, one sine of 10 periods with a loop over the last nine."""
    sine = np.rint(16000 * np.sin(2 * np.pi * np.arange(10 * PERIOD) / PERIOD)).astype("<i2").tobytes() + bytes(92)
    zone = [*generators, (53, 0)]
    name = b"x".ljust(20, b"\0")
    tables = {
        b"phdr": struct.pack("<20sHHHIII", name, 5, 0, 0, 0, 0, 0) + struct.pack("<20sHHHIII", name, 0, 0, 1, 0, 0, 0),
        b"pbag": struct.pack("<HHHH", 0, 0, 1, 0),
        b"pgen": struct.pack("<HhHh", 41, 0, 0, 0),
        b"inst": struct.pack("<20sH20sH", name, 0, name, 1),
        b"ibag": struct.pack("<HHHH", 0, 0, len(zone), 0),
        b"igen": b"".join(struct.pack("<Hh", *pair) for pair in [*zone, (0, 0)]),
        b"shdr": 2
        * struct.pack("<20sIIIIIBbHH", name, 0, 10 * PERIOD, PERIOD, 10 * PERIOD, RATE, root, correction, 0, 1),
    }
    body = b"sfbk" + chunk(b"LIST", b"sdta" + chunk(b"smpl", sine))
    body += chunk(b"LIST", b"pdta" + b"".join(chunk(name, content) for name, content in tables.items()))
    path.write_bytes(chunk(b"RIFF", body))
    return SoundFont(path)


LOOPED = (54, 1)


def play(font: SoundFont, key: int = 60, velocity: int = 127, held_s: float = 2.0) -> np.ndarray:
    return font.note(5, key, velocity, held_s, 1.0, RATE)


@pytest.mark.parametrize(("key", "generators", "semitones"), [
    (60, [], 0), (72, [], 12), (67, [], 7), (60, [(58, 48)], 12), (60, [(51, -3)], -3), (60, [(52, 50)], 0.5), (72, [(56, 50)], 6),
])  # fmt: skip
def test_tuning(key: int, generators: list[tuple[int, int]], semitones: float, tmp_path: Path) -> None:
    sound = play(soundfont(tmp_path / "a.sf2", [*generators, LOOPED]), key)
    expected_hz = RATE / PERIOD * 2 ** (semitones / 12)
    heard = float(pitch_midi(torch.from_numpy(sound[None]), RATE))
    assert heard == pytest.approx(69 + 12 * np.log2(expected_hz / 440), abs=0.06)


def test_a_loop_goes_on_without_a_seam_and_without_one_the_sample_ends(tmp_path: Path) -> None:
    sound = play(soundfont(tmp_path / "a.sf2", [LOOPED]))
    expected = 16000 / 32768 * np.sin(2 * np.pi * np.arange(RATE) / PERIOD)
    np.testing.assert_allclose(sound[20:], expected[20:], atol=2e-4)
    once = play(soundfont(tmp_path / "b.sf2", []))
    np.testing.assert_allclose(once[20 : 10 * PERIOD - 1], expected[20 : 10 * PERIOD - 1], atol=2e-4)
    assert not once[10 * PERIOD :].any()


def level_db(sound: np.ndarray, at_s: float) -> float:
    part = sound[round(at_s * RATE) - 200 : round(at_s * RATE) + 200]
    return float(20 * np.log10(np.abs(part).max() * 32768 / 16000))


def test_attenuation_velocity_and_envelope(tmp_path: Path) -> None:
    plain = soundfont(tmp_path / "a.sf2", [LOOPED])
    assert level_db(play(plain), 0.5) == pytest.approx(0, abs=0.05)
    assert level_db(play(plain, velocity=64), 0.5) == pytest.approx(40 * np.log10(64 / 127), abs=0.05)
    assert level_db(play(soundfont(tmp_path / "b.sf2", [(48, 100), LOOPED])), 0.5) == pytest.approx(-4, abs=0.05)
    # A decay of 1 s falls by 100 dB in it, down to a sustained level of −20 dB; a release of 0.5 s by 200 dB per second.
    font = soundfont(tmp_path / "c.sf2", [(36, 0), (37, 200), (38, -1200), LOOPED])
    sound = play(font, held_s=0.5)
    assert level_db(sound, 0.1) == pytest.approx(-10 + 1.25, abs=0.5)  # the loudest of 25 ms is at their beginning
    assert level_db(sound, 0.4) == pytest.approx(-20, abs=0.1)
    assert level_db(sound, 0.6) == pytest.approx(-40 + 2.5, abs=0.5)


def test_the_filter_halves_power_at_its_cutoff(tmp_path: Path) -> None:
    cents = round(1200 * np.log2(RATE / PERIOD / 8.176))
    assert level_db(play(soundfont(tmp_path / "a.sf2", [(8, cents), LOOPED])), 0.5) == pytest.approx(-3.01, abs=0.1)
    # Half the velocity lowers it by 1,200 cents, so one that is an octave higher comes to the same.
    higher = soundfont(tmp_path / "b.sf2", [(8, cents + round(2400 * (1 - 64 / 127))), LOOPED])
    assert level_db(play(higher, velocity=64), 0.5) == pytest.approx(-3.01 + 40 * np.log10(64 / 127), abs=0.1)


def test_zones_answer_to_their_keys_and_velocities(tmp_path: Path) -> None:
    font = soundfont(tmp_path / "a.sf2", [(43, 50 | 70 << 8), (44, 30 | 100 << 8), LOOPED])
    heard = {
        (key, velocity): bool(play(font, key, velocity).any())
        for key in (49, 50, 70, 71)
        for velocity in (29, 30, 100, 101)
    }
    assert {pair for pair, sounds in heard.items() if sounds} == {(50, 30), (50, 100), (70, 30), (70, 100)}


def test_what_is_no_soundfont_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.sf2"
    font = soundfont(path, [LOOPED])
    with pytest.raises(BadInput, match="no program 6"):
        font.note(6, 60, 100, 1.0, 1.0, RATE)
    content = path.read_bytes()
    path.write_bytes(b"RIFFxxxxWAVE")
    with pytest.raises(BadInput, match="no SoundFont"):
        SoundFont(path)
    path.write_bytes(content.replace(b"shdr", b"shxx"))
    with pytest.raises(BadInput, match="damaged"):
        SoundFont(path)


def test_the_soundfont_that_ships_is_in_tune() -> None:
    font = SoundFont(Path(str(files("pretty_midi") / "TimGM6mb.sf2")))
    for program in (0, 4, 24, 25, 40, 42, 56, 65, 71, 73):
        sounds = np.stack([font.note(program, key, 100, 0.9, 1.0, 32000) for key in (60, 67, 74)])
        np.testing.assert_allclose(pitch_midi(torch.from_numpy(sounds), 32000).numpy(), [60, 67, 74], atol=0.2)
