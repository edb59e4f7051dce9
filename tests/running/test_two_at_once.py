"""Two commands that write the same place at once: one of them does, whole, and the other one says why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

HELPER = Path(__file__).parents[1] / "helpers" / "two_at_once.py"
SCENARIOS = ("train", "overwrite", "resume", "both", "build", "generate")


def ends(folder: Path, scenario: str, trials: int) -> Counter[str]:
    """How often the two commands ended with which exit codes; there must have been nothing wrong."""
    done = subprocess.run(
        [sys.executable, str(HELPER), str(folder), scenario, str(trials), "0"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    return Counter(found["codes"])


@pytest.mark.parametrize("scenario", ["train", pytest.param("build", marks=pytest.mark.slow)])
def test_some_trials(tmp_path: Path, scenario: str) -> None:
    assert ends(tmp_path, scenario, 1)["0 2"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_hundred_trials(tmp_path: Path, scenario: str) -> None:
    assert ends(tmp_path, scenario, 100)["0 2"] >= 50
