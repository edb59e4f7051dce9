"""Files for people who find the project: they can be read by what reads them, and say the same as the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_forms_and_workflows_are_yaml(path: Path) -> None:
    found = yaml.safe_load(path.read_text("utf-8"))
    assert {"name", "body"} <= found.keys() or {"name", "jobs"} <= found.keys()


def test_the_citation_names_this_version() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert found["version"] == PROJECT["version"]
    assert found["license"] == PROJECT["license"].split(" AND ")[0]  # of the code; data have their own
    assert {"cff-version", "message", "title", "authors"} <= found.keys()


def test_the_licences_of_all_that_ships_are_told() -> None:
    text = (ROOT / "LICENSES.md").read_text("utf-8")
    told = set(re.findall(r"`(data/\w+)`", text)) | {
        f"data/models/{name}.md" for name in re.findall(r"model `(\w+)`", text)
    }
    kinds = {f"data/{path.name}" for path in (ROOT / "data").iterdir() if path.is_dir() and path.name != "models"}
    models = {f"data/models/{path.name}" for path in (ROOT / "data/models").glob("*.md") if path.name != "README.md"}
    assert told == kinds | models
    for pattern in PROJECT["license-files"]:
        assert list(ROOT.glob(pattern)), pattern


def test_the_changelog_knows_this_version() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == "Unreleased"
    assert PROJECT["version"] in versions


def test_workflows_try_the_versions_that_the_package_names() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert jobs["linux"]["strategy"]["matrix"]["python"][0] == oldest
