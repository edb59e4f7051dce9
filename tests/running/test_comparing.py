"""Runs beside each other: means and standard deviations over seeds, tables, curves."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import Result
from hypothesis import given
from hypothesis import strategies as st

import musegen
from musegen.errors import BadInput
from musegen.running.comparing import Comparison, Group, shown
from musegen.running.curves import band


def a_run(folder: Path, rows: Sequence[dict[str, Any]], **config: Any) -> Path:
    """A run folder as far as comparing reads it."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"format": 1, "family": "vae", "domain": "toy", "seed": 0} | config)
    )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def validated(*losses: float) -> list[dict[str, Any]]:
    return [{"step": 10 * (i + 1), "kind": "valid", "player/loss": loss} for i, loss in enumerate(losses)]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two families and two sizes, two seeds each."""
    for family, size, seed, loss in [
        *[("vae", size, seed, 10 * size + seed) for size in (2, 8) for seed in (0, 1)],
        *[("ae", 2, seed, 5 + 3 * seed) for seed in (0, 1)],
    ]:
        own = {"beta": 1.0} if family == "vae" else {}
        a_run(
            tmp_path / f"{family}-{size}-{seed}",
            validated(99.0, loss),
            family=family,
            latent_dim=size,
            seed=seed,
            **own,
        )
    return tmp_path


def test_groups_are_what_differs_but_for_the_seed(runs: Path) -> None:
    found = musegen.compare(runs)
    assert list(found.by) == ["family", "latent_dim"]  # beta is of every vae, and the same
    assert {group.label: (len(group.runs), group.mean("valid/player/loss")) for group in found.groups} == {
        "ae, latent_dim=2": (2, 6.5),
        "vae, latent_dim=2": (2, 20.5),
        "vae, latent_dim=8": (2, 80.5),
    }
    by_family = musegen.compare(sorted(runs.iterdir()), by=["family"], metrics=["loss"])
    assert [len(group.runs) for group in by_family.groups] == [2, 4]
    row = by_family.rows()[1]
    values = [20.0, 21.0, 80.0, 81.0]
    assert row["valid/player/loss mean"] == statistics.mean(values)
    assert row["valid/player/loss sd"] == pytest.approx(statistics.stdev(values), rel=1e-14)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_means_and_deviations_are_those_of_the_standard_library(values: list[float]) -> None:
    group = Group({}, [Path("x")] * len(values), {"m": values}, {})
    assert group.mean("m") == pytest.approx(statistics.mean(values), rel=1e-9, abs=1e-9)
    if len(values) > 1:
        assert group.deviation("m") == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-6)
    else:
        assert math.isnan(group.deviation("m"))


@pytest.mark.parametrize(
    ("mean", "deviation", "text"),
    [
        (98.123, 0.4321, "98.12 ± 0.43"),
        (98.123, 12.3, "98 ± 12"),
        (98.123, math.nan, "98.12"),
        (0.0012345, 0.00006, "0.001234 ± 0.000060"),
        (5.0, 0.0, "5 ± 0"),
        (math.nan, math.nan, "–"),
    ],
)
def test_numbers_have_the_digits_that_their_deviation_allows(mean: float, deviation: float, text: str) -> None:
    assert shown(mean, deviation) == text


@given(st.floats(-1e5, 1e5), st.floats(1e-5, 1e5))
def test_what_is_shown_is_near_what_it_is(mean: float, deviation: float) -> None:
    left, _, right = shown(mean, deviation).partition(" ± ")
    assert abs(float(left) - mean) <= 0.06 * deviation + 0.5
    assert abs(float(right) - deviation) <= 0.06 * deviation + 0.5


def test_tables_hold_the_same_numbers(runs: Path) -> None:
    found = musegen.compare(runs)
    rows = list(csv.DictReader(io.StringIO(found.table("csv"))))
    plain = json.loads(found.table("json"))["groups"]
    for row, group, wanted in zip(rows, plain, found.rows(), strict=True):
        assert float(row["valid/player/loss mean"]) == wanted["valid/player/loss mean"]
        assert group["metrics"]["valid/player/loss"]["sd"] == wanted["valid/player/loss sd"]
        assert len(group["metrics"]["valid/player/loss"]["values"]) == int(row["runs"]) == 2
    assert found.table("markdown").splitlines() == [
        "| family | latent_dim | runs | valid/player/loss |",
        "| --- | --- | --- | --- |",
        "| ae | 2 | 2 | 6.5 ± 2.1 |",
        "| vae | 2 | 2 | 20.50 ± 0.71 |",
        "| vae | 8 | 2 | 80.50 ± 0.71 |",
    ]
    latex = found.table("latex").splitlines()
    assert latex[0] == r"\begin{tabular}{llrr}"
    assert latex[2] == r"family & latent\_dim & runs & valid/player/loss \\"
    assert latex[4] == r"ae & 2 & $2$ & $6.5 \pm 2.1$ \\"
    with pytest.raises(BadInput, match="There is no format"):
        found.table("html")


def test_text_in_latex_is_text(tmp_path: Path) -> None:
    for i, name in enumerate(["50%_{x}", "a\\b"]):
        a_run(tmp_path / str(i), validated(1.0), networks=name)
    lines = musegen.compare(tmp_path).table("latex").splitlines()
    assert lines[4].startswith(r"50\%\_\{x\} &")
    assert lines[5].startswith(r"a\textbackslash{}b &")


def test_a_run_alone_and_runs_without_a_metric(tmp_path: Path) -> None:
    a_run(tmp_path / "one", validated(3.0), latent_dim=1)
    a_run(tmp_path / "two", [{"step": 5, "kind": "train", "player/other": 2.0, "steps_per_s": 7.0}], latent_dim=2)
    found = musegen.compare(tmp_path, metrics=["loss", "steps_per_s", "steps"])
    assert [row["valid/player/loss mean"] for row in found.rows()] == [3.0, None]
    assert [row["steps_per_s mean"] for row in found.rows()] == [None, 7.0]
    assert [row["valid/player/loss"] for row in found.shown()] == ["3", "–"]
    assert '"mean": null' in found.table("json")


def test_figures_of_an_evaluation(tmp_path: Path) -> None:
    options = {"steps": 3, "validate_every": 0, "sample_every": 0, "quiet": True, "latent_dim": 2}
    run = musegen.train("vae", "toy", out=tmp_path / "run", **options)
    found = musegen.evaluate(run, n=8, k=1)
    (run.path / "evaluation.json").write_text(json.dumps(found.as_dict()))
    assert found.log_prob is not None
    comparison = musegen.compare(run, metrics=["log_prob", "mean_samples"])
    assert comparison.groups[0].mean("evaluation/log_prob") == found.log_prob["nats"]
    assert comparison.groups[0].mean("evaluation/mean_samples") == found.metrics["mean_samples"].model
    (run.path / "evaluation.json").write_text("{}")
    with pytest.raises(BadInput, match="is damaged: write it again"):
        musegen.compare(run)


def test_validation_is_that_of_the_weights_that_are_loaded(tmp_path: Path) -> None:
    options = {
        "validate_every": 10,
        "learning_rate": 0.1,
        "sample_every": 0,
        "quiet": True,
        "latent_dim": 2,
        "examples": 16,
    }
    run = musegen.train("vae", "toy", out=tmp_path / "run", steps=150, **options)
    logged = [row["autoencoder/nelbo"] for row in run.metrics() if row["kind"] == "valid"]
    assert min(logged) < logged[-1], "it must overfit for this to tell anything"
    assert musegen.compare(run).groups[0].mean("valid/autoencoder/nelbo") == min(logged)


@given(st.lists(st.dictionaries(st.integers(0, 9), st.floats(-9, 9), min_size=1), min_size=1, max_size=4))
def test_bands_hold_every_curve(curves: list[dict[int, float]]) -> None:
    found = band([sorted(curve.items()) for curve in curves])
    assert [step for step, *_ in found] == sorted(set.intersection(*map(set, curves)))
    for step, mean, low, high in found:
        values = [curve[step] for curve in curves]
        assert low == min(values)
        assert high == max(values)
        assert low - 1e-9 <= mean <= high + 1e-9


def test_a_picture_of_the_curves(runs: Path) -> None:
    found = musegen.compare(runs)
    picture = found.picture()
    assert min(picture.size) > 200
    assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10
    with pytest.raises(BadInput, match="no curves"):
        Comparison(found.by, ["steps"], found.groups).picture()


def test_on_the_command_line(run: Callable[..., Result], runs: Path) -> None:
    assert "20.50 ± 0.71" in run("compare", runs).out
    assert run("compare", runs, "--by", "family", "--csv", "--metric", "loss").out.startswith(
        "family,runs,valid/player/loss mean"
    )
    assert json.loads(run("compare", runs, "--json").out)["by"] == ["family", "latent_dim"]
    assert run("compare", runs, "--curves", "curves.png").code == 0
    assert run("compare", runs, "--curves", "curves.png").code == 2  # which is there
    for arguments, message in [
        ([], "nothing to compare"),
        ([runs, "--csv", "--latex"], "do not go together"),
        ([runs, "--by", "famly"], 'Did you mean "family"'),
        ([runs, "--metric", "losss"], 'no metric "losss"'),
        ([runs / "nowhere"], "does not exist"),
    ]:
        result = run("compare", *arguments)
        assert (result.code, message in result.err) == (2, True), result.err
