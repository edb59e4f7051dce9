"""What is not a number stops a run, is never the best, and is never loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Result, bad

import musegen
from musegen.engine.checkpoint import load_model_file, newest_checkpoint, save_checkpoint, save_model_file
from musegen.engine.engine import Engine
from musegen.errors import BadInput, TrainingDiverged
from musegen.running.runs import Run, line_of
from musegen.running.validating import NONE_YET, next_best

SHORT: dict[str, Any] = {"steps": 4, "batch_size": 8, "validate_every": 1, "log_every": 1, "sample_every": 0}
SHORT |= {"device": "cpu", "latent_dim": 2, "widths": [7]}


def no_constants(text: str) -> Any:
    raise ValueError(text)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_validation_that_is_not_finite_is_said_and_is_not_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: float
) -> None:
    evaluate = Engine.evaluate

    def broken(self: Engine, *arguments: Any, **options: Any) -> dict[str, float]:
        found = evaluate(self, *arguments, **options)
        return (
            {k: value if k.endswith("/nelbo") else v for k, v in found.items()} if self.step_count in (1, 3) else found
        )

    monkeypatch.setattr(Engine, "evaluate", broken)
    run = musegen.train("vae", "toy", out=tmp_path / "run", **SHORT)
    best = newest_checkpoint(run.checkpoints)[1]["state"]["best"]
    assert best["step"] in (2, 4)
    assert math.isfinite(best["value"])
    said = capsys.readouterr().err
    assert f"The nelbo of the validation data is {value} at step 1, which cannot be the best." in said
    assert f"is {value} at step 3" in said
    lines = run.metrics_path.read_text().splitlines()
    rows = [json.loads(line, parse_constant=no_constants) for line in lines]
    valid = {row["step"]: row["autoencoder/nelbo"] for row in rows if row["kind"] == "valid"}
    assert valid[1] is None
    assert valid[3] is None
    assert valid[2] is not None
    assert run.metrics() == rows


def test_the_best_figure_is_the_lowest_that_is_one() -> None:
    best = dict(NONE_YET)
    steps = []
    for step, value in enumerate([math.nan, 5.0, math.inf, 4.0, 4.0, math.nan, -math.inf, 3.0], 1):
        best = next_best(best, value, step)
        steps.append((best["step"], best["since"]))
    assert steps == [(None, 1), (2, 0), (2, 1), (4, 0), (4, 1), (4, 2), (4, 3), (8, 0)]


def test_a_line_of_metrics_is_json() -> None:
    line = line_of({"step": 3, "a": math.nan, "b": -math.inf, "c": 0.5})
    assert json.loads(line, parse_constant=no_constants) == {"step": 3, "a": None, "b": None, "c": 0.5}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_optimiser_that_is_not_finite_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """Weights alone would look sound for a while: an infinite second moment stops them from moving."""
    step = Engine.step

    def broken(self: Engine, *arguments: Any) -> None:
        step(self, *arguments)
        if self.step_count == 3:
            (optimiser,) = self.optimisers.values()
            next(iter(optimiser.state.values()))["exp_avg_sq"].view(-1)[0] = value

    monkeypatch.setattr(Engine, "step", broken)
    options = SHORT | {"validate_every": 0, "checkpoint_every": 1, "quiet": True}
    with pytest.raises(
        TrainingDiverged, match=r"moments of the optimiser of the player \w+ became NaN or infinite by step 3"
    ):
        musegen.train("vae", "toy", out=tmp_path / "run", **options)
    assert newest_checkpoint(tmp_path / "run" / "checkpoints")[1]["step"] == 2
    monkeypatch.undo()
    assert musegen.resume(tmp_path / "run", quiet=True).metrics()[-1]["step"] == 4


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_not_loaded(run: Callable[..., Result], tmp_path: Path, value: float) -> None:
    trained = musegen.train("vae", "toy", out=tmp_path / "run", quiet=True, **SHORT)
    musegen.load(trained.path).save(tmp_path / "model.safetensors")
    weights, config = load_model_file(tmp_path / "model.safetensors")
    name = next(name for name in weights if name.endswith("weight"))
    weights[name].view(-1)[0] = value
    save_model_file(tmp_path / "bad.safetensors", weights, config)
    bad(run("generate", "bad.safetensors", "--out", "new"), "Weights of the family vae are NaN or infinite", name)
    assert not (tmp_path / "new").exists()
    parts, manifest = newest_checkpoint(trained.checkpoints)
    parts["weights"][name].view(-1)[0] = value
    save_checkpoint(trained.checkpoints, 5, parts, manifest["state"])
    with pytest.raises(BadInput, match="NaN or infinite"):
        musegen.resume(trained.path, steps=9, quiet=True)


def test_metrics_that_somebody_damaged_are_refused_and_a_line_cut_off_is_not(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.metrics() == []
    whole = '{"step": 1, "kind": "train"}\n'
    for cut in ('{"step": 2, "ki', "\x00", '{"step": '):
        run.metrics_path.write_text(whole + cut)
        assert run.metrics() == [{"step": 1, "kind": "train"}]
    for damage in ("nonsense", "[1]", '{"kind": "train"}', '{"step": "two"}', "\u00ff", "[" * 100_000):
        run.metrics_path.write_text(whole + damage + "\n" + whole, "latin-1")
        with pytest.raises(BadInput, match=r"metrics\.jsonl is damaged in line 2: "):
            run.metrics()
    run.metrics_path.unlink()
    run.metrics_path.mkdir()
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        run.metrics()


def test_numpy_and_python_draw_by_the_seed_too(tmp_path: Path) -> None:
    """And go on where they stood: the same numbers in one run as in two parts of it."""
    import random

    import numpy as np

    drawn: dict[str, list[float]] = {"whole": [], "parts": []}
    step = Engine.step
    for name in drawn:

        def watched(self: Engine, *arguments: Any, name: str = name) -> None:
            drawn[name] += [random.random(), np.random.rand(), float(torch.rand(()))]  # noqa: NPY002
            step(self, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Engine, "step", watched)
            options = SHORT | {"quiet": True, "seed": 3}
            run = musegen.train("vae", "toy", out=tmp_path / name, **(options | {"steps": 4 if name == "whole" else 2}))
            if name == "parts":
                random.seed(9)
                musegen.resume(run.path, steps=4, quiet=True)
    assert len(drawn["whole"]) == 12
    assert drawn["whole"] == drawn["parts"]
