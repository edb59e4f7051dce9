"""What a command line test gets back, what bad input must look like, and runs in processes of their own."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """Exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str


def bad(result: Result, *parts: str) -> None:
    """Exit code 2 and one plain sentence that contains all parts."""
    assert result.code == 2, result.out + result.err
    assert "Traceback" not in result.err
    assert len(result.err.strip().splitlines()) == 1, result.err
    for part in parts:
        assert part in result.err, result.err


def wait_for_steps(run: Path, process: subprocess.Popen[str], n_lines: int) -> None:
    """Until a run that a process trains has logged so many lines. One that hangs is for the limit of the test to notice."""
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= n_lines):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.01)
