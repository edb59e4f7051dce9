"""No command imports what lies in the folder that it is called in, nor do the processes that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Result
from midi_files import midi, track
from PIL import Image

import musegen
from musegen import children
from musegen_pianoroll.reading import crew

NAMES = (
    *("mmap", "json", "struct", "hashlib", "typing", "re", "random", "tempfile", "subprocess", "csv", "zipfile", "ast"),
    *("numpy", "torch", "yaml", "PIL", "safetensors", "scipy", "pluggy", "cyclopts", "pydantic", "music21", "rich"),
    *(
        "musegen_pianoroll",
        "musegen_image",
        "musegen_audio",
        "sitecustomize",
        "usercustomize",
        "matplotlib",
        "readline",
    ),
)
TRAIN = ["train", "vae", "image", "--steps", "2", "--batch-size", "4", "--validate-every", "0", "--sample-every", "0"]
TRAIN += ["--device", "cpu", "--set", "widths=[4]", "--quiet"]
COMMANDS = {
    "data build": ["data", "build", "pianoroll", ".", "--out", "store", "--workers", "2"],
    "data info": ["data", "info", "."],
    "continue": ["continue", "chorale", "piece.mid", "--bars", "1", "--out", "longer"],
    "accompany": ["accompany", "chorale", "piece.mid", "--tracks", "Soprano", "--out", "accompanied"],
    "reconstruct": ["reconstruct", "run", "piece.mid", "--out", "again"],
    "train in two processes": [*TRAIN, "--processes", "2", "--out", "together"],
    "plugin check": ["plugin", "check", "image", "--set", "widths=[4]"],
    "plugins": ["plugins"],
    "help": ["--help"],
}
QUICK = ("data build", "data info", "continue", "plugins", "help")
"""Tried in `make test`; the others take seconds each."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a piece, a run, and modules and a plugin that write their names down when they are imported."""
    folder = tmp_path_factory.mktemp("songs")
    notes = [(480 * i, 480 * (i + 1), 60 + i % 7) for i in range(32)]
    (folder / "piece.mid").write_bytes(midi([track(notes)]))
    options = {"steps": 2, "batch_size": 2, "latent_dim": 2, "validate_every": 0, "sample_every": 0, "bars": 1}
    musegen.train("vae", "pianoroll", out=folder / "run", quiet=True, networks="mlp", widths=[4], **options)
    for name in (*NAMES, "stranger"):
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write({name + ' '!r})\n")
    package = folder / "stranger-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[musegen]\nstranger = stranger\n")
    return folder


def paths() -> str:
    """Where this process imports from, without what depends on the current folder."""
    return os.pathsep.join(path for path in sys.path if os.path.isabs(path))


@pytest.mark.parametrize(
    ("called", "name"),
    [
        *(("python -m", name) for name in QUICK),
        ("script", "continue"),
        *(
            pytest.param(called, name, marks=pytest.mark.slow)
            for called, quick in (("python -m", QUICK), ("script", ("continue",)))
            for name in COMMANDS
            if name not in quick
        ),
    ],
)
def test_nothing_beside_a_strangers_files_runs(called: str, name: str, hostile: Path, tmp_path: Path) -> None:
    if called == "script":  # Python itself imports this one for -m, before it knows of what module
        (hostile / "types.py").write_text(f"open({str(hostile / 'ran')!r}, 'a').write('types ')\n")
    script = tmp_path / "musegen-command"
    script.write_text("import sys; from musegen.cli import main; sys.exit(main())")
    for made in ("store", "longer", "accompanied", "again", "together"):
        if (hostile / made).exists():
            (hostile / made).rename(tmp_path / made)
    begin = ["-m", "musegen"] if called == "python -m" else [str(script)]
    done = subprocess.run(
        [sys.executable, *begin, *COMMANDS[name]],
        cwd=hostile,
        env=os.environ | {"PYTHONPATH": paths()},
        capture_output=True,
        text=True,
        check=False,
    )
    (hostile / "types.py").unlink(missing_ok=True)
    assert not (hostile / "ran").exists(), (hostile / "ran").read_text()
    assert done.returncode == 0, done.stderr


def test_what_a_child_imports(hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the current folder, however the path names it; from a plugin's folder, but for the standard library."""
    monkeypatch.chdir(hostile)
    monkeypatch.setenv("PYTHONPATH", f".{os.pathsep}")
    monkeypatch.setattr(sys, "path", ["", ".", str(hostile), str(tmp_path), *sys.path])
    (tmp_path / "elsewhere.py").write_text("print('elsewhere', end=' ')")
    (tmp_path / "mmap.py").write_text("print('not the standard library')")
    code = "import elsewhere, mmap, json, numpy, musegen_pianoroll\nprint(*sys.argv[1:])"
    command = children.command(code, "one", "two")
    done = subprocess.run(command, env=children.environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "elsewhere one two\n"
    assert not (hostile / "ran").exists()


def test_a_plugin_in_the_current_folder_is_found_by_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "at_hand" / "deep"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").write_text("print('at hand')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(children, "_OURS", set(children._OURS))
    found = []
    for _ in range(2):
        command = children.command("import at_hand.deep")
        found.append(subprocess.run(command, env=children.environment(), capture_output=True, text=True).stdout)
        import at_hand.deep

        children.trust(at_hand.deep.__name__)
    assert found == ["", "at hand\n"]


@pytest.mark.parametrize("command", ["data build", "data info", "continue"])
def test_a_reader_that_does_not_start_is_tried_three_times(
    command: str, tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setattr(crew, "WORKER", f"open({str(log)!r}, 'a').write('x')\nraise ImportError('half installed')")
    for i in range(20):
        (tmp_path / f"{i}.mid").write_bytes(midi([track([(0, 480, 60 + i)])]))
    (tmp_path / "piece.mid").write_bytes(midi([track([(0, 480, 60)])]))
    monkeypatch.chdir(tmp_path)
    result = run(*[word.replace("2", "1") for word in COMMANDS[command]])
    assert result.code == 1
    assert result.err.splitlines()[-1] == (
        "The process that reads files ended 3 times before it began (ImportError: half installed): see that musegen is "
        "installed whole."
    )
    assert "Traceback" not in result.err
    assert log.read_text() == "xxx"


def test_a_picture_folder_is_read_beside_a_strangers_modules(hostile: Path, tmp_path: Path) -> None:
    """Readers without processes of their own import late as well."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(4):
        Image.new("L", (8, 8), 40 * i).save(folder / f"{i}.png")
    done = subprocess.run(
        [sys.executable, "-m", "musegen", "data", "info", str(folder)],
        cwd=hostile,
        env=os.environ | {"PYTHONPATH": paths()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (hostile / "ran").exists(), (hostile / "ran").read_text()
    assert done.returncode == 0, done.stderr
