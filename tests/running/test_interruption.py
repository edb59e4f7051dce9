"""Signals end training soon, wherever they come, and what is done again on resume is what it would have been."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from torch import Tensor

import musegen
from musegen.engine.checkpoint import load_checkpoint, newest_checkpoint
from musegen.engine.engine import Engine
from musegen.engine.launch import MEETING
from musegen.errors import BadInput, OutsideFault
from musegen.families.gan import GAN
from musegen.families.vae import VAE
from musegen.files import temporary_path
from musegen.networks.nade import network
from musegen.running import session, signals
from musegen.running.runs import Run, State

UPDATES = 201
"""Of one step: 200 of the critic and one of the generator."""
LONG_STEPS = {
    "latent_dim": 2,
    "loss": "hinge",
    "critic_steps": UPDATES - 1,
    "widths": [4],
    "batch_size": 2,
    "steps": 3,
    "log_every": 2,
    "checkpoint_every": 0,
    "validate_every": 0,
    "sample_every": 0,
    "ema": 0.9,
    "quiet": True,
    "device": "cpu",
}


class Caller:
    """Sends this process a signal at the n-th time that something happens, and counts what happens after that."""

    def __init__(self, n: int, number: int = signal.SIGINT, times: int = 1) -> None:
        self.n, self.number, self.times = n, number, times
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        if self.n <= self.count < self.n + self.times:
            signal.raise_signal(self.number)  # to this thread: two that another one got might be taken for one

    @property
    def late(self) -> int:
        return self.count - self.n


def watch(
    monkeypatch: pytest.MonkeyPatch, family: Any, caller: Callable[[], None], when: Callable[[Any], bool]
) -> None:
    """Tell the caller of every update of a family."""
    updates = family.updates

    def watched(self: Any, batch: Any) -> Iterator[Any]:
        for update in updates(self, batch):
            if when(self):
                caller()
            yield update

    monkeypatch.setattr(family, "updates", watched)


def in_training(family: Any) -> bool:
    return family.training


def in_evaluation(family: Any) -> bool:
    return not family.training


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nobody interrupts."""
    return musegen.train("gan", "toy", out=tmp_path_factory.mktemp("whole") / "run", **LONG_STEPS)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may end by itself, and nothing is copied but where a test says so."""
    monkeypatch.setattr(signals, "GRACE_S", 0.0)
    monkeypatch.setattr(session, "KEEP_EVERY_S", 1e9)


def differences(ours: Run, theirs: Run) -> list[str]:
    """What differs between the ends of two runs: state, history, metrics without rates."""
    (a, one), (b, other) = (newest_checkpoint(run.checkpoints) for run in (ours, theirs))
    assert a.keys() == b.keys()
    found = [f"{part}/{name}" for part in a for name in a[part] if not _same(a[part][name], b[part][name])]
    found += [key for key in ("history", "best") if one["state"][key] != other["state"][key]]
    metrics = [
        [{k: v for k, v in row.items() if k != "steps_per_s"} for row in run.metrics()] for run in (ours, theirs)
    ]
    return found + ["metrics"] * (metrics[0] != metrics[1] or one["step"] != other["step"])


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))


@pytest.mark.parametrize(("number", "code", "kept"), [(signal.SIGINT, 130, True), (signal.SIGTERM, 143, False)])
def test_a_step_of_hundreds_of_updates_is_cut_short_and_done_again(
    tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch, number: int, code: int, kept: bool
) -> None:
    """From the copy of the state before the step; from the newest checkpoint where there is none."""
    if kept:
        monkeypatch.setattr(session, "KEEP_EVERY_S", -1.0)
        monkeypatch.setattr(session, "KEEP_SHARE", 1e9)
    caller = Caller(2 * UPDATES + 140, number)
    with monkeypatch.context() as context:
        watch(context, GAN, caller, in_training)
        with pytest.raises(signals.Interrupted) as caught:
            musegen.train("gan", "toy", out=tmp_path / "run", **LONG_STEPS)
    assert caller.late == 0  # not one update more
    assert caught.value.exit_code == code
    saved = 2 if kept else 0
    assert str(caught.value).startswith(f"Interrupted in the middle of step 3; saved at step {saved}.")
    run = Run.open(tmp_path / "run")
    assert newest_checkpoint(run.checkpoints)[1]["step"] == saved
    assert [row["step"] for row in run.metrics()] == [2] * kept  # what is done again is logged again
    musegen.resume(run.path, quiet=True)
    assert differences(run, whole) == []


def test_a_step_that_ends_in_time_is_done_once(tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "GRACE_S", 1e9)
    caller = Caller(UPDATES + 1)
    with monkeypatch.context() as context:
        watch(context, GAN, caller, in_training)
        with pytest.raises(signals.Interrupted, match=r"^Interrupted at step 2; saved\."):
            musegen.train("gan", "toy", out=tmp_path / "run", **LONG_STEPS)
    assert caller.late == UPDATES - 1
    musegen.resume(tmp_path / "run", quiet=True)
    assert differences(Run.open(tmp_path / "run"), whole) == []


def test_a_second_signal_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "GRACE_S", 1e9)
    caller = Caller(40, times=2)
    watch(monkeypatch, GAN, caller, in_training)
    with pytest.raises(KeyboardInterrupt):
        musegen.train("gan", "toy", out=tmp_path / "run", **LONG_STEPS)
    assert caller.count == 41


def test_accumulated_batches_are_cut_short_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One update of several batches: the step ends between two of them."""
    options: dict[str, Any] = {"latent_dim": 2, "accumulate": 20, "steps": 4, "batch_size": 4, "log_every": 2}
    options |= {"validate_every": 0, "sample_every": 0, "quiet": True, "device": "cpu"}
    whole = musegen.train("vae", "toy", out=tmp_path / "whole", **options)
    caller = Caller(50)
    with monkeypatch.context() as context:
        watch(context, VAE, caller, in_training)
        with pytest.raises(signals.Interrupted, match="middle of step 3; saved at step 0"):
            musegen.train("vae", "toy", out=tmp_path / "run", **options)
    assert caller.late == 0
    musegen.resume(tmp_path / "run", quiet=True)
    assert differences(Run.open(tmp_path / "run"), whole) == []


@pytest.mark.parametrize("kept", [True, False])
def test_a_validation_is_cut_short_and_done_again_with_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    options: dict[str, Any] = {"latent_dim": 2, "steps": 6, "batch_size": 8, "log_every": 1, "validate_every": 2}
    options |= {"sample_every": 0, "ema": 0.5, "valid": 64, "quiet": True, "device": "cpu"}
    whole = musegen.train("vae", "toy", out=tmp_path / "whole", **options)
    if kept:
        monkeypatch.setattr(session, "KEEP_EVERY_S", -1.0)
        monkeypatch.setattr(session, "KEEP_SHARE", 1e9)
    caller = Caller(1 + 8 + 4)  # a dry evaluation, one validation, and the middle of the next
    with monkeypatch.context() as context:
        watch(context, VAE, caller, in_evaluation)
        with pytest.raises(signals.Interrupted, match="middle of step 4; saved at step") as caught:
            musegen.train("vae", "toy", out=tmp_path / "run", **options)
    assert caller.late == 0
    # Step 2 was the best so far, so that its checkpoint is there.
    assert f"saved at step {3 if kept else 2}." in str(caught.value)
    musegen.resume(tmp_path / "run", quiet=True)
    assert differences(Run.open(tmp_path / "run"), whole) == []


def test_a_long_validation_of_one_batch_is_cut_short_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = LONG_STEPS | {"critic_steps": 50, "validate_every": 2, "steps": 2, "batch_size": 64}
    caller = Caller(51 + 20)  # after a dry evaluation
    watch(monkeypatch, GAN, caller, in_evaluation)
    with pytest.raises(signals.Interrupted, match="middle of step 2; saved at step 0"):
        musegen.train("gan", "toy", out=tmp_path / "run", **options)
    assert caller.late == 0


def test_drawing_samples_is_cut_short_and_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family without yields while it samples: its drawing loop reports, and that is where it ends."""
    options: dict[str, Any] = {"units": 4, "hidden": 3, "features": 0, "interval": 1, "depth": 1, "steps": 4}
    options |= {"batch_size": 8, "sample_every": 2, "samples": 3, "validate_every": 0, "quiet": True, "device": "cpu"}
    whole = musegen.train("rnn_nade", "toy", out=tmp_path / "whole", **options)
    caller = Caller(2)
    draw_step = network.draw_step

    def watched(*arguments: Any) -> Tensor:
        caller()
        return draw_step(*arguments)

    with monkeypatch.context() as context:
        context.setattr(network, "draw_step", watched)
        with pytest.raises(signals.Interrupted, match="middle of step 2; saved at step 0"):
            musegen.train("rnn_nade", "toy", out=tmp_path / "run", **options)
    assert caller.late == 0
    musegen.resume(tmp_path / "run", quiet=True)
    assert differences(Run.open(tmp_path / "run"), whole) == []
    for step in (2, 4):
        ours, theirs = (run / f"samples/step_{step}" for run in (tmp_path / "run", whole.path))
        assert {p.name: p.read_bytes() for p in ours.iterdir()} == {p.name: p.read_bytes() for p in theirs.iterdir()}


def test_a_calibration_that_is_cut_short_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a run that stopped early, which must not train on."""
    options: dict[str, Any] = {"latent_dim": 2, "steps": 500, "batch_size": 8, "validate_every": 5, "early_stop": 2}
    options |= {"learning_rate": 0.3, "examples": 16, "sample_every": 0, "quiet": True, "device": "cpu"}

    def calibrate(self: toy.ToyDomain, samples: Tensor, reference: Tensor) -> Any:
        return toy.ToyWriting(float(samples.mean()))

    monkeypatch.setattr(toy.ToyDomain, "calibrate", calibrate)
    whole = musegen.train("vae", "toy", out=tmp_path / "whole", **options)
    assert whole.state() == (State.DONE, newest_checkpoint(whole.checkpoints)[1]["step"])
    sample, caller = VAE.sample, Caller(3)

    def watched(self: Any, *arguments: Any, **more: Any) -> Tensor:
        caller()
        return sample(self, *arguments, **more)

    with monkeypatch.context() as context:
        context.setattr(VAE, "sample", watched)
        with pytest.raises(signals.Interrupted, match="before samples were calibrated") as caught:
            musegen.train("vae", "toy", out=tmp_path / "run", **options)
        assert caller.late == 0
    assert caught.value.exit_code == 130
    run = Run.open(tmp_path / "run")
    assert run.config().writing == toy.ToyWriting()
    musegen.resume(run.path, quiet=True)
    assert differences(run, whole) == []
    assert run.config().as_dict() == whole.config().as_dict()
    assert run.state() == whole.state()


def test_a_signal_that_comes_too_late_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "GRACE_S", 1e9)
    watch(monkeypatch, GAN, Caller(3 * UPDATES), in_training)
    with pytest.raises(signals.Interrupted, match="was done by then") as caught:
        musegen.train("gan", "toy", out=tmp_path / "run", **LONG_STEPS)
    assert caught.value.exit_code == 130


# Copies of the state


def test_copies_follow_the_clock_and_cost_no_more_than_their_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after a second, if it is quick; a slow one waits a hundred times as long as it takes."""
    now, taken = 0.0, []
    monkeypatch.setattr(session, "KEEP_EVERY_S", 1.0)
    monkeypatch.setattr(session.time, "monotonic", lambda: now)
    step, snapshot = session.Engine.step, session.Engine.snapshot
    slow = 0.0

    def timed_step(self: Any, *arguments: Any) -> None:
        nonlocal now
        step(self, *arguments)
        now += 0.3

    def timed_snapshot(self: Any) -> Any:
        nonlocal now
        taken.append(self.step_count)
        now += slow
        return snapshot(self)

    monkeypatch.setattr(session.Engine, "step", timed_step)
    monkeypatch.setattr(session.Engine, "snapshot", timed_snapshot)
    options: dict[str, Any] = {"batch_size": 4, "checkpoint_every": 10, "validate_every": 0, "sample_every": 0}
    options |= {"steps": 20, "quiet": True, "device": "cpu", "latent_dim": 2, "log_every": 1000}
    musegen.train("vae", "toy", out=tmp_path / "quick", **options)
    assert taken == [4, 8, 14, 18]  # a checkpoint serves as well
    taken.clear()
    slow = 0.02
    musegen.train("vae", "toy", out=tmp_path / "slow", **options | {"checkpoint_every": 0})
    assert taken == [4, 11, 18]


# Killed before the first checkpoint


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by kill -9 while that is written: its temporary folder stays. The family looks at data before its first step."""
    options: dict[str, Any] = {"units": 4, "hidden": 3, "features": 0, "interval": 1, "depth": 1, "steps": 4}
    options |= {"batch_size": 8, "sample_every": 0, "validate_every": 2, "quiet": True, "device": "cpu"}
    whole = musegen.train("rnn_nade", "toy", out=tmp_path / "whole", **options)

    class Killed(BaseException):
        pass

    def killed(folder: Path, *arguments: Any) -> None:
        temporary_path(folder / "step_00000000").mkdir(parents=True)
        raise Killed

    with monkeypatch.context() as context:
        context.setattr(session, "save_checkpoint", killed)
        with pytest.raises(Killed):
            musegen.train("rnn_nade", "toy", out=tmp_path / "run", **options)
    torch.randn(7)  # whatever the next process has drawn
    with pytest.raises(BadInput, match="begin the run again with musegen resume"):
        musegen.load(tmp_path / "run")
    run = musegen.resume(tmp_path / "run", quiet=True)
    assert differences(run, whole) == []
    assert [p.name for p in run.checkpoints.iterdir() if p.name.startswith(".")] == []
    assert {p.name for p in run.path.iterdir()} == {p.name for p in whole.path.iterdir()}


def test_damaged_checkpoints_are_no_reason_to_begin_again(tmp_path: Path, whole: Run) -> None:
    run = Run(shutil.copytree(whole.path, tmp_path / "run"))
    for checkpoint in run.checkpoints.iterdir():
        (checkpoint / "weights.safetensors").write_bytes(b"")
    with pytest.raises(BadInput, match="step_00000003 is damaged"):
        musegen.resume(run.path, steps=5, quiet=True)
    for checkpoint in run.checkpoints.iterdir():
        (checkpoint / "manifest.json").unlink()
    with pytest.raises(BadInput, match="step_00000003 is damaged: its manifest is missing"):
        musegen.resume(run.path, steps=5, quiet=True)
    shutil.rmtree(run.checkpoints)
    assert differences(musegen.resume(run.path, quiet=True), whole) == []


def test_an_interrupted_run_names_a_command_for_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch(monkeypatch, GAN, Caller(10), in_training)
    with pytest.raises(signals.Interrupted) as caught:
        musegen.train("gan", "toy", out=tmp_path / "my run", **LONG_STEPS)
    assert str(caught.value).endswith(f"Go on with: musegen resume '{tmp_path}/my run'")


def test_what_is_saved_from_a_copy_is_the_checkpoint_of_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, metrics since the last log point included."""
    run = musegen.train("gan", "toy", out=tmp_path / "run", **LONG_STEPS | {"log_every": 3, "checkpoint_every": 1})
    monkeypatch.setattr(session, "KEEP_EVERY_S", -1.0)
    monkeypatch.setattr(session, "KEEP_SHARE", 1e9)
    watch(monkeypatch, GAN, Caller(2 * UPDATES + 5), in_training)
    with pytest.raises(signals.Interrupted):
        musegen.train("gan", "toy", out=tmp_path / "cut", **LONG_STEPS | {"log_every": 3})
    (ours, mine), (theirs, other) = (
        load_checkpoint(p / "checkpoints/step_00000002") for p in (tmp_path / "cut", run.path)
    )
    assert mine["state"]["history"] == other["state"]["history"] != []
    assert [name for part in ours for name in ours[part] if not _same(ours[part][name], theirs[part][name])] == []


@pytest.mark.distributed
def test_two_processes_stop_at_the_same_update_and_go_on_alike(tmp_path: Path) -> None:
    """The signal reaches the second alone."""
    script = Path(__file__).parents[1] / "helpers" / "interrupted_together.py"
    own = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", MEETING: str(tmp_path / "meeting")}
    both = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | own | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    try:
        for process in both:
            _, err = process.communicate(timeout=250)
            assert process.returncode == 0, err
    finally:
        for process in both:
            process.kill()
    first, second = (json.loads((tmp_path / f"found.{rank}").read_text()) for rank in (0, 1))
    assert first == second
    assert first["said"].startswith("Interrupted in the middle of step 3; saved at step 2.")
    assert 602 < first["seen"] < 903  # of 301 in a step
    assert first["differences"] == []
    assert first["steps"] == [1, 2, 3, 4]


@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
def test_a_folder_that_is_moved_or_removed_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Nothing is written to what has its name by then, and the last checkpoint stays where the folder went."""
    step = Engine.step

    def disturbed(self: Engine, *arguments: Any) -> None:
        step(self, *arguments)
        if self.step_count == 5:
            if how == "removed":
                shutil.rmtree(tmp_path / "run")
            else:
                (tmp_path / "run").rename(tmp_path / "moved")
            if how == "replaced":
                (tmp_path / "run").mkdir()

    options: dict[str, Any] = {"steps": 9, "batch_size": 4, "validate_every": 0, "sample_every": 0, "log_every": 2}
    options |= {"checkpoint_every": 4, "quiet": True, "device": "cpu", "widths": [5], "latent_dim": 2}
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "step", disturbed)
        with pytest.raises(OutsideFault, match="was moved or removed while it was trained, so training stopped"):
            musegen.train("vae", "toy", out=tmp_path / "run", **options)
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == {"moved": ["moved"], "removed": [], "replaced": ["moved", "run"]}[how]
    if how == "replaced":
        assert list((tmp_path / "run").iterdir()) == []
    if how != "removed":
        run = musegen.resume(tmp_path / "moved", quiet=True)
        assert differences(run, musegen.train("vae", "toy", out=tmp_path / "whole", **options)) == []
