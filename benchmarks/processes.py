"""What several processes on one CPU gain over one that uses as many threads: the same VAE, the same global batch, the same run.

    python benchmarks/processes.py [--processes 2] [--batch-size 512] [--rounds 7]

The program starts itself in so many processes, a thread each. Rounds alternate: all of them together on a batch, then the first one
alone on all of it, with as many threads as there are processes, while the others wait without computing. Reported are medians of
the per-round ratios, for the step and for what of it is communication.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import torch
import torch.distributed as dist

from musegen.contracts.domain import Decoder, Encoder, Spec
from musegen.data.arrays import ArrayDataset
from musegen.data.batches import Batches
from musegen.engine.engine import Engine
from musegen.engine.launch import environment
from musegen.engine.processes import ALONE, Processes, joined
from musegen.families.vae import VAE, VAEConfig
from musegen.networks.mlp import MLPDecoder, MLPEncoder
from musegen.probability.likelihood import Bernoulli
from musegen.probability.whole_batch import SharedBatch
from musegen.running.config import RunConfig

SHAPE, WIDTHS, LATENT = (1, 28, 28), [400, 400], 40


def engine(batch_size: int, processes: Processes) -> Engine:
    torch.manual_seed(0)
    spec = Spec(SHAPE, ("channel", "row", "column"), Bernoulli())
    config = VAEConfig(latent_dim=LATENT)
    wanted = VAE.networks(config, spec)
    assert isinstance(wanted["encoder"], Encoder)
    assert isinstance(wanted["decoder"], Decoder)
    networks = {"encoder": MLPEncoder(SHAPE, WIDTHS), "decoder": MLPDecoder(LATENT, SHAPE, WIDTHS)}
    return Engine(VAE(config, spec, networks), RunConfig(batch_size=batch_size, device="cpu"), processes)


def work(args: argparse.Namespace) -> None:
    """One process's part."""
    with joined(RunConfig(batch_size=args.batch_size, device="cpu")) as (processes, _):
        data = ArrayDataset(torch.randint(0, 2, (10_000, *SHAPE), dtype=torch.uint8), scale=1)
        batches = Batches(data, args.batch_size, 0, torch.device("cpu"))
        together, alone = engine(args.batch_size, processes), engine(args.batch_size, ALONE)
        part = processes.part(args.batch_size)
        assert part is not None
        parameters = together.parameters["autoencoder"]
        rounds = []
        for n in range(args.rounds + 1):
            torch.set_num_threads(1)
            dist.barrier()
            start = time.perf_counter()
            for step in range(args.steps):
                with SharedBatch(part, together.device):
                    batch = batches.rows(step, part.own)
                together.step([batch])
            dist.barrier()
            shared = time.perf_counter() - start
            start = time.perf_counter()
            for _ in range(args.steps):
                processes.average(parameters)
            dist.barrier()
            averaging = time.perf_counter() - start
            single = 1.0
            if processes.main:
                torch.set_num_threads(processes.count)
                start = time.perf_counter()
                for step in range(args.steps):
                    alone.step([batches[step]])
                single = time.perf_counter() - start
            together.collect()
            dist.barrier()
            if n:  # the first one warms up
                rounds.append((shared, single, averaging))
        if processes.main:
            report(args, processes.count, rounds, sum(p.numel() for p in parameters))


def report(args: argparse.Namespace, count: int, rounds: list[tuple[float, float, float]], n_parameters: int) -> None:
    speedups = [single / shared for shared, single, _ in rounds]
    result = {
        "date": date.today().isoformat(),
        "machine": {"system": platform.system(), "machine": platform.machine(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "load_at_the_end": os.getloadavg()[0],
        "processes": count,
        "batch_size": args.batch_size,
        "parameters": n_parameters,
        "rounds": len(rounds),
        "ms_per_step_together": 1e3 * statistics.median(r[0] for r in rounds) / args.steps,
        "ms_per_step_alone_with_threads": 1e3 * statistics.median(r[1] for r in rounds) / args.steps,
        "ms_per_step_averaging_gradients": 1e3 * statistics.median(r[2] for r in rounds) / args.steps,
        "speed_together_over_threads": statistics.median(speedups),
        "speed_lowest_highest": [min(speedups), max(speedups)],
    }
    print(json.dumps(result, indent=1))
    (Path(__file__).parent / "results" / "processes.json").write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    if "RANK" in os.environ:
        work(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        every = [environment(rank, args.processes, meeting) for rank in range(args.processes)]
        children = [subprocess.Popen([sys.executable, *sys.argv], env=own) for own in every]
        code = max(child.wait() for child in children)
    sys.exit(code)


if __name__ == "__main__":
    main()
