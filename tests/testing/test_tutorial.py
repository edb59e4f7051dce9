"""The tutorial's code and commands are run as they stand in the page, with fewer steps."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from commands import Result

from musegen.data.bundled import bundled
from musegen.options import load_yaml

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_tutorial_works(run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # where named plugin files are remembered
    (tmp_path / "grooves.py").write_text(blocks("python")[0])
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(bundled("freedoom").glob("*.mid"))[:10]:
        (few / path.name).write_bytes(path.read_bytes())
    commands = [shlex.split(line) for line in "".join(blocks("bash")).splitlines()]
    assert len(commands) >= 5
    for command in commands:
        assert command[0] == "musegen"
        arguments = ["2" if before == "--steps" else word for before, word in pairwise(command)]
        if arguments[0] == "train":
            arguments.insert(3, str(few))  # reading all pieces takes seconds, four times
        if arguments[0] == "evaluate":
            arguments += ["-n", "8", "-k", "1"]
        result = run(*arguments)
        assert result.code == 0, (command, result.out + result.err)
        if arguments[0] == "plugin":
            assert "checks, 0 failed" in result.out
    assert len(list((tmp_path / "nade").glob("*.mid"))) == 16


def test_a_threshold_of_its_own(run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    whole, changes = blocks("python")[:2]
    changed = changes.replace("class GrooveDomain(Domain)", "class GrooveDomain(Plain)")
    source = f"{whole}\n\nPlain = GrooveDomain\n\n\n{changed}".replace('"grooves"', '"loud"')
    (tmp_path / "loud.py").write_text(source)
    for path in sorted(bundled("freedoom").glob("*.mid"))[:4]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    plugin = ("--plugin", "loud.py")
    assert run("plugin", "check", "loud", *plugin).code == 0
    assert run("train", "vae", "loud", tmp_path, *plugin, "--steps", 2, "--out", "run").code == 0
    threshold = load_yaml(tmp_path / "run" / "config.yaml")["threshold"]
    assert 0 < threshold < 1
    assert threshold != 0.5


def test_a_step_too_late_is_found(run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    late = blocks("python")[0].replace("start = step / 8", "start = (step + 1) / 8")
    (tmp_path / "late.py").write_text(late.replace('"grooves"', '"late"'))
    result = run("plugin", "check", "late", "--plugin", "late.py", "--json")
    assert result.code == 1
    assert [row["check"] for row in json.loads(result.out) if row["status"] == "FAILED"] == ["files"]
