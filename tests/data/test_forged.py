"""Files of strangers run nothing, write nowhere else, and take little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HELPER = Path(__file__).parents[1] / "helpers" / "forged.py"


def read(folder: Path, seed: int, n: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HELPER), str(folder), str(seed), str(n)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(found["codes"], found["highest_mb"])
    return found


def test_some_forged_files(tmp_path: Path) -> None:
    found = read(tmp_path / "forged", 0, 15)
    assert found["wrong"] == []
    assert found["codes"]["2"] >= 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_thousand_forged_files(tmp_path: Path) -> None:
    assert read(tmp_path / "forged", 1, 5000)["wrong"] == []
