"""Batching on a CPU: packed planes against dense arrays, in one process, one after the other in turn.

    python benchmarks/batching.py [--rounds 25] [--out benchmarks/results/batching.json]

Windows of 5 tracks × 192 steps × 84 pitches in float32, 64 a batch, drawn at random from one corpus held three ways:
packed (16 bytes per step and track), dense uint8 of the 84 pitches, steps first or tracks first. The sides are
``gather_windows``, with and without a transposition per window; indexing of dense arrays with all starts at once; a
Python loop of slices over the windows; and ``DataLoader`` with slices of the dense array (0 and 2 workers).

In a round every side makes its batch five times in a row, and the shortest counts: whether 20 MB come fresh from the system, whose
page faults cost more than all that is measured here, or are reused is the allocator's affair and the same for all sides.

Figures are seconds of processor time of the process (of wall-clock for ``DataLoader`` with workers), with one thread, as ratios to
``gather_windows``: other work on the machine changes wall-clock, and less so these.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from musegen_pianoroll.store.windows import gather_windows, unpack_pitches

N_TRACKS, RANGE, N_STEPS, BATCH = 5, (24, 108), 192, 64
IN_A_ROW = 5


class Slices(torch.utils.data.Dataset):
    """What one writes for ``DataLoader``."""

    def __init__(self, dense: Tensor, starts: Tensor) -> None:
        self.dense, self.starts = dense, starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: int) -> Tensor:
        start = int(self.starts[i])
        return self.dense[:, start : start + N_STEPS].float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--steps", type=int, default=400_000, help="of the corpus")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "batching.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    bits = [torch.randint(0, 256, (arguments.steps, N_TRACKS, 1, 16), generator=generator) for _ in range(4)]
    planes = (bits[0] & bits[1] & bits[2] & bits[3]).to(torch.uint8)
    del bits
    steps_first = unpack_pitches(planes[:, :, 0])[..., slice(*RANGE)].contiguous()  # (steps, tracks, 84)
    tracks_first = steps_first.transpose(0, 1).contiguous()
    fixed = torch.arange(N_TRACKS) == 0
    within = torch.arange(N_STEPS)

    def loop(starts: Tensor, shift: Tensor) -> Tensor:
        out = torch.empty(BATCH, N_TRACKS, N_STEPS, RANGE[1] - RANGE[0])
        for i, start in enumerate(starts.tolist()):
            out[i] = tracks_first[:, start : start + N_STEPS]
        return out

    packed = "packed"
    sides: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        packed: lambda starts, shift: gather_windows(planes, starts, N_STEPS, RANGE, None, fixed),
        "packed, transposed per window": lambda starts, shift: gather_windows(
            planes, starts, N_STEPS, RANGE, shift, fixed
        ),
        "dense, indexed, steps first": lambda starts, shift: (
            steps_first[starts[:, None] + within]
            .transpose(1, 2)
            .to(torch.float32, memory_format=torch.contiguous_format)
        ),
        "dense, indexed, tracks first": lambda starts, shift: (
            tracks_first[:, starts[:, None] + within]
            .transpose(0, 1)
            .to(torch.float32, memory_format=torch.contiguous_format)
        ),
        "dense, a loop of slices": loop,
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for r in range(arguments.rounds + 2):
        starts = torch.randint(0, arguments.steps - N_STEPS, (BATCH,), generator=generator)
        shift = torch.randint(-6, 7, (BATCH,), generator=generator)
        expected = loop(starts, shift)
        for name, side in sides.items():
            assert "transposed" in name or torch.equal(side(starts, shift), expected)
            runs = []
            for _ in range(IN_A_ROW):
                start = time.process_time()
                side(starts, shift)
                runs.append(time.process_time() - start)
            if r >= 2:
                times[name].append(min(runs))
    for n_workers in (0, 2):
        starts = torch.randint(0, arguments.steps - N_STEPS, (40 * BATCH,), generator=generator)
        loader = torch.utils.data.DataLoader(Slices(tracks_first, starts), BATCH, shuffle=True, num_workers=n_workers)
        clock = time.perf_counter if n_workers else time.process_time
        batches = iter(loader)
        for _ in range(3):
            next(batches)
        start = clock()
        n = sum(1 for _ in batches)
        times[f"DataLoader, {n_workers} workers"] = [(clock() - start) / n]
    median = {name: statistics.median(values) for name, values in times.items()}
    ratios = {
        name: sorted(theirs / mine for theirs, mine in zip(values, times[packed], strict=True))
        if len(values) > 1
        else [values[0] / median[packed]]
        for name, values in times.items()
    }
    result = {
        "date": date.today().isoformat(),
        "machine": f"{platform.system()}, {platform.machine()}, one thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "batch": [BATCH, N_TRACKS, N_STEPS, RANGE[1] - RANGE[0]],
        "rounds": arguments.rounds,
        "ms_per_batch": {name: 1e3 * seconds for name, seconds in median.items()},
        "times_packed_min_median_max": {name: [r[0], statistics.median(r), r[-1]] for name, r in ratios.items()},
        "bytes_per_step": {
            "packed": planes[0].numel(),
            "dense": steps_first[0].numel(),
            "dense of 128 pitches": 128 * N_TRACKS,
        },
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
