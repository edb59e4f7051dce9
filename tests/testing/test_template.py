"""A plugin that `musegen plugin new` wrote: it builds, installs, works, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Result, bad

from musegen.plugins import registry

ROOT = Path(__file__).parents[2]


class Environment:
    """A virtual environment that sees what is installed here, and into which a plugin can be installed, offline.

    Args:
        folder: to create it in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin" / "python"
        (site,) = folder.glob("lib/python*/site-packages")
        paths = [path for path in sys.path if path.endswith("site-packages")]
        # addsitedir, and not the paths alone, so that editable installations count.
        (site / "here.pth").write_text(f"import site; list(map(site.addsitedir, {paths!r}))\n")

    def run(self, *arguments: object, given: str = "") -> str:
        """Standard output of python with these arguments and that standard input."""
        command = [self.python, *map(str, arguments)]
        found = subprocess.run(command, input=given, capture_output=True, text=True, cwd=self.folder, check=False)
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    def musegen(self, *arguments: object) -> str:
        return self.run("-m", "musegen", *arguments)

    def pip(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", *arguments]
        subprocess.run([str(part) for part in command], check=True, capture_output=True)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    if os.name != "posix":
        pytest.skip("the layout of a virtual environment is another")
    # This tree's musegen, wherever the tests are run from.
    path = [str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    return Environment(tmp_path / "environment")


def installed(environment: Environment, folder: Path) -> None:
    """The package of that folder, by way of its wheel."""
    wheels = folder / "dist"
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "-w",
        wheels,
        folder,
    ]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    environment.pip("install", "--no-deps", "--no-index", *wheels.glob("*.whl"))


def statuses(environment: Environment) -> dict[str, str]:
    return {row["plugin"]: row["status"] for row in json.loads(environment.musegen("plugins", "--json"))}


COMMANDS = """
import contextlib, io, json, sys
from musegen.cli import main

found = []
for arguments in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        found.append((main(arguments), out.getvalue()))
json.dump(found, sys.stdout)
"""
"""Commands, and exit code and output of each: in one process, because what takes long is importing torch."""


@pytest.mark.slow
def test_a_new_plugin_is_installed_checked_trained_and_uninstalled(environment: Environment, tmp_path: Path) -> None:
    before = environment.musegen("plugins", "--json")
    environment.musegen("plugin", "new", "contours", "--out", tmp_path / "mine")
    installed(environment, tmp_path / "mine")
    assert statuses(environment)["contours"] == "OK"
    environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path / "mine")

    families = registry().families
    fit = [name for name in families if name not in ("ada", "rnn_nade")]  # no second data; no on and off
    can = [name for name in fit if registry().family(name).capabilities.sample]
    train = [["train", name, "contours", "--steps", "2", "--out", name, "--quiet"] for name in families]
    generate = [["generate", name, "-n", "2", "--out", f"{name}-out"] for name in can]
    commands = [["plugin", "check", "contours", "--json"], *train, *generate]
    (code, checked), *codes = json.loads(environment.run("-c", COMMANDS, given=json.dumps(commands)))
    assert code == 0
    rows = {row["check"].removeprefix("family "): row["status"] for row in json.loads(checked)}
    assert {name: rows[name] for name in families} == {name: "OK" if name in fit else "SKIPPED" for name in families}
    assert set(rows.values()) == {"OK", "SKIPPED"}
    assert [code for code, _ in codes] == [0 if name in fit else 2 for name in families] + [0] * len(can)
    for name in can:
        written = sorted(path.name for path in (environment.folder / f"{name}-out").iterdir())
        assert written == ["album.json", "index.html", "picture.png", "sample_000.csv", "sample_001.csv"]

    environment.pip("uninstall", "-y", "musegen-contours")
    assert environment.musegen("plugins", "--json") == before


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), {"pyproject.toml", "LICENSE", "README.md", "musegen_drum_grooves/domain.py", "tests/test_domain.py"}),
        (("--family",), {"pyproject.toml", "LICENSE", "README.md", "musegen_drum_grooves/family.py"}),
        (("--one-file",), {"mine"}),
        (("--one-file", "--family"), {"mine"}),
    ],
)
def test_what_is_written_is_clean(
    run: Callable[..., Result], tmp_path: Path, options: tuple[str, ...], wanted: set[str]
) -> None:
    out = "mine/mine" if "--one-file" in options else "mine"
    (tmp_path / out).parent.mkdir(exist_ok=True)
    assert run("plugin", "new", "drum_grooves", *options, "--out", out).code == 0
    if "--one-file" in options:
        (tmp_path / out).rename(tmp_path / "mine" / "mine.py")
        wanted = {"mine.py"}
    files = {
        path.relative_to(tmp_path / "mine").as_posix() for path in (tmp_path / "mine").rglob("*") if path.is_file()
    }
    assert wanted <= files
    text = "".join((tmp_path / "mine" / name).read_text() for name in files)
    assert ("class DrumGrooves(Family):" if "--family" in options else "class DrumGroovesDomain(Domain):") in text
    assert "$" not in text
    tool = [sys.executable, "-m", "ruff"]
    settings = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    for command in (["check", "--ignore", "I001"], ["format", "--check"]):
        found = subprocess.run([*tool, *command, *settings, "mine"], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr


def test_a_package_of_a_family_passes_its_own_tests(run: Callable[..., Result], tmp_path: Path) -> None:
    assert run("plugin", "new", "wasser", "--family", "--out", "mine").code == 0
    where = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), str(tmp_path / "mine"), *sys.path])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "mine")]
    environment = {**os.environ, "PYTHONPATH": where}
    found = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "7 passed" in found.stdout


def test_a_domain_of_one_file_works_on_data_of_a_user(run: Callable[..., Result], tmp_path: Path, site: Path) -> None:
    assert run("plugin", "new", "waves", "--one-file").code == 0
    rng = np.random.default_rng(0)
    (tmp_path / "files").mkdir()
    for i in range(3):
        rows = [",".join(f"{value:.3f}" for value in rng.normal(20, 4, 12)) for _ in range(10)]
        (tmp_path / "files" / f"{i}.csv").write_text("\n".join(rows))
    (tmp_path / "files" / "broken.csv").write_text("no numbers")
    result = run("plugin", "check", "waves", "--plugin", "waves.py", "--data", "files", "--json")
    assert result.code == 0, result.out
    rows = {row["check"]: row["status"] for row in json.loads(result.out)}
    of_data = {"examples", "twice", "files", "streaming", "order of an epoch", "types", "memory", "placing"}
    assert {f"data: {name}" for name in {*of_data, "a step of training"}} <= {n for n, s in rows.items() if s == "OK"}
    bad(run("plugin", "check", "waves", "--data", "nowhere"), "nowhere holds no curves")
    made = run("train", "vae", "waves", "files", "--steps", "2", "--out", "run", "--quiet")
    assert made.code == 0, made.err
    assert run("generate", "run", "-n", "2", "--out", "out").code == 0


@pytest.mark.parametrize("name", ["Curves", "2d", "my-data", "a b", "", "class", "../x"])
def test_a_name_that_will_not_do_is_refused(run: Callable[..., Result], tmp_path: Path, name: str) -> None:
    bad(run("plugin", "new", "--out", "mine", "--", name), f'"{name}"', "lower-case letters")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone(run: Callable[..., Result], tmp_path: Path) -> None:
    bad(run("plugin", "new", "image"), '"image" already')
    (tmp_path / "mine").mkdir()
    bad(run("plugin", "new", "contours", "--out", "mine"), "mine exists")
    (tmp_path / "file").write_text("")
    bad(run("plugin", "new", "contours", "--one-file", "--out", "file"), "file exists")
    bad(run("plugin", "new", "vae", "--family"), '"vae" already')
    bad(run("plugin", "new", "contours", "--out", "file/mine"), "cannot be written")


def test_plugin_check(run: Callable[..., Result]) -> None:
    result = run("plugin", "check", "toy", "--json")
    assert result.code == 0, result.out
    rows = json.loads(result.out)
    assert {"check": "sound", "status": "SKIPPED", "what": "the domain is silent"} in rows
    assert "5 checks, 0 failed, 0 skipped." in run("plugin", "check", "vae").out
    bad(run("plugin", "check", "toyy"), 'no domain and no family "toyy"', 'Did you mean "toy"')
    bad(run("plugin", "check", "toy", "--set", "width=3"), '"width"', 'Did you mean "widths"')
    bad(run("plugin", "check", "vae", "--set", "beta=3"), "leave out --set")
    bad(run("plugin", "check", "vae", "--data", "."), "leave out --set and --data")


def test_plugin_check_fails_with_a_broken_domain(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry().domain("toy"), "sheet", lambda self, pieces, columns=None: 1 / 0)
    result = run("plugin", "check", "toy", "--json")
    assert result.code == 1
    (failed,) = [row for row in json.loads(result.out) if row["status"] == "FAILED"]
    assert failed["check"] == "picture"
    assert failed["what"].startswith("ZeroDivisionError at test_template.py:")
