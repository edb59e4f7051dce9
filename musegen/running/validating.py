"""Which validation batches a process evaluates, and whether a figure is the best so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from musegen.engine.processes import Processes

__all__ = ["NONE_YET", "next_best", "shared_out"]

NONE_YET: Mapping[str, Any] = {"value": None, "step": None, "since": 0}
"""The best figure before there is one: its value, the step it is of, and how many validations have not been better since."""


def shared_out(n_batches: int, processes: Processes) -> tuple[Sequence[int], int]:
    """Numbers of the batches that this process evaluates, and how many of them, from the first one on, count.

    As many for every process: whoever has fewer evaluates one that does not count.
    """
    share = processes.share(n_batches)
    return [*share, *[0] * (-(-n_batches // processes.count) - len(share))], len(share)


def next_best(best: Mapping[str, Any], value: float, step: int) -> dict[str, Any]:
    """The best figure, after another one. The lower is the better; one that is NaN or infinite is none."""
    if math.isfinite(value) and (best["value"] is None or value < best["value"]):
        return {"value": value, "step": step, "since": 0}
    return {**best, "since": best["since"] + 1}
