"""Does a long run leak? Memory and open files of a process that trains for thousands of steps.

    python benchmarks/long_runs.py [--steps 10000]

Each case trains in a process of its own, with validation, checkpoints and samples as in any run. Twice a second a thread notes the
resident memory (without pages of mapped files) and the number of open files. The table shows their medians in the third tenth of
the run, when all that a run keeps is there, and in the last tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

CASES: dict[str, tuple[str, str, float, dict[str, Any]]] = {
    # family, domain, share of the steps, options
    "vae": ("vae", "image", 1.0, {"widths": [64], "latent_dim": 8, "batch_size": 32}),
    "gan": ("gan", "image", 1.0, {"widths": [64], "latent_dim": 8, "batch_size": 32}),
    "rnn_nade": ("rnn_nade", "pianoroll", 0.2, {"units": 48, "hidden": 32, "features": 16, "bars": 2, "batch_size": 8}),
}
EVERY_S = 0.5


def resident_mb() -> float:
    """Memory of this process that is no file's, in MB (Linux)."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1000


def run(case: str, steps: int) -> dict[str, Any]:
    """Train a case in this process; medians of memory and open files."""
    import musegen

    family, domain, share, options = CASES[case]
    noted: list[tuple[float, int]] = []
    done = threading.Event()

    def note() -> None:
        while not done.wait(EVERY_S):
            noted.append((resident_mb(), len(os.listdir("/proc/self/fd"))))

    thread = threading.Thread(target=note)
    with tempfile.TemporaryDirectory() as folder:
        thread.start()
        try:
            n = max(1, round(share * steps))
            every = {
                "validate_every": n // 20,
                "checkpoint_every": n // 20,
                "sample_every": n // 10,
                "validate_examples": 256,
            }
            musegen.train(
                family, domain, out=Path(folder) / "run", steps=n, quiet=True, device="cpu", **every, **options
            )
        finally:
            done.set()
            thread.join()
    tenth = max(1, len(noted) // 10)
    early, late = noted[2 * tenth : 3 * tenth], noted[-tenth:]
    memory = [statistics.median(mb for mb, _ in part) for part in (early, late)]
    files = [statistics.median(n for _, n in part) for part in (early, late)]
    return {
        "case": case,
        "steps": n,
        "early_mb": memory[0],
        "late_mb": memory[1],
        "early_files": files[0],
        "late_files": files[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--case", choices=CASES)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(run(arguments.case, arguments.steps)))
        return
    print(f"{'':10}{'steps':>8}{'MB early':>10}{'MB late':>10}{'growth':>9}{'files early':>13}{'late':>6}")
    for case in CASES:
        command = [sys.executable, __file__, "--case", case, "--steps", str(arguments.steps)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        growth = found["late_mb"] / found["early_mb"] - 1
        row = f"{case:10}{found['steps']:>8,}{found['early_mb']:>10.1f}{found['late_mb']:>10.1f}{growth:>9.2%}"
        print(row + f"{found['early_files']:>13.0f}{found['late_files']:>6.0f}", flush=True)


if __name__ == "__main__":
    main()
