"""Messages name options in the words of whoever reads them: as they are typed, or as Python has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Result, bad
from midi_files import piece

import musegen
from musegen.cli.plugins import add_plugin_commands
from musegen.cli.wording import as_typed
from musegen.errors import BadInput
from musegen.evaluation.evaluate import evaluate
from musegen.plugins import registry

QUICK: dict[str, Any] = {"steps": 2, "batch_size": 4, "validate_every": 0, "sample_every": 0, "quiet": True}


@pytest.mark.parametrize(
    ("command", "text", "typed"),
    [
        ("train vae image", "learning_rate=0.001 is it.", "--learning-rate 0.001 is it."),
        ("train vae image", "use size=28, or networks=mlp.", "use --set size=28, or --set networks=mlp."),
        ("train vae image", "(overwrite=True), out=FOLDER: so.", "(--overwrite), --out FOLDER: so."),
        ("train vae image", "widths=[0, 1] is bad", "--set 'widths=[0, 1]' is bad"),
        ("train vae image", "classes=['a', 'b'] is bad", "--set \"classes=['a', 'b']\" is bad"),
        ("train vae image", 'binarisation="a b" is bad', "--set 'binarisation=\"a b\"' is bad"),
        ("train vae image", "domain.size=3 is bad", "--set domain.size=3 is bad"),
        ("train vae image", "a/size=3/b and size=3/x", "a/size=3/b and --set size=3/x"),
        ("train vae image", '"--set size=3" and x=4, x = 3', '"--set size=3" and x=4, x = 3'),
        ("resume run", "steps=20, data=PATH and size=3", "--steps 20, --data PATH and size=3"),
        ("evaluate run", "source=FOLDER or source=bundled", "--data FOLDER or --data bundled"),
        ("data build pianoroll x", "steps_per_beat=0 or tempo=3", "--steps-per-beat 0 or tempo=3"),
        ("generate band", "temperature=3, size=3", "--temperature 3, size=3"),
        ("continue band x", "file_metre=4/4 or metre=3/4", "--file-metre 4/4 or metre=3/4"),
        ("export band x", "temperature=3", "--set temperature=3"),
        (
            "train vae image",
            "a lower learning_rate or clip_norm=1 or batch_size.",
            "a lower --learning-rate or --clip-norm 1 or --batch-size.",
        ),
        ("train vae image", 'latent_dim, "batch_size", a/batch_size', 'latent_dim, "batch_size", a/batch_size'),
        ("nothing", "size=3", "size=3"),
    ],
)
def test_options_are_named_as_they_are_typed(command: str, text: str, typed: str) -> None:
    for name in ("image", "pianoroll"):
        registry().domain(name)
    registry().family("vae")
    add_plugin_commands(command.split())
    assert as_typed(text, command.split()) == typed


def test_each_reader_gets_his_own_words(run: Callable[..., Result], tmp_path: Path, sound_folder: Path) -> None:
    """The same faults, on the command line and in Python."""
    (tmp_path / "songs").mkdir()
    for i in range(3):
        (tmp_path / "songs" / f"{i}.mid").write_bytes(piece(4, transpose=i))
    assert run("train", "vae", "toy", "--out", "run", "--steps", 2, "--validate-every", 0, "--quiet").code == 0
    assert run("export", "run", "toy.safetensors").code == 0

    def python(work: Callable[[], object]) -> str:
        with pytest.raises(BadInput) as caught:
            work()
        assert "--" not in str(caught.value)
        return str(caught.value)

    out: dict[str, Any] = {"out": "run", **QUICK}
    bad(run("train", "vae", "toy", "--out", "run"), "exists", "--out FOLDER", "or add --overwrite.")
    assert "out=FOLDER, resume it, or add overwrite=True." in python(lambda: musegen.train("vae", "toy", **out))
    bad(run("resume", "run"), "done its 2 steps: give more, such as --steps 4.")
    assert "steps=4" in python(lambda: musegen.resume("run"))
    bad(run("evaluate", "toy.safetensors"), "--data FOLDER, or --data bundled")
    assert "source=FOLDER" in python(lambda: evaluate(musegen.load("toy.safetensors")))
    bad(run("train", "vae", "toy", "--out", "x", "--ema", 2), "--ema 2 is invalid for the run")
    assert python(lambda: musegen.train("vae", "toy", out="x", ema=2)).startswith("ema=2 is invalid for the run")
    bad(
        run("train", "vae", "image", "--out", "x", "--set", "size=30"),
        "--set size=30 does not fit MNIST",
        "use --set size=28.",
    )
    assert "size=30 does not fit MNIST" in python(lambda: musegen.train("vae", "image", out="x", size=30))
    few = ["sample_rate_hz=4000", "seconds=0.2", "n_fft=256", "hop=64", "n_mels=18", "networks=dcgan"]
    small = [f"--set={option}" for option in few]
    bad(
        run("train", "vae", "audio", sound_folder, "--out", "x", *small),
        "--set n_mels=18 does not fit --set networks=dcgan",
        "use --set n_mels=16, or --set networks=mlp.",
    )
    bad(run("generate", "run", "--temperature", -1), "--temperature -1 is invalid for the family")
    assert python(lambda: musegen.load("run").sample(1, temperature=-1)).startswith(
        "temperature=-1 is invalid for the family"
    )
    bad(run("data", "build", "pianoroll", "songs", "--out", "songs"), "songs exists: choose another with --out FOLDER")
    assert not Path("x").exists()
