"""Plugins are found through entry points; a broken one hurts nobody else."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from musegen.errors import BadInput
from musegen.plugins import GROUP, Registry, registry

GOOD = """
from musegen.plugins import Offer, hookimpl

class Thing:
    name = "thing"

@hookimpl
def musegen_domains():
    return [Offer("thing", "a thing", lambda: Thing)]
"""

BROKEN = {
    "import": ("import no_such_module_anywhere", "ModuleNotFoundError"),
    "exit": ("import sys; sys.exit(3)", "SystemExit"),
    "syntax": ("def (:", "SyntaxError"),
    "signature": (GOOD.replace("musegen_domains()", "musegen_domains(colour)"), "colour"),
    "misspelled": (GOOD.replace("musegen_domains", "musegen_domain"), "musegen_domain"),
    "hookless": ("x = 1", "no hook"),
    "raises": (GOOD.replace("return [", "raise KeyError('x'); return ["), "KeyError"),
    "nonsense": (GOOD.replace("return [", "return 7; ["), "TypeError"),
}


def point(folder: Path, name: str, source: str) -> EntryPoint:
    module = f"musegen_test_plugin_{name}"
    sys.modules.pop(module, None)
    (folder / f"{module}.py").write_text(source)
    return EntryPoint(name, module, GROUP)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_plugin_is_found(folder: Path) -> None:
    found = Registry([point(folder, "good", GOOD)])
    assert list(found.domains) == ["thing"]
    assert found.domain("thing").name == "thing"
    assert found.found[0].problem == ""


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_costs_only_itself(folder: Path, kind: str) -> None:
    source, cause = BROKEN[kind]
    found = Registry([point(folder, f"a_{kind}", source), point(folder, "z_good", GOOD)])
    assert list(found.domains) == ["thing"]
    broken, good = found.found
    assert cause in broken.problem
    assert good.problem == ""
    with pytest.raises(BadInput, match=f"Broken plugins: a_{kind}"):
        found.domain("other")


def test_a_taken_name_is_refused_and_nothing_of_that_plugin_stays(folder: Path) -> None:
    clash = GOOD.replace("return [", "return [Offer('other', 'x', lambda: Thing), ")
    found = Registry([point(folder, "a_first", GOOD), point(folder, "b_clash", clash)])
    assert list(found.domains) == ["thing"]
    assert 'already taken by the plugin "a_first"' in found.found[1].problem


def test_a_class_that_cannot_be_loaded_names_its_plugin(folder: Path) -> None:
    lazy = GOOD.replace("lambda: Thing", "lambda: __import__('no_such_module_anywhere')")
    found = Registry([point(folder, "lazy", lazy)])
    with pytest.raises(BadInput, match='"thing" of the plugin "lazy" cannot be loaded'):
        found.domain("thing")


def test_a_distribution_seen_twice_counts_once(folder: Path) -> None:
    twice = [point(folder, "good", GOOD)] * 2
    assert [found.problem for found in Registry(twice).found] == [""]


def test_the_in_tree_plugins_arrive_by_the_same_road() -> None:
    found = {f.name: f for f in registry().found}
    assert {"core", "image", "pianoroll"} <= set(found)
    assert all(not found[name].problem for name in ("core", "image", "pianoroll"))
    assert found["image"].distribution == "musegen"


@pytest.mark.parametrize(("wrong", "right"), [("vaee", "vae"), ("pianorol", "pianoroll")])
def test_a_close_name_is_suggested(wrong: str, right: str) -> None:
    ask = registry().family if right == "vae" else registry().domain
    with pytest.raises(BadInput, match=f'Did you mean "{right}"'):
        ask(wrong)
