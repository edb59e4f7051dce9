"""What a run shows: plain lines, a bar on a terminal, TensorBoard with pictures and sound."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import musegen
from musegen.running.progress import Progress


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
    assert " left" in lines[0]
    assert "autoencoder 3  kl 0.5" in lines[0]


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1, quiet=True) as progress:
        progress.advance()
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal() -> None:
    code = (
        "from musegen.running.progress import Progress\n"
        "import time\n"
        "with Progress(4) as p:\n"
        "    for i in range(4):\n"
        "        p.show({'autoencoder/loss': 7.25}); p.advance(); time.sleep(0.3)\n"
    )
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=slave, env=environment)
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # the terminal's other end is closed
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0
    text = shown.decode()
    assert "4/4" in text
    assert "steps/s" in text
    assert "autoencoder 7.25" in text


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
