"""Reports of what takes long: who hears them, and what a terminal shows."""

from __future__ import annotations

import io
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from terminal import Screen, in_terminal

import musegen
from musegen import reporting
from musegen.reporting import Terminal, doing, each, listening, report, several

Heard = list[tuple[str, int, int, str]]


class Tty(io.StringIO):
    """A terminal of 80 columns that remembers everything."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True

    @property
    def screen(self) -> Screen:
        screen = Screen(80)
        screen.feed(self.getvalue())
        return screen


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "PATIENCE_S", 0.0)
    monkeypatch.setattr(reporting, "REFRESH_S", 0.005)
    monkeypatch.setenv("COLUMNS", "80")


def wait_until_shown(stream: Tty, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in stream.getvalue():
        assert time.monotonic() < deadline, stream.getvalue()
        time.sleep(0.005)


def test_who_listens_hears_and_nobody_else() -> None:
    heard: Heard = []
    inner: Heard = []
    report("before", 1, 2)
    with listening(lambda *said: heard.append(said)):
        assert list(each("ab", "Reading", "files")) == ["a", "b"]
        with listening(lambda *said: inner.append(said)), doing("Loading band"):
            pass
        thread = threading.Thread(target=lambda: report("in another thread", 1, 2))
        thread.start()
        thread.join()
    report("after", 1, 2)
    assert heard == [("Reading", 0, 2, "files"), ("Reading", 1, 2, "files"), ("Reading", 2, 2, "files"), ("", 1, 1, "")]
    assert inner == [("Loading band", 0, 1, ""), ("Loading band", 1, 1, "")]
    assert [several(n, "sample") for n in (0, 1, 2)] == ["0 samples", "1 sample", "2 samples"]


def test_what_ends_with_an_error_is_over() -> None:
    heard: Heard = []
    with listening(lambda *said: heard.append(said)), pytest.raises(ZeroDivisionError), doing("Loading"):
        raise ZeroDivisionError
    assert heard[-1] == ("Loading", 1, 1, "")


@pytest.mark.usefixtures("at_once")
def test_a_line_is_drawn_and_gone_before_anything_else_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Tty()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with Terminal(stream):
        report("Drawing 8 samples", 16, 64, "steps")
        wait_until_shown(stream, "steps")
        print("out/sample_000.mid")
        wait_until_shown(stream, "mid\n\rDrawing")
        report("Drawing 8 samples", 64, 64, "steps")
        print("out/sample_001.mid")
        with doing("Writing song.mp3"):
            wait_until_shown(stream, "Writing song.mp3 …")
    assert sys.stdout is stream
    assert "\x1b" not in stream.getvalue()
    bar = "█" * 7 + "░" * 23
    assert f"Drawing 8 samples  {bar} 16/64 steps" in stream.screen.shown
    assert [line.rstrip() for line in stream.screen.lines] == ["out/sample_000.mid", "out/sample_001.mid", ""]


@pytest.mark.usefixtures("at_once")
def test_a_terminal_that_is_narrow_or_knows_ascii_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, encoding, expected in (
        ("60", "ascii", "Drawing 8 samples  " + "#" * 14 + "." * 14 + " 32/64 steps"),
        ("34", "utf-8", "Drawing 8 samples  32/64 steps"),
        ("24", "utf-8", "Drawing 8   32/64 steps"),
    ):
        monkeypatch.setenv("COLUMNS", columns)
        stream = Tty(encoding)
        with Terminal(stream):
            report("Drawing 8 samples", 32, 64, "steps")
            wait_until_shown(stream, "steps")
        assert expected in {line.strip() for line in stream.screen.shown}
        assert max(map(len, stream.screen.shown)) < int(columns)


def test_what_is_quick_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "REFRESH_S", 0.001)
    monkeypatch.setattr(reporting, "PATIENCE_S", 60.0)
    stream = Tty()
    with Terminal(stream):
        for _ in each(range(50), "Drawing", "steps"):
            time.sleep(0.001)
    assert stream.getvalue() == ""


def test_drawing_reports_every_row_and_the_api_shows_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = {"channels": 4, "layers": 1, "steps": 1, "batch_size": 4, "validate_every": 0, "sample_every": 0}
    run = musegen.train("pixelcnn", "toy", out=tmp_path / "run", quiet=True, **options)
    heard: Heard = []
    model = musegen.load(run.path)
    silent = model.sample(3, seed=1)
    with listening(lambda *said: heard.append(said)):
        assert torch.equal(model.sample(3, seed=1), silent)
        musegen.load(run.path)
    assert heard[:5] == [("Drawing 3 samples", i, 4, "rows") for i in range(5)]
    assert heard[5:] == [("Loading run", 0, 1, ""), ("Loading run", 1, 1, "")]
    assert capfd.readouterr() == ("", "")


def test_a_command_shows_progress_on_the_terminal_alone(tmp_path: Path) -> None:
    """Standard output is a pipe and gets the results, and nothing but the results."""
    seen = in_terminal(["generate", "chorale", "-n", 1, "--out", "out"], 80, tmp_path, pipe=True)
    assert seen.code == 0, seen.raw
    made = ["sample_000.mid", "sample_000.wav", "picture.png", "index.html"]
    assert [Path(line).name for line in seen.out.splitlines()] == made
    shown = seen.screen.shown
    assert any(line.startswith("Drawing 1 sample  ") and line.endswith("/64 steps") for line in shown), shown
    assert seen.screen.wrapped == []
    assert [line.strip() for line in seen.screen.lines] == [""]


def test_nothing_is_shown_to_a_pipe_or_to_who_wants_it_quiet(tmp_path: Path) -> None:
    train = ["train", "vae", "toy", "--out", "run", "--steps", "30", "--quiet", "--sample-every", "0"]
    seen = in_terminal(train, 80, tmp_path)
    assert seen.screen.shown == {"The run is in run.", "Next: musegen generate run -n 8 --out out"}
