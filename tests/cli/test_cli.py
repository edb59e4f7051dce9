"""The command line as a user meets it: help, every command once, every kind of bad input, signals."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Result, bad, wait_for_steps
from midi_files import piece

import musegen
from musegen.engine.checkpoint import newest_checkpoint

QUICK = ["--steps", "4", "--batch-size", "4", "--validate-every", "0", "--sample-every", "0", "--quiet"]


@pytest.fixture
def toy_run(tmp_path: Path) -> Path:
    options = {"steps": 4, "batch_size": 4, "validate_every": 0, "sample_every": 0, "latent_dim": 2}
    return musegen.train("vae", "toy", out=tmp_path / "toy_run", quiet=True, **options).path


def test_help_needs_no_torch() -> None:
    heavy = "{'torch', 'pydantic', 'numpy', 'rich.progress'}"
    code = f"import sys, musegen.cli as c; c.main(['--help']); print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "train" in out
    assert out.splitlines()[-1] == "[]"


def test_the_module_runs_too() -> None:
    out = subprocess.run([sys.executable, "-m", "musegen", "--version"], capture_output=True, text=True, check=True)
    assert out.stdout.startswith("musegen ")


def test_help_of_a_pair_lists_exactly_its_options(run: Callable[..., Result]) -> None:
    result = run("train", "vae", "image", "--help")
    assert result.code == 0
    for option in ("--steps", "--learning-rate", "latent_dim", "free_bits", "binarisation", "widths"):
        assert option in result.out
    assert "critic_steps" not in result.out
    assert "critic_steps" in run("train", "gan", "image", "--help").out
    bad(run("train", "vea", "image", "--help"), 'Did you mean "vae"')


def test_lists(run: Callable[..., Result]) -> None:
    families = {row["family"]: row for row in json.loads(run("families", "--json").out)}
    assert families["vae"]["log_prob"] == "bound"
    assert families["ada"]["sample"] == "–"
    assert {row["domain"] for row in json.loads(run("domains", "--json").out)} >= {"image", "pianoroll"}
    plugins = {row["plugin"]: row for row in json.loads(run("plugins", "--json").out)}
    assert plugins["image"]["status"] == "OK"
    for command in ("families", "domains", "plugins"):
        assert "vae" in run("families").out
        assert run(command).code == 0


@pytest.mark.parametrize("family", ["ae", "vae", "gan"])
def test_explain(run: Callable[..., Result], family: str, tmp_path: Path) -> None:
    result = run("explain", family)
    family_class = musegen.plugins.registry().family(family)  # type: ignore[attr-defined]
    assert family_class.objective in result.out
    assert family_class.paper.split(",")[0] in result.out
    for player in ("discriminator", "generator") if family == "gan" else ("autoencoder",):
        assert player in result.out
    assert run("explain", family, "--svg", tmp_path / "graph.svg").code == 0
    assert (tmp_path / "graph.svg").read_text().startswith("<svg")
    bad(run("explain", family, "--svg", tmp_path / "no" / "graph.svg"), "cannot be written")


def test_from_training_to_interpolation(run: Callable[..., Result], tmp_path: Path) -> None:
    """One pass through every command on music of one's own."""
    songs = tmp_path / "my songs"
    songs.mkdir()
    for i in range(4):
        (songs / f"{i}.mid").write_bytes(piece(6, transpose=i))
    (songs / "broken.mid").write_bytes(b"MThd")
    small = ["--set", "bars=2", "--set", "channels=4", "--set", "latent_dim=4"]
    result = run("train", "vae", "pianoroll", songs, "--out", "runs/mine", *QUICK, *small)
    assert result.code == 0, result.err
    assert "musegen generate runs/mine" in result.out
    assert "broken.mid,ends inside its header" in Path("runs/mine/skipped.csv").read_text()
    assert run("resume", "runs/mine", "--steps", 6, "--quiet").code == 0

    assert run("generate", "runs/mine", "-n", 2, "--out", "new", "--seed", 3).code == 0
    first = {p.name: p.read_bytes() for p in Path("new").iterdir()}
    assert {"sample_000.mid", "sample_000.wav", "sample_001.mid", "picture.png"} <= set(first)
    assert run("generate", "runs/mine", "-n", 1, "--out", "loud", "--audio", "ogg").code == 0
    page = ["album.json", "index.html", "picture.png"]
    assert sorted(p.name for p in Path("loud").iterdir()) == [*page, "sample_000.mid", "sample_000.ogg"]
    assert run("generate", "runs/mine", "-n", 1, "--out", "silent", "--audio", "none").code == 0
    assert sorted(p.name for p in Path("silent").iterdir()) == [*page, "sample_000.mid"]
    bad(run("generate", "runs/mine", "--out", "other", "--audio", "au"), "wav", "mp3")
    bad(run("generate", "runs/mine", "-n", 2, "--out", "new"), "--overwrite")
    assert run("generate", "runs/mine", "-n", 2, "--out", "new", "--seed", 3, "--overwrite").code == 0
    again = {p.name: p.read_bytes() for p in Path("new").iterdir()}
    assert again.keys() == first.keys()
    changed = {name for name, content in again.items() if content != first[name]}
    assert changed == {"album.json", "index.html"}  # which say that the command had --overwrite

    assert run("reconstruct", "runs/mine", songs / "0.mid", songs / "1.mid", "--out", "again").code == 0
    assert sorted(path.name for path in Path("again").glob("*.mid")) == ["0.mid", "1.mid"]  # of six bars, two at a time
    walk = run("interpolate", "runs/mine", songs / "0.mid", songs / "1.mid", "--steps", 3, "--out", "between")
    assert walk.code == 0
    assert "of their cells with the files (F1)" in walk.err  # it has hardly learnt
    assert len(list(Path("between").glob("*.mid"))) == 3
    assert run("export", "runs/mine", "model.safetensors").code == 0
    assert run("generate", "model.safetensors", "-n", 2, "--out", "other", "--seed", 3).code == 0
    assert Path("other/sample_000.mid").read_bytes() == first["sample_000.mid"]

    assert run("data", "build", "pianoroll", songs, "--out", "store").code == 0
    info = json.loads(run("data", "info", "store", "--json").out)
    assert (info["pieces"], info["bars"], info["left_out"]) == (4, 24, 1)
    assert info["reasons"] == {"ends inside its header": 1}
    text = run("data", "info", "store").out
    assert "1 ends inside its header" in text
    assert "C2 to " in text
    assert "120 to 120 bpm, median 120" in text
    assert run("train", "ae", "pianoroll", "store", "--out", "runs/store", *QUICK, *small).code == 0
    assert run("generate", "runs/store", "-n", 1, "--out", "likely", "--prior", "mixture").code == 0


def test_scores_classes_and_codes(run: Callable[..., Result], tmp_path: Path, picture_folder: Path) -> None:
    small = ["--set", "size=12", "--set", "widths=[24]", "--set", "binarisation=threshold"]
    assert run("train", "vae", "image", picture_folder, "--out", "vae", *QUICK[2:], *small, "--steps", 300).code == 0
    disc, square = picture_folder / "disc", picture_folder / "square"
    noise = tmp_path / "noise.png"
    from PIL import Image

    Image.fromarray((np.random.default_rng(0).random((12, 12)) > 0.5).astype(np.uint8) * 255).save(noise)
    rows = json.loads(run("score", "vae", disc / "00.png", noise, "--json", "-k", 4).out)
    assert [row["outlier"] for row in rows] == ["no", "yes"]
    nats = rows[0]["log p ≥, nats (K = 4)"]
    bits = json.loads(run("score", "vae", disc / "00.png", noise, "--json", "-k", 4, "--bits").out)[0]
    assert bits["log p ≥, bits (K = 4)"] == pytest.approx(nats / np.log(2), abs=0.01)
    assert run("export", "vae", "m.safetensors").code == 0
    assert json.loads(run("score", "m.safetensors", noise, "--json").out)[0]["outlier"] == "unknown"
    told = run("score", "m.safetensors", disc / "00.png", noise, "--data", picture_folder, "--json", "-k", 4)
    assert [row["outlier"] for row in json.loads(told.out)] == ["no", "yes"]
    assert run("latent", "m.safetensors", "--data", picture_folder, "--out", "told.png").code == 0

    assert run("latent", "vae", "--out", "latent.png").code == 0
    assert Image.open("latent.png").width > 1000
    assert run("traverse", "vae", "--steps", 5, "--out", "walk.png").code == 0
    assert run("arithmetic", "vae", disc, square, square / "03.png", "--out", "sum").code == 0
    assert Path("sum/a_minus_b_plus_c.png").exists()
    bad(run("latent", "vae", "--out", "latent.png"), "--overwrite")
    bad(run("latent", "m.safetensors", "--out", "codes.png"), "knows no data")
    bad(run("classify", "vae", noise), "cannot classify", "semisupervised_vae")
    bad(run("generate", "vae", "--label", "disc"), "cannot condition")
    bad(run("traverse", "vae", "--steps", 1), "--steps 1")
    bad(run("arithmetic", "vae", "nowhere", disc, disc), "nowhere")

    semi = ["--set", "model=m2", "--set", "labelled=20", "--set", "latent_dim=2", "--steps", 400]
    assert (
        run("train", "semisupervised_vae", "image", picture_folder, "--out", "semi", *QUICK[2:], *small, *semi).code
        == 0
    )
    rows = json.loads(run("classify", "semi", *sorted(disc.glob("*.png")), noise, "--json").out)
    assert sum(row["best"] == "disc" for row in rows[:-1]) > 20
    assert {row["class"] for row in rows} <= {"disc", "square", "rejected"}
    assert run("generate", "semi", "--label", "disc", "-n", 2, "--out", "discs").code == 0
    bad(run("generate", "semi", "--label", "disk"), 'Did you mean "disc"')
    bad(run("generate", "semi", "--label", "7"), "from 0 to 1")
    bad(run("generate", "semi", "--given", noise), "condition=given")

    given = ["--set", "condition=given", "--set", "given=top", "--set", "latent_dim=2"]
    assert run("train", "conditional_gan", "image", picture_folder, "--out", "half", *QUICK, *small, *given).code == 0
    assert run("generate", "half", "--given", disc / "00.png", "-n", 2, "--out", "halves").code == 0
    original, completed = (
        np.asarray(Image.open(p).resize((12, 12))) for p in (disc / "00.png", "halves/sample_000.png")
    )
    assert completed.shape == original.shape


def test_evaluate(run: Callable[..., Result], toy_run: Path, band_store: Path, tmp_path: Path) -> None:
    """Likelihood, figures beside their floor, copies; as a table and as JSON, on the screen and in a file."""
    found = json.loads(run("evaluate", toy_run, "-n", 16, "-k", 2, "--json", "--out", "found.json").out)
    assert found == json.loads(Path("found.json").read_text())
    assert found["log_prob"]["kind"] == "bound"
    assert found["log_prob"]["draws"] == 2
    assert found["log_prob"]["nats"] < 0
    assert found["n_samples"] == found["n_held_out"] == 16
    assert set(found["metrics"]["mean_samples"]) == {"model", "floor", "baselines"}
    assert found["metrics"]["mean_reference"]["model"] == found["metrics"]["mean_reference"]["floor"]
    assert run("evaluate", toy_run, "-n", 16, "-k", 2, "--json").out == Path("found.json").read_text() + "\n"
    text = run("evaluate", toy_run, "-n", 16).out
    assert "mean_samples" in text
    assert "log p ≥ (K = 16)" in text

    small = ["--set", "bars=2", "--set", "channels=4", "--set", "latent_dim=4"]
    assert run("train", "gan", "pianoroll", band_store, "--out", "band", *QUICK, *small).code == 0
    found = json.loads(run("evaluate", "band", "-n", 20, "--json", "--split", "valid").out)
    assert found["log_prob"] is None
    assert found["split"] == "valid"
    assert found["metrics"]["empty bars/Piano/overlap"]["floor"] <= 1
    assert 0 <= found["copies"]["copied bars/2 or more"]["floor"] <= 1
    text = run("evaluate", "band", "-n", 20).out
    for part in (
        "Overlap",
        "polyphony/Bass",
        "copied bars",
        "20 samples of the model",
        "Farther than the Markov chain",
    ):
        assert part in text

    bad(run("evaluate", toy_run, "-n", 1), "-n 1")
    bad(run("evaluate", toy_run, "--split", "train"), "test or valid")
    bad(run("evaluate", toy_run, "--out", "found.json"), "--overwrite")
    bad(run("evaluate", toy_run, "--out", "no/such/file.json"), "cannot be written")
    assert run("export", toy_run, "toy.safetensors").code == 0
    bad(run("evaluate", "toy.safetensors"), "run folder")
    assert run("train", "ada", "toy", "--out", "ada", *QUICK, "--set", "target=true").code == 0
    bad(run("evaluate", "ada"), "cannot sample", "vae")


def test_a_configuration_file(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(
        "family: vae\ndomain: toy\nlatent_dim: 3\nsteps: 3\nbatch_size: 4\nlearning_rate: 1e-4\n"
    )
    assert run("train", "--config", "my.yaml", "--out", "a", "--quiet", "--set", "widths=[7]").code == 0
    saved = Path("a/config.yaml").read_text()
    assert "latent_dim: 3" in saved
    assert "learning_rate: 0.0001" in saved
    assert run("train", "gan", "toy", "--config", "my.yaml", "--out", "b", "--quiet").code == 0
    assert "family: gan" in Path("b/config.yaml").read_text()
    (tmp_path / "bad.yaml").write_text("latent_dim: [3\n")
    bad(run("train", "vae", "toy", "--config", "bad.yaml", "--out", "c"), "bad.yaml", "no valid YAML")
    bad(run("train", "vae", "toy", "--config", "none.yaml", "--out", "c"), "none.yaml", "cannot be read")
    assert not Path("c").exists()


# Bad input


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["train"], ["musegen train FAMILY DOMAIN"]),
        (["train", "vaee", "toy"], ['no family "vaee"', 'Did you mean "vae"']),
        (["train", "vae", "pianorol"], ['no domain "pianorol"', 'Did you mean "pianoroll"']),
        (["train", "vae", "toy", "--set", "latent_dims=3"], ['"latent_dims"', 'Did you mean "latent_dim"']),
        (["train", "vae", "toy", "--stepz", "3"], ["--stepz"]),
        (["train", "vae", "toy", "--steps", "many"], ["many"]),
        (["train", "vae", "toy", "--steps", "-3"], ["-3"]),
        (["train", "vae", "toy", "--set", "latent_dim=zero"], ["latent_dim", "zero"]),
        (["train", "vae", "toy", "--set", "latent_dim"], ["key=value"]),
        (["train", "vae", "toy", "--device", "tpu"], ["tpu", "auto, cpu, cuda"]),
        (["train", "vae", "toy", "--device", "cuda:9"], ["cuda:9"]),
        (["train", "gan", "toy", "--early-stop", "3"], ["no validation loss"]),
        (["train", "gan", "toy", "--set", "loss=wasserstein"], ["wasserstein-gp"]),
        (["train", "vae", "toy", "--set", "importance_samples=5", "--set", "beta=2"], ["importance_samples"]),
        (["train", "vae", "pianoroll", "nowhere"], ["nowhere", "does not exist"]),
        (["train", "vae", "pianoroll", "empty"], ["empty", "holds no MIDI files"]),
        (
            ["train", "vae", "pianoroll", "broken"],
            ["None of the 2 files", "can be used", "a.mid ends inside its header"],
        ),
        (["train", "vae", "pianoroll", "short"], ["4 bars of 4/4", "fewer bars"]),
        (["train", "vae", "pianoroll", "pictures"], ["holds no MIDI files"]),
        (["train", "vae", "image", "nowhere"], ["nowhere", "does not exist"]),
        (["train", "vae", "image", "empty"], ["holds no pictures"]),
        (["train", "vae", "image", "pictures"], ["None of the 1 pictures"]),
        (["train", "vae", "image", "idx"], ["t10k-images", "truncated"]),
        (["train", "vae", "image", "--set", "size=30"], ["size=30", "size=28"]),
        (["train", "vae", "image", "good", "--set", "size=30", "--set", "networks=dcgan"], ["size=30", "dcgan"]),
        (["train", "vae", "pianoroll", "--set", "metre=five"], ["time signature"]),
        (["train", "vae", "pianoroll", "--set", "tracks=banned"], ["tracks", "Did you mean"]),
        (["resume", "nowhere"], ["nowhere", "does not exist"]),
        (["resume", "empty"], ["empty", "no run of musegen"]),
        (["generate", "nowhere"], ["nowhere"]),
        (["generate", "empty"], ["empty"]),
        (["generate", "broken/a.mid"], ["a.mid"]),
        (["explain", "gann"], ['Did you mean "gan"']),
        (["data", "info", "nowhere"], ["nowhere"]),
        (["data", "build", "pianoroll", "empty", "--out", "s"], ["holds no MIDI"]),
        (["data", "build", "image", "empty", "--out", "s"], ["needs no store"]),
        (["data", "build", "piano", "empty", "--out", "s"], ["stores are built for pianoroll"]),
        (["data", "build", "pianoroll", "short", "--out", "s", "--steps-per-beat", "0"], ["1 to 96"]),
        (["generat"], ["generat"]),
        (["train", "vae", "toy", "--learning-rate"], ["learning-rate"]),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_bad_input(run: Callable[..., Result], tmp_path: Path, arguments: list[str], parts: list[str]) -> None:
    for name in ("empty", "broken", "short", "pictures", "idx", "good"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "a.mid").write_bytes(b"MThd")
    (tmp_path / "broken" / "b.mid").write_bytes(b"RIFF" + bytes(100))
    (tmp_path / "short" / "a.mid").write_bytes(piece(2))
    (tmp_path / "pictures" / "a.png").write_bytes(b"no picture")
    write_idx_folder(tmp_path / "idx")
    for i in range(3):
        save_picture(tmp_path / "good" / f"{i}.png")
    before = sorted(tmp_path.rglob("*"))
    if arguments[0] == "train" and len(arguments) > 1:
        arguments = [*arguments, "--out", "run"]
    bad(run(*arguments), *parts)
    assert sorted(tmp_path.rglob("*")) == before  # nothing half-written


def save_picture(path: Path) -> None:
    from PIL import Image

    Image.new("L", (9, 9), 100).save(path)


def write_idx_folder(folder: Path) -> None:
    """Four files in the manner of MNIST, one of them truncated."""

    def idx(array: np.ndarray) -> bytes:
        return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()

    for part in ("train", "t10k"):
        images = idx(np.zeros((20, 28, 28), np.uint8))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images[:-100] if part == "t10k" else images)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.zeros(20, np.uint8)))


def test_a_picture_that_is_none_and_a_file_that_is_missing(
    run: Callable[..., Result], tmp_path: Path, picture_folder: Path
) -> None:
    small = ["--set", "size=12", "--set", "widths=[8]", "--set", "latent_dim=2"]
    assert run("train", "vae", "image", picture_folder, "--out", "run", *QUICK, *small).code == 0
    (tmp_path / "x.png").write_bytes(b"no picture")
    bad(run("reconstruct", "run", "x.png"), "x.png", "no picture")
    bad(run("reconstruct", "run", "none.png"), "none.png", "does not exist")
    bad(run("interpolate", "run", "x.png", "x.png"), "no picture")
    bad(run("interpolate", "run", "x.png", "x.png", "--steps", "1"), "--steps 1")
    bad(run("generate", "run", "-n", "0"), "-n 0")
    bad(run("generate", "run", "--temperature", "-1"), "temperature", "invalid")
    bad(run("generate", "run", "--checkpoint", "7"), "no checkpoint of step 7")
    bad(run("generate", "run", "--checkpoint", "newest"), "newest")
    assert not Path("out").exists()


def test_damaged_and_foreign_runs_and_models(run: Callable[..., Result], toy_run: Path) -> None:
    assert run("export", toy_run, "m.safetensors").code == 0
    model = Path("m.safetensors")
    whole = model.read_bytes()
    model.write_bytes(whole[:-7])
    bad(run("generate", model), "m.safetensors", "damaged")
    model.write_bytes(whole.replace(b'\\"format\\": \\"1\\"', b'\\"format\\": \\"9\\"'))
    bad(run("generate", model), "format 9", "reads format 1")
    config = toy_run / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("format: 1", "format: 7"))
    bad(run("generate", toy_run), "format 7")
    config.write_text(text.replace("latent_dim: 2", "latent_dim: 5"))
    bad(run("generate", toy_run), "do not fit")
    config.write_text(text.replace("family: vae", "family: vea"))
    bad(run("resume", toy_run, "--steps", "9"), 'Did you mean "vae"')
    config.write_text("- 1\n")
    bad(run("generate", toy_run), "config.yaml")
    config.write_text(text)
    for checkpoint in (toy_run / "checkpoints").iterdir():
        (checkpoint / "weights.safetensors").write_bytes(b"")
    bad(run("generate", toy_run), "damaged")


def test_an_unexpected_error_is_one_line_and_exit_code_1(
    run: Callable[..., Result], toy_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(musegen.Model, "sample", fail)
    result = run("generate", toy_run)
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "ZeroDivisionError: oops" in result.err
    with pytest.raises(ZeroDivisionError):
        run("generate", toy_run, "--debug")


# Signals


Popen = Callable[..., subprocess.Popen[str]]


def start(popen: Popen, folder: Path, checkpoint_every: int = 20) -> subprocess.Popen[str]:
    code = (
        "import sys\nfrom musegen.plugins import registry\nfrom toy import ToyPlugin\n"
        "registry().register(ToyPlugin(), 'tests')\nfrom musegen.cli import main\nsys.exit(main())\n"
    )
    arguments = ["train", "vae", "toy", "--out", str(folder), "--steps", "1000000", "--log-every", "10"]
    arguments += ["--checkpoint-every", str(checkpoint_every)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return popen([sys.executable, "-c", code, *arguments], env=environment)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path, popen: Popen, number: int, code: int) -> None:
    folder = tmp_path / "run"
    process = start(popen, folder)
    wait_for_steps(folder, process, 3)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in err
    assert shlex.join(["musegen", "resume", str(folder)]) in err
    _, manifest = newest_checkpoint(folder / "checkpoints")
    assert f"Interrupted at step {manifest['step']}" in err
    musegen.resume(folder, steps=manifest["step"] + 5, quiet=True)


@pytest.mark.slow
def test_kill_at_any_moment_loses_at_most_the_steps_since_the_last_checkpoint(tmp_path: Path, popen: Popen) -> None:
    """kill -9 at random moments, saving included; then the run goes on as if nothing had happened."""
    kill_and_resume(tmp_path, popen, 3)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_two_hundred_kills(tmp_path: Path, popen: Popen) -> None:
    kill_and_resume(tmp_path, popen, 200)


def kill_and_resume(tmp_path: Path, popen: Popen, n: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(n):
        folder = tmp_path / f"run{i}"
        process = start(popen, folder, checkpoint_every=1 if i % 2 else 20)
        wait_for_steps(folder, process, 2)
        time.sleep(float(rng.uniform(0, 0.3)))
        process.kill()
        process.communicate()
        logged = [
            json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines() if line.endswith("}")
        ]
        _, manifest = newest_checkpoint(folder / "checkpoints")
        assert manifest["step"] > logged[-1]["step"] - 25
        end = manifest["step"] + 7
        musegen.resume(folder, steps=end, quiet=True)
        assert newest_checkpoint(folder / "checkpoints")[1]["step"] == end
        assert not [p.name for p in (folder / "checkpoints").iterdir() if p.name.startswith(".")]
        if i == 0:  # and it is the very run that was never killed
            whole = musegen.train(
                "vae", "toy", out=tmp_path / "whole", steps=end, checkpoint_every=20, log_every=10, quiet=True
            )
            ours, theirs = (newest_checkpoint(f / "checkpoints")[0]["weights"] for f in (folder, whole.path))
            assert all((ours[k] == theirs[k]).all() or ours[k].isnan().any() for k in ours)
