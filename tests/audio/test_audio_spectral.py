"""Spectrograms and back: levels, frequencies, and how much a round trip costs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from musegen.errors import BadInput
from musegen_audio.clips import limited
from musegen_audio.notes import render
from musegen_audio.spectral import Spectral

RATE = 16000
DEFAULT: dict[str, Any] = {"rate_hz": RATE, "frames": 64, "n_fft": 1024, "hop": 256, "n_mels": 64, "floor_db": -80.0}


def spectral(kind: Any = "mel", **changed: Any) -> Spectral:
    return Spectral(kind, **(DEFAULT | changed))


def tone(s: Spectral, hz: float, level: float = 1.0) -> Tensor:
    return (level * torch.sin(2 * math.pi * hz * torch.arange(s.n_samples, dtype=torch.float64) / s.rate_hz)).float()[
        None
    ]


def bands_power_db(s: Spectral, x: Tensor) -> Tensor:
    """Level of all bands together, dB, in the middle."""
    return 10 * (10 ** (s.decibels(x)[0, s.frames // 2] / 10)).sum().log10()


@pytest.mark.parametrize("hz", [300.0, 1000.0, 1003.7, 5000.0])
@pytest.mark.parametrize("level_db", [0.0, -20.0, -50.0])
def test_a_sine_has_its_level_at_its_frequency(hz: float, level_db: float) -> None:
    s = spectral(floor_db=-140.0)  # so that the window's side lobes are not cut off
    x = s.analyse(tone(s, hz, 10 ** (level_db / 20)))
    assert x.shape == (1, 1, 64, 64)
    # The bands add up to 1 at every frequency, and a sine of amplitude 1 to 0 dB; each is cut at 0 dB, so stay below.
    if level_db < 0:
        assert float(bands_power_db(s, x)) == pytest.approx(level_db, abs=0.1)
    loudest = int(x[0, 0, 32].argmax())
    assert abs(int((s.centres_hz - hz).abs().argmin()) - loudest) <= 1


def test_the_scale_is_the_floor_to_full_scale() -> None:
    s = spectral()
    silent = s.analyse(torch.zeros(2, s.n_samples))
    assert torch.equal(silent, torch.full((2, 1, 64, 64), -1.0))
    assert torch.equal(s.synthesise(silent), torch.zeros(2, s.n_samples))
    x = torch.tensor([-1.0, 0.0, 1.0]).expand(1, 1, 64, 3)
    assert s.decibels(x)[0, 0].tolist() == [-80.0, -40.0, 0.0]
    assert float(s.analyse(torch.randn(1, s.n_samples)).abs().max()) <= 1


@pytest.mark.parametrize("gain_db", [-6.0, -20.0])
def test_a_softer_sound_is_as_much_lower_everywhere(gain_db: float) -> None:
    s = spectral(floor_db=-120.0)
    noise = 0.05 * torch.randn(1, s.n_samples)
    loud, soft = (s.decibels(s.analyse(gain * noise)) for gain in (1.0, 10 ** (gain_db / 20)))
    torch.testing.assert_close(soft - loud, torch.full_like(loud, gain_db), atol=1e-2, rtol=0)


def test_instantaneous_frequency_of_a_sine_is_its_frequency() -> None:
    s = spectral("if")
    hz = 1010.0
    x = s.analyse(tone(s, hz, 0.5))
    assert x.shape == (1, 2, 64, 512)
    near = round(hz * s.n_fft / s.rate_hz)
    advance = x[0, 1, 8:-8, near - 1 : near + 2]
    expected = (2 * hz * s.hop / s.rate_hz + 1) % 2 - 1  # half turns per frame
    torch.testing.assert_close(advance, torch.full_like(advance, expected), atol=1e-3, rtol=0)
    assert float(s.decibels(x)[0, 32, near]) == pytest.approx(-6.02, abs=1)


def test_a_chirp_comes_back_from_instantaneous_frequency() -> None:
    s = spectral("if")
    t = torch.arange(s.n_samples, dtype=torch.float64) / s.rate_hz
    chirp = (0.5 * torch.sin(2 * math.pi * (200 * t + 1500 * t.square()))).float()[None]
    back = s.synthesise(s.analyse(chirp))
    error = float((back - chirp)[:, 512:-512].square().mean() / chirp.square().mean())
    assert 10 * math.log10(error) < -50
    # In half precision, as data sets hold them, the error of the phases adds up over frames, and stays small.
    half = s.synthesise(s.analyse(chirp).half())
    assert 10 * math.log10(float((half - chirp)[:, 512:-512].square().mean() / chirp.square().mean())) < -30


def real_notes(s: Spectral) -> Tensor:
    clips, _, _ = render(s.rate_hz, s.n_samples, programs=1, pitches=8)
    return torch.from_numpy(clips[::6].astype(np.float32) / 32767)


@pytest.mark.parametrize(
    ("phases", "bounds_db"), [("tracked", (2.0, 1.6)), pytest.param("random", (3.0, 2.5), marks=pytest.mark.slow)]
)
def test_the_round_trip_through_mel_bands_costs_few_decibels(phases: Any, bounds_db: tuple[float, float]) -> None:
    for n_mels, bound_db in zip((64, 128), bounds_db, strict=True):
        s = spectral(n_mels=n_mels, phases=phases)
        x = s.analyse(real_notes(s))
        there = s.decibels(x)
        back = s.decibels(s.analyse(s.synthesise(x)))
        loud = there > -60
        assert loud.float().mean() > 0.1
        error = (back - there)[loud]
        assert float(error.square().mean().sqrt()) < bound_db
        assert float(error.mean().abs()) < 1


def frequency(sound: Tensor, rate_hz: int) -> float:
    """Of the loudest partial, by a parabola through the highest values of a long spectrum."""
    sound = sound[2048:-2048]
    n = 16 * len(sound)
    spectrum = torch.fft.rfft(sound * torch.hann_window(len(sound)), n).abs()
    top = int(spectrum.argmax())
    a, b, c = spectrum[top - 1 : top + 2].log().tolist()
    return (top + 0.5 * (a - c) / (a - 2 * b + c)) * rate_hz / n


@pytest.mark.parametrize(
    "options", [{}, {"n_mels": 128}, {"n_mels": 80, "n_fft": 2048}, {"rate_hz": 44100, "frames": 160}]
)
def test_tones_keep_their_pitch_and_their_level_through_mel_bands(options: dict[str, Any]) -> None:
    s = spectral(**options)
    pitches = [150.0, 220.0, 261.63, 440.0, 523.25, 700.0, 1000.0, 1760.0, 3000.0, 5000.0]
    tones = torch.cat([tone(s, hz, 0.5) for hz in pitches])
    grids = s.analyse(tones).half()  # as data sets hold them
    for hz, there, back in zip(pitches, tones, s.synthesise(grids), strict=True):
        assert abs(1200 * math.log2(frequency(back, s.rate_hz) / hz)) < 5, hz
        middle = slice(2048, -2048)
        assert 10 * math.log10(float(back[middle].square().mean() / there[middle].square().mean())) == pytest.approx(
            0, abs=0.3
        )


def test_a_square_wave_at_full_scale_is_hardly_softer() -> None:
    s = spectral()
    square = tone(s, 440.0).sign()
    there, back = (
        10 * math.log10(float(limited(x, s.rate_hz)[0, 1024:-1024].square().mean()))
        for x in (square, s.synthesise(s.analyse(square)))
    )
    assert back - there > -1.1  # with random phases, and one peak deciding for all, it was 9.6 dB softer
    assert frequency(s.synthesise(s.analyse(square))[0], s.rate_hz) == pytest.approx(440, abs=1)


def test_noise_stays_noise() -> None:
    s = spectral()
    noise = 0.1 * torch.randn(4, s.n_samples)
    x = s.analyse(noise)
    back = s.synthesise(x)
    error = s.decibels(s.analyse(back)) - s.decibels(x)
    assert float(error.square().mean().sqrt()) < 1
    spectrum = torch.stft(back, 1024, 256, window=torch.hann_window(1024), return_complex=True).abs().square()
    flatness = spectrum.clamp_min(1e-9).log().mean().exp() / spectrum.mean()
    assert float(flatness) > 0.4  # e^−0.577 = 0.56 for white noise, and 0 for tones


@pytest.mark.parametrize("n_mels", [16, 64, 128])
def test_where_a_tone_is_and_how_strong(n_mels: int) -> None:
    s = spectral(n_mels=n_mels, floor_db=-140.0)
    hz = 1003.0
    power = s._power(s.analyse(tone(s, hz, 0.25))[:, 0]) * 1.5
    guess, follows, is_tone = s.tones.spread(power)
    middle = guess[0, 32]
    assert float(middle.sum()) == pytest.approx(float(power[0, 32].sum()), rel=0.05)
    top = int(middle.argmax())
    assert top == round(hz * 1024 / RATE)
    assert bool(is_tone[0, 32, top])
    assert float(follows[0, 32, top]) == pytest.approx(hz, abs=1)


def test_phases_of_a_tone_advance_by_its_frequency() -> None:
    s = spectral()
    hz = torch.full((1, 5, 513), 500.0)
    phase = s.tones.phases(hz, torch.ones(1, 5, 513, dtype=torch.bool))
    steps = torch.arange(5)[:, None] * 2 * math.pi * 500 * 256 / RATE - math.pi / 2
    torch.testing.assert_close((phase[0] - steps).cos(), torch.ones(5, 513), atol=1e-4, rtol=0)
    later = s.tones.phases(hz[:, 3:], torch.ones(1, 2, 513, dtype=torch.bool), phase[:, 3])
    torch.testing.assert_close(later, phase[:, 3:])


def test_a_sound_does_not_depend_on_what_is_made_with_it() -> None:
    s = spectral()
    x = s.analyse(real_notes(s)[:5])
    torch.manual_seed(1)
    together = s.synthesise(x)
    torch.manual_seed(2)
    torch.testing.assert_close(s.synthesise(x[3:4])[0], together[3], atol=1e-4, rtol=0)
    assert torch.equal(s.synthesise(x), together)


def test_too_many_bands_are_refused() -> None:
    with pytest.raises(BadInput, match="n_mels=300 is too many for n_fft=256"):
        spectral(n_mels=300, n_fft=256, hop=64).analyse(torch.zeros(1, 63 * 64))


def test_nothing_comes_back_as_nothing() -> None:
    s = spectral()
    assert s.analyse(torch.zeros(0, s.n_samples)).shape == (0, 1, 64, 64)
    assert s.synthesise(torch.zeros(0, 1, 64, 64)).shape == (0, s.n_samples)
