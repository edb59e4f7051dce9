"""Every family, on this process alone and on all processes together: a program that torchrun, or its environment, starts.

    torchrun --nproc-per-node 2 tests/together.py OUT.json

The first process writes what differs, by family.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from test_contract import CONDITIONS, FAMILIES, FURTHER_FAMILIES
from torch import Tensor
from toy import ToyPlugin

from musegen.config import RunConfig
from musegen.data.dataset import Batch, Batches
from musegen.distributed import ALONE, Processes, joined
from musegen.engine import Engine
from musegen.family import build
from musegen.plugins import registry
from musegen.runs import resolve
from musegen.training import _stream
from musegen.whole_batch import SharedBatch

STEPS, BATCH = 3, 12
LEARNING_RATE, TOLERANCE = 0.05, 2e-5
DCGAN = {"networks": "dcgan", "channels": 4, "binarisation": "dynamic"}
"""Convolutions with batch normalisation, and data that are drawn anew at every visit."""
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
    "gae": {"warmup_steps": 1},
    "gae-memory": {"draws": 2},
    "vae-importance": {"importance_samples": 6},  # as many as examples in one part
}


def train(family_key: str, domain: str, options: dict[str, Any], processes: Processes) -> dict[str, Tensor]:
    """Weights and buffers after a few steps, and the metrics of these; plain gradient descent, because Adam's first steps go
    by the sign of a gradient, which rounding decides where it is 0."""
    family_name, family_options = (FAMILIES | FURTHER_FAMILIES)[family_key]
    options = family_options | OVER.get(family_key, {}) | options | CONDITIONS.get(family_key, {}).get(domain, {})
    resolved = resolve(family_name, domain, options)
    opened, data = resolved.domain.open(resolved.domain_config, None, Path("unused"))
    torch.manual_seed(0)
    family = build(resolved.family, resolved.family_config, opened)
    family.n_examples = len(data.splits["train"])
    config = RunConfig(batch_size=BATCH, device="cpu", clip_norm=100.0)
    engine = Engine(family, config, processes)
    engine.optimisers = {n: torch.optim.SGD(p, lr=LEARNING_RATE / BATCH) for n, p in engine.parameters.items()}
    wanted = resolved.family.streams(resolved.family_config, opened.spec)
    streams = {name: _stream(resolved, data, stream) for name, stream in wanted.items()}
    batches = Batches(data.splits["train"], BATCH * family.minibatches, 0, torch.device("cpu"), streams)
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
        if not torch.allclose(ours[name].double(), theirs[name].double(), rtol=tolerance, atol=tolerance, equal_nan=True)
    ]


def main(out: Path) -> None:
    torch.set_num_threads(1)
    registry().register(ToyPlugin(), "tests")
    found: dict[str, list[str]] = {}
    with joined(RunConfig(batch_size=BATCH, device="cpu")) as (processes, _):
        # What is given to rnn_nade is whole tracks, and toys have one.
        pairs = [(key, "toy", {}) for key in FAMILIES | FURTHER_FAMILIES if key != "rnn_nade-given"]
        pairs += [(key, "image", DCGAN) for key in ON_PICTURES]
        for family, domain, options in pairs:
            problems = []
            together = train(family, domain, options, processes)
            first = {name: t.clone() for name, t in together.items()}
            processes.spread(first.values())
            problems += [f"process {processes.rank} has its own {d}" for d in differences(together, first, 0.0)]
            if processes.main:
                problems += differences(together, train(family, domain, options, ALONE), TOLERANCE)
            found[f"{family} on {domain}"] = problems
    out.with_suffix(f".{processes.rank}").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
