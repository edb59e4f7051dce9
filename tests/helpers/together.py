"""Every family, on one process alone and on two together, and runs of two: a program that torchrun, or its environment, starts.

    torchrun --nproc-per-node 2 tests/together.py FOLDER/OUT

Each process writes what differs, by family, into OUT.0, OUT.1.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from configurations import ON_TOYS, TINY_SOUND, configured
from torch import Tensor
from toy import ToyPlugin

import musegen
from musegen.contracts.dataset import Batch
from musegen.contracts.family import build
from musegen.data.batches import Batches
from musegen.engine.checkpoint import newest_checkpoint
from musegen.engine.engine import Engine
from musegen.engine.processes import ALONE, Processes, joined
from musegen.plugins import registry
from musegen.probability.whole_batch import SharedBatch
from musegen.running.config import RunConfig
from musegen.running.placement import auxiliary_dataset
from musegen.running.resolved import resolve
from musegen_audio import notes

STEPS, BATCH = 3, 12
LEARNING_RATE, TOLERANCE = 0.05, 2e-5
DCGAN = {"networks": "dcgan", "channels": 4, "binarisation": "dynamic"}
"""Convolutions with batch normalisation, and data that are drawn anew at every visit."""
GANSYNTH = {**TINY_SOUND, "networks": "gansynth", "channels": 2}
"""Discriminators that see the deviation over the minibatch."""
ON_PICTURES = (
    *(
        "vae",
        "gan-hinge",
        "gan-non-saturating",
        "conditional_gan",
        "infogan",
        "vae_gan",
        "wake_sleep-reweighted",
        "gae-memory",
    ),
    *("gmmn-code", "ada-dann", "ada-adda", "semisupervised_vae-m2", "structured_vae", "aae-gaussian"),
)
# Phases that begin within the steps at hand, and options that the contract's configurations leave at their defaults.
OVER: dict[str, dict[str, Any]] = {
    "ada-adda": {"pretraining_steps": 1},
    "gmmn-code": {"pretraining_steps": 1},
    "semisupervised_vae": {"pretraining_steps": 1},
    "semisupervised_vae-m1": {"pretraining_steps": 1},
    "gae": {"memory_components": 3},
    "gae-memory": {"draws": 2},
    "vae-importance": {"importance_samples": 6},  # as many as examples in one part
}


def train(family_key: str, domain: str, options: dict[str, Any], processes: Processes) -> dict[str, Tensor]:
    """Weights and buffers after a few steps, and the metrics of these; plain gradient descent, because Adam's first steps go
    by the sign of a gradient, which rounding decides where it is 0."""
    name, options = configured(family_key, domain, OVER.get(family_key, {}) | options)
    resolved = resolve(name, domain, options)
    opened, data = resolved.domain.open(resolved.domain_config, None, Path("unused"))
    torch.manual_seed(0)
    family = build(resolved.family, resolved.family_config, opened)
    family.n_examples = 20  # so that an epoch ends within these steps
    config = RunConfig(batch_size=BATCH, device="cpu", clip_norm=100.0)
    engine = Engine(family, config, processes)
    engine.optimisers = {n: torch.optim.SGD(p, lr=LEARNING_RATE / BATCH) for n, p in engine.parameters.items()}
    wanted = resolved.family.auxiliary(resolved.family_config, opened.spec)
    auxiliary = {name: auxiliary_dataset(resolved, data, want) for name, want in wanted.items()}
    batches = Batches(data.splits["train"], BATCH * family.minibatches, 0, torch.device("cpu"), auxiliary)
    family.prepare(batches[0])
    part = processes.part(BATCH)

    def batch(step: int) -> Batch:
        if part is None:
            return batches[step]
        with SharedBatch(part, engine.device):
            return batches.rows(step, part.own)

    for step in range(STEPS):
        engine.step([batch(step)])
    metrics = {f"metric {name}": torch.tensor(value) for name, value in engine.collect().items()}
    generator = {"generator": torch.get_rng_state()}
    return {n: t.clone() for n, t in family.state_dict().items()} | metrics | generator


def differences(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> list[str]:
    assert ours.keys() == theirs.keys()
    return [
        f"{name}: {float((ours[name].double() - theirs[name].double()).abs().max()):.2g} of {float(theirs[name].abs().max()):.2g}"
        for name in ours
        if not torch.allclose(
            ours[name].double(), theirs[name].double(), rtol=tolerance, atol=tolerance, equal_nan=True
        )
    ]


RESUMED = ("vae-score-function", "gan-wasserstein", "gae", "gmmn-code", "ada-adda", "semisupervised_vae", "rnn_nade")
RUN = {"batch_size": 8, "log_every": 4, "validate_every": 4, "validate_examples": 16, "checkpoint_every": 0, "ema": 0.9}


def resume(key: str, folder: Path, rank: int) -> list[str]:
    """Half of a run, and the other half in as many processes, and in one: what differs from the whole run."""
    family, options = configured(key, "toy")
    options = options | RUN | {"device": "cpu", "sample_every": 0, "quiet": True}
    whole = musegen.train(family, "toy", out=folder / "whole", steps=8, **options)
    half = musegen.train(family, "toy", out=folder / "half", steps=4, **options)
    if rank == 0:
        shutil.copytree(half.path, folder / "alone")
    musegen.resume(half.path, steps=8, quiet=True)
    if rank:
        return []
    os.environ["WORLD_SIZE"] = "1"
    alone = musegen.resume(folder / "alone", steps=8, quiet=True)
    os.environ["WORLD_SIZE"] = "2"
    (theirs, _), (ours, _), (single, _) = (newest_checkpoint(run.checkpoints) for run in (whole, half, alone))
    problems = [f"resumed: {d}" for part in theirs for d in differences(ours[part], theirs[part], 0.0)]
    problems += [f"resumed alone: {d}" for d in differences(single["rng"], theirs["rng"], 0.0)]
    for run, tolerance in ((half, 0.0), (alone, 1e-3)):
        metrics = [{k: torch.tensor(v) for k, v in row.items() if "/" in k} for row in run.metrics()]
        expected = [{k: torch.tensor(v) for k, v in row.items() if "/" in k} for row in whole.metrics()]
        problems += [d for a, b in zip(metrics, expected, strict=True) for d in differences(a, b, tolerance)]
    return problems


def diverge(folder: Path, rank: int) -> list[str]:
    """A loss that is not a number in one process stops all of them, and the first one tells."""
    rows = Batches.rows

    def broken(self: Batches, step: int, own: Any) -> Batch:
        batch = rows(self, step, own)
        return Batch(batch.x * float("nan"), batch.index) if rank == 1 and step == 2 else batch

    Batches.rows = broken  # type: ignore[method-assign]
    try:
        musegen.train("vae", "toy", out=folder, steps=8, quiet=True, **RUN)
    except musegen.TrainingDiverged as error:
        return (
            []
            if "at step 2" in str(error) and error.reported_elsewhere == (rank != 0)
            else [f"{error} {error.reported_elsewhere}"]
        )
    finally:
        Batches.rows = rows  # type: ignore[method-assign]
    return ["went on"]


def main(out: Path) -> None:
    torch.set_num_threads(1)
    os.fsync = lambda file: None  # what is tested here survives no power cut, and a busy disk takes seconds
    registry().register(ToyPlugin(), "tests")
    notes.cached = lambda rate_hz, n: notes.render(rate_hz, n, programs=1, pitches=2)  # type: ignore[assignment]
    found: dict[str, list[str]] = {}
    with joined(RunConfig(batch_size=BATCH, device="cpu")) as (processes, _):
        pairs = [(key, "toy", {}) for key in ON_TOYS]
        pairs += [(key, "image", DCGAN) for key in ON_PICTURES]
        pairs += [(key, "audio", GANSYNTH) for key in ("gan-hinge", "gan-wasserstein")]
        for family, domain, options in pairs:
            together = train(family, domain, options, processes)
            first = torch.cat([t.double().flatten() for t in together.values()])
            processes.spread([first])
            same = dict(zip(together, first.split([t.numel() for t in together.values()]), strict=True))
            mine = {name: t.double().flatten() for name, t in together.items()}
            problems = [f"process {processes.rank} has its own {d}" for d in differences(mine, same, 0.0)]
            if processes.main:
                problems += differences(together, train(family, domain, options, ALONE), TOLERANCE)
            found[f"{family} on {domain}"] = problems
    for key in RESUMED:
        found[f"{key} resumed"] = resume(key, out.parent / key, processes.rank)
    found["a loss that is not a number"] = diverge(out.parent / "diverged", processes.rank)
    out.with_suffix(f".{processes.rank}").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
