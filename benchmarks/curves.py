"""How a training step's time and memory grow with the batch, bars, tracks, resolution and the size of the corpus.

    python benchmarks/curves.py [--seconds 0.3] [--models gan,vae,rnn_nade] [--images docs/images]

One model each of three kinds on made-up music with two notes per beat and track: a GAN with MuseGAN's composer networks,
a VAE of perceptrons, an RNN-NADE. From a middle point one size at a time is changed. Every point is a process of its own,
forked after the imports: processor time of a step with its batch (median), and the largest resident memory beyond what
the imports take, weights, optimisers, corpus and all.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from measuring import RESULTS, machine, ratios, save

from musegen.contracts.family import build
from musegen.data.batches import Batches
from musegen.engine.devices import keep_freed_memory
from musegen.engine.engine import Engine
from musegen.families.gan import GAN, GANConfig
from musegen.families.rnn_nade import RNNNADE, RNNNADEConfig
from musegen.families.vae import VAE, VAEConfig
from musegen.running.config import RunConfig
from musegen_pianoroll.domain import PianorollConfig, PianorollDomain
from musegen_pianoroll.store.windows import WindowDataset

MIDDLE = {"batch": 8, "bars": 2, "tracks": 4, "steps per beat": 4, "windows": 1000}
POINTS = {
    "batch": [4, 8, 16, 32],
    "bars": [1, 2, 4, 8],
    "tracks": [1, 2, 4, 8],
    "steps per beat": [2, 4, 8, 12],
    "windows": [1000, 10_000, 100_000],
}
MODELS: dict[str, tuple[type[Any], Any, dict[str, Any]]] = {
    "gan": (GAN, GANConfig(), {"channels": 16}),
    "vae": (VAE, VAEConfig(), {"networks": "mlp"}),
    "rnn_nade": (RNNNADE, RNNNADEConfig(units=128, hidden=64), {}),
}


def corpus(domain: PianorollDomain, n_windows: int) -> WindowDataset:
    """Notes of half a beat at random pitches, packed as a store has them; never dense, which would take eight times as much."""
    c = domain.config
    length, n_tracks = n_windows * c.bars * c.bar_steps, len(domain.tracks)
    half = max(1, c.steps_per_beat // 2)
    generator = torch.Generator().manual_seed(0)
    shape = (-(-length // half), n_tracks, 1)
    pitch = torch.randint(c.lowest_pitch, c.highest_pitch + 1, shape, generator=generator, dtype=torch.uint8)
    planes = torch.zeros(length, n_tracks, c.n_planes, 16, dtype=torch.uint8)
    bit = torch.ones((), dtype=torch.uint8) << (pitch & 7)
    for step in range(half):  # frames go on, onsets are at the first step
        rows = planes[step::half]
        for plane in range(1 if step else c.n_planes):
            rows[:, :, plane].scatter_(2, (pitch >> 3).long()[: len(rows)], bit[: len(rows)])
    fixed = torch.tensor([track.is_drum for track in domain.tracks])
    starts = torch.arange(n_windows) * (c.bars * c.bar_steps)
    return WindowDataset(planes, starts, c.bars * c.bar_steps, c.pitch_range, fixed)


def measure(model: str, sizes: dict[str, int], seconds: float, keep: bool = True) -> dict[str, Any]:
    """One point, in this process, which keeps memory that it freed, as training does, or not."""
    if keep:
        keep_freed_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    family_class, config, options = MODELS[model]
    tracks = {f"T{i}": {"programs": [i]} for i in range(sizes["tracks"])}
    domain = PianorollDomain(
        PianorollConfig(tracks=tracks, bars=sizes["bars"], steps_per_beat=sizes["steps per beat"], **options)
    )
    torch.manual_seed(0)
    family = build(family_class, config, domain)
    batches = Batches(corpus(domain, sizes["windows"]), sizes["batch"], 0, torch.device("cpu"))
    family.prepare(batches[0])
    engine = Engine(family, RunConfig(batch_size=sizes["batch"], device="cpu"))
    times: list[float] = []
    while len(times) < 4 or sum(times) < seconds:
        started = time.process_time()
        engine.step([batches[engine.step_count]])
        times.append(time.process_time() - started)
    return {
        "ms_per_step": 1e3 * statistics.median(times[1:]),  # the first makes Adam's state and takes memory
        "peak_MB": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "parameters": sum(p.numel() for p in family.parameters()),
        "steps": len(times),
    }


def in_own_process(model: str, sizes: dict[str, int], seconds: float, keep: bool = True) -> dict[str, Any]:
    """The same in a process of its own, so that its peak of memory is its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def child(pipe: Connection) -> None:
        pipe.send(measure(model, sizes, seconds, keep))

    process = context.Process(target=child, args=(theirs,))
    process.start()
    theirs.close()
    try:
        result: dict[str, Any] = ours.recv()
    except EOFError:
        raise SystemExit(f"{model} at {sizes} ended without a result") from None
    process.join()
    return result


def keeping(model: str, seconds: float, rounds: int = 5) -> dict[str, Any]:
    """What it saves that freed memory is kept, at eight bars: time and memory without over time and memory with, in turn."""
    pairs = [
        [in_own_process(model, MIDDLE | {"bars": 8}, seconds, keep) for keep in (False, True)] for _ in range(rounds)
    ]
    return {
        quantity: ratios([without[quantity] for without, _ in pairs], [kept[quantity] for _, kept in pairs])
        for quantity in ("ms_per_step", "peak_MB")
    }


def growth(sizes: list[int], values: list[float]) -> float:
    """Exponent between the two largest sizes: 1 is linear, 0 constant."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def plot(curves: dict[str, Any], folder: Path) -> None:
    from matplotlib.figure import Figure

    for quantity, unit, file in (("ms_per_step", "ms of processor per step", "time"), ("peak_MB", "MB", "memory")):
        figure = Figure(figsize=(15, 3.2), layout="constrained")
        axes: Any = figure.subplots(1, len(POINTS), sharey=True)
        for axis, (what, sizes) in zip(axes, POINTS.items(), strict=True):
            for model, by_size in curves.items():
                axis.plot(sizes, [point[quantity] for point in by_size[what]], "o-", label=model)
            axis.set_xticks(sizes if what != "windows" else sizes[-1:])
            axis.set_xlabel(what)
            axis.grid(alpha=0.3)
        axes[0].set_ylim(0)
        axes[0].set_ylabel(unit)
        axes[0].legend(fontsize=8)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"cost_{file}.png", dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a point, at least four steps")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--out", type=Path, default=RESULTS / "curves.json")
    parser.add_argument("--images", type=Path, default=Path(__file__).parents[1] / "docs" / "images")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    where, known = machine(), {}  # type: dict[str, Any], dict[Any, dict[str, Any]]
    curves: dict[str, Any] = {}
    exponents: dict[str, Any] = {}
    for model in arguments.models.split(","):
        curves[model], exponents[model] = {}, {}
        for what, sizes in POINTS.items():
            points = []
            for size in sizes:
                at = MIDDLE | {what: size}
                key = (model, *at.values())
                if key not in known:
                    known[key] = in_own_process(model, at, arguments.seconds)
                points.append({"size": size, **known[key]})
                print(model, what, points[-1], flush=True)
            curves[model][what] = points
            exponents[model][what] = {
                quantity: round(growth(sizes, [point[quantity] for point in points]), 2)
                for quantity in ("ms_per_step", "peak_MB")
            }
    record = {
        "machine": where,
        "middle": MIDDLE,
        "exponent_between_the_two_largest": exponents,
        "without_over_with_freed_memory_kept": {model: keeping(model, arguments.seconds) for model in curves},
        "curves": curves,
    }
    print(record["without_over_with_freed_memory_kept"])
    save(arguments.out, record)
    plot(curves, arguments.images)


if __name__ == "__main__":
    main()
