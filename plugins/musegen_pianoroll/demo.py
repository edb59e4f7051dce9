"""``make demo``: a song by a model that ships, at once; then train a small band model on the Freedoom soundtrack for a few minutes,
and write new music.

python -m musegen_pianoroll.demo [--out out] [--minutes 4.5] [--seed 0]
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import musegen
from musegen.data.bundled import bundled
from musegen.errors import MusegenError
from musegen_pianoroll.domain import PianorollDomain
from musegen_pianoroll.measures.bars import measure, table

# What fits into a few minutes on two cores: two bars at sixteenth notes, a small code, a KL weight that leaves the
# code enough room to tell the pieces apart, and a learning rate that goes to 0 at the end.
RECIPE: dict[str, Any] = {
    "bars": 2,
    "latent_dim": 32,
    "beta": 0.2,
    "batch_size": 32,
    "learning_rate": 3e-3,
    "lr_warmup_steps": 100,
    "schedule": "cosine",
    "validate_every": 0,
    "sample_every": 0,
    "checkpoint_every": 2000,
}
PILOT_STEPS = 60
STEPS = (1500, 9000)
"""Fewest and most training steps, whatever the machine."""
MEASURED_SAMPLES = 512


def affordable_steps(seconds: float, seed: int) -> int:
    """How many steps fit into ``seconds`` on this machine, from a short pilot run."""
    with tempfile.TemporaryDirectory() as folder:
        run = musegen.train(
            "vae",
            "pianoroll",
            out=Path(folder) / "pilot",
            steps=PILOT_STEPS,
            log_every=20,
            seed=seed,
            quiet=True,
            **RECIPE,
        )
        rate = run.metrics()[-1]["steps_per_s"]
    return int(min(max(0.9 * rate * seconds, STEPS[0]), STEPS[1])) // 100 * 100


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on the Freedoom band pieces and write new music.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the run and the music")
    parser.add_argument("--minutes", type=float, default=4.5, help="training time, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-n", type=int, default=8, help="pieces to write")
    arguments = parser.parse_args()
    out = arguments.out
    started = time.monotonic()

    write_song(out, arguments.seed)
    print(f"Training a VAE on the Freedoom band pieces ({bundled('freedoom')}).", flush=True)
    steps = affordable_steps(60 * arguments.minutes, arguments.seed)
    print(f"This machine does about {steps} steps in {arguments.minutes:g} minutes.", flush=True)
    musegen.train(
        "vae", "pianoroll", out=out / "run", steps=steps, seed=arguments.seed, overwrite=True, log_every=100, **RECIPE
    )

    model = musegen.load(out / "run")
    domain = model.domain
    assert isinstance(domain, PianorollDomain)
    samples = model.sample(arguments.n, seed=arguments.seed)
    names = [f"band_{i:02d}" for i in range(len(samples))]
    pieces = domain.pieces(samples)
    for name, piece in zip(names, pieces, strict=True):
        for suffix in ("mid", "wav", "png"):
            piece.save(out / f"{name}.{suffix}")
    domain.sheet(pieces).save(out / "samples.png")
    write_walk(model, domain, samples, out)

    print("\nBars of the model beside bars of the data:\n")
    print(compare(model, domain, out / "run", arguments.seed))
    minutes = (time.monotonic() - started) / 60
    print(
        f"\nDone in {minutes:.1f} minutes. In {out}/ there are {len(names)} new pieces ({names[0]}.mid, .wav, .png and so on),"
    )
    print(
        "all of them in samples.png; walk.mid and walk.wav go from the first to the last of them in one longer piece;"
    )
    print("and the model is in run/. Next:")
    run = str(out / "run")
    first, second = (str(out / f"{names[i % len(names)]}.mid") for i in range(2))
    for words in (
        ["generate", run, "-n", "16", "--out", "more"],
        ["interpolate", run, first, second, "--out", "between"],
        ["train", "vae", "pianoroll", "FOLDER_OF_MIDI_FILES", "--out", "runs/mine"],
    ):
        print(f"  {shlex.join(['musegen', *words])}")


def write_song(out: Path, seed: int) -> None:
    """Eight bars of a model that ships, to given chords, and the same with a new melody in the last four."""
    out.mkdir(parents=True, exist_ok=True)
    model = musegen.load("pop")
    domain = model.domain
    song = model.sample(1, seed, n_steps=8 * domain.spec.bar, chords="Am F C G", top_p=0.97)[0]
    mask = torch.ones(song.shape[:2], dtype=torch.bool)
    melody = domain.spec.plan + 2 * list(domain.part_names[1:]).index("Melody")
    mask[melody : melody + 2, 4 * domain.spec.bar :] = False
    again = model.fill(song, mask, seed=seed + 1, top_p=0.97)
    for name, x in (("song", song[None]), ("song_again", again)):
        (piece,) = model.pieces(x)
        for suffix in ("mid", "wav", "png"):
            piece.save(out / f"{name}.{suffix}")
    print(
        f"{out}/song.mid and .wav: eight bars of the model pop to the chords Am F C G; song_again has another melody from bar 5 on."
    )


def write_walk(model: musegen.Model, domain: PianorollDomain, samples: torch.Tensor, out: Path) -> None:
    """One longer piece: phrases at equal steps of the code, on the way from the first sample to the last."""
    phrases = domain.pieces(model.interpolate(samples[0], samples[-1], steps=8, spherical=True))
    walk = phrases[0].then(*phrases[1:])
    walk.save(out / "walk.mid")
    walk.save(out / "walk.wav")


def compare(model: musegen.Model, domain: PianorollDomain, run: Path, seed: int) -> str:
    """The table of measures per track, samples beside the data that trained the model."""
    _, data = PianorollDomain.open(domain.config, None, run / "data")
    train = data.splits["train"]
    reference = train.gather(torch.arange(len(train)), torch.Generator()).x
    samples = model.sample(MEASURED_SAMPLES, seed=seed + 1)
    generated, real = (measure(domain.rolls(x), domain.config.bar_steps) for x in (samples, reference))
    return table(generated, real, [track.name for track in domain.tracks])


if __name__ == "__main__":
    try:
        main()
    except MusegenError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
