"""What mel bands lose on the way back to sound: ``python benchmarks/round_trip.py [--out FILE]``.

Sines of half of full scale, square waves of full scale, and 32 of the notes that ship go to mel bands, in half precision as data
sets hold them, and back, with tracked and with random phases (the option ``phases``). Of waves: cents between the loudest partial
before and after, and the change of the RMS level of what is written. Of notes: root mean square and mean difference of levels, in
cells above −60 dB.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RESULTS, machine, save
from torch import Tensor

from musegen_audio.clips import Clip
from musegen_audio.config import AudioConfig, AudioWriting
from musegen_audio.domain import AudioDomain
from musegen_audio.notes import cached

SINES_HZ = (110.0, 220.0, 330.0, 440.0, 523.25, 700.0, 880.0, 1000.0, 1760.0, 3000.0, 5000.0)
SQUARES_HZ = (110.0, 220.0, 440.0, 700.0)
BANDS: dict[str, dict[str, Any]] = {
    "64 bands of 1,024 samples": {},
    "128 bands of 1,024 samples": {"n_mels": 128},
    "80 bands of 2,048 samples": {"n_mels": 80, "n_fft": 2048},
}
EDGE = 1024


def hz_of(sound: Tensor, rate_hz: int) -> float:
    """Frequency of the loudest partial: a parabola through the highest values of a long spectrum."""
    sound = sound[2 * EDGE : -2 * EDGE]
    n = 16 * len(sound)
    spectrum = torch.fft.rfft(sound * torch.hann_window(len(sound)), n).abs()
    top = int(spectrum.argmax())
    a, b, c = spectrum[top - 1 : top + 2].log().tolist()
    return (top + 0.5 * (a - c) / (a - 2 * b + c)) * rate_hz / n


def level_db(sound: Tensor) -> float:
    return 10 * math.log10(float(sound[EDGE:-EDGE].square().mean()))


def written(domain: AudioDomain, waves: Tensor) -> tuple[Tensor, Tensor]:
    """Clips ``(n, samples)`` through mel bands: their grids, and the sounds as they are written."""
    x = domain.spectral.analyse(waves).half()
    pieces: list[Clip] = domain.pieces(x)
    return x, torch.stack([torch.from_numpy(piece.audio()[0][0]) for piece in pieces])


def figures(domain: AudioDomain) -> dict[str, Any]:
    s = domain.spectral
    time_s = torch.arange(s.n_samples, dtype=torch.float64) / s.rate_hz
    sines = torch.stack([torch.sin(2 * math.pi * hz * time_s).float() / 2 for hz in SINES_HZ])
    squares = torch.stack([torch.sin(2 * math.pi * hz * time_s).sign().float() for hz in SQUARES_HZ])
    found: dict[str, Any] = {}
    for name, waves, pitches in (("sines", sines, SINES_HZ), ("squares", squares, SQUARES_HZ)):
        _, sounds = written(domain, waves)
        found[name] = {
            f"{hz:g}": {
                "cents": round(1200 * math.log2(hz_of(sound, s.rate_hz) / hz), 1),
                "db": round(level_db(sound) - level_db(wave), 1),
            }
            for hz, wave, sound in zip(pitches, waves, sounds, strict=True)
        }
    clips, _, _ = cached(s.rate_hz, s.n_samples)
    notes = torch.from_numpy(clips[:: len(clips) // 32][:32].astype(np.float32) / 32767)
    x, sounds = written(domain, notes)
    there, back = s.decibels(x), s.decibels(s.analyse(sounds))
    error = (back - there)[there > -60]
    found["notes"] = {
        "rms_db": round(float(error.square().mean().sqrt()), 2),
        "mean_db": round(float(error.abs().mean()), 2),
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "round_trip.json")
    out = parser.parse_args().out
    results = {
        bands: {
            phases: figures(AudioDomain(AudioConfig(**options), AudioWriting(phases)))  # type: ignore[arg-type]
            for phases in ("tracked", "random")
        }
        for bands, options in BANDS.items()
    }
    for bands, sides in results.items():
        for phases, found in sides.items():
            cents = [abs(row["cents"]) for row in found["sines"].values()]
            print(f"{bands}, {phases}: {found['notes']}, worst sine {max(cents):.1f} cents, {found['squares']}")
    save(out, {"machine": machine(), "round_trip": results})


if __name__ == "__main__":
    main()
