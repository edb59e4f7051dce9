"""Files for people who find the project: they can be read by what reads them, and say the same as the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from pages import ROOT

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = SETTINGS["project"]


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_forms_and_workflows_are_yaml(path: Path) -> None:
    found = yaml.safe_load(path.read_text("utf-8"))
    assert {"name", "body"} <= found.keys() or {"name", "jobs"} <= found.keys()


def test_the_citation_can_be_read() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
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


def test_what_no_tag_says_is_the_last_release() -> None:
    """The version of a tree without git, or without tags, is the newest that the changelog knows."""
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == "Unreleased"
    assert PROJECT["dynamic"] == ["version"]
    assert SETTINGS["tool"]["hatch"]["version"]["raw-options"]["fallback_version"] == versions[1]


def test_packages_hold_what_may_be_handed_on() -> None:
    """What LICENSES.md says is in packages, is; data that it says are in none, are not."""
    rows = re.findall(
        r"^\| (?:model )?`([^`]+)` \|.*\| (yes|\*\*no\*\*) \|", (ROOT / "LICENSES.md").read_text("utf-8"), re.M
    )
    said = {name: answer == "yes" for name, answer in rows if name.startswith("data/")}
    build = SETTINGS["tool"]["hatch"]["build"]["targets"]
    assert {name for name, shipped in said.items() if shipped} == set(build["wheel"]["force-include"]) - {"data/models"}
    assert {f"/{name}" for name, shipped in said.items() if not shipped} == set(build["sdist"]["exclude"])


def test_workflows_try_the_versions_that_the_package_names() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert jobs["linux"]["strategy"]["matrix"]["python"][0] == oldest
