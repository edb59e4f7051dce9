"""The configuration of a run: one flat set of plain names, validated once, at the border.

Options belong to the run (``RunConfig``, which has those of the engine too), to the family or to the domain (their ``Config``). The
same names work on the command line, in a YAML file, in Python and in the ``config.yaml`` of a run folder. pydantic does the
checking; it is imported only when there is something to check.
"""

from __future__ import annotations

from dataclasses import dataclass

from musegen.engine.config import EngineConfig
from musegen.options import option

__all__ = ["RunConfig"]


@dataclass(frozen=True)
class RunConfig(EngineConfig):
    """How to train, whatever the family and the domain."""

    init: str | None = option(
        None,
        "begin with the weights of this model, as far as they fit: a run folder, a model file, or the name of one that ships; "
        "options of the family and the domain are then the model's, unless they are set",
    )
    accumulate: int = option(1, "batches whose gradients are averaged into one step", ge=1)
    seed: int = option(0, "seed of everything random", ge=0)
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
    validate_examples: int = option(
        2000, "validation examples used each time, at most; evenly spread over the whole validation split", ge=1
    )
    early_stop: int = option(0, "stop after this many validations without improvement; 0 never", ge=0)
    checkpoint_every: int = option(500, "steps between checkpoints; 0: only at the end", ge=0)
    sample_every: int = option(1000, "steps between samples written to the run folder; 0 turns them off", ge=0)
    samples: int = option(16, "samples written each time", ge=1)
    trackers: list[str] = option(
        [], "where figures and pictures go besides the run folder, such as mlflow, or a tracker that a plugin offers"
    )
    tensorboard: bool = option(False, "write TensorBoard files: scalars, pictures, sound")
