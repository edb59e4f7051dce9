"""The part of the benchmark for a GPU that trains: on a CPU, at tiny sizes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from musegen_pianoroll.store.windows import WindowDataset

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gpu_training
from gpu_training import REFERENCE, SETTINGS, Setting, pays


class Machine:
    """What is asked of a machine, here a CPU."""

    device, small, cuda = torch.device("cpu"), True, False

    def wait(self) -> None:
        pass


def windows(n_steps: int, n_planes: int) -> WindowDataset:
    torch.manual_seed(2)
    planes = torch.randint(0, 256, (200, 5, n_planes, 16), dtype=torch.uint8)
    planes &= torch.randint(0, 256, planes.shape, dtype=torch.uint8)
    return WindowDataset(planes, torch.arange(0, 150, 8), n_steps, (24, 108), torch.arange(5) == 0, range(-6, 7))


@pytest.fixture(autouse=True)
def as_before() -> Any:
    """The scripts set what torch and the engine do for a whole process."""
    from musegen.engine import compiling

    before, precision = compiling.BACKEND, torch.get_float32_matmul_precision()
    yield
    compiling.BACKEND = before
    torch.set_float32_matmul_precision(precision)


@pytest.mark.slow
def test_every_setting_is_measured_and_one_is_named() -> None:
    losses: dict[str, float] = {}
    rows = [s.named | gpu_training.musegan(Machine(), s, windows, losses) for s in SETTINGS]  # type: ignore[arg-type]
    assert set(losses) == {"discriminator/loss", "generator/loss"}
    for row in rows:
        assert row["same_losses"], row
        assert row["steps_per_s"] > 0
        assert row["left_uncompiled"] == ([] if row["compile"] == "none" else ["discriminator"])
    assert "times as fast as float32" in pays(rows)
    assert "not measured" not in pays(rows)
    assert gpu_training.rnn_nade(Machine(), "float32", windows)["steps_per_s"] > 0  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_setting_that_learns_something_else_is_not_timed() -> None:
    setting = Setting("bf16", "default")
    losses = {"discriminator/loss": -3.0, "generator/loss": 0.1}
    row = setting.named | gpu_training.musegan(Machine(), setting, windows, losses)  # type: ignore[arg-type]
    assert not row["same_losses"]
    assert "steps_per_s" not in row
    assert "not those of float32" in row["error"]
    without = gpu_training.musegan(Machine(), setting, windows, {})  # type: ignore[arg-type]
    assert "no losses of float32" in without["error"]


def test_what_pays_in_words() -> None:
    rows = [
        REFERENCE.named | {"steps_per_s": 10.0},
        Setting("tf32").named | {"steps_per_s": 12.0},
        Setting("bf16").named | {"left_out": "no time"},
        Setting("bf16", "default").named | {"steps_per_s": 25.0},
    ]
    assert pays(rows) == (
        "What pays is bf16 with compile=default: 2.50 times as fast as float32 (tf32: 1.20 times as fast as float32); "
        "2 not measured."
    )
    slower = [rows[0], Setting("tf32").named | {"steps_per_s": 9.0}]
    assert pays(slower).startswith("Nothing beats float32 (tf32: 0.90")
    assert "nothing can be said" in pays(rows[1:])
