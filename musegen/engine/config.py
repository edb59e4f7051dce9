"""What the engine is told: how far, in which steps, on what, and how exactly to move the players."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from musegen.limits import most_processes
from musegen.options import option

__all__ = ["EngineConfig", "Precision"]

Precision = Literal["float32", "tf32", "bf16"]


@dataclass(frozen=True)
class EngineConfig:
    """How to move the players, whatever the family and the domain."""

    steps: int = option(10_000, "training steps; one step is one pass through the family's algorithm", ge=1)
    batch_size: int = option(64, "examples per minibatch", ge=1)
    learning_rate: float | dict[str, float] | None = option(
        None,
        "Adam's learning rate: one for every player, or one for each that is named, as in discriminator=4e-4,generator=1e-4; "
        "others have that of their family (musegen explain FAMILY)",
        gt=0,
    )
    weight_decay: float = option(
        0.0,
        "share by which weights shrink in every step, times the learning rate (AdamW, Loshchilov & Hutter 2019)",
        ge=0,
    )
    schedule: Literal["constant", "linear", "cosine", "inverse"] = option(
        "constant",
        "course of the learning rate: linear and cosine go to 0 at the last step, inverse to 0.17 of it, as (1 + 10 p)^-0.75 at "
        "the share p of the steps (Ganin et al. 2016)",
    )
    lr_warmup_steps: int = option(0, "steps over which the learning rate rises from 0", ge=0)
    clip_norm: float | None = option(None, "largest gradient norm of a player; longer gradients are scaled down", gt=0)
    ema: float = option(
        0.0,
        "decay of the moving average of weights used for samples and validation; 0 turns it off",
        ge=0,
        lt=1,
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps")
    processes: int = option(
        1,
        "processes on this machine that share every batch; torchrun says it for more machines",
        ge=1,
        le=most_processes(),
    )
    precision: Precision = option(
        "float32",
        "on a CUDA device; tf32: float32 whose matrix products round their factors to 10 binary digits; bf16: autocast",
    )
    compile: Literal["none", "default", "reduce-overhead"] = option(
        "none",
        "compile the networks, which takes minutes at the start; reduce-overhead replays CUDA graphs, for networks so small that "
        "calls into the device take longer than what it computes",
    )
