"""How fast training goes on a GPU: the part of ``gpu.py`` that trains.

``musegan`` is MuseGAN's composer (Dong et al. 2018): 4 bars × 96 steps × 84 pitches × 5 tracks, batch 64, Wasserstein with gradient
penalty, 5 critic updates per generator update, in float32, tf32 and bf16, and in bf16 with ``compile``. The
penalty is differentiated twice, which compiled graphs do not support, so the engine leaves the critic as it is.

A setting is timed only if its losses, in the first steps from the same weights with the same draws, are those of float32 up to
its precision; otherwise they are reported beside those expected. ``hours`` is what ``PAPER_STEPS`` generator updates take.

``rnn_nade`` is that family at its defaults.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from musegen.contracts.domain import Decoder, Discriminator, Spec
from musegen.contracts.family import Family
from musegen.data.batches import Batches
from musegen.engine import compiling
from musegen.engine.engine import Engine
from musegen.families.gan import GAN, GANConfig
from musegen.families.rnn_nade import RNNNADE, RNNNADEConfig
from musegen.probability.likelihood import Bernoulli
from musegen.running.config import RunConfig
from musegen_pianoroll.networks.musegan import ComposerDiscriminator, MuseGANDecoder
from musegen_pianoroll.store.windows import WindowDataset

if TYPE_CHECKING:
    from gpu import Machine

Windows = Callable[[int, int], WindowDataset]
"""Windows of so many steps with so many planes per track."""

PAPER_STEPS = 50_000
"""Generator updates of the authors' published configuration (``steps`` of their default_config.yaml)."""
N_TRACKS, N_PITCHES = 5, 84
FIRST_STEPS = 2
TOLERANCE = {"float32": 1e-3, "tf32": 0.02, "bf16": 0.1}
"""Of a loss, relative to 1 + its size. bfloat16 has 8 binary digits, and the critic's updates add up their rounding."""


@dataclass(frozen=True)
class Setting:
    """One way to train."""

    precision: str
    compile: str = "none"

    @property
    def named(self) -> dict[str, str]:
        return {"precision": self.precision, "compile": self.compile}

    def run(self, batch_size: int) -> RunConfig:
        precision = "bf16" if self.precision == "bf16" else "float32"
        return RunConfig(batch_size=batch_size, precision=precision, compile=self.compile)  # type: ignore[arg-type]

    def apply(self) -> None:
        torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = self.precision == "tf32"


REFERENCE = Setting("float32")
SETTINGS = [
    REFERENCE,
    Setting("tf32"),
    Setting("bf16"),
    Setting("bf16", "default"),
    Setting("bf16", "reduce-overhead"),
]


class Trainer:
    """A family with its engine and its batches, from the same weights and draws each time."""

    def __init__(self, machine: Machine, family: Family, config: RunConfig, dataset: WindowDataset) -> None:
        self.machine = machine
        if machine.small and not machine.cuda:
            compiling.BACKEND = "aot_eager"  # a test of this script: no compiler is needed, and no minutes
        self.engine = Engine(family.to(machine.device), config)
        ready = dataset.placed(machine.device, None, self.engine.batch_dtype)
        self.batches = Batches(ready, config.batch_size * family.minibatches, 0, machine.device)
        family.prepare(self.batches[0].float())
        torch.manual_seed(1)

    def steps(self, n: int) -> dict[str, float]:
        for _ in range(n):
            self.engine.step([self.batches[self.engine.step_count]])
        metrics = self.engine.collect()
        self.machine.wait()
        return metrics

    def per_second(self, seconds: float) -> float:
        """Steps, batching included, for about so many seconds after a warm-up."""

        def timed(n: int) -> float:
            start = time.perf_counter()
            self.steps(n)
            return time.perf_counter() - start

        small = self.machine.small
        timed(1 if small else 3)
        n = 1 if small else max(3, min(300, int(seconds / (timed(3) / 3))))
        return n / timed(n)


def composer(machine: Machine) -> tuple[GAN, int, int]:
    """The GAN, steps of a window, and the batch size."""
    bars, bar_steps, channels, size = (2, 8, 4, 2) if machine.small else (4, 96, 64, 64)
    config = GANConfig(latent_dim=128, loss="wasserstein-gp", critic_steps=5)
    spec = Spec((N_TRACKS, bars * bar_steps, N_PITCHES), ("track", "step", "pitch"), Bernoulli(), (), (), bar_steps)
    torch.manual_seed(0)
    networks: dict[str, nn.Module] = {}
    for name, wanted in GAN.networks(config, spec).items():
        match wanted:
            case Decoder():
                networks[name] = MuseGANDecoder("composer", wanted.n_code, spec.params_shape, N_TRACKS, bars, channels)
            case Discriminator():
                networks[name] = ComposerDiscriminator(spec.shape, bars, channels, wanted.norm)
    return GAN(config, spec, networks), bars * bar_steps, size


def first_losses(machine: Machine, setting: Setting, windows: Windows) -> tuple[dict[str, float], Trainer]:
    setting.apply()
    if setting.compile != "none":
        torch.compiler.reset()
    family, n_steps, size = composer(machine)
    trainer = Trainer(machine, family, setting.run(size), windows(n_steps, 1))
    return {k: v for k, v in trainer.steps(FIRST_STEPS).items() if k.endswith("/loss")}, trainer


def musegan(machine: Machine, setting: Setting, windows: Windows, expected: dict[str, float]) -> dict[str, Any]:
    """Steps per second of a setting, if its losses are those expected; those of the reference are written into ``expected``."""
    if machine.cuda:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    found, trainer = first_losses(machine, setting, windows)
    if setting == REFERENCE:
        expected.update(found)
    row: dict[str, Any] = {"first_losses": found, "seconds_until_then": time.perf_counter() - start}
    if not expected:
        return row | {"error": "there are no losses of float32 to compare these with"}
    tolerance = TOLERANCE[setting.precision]
    row["same_losses"] = all(abs(found[k] - v) <= tolerance * (1 + abs(v)) for k, v in expected.items())
    if not row["same_losses"]:
        return row | {"error": f"its losses are not those of float32, {expected}", "tolerance": tolerance}
    rate = trainer.per_second(10)
    return row | {
        "left_uncompiled": trainer.engine.left_uncompiled,
        "steps_per_s": rate,
        "hours": PAPER_STEPS / rate / 3600,
        "peak_memory_GB": torch.cuda.max_memory_allocated() / 1e9 if machine.cuda else None,
        "seconds_of_measuring": time.perf_counter() - start,
    }


def pays(rows: list[dict[str, Any]]) -> str:
    """Which setting to train with, in one sentence."""
    measured = [row for row in rows if "steps_per_s" in row]
    if not measured or any(measured[0][k] != v for k, v in REFERENCE.named.items()):
        return "float32 was not measured, so nothing can be said."
    base = measured[0]["steps_per_s"]

    def said(row: dict[str, Any]) -> str:
        name = row["precision"] + ("" if row["compile"] == "none" else f" with compile={row['compile']}")
        return f"{name}: {row['steps_per_s'] / base:.2f} times as fast as float32"

    best = max(measured, key=lambda row: row["steps_per_s"])
    missing = len(SETTINGS) - len(measured)
    sentence = "Nothing beats float32" if best is measured[0] else f"What pays is {said(best)}"
    others = "; ".join(said(row) for row in measured[1:] if row is not best)
    return sentence + (f" ({others})" if others else "") + (f"; {missing} not measured" if missing else "") + "."


def rnn_nade(machine: Machine, precision: str, windows: Windows) -> dict[str, Any]:
    steps, size = (8, 2) if machine.small else (64, 64)
    setting = Setting(precision)
    setting.apply()
    axes = ("track × plane", "step", "pitch")
    spec = Spec((2 * N_TRACKS, steps, N_PITCHES), axes, Bernoulli(), (), (), steps // 4)
    config = RNNNADEConfig(units=16, hidden=8, features=4) if machine.small else RNNNADEConfig()
    torch.manual_seed(0)
    trainer = Trainer(machine, RNNNADE(config, spec, {}), setting.run(size), windows(steps, 2))
    return {"precision": precision, "batch": size, "steps": steps, "steps_per_s": trainer.per_second(8)}
