"""What a user writes: paths in the home folder, and options that are for the data to decide."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Result, bad

import musegen
from musegen.errors import BadInput
from musegen.evaluation.evaluate import evaluate
from musegen.files import at_home, user_path
from musegen.options import validate
from musegen.running.runs import Run
from musegen_image.domain import ImageConfig

QUICK: dict[str, Any] = {"steps": 2, "batch_size": 4, "validate_every": 0, "sample_every": 0, "quiet": True}
SMALL = {"size": 12, "widths": [8]}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder that is not where the program runs."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


# ~ is the home folder


def test_what_is_a_path_at_home(home: Path) -> None:
    for text, full in (("~/a b", f"{home}/a b"), ("~", str(home)), ("~nobody-here/x", "~nobody-here/x")):
        assert at_home(text) == full
    for text in ("a/~/b", "~5 notes", "./~", "", "=~/a"):
        assert at_home(text) == text
    assert user_path(Path("~/a")) == home / "a"


def test_home_in_python(home: Path, picture_folder: Path) -> None:
    shutil.copytree(picture_folder, home / "pictures")
    (home / "own.yaml").write_text("latent_dim: 3\ndata: ~/pictures\n")
    run = musegen.train("vae", "image", out="~/run", config="~/own.yaml", **SMALL, **QUICK)
    assert (home / "run" / "config.yaml").is_file()
    assert run.config().data == str(home / "pictures")
    musegen.resume("~/run", steps=3, data="~/pictures", quiet=True)
    model = musegen.load("~/run")
    picture = sorted((home / "pictures").rglob("*.png"))[0].relative_to(home)
    assert len(model.read(f"~/{picture}")) == 1
    assert model.write(model.sample(1), "~/out") == [home / "out" / "sample_000.png"]
    model.pieces(model.sample(1))[0].save("~/one.png")
    model.save("~/model.safetensors")
    begun = musegen.train("vae", "image", data="~/pictures", out="~/begun", init="~/model.safetensors", **QUICK)
    assert begun.config().run.init == str(home / "model.safetensors")
    assert evaluate(musegen.load("~/model.safetensors"), n=4, k=1, source=Path("~/pictures")).log_prob is not None
    assert Run.open("~/begun").path == home / "begun"
    assert {path.name for path in home.iterdir()} == {
        *("pictures", "own.yaml", "run", "out", "one.png", "model.safetensors", "begun")
    }
    assert not any(Path.cwd().iterdir())


def test_home_on_the_command_line(home: Path, picture_folder: Path, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    """Where the shell leaves it: behind =, and in quotes."""
    monkeypatch.chdir(home.parent / "elsewhere")
    shutil.copytree(picture_folder, home / "pictures")
    (home / "own.yaml").write_text("init: ~/nowhere\n")
    small = ["--set", "size=12", "--set", "widths=[8]", "--steps", 2, "--batch-size", 4, "--quiet"]
    result = run("train", "vae", "image", "~/pictures", "--out=~/run", "--set", "target=~/pictures", *small)
    assert result.code == 0, result.err
    config = yaml.safe_load((home / "run" / "config.yaml").read_text())
    assert (config["data"], config["target"]) == (str(home / "pictures"), str(home / "pictures"))
    assert run("generate", "~/run", "-n", 1, "--out=~/out").code == 0
    assert run("export", "~/run", "~/model.safetensors").code == 0
    assert run("evaluate", "~/model.safetensors", "--data=~/pictures", "-n", 4, "-k", 1, "--out=~/found.json").code == 0
    assert run("resume", "~/run", "--steps", 3, "--data=~/pictures").code == 0
    assert run("train", "vae", "image", "~/pictures", "--init=~/run", "--out=~/begun", *small).code == 0
    bad(run("train", "vae", "image", "--config=~/own.yaml", "--out=~/x"), "no model ~/nowhere")
    bad(run("families", "--plugin=~/nowhere.py"), f"{home}/nowhere.py")
    assert not any(Path.cwd().iterdir())


def test_options_that_are_paths_are_written_in_full(home: Path) -> None:
    config = validate(ImageConfig, {"target": "~/usps"}, "the domain")
    assert config.target == str(home / "usps")


# What the data decide


def test_options_that_the_data_decide_cannot_be_set(tmp_path: Path, picture_folder: Path, band_store: Path) -> None:
    def refused(domain: str, data: Path | None, options: dict[str, Any], *parts: str) -> None:
        with pytest.raises(BadInput) as caught:
            musegen.train("vae", domain, data=data, out=tmp_path / "run", **QUICK, **options)
        for part in (*parts, "cannot be set: the data decide it, and these have", "Leave it out."):
            assert part in str(caught.value)
        assert not (tmp_path / "run").exists()

    refused("image", picture_folder, {**SMALL, "classes": ["a", "b"]}, "classes=[a, b] ", "have [disc, square].")
    refused("image", picture_folder / "disc", {**SMALL, "domain.classes": ["a", "b"]}, "have [].")
    small = {"bars": 2, "channels": 4}
    refused("pianoroll", band_store, {**small, "classes": ["a"]}, "classes=[a] ", "have [].")
    refused("pianoroll", band_store, {**small, "steps_per_beat": 2}, "steps_per_beat=2 ", "have 4.")
    refused("pianoroll", band_store, {**small, "tracks": "voices"}, "tracks=voices ", "have band.")
    track = {"name": "x", "program": 1, "is_drum": False}
    refused(
        "pianoroll",
        band_store,
        {**small, "track_list": [track]},
        "track_list=[{name: x, program: 1",
        "name: Drums",
        "…",
    )


def test_what_fits_the_data_or_is_left_open_may_be_set(tmp_path: Path, picture_folder: Path, band_store: Path) -> None:
    options = {**SMALL, "classes": ["disc", "square"], "colour": "auto"}
    first = musegen.train("vae", "image", data=picture_folder, out=tmp_path / "a", **options, **QUICK)
    assert first.config().domain_config.colour == "grey"
    small = {"bars": 2, "channels": 4, "steps_per_beat": 4, "tracks": "band", "tempo_bpm": 99, "classes": []}
    assert musegen.train("vae", "pianoroll", data=band_store, out=tmp_path / "b", **small, **QUICK).config()
    # The config.yaml of another run has what its own data decided, and is good for others.
    again = musegen.train(
        "vae", "image", data=picture_folder / "disc", config=first.path / "config.yaml", out=tmp_path / "c", quiet=True
    )
    assert again.config().domain_config.classes == []
    assert again.config().domain_config.size == 12
    with pytest.raises(BadInput, match="the data decide it"):
        musegen.train(
            "vae",
            "image",
            data=picture_folder / "disc",
            config=first.path / "config.yaml",
            out=tmp_path / "d",
            classes=["disc", "square"],
        )


def test_a_file_of_ones_own_cannot_set_them_either(run: Callable[..., Result], picture_folder: Path) -> None:
    Path("own.yaml").write_text("classes: [a, b]\nsize: 12\n")
    bad(
        run("train", "vae", "image", picture_folder, "--config", "own.yaml", "--out", "x"),
        "--set 'classes=[a, b]' cannot be set",
    )


def test_what_the_data_decide_otherwise_than_the_model_is_said(
    tmp_path: Path, picture_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    donor = musegen.train("vae", "image", data=picture_folder, out=tmp_path / "a", **SMALL, **QUICK)
    loud = {**QUICK, "quiet": False}
    musegen.train("vae", "image", data=picture_folder / "disc", out=tmp_path / "b", init=donor.path, **loud)
    assert f"Not as in {donor.path}, because the data decide it: classes." in capsys.readouterr().err
