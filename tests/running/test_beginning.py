"""Runs that begin with another model's weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from commands import Result, bad
from midi_files import piece
from torch import Tensor

import musegen
from musegen.contracts.family import build
from musegen.engine.checkpoint import load_checkpoint, newest_checkpoint
from musegen.engine.weights import take_weights
from musegen.errors import BadInput
from musegen.models.loading import find
from musegen.running.beginning import with_options_of
from musegen.running.resolved import resolve
from musegen.running.runs import Run

SHORT: dict[str, Any] = {"steps": 2, "batch_size": 8, "validate_every": 0, "sample_every": 0, "device": "cpu"}
SHORT |= {"quiet": True}


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small VAE of a few steps, whose average lies behind its weights."""
    out = tmp_path_factory.mktemp("donor") / "run"
    return musegen.train(
        "vae", "toy", out=out, latent_dim=3, widths=[7], ema=0.9, beta=2.0, **{**SHORT, "steps": 6}
    ).path


def first(run: Run) -> dict[str, dict[str, Tensor]]:
    """What a run began with."""
    return load_checkpoint(run.checkpoints / "step_00000000")[0]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name].nan_to_num(7.0), b[name].nan_to_num(7.0)) for name in a)


def test_a_run_begins_with_the_average_weights_and_the_options_of_the_model(tmp_path: Path, donor: Path) -> None:
    average = newest_checkpoint(donor / "checkpoints")[0]["average"]
    run = musegen.train("vae", "toy", out=tmp_path / "run", init=donor, ema=0.5, **SHORT)
    begun = first(run)
    assert same(begun["weights"], average)
    assert same(begun["average"], average)
    assert not begun["optimisers"]
    config = run.config()
    assert (config.family_config.latent_dim, config.family_config.beta, config.domain_config.widths) == (3, 2.0, [7])
    assert (config.run.init, config.run.steps, config.run.ema) == (str(donor), 2, 0.5)
    n = len(average)
    assert run.environment()["init"] == {
        "model": str(donor),
        "taken": n,
        "of": n,
        "other_shape": [],
        "missing": [],
    }
    other = musegen.train("vae", "toy", out=tmp_path / "other", latent_dim=3, widths=[7], ema=0.5, **SHORT)
    assert not same(first(other)["weights"], average)
    assert "init" not in other.environment()


def test_what_the_user_sets_goes_first_and_what_does_not_fit_is_left(
    tmp_path: Path, donor: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = musegen.train("vae", "toy", out=tmp_path / "run", init=donor, latent_dim=5, **{**SHORT, "quiet": False})
    config = run.config()
    assert (config.family_config.latent_dim, config.family_config.beta, config.domain_config.widths) == (5, 2.0, [7])
    donated, weights = newest_checkpoint(donor / "checkpoints")[0]["average"], first(run)["weights"]
    fits = {name for name in weights if name in donated and weights[name].shape == donated[name].shape}
    assert 0 < len(fits) < len(weights)
    assert all(torch.equal(weights[name].nan_to_num(7.0), donated[name].nan_to_num(7.0)) for name in fits)
    left = [name for name in musegen.load(run.path).family.state_dict() if name not in fits]
    line = next(line for line in capsys.readouterr().err.splitlines() if "init" in line)
    assert line == (
        f"init={donor}: {len(fits)} of {len(weights)} weights taken; not taken for their shape: {', '.join(left)}."
    )
    assert run.environment()["init"]["other_shape"] == left


def test_an_option_that_two_owners_have_is_the_users_for_both(tmp_path: Path, picture_folder: Path) -> None:
    options = {"size": 8, "family.channels": 6, "domain.channels": 5, "layers": 1}
    run = musegen.train("pixelcnn", "image", data=picture_folder, out=tmp_path / "run", **options, **SHORT)
    model = run.config()

    def channels(**given: Any) -> tuple[int, int]:
        found = resolve("pixelcnn", "image", with_options_of(run.path, model.family, model.domain, given))
        return found.family_config.channels, found.domain_config.channels

    assert channels() == (6, 5)
    assert channels(channels=8) == (8, 8)
    assert channels(**{"domain.channels": 8}) == (6, 8)


def test_a_list_of_what_is_left_stays_short() -> None:
    resolved = resolve("vae", "toy", {})
    family = build(resolved.family, resolved.family_config, resolved.make_domain())
    state = {name: tensor.clone() for name, tensor in family.state_dict().items()}
    names = list(state)
    few = {name: torch.zeros(7, 7, 7) if i < 6 else state[name] + 1 for i, name in enumerate(names) if i != 6}
    taken = take_weights(family, few)
    assert (taken.n, taken.of) == (len(names) - 7, len(names))
    assert str(taken) == (
        f"{len(names) - 7} of {len(names)} weights taken; not taken for their shape: {', '.join(names[:5])} and 1 more; "
        f"not in that model: {names[6]}"
    )
    after = family.state_dict()
    assert all(torch.equal(after[name], state[name] + (i > 6)) or i == 0 for i, name in enumerate(names))


def test_what_a_family_finds_in_the_data_is_found_anew(tmp_path: Path) -> None:
    """What a conditional GAN has as examples of what is given."""
    data = [tmp_path / "a.toy", tmp_path / "other.toy"]
    for path in data:
        path.write_bytes(b"")
    options = {**SHORT, "given": True, "condition": "given", "latent_dim": 2}
    runs = [musegen.train("conditional_gan", "toy", data=path, out=tmp_path / path.stem, **options) for path in data]
    begun = musegen.train("conditional_gan", "toy", data=data[1], out=tmp_path / "begun", init=runs[0].path, **SHORT)
    a, b, c = (first(run)["weights"]["examples"] for run in (*runs, begun))
    assert not torch.equal(a, b)
    assert torch.equal(b, c)
    last = newest_checkpoint(runs[0].checkpoints)[0]["weights"]
    assert same(first(begun)["weights"], {**last, "examples": b})


def test_a_run_that_has_begun_does_not_need_the_model(tmp_path: Path, donor: Path) -> None:
    model = Path(shutil.copytree(donor, tmp_path / "model"))
    run = musegen.train("vae", "toy", out=tmp_path / "run", init=model, **SHORT)
    whole = musegen.train("vae", "toy", out=tmp_path / "whole", init=model, **{**SHORT, "steps": 4})
    shutil.rmtree(model)
    musegen.resume(run.path, steps=4, quiet=True)
    weights = [newest_checkpoint(r.checkpoints)[0]["weights"] for r in (run, whole)]
    assert same(*weights)
    with pytest.raises(BadInput, match='"init" cannot change'):
        musegen.resume(run.path, steps=6, init=donor)


def test_models_that_cannot_begin_this_one_are_refused(tmp_path: Path, donor: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(
        BadInput, match=r"is a model of vae on toy, and cannot begin one of gan on toy: give a model of the same"
    ):
        musegen.train("gan", "toy", out=out, init=donor, **SHORT)
    with pytest.raises(BadInput, match="There is no model nowhere"):
        musegen.train("vae", "toy", out=out, init="nowhere", **SHORT)
    with pytest.raises(BadInput, match=r'no option "widhts"\. Did you mean "widths"'):
        musegen.train("vae", "toy", out=out, init=donor, widhts=[3], **SHORT)
    model = musegen.load(donor)
    weights = {name: torch.zeros(9, 9, 9) for name in model.family.state_dict()}
    model.family.state_dict = lambda *_: weights  # type: ignore[method-assign, assignment]
    model.save(tmp_path / "other.safetensors")
    with pytest.raises(
        BadInput, match=r"None of the weights of .*other.safetensors fits these networks: 0 of \d+ weights taken"
    ):
        musegen.train("vae", "toy", out=out, init=tmp_path / "other.safetensors", **SHORT)
    assert not out.exists()


def test_on_the_command_line_with_a_model_that_ships(run: Callable[..., Result], tmp_path: Path) -> None:
    """Options of the network are the model's; what is found in the data, such as their tempo, is not."""
    songs = tmp_path / "songs"
    songs.mkdir()
    for i in range(3):
        (songs / f"{i}.mid").write_bytes(piece(10, transpose=i))
    few = ["--steps", 1, "--batch-size", 2, "--validate-every", 0, "--sample-every", 0]
    result = run("train", "rnn_nade", "pianoroll", songs, "--init", "chorale", "--out", "run", *few)
    assert result.code == 0, result.err
    assert "--init chorale: 30 of 30 weights taken." in result.err.splitlines()
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert {
        name: config[name] for name in ("init", "units", "steps_per_beat", "tracks", "bars", "transpose", "top_p")
    } == {
        "init": "chorale",
        "units": 192,
        "steps_per_beat": 2,
        "tracks": "voices",
        "bars": 8,
        "transpose": 6,
        "top_p": 0.93,
    }
    assert config["tempo_bpm"] == 120
    assert (config["steps"], config["dropout"], config["schedule"]) == (1, 0.5, "constant")
    Path("own.yaml").write_text("init: chorale\nbars: 4\nunits: 100\n")
    result = run("train", "rnn_nade", "pianoroll", songs, "--config", "own.yaml", "--out", "second", *few)
    assert result.code == 0, result.err
    assert "not taken for their shape: network.recurrent" in result.err
    assert yaml.safe_load(Path("second/config.yaml").read_text())["bars"] == 4
    bad(run("train", "rnn_nade", "pianoroll", songs, "--init", "choral", "--out", "third"), 'Did you mean "chorale"')


def test_a_relative_path_is_recorded_in_full(tmp_path: Path, donor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(donor.parent)
    run = musegen.train("vae", "toy", out=tmp_path / "run", init="run", **SHORT)
    assert run.config().run.init == str(donor)
    musegen.load(run.path).save(tmp_path / "model.safetensors")  # which may go anywhere
    assert find(tmp_path / "model.safetensors").run.init == "run"
