"""Plugins are found through entry points; a broken one hurts nobody else."""

from __future__ import annotations

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from musegen.errors import BadInput
from musegen.plugins import API, GROUP, Registry, registry

GOOD = """
from musegen.plugins import Measure, Offer, hookimpl

def load():
    from toy import ToyDomain
    class Thing(ToyDomain):
        name = "thing"
        summary = "a thing"
    return Thing

@hookimpl
def musegen_domains():
    return [Offer("thing", "a thing", load)]
"""

BROKEN = {
    "import": ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
    "exit": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "interpreter": ("class Odd(BaseException): pass\nraise Odd('out of here')", "Odd: out of here"),
    "generator": ("raise GeneratorExit", "GeneratorExit"),
    "many_lines": ("raise ValueError('one\\n\\x1b[31mtwo')", "ValueError: one [31mtwo"),
    "untold": ("class E(Exception):\n  def __str__(self): return 1/0\nraise E", "E"),
    "syntax": ("def (:", "SyntaxError"),
    "signature": (
        GOOD.replace("musegen_domains()", "musegen_domains(colour)"),
        "no arguments, and it has musegen_domains(colour)",
    ),
    "misspelled": (GOOD.replace("musegen_domains", "musegen_domain"), 'Did you mean "musegen_domains"'),
    "hookless": ("x = 1", "no hook"),
    "undecorated": (GOOD.replace("@hookimpl", ""), "is @hookimpl missing?"),
    "raises": (GOOD.replace("return [", "raise KeyError('x'); return ["), "KeyError: 'x'"),
    "exits_in_hook": (GOOD.replace("return [", "raise SystemExit; return ["), "SystemExit"),
    "number": (GOOD.replace("return [", "return 7; ["), "returned int, and must return a list of Offer"),
    "nothing": (GOOD.replace("return [", "["), "returned NoneType"),
    "text": (GOOD.replace("return [", "return 'thing'; ["), "returned str"),
    "mapping": (GOOD.replace("return [", "return {'thing': load}; ["), "returned dict"),
    "one_offer": (GOOD.replace('return [Offer("thing", "a thing", load)]', "return Offer('a', 'b', load)"), "Offer"),
    "other_things": (GOOD.replace("return [", "return [load, "), "a list with function in it"),
    "path_as_name": (GOOD.replace('Offer("thing"', 'Offer("../thing"'), "is an invalid name"),
    "name_no_text": (GOOD.replace('Offer("thing"', "Offer(7"), "7 is an invalid name"),
    "summary": (GOOD.replace('"a thing", load)', "None, load)"), "needs a summary"),
    "load": (GOOD.replace("load)]", "'thing')]"), "load that can be called"),
    "twice": (GOOD.replace("return [", "return 2 * ["), "twice"),
    "plain_offer_for_measure": (GOOD.replace("musegen_domains", "musegen_measures"), "must return a list of Measure"),
    "domains_of_measure": (
        GOOD.replace("musegen_domains", "musegen_measures").replace(
            'Offer("thing", "a thing", load)', 'Measure("thing", "", load, "image")'
        ),
        "must be a tuple of names",
    ),
    "api_no_version": ("MUSEGEN_API = 1.0\n" + GOOD, "MUSEGEN_API = 1.0 is no version"),
}

WRONG_CLASS = {
    "fails": ("import no_such_module_anywhere", "cannot be loaded (ModuleNotFoundError"),
    "exits": ("raise SystemExit(2)", "cannot be loaded (SystemExit: 2)"),
    "no_class": ("return 7", "is no subclass of musegen.contracts.domain.Domain"),
    "other_class": ("return dict", "is no subclass of musegen.contracts.domain.Domain"),
    "a_family": (
        "from musegen.families.vae import VAE; return VAE",
        "is no subclass of musegen.contracts.domain.Domain",
    ),
    "an_instance": ("from toy import ToyDomain, ToyConfig; return ToyDomain(ToyConfig())", "is no subclass"),
    "abstract": (
        "from musegen.contracts.domain import Domain\n    class D(Domain):\n        name = summary = 'thing'\n    return D",
        "lacks decoder, discriminator, encoder, metrics, open, pieces, read, spec, synthetic",
    ),
    "other_name": ("from toy import ToyDomain; return ToyDomain", "calls itself 'toy'"),
    "no_config": (
        "from toy import ToyDomain\n    return type('D', (ToyDomain,), {'name': 'thing', 'Config': dict})",
        "has no Config that is a dataclass",
    ),
    "a_reading_of_its_own": (
        "from toy import ToyDomain, ToyWriting\n    return type('D', (ToyDomain,), {'name': 'thing', 'Reading': ToyWriting})",
        "has a Reading that is no base of its Config",
    ),
    "no_default": (
        "from toy import ToyDomain; import dataclasses\n    C = dataclasses.make_dataclass('C', [('x', int)])\n"
        "    return type('D', (ToyDomain,), {'name': 'thing', 'Config': C})",
        'has an option "x" without a default',
    ),
    "option_of_the_run": (
        "from toy import ToyDomain; import dataclasses\n    C = dataclasses.make_dataclass('C', [('steps', int, 3)])\n"
        "    return type('D', (ToyDomain,), {'name': 'thing', 'Config': C})",
        'has an option "steps"',
    ),
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
    assert (found.found[0].status, found.found[0].problem, found.found[0].api) == ("OK", "", "1.0")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_costs_only_itself(folder: Path, kind: str) -> None:
    source, cause = BROKEN[kind]
    found = Registry([point(folder, f"a_{kind}", source), point(folder, "z_good", GOOD)])
    assert list(found.domains) == ["thing"]
    broken, good = found.found
    assert cause in broken.problem
    assert broken.problem.isprintable()
    assert broken.status == "BROKEN"
    assert "pip uninstall" in broken.remedy
    assert good.problem == ""
    with pytest.raises(BadInput, match=f"Broken plugins: a_{kind}"):
        found.domain("other")


def test_ctrl_c_while_a_plugin_is_imported_is_the_users(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Registry([point(folder, "slow", "raise KeyboardInterrupt")])


def test_an_entry_point_that_names_no_module(folder: Path) -> None:
    found = Registry([EntryPoint("odd", "no module!", GROUP), point(folder, "z_good", GOOD)])
    assert 'entry point "no module!" names no module' in found.found[0].problem
    assert found.found[1].status == "OK"


@pytest.mark.parametrize("kind", WRONG_CLASS)
def test_a_class_that_will_not_do_names_its_plugin(folder: Path, kind: str) -> None:
    body, cause = WRONG_CLASS[kind]
    source = GOOD[: GOOD.index("def load")] + f"def load():\n    {body}\n\n" + GOOD[GOOD.index("@hookimpl") :]
    found = Registry([point(folder, kind, source)])
    assert list(found.domains) == ["thing"]  # listing loads nothing
    with pytest.raises(BadInput, match=re.escape(cause)) as caught:
        found.domain("thing")
    assert f'The domain "thing" of the plugin "{kind}"' in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_family_that_cannot_be_loaded_costs_no_other_family(folder: Path) -> None:
    source = GOOD.replace("musegen_domains", "musegen_families").replace(
        "from toy import", "from no_such_module import"
    )
    found = Registry([EntryPoint("core", "musegen.families", GROUP), point(folder, "bad", source)])
    assert "thing" in found.families
    assert set(found.working_families()) == set(found.families) - {"thing"}


@pytest.mark.parametrize(
    ("declared", "status", "remedy"),
    [
        (f"{API[0]}.{API[1]}", "OK", ""),
        (f"{API[0]}.{API[1] + 1}", "INCOMPATIBLE", "update musegen"),
        (f"{API[0] + 1}.0", "INCOMPATIBLE", "update musegen"),
        (f"{API[0] - 1}.0", "INCOMPATIBLE", "update ?"),
    ],
)
@pytest.mark.parametrize("imports", ["from musegen.plugins import Offer", "from musegen.plugins import Mystery"])
def test_the_version_of_the_api_is_stated_and_checked(
    folder: Path, declared: str, status: str, remedy: str, imports: str
) -> None:
    """Also where a plugin cannot be imported just because it needs what this musegen does not have."""
    found = Registry([point(folder, "versioned", f'{imports}\nMUSEGEN_API = "{declared}"\n' + GOOD)]).found[0]
    if status == "OK" and "Mystery" in imports:
        assert found.status == "BROKEN"
        assert "Mystery" in found.problem
    else:
        assert (found.status, found.remedy) == (status, remedy)
        assert status == "OK" or f"version {declared} of the plugin API" in found.problem


def test_a_taken_name_is_refused_and_nothing_of_that_plugin_stays(folder: Path) -> None:
    clash = GOOD.replace("return [", "return [Offer('other', 'x', load), ")
    found = Registry([point(folder, "b_clash", clash), point(folder, "a_first", GOOD)])
    assert list(found.domains) == ["thing"]
    assert 'the domain "thing" is already offered by' in found.found[1].problem
    assert [f.name for f in found.found] == ["a_first", "b_clash"]


def test_half_of_a_plugin_never_stays(folder: Path) -> None:
    """Its second hook is wrong: what the first one offers must not be there either, and its name is free."""
    half = GOOD + "\n@hookimpl\ndef musegen_families(colour):\n    return []\n"
    found = Registry([point(folder, "half", half)])
    assert not found.domains
    assert found.register(__import__("toy").ToyPlugin(), "half") == ("toy",)


def test_a_distribution_seen_twice_counts_once(folder: Path) -> None:
    twice = [point(folder, "good", GOOD)] * 2
    assert [found.problem for found in Registry(twice).found] == [""]


def test_what_a_plugin_prints_is_not_standard_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisy = "print('import')\n" + GOOD.replace("    return [", "    print('hook')\n    return [").replace(
        "    return Thing", "    print('load')\n    return Thing"
    )
    Registry([point(folder, "noisy", noisy)]).domain("thing")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.split() == ["import", "hook", "load"]


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
