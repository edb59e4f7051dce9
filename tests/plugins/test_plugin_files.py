"""One file as a plugin: named by the user, recorded in a run, and never run because somebody else's file says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Result, bad
from strangers import DOMAIN

import musegen
from musegen.plugins import registry
from musegen.plugins.files import is_remembered, remember

pytestmark = pytest.mark.usefixtures("site")
QUICK = ["--steps", "4", "--batch-size", "4", "--validate-every", "0", "--sample-every", "0", "--quiet"]
TRAIN = ["train", "vae", "grooves", *QUICK, "--set", "latent_dim=2"]


def forget() -> None:
    """As in a new process."""
    registry.cache_clear()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A plugin that leaves a trace whenever it is run."""
    path = tmp_path / "my grooves.py"
    path.write_text(f"open({str(tmp_path / 'trace')!r}, 'a').write('ran ')\n" + DOMAIN)
    return path


def times_run(file: Path) -> int:
    trace = file.with_name("trace")
    return trace.read_text().count("ran") if trace.exists() else 0


def test_a_file_is_a_plugin_for_every_command(run: Callable[..., Result], file: Path) -> None:
    rows = json.loads(run("plugins", "--json", "--plugin", file).out)
    found = next(row for row in rows if row["plugin"] == "my grooves")
    assert (found["status"], found["file"], found["domains"]) == ("OK", str(file), ["grooves"])
    forget()
    assert "grooves" in run("--plugin", file, "domains").out
    forget()
    assert "binarisation" not in run("train", "vae", "grooves", f"--plugin={file}", "--help").out
    forget()
    bad(run("domains", "--plugin"), "cannot be read")
    assert run(*TRAIN, "--out", "run", "--plugin", file, "--plugin", file).code == 0
    assert times_run(file) == 4


def test_a_run_finds_its_file_again_and_a_model_file_asks_for_it(run: Callable[..., Result], file: Path) -> None:
    assert run(*TRAIN, "--out", "run", "--plugin", file.name).code == 0
    forget()
    assert run("resume", "run", "--steps", "6", "--quiet").code == 0
    forget()
    assert run("generate", "run", "-n", "1", "--out", "a").code == 0
    assert run("export", "run", "m.safetensors").code == 0
    assert str(file.parent).encode() not in Path("m.safetensors").read_bytes()
    forget()
    before = times_run(file)
    bad(run("generate", "m.safetensors"), "m.safetensors", "plugin file my grooves.py: add --plugin with its path")
    assert times_run(file) == before
    assert run("generate", "m.safetensors", "-n", "1", "--out", "b", "--plugin", file).code == 0
    assert Path("a/sample_000.npy").read_bytes() == Path("b/sample_000.npy").read_bytes()

    forget()
    text = file.read_text()
    file.write_text(text + "\n# changed\n")
    before = times_run(file)
    bad(run("generate", "run"), "my grooves.py", "has changed since", f"--plugin '{file}'")
    assert times_run(file) == before
    result = run("generate", "run", "-n", "1", "--out", "c", "--plugin", file)
    assert result.code == 0
    assert result.err == "The run run was made with my grooves.py as it was then; it has changed since.\n"
    forget()
    file.unlink()
    bad(run("generate", "run"), "my grooves.py", "cannot be read", "add --plugin with its path")
    file.write_text(text)
    assert run("generate", "run", "-n", "1", "--out", "d").code == 0


def test_a_run_folder_of_somebody_else_runs_nothing(run: Callable[..., Result], file: Path, tmp_path: Path) -> None:
    """A stranger sends a run and a program together. Neither the program nor one that only looks like a known one is run."""
    assert run(*TRAIN, "--out", "run", "--plugin", file).code == 0
    ran = times_run(file)
    forget()
    evil = tmp_path / "run" / "evil.py"
    evil.write_text(file.read_text() + "\n# evil\n")
    environment = json.loads(Path("run/environment.json").read_bytes())
    need = environment["needs"][1]
    for path, sha256 in (
        (evil, musegen.plugins.files.digest(evil.read_bytes())),  # a file that the user never named
        (evil, need["sha256"]),  # it claims to be one that he did
    ):
        environment["needs"][1] = need | {"file": str(path), "sha256": sha256}
        Path("run/environment.json").write_text(json.dumps(environment))
        result = run("generate", "run")
        bad(result, "evil.py", "--plugin")
        assert times_run(file) == ran
    environment["needs"][1] = need
    Path("run/environment.json").write_text(json.dumps(environment))
    shutil.rmtree(tmp_path / "state")  # another user, or another machine
    bad(run("generate", "run"), "which you have not used here before", "look at it")
    assert times_run(file) == ran


def test_memory_is_of_path_and_content(file: Path) -> None:
    remember(file, "a" * 64)
    assert is_remembered(file, "a" * 64)
    assert not is_remembered(file, "b" * 64)
    assert not is_remembered(file.with_name("other.py"), "a" * 64)
    forged = Path(f"x'\n{'c' * 64}  {str(file)!r}\n")
    remember(forged, "d" * 64)
    assert is_remembered(forged, "d" * 64)
    assert not is_remembered(file, "c" * 64)


def test_where_nothing_can_be_remembered_the_file_works_all_the_same(
    run: Callable[..., Result], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    assert run(*TRAIN, "--out", "run", "--plugin", file).code == 0
    forget()
    bad(run("generate", "run"), "which you have not used here before")


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("x = 1", "no hook"),
        ("\n\nimport no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (line 3)"),
        ("a = 1\ndef (:", "(line 2)"),
        ("def f():\n    exit(3)\nf()", "SystemExit: 3 (line 2)"),
        ("\0", "null"),
        (DOMAIN.replace('"grooves"', '"image"'), "already offered by musegen"),
        ('MUSEGEN_API = "9.0"\n' + DOMAIN, "update musegen"),
    ],
)
def test_a_file_that_will_not_do(run: Callable[..., Result], tmp_path: Path, source: str, part: str) -> None:
    (tmp_path / "f.py").write_text(source)
    bad(run("domains", "--plugin", "f.py"), "The plugin file f.py cannot be used", part)
    assert not [name for name in sys.modules if name.startswith("musegen_plugin_file_") and name.endswith("_f")]
    bad(run("domains", "--plugin", "g.py"), "g.py", "No such file")
    bad(run("domains", "--plugin", tmp_path), "directory")


def test_files_of_the_environment_cost_only_themselves(tmp_path: Path, file: Path) -> None:
    (tmp_path / "broken.py").write_text("oops")
    paths = os.pathsep.join([str(tmp_path / "broken.py"), str(tmp_path / "none.py"), str(file)])
    out = subprocess.run(
        [sys.executable, "-m", "musegen", "plugins", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"MUSEGEN_PLUGIN_FILES": paths},
    ).stdout
    rows = {row["plugin"]: row for row in json.loads(out)}
    assert {name: rows[name]["status"] for name in ("broken", "none", "my grooves", "core")} == {
        "broken": "BROKEN",
        "none": "BROKEN",
        "my grooves": "OK",
        "core": "OK",
    }
    assert "NameError" in rows["broken"]["problem"]


def test_from_python(file: Path, tmp_path: Path) -> None:
    musegen.use_plugin(file)
    musegen.use_plugin(str(file))
    assert "grooves" in musegen.domains()
    with pytest.raises(musegen.BadInput, match="cannot be used"):
        musegen.use_plugin(tmp_path / "none.py")
    import toy

    musegen.use_plugin(toy.ToyPlugin())
    assert "toy" in musegen.domains()
    with pytest.raises(musegen.BadInput, match="no hook"):
        musegen.use_plugin(json)
