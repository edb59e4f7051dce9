"""What several processes tell each other in a step, counted: every family as it is by default, on pictures and on music.

    python benchmarks/communication.py [--processes 8] [--batch-size 64]

A step of the first of so many processes runs here with the others left out: what it would send is counted, and it is handed its
own rows as everybody's. Bytes are what a call is given: an all-reduce of n bytes sends 2 n (k − 1) / k from each of k processes and
receives as much, an all-gather sends n and receives n (k − 1).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from musegen.contracts.family import build
from musegen.data.batches import Batches
from musegen.engine.engine import Engine
from musegen.engine.processes import Processes
from musegen.families import FAMILIES
from musegen.probability.whole_batch import SharedBatch
from musegen.running.config import RunConfig
from musegen.running.placement import auxiliary_dataset
from musegen.running.resolved import resolve

OPTIONS: dict[str, dict[str, Any]] = {
    "rnn_nade": {"image": {"binarisation": "dynamic"}},
    "ada": {"image": {"target": "inverted"}, "pianoroll": {"labels": "mode", "target": "chorales"}},
    "conditional_gan": {"pianoroll": {"labels": "mode"}},
    "semisupervised_vae": {"pianoroll": {"labels": "mode"}},
}
DOMAINS = {"image": {}, "pianoroll": {"bars": 2}}


class Done:
    """Stands for a transfer that has come to its end."""

    def wait(self) -> None:
        pass


@dataclass
class Count:
    """Calls and bytes by kind of transfer."""

    calls: Counter[str]
    bytes: Counter[str]


@contextlib.contextmanager
def counted(n_processes: int) -> Iterator[Count]:
    """A scope in which nothing is sent, and everybody has what one has."""
    count, own = Count(Counter(), Counter()), (dist.all_reduce, dist.all_gather)

    def note(kind: str, tensor: Tensor) -> None:
        count.calls[kind] += 1
        count.bytes[kind] += tensor.nbytes

    def all_reduce(tensor: Tensor, *args: Any, **kwargs: Any) -> Done:
        note("gradients" if kwargs.get("async_op") else "all-reduce", tensor)
        tensor *= n_processes
        return Done()

    def all_gather(everybody: list[Tensor], tensor: Tensor, *args: Any, **kwargs: Any) -> None:
        note("all-gather", tensor)
        for other in everybody:
            other.copy_(tensor)

    dist.all_reduce, dist.all_gather = all_reduce, all_gather  # type: ignore[assignment]
    try:
        yield count
    finally:
        dist.all_reduce, dist.all_gather = own


def measure(name: str, domain: str, n_processes: int, batch_size: int) -> dict[str, Any]:
    """One step of a family on a domain."""
    resolved = resolve(name, domain, DOMAINS[domain] | OPTIONS.get(name, {}).get(domain, {}))
    with tempfile.TemporaryDirectory() as folder:
        opened, data = resolved.domain.open(resolved.domain_config, None, Path(folder))
    torch.manual_seed(0)
    family = build(resolved.family, resolved.family_config, opened)
    family.n_examples = len(data.splits["train"])
    wanted = resolved.family.auxiliary(resolved.family_config, opened.spec)
    auxiliary = {key: auxiliary_dataset(resolved, data, want) for key, want in wanted.items()}
    batches = Batches(data.splits["train"], batch_size * family.minibatches, 0, torch.device("cpu"), auxiliary)
    processes = Processes(0, n_processes)
    part = processes.part(batch_size)
    assert part is not None
    engine = Engine(family, RunConfig(batch_size=batch_size, device="cpu"), processes)
    engine.step_count = 10**6  # beyond every warm-up, pretraining and boost
    with SharedBatch(part, engine.device):
        batch = batches.rows(0, part.own)
    with counted(n_processes) as count:
        engine.step([batch])
    return {
        "family": name,
        "domain": domain,
        "parameters": sum(p.numel() for p in family.parameters()),
        "moves": len(engine._pending),
        "gradient_bytes": count.bytes["gradients"],
        "gathered_bytes": count.bytes["all-gather"],
        "reduced_bytes": count.bytes["all-reduce"],
        "calls": sum(count.calls.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()
    rows = [measure(name, domain, args.processes, args.batch_size) for domain in DOMAINS for name, _, _ in FAMILIES]
    print("| family | domain | parameters | moves | gradients, MB | gathered, kB | reduced, kB | calls |")
    print("|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| `{r['family']}` | {r['domain']} | {r['parameters']:,} | {r['moves']} | {r['gradient_bytes'] / 1e6:.2f} | "
            f"{r['gathered_bytes'] / 1e3:.1f} | {r['reduced_bytes'] / 1e3:.1f} | {r['calls']} |"
        )
    result = {
        "date": date.today().isoformat(),
        "machine": {"system": platform.system(), "machine": platform.machine(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "processes": args.processes,
        "batch_size": args.batch_size,
        "steps": rows,
    }
    Path(__file__).with_name("results").joinpath("communication.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
