"""Spectrograms and back: levels, frequencies, and how much a round trip costs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from musegen.errors import BadInput
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


@pytest.mark.parametrize(("n_mels", "bound_db"), [(64, 3.0), (128, 2.5)])
def test_the_round_trip_through_mel_bands_costs_few_decibels(n_mels: int, bound_db: float) -> None:
    s = spectral(n_mels=n_mels)
    x = s.analyse(real_notes(s))
    there = s.decibels(x)
    back = s.decibels(s.analyse(s.synthesise(x)))
    loud = there > -60
    assert loud.float().mean() > 0.1
    error = (back - there)[loud]
    assert float(error.square().mean().sqrt()) < bound_db
    assert float(error.mean().abs()) < 1


def test_a_tone_keeps_its_frequency_through_mel_bands() -> None:
    s = spectral(n_mels=128)
    for hz in (440.0, 1000.0, 3000.0):
        back = s.synthesise(s.analyse(tone(s, hz, 0.5)))[0, 2048:-2048]
        spectrum = torch.fft.rfft(back * torch.hann_window(len(back))).abs()
        assert float(spectrum.argmax()) * s.rate_hz / len(back) == pytest.approx(hz, rel=0.02)


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
