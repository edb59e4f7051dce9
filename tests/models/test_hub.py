"""Models on a hub: put there with a card, and fetched from a server of this machine that answers as the real one does."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import musegen
from musegen.errors import BadInput
from musegen.models import hub

RUN: dict[str, Any] = {"steps": 2, "sample_every": 0, "validate_every": 0, "quiet": True, "latent_dim": 3}


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a server on this machine serves as repositories, owner/name/file, to the real library."""
    library = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    constants = pytest.importorskip("huggingface_hub.constants")
    folder = tmp_path / "shelf"
    folder.mkdir()

    class Answers(BaseHTTPRequestHandler):
        def answer(self) -> None:
            owner, name, _, revision, file = self.path.strip("/").split("/", 4)
            path = folder / owner / name / file
            known = path.is_file() and revision in ("main", "v1")
            content = path.read_bytes() if known else b""
            self.send_response(200 if known else 404)
            if known:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", hashlib.sha1(content).hexdigest())
            else:
                self.send_header("X-Error-Code", "EntryNotFound" if path.parent.is_dir() else "RepoNotFound")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET = answer  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    class Api:
        """What the library writes with: here it copies into the folder."""

        def __init__(self, library_name: str) -> None:
            assert library_name == "musegen"

        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
            (folder / repo_id).mkdir(parents=True, exist_ok=exist_ok)

        def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
            shutil.copytree(folder_path, folder / repo_id, dirs_exist_ok=True)
            (folder / repo_id / "message").write_text(commit_message)

    monkeypatch.setattr(library, "HfApi", Api)
    yield folder
    server.shutdown()
    server.server_close()
    thread.join()


def test_there_and_back(shelf: Path, tmp_path: Path, run: Any) -> None:
    trained = musegen.train("vae", "toy", out=tmp_path / "run", **RUN)
    model = musegen.load(trained)
    assert model.push_to_hub("me/toys", message="The first", licence="mit") == "hf://me/toys"
    there = {path.name for path in (shelf / "me" / "toys").iterdir()}
    assert there == {"model.safetensors", "README.md", "message"}
    again = musegen.load("hf://me/toys")
    assert torch.equal(again.sample(3), model.sample(3))
    assert torch.equal(musegen.load("hf://me/toys@v1").sample(1), model.sample(1))
    assert run("generate", "hf://me/toys", "-n", "1", "--out", "out").code == 0


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("hf://me/other", "cannot be fetched"),
        ("hf://me/empty", "has a file model.safetensors"),
        ("hf://me/toys@v2", "cannot be fetched"),
        ("hf://me", "write hf://owner/name"),
        ("hf://me/toys/../../x", "write hf://owner/name"),
    ],
)
def test_what_is_not_there_is_refused(shelf: Path, address: str, text: str) -> None:
    (shelf / "me" / "empty").mkdir(parents=True)
    with pytest.raises(BadInput, match=text):
        musegen.load(address)


def test_what_is_no_model_of_musegen_is_refused(shelf: Path) -> None:
    (shelf / "me" / "other").mkdir(parents=True)
    (shelf / "me" / "other" / "model.safetensors").write_bytes(b"\x80\x04\x95pickled")
    with pytest.raises(BadInput, match="no model file of musegen"):
        musegen.load("hf://me/other")


def test_a_hub_that_refuses(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuses(*_: object, **__: object) -> None:
        raise OSError("401 Client Error\nand more")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuses)
    with pytest.raises(BadInput, match=r"cannot be written \(401 Client Error\): see that you are logged in"):
        musegen.load("notes").push_to_hub("me/notes")
    with pytest.raises(BadInput, match="write owner/name"):
        musegen.load("notes").push_to_hub("notes")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(BadInput, match=r"pip install 'musegen\[hub\]'"):
        musegen.load("hf://me/toys")


def test_the_card_of_a_run(tmp_path: Path) -> None:
    trained = musegen.train("vae", "toy", out=tmp_path / "run", **RUN)
    found = musegen.evaluate(trained, n=8, k=1)
    (trained.path / "evaluation.json").write_text(json.dumps(found.as_dict()))
    text = hub.card(musegen.load(trained), "me/toys", "cc-by-4.0")
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "musegen",
        "license": "cc-by-4.0",
        "tags": ["musegen", "toy", "vae"],
    }
    assert 'musegen.load("hf://me/toys")' in body
    assert "| `latent_dim` | `3` |" in body
    assert "SHA-256" in body
    assert "Trained for 2 steps of" in body
    assert "nats per held-out example" in body
    assert any(f"| `{name}` |" in body for name in found.metrics)
    assert str(tmp_path) not in text


def test_the_card_of_a_model_file() -> None:
    text = hub.card(musegen.load("notes"))
    assert "knows nothing of its training" in text
    assert "Whoever puts this model here has to say under which licence" in text
