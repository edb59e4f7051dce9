"""``musegen studio`` prints where it is, answers, and leaves nothing behind; the client of its page works."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Result, bad
from midi_files import piece
from pages import shown
from studio_client import Client, served

from musegen.data.bundled import models

pytest.importorskip("starlette", reason="the extra studio is not installed")
pytest.importorskip("uvicorn", reason="the extra studio is not installed")


def test_from_its_first_line_to_its_end(tmp_path: Path, popen: Callable[..., subprocess.Popen[str]]) -> None:
    model, place = tmp_path / "mine.safetensors", tmp_path / "temporary"
    place.mkdir()
    model.write_bytes(models()["chorale"].read_bytes())
    process = popen(
        [sys.executable, "-m", "musegen", "studio", str(model), "--port", "0", "--no-browser", "--out", "saved"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(place)},
    )
    assert process.stdout is not None
    found = re.fullmatch(r"The studio's address is (\S+), and its token (\S+)\n", process.stdout.readline())
    assert found, process.stderr.read() if process.stderr else ""
    assert process.stdout.readline() == f"Its page: {found[1]}/?token={found[2]}\n"
    assert "mine" in process.stdout.readline()
    client = Client(found[1], found[2])
    assert {"chorale", "mine"} <= {row["name"] for row in client.ask("GET", "/api/models").json["models"]}
    (id_,) = client.pieces("/api/generate", {"model": "mine", "bars": 1})
    assert client.ask("POST", "/api/save", {"pieces": [id_], "audio": None}).status == 200
    assert list(place.glob("musegen-studio-*"))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) in (0, 130)
    assert not list(place.glob("musegen-studio-*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.safetensors", "saved", "temporary"]
    assert (tmp_path / "saved/piece/01 mine.mid").is_file()


def test_a_killed_studio_loses_nothing_that_was_saved(
    tmp_path: Path, popen: Callable[..., subprocess.Popen[str]]
) -> None:
    process = popen(
        [sys.executable, "-m", "musegen", "studio", "--port", "0", "--no-browser", "--out", "saved"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    found = re.fullmatch(r"The studio's address is (\S+), and its token (\S+)\n", process.stdout.readline())
    assert found
    client = Client(found[1], found[2])
    (id_,) = client.pieces("/api/generate", {"model": "chorale", "bars": 1})
    content = client.ask("GET", f"/api/pieces/{id_}/file").body
    saved = client.ask("POST", "/api/save", {"pieces": [id_], "audio": "ogg"}).json
    process.kill()
    process.wait(60)
    assert sorted(path.name for path in (tmp_path / "saved/piece").iterdir()) == sorted(["album.json", *saved["files"]])
    assert (tmp_path / "saved/piece/01 chorale.mid").read_bytes() == content


def test_what_it_cannot_do(run: Callable[..., Result]) -> None:
    bad(run("studio", "--port", 70_000), "--port 70000 is invalid")
    bad(run("studio", "none"), "There is no model none")
    bad(run("studio", "--host", "0.0.0.0", "--port", 0), "name one address of this machine")
    bad(run("studio", "--host", "192.0.2.1", "--port", 0), "cannot be had")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bad(run("studio", "--port", taken.getsockname()[1]), "cannot be had")


def test_without_the_extra_it_says_what_to_install(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    bad(run("studio"), 'pip install "musegen[studio]"')


def test_the_client_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.mid").write_bytes(piece(4))
    (code,) = (part.text for part in shown("docs/studio.md") if part.kind == "python" and "urllib" in part.text)
    assert len(code.splitlines()) <= 30
    with served(tmp_path / "saved") as client:
        monkeypatch.setenv("STUDIO", f"http://{client.host}")
        monkeypatch.setenv("TOKEN", client.token)
        exec(compile(code, "docs/studio.md", "exec"), {"__name__": "__main__"})
    assert Path("first.mid").read_bytes().startswith(b"MThd")
    assert Path("first.mp3").stat().st_size > 10_000
    assert (tmp_path / "saved/piece/index.html").is_file()
