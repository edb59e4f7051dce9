"""What a program may do while its training goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import musegen
from musegen.running.callbacks import Moment

RUN: dict[str, Any] = {
    "batch_size": 8,
    "log_every": 2,
    "validate_every": 4,
    "validate_examples": 8,
    "sample_every": 0,
    "device": "cpu",
    "quiet": True,
    "latent_dim": 2,
}


def test_moments_are_what_is_logged(tmp_path: Path) -> None:
    seen: list[Moment] = []
    run = musegen.train("vae", "toy", out=tmp_path / "run", callbacks=[seen.append], steps=8, **RUN)
    rows = [{k: v for k, v in row.items() if k != "steps_per_s"} for row in run.metrics()]
    assert rows == [{"step": m.step, "kind": m.kind, **m.metrics} for m in seen if m.kind != "end"]
    assert (seen[-1].kind, seen[-1].step, seen[-1].metrics) == ("end", 8, {})
    assert seen[-1].run.path == run.path
    assert seen[-1].family.name == "vae"
    more: list[Moment] = []
    musegen.resume(run, steps=10, quiet=True, callbacks=[more.append])
    assert [(m.kind, m.step) for m in more] == [("train", 10), ("valid", 10), ("end", 10)]


def test_a_callback_draws_and_trains_nothing(tmp_path: Path) -> None:
    def greedy(moment: Moment) -> None:
        torch.rand(100)
        moment.family.eval()
        assert moment.family.sample(2).requires_grad is False

    plain = musegen.train("vae", "toy", out=tmp_path / "plain", steps=8, **RUN)
    watched = musegen.train("vae", "toy", out=tmp_path / "watched", callbacks=[greedy], steps=8, **RUN)
    a, b = (musegen.load(run, checkpoint="last").family.state_dict() for run in (plain, watched))
    assert all(torch.equal(a[name].nan_to_num(), b[name].nan_to_num()) for name in a)


def test_true_stops_after_the_next_step_and_the_run_is_done(tmp_path: Path) -> None:
    run = musegen.train("vae", "toy", out=tmp_path / "run", callbacks=[lambda m: m.step >= 4], steps=100, **RUN)
    assert run.metrics()[-1]["step"] == 5
    assert repr(run).endswith("done at step 5)")
    assert musegen.load(run.path).sample(2).shape == (2, 1, 4, 4)


def test_an_error_of_a_callback_reaches_the_program_and_the_run_goes_on_later(tmp_path: Path) -> None:
    def fails(moment: Moment) -> None:
        raise ZeroDivisionError

    options = RUN | {"checkpoint_every": 1}
    with pytest.raises(ZeroDivisionError):
        musegen.train("vae", "toy", out=tmp_path / "run", callbacks=[fails], steps=8, **options)
    assert musegen.resume(tmp_path / "run", quiet=True).metrics()[-1]["step"] == 8
