"""A run that is killed at any change that it makes on the disk goes on, and ends as if it had not been killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPER = Path(__file__).parents[1] / "helpers" / "kill_points.py"


def killed(folder: Path, scenario: str, first: int, every: int) -> int:
    """How many kills there were; all of them must have left nothing wrong."""
    done = subprocess.run(
        [sys.executable, str(HELPER), str(folder), scenario, str(first), str(every)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["wrong"] == {}
    return int(found["kills"])


@pytest.mark.parametrize(
    ("scenario", "first", "every"),
    [("train", 3, 60), ("more", 4, 35), pytest.param("overwrite", 5, 70, marks=pytest.mark.slow)],
)
def test_some_kills(tmp_path: Path, scenario: str, first: int, every: int) -> None:
    assert killed(tmp_path, scenario, first, every) >= 3


@pytest.mark.slow
def test_a_kill_at_every_change(tmp_path: Path) -> None:
    total = 0
    for scenario in ("train", "more", "overwrite"):
        (tmp_path / scenario).mkdir()
        total += killed(tmp_path / scenario, scenario, 0, 1)
    assert total >= 200
