"""The studio's OSC messages, over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commands import Result, bad
from midi_files import piece
from pages import shown

import musegen

pytest.importorskip("uvicorn", reason="the extra studio is not installed")
pytest.importorskip("pythonosc", reason="the extra osc is not installed")

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg

from musegen.studio import serving
from musegen.studio.osc import answering
from musegen.studio.shelf import Models


class Asker(NamedTuple):
    port: int
    token: str

    def ask(self, what: str, *values: Any, token: str | None = None) -> list[tuple[Any, ...]]:
        """What is answered, up to the last message."""
        sent = build_msg(f"/musegen/{what}", [self.token if token is None else token, *values]).dgram
        return self.send(sent)

    def send(self, content: bytes) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.settimeout(60)
            own.sendto(content, ("127.0.0.1", self.port))
            while not found or found[-1][0] not in ("done", "error", "saved"):
                message = OscMessage(own.recv(1 << 16))
                found.append((message.address.removeprefix("/musegen/"), *message.params))
        return found


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("osc") / "saved"


@pytest.fixture(scope="module")
def asker(out: Path) -> Iterator[Asker]:
    models = Models({"chorale": "chorale", "pop": "pop"}, lambda place: musegen.load(place, device="cpu"))
    with serving.studio(models, out) as studio, answering(studio.desk, studio.token) as port:
        yield Asker(port, studio.token)


def test_a_piece_is_made_its_notes_are_told_and_it_is_filled_in(asker: Asker, out: Path) -> None:
    pieces = asker.ask("generate", "model", "chorale", "bars", 2, "n", 2, "seed", 3, "temperature", 0.9)
    assert [one[0] for one in pieces] == ["piece", "piece", "done"]
    assert pieces[-1] == ("done", "generate", 2)
    assert pieces[0][1] != pieces[1][1]
    assert Path(pieces[0][2]).read_bytes().startswith(b"MThd")
    # The same as by the command's own way.
    model = musegen.load("chorale", device="cpu")
    with model.configured(temperature=0.9):
        (alone, _) = model.pieces(model.sample(2, 3, n_steps=16))
    expected = alone.score()
    assert expected is not None
    *notes, done = asker.ask("notes", pieces[0][1])
    assert done == ("done", "notes", len(expected.notes))
    beat = expected.ticks_per_beat
    assert [note[1:] for note in notes] == [
        (pieces[0][1], voice, a / beat, (b - a) / beat, pitch, velocity)
        for voice, a, b, pitch, velocity in expected.notes
    ]
    (anew, _) = asker.ask("regenerate", "model", "chorale", "piece", pieces[0][1], "bars", "2", "tracks", "Alto,Bass")
    *others, _ = asker.ask("notes", anew[1])
    kept = [{n[2:] for n in of if n[3] < 4 or n[2] in (0, 2)} for of in (notes, others)]
    assert kept[0] == kept[1]
    assert notes != others
    ((_, folder),) = asker.ask("save", "pieces", f"{pieces[0][1]},{anew[1]}", "folder", "live", "audio", "ogg")
    assert folder == "live"
    assert len(list((out / "live").glob("*.mid"))) == 2


def test_a_file_comes_as_a_blob(asker: Asker) -> None:
    opened, _ = asker.ask("open", "model", "pop", "name", "mine.mid", "content", piece(2))
    assert Path(opened[2]).read_bytes() == piece(2)
    longer, done = asker.ask("continue", "model", "pop", "piece", opened[1], "bars", 1)
    assert done == ("done", "continue", 1)
    assert Path(longer[2]).read_bytes() != piece(2)


def test_what_is_wrong_is_said(asker: Asker) -> None:
    def error(*message: Any, token: str | None = None) -> str:
        ((kind, text),) = asker.ask(*message, token=token)
        assert kind == "error"
        assert text.endswith((".", "?"))
        return str(text)

    assert "not the token" in error("generate", "model", "chorale", token="guess")
    assert "pairs" in error("generate", "model")
    assert "pairs" in error("generate", 3, "chorale")
    assert "generate" in error("generat", "model", "chorale")
    assert "no model" in error("generate", "model", "none")
    assert "n=99" in error("generate", "model", "chorale", "n", 99)
    assert "temperature=-1" in error("generate", "model", "chorale", "temperature", -1.0)
    assert "blob" in error("open", "model", "pop", "name", "x.mid", "content", "text")
    assert "no piece" in error("notes", "none")
    assert "no piece" in error("notes")
    assert "no model" not in error("save", "pieces", "none")


def test_it_outlives_what_is_no_osc(asker: Asker) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        for junk in (b"", b"/", b"#bundle\0", b"/musegen/generate\0\0\0,s", bytes(range(256)) * 8, b"/a\0\0,f\0\0"):
            own.sendto(junk, ("127.0.0.1", asker.port))
    assert asker.ask("generate", "model", "chorale", "bars", 1)[-1] == ("done", "generate", 1)


def test_the_client_of_the_page(
    asker: Asker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = (part.text for part in shown("docs/studio.md") if part.kind == "python" and "pythonosc" in part.text)
    assert sum(1 for line in code.splitlines() if line.strip()) <= 15
    monkeypatch.setenv("OSC", str(asker.port))
    monkeypatch.setenv("TOKEN", asker.token)
    exec(compile(code, "docs/studio.md", "exec"), {"__name__": "__main__"})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 5
    assert all(line.startswith("beat ") for line in lines)


def test_the_command(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    bad(run("studio", "--osc", 70_000), "--osc 70000 is invalid")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        bad(run("studio", "--port", 0, "--osc", taken.getsockname()[1]), "for OSC cannot be had")
    monkeypatch.setattr(serving.Served, "run", lambda self: None)
    before = threading.active_count()
    done = run("studio", "--port", 0, "--osc", 0, "--no-browser")
    assert "OSC: messages to 127.0.0.1, port " in done.out
    assert threading.active_count() == before  # it ends with the studio
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pythonosc" else find(name))
    bad(run("studio", "--osc", 0), 'pip install "musegen[osc]"')
