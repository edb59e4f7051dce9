"""Trainings and models of several threads give what each gives alone, and a program's own settings are left as they were."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import musegen
from musegen.engine import shared_state
from musegen.engine.checkpoint import newest_checkpoint
from musegen.evaluation.evaluate import evaluate
from musegen.families.vae import VAE

SHORT: dict[str, Any] = {"steps": 30, "batch_size": 8, "log_every": 5, "validate_every": 10, "checkpoint_every": 10}
SHORT |= {"sample_every": 15, "samples": 4, "latent_dim": 2, "widths": [8], "device": "cpu", "quiet": True}


def state(run: Path) -> dict[str, Tensor]:
    parts, _ = newest_checkpoint(run / "checkpoints")
    return {
        f"{part}/{name}": tensor.nan_to_num(7.0) for part, tensors in parts.items() for name, tensor in tensors.items()
    }


def differing(one: Path, other: Path) -> list[str]:
    """What differs between the ends of two runs."""
    a, b = state(one), state(other)
    metrics = [
        [{**json.loads(line), "steps_per_s": 0} for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (one, other)
    ]
    return [name for name in a if not torch.equal(a[name], b[name])] + ["metrics"] * (metrics[0] != metrics[1])


def in_threads(work: list[Callable[[], object]]) -> list[Any]:
    """What each returns."""
    found: list[Any] = [None] * len(work)

    def call(i: int) -> None:
        found[i] = work[i]()

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    return found


def test_two_trainings_in_two_threads_are_what_each_is_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_state, "SLICE_S", -1.0)  # they change places whenever they may
    families = {"a": ("vae", 1), "b": ("gan", 2), "c": ("vae", 3)}

    def train(name: str, where: str) -> None:
        family, seed = families[name]
        musegen.train(family, "toy", out=tmp_path / where / name, seed=seed, **SHORT)

    for name in families:
        train(name, "alone")
    in_threads([lambda name=name: train(name, "together") for name in families])  # type: ignore[misc]
    for name in families:
        assert differing(tmp_path / "alone" / name, tmp_path / "together" / name) == []
    assert differing(tmp_path / "alone" / "a", tmp_path / "alone" / "c")  # and a difference would be seen


def test_a_model_is_used_while_another_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_state, "SLICE_S", -1.0)
    model = musegen.load(musegen.train("vae", "toy", out=tmp_path / "alone", **SHORT).path)
    x = model.examples(6)
    assert x is not None
    calls: list[Callable[[], Any]] = []
    for seed in range(12):
        calls.append(lambda seed=seed: model.sample(5, seed, temperature=0.5 + 0.1 * seed))
        calls.append(lambda seed=seed: model.log_prob(x.x, 3, seed))
        calls.append(lambda: model.encode(x.x))
    alone = [call() for call in calls]
    train = lambda: musegen.train("vae", "toy", out=tmp_path / "together", **SHORT)  # noqa: E731
    together = in_threads([train, *calls])[1:]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert differing(tmp_path / "alone", tmp_path / "together") == []


def test_a_training_does_not_keep_others_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks in the middle of a step has its turn before the next one."""
    monkeypatch.setattr(shared_state, "SLICE_S", -1.0)
    model = musegen.load(musegen.train("vae", "toy", out=tmp_path / "model", **SHORT).path)
    updates, drawn, seen = VAE.updates, list[Tensor](), list[int]()

    def watched(self: Any, batch: Any) -> Iterator[Any]:
        for update in updates(self, batch):
            if self.training and self.step == 3:
                threading.Thread(target=lambda: drawn.append(model.sample(4))).start()
                while not shared_state._TURN.wanted:
                    time.sleep(0.001)
            if self.training and self.step == 4:
                seen.append(len(drawn))
            yield update

    monkeypatch.setattr(VAE, "updates", watched)
    musegen.train("vae", "toy", out=tmp_path / "run", **SHORT)
    assert seen == [1]
    assert torch.equal(drawn[0], model.sample(4))


def test_the_callers_generators_are_left_alone(tmp_path: Path) -> None:
    def now() -> tuple[Any, ...]:
        legacy = np.random.get_state(legacy=False)  # noqa: NPY002
        numpy = (legacy["state"]["key"].tolist(), legacy["state"]["pos"])
        return torch.get_rng_state().tolist(), random.getstate(), numpy

    torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002
    before = now()
    run = musegen.train("vae", "toy", out=tmp_path / "run", **SHORT)
    assert now() == before
    musegen.resume(run.path, steps=32, quiet=True)
    assert now() == before
    model = musegen.load(run.path)
    assert now() == before
    x = model.sample(4, seed=9)
    model.log_prob(x, 2), model.traversal(3), model.reconstruct(x), model.interpolate(x[0], x[1], 3)
    assert now() == before
    evaluate(model, n=8, k=1)
    assert now() == before


def test_a_default_type_of_the_program_changes_nothing(tmp_path: Path) -> None:
    wanted = musegen.train("vae", "toy", out=tmp_path / "alone", **SHORT)
    x = musegen.load(wanted.path).sample(4)
    torch.set_default_dtype(torch.float64)
    try:
        run = musegen.train("vae", "toy", out=tmp_path / "run", **SHORT)
        assert torch.get_default_dtype() == torch.float64
        model = musegen.load(run.path)
        sampled = model.sample(4)
        assert evaluate(model, n=8, k=1).log_prob is not None
        model.decode(torch.zeros(2, 2))  # a caller's own tensors are float64
        assert model.write(sampled, tmp_path / "written")
    finally:
        torch.set_default_dtype(torch.float32)
    assert differing(run.path, wanted.path) == []
    assert sampled.dtype == torch.float32
    assert torch.equal(sampled, x)
