"""Training runs in the studio: their curves and samples, and nothing else of their folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from musegen.errors import BadInput
from musegen.studio.runs import MOST_POINTS, Runs


def run_at(path: Path, n: int = 3) -> Path:
    """A folder like that of a run which is under way: the last line of its metrics is half-written."""
    (path / "samples/step_20").mkdir(parents=True)
    (path / "config.yaml").write_text("family: vae\ndomain: image\nsteps: 100\n")
    rows = [{"step": 10 * i, "kind": "train", "loss": 1 / i, "rate": None} for i in range(1, n + 1)]
    rows.append({"step": 10 * n, "kind": "valid", "elbo": -5.0})
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 40, "ki')
    Image.new("L", (4, 4)).save(path / "samples/step_20/picture.png")
    return path


def test_curves_and_samples_of_a_run(tmp_path: Path) -> None:
    runs = Runs([run_at(tmp_path / "given")], tmp_path / "runs")
    assert list(runs.places()) == ["given"]
    run_at(tmp_path / "runs/a")  # one that begins later
    run_at(tmp_path / "runs/sweep/b")
    assert set(runs.places()) == {"given", "a", "sweep · b"}
    found = runs.about("sweep · b")
    assert found == {
        "name": "sweep · b",
        "about": "vae on image",
        "step": 30,
        "steps": 100,
        "curves": {"train loss": [(10, 1.0), (20, 0.5), (30, 1 / 3)], "valid elbo": [(30, -5.0)]},
        "samples": [20],
    }
    assert runs.picture("a", 20) == tmp_path / "runs/a/samples/step_20/picture.png"


def test_runs_of_one_name_have_numbers(tmp_path: Path) -> None:
    runs = Runs([run_at(tmp_path / "x/a"), run_at(tmp_path / "y/a")])
    assert set(runs.places()) == {"a", "a 2"}


def test_long_curves_are_thinned_and_keep_their_last_point(tmp_path: Path) -> None:
    curve = Runs([run_at(tmp_path / "long", 1234)]).about("long")["curves"]["train loss"]
    assert 200 < len(curve) <= MOST_POINTS
    assert (curve[0][0], curve[-1][0]) == (10, 12_340)


@pytest.mark.parametrize("name", ["", "none", "../given", "/etc", "given/../given"])
def test_there_is_no_other_run(tmp_path: Path, name: str) -> None:
    runs = Runs([run_at(tmp_path / "given")], tmp_path)
    with pytest.raises(BadInput, match="has no run"):
        runs.about(name)
    with pytest.raises(BadInput, match="no samples of step 21"):
        runs.picture("given", 21)


def test_a_damaged_run_is_a_sentence(tmp_path: Path) -> None:
    path = run_at(tmp_path / "given")
    (path / "metrics.jsonl").write_text("x\ny\n")
    with pytest.raises(BadInput, match="damaged in line 1"):
        Runs([path]).about("given")
