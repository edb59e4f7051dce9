"""Type checkers of a user's script know every option of musegen's own families and domains."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = """
import torch
import musegen
from musegen.families.vae import VAE

run = musegen.train("vae", "pianoroll", out="x", steps=10, latent_dim=8, tempo=90, widths=[3], data=torch.zeros(3, 2))
musegen.train(VAE, "image", out="x", lattent_dim=8)
musegen.train("vae", "image", out="x", steps="many")
musegen.train("vae", "image", out="x", options={"of_a_plugin": 8})
musegen.resume(run, latent_dim=3)
musegen.evaluate(musegen.load(run).to("cpu")).log_probability
"""


@pytest.mark.slow  # half a minute of reading torch's types
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_a_misspelt_option_is_found(tmp_path: Path) -> None:
    assert (ROOT / "musegen" / "py.typed").is_file()
    (tmp_path / "script.py").write_text(SCRIPT)
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file=",
        "--ignore-missing-imports",
        "--cache-dir",
        str(tmp_path / "cache"),
    ]
    environment = os.environ | {"MYPYPATH": path, "PYTHONPATH": path}
    done = subprocess.run(
        [*command, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    wanted = [
        (7, 'Unexpected keyword argument "lattent_dim" for "train"; did you mean "latent_dim"?'),
        (8, 'Argument "steps" to "train" has incompatible type "str"; expected "int"'),
        (10, 'Unexpected keyword argument "latent_dim" for "resume"'),
        (11, '"Evaluation" has no attribute "log_probability"'),
    ]
    assert len(errors) == len(wanted), done.stdout
    for error, (line, message) in zip(errors, wanted, strict=True):
        assert error.startswith(f"script.py:{line}: error: {message}")
