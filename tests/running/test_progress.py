"""What a run shows: plain lines, a bar on a terminal, TensorBoard with pictures and sound."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from terminal import MODULE, in_terminal

import musegen
from musegen.running.progress import Progress, fitting


def test_plain_lines_when_not_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musegen.running.progress.PLAIN_EVERY_S", 0.0)
    with Progress(3) as progress:
        for loss in (3.0, 2.0, 1.0):
            progress.show({"autoencoder/loss": loss, "autoencoder/kl": 0.5})
            progress.advance()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("step 1/3")
    assert "steps/s" in lines[0]
    assert "0:00:00 left" in lines[0]
    assert "autoencoder 3  kl 0.5" in lines[0]


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1, quiet=True) as progress:
        progress.advance()
    assert capsys.readouterr().err == ""


TRAIN = ["train", "vae", "toy", "--out", "run", "--steps", "40", "--log-every", "1", "--sample-every", "0"]
TRAIN += ["--device", "cpu", "--validate-every", "20", "--set", "latent_dim=2"]


@pytest.mark.parametrize("columns", [pytest.param(80, marks=pytest.mark.slow), 46])
def test_a_bar_and_below_it_metrics(tmp_path: Path, columns: int) -> None:
    """Two lines that stay in place, each shorter than the terminal, and no number is cut."""
    seen = in_terminal(TRAIN, columns, tmp_path)
    assert seen.code == 0, seen.raw
    assert [line for line in seen.screen.wrapped if not line.startswith("Next")] == []
    bar, metrics = seen.screen.lines[:2]
    assert re.fullmatch(r"━+ 40/40  [\d.]+ steps/s  0:00:00 left", bar)
    assert len(bar) == columns - 1
    parts = metrics.split("  ")
    assert all(re.fullmatch(r"(valid )?[a-z]+ -?[\d.]+", part) for part in parts), metrics
    assert len(parts) == (4 if columns == 80 else 2)
    assert seen.screen.lines[2:4] == ["The run is in run.", "Next: musegen generate run -n 8 --out out"]


def test_a_pipe_gets_plain_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MODULE, *TRAIN]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert re.fullmatch(r"step 40/40  [\d.]+ steps/s  0:00:00 left  (valid )?autoencoder .*\n", done.stderr)
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        pytest.param(TRAIN, {"NO_COLOR": "1"}, marks=pytest.mark.slow),
        (["train", "--help"], {"NO_COLOR": "1"}),
        (["domains"], {"NO_COLOR": "1"}),
        (TRAIN, {"TERM": "dumb"}),
    ],
)
def test_no_escape_codes_where_nobody_wants_them(
    tmp_path: Path, command: list[str], environment: dict[str, str]
) -> None:
    seen = in_terminal(command, 80, tmp_path, **environment)
    assert seen.code == 0, seen.raw
    assert "\x1b" not in seen.raw
    assert seen.screen.wrapped == []


def test_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of steps of minutes too, and before the first is done."""
    now = 100.0
    monkeypatch.setattr("musegen.running.progress.time.monotonic", lambda: now)
    progress = Progress(1000, 10, quiet=True)
    now += 75
    assert progress._state() == "10/1000  0:01:15 so far"
    now += 25
    progress.advance()
    assert progress._state() == "11/1000  100.0 s/step  27:28:20 left"
    progress.done += 399
    assert progress._state() == "410/1000  4.0 steps/s  0:02:28 left"


def test_metrics_that_fit() -> None:
    assert fitting(["loss 1", "kl 2.5", "x 3"], 14) == "loss 1  kl 2.5"
    assert fitting(["loss 1", "kl 2.5", "x 3"], 13) == "loss 1"
    assert fitting(["loss 1"], 3) == ""


def test_tensorboard_gets_scalars_pictures_and_sound(tmp_path: Path, band_store: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options = {"bars": 1, "networks": "mlp", "widths": [16], "latent_dim": 2, "batch_size": 8, "samples": 2}
    run = musegen.train(
        "vae",
        "pianoroll",
        data=band_store,
        out=tmp_path / "run",
        steps=4,
        log_every=2,
        validate_every=2,
        sample_every=4,
        tensorboard=True,
        quiet=True,
        **options,
    )
    events = accumulator.EventAccumulator(str(run.path / "tensorboard"), size_guidance={"audio": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    assert {"train/autoencoder/loss", "valid/autoencoder/nelbo"} <= set(tags["scalars"])
    assert [e.step for e in events.Scalars("train/autoencoder/loss")] == [2, 4]
    assert tags["images"] == ["samples"]
    assert events.Images("samples")[0].encoded_image_string.startswith(b"\x89PNG")
    assert tags["audio"] == ["sample_0", "sample_1"]
    sound = events.Audio("sample_0")[0]
    assert sound.sample_rate == 44_100
    assert sound.encoded_audio_string.startswith(b"RIFF")


def test_a_notebook_has_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musegen.running.progress.PLAIN_EVERY_S", 0.0)
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    with Progress(3) as progress:
        for _ in range(3):
            progress.advance()
    seen = capsys.readouterr().err
    assert seen.count("\n") == 1
    assert [part.split("  ")[0] for part in seen.split("\r")[:-1]] == ["step 1/3", "step 2/3", "step 3/3", "step 3/3"]
