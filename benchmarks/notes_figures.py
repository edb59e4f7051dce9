"""Figures of models of the notes that ship (audio, labels=instrument): is each sample of its class, and do they differ?

    python benchmarks/notes_figures.py MODEL … [--each 50] [--steps 900] [--seed 0]

A classifier of the ten families of instruments, the judge, learns from the training notes as the model's own options make
them spectrograms, in about a minute, and is tried on the test notes, which neither it nor the model has heard. Then, of
``--each`` samples per class, and of as many of its test notes, or all:

* right, grid: the share that the judge finds in the class that was asked for;
* right, sound: the same of what the model writes, read again from its WAV files;
* pitches: distinct pitches of the sound, as rounded MIDI numbers (YIN); pitched: the share that has one; in range: the
  share of those that lies in the 36 semitones that the family's notes have;
* apart: log-spectral distance between two of them, dB, mean over pairs;
* nearest: that from each to the nearest training note of its class, dB, mean: 0 would be a copy.

The test notes go the same way, through spectrogram and WAV file, and stand beside. Everything goes into
benchmarks/results/notes.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measuring import RESULTS, machine, save
from torch import Tensor, nn

import musegen
from musegen.contracts import piece
from musegen.data.arrays import ArrayDataset
from musegen_audio.domain import AudioDomain
from musegen_audio.files import read_clips
from musegen_audio.metrics import log_spectral_distance, pitch_midi
from musegen_audio.notes import FAMILIES, PITCHES

BATCH, RATE = 64, 4e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="run folders, model files, or names of models that ship")
    parser.add_argument("--each", type=int, default=50, help="samples per class")
    parser.add_argument("--steps", type=int, default=900, help="of the judge's training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", default="last")
    parser.add_argument("--out", type=Path, default=RESULTS / "notes.json")
    arguments = parser.parse_args()
    record: dict[str, Any] = {"machine": machine(), **{name: getattr(arguments, name) for name in ("each", "seed")}}
    for name in arguments.models:
        model = musegen.load(name, checkpoint=arguments.checkpoint)
        record[Path(name).stem] = figures = measure(model, arguments.each, arguments.steps, arguments.seed)
        print(json.dumps({Path(name).stem: figures["mean"]}), flush=True)
    save(arguments.out, record)


def measure(model: musegen.Model, each: int, steps: int, seed: int) -> dict[str, Any]:
    """Figures per class and their means, of the model's samples and of test notes."""
    domain = model.domain
    assert isinstance(domain, AudioDomain)
    _, data = AudioDomain.open(domain.config, None, Path())
    train, test = data.splits["train"], data.splits["test"]
    assert isinstance(train, ArrayDataset)
    assert isinstance(test, ArrayDataset)
    started = time.process_time()
    judge = trained_judge(train, len(FAMILIES), steps, seed)
    found: dict[str, Any] = {
        "judge": {
            "steps": steps,
            "processor_s": round(time.process_time() - started, 1),
            "right, test notes": shares(judge, test.x, test.label),
        },
    }
    found["samples"], found["test notes"] = {}, {}
    for k, name in enumerate(FAMILIES):
        heard = train.x[train.label == k]
        notes = test.x[test.label == k]
        picked = torch.randperm(len(notes), generator=torch.Generator().manual_seed(seed))[:each]
        # One class after the other, each with a seed of its own: the judge sees as many of each.
        samples = model.sample(each, seed=seed * len(FAMILIES) + k, label=k)
        found["samples"][name] = of_class(domain, judge, samples, k, heard)
        found["test notes"][name] = of_class(domain, judge, notes[picked].float(), k, heard)
        print(name, json.dumps(found["samples"][name]), "test notes", json.dumps(found["test notes"][name]), flush=True)
    found["mean"] = {
        side: {
            key: round(sum(row[key] for row in found[side].values()) / len(FAMILIES), 3) for key in found[side]["piano"]
        }
        for side in ("samples", "test notes")
    }
    return found


def trained_judge(train: ArrayDataset, n_classes: int, steps: int, seed: int) -> nn.Module:
    """A small convolutional network, in evaluation mode; noise and level vary, so that it goes by neither."""
    _, rows, columns = train.x.shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        width_in = 16
        for width in (32, 48, 64):
            layers += [
                nn.Conv2d(width_in, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            width_in = width
        n_features = width_in * (rows >> 4) * (columns >> 4)
        judge = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(n_features, n_classes))
        optimiser = torch.optim.AdamW(judge.parameters(), weight_decay=1e-2)
        course = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
        for _ in range(steps):
            rows_drawn = torch.randint(len(train.x), (BATCH,))
            x = train.x[rows_drawn].float()
            x = x + 0.1 * torch.rand(BATCH, 1, 1, 1) * torch.randn_like(x) + 0.1 * (torch.rand(BATCH, 1, 1, 1) - 0.5)
            loss = F.cross_entropy(judge(x.clamp(-1, 1)), train.label[rows_drawn])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            course.step()
    return judge.eval()


@torch.no_grad()
def right(judge: nn.Module, x: Tensor, label: Tensor | int) -> Tensor:
    """Whether the judge finds each of ``(n, 1, T, W)`` in its class, ``(n,)``."""
    return torch.cat([judge(part.float().clamp(-1, 1)).argmax(1) for part in x.split(256)]) == label


def shares(judge: nn.Module, x: Tensor, label: Tensor) -> dict[str, float]:
    """Share that is right, over all and by class."""
    hit = right(judge, x, label).double()
    by_class = {name: float(hit[label == k].mean()) for k, name in enumerate(FAMILIES)}
    return {name: round(value, 3) for name, value in ({"all": float(hit.mean())} | by_class).items()}


def of_class(domain: AudioDomain, judge: nn.Module, x: Tensor, k: int, heard: Tensor) -> dict[str, float]:
    """Figures of grids ``(n, 1, T, W)`` that should be of class k, whose training notes are ``heard``."""
    config, spectral = domain.config, domain.spectral
    with tempfile.TemporaryDirectory() as folder:
        paths = piece.save(domain.pieces(x), Path(folder), [f"{i:03d}" for i in range(len(x))])
        clips = np.concatenate([read_clips(path, config.sample_rate_hz, spectral.n_samples).x for path in paths])
    sound = torch.from_numpy(clips.astype(np.float32) / 32767)
    again = spectral.analyse(sound)
    lowest = list(FAMILIES.values())[k][1]
    pitch = pitch_midi(sound, config.sample_rate_hz)
    pitch = pitch[~pitch.isnan()].round()
    levels, known = spectral.decibels(x), spectral.decibels(heard)
    pairs = [log_spectral_distance(levels[i].expand_as(levels[:i]), levels[:i]) for i in range(1, len(levels))]
    nearest = torch.stack([log_spectral_distance(level.expand_as(known), known).min() for level in levels])
    figures = {
        "n": len(x),
        "right, grid": float(right(judge, x, k).double().mean()),
        "right, sound": float(right(judge, again, k).double().mean()),
        "pitches": len(pitch.unique()),
        "pitched": len(pitch) / len(x),
        "in range": float(((pitch >= lowest) & (pitch < lowest + PITCHES)).double().mean()) if len(pitch) else 0.0,
        "apart, dB": float(torch.cat(pairs).mean()),
        "nearest, dB": float(nearest.mean()),
    }
    return {key: round(value, 3) for key, value in figures.items()}


if __name__ == "__main__":
    main()
