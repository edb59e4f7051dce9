"""How the built-in player sounds beside FluidSynth, on the same notes and the same soundfont.

    apt install fluidsynth
    python benchmarks/sound_figures.py [--out benchmarks/results/sound.json]

Five pieces of game music are written at a fixed velocity and played by both, FluidSynth without reverb and chorus. ``mel_db``: mean
absolute difference of 64-band mel spectra in decibels, over frames that are louder than −50 dB below the loudest, once the median
difference of level is taken off. ``centroid_semitones``: of single notes of a third of General MIDI's programs and five drums, how
far the centre of the spectrum lies off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi
import soundfile

from musegen.sound.soundfont import general_midi

RATE = 44_100
FONT = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"
PIECES = ["freedoom1_D_E1M1", "freedoom1_D_E1M2", "freedoom1_D_E1M4", "freedoom1_D_E1M6", "freedoom1_D_E1M8"]


def by_fluidsynth(midi: pretty_midi.PrettyMIDI) -> np.ndarray:
    """Mono ``(frames,)``."""
    with tempfile.TemporaryDirectory() as folder:
        midi.write(f"{folder}/a.mid")
        command = [
            "fluidsynth",
            "-ni",
            "-R",
            "0",
            "-C",
            "0",
            "-g",
            "0.5",
            "-r",
            str(RATE),
            "-F",
            f"{folder}/a.wav",
            str(FONT),
        ]
        subprocess.run([*command, f"{folder}/a.mid"], check=True, capture_output=True)
        return np.asarray(soundfile.read(f"{folder}/a.wav")[0]).mean(1)


def by_us(midi: pretty_midi.PrettyMIDI) -> np.ndarray:
    rows = [
        (note.pitch, note.start, note.end, part.program, part.is_drum, note.velocity)
        for part in midi.instruments
        for note in part.notes
    ]
    key, start, end, program, drums, velocity = (np.array(column) for column in zip(*rows, strict=True))
    sound = general_midi().render(key, start, end, program=program, drums=drums, velocity=velocity, rate_hz=RATE)
    return sound.mean(0)


def spectrum(sound: np.ndarray) -> np.ndarray:
    """Mel power in decibels ``(bands, frames)``."""
    import librosa

    return librosa.power_to_db(
        librosa.feature.melspectrogram(y=sound.astype(np.float32), sr=RATE, n_mels=64), top_db=None
    )


def mel_difference(a: np.ndarray, b: np.ndarray) -> float:
    n = min(len(a), len(b))
    x, y = (spectrum(s[:n]) for s in (a, b))
    loud = np.maximum(x.max(0), y.max(0)) > max(x.max(), y.max()) - 50
    both = np.maximum(x, y) > max(x.max(), y.max()) - 60
    difference = (x - y)[both & loud]
    return float(np.abs(difference - np.median(difference)).mean())


def centroid(sound: np.ndarray) -> float:
    """Of the power spectrum, in Hz."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float((power * np.fft.rfftfreq(len(sound), 1 / RATE)).sum() / power.sum())


def single(program: int, pitch: int, drums: bool = False) -> pretty_midi.PrettyMIDI:
    midi = pretty_midi.PrettyMIDI()
    part = pretty_midi.Instrument(program, drums)
    part.notes.append(pretty_midi.Note(90, pitch, 0.0, 1.0))
    midi.instruments.append(part)
    return midi


def thinned(path: Path) -> pretty_midi.PrettyMIDI:
    """A file's first 40 seconds of notes, without what moves within a note."""
    midi, read = pretty_midi.PrettyMIDI(), pretty_midi.PrettyMIDI(str(path))
    for part in read.instruments:
        own = pretty_midi.Instrument(part.program, part.is_drum)
        own.notes = [pretty_midi.Note(90, n.pitch, n.start, n.end) for n in part.notes if n.start < 40]
        midi.instruments.append(own)
    return midi


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sound.json")
    out = parser.parse_args().out
    folder = Path(__file__).parents[1] / "data" / "freedoom"
    result: dict[str, Any] = {"pieces": {}, "centroid_semitones": {}}
    for name in PIECES:
        midi = thinned(folder / f"{name}.mid")
        result["pieces"][name] = mel_difference(by_us(midi), by_fluidsynth(midi))
        print(name, round(result["pieces"][name], 2), flush=True)
    notes = {f"{program}": single(program, 60) for program in range(0, 120, 3)}
    notes |= {f"drum {pitch}": single(0, pitch, True) for pitch in (36, 38, 42, 46, 49)}
    for name, midi in notes.items():
        ours, theirs = centroid(by_us(midi)), centroid(by_fluidsynth(midi))
        result["centroid_semitones"][name] = 12 * np.log2(ours / theirs)
    apart = np.abs(list(result["centroid_semitones"].values()))
    result["centroid_median"], result["centroid_worst"] = float(np.median(apart)), float(apart.max())
    print(
        json.dumps(
            {key: value for key, value in result.items() if key.startswith("centroid_") and key != "centroid_semitones"}
        )
    )
    print(sorted(result["centroid_semitones"].items(), key=lambda item: -abs(item[1]))[:8])
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
