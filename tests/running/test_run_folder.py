"""What a run folder records."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from musegen.running.runs import Run, resolve


def test_the_environment_names_the_packages_that_are_needed(tmp_path: Path) -> None:
    Run(tmp_path).write_environment(resolve("vae", "image", {}), "", "")
    environment = json.loads((tmp_path / "environment.json").read_bytes())
    packages = environment["packages"]
    assert {name: packages[name] for name in ("torch", "numpy", "safetensors")} == {
        name: version(name) for name in ("torch", "numpy", "safetensors")
    }
    assert "tensorboard" not in packages  # of an extra
    assert environment["musegen"] == version("musegen")
