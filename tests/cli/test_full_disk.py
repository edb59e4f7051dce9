"""On a disk that is full every command that writes says so in a sentence, ends with 1, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPER = Path(__file__).parents[1] / "helpers" / "full_disk.py"


@pytest.mark.slow
def test_every_command_that_writes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(HELPER), str(tmp_path / "disk")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["failed"] >= 15
