"""Notes and pieces of a SoundFont 2 file: pitch, loops, envelopes, zones, stereo."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from musegen.errors import BadInput
from musegen.sound.soundfont import SoundFont, general_midi
from musegen_audio.metrics import pitch_midi

RATE = 16000
PERIOD = 100
"""Samples per period of the test's instrument: 160 Hz at its own rate."""


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def soundfont(
    path: Path, generators: list[tuple[int, int]], root: int = 60, correction: int = 0, darker: int = 0
) -> SoundFont:
    """One program, one sine of 10 periods with a loop over the last nine."""
    sine = np.rint(16000 * np.sin(2 * np.pi * np.arange(10 * PERIOD) / PERIOD)).astype("<i2").tobytes() + bytes(92)
    zone = [*generators, (53, 0)]
    name = b"x".ljust(20, b"\0")
    tables = {
        b"phdr": struct.pack("<20sHHHIII", name, 5, 0, 0, 0, 0, 0) + struct.pack("<20sHHHIII", name, 0, 0, 1, 0, 0, 0),
        b"pbag": struct.pack("<HHHH", 0, 0, 1, 0),
        b"pgen": struct.pack("<HhHh", 41, 0, 0, 0),
        b"inst": struct.pack("<20sH20sH", name, 0, name, 1),
        b"ibag": struct.pack("<HHHH", 0, 0, len(zone), 1),
        b"imod": struct.pack("<HHhHH", 0x0102, 8, darker, 0, 0) + bytes(10),
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
    # Where the font says that the softest note's filter is 2,400 cents lower, one that is an octave higher comes to the same.
    higher = soundfont(tmp_path / "b.sf2", [(8, cents + round(2400 * (1 - 64 / 127))), LOOPED], darker=-2400)
    assert level_db(play(higher, velocity=64), 0.5) == pytest.approx(-3.01 + 40 * np.log10(64 / 127), abs=0.1)


@pytest.mark.parametrize("way", ["note", "piece"])
def test_the_modulation_envelope_moves_the_filter(way: str, tmp_path: Path) -> None:
    """Two octaves above the sine for a second, then down to two octaves below it within one more, and there it stays."""
    cents = round(1200 * np.log2(RATE / PERIOD / 8.176))
    # −2,400 at 0, 4,800 up with the envelope at 1, which holds a second and falls to 0 within one.
    moving = [(8, cents - 2400), (11, 4800), (27, 0), (28, 0), (29, 1000), LOOPED]
    font = soundfont(tmp_path / "a.sf2", moving)
    sound = font.note(5, 60, 127, 4.0, 3.0, RATE) if way == "note" else np.sqrt(2) * piece(font, 60, 0.0, 4.0)[0]
    for at_s in (0.5, 1.25, 1.5, 1.75, 2.5):
        octaves = 2 - 4 * np.clip(at_s - 1, 0, 1)  # of the cutoff above the sine
        expected = -10 * np.log10(1 + 2 ** (-4 * octaves))  # Butterworth, of second order
        # It is the loudest of 9 ms to either side, in which the level falls by up to .4 dB, and a mixture of two filters.
        assert level_db(sound, at_s) == pytest.approx(expected, abs=1.3), at_s


ONE_HZ = round(1200 * np.log2(1 / 8.176))


def triangle(time_s: np.ndarray) -> np.ndarray:
    """Of 1 Hz after half a second: 0, 1 a quarter of a second later, 0, −1, 0."""
    return np.interp(np.maximum(time_s - 0.5, 0) % 1, [0, 0.25, 0.75, 1], [0, 1, -1, 0])


@pytest.mark.parametrize("way", ["note", "piece"])
@pytest.mark.parametrize("generators", [[(5, 150), (21, -1200), (22, ONE_HZ)], [(6, 150), (23, -1200), (24, ONE_HZ)]])
def test_oscillators_move_the_pitch(generators: list[tuple[int, int]], way: str, tmp_path: Path) -> None:
    font = soundfont(tmp_path / "a.sf2", [*generators, LOOPED])
    sound = font.note(5, 60, 127, 3.0, 2.0, RATE) if way == "note" else np.sqrt(2) * piece(font, 60, 0.0, 3.0)[0]
    hz = RATE / PERIOD * 2 ** (150 * triangle(np.arange(2 * RATE) / RATE) / 1200)
    phase = 2 * np.pi * np.append(0, np.cumsum(hz / RATE))[:-1]
    np.testing.assert_allclose(sound[100 : 2 * RATE], (16000 / 32768 * np.sin(phase))[100:], atol=0.01)


@pytest.mark.parametrize("way", ["note", "piece"])
def test_the_modulation_envelope_moves_the_pitch(way: str, tmp_path: Path) -> None:
    """An octave higher for a second, then down along a line within another."""
    font = soundfont(tmp_path / "a.sf2", [(7, 1200), (27, 0), (28, 0), (29, 1000), LOOPED])
    sound = font.note(5, 60, 127, 4.0, 3.0, RATE) if way == "note" else np.sqrt(2) * piece(font, 60, 0.0, 4.0)[0]
    for at_s, octaves in ((0.5, 1.0), (2.5, 0.0)):
        part = sound[round(at_s * RATE) :][: 20 * PERIOD] * np.hanning(20 * PERIOD)
        peak = np.abs(np.fft.rfft(part, 1 << 16)).argmax() * RATE / (1 << 16)
        assert peak == pytest.approx(RATE / PERIOD * 2**octaves, rel=0.005)


@pytest.mark.parametrize("way", ["note", "piece"])
def test_an_oscillator_moves_level_and_filter(way: str, tmp_path: Path) -> None:
    turn = [(21, -1200), (22, ONE_HZ)]
    cents = round(1200 * np.log2(RATE / PERIOD / 8.176))
    fonts = {"level": [(13, 60), (48, 200)], "filter": [(8, cents), (10, 1200)]}
    for what, generators in fonts.items():
        font = soundfont(tmp_path / f"{what}.sf2", [*generators, *turn, LOOPED])
        sound = font.note(5, 60, 127, 4.0, 3.0, RATE) if way == "note" else np.sqrt(2) * piece(font, 60, 0.0, 4.0)[0]
        for at_s in (0.25, 0.75, 1.0, 1.25, 2.0):
            up = float(triangle(np.array(at_s)))
            expected = -8 + 6 * up if what == "level" else -10 * np.log10(1 + 2 ** (-4 * up))
            assert level_db(sound, at_s) == pytest.approx(expected, abs=1.3 if what == "filter" else 0.3), (what, at_s)


def test_a_note_that_is_let_go_at_its_loudest_ends_in_time(tmp_path: Path) -> None:
    """Its level is above that of the font, and its release takes no longer for that: the piece has room for it."""
    font = soundfont(tmp_path / "a.sf2", [(13, 200), (21, -1200), (22, ONE_HZ), (38, -1200), LOOPED])
    sound = font.render(
        [60, 60], [0.0, 2.9], [3.0, 3.65], program=5, rate_hz=RATE
    )  # the second is let go at its loudest
    assert sound.shape[1] <= round(3.65 * RATE) + round(0.8 * 0.5 * RATE) + 1
    assert np.isfinite(sound).all()


def test_a_bent_note_keeps_its_filter(tmp_path: Path) -> None:
    """Pieces filter a recording before it is played at its pitch, notes after that: they must agree all the same."""
    font = soundfont(tmp_path / "a.sf2", [(8, 9000), (7, 1200), (27, -1200), (28, -1200), (29, 1000), LOOPED])
    one, other = font.note(5, 60, 127, 4.0, 3.0, RATE), np.sqrt(2) * piece(font, 60, 0.0, 4.0)[0]
    for at_s in (0.2, 0.7, 0.9, 2.0):
        assert level_db(one, at_s) == pytest.approx(level_db(other, at_s), abs=0.7), at_s


def test_a_note_takes_a_millisecond_to_begin(tmp_path: Path) -> None:
    """The shortest attack of a soundfont is −12,000 timecents."""
    font = soundfont(tmp_path / "a.sf2", [LOOPED])
    expected = 16000 / 32768 * np.sin(2 * np.pi * np.arange(RATE) / PERIOD)
    rising = np.minimum(np.arange(RATE) / RATE * 1024, 1)
    np.testing.assert_allclose(play(font), expected * rising, atol=2e-4)


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
    font = general_midi()
    for program in (0, 4, 24, 25, 40, 42, 56, 65, 71, 73):
        sounds = np.stack([font.note(program, key, 100, 0.9, 1.0, 32000) for key in (60, 67, 74)])
        np.testing.assert_allclose(pitch_midi(torch.from_numpy(sounds), 32000).numpy(), [60, 67, 74], atol=0.2)


# Pieces

PITCHLESS = {
    **dict.fromkeys((8, 9, 13, 14, 98, 112), "bells and bars, whose partials are no multiples of one frequency"),
    **dict.fromkeys((55, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127), "hits, drums and noises"),
    31: "harmonics of a guitar, which this font has 4 semitones off",
    77: "breath",
    78: "a whistle, 66 cents flat in this font",
    86: "fifths",
}
"""Programs of General MIDI without a pitch, or with another."""


def tune(font: SoundFont, program: int, keys: list[int]) -> np.ndarray:
    """How far off notes are, in semitones but for octaves."""
    sounds = np.zeros((len(keys), 24000), np.float32)
    for row, key in zip(sounds, keys, strict=True):
        clip = font.render(key, 0.0, 0.7, program=program, rate_hz=32000).mean(0)[: len(row)]
        row[: len(clip)] = clip
    heard = pitch_midi(torch.from_numpy(sounds), 32000).numpy()
    return (heard - keys + 6) % 12 - 6


def test_every_program_is_in_tune() -> None:
    font = general_midi()
    for program in sorted(set(range(120)) - set(PITCHLESS)):
        # Tremolo, and detuned pairs of samples, sound around their pitch.
        limit = 0.4 if program in (15, 21, 22, 23, 84, 114) else 0.2
        keys = [36, 43, 50] if 32 <= program < 40 else [48, 62, 65]
        assert np.abs(tune(font, program, keys)).max() < limit, program


def test_a_piece_is_the_sum_of_its_notes() -> None:
    """Chords, repeats, notes of several lengths that share a voice, drums: each as it sounds alone, at its place."""
    rng, n = np.random.default_rng(0), 40
    start = rng.integers(0, 16, n) / 8
    columns = {
        "key": rng.choice([40, 52, 60, 64], n),
        "start_s": start,
        "end_s": start + rng.choice([0.05, 0.125, 0.5, 1.3], n),
        "program": rng.choice([0, 19, 26, 33, 48], n),  # 26 has zones that leave their loop
        "velocity": rng.choice([50, 90], n),
    }
    together = general_midi().render(**columns)
    expected = np.zeros_like(together)
    for i in range(n):
        alone = general_midi().render(**{name: column[i] for name, column in columns.items()})
        expected[:, : alone.shape[1]] += alone
    np.testing.assert_allclose(together, expected, atol=2e-5)
    assert np.abs(together).max() > 0.1
    np.testing.assert_array_equal(together, general_midi().render(**columns))


def test_a_piece_has_the_sound_of_single_notes() -> None:
    for program in (0, 24, 33, 40, 56, 73):
        piece = np.sqrt(2) * general_midi().render(60, 0.0, 0.5, program=program, velocity=80, rate_hz=32000)
        single = general_midi().note(program, 60, 80, 0.5, piece.shape[1] / 32000, 32000)
        mono = piece.mean(0)
        if np.abs(piece[0] - piece[1]).max() < 0.02 * np.abs(piece).max():  # nothing is panned
            assert np.abs(mono - single).max() < 0.1 * np.abs(single).max(), program  # interpolated in two ways
        assert np.sqrt((mono**2).mean()) == pytest.approx(np.sqrt((single**2).mean()), rel=0.1), program


def piece(font: SoundFont, *args: float, velocity: int = 127) -> np.ndarray:
    return font.render(*args, program=5, velocity=velocity, rate_hz=RATE)


def test_filter_and_loop_of_pieces_have_no_seam(tmp_path: Path) -> None:
    """A sine stays one, at −3 dB at the cutoff of a Butterworth filter, an octave up as well."""
    for key in (60, 72, 51):
        hz = RATE / PERIOD * 2 ** ((key - 60) / 12)
        cents = round(1200 * np.log2(hz / 8.176))
        left, right = piece(soundfont(tmp_path / "a.sf2", [(8, cents), LOOPED]), key, 0.0, 2.0)
        np.testing.assert_array_equal(left, right)
        time_s = np.arange(RATE) / RATE
        basis = np.exp(2j * np.pi * hz * time_s)
        part = left[RATE // 4 : RATE // 4 + RATE]  # the filter has swung in
        wave = 2 * (part * basis.conj()).mean()
        assert 20 * np.log10(abs(wave) * 32768 / 16000) == pytest.approx(-6.02, abs=0.05)
        np.testing.assert_allclose(part, (wave * basis).real, atol=2e-3)


def test_a_slow_filter_forgets_how_the_sample_began_before_a_round_of_the_loop_is_repeated(tmp_path: Path) -> None:
    """A narrow resonance at 40 Hz, which the beginning of the sample excites, swings for longer than the sample lasts."""
    font = soundfont(tmp_path / "a.sf2", [(8, round(1200 * np.log2(40 / 8.176))), (9, 200), LOOPED])
    sound = np.sqrt(2) * piece(font, 60, 0.0, 1.0)[0, :RATE]
    whole = font.note(5, 60, 127, 1.0, 1.2, RATE)[:RATE]
    assert np.abs(sound - whole).max() < 0.01 * np.abs(whole).max()


@pytest.mark.parametrize(
    ("pan", "left"), [(-500, 1.0), (-250, np.cos(np.pi / 8)), (0, np.sqrt(0.5)), (500, 0.0), (900, 0.0)]
)
def test_pan_is_equal_in_power(pan: int, left: float, tmp_path: Path) -> None:
    levels = np.abs(piece(soundfont(tmp_path / "a.sf2", [(17, pan), LOOPED]), 60, 0.0, 1.0)).max(1) * 32768 / 16000
    np.testing.assert_allclose(levels, [left, np.sqrt(1 - left**2)], atol=2e-3)


def test_notes_ring_after_they_are_let_go(tmp_path: Path) -> None:
    font = soundfont(tmp_path / "a.sf2", [(38, 0), LOOPED])  # 100 dB in 1 s
    sound = piece(font, 60, 0.5, 1.0)
    assert sound.shape[1] / RATE == pytest.approx(1.8, abs=0.01)  # 80 dB further down
    assert not sound[:, : RATE // 2].any()
    assert level_db(sound[0], 0.9) == pytest.approx(-3.01, abs=0.05)
    assert level_db(sound[0], 1.2) == pytest.approx(-3.01 - 20 + 1.25, abs=0.5)
    assert level_db(piece(font, 60, 0.0, 1.0, velocity=64)[0], 0.5) == pytest.approx(
        -3.01 + 40 * np.log10(64 / 127), abs=0.05
    )
    assert font.render([], [], []).shape == (2, 0)


def test_a_loop_may_be_left_at_the_release(tmp_path: Path) -> None:
    """The loop lies in the first half of the sample; the second one is heard at the end alone, and then nothing."""
    half, lasts = (3, -5 * PERIOD), (38, 1200)
    looped, left = (soundfont(tmp_path / f"{mode}.sf2", [half, lasts, (54, mode)]) for mode in (1, 3))
    stays, goes = piece(looped, 60, 0.0, 0.5), piece(left, 60, 0.0, 0.5)
    assert stays.shape[1] / RATE == pytest.approx(0.5 + 1.6, abs=0.01)
    rounds = 19  # after the first one, when 0.5 s are over
    assert goes.shape[1] == pytest.approx(5 * PERIOD + rounds * 4 * PERIOD + 5 * PERIOD, abs=1)
    np.testing.assert_allclose(goes[:, :7900], stays[:, :7900], atol=1e-3)


def test_drums_are_there_and_a_closed_hi_hat_cuts_an_open_one() -> None:
    font = general_midi()
    for key in (35, 36, 38, 41, 42, 46, 49, 51, 56):
        assert np.abs(font.render(key, 0.0, 0.1, drums=True)).max() > 0.05
    opened = font.render(46, 0.0, 0.05, drums=True)
    both = font.render([46, 42], [0.0, 0.2], [0.05, 0.25], drums=True)
    closed = font.render(42, 0.2, 0.25, drums=True)
    cut, over = round(0.2 * 44_100), round(0.21 * 44_100)
    assert np.abs(opened[:, over:]).max() > 0.01
    np.testing.assert_allclose(both[:, :cut], opened[:, :cut], atol=1e-6)
    np.testing.assert_allclose(both[:, over:], closed[:, over:], atol=1e-6)
    crash = font.render([46, 49], [0.0, 0.2], [0.05, 0.25], drums=True)  # of no class
    alone = font.render(49, 0.2, 0.25, drums=True)[:, over : opened.shape[1]]
    np.testing.assert_allclose(crash[:, over : opened.shape[1]] - alone, opened[:, over:], atol=1e-5)


def test_programs_that_are_missing_are_played_by_the_first() -> None:
    font = general_midi()
    kit = [font.render(38, 0.0, 0.1, program=program, drums=True) for program in (0, 3, 16)]
    np.testing.assert_array_equal(kit[0], kit[1])
    assert kit[0].shape != kit[2].shape or np.abs(kit[0] - kit[2]).max() > 0.01
    assert not np.array_equal(kit[0], font.render(38, 0.0, 0.1))
