"""What the benchmarks share: the machine in words, sides timed in turn, and results as files."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"

Side = Callable[[int], None]
"""Does so many steps, going on where it stopped."""


def machine() -> dict[str, Any]:
    """Where and when figures were taken. The load tells how much else ran: with more than one process per core, wall-clock
    times say little, and times of the processor somewhat more than alone."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "date": date.today().isoformat(),
        "os": f"{platform.system()} {platform.machine()}",
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 1),
    }


def steps_for(side: Side, seconds: float) -> int:
    """Steps that take about so many seconds of processor time; warms the side up."""
    side(2)
    started, n = time.process_time(), 0
    while time.process_time() - started < seconds / 2:
        side(1)
        n += 1
    return max(1, round(n * seconds / (time.process_time() - started)))


def in_turn(sides: Mapping[str, Side], steps: Mapping[str, int] | int, rounds: int) -> dict[str, list[float]]:
    """Processor seconds per step of each side, one figure per round; every round begins with another side."""
    order, times = list(sides), {name: [] for name in sides}  # type: tuple[list[str], dict[str, list[float]]]
    for r in range(rounds):
        for name in order[r % len(order) :] + order[: r % len(order)]:
            n = steps if isinstance(steps, int) else steps[name]
            started = time.process_time()
            sides[name](n)
            times[name].append((time.process_time() - started) / n)
    return times


def spread(values: Sequence[float]) -> list[float]:
    """Least, quartile, median, quartile, most; rounded to four figures."""
    q1, q2, q3 = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return [float(f"{v:.4g}") for v in (min(values), q1, q2, q3, max(values))]


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Spread of the ratio in each round: a machine whose speed drifts does not decide it."""
    return spread([a / b for a, b in zip(over, under, strict=True)])


def save(path: Path, record: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
