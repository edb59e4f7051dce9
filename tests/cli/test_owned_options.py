"""Options and commands belong to their owners: a model's own options show by themselves, and a plugin's commands too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Result, bad
from toy import ToyPlugin

import musegen
from musegen.cli.app import app, data_app, plugin_app
from musegen.cli.options import MODEL_COMMANDS
from musegen.data.bundled import bundled
from musegen.errors import BadInput
from musegen.plugins import registry
from musegen.plugins.hooks import CORE_COMMANDS

PLUGIN = '''
from dataclasses import dataclass, replace

import torch
from musegen.contracts.family import Sampling
from musegen.families.vae import VAE
from musegen.options import option
from musegen.plugins import Command, Offer, hookimpl


@dataclass(frozen=True)
class Sharp(Sampling):
    sharpness: float = option(0.0, "cells move this far towards 0 or 1", ge=0, le=1)
    kinds: list[int] = option([], "which kinds")


class SharpVAE(VAE):
    name = "sharp_vae"
    Sampling = Sharp

    def sample(self, n, *, label=None, given=None):
        x = super().sample(n)
        return torch.lerp(x, x.round(), self.sampling.sharpness)


def count(what: str, *, twice: bool = False) -> None:
    """Count letters."""
    print(len(what) * (2 if twice else 1))


@hookimpl
def musegen_families():
    return [Offer("sharp_vae", "a VAE whose samples may be sharpened", lambda: SharpVAE)]


@hookimpl
def musegen_commands():
    return [
        Command("count", "Count letters.", lambda: count),
        Command("data count", "Count the letters of data.", lambda: count),
    ]
'''


@pytest.fixture
def plugin(site: Path, tmp_path: Path) -> Path:
    path = tmp_path / "sharp.py"
    path.write_text(PLUGIN)
    registry().register(ToyPlugin(), "tests")
    return path


def test_the_list_of_core_commands_is_that_of_the_application() -> None:
    words = {name for name in app.resolved_commands() if not name.startswith("-")}
    words |= {f"data {name}" for name in data_app.resolved_commands() if not name.startswith("-")}
    words |= {f"plugin {name}" for name in plugin_app.resolved_commands() if not name.startswith("-")}
    words -= set(registry().commands) | {"count", "data count"}  # which earlier tests may have added
    assert words == CORE_COMMANDS
    assert set(MODEL_COMMANDS) < CORE_COMMANDS


def test_help_shows_exactly_the_options_of_the_model(run: Callable[..., Result]) -> None:
    band, notes = run("generate", "band", "--help").out, run("generate", "notes", "--help").out
    for option in ("--top-p", "--lead-in", "--tempo", "--programs", "--threshold"):
        assert option in band
        assert option not in notes
    for text in (band, notes):
        assert "--temperature" in text
        assert "--seed" in text
    assert "'Strings': 'high'" in band  # the model's own value
    assert "--tempo" not in run("evaluate", "band", "--help").out
    bad(run("generate", "bnad", "--help"), 'Did you mean "band"')


def test_options_that_the_model_does_not_have_are_refused_before_anything_is_drawn(run: Callable[..., Result]) -> None:
    bad(run("generate", "notes", "--tempo", 90), "tempo", "temperature")
    bad(run("generate", "band", "--top-q", 0.5), 'Did you mean "top_p"')
    bad(run("generate", "band", "--temperature", -1), "temperature", "invalid")
    bad(run("evaluate", "band", "--tempo", 90, "--data", "bundled"), "tempo")
    bad(run("generate", "band", "--programs", "Piano"), "programs")
    assert not Path("out").exists()


def test_an_option_of_a_plugins_family_appears_by_itself(run: Callable[..., Result], plugin: Path) -> None:
    """Command line, help, Python, export and config.yaml know it, and the plugin names it once."""
    small = ["--steps", 2, "--batch-size", 4, "--validate-every", 0, "--sample-every", 0, "--quiet"]
    assert run("train", "sharp_vae", "toy", "--out", "run", *small, "--plugin", plugin).code == 0
    assert "sharpness: 0.0" in Path("run/config.yaml").read_text()
    assert "--sharpness" in run("generate", "run", "--help").out
    model = musegen.load("run")
    soft, sharp = model.sample(3), model.sample(3, sharpness=1.0)
    assert set(sharp.unique().tolist()) <= {0.0, 1.0} != set(soft.unique().tolist())
    assert model.config["sharpness"] == 0.0
    bad(run("generate", "run", "--sharpness", 2), "sharpness", "less than or equal to 1")
    assert run("generate", "run", "--sharpness", 1, "--kinds", "1,2", "--out", "sharp", "-n", 3).code == 0
    assert run("export", "run", "sharp.safetensors", "--set", "sharpness=1").code == 0
    assert (musegen.load("sharp.safetensors").sample(3) == sharp).all()
    with pytest.raises(BadInput, match='Did you mean "sharpness"'):
        model.configure(sharpnes=1)


def test_a_plugins_commands_are_listed_and_run(run: Callable[..., Result], plugin: Path) -> None:
    for arguments in (["--help"], ["data", "--help"]):
        assert "Count" in run(*arguments, "--plugin", plugin).out
    assert run("count", "abc", "--twice", "--plugin", plugin).out == "6\n"
    assert run("data", "count", "abcd", "--plugin", plugin).out == "4\n"
    assert "Count letters." in run("count", "--help", "--plugin", plugin).out
    assert "build" in run("data", "--help").out
    assert json.loads(run("plugins", "--json").out)[-1]["commands"] == ["count", "data count"]


def test_a_plugin_cannot_take_a_command_of_musegen(run: Callable[..., Result], plugin: Path) -> None:
    plugin.write_text(PLUGIN.replace('"data count"', '"data info"'))
    bad(run("families", "--plugin", plugin), '"data info" is a command of musegen itself')


def test_data_are_looked_at_before_training(
    run: Callable[..., Result], picture_folder: Path, sound_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    (folder / "disc").mkdir(parents=True)
    (folder / "square").mkdir()
    for i, path in enumerate(sorted(picture_folder.rglob("*.png"))):
        (folder / path.parent.name / path.name).write_bytes(path.read_bytes() if i else b"no picture")
    found = json.loads(run("data", "info", folder, "--json", "--set", "size=16").out)
    assert (found["domain"], found["sizes"], found["left_out"]) == ("image", "20 × 20 (59)", 1)
    assert sum(found[f"{split}_examples"] for split in ("train", "valid", "test")) == 59
    assert found["classes"] == {
        "disc": {"train": 23, "valid": 3, "test": 3},
        "square": {"train": 24, "valid": 3, "test": 3},
    }
    assert found["reasons"] == {"damaged": 1}
    assert "1 " in run("data", "info", folder).out
    bad(run("data", "info", folder, "--set", "classes=[a, b]"), "the data decide it, and these have [disc, square]")
    music = bundled("chorales") / "bwv253.mid"
    bad(run("data", "info", music, "--set", "classes=[a, b]"), "the data decide it")
    found = json.loads(run("data", "info", sound_folder, "--json", "--set", "sample_rate_hz=4000").out)
    assert (found["domain"], found["files"], found["sample_rates"]) == ("audio", 40, "4000 Hz (40)")
    assert found["lengths"].startswith("0.20 to 0.20 s")
    bad(run("data", "info", tmp_path / "nowhere"), "does not exist")
    (tmp_path / "empty").mkdir()
    bad(run("data", "info", tmp_path / "empty"), "No domain knows")


def test_a_folder_without_a_run_does_not_hide_a_model_that_ships(run: Callable[..., Result]) -> None:
    Path("band").mkdir()
    assert "--top-p" in run("generate", "band", "--help").out
    assert musegen.load("band").family.name == "rnn_nade"
    Path("mine").mkdir()
    bad(run("generate", "mine"), "holds no run")


def test_where_files_go_is_checked_before_work_starts(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("loaded before --out was checked")

    monkeypatch.setattr(musegen, "load", load)
    Path("out").mkdir()
    Path("out/picture.png").write_bytes(b"mine")
    Path("file").write_bytes(b"")
    bad(run("generate", "band"), "picture.png exists", "--overwrite")
    bad(run("generate", "band", "--out", "file/below"), "is a file")
    bad(run("continue", "band", "a.mid"), "picture.png exists")
    bad(run("accompany", "band", "a.mid"), "picture.png exists")
    bad(run("interpolate", "band", "a.mid", "b.mid"), "picture.png exists")
    bad(run("arithmetic", "band", "a.mid", "b.mid", "c.mid"), "picture.png exists")
    bad(run("traverse", "band", "--out", "out/picture.png"), "exists")
    bad(run("latent", "band", "--out", "out/picture.png"), "exists")
