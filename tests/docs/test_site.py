"""The documentation site: every page is in its navigation, links out of the folder are none, and it builds without a warning."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("target", "from_root", "wanted"),
    [
        ("docs/guide.md#8", True, "[text](guide.md#8)"),
        ("docs/images/harmony.png", True, "[text](images/harmony.png)"),
        ("CONTRIBUTING.md", True, "[text](contributing.md)"),
        ("../CONTRIBUTING.md#adding-a-family", False, "[text](contributing.md#adding-a-family)"),
        ("../data/models/pop.md", False, "text"),
        ("LICENSE", True, "text"),
        ("measures.md", False, "[text](measures.md)"),
        ("#here", False, "[text](#here)"),
        ("https://example.org", True, "[text](https://example.org)"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(target: str, from_root: bool, wanted: str) -> None:
    assert module("hooks").linked("text", target, from_root) == wanted


def test_options_in_running_text_stay_whole() -> None:
    made = module("hooks").whole_options("<code>x y-z --out a -n 4</code> --out <code>--top-p</code>")
    word = '<span class="word">{}</span>'.format
    assert made == f"<code>x y-z {word('--out')} a {word('-n')} 4</code> --out <code>{word('--top-p')}</code>"


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2]
    named = set(re.findall(r"([\w]+\.md)", text))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= named


@pytest.mark.slow
def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")
    pytest.importorskip("material", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "api" / "index.html").read_text("utf-8")
    assert "musegen.train" in page
    assert "&gt;&gt;&gt;" in page
