"""The tutorial of a family: its code is what `musegen plugin new` writes, and its commands work."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from commands import Result

pytestmark = pytest.mark.usefixtures("site")
PAGE = (Path(__file__).parents[2] / "docs" / "tutorial_family.md").read_text("utf-8")
SMALL = {"image": ["--set", "widths=[16]"], "pianoroll": ["--set", "networks=mlp", "--set", "widths=[16]"]}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_tutorial_works(run: Callable[..., Result], tmp_path: Path) -> None:
    commands = [shlex.split(line) for line in "".join(blocks("bash")).splitlines()]
    assert commands[0][:3] == ["musegen", "plugin", "new"]
    assert len(commands) == 7
    for command in commands:
        arguments = ["2" if before == "--steps" else word for before, word in pairwise(command)]
        if arguments[0] == "train":
            arguments += [*SMALL[arguments[2]], "--validate-examples", "8"]
        if arguments[0] == "evaluate":
            arguments += ["-n", "8"]
        result = run(*arguments)
        assert result.code == 0, (command, result.out + result.err)
        if arguments[:2] == ["plugin", "check"]:
            assert "checks, 0 failed, 0 skipped" in result.out
        if arguments[:2] == ["plugin", "new"]:
            assert (tmp_path / "wae.py").read_text() == blocks("python")[0]


def test_a_weight_that_moves_by_itself_is_found(run: Callable[..., Result], tmp_path: Path) -> None:
    moved = blocks("python")[0].replace(
        "        z = self.encode(batch.x)\n",
        "        self.code.bias.data.add_(1)\n        z = self.encode(batch.x)\n",
    )
    (tmp_path / "moved.py").write_text(moved.replace('"wae"', '"moved"'))
    result = run("plugin", "check", "moved", "--plugin", "moved.py", "--json")
    assert result.code == 1
    assert [r["check"] for r in json.loads(result.out) if r["status"] == "FAILED"] == ["one player at a time"]
