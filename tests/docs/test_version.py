"""The version is that of the last tag, and a tree without tags, or without git, installs all the same."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from pages import ROOT

pytest.importorskip("hatch_vcs", reason="the extra test is not installed")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LAST = SETTINGS["tool"]["hatch"]["version"]["raw-options"]["fallback_version"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What hatchling looks at to find the version."""
    folder = tmp_path / "tree"
    folder.mkdir()
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def git(folder: Path, *words: str) -> None:
    own = [
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@example.org",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "tag.gpgsign=false",
    ]
    subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, text: str) -> None:
    (folder / "note").write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "-m", text)


def found(folder: Path) -> str:
    command = [sys.executable, "-m", "hatchling", "version"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_a_tree_without_git_is_the_last_release(tree: Path) -> None:
    assert found(tree) == LAST


def test_a_tree_within_a_repository_of_others_does_not_take_its_tags(tree: Path) -> None:
    git(tree.parent, "init")
    commit(tree.parent, "theirs")
    git(tree.parent, "tag", "v9.9.9")
    assert found(tree) == LAST


def test_tags_say_the_version_and_commits_after_them_are_counted(tree: Path) -> None:
    git(tree, "init")
    commit(tree, "first")
    assert ".dev1+g" in found(tree)  # no tag yet
    assert found(tree) > LAST
    git(tree, "tag", "v0.7.0")
    assert found(tree) == "0.7.0"
    commit(tree, "second")
    assert found(tree).startswith("0.7.1.dev1+g")


def test_the_command_says_the_version_of_the_package(run) -> None:  # type: ignore[no-untyped-def]
    assert run("--version").out.strip() == f"musegen {version('musegen')}"
