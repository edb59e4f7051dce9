"""Command lines by the thousand end with 0, 1 or 2 and one plain sentence, whatever somebody types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HELPER = Path(__file__).parents[1] / "helpers" / "command_lines.py"


def tried(folder: Path, seed: int, n: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HELPER), str(folder), str(seed), str(n)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(found["codes"])
    return found


def test_some_command_lines(tmp_path: Path) -> None:
    found = tried(tmp_path / "lines", 0, 12)
    assert found["wrong"] == []
    assert found["codes"]["0"] >= 2
    assert found["codes"]["2"] >= 4


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_thousand_command_lines(tmp_path: Path) -> None:
    assert tried(tmp_path / "lines", 1, 5000)["wrong"] == []
