"""What a run folder records."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from musegen.contracts.family import Capabilities
from musegen.data.arrays import ArrayDataset
from musegen.data.batches import Batches
from musegen.running.resolved import resolve
from musegen.running.runs import Run, line_of
from musegen.running.samples import drawn


def test_the_environment_names_the_packages_that_are_needed(tmp_path: Path) -> None:
    Run(tmp_path).write_environment(resolve("vae", "image", {}), "", "")
    environment = json.loads((tmp_path / "environment.json").read_bytes())
    packages = environment["packages"]
    assert {name: packages[name] for name in ("torch", "numpy", "safetensors")} == {
        name: version(name) for name in ("torch", "numpy", "safetensors")
    }
    assert "tensorboard" not in packages  # of an extra
    assert environment["musegen"] == version("musegen")


def test_a_sheet_of_reconstructions_shows_examples_of_all_parts_of_the_data() -> None:
    """Of a family that cannot sample: as many as are wanted, also where a batch has fewer."""

    class Mirror:
        capabilities = Capabilities(sample=False, reconstruct=True)

        def reconstruct(self, x: Tensor) -> Tensor:
            return -x

    dataset = ArrayDataset(torch.arange(100, dtype=torch.uint8)[:, None], scale=1)
    found = drawn(Mirror(), 5, Batches(dataset, 2, 0, torch.device("cpu")))  # type: ignore[arg-type]
    assert found is not None
    assert found.flatten().tolist() == [-10, -30, -50, -70, -90]


def test_metrics_are_rewound_to_a_step_and_that_step_stays(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.metrics_path.write_text(
        "".join(line_of({"step": step, "kind": kind}) for step in (1, 2, 3, 4) for kind in "ab")
    )
    run.rewind_metrics(3)
    assert [(row["step"], row["kind"]) for row in run.metrics()] == [(s, k) for s in (1, 2, 3) for k in "ab"]
    run.rewind_metrics(0)
    assert run.metrics() == []
