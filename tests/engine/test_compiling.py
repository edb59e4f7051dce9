"""Compiled networks: the same results, the same names, and plain words where they cannot be compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Result, bad
from configurations import ON_TOYS, configured
from torch import Tensor

import musegen
from musegen.contracts.family import build
from musegen.data.batches import Batches
from musegen.engine import compiling
from musegen.engine.checkpoint import newest_checkpoint
from musegen.engine.engine import Engine
from musegen.families.gan import GAN
from musegen.running.config import RunConfig
from musegen.running.placement import auxiliary_dataset
from musegen.running.resolved import resolve

CPU = torch.device("cpu")
SOME = ("vae", "gan-wasserstein", "gae-memory", "pixelcnn-gated")
RUN: dict[str, Any] = {"batch_size": 8, "log_every": 2, "validate_every": 2, "validate_examples": 12, "ema": 0.9}
RUN |= {"checkpoint_every": 0, "sample_every": 2, "samples": 2, "device": "cpu", "quiet": True}


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of torch.compile but the code that it writes: that takes a compiler, and minutes."""
    import torch._dynamo

    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")


def steps(key: str, compile_: str) -> tuple[Engine, dict[str, float]]:
    """An engine after three steps and two evaluations, of a whole batch and of a smaller one; all metrics."""
    name, options = configured(key, "toy")
    resolved = resolve(name, "toy", options)
    opened, data = resolved.domain.open(resolved.domain_config, None, Path("unused"))
    torch.manual_seed(0)
    family = build(resolved.family, resolved.family_config, opened)
    engine = Engine(family, RunConfig(batch_size=8, learning_rate=2e-4, device="cpu", compile=compile_))  # type: ignore[arg-type]
    wanted = resolved.family.auxiliary(resolved.family_config, opened.spec)
    auxiliary = {n: auxiliary_dataset(resolved, data, want) for n, want in wanted.items()}
    batches = Batches(data.splits["train"], 8 * family.minibatches, 0, CPU, auxiliary)
    family.prepare(batches[0])
    for step in range(3):
        engine.step([batches[step]])
    metrics = engine.collect() | {f"valid {k}": v for k, v in engine.evaluate([batches[5], batches[6][:5]]).items()}
    return engine, metrics | {"a draw": float(torch.rand(()))}  # the generator stands where it stood


@pytest.mark.parametrize(
    "key",
    [pytest.param(key, marks=() if key in SOME else pytest.mark.slow) for key in ON_TOYS],
)
def test_every_family_learns_the_same(key: str) -> None:
    engine, metrics = steps(key, "default")
    as_it_is, expected = steps(key, "none")
    assert metrics == pytest.approx(expected, rel=1e-4, abs=1e-6)
    compiled = {n for n, m in engine.family.named_children() if m._compiled_call_impl is not None}
    assert compiled
    assert compiled.isdisjoint(engine.left_uncompiled)
    assert engine.left_uncompiled == list(as_it_is.family.differentiated_twice)
    assert not any(m._compiled_call_impl for m in as_it_is.family.children())
    ours, theirs = engine.family.state_dict(), as_it_is.family.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        # Adam divides by what may be a rounding error, so single weights move by a part of a step.
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-4, equal_nan=True)


def weights(run: Any) -> dict[str, Tensor]:
    return newest_checkpoint(run.checkpoints)[0]["weights"]


@pytest.mark.parametrize("family", ["vae", "gan"])
def test_runs_resume_with_and_without(tmp_path: Path, family: str) -> None:
    own = {"loss": "wasserstein-gp", "critic_steps": 2} if family == "gan" else {}
    whole = musegen.train(family, "toy", out=tmp_path / "whole", steps=4, compile="default", **RUN, **own)
    plain = musegen.train(family, "toy", out=tmp_path / "plain", steps=4, **RUN, **own)
    for name, compiles in {
        "compiled": ("default", "default"),
        "first": ("default", "none"),
        "then": ("none", "default"),
    }.items():
        half = musegen.train(family, "toy", out=tmp_path / name, steps=2, compile=compiles[0], **RUN, **own)
        run = musegen.resume(half.path, steps=4, quiet=True, compile=compiles[1])
        assert run.config().run.compile == compiles[1]
        for key, tensor in weights(whole).items():
            if name == "compiled":
                torch.testing.assert_close(weights(run)[key], tensor, rtol=0, atol=0, equal_nan=True)
            torch.testing.assert_close(weights(run)[key], weights(plain)[key], rtol=1e-4, atol=1e-5, equal_nan=True)
    assert musegen.load(whole.path).sample(2, seed=0).shape[0] == 2


def test_what_stays_as_it_is_is_said(run: Callable[..., Result]) -> None:
    options = (
        "--steps",
        2,
        "--batch-size",
        4,
        "--device",
        "cpu",
        "--set",
        "loss=wasserstein-gp",
        "--compile",
        "default",
    )
    told = run("train", "gan", "toy", "--out", "run", *options)
    assert told.code == 0, told.err
    (line,) = [line for line in told.err.splitlines() if "ompiled" in line]
    assert line == "Not compiled: discriminator, because a penalty on its gradient differentiates it twice."


def test_several_processes_are_refused(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    bad(run("train", "vae", "toy", "--compile", "default"), "--compile none")
    assert not Path("runs").exists()


def test_a_family_that_does_not_say_that_it_differentiates_twice(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GAN, "differentiated_twice", ())
    options = (
        "--steps",
        2,
        "--batch-size",
        4,
        "--device",
        "cpu",
        "--set",
        "loss=wasserstein-gp",
        "--compile",
        "default",
    )
    bad(run("train", "gan", "toy", "--out", "run", *options), "differentiates a network twice", "use --compile none")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, which tests alone show
def test_a_machine_that_cannot_compile(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError("there is no C++ compiler")

    monkeypatch.setattr(compiling, "BACKEND", none)
    told = run("train", "vae", "toy", "--out", "run", "--steps", 2, "--device", "cpu", "--compile", "default")
    bad(told, "no C++ compiler", "Use --compile none")
    assert not Path("run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("key", ["vae", "gan-wasserstein"])
def test_code_that_is_written_computes_the_same(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        pytest.skip("there is no C++ compiler")
    monkeypatch.setattr(compiling, "BACKEND", "inductor")
    expected = steps(key, "none")[1]
    for mode in ("default", "reduce-overhead"):  # without CUDA the second is the first
        assert steps(key, mode)[1] == pytest.approx(expected, rel=1e-3, abs=1e-5)
