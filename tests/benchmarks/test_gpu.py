"""The script for a machine with a GPU, at tiny sizes, with no more packages than such a machine is promised to have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
BLOCKED = ["pretty_midi", "pypianoroll", "librosa", "symusic", "pydantic", "cyclopts", "matplotlib", "soundfile"]
BLOCKED += ["mido", "yaml", "PIL"]


def run(out: Path, *before: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import runpy, sys\nfor name in {BLOCKED}: sys.modules[name] = None\n{'; '.join(before)}\n"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        f"sys.argv = ['gpu.py', '--small', '--out', {str(out)!r}]\nrunpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_runs_to_its_end(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed, so its kernel cannot be run")
    done = run(tmp_path / "result.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["check"]["equal"]
    parts = [result["check"], result["bandwidth"], result["rivals"], *result["musegan"], *result["rnn_nade"]]
    assert [part["error"] for part in parts if "error" in part] == []
    assert [row["compile"] for row in result["musegan"]] == ["none", "none", "none", "default", "reduce-overhead"]
    assert "as fast as float32" in result["pays"]
    assert all(row["device_us"] > 0 for row in result["batching"] + result["tiles"])
    assert str(Path.home()) not in json.dumps(result)


@pytest.mark.slow
def test_a_wrong_kernel_is_found_and_a_failing_part_does_not_stop_the_others(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed, so its kernel cannot be run")
    wrong = (
        "import musegen_pianoroll.store.kernels as k, musegen_pianoroll.store.windows as p",
        "k.gather_windows_fused = lambda *a, **b: 1 - p.gather_windows_torch(*a[:7])",
    )
    done = run(tmp_path / "wrong.json", *wrong)
    assert done.returncode == 1
    assert "differs from the torch path" in done.stderr
    broken = (
        "import musegen_pianoroll.store.kernels as k",
        "k.gather_windows_fused = lambda *a, **b: 1 / 0",
    )
    done = run(tmp_path / "broken.json", *broken)
    assert done.returncode == 1  # what was not checked is not right
    result = json.loads((tmp_path / "broken.json").read_text())
    assert "ZeroDivisionError" in result["check"]["error"]
    assert result["musegan"][0]["steps_per_s"] > 0
