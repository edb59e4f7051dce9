"""The benchmarks of costs compare like with like, at tiny sizes."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from musegen_pianoroll.domain import PianorollConfig, PianorollDomain


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.mark.parametrize("case", ["vae", "gan, wasserstein-gp", "rnn_nade"])
def test_loops_by_hand_learn_the_engines_weights(script, case: str) -> None:
    row = script("training_step").measure(script("training_step").CASES[case], rounds=1, seconds=0.01)
    assert row["same_weights"]
    assert set(row["ms_per_step"]) == {"engine", "plain", "careful"}


def test_other_weights_are_noticed(script, monkeypatch: pytest.MonkeyPatch) -> None:
    training_step = script("training_step")
    by_hand = training_step.by_hand

    def faster(family, batches, careful):
        with torch.no_grad():
            next(family.parameters()).add_(1e-3)
        return by_hand(family, batches, careful)

    monkeypatch.setattr(training_step, "by_hand", faster)
    assert not training_step.measure(training_step.CASES["ae"], rounds=1, seconds=0.01)["same_weights"]


def test_every_family_has_a_case(script) -> None:
    from musegen.plugins import registry

    ours = {case.family for case in script("training_step").CASES.values()}
    assert {point for point in registry().families if point != "toy"} <= ours


def test_sides_take_turns_at_going_first(script) -> None:
    order: list[str] = []
    sides = {name: lambda n, name=name: order.append(f"{name}{n}") for name in "abc"}
    times = script("measuring").in_turn(sides, {"a": 1, "b": 2, "c": 1}, 3)
    assert order == ["a1", "b2", "c1", "b2", "c1", "a1", "c1", "a1", "b2"]
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_spread_and_ratios(script) -> None:
    measuring = script("measuring")
    assert measuring.spread([4, 1, 2, 3, 5]) == [1, 2, 3, 4, 5]
    assert measuring.ratios([2.0, 4.0], [1.0, 1.0]) == [2, 2.5, 3, 3.5, 4]


def test_imports_are_added_up_by_package(script) -> None:
    head = "import time: self [us] | cumulative | imported package"
    lines = ["import time:  10 |  30 |   torch.nn", "import time: 5 | 5 | torch", "noise", "import time: 7 | 7 | numpy"]
    assert script("generation").imports("\n".join([head, *lines])) == {"torch": 15, "numpy": 7}


def test_growth_is_an_exponent(script) -> None:
    assert script("curves").growth([1, 2, 4], [5.0, 8.0, 32.0]) == pytest.approx(2.0)


def test_made_up_corpus_has_notes_of_half_a_beat(script) -> None:
    domain = PianorollDomain(PianorollConfig(bars=1, steps_per_beat=4))
    data = script("curves").corpus(domain, 3)
    x = data.gather(torch.arange(3), torch.Generator()).x.unflatten(1, (5, 2))  # (B, tracks, planes, T, pitches)
    frame, onset = x.unbind(2)
    assert (frame.sum(-1) == 1).all()
    assert torch.equal(frame[:, :, 0::2], frame[:, :, 1::2])
    assert torch.equal(onset[:, :, 0::2], frame[:, :, 0::2])
    assert not onset[:, :, 1::2].any()
