"""The configuration of a run: one flat set of plain names, validated once, at the border.

Options belong to the run (``RunConfig``), to the family or to the domain (their ``Config``). The same names work on the
command line, in a YAML file, in Python and in the ``config.yaml`` of a run folder. pydantic does the checking; it is
imported only when there is something to check.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from musegen.options import option

__all__ = ["FORMAT", "RunConfig"]

FORMAT = 1
"""Version of the formats of run folders, checkpoints and model files. A change that old code cannot read raises it."""


@dataclass(frozen=True)
class RunConfig:
    """How to train, whatever the family and the domain."""

    steps: int = option(10_000, "training steps; one step is one pass through the family's algorithm", ge=1)
    batch_size: int = option(64, "examples per minibatch", ge=1)
    learning_rate: float | None = option(None, "Adam's learning rate for every player (default: the paper's)", gt=0)
    schedule: Literal["constant", "linear", "cosine"] = option(
        "constant", "course of the learning rate, to 0 at the last step"
    )
    lr_warmup_steps: int = option(0, "steps over which the learning rate rises from 0", ge=0)
    clip_norm: float | None = option(None, "largest gradient norm of a player; longer gradients are scaled down", gt=0)
    accumulate: int = option(1, "batches whose gradients are averaged into one step", ge=1)
    ema: float = option(
        0.0,
        "decay of the moving average of weights used for samples and validation; 0 turns it off",
        ge=0,
        lt=1,
    )
    seed: int = option(0, "seed of everything random", ge=0)
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    processes: int = option(
        1, "processes on this machine that share every batch; torchrun says it for more machines", ge=1
    )
    precision: Literal["float32", "bf16"] = option("float32", "bf16: autocast on a CUDA device")
    compile: Literal["none", "default", "reduce-overhead"] = option(
        "none",
        "compile the networks, which takes minutes at the start; reduce-overhead replays CUDA graphs, for networks so small that "
        "calls into the device take longer than what it computes",
    )
    device_memory: float | None = option(
        None,
        "data that take more than this are streamed to the device while it trains (default: half of a CUDA device's memory; "
        "no limit on a CPU)",
        gt=0,
        unit="GB",
    )
    minutes: float | None = option(None, "stop after this much training time", gt=0, unit="minutes")
    log_every: int = option(50, "steps between lines of metrics.jsonl", ge=1)
    validate_every: int = option(500, "steps between validations; 0 turns them off", ge=0)
    validate_examples: int = option(2000, "validation examples used each time, at most", ge=1)
    early_stop: int = option(0, "stop after this many validations without improvement; 0 never", ge=0)
    checkpoint_every: int = option(500, "steps between checkpoints; 0: only at the end", ge=0)
    sample_every: int = option(1000, "steps between samples written to the run folder; 0 turns them off", ge=0)
    samples: int = option(16, "samples written each time", ge=1)
    tensorboard: bool = option(False, "write TensorBoard files: scalars, pictures, sound")
