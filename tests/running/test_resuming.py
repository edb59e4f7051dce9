"""Runs that go on: with data that have moved, and for more steps than they were meant for."""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from commands import Result, bad
from midi_files import piece

import musegen
from musegen.engine.checkpoint import newest_checkpoint
from musegen.errors import BadInput, MusegenWarning
from musegen.running.resolved import resolve
from musegen.running.resuming import changed
from musegen.running.runs import Run

SHORT: dict[str, Any] = {"steps": 10, "batch_size": 8, "validate_every": 0, "sample_every": 0, "device": "cpu"}
SHORT |= {"latent_dim": 2, "widths": [7], "quiet": True}


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: t.nan_to_num(7.0) for name, t in newest_checkpoint(run.checkpoints)[0]["weights"].items()}


def same(a: Run, b: Run) -> bool:
    one, other = weights(a), weights(b)
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The toy domain's data follow from the length of a file's name."""
    path = tmp_path / "one.toy"
    path.write_bytes(b"")
    return path


# Data that have moved


def test_data_that_have_moved_are_found_where_they_are_said_to_be(tmp_path: Path, data: Path) -> None:
    whole = musegen.train("vae", "toy", data=data, out=tmp_path / "whole", **{**SHORT, "steps": 14})
    run = musegen.train("vae", "toy", data=data, out=tmp_path / "run", **SHORT)
    moved = data.rename(tmp_path / "two.toy")
    with pytest.raises(BadInput, match=r"are not in .*one.toy any more: say where they are with source="):
        musegen.load(run.path).examples(4)
    assert musegen.load(run.path).examples(4, source=moved) is not None
    with pytest.raises(BadInput, match=r"are not in .*one.toy any more: say where they are with data="):
        musegen.resume(run.path, steps=12, quiet=True)
    musegen.resume(run.path, data=moved, steps=12, quiet=True)
    assert run.config().data == str(moved)
    musegen.resume(run.path, steps=14, quiet=True)  # from there on it knows
    assert same(run, whole)


def test_other_data_are_refused_and_how_they_differ_is_said(tmp_path: Path, data: Path) -> None:
    run = musegen.train("vae", "toy", data=data, out=tmp_path / "run", **SHORT)
    before = {path: path.read_bytes() for path in sorted(run.path.rglob("*")) if path.is_file()}
    other = tmp_path / "another.toy"
    other.write_bytes(b"")
    with pytest.raises(BadInput, match=r"there are as many, and their contents differ\. Give the same data, or begin"):
        musegen.resume(run.path, data=other, steps=12, quiet=True)
    with pytest.raises(BadInput, match="is no file"):
        musegen.resume(run.path, data=tmp_path / "nowhere.toy", steps=12, quiet=True)
    assert {path: path.read_bytes() for path in sorted(run.path.rglob("*")) if path.is_file()} == before


def test_what_a_run_keeps_of_its_data_does_not_stand_in_for_others(run: Callable[..., Result], tmp_path: Path) -> None:
    """The store that was built from a folder of files stays in the run folder."""
    for folder, n in (("mine", 4), ("fewer", 3)):
        (tmp_path / folder).mkdir()
        for i in range(n):
            (tmp_path / folder / f"{i}.mid").write_bytes(piece(6, transpose=i))
    small = ["--set", "bars=2", "--set", "channels=4", "--set", "latent_dim=4", "--batch-size", 4, "--quiet"]
    few = ["--steps", 2, "--validate-every", 0, "--sample-every", 0]
    assert run("train", "vae", "pianoroll", "mine", "--out", "run", *small, *few).code == 0
    shutil.copytree("mine", "copy")
    shutil.rmtree("mine")
    bad(run("resume", "run", "--steps", 3, "--data", "fewer"), "3 pieces of fewer", "4 pieces of mine", "--init run")
    bad(run("resume", "run", "--steps", 3, "--data", "nowhere"), "nowhere", "does not exist")
    assert run("resume", "run", "--steps", 3, "--data", "copy", "--quiet").code == 0
    assert yaml.safe_load(Path("run/config.yaml").read_text())["data"] == str(tmp_path / "copy")


def test_classes_of_other_names_are_other_data(tmp_path: Path, picture_folder: Path) -> None:
    options = {**SHORT, "steps": 2, "size": 12}
    run = musegen.train("vae", "image", data=picture_folder, out=tmp_path / "run", **options)
    renamed = Path(shutil.copytree(picture_folder, tmp_path / "renamed"))
    (renamed / "disc").rename(renamed / "round")
    with pytest.raises(BadInput, match=r"classes=\[round, square\] \(the run: \[disc, square\]\)"):
        musegen.resume(run.path, data=renamed, steps=3, quiet=True)
    (renamed / "round").rename(renamed / "disc")
    assert musegen.resume(run.path, data=renamed, steps=3, quiet=True).config().data == str(renamed)


# More steps than a schedule was meant for


def factor(step: int, steps: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def test_more_steps_of_a_cosine_say_how_the_rate_jumps(tmp_path: Path) -> None:
    run = musegen.train("vae", "toy", out=tmp_path / "run", schedule="cosine", learning_rate=2e-3, **SHORT)
    last, new = 2e-3 * factor(9, 10), 2e-3 * factor(10, 20)
    told = f"The learning rate jumps from {last:.2g} to {new:.2g} at step 11, because its cosine schedule now ends at step 20"
    with pytest.warns(MusegenWarning) as caught:
        musegen.resume(run.path, steps=20, quiet=True)
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith(told)
    assert "4.9e-05 to 0.001" in message
    assert "schedule=constant" in message


def test_rates_of_several_players_and_of_a_run_that_is_not_done(tmp_path: Path) -> None:
    run = musegen.train("gan", "toy", out=tmp_path / "run", schedule="linear", **SHORT)
    with pytest.warns(
        MusegenWarning, match=r"jumps from \S+ to \S+ at step 11, because its linear schedule now ends at step 11"
    ):
        musegen.resume(run.path, steps=11, quiet=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same_length = Run.open(run.path).config().run.steps
        with pytest.raises(BadInput, match="has done its 11 steps: give more, such as steps=22"):
            musegen.resume(run.path, steps=same_length, quiet=True)


@pytest.mark.parametrize(
    ("schedule", "options"),
    [("constant", {}), ("cosine", {"learning_rate": 1e-4}), ("cosine", {"schedule": "constant"})],
)
def test_nothing_is_said_where_nothing_jumps_or_the_user_has_chosen(
    tmp_path: Path, schedule: str, options: dict[str, Any]
) -> None:
    run = musegen.train("vae", "toy", out=tmp_path / "run", schedule=schedule, **SHORT)
    with warnings.catch_warnings():
        warnings.simplefilter("error", MusegenWarning)
        musegen.resume(run.path, steps=20, quiet=True, **options)


def test_a_run_goes_on_with_another_rate_and_schedule(run: Callable[..., Result], tmp_path: Path) -> None:
    """As if it had had them from its tenth step on."""
    begun = musegen.train("vae", "toy", out=tmp_path / "run", schedule="cosine", **SHORT)
    before = weights(begun)
    result = run("resume", "run", "--steps", 12, "--learning-rate", "1e-12", "--schedule", "constant", "--quiet")
    assert result.code == 0, result.err
    assert "jumps" not in result.err
    after = weights(begun)
    learnt = [name for name, _ in musegen.load(begun.path).family.named_parameters()]
    assert all(torch.allclose(before[name], after[name], rtol=0, atol=1e-10) for name in learnt)
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert (config["learning_rate"], config["schedule"], config["steps"]) == (1e-12, "constant", 12)
    bad(run("resume", "run", "--steps", 14, "--schedule", "zigzag"), "zigzag", "cosine")
    bad(run("resume", "run", "--steps", 14, "--learning-rate", 0), "--learning-rate 0 is invalid")
    bad(run("resume", "run", "--steps", 14, "--batch-size", 4), "batch_size", "cannot change")
    begun = musegen.train("vae", "toy", out=tmp_path / "second", schedule="cosine", **SHORT)
    told = run("resume", "second", "--steps", 20, "--quiet").err
    assert "--learning-rate 1e-4" in told
    assert "--schedule constant" in told
    assert "--schedule" in run("resume", "--help").out


def test_rates_of_players_are_written_resumed_and_changed_one_by_one(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    once = [
        "train",
        "gan",
        "toy",
        "--steps",
        4,
        "--batch-size",
        8,
        "--validate-every",
        0,
        "--sample-every",
        0,
        "--quiet",
    ]
    rates = "discriminator=4e-4,generator=1e-3"
    assert run(*once, "--out", "run", "--learning-rate", rates).code == 0
    assert yaml.safe_load(Path("run/config.yaml").read_text())["learning_rate"] == {
        "discriminator": 4e-4,
        "generator": 1e-3,
    }
    assert run("resume", "run", "--steps", 8, "--quiet").code == 0
    longer = [*once[:3], "--steps", 8, *once[5:]]
    assert run(*longer, "--out", "whole", "--learning-rate", rates).code == 0
    assert same(Run.open("run"), Run.open("whole"))
    ours = weights(Run.open("run"))

    bad(run("resume", "run", "--steps", 9, "--learning-rate", "critic=1"), '"critic"', "discriminator, generator")
    assert run("resume", "run", "--steps", 9, "--learning-rate", "generator=1e-12", "--quiet").code == 0
    after = weights(Run.open("run"))
    still = {name: torch.allclose(ours[name], after[name], rtol=0, atol=1e-10) for name in after if ".weight" in name}
    assert all(same for name, same in still.items() if name.startswith("generator"))
    assert not all(same for name, same in still.items() if name.startswith("discriminator"))


@pytest.mark.parametrize(
    ("before", "now", "then"),
    [
        (None, {"generator": 1e-3}, {"generator": 1e-3}),
        (1e-4, {"generator": 1e-3}, {"discriminator": 1e-4, "generator": 1e-3}),
        ({"discriminator": 1e-4}, "generator=1e-3", {"discriminator": 1e-4, "generator": 1e-3}),
        ({"discriminator": 1e-4}, 1e-3, 1e-3),
        (1e-4, None, 1e-4),
    ],
)
def test_players_that_are_not_named_keep_their_rates(before: Any, now: Any, then: Any) -> None:
    resolved = resolve("gan", "toy", {} if before is None else {"learning_rate": before})
    assert changed(resolved, {"learning_rate": now}).run.learning_rate == then


def test_a_run_that_is_not_done_jumps_too_where_it_gets_more_steps(tmp_path: Path) -> None:
    run = musegen.train("vae", "toy", out=tmp_path / "run", schedule="cosine", checkpoint_every=5, **SHORT)
    shutil.rmtree(run.checkpoints / "step_00000010")  # as if it had been killed before
    with pytest.warns(MusegenWarning) as caught:
        musegen.resume(run.path, steps=40, quiet=True)
    rate = 1e-3  # of the family
    assert f"from {rate * factor(4, 10):.2g} to {rate * factor(5, 40):.2g} at step 6" in str(caught[0].message)
