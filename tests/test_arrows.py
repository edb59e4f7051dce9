"""Who may know whom: imports go one way, the core knows no plugin, and no music."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEVER = {
    "contracts": ("families", "data", "engine", "models", "running", "evaluation", "testing", "cli"),
    "probability": ("contracts", "networks", "families", "data", "engine", "models", "running", "evaluation", "cli"),
    "networks": ("families", "data", "engine", "models", "running", "evaluation", "testing", "cli"),
    "families": ("data", "engine", "models", "running", "evaluation", "testing", "cli"),
    "album": ("families", "data", "engine", "models", "running", "evaluation", "testing", "cli"),
    "data": ("families", "engine", "models", "running", "evaluation", "testing", "cli"),
    "engine": ("families", "data", "models", "running", "evaluation", "testing", "cli"),
    "models": ("families", "evaluation", "testing", "cli"),
    "running": ("families", "evaluation", "testing", "cli"),
    "arrays": ("families", "engine", "models", "running", "testing", "cli"),
    "studio": ("families", "engine", "evaluation", "testing", "cli"),
    "sweeping": ("families", "testing", "cli"),
    "evaluation": ("families", "running", "testing", "cli"),
    "sound": ("contracts", "probability", "networks", "data", "engine", "models", "running", "plugins", "cli"),
}
"""What the files of a folder of musegen/ do not import, wherever in them; for type checkers alone they may."""
MUSIC = {"midi", "pitch", "pitches", "tempo", "tempos"}
MUSICAL = ("sound", "testing", "studio", "contracts.score", "contracts.piece")
"""What may name music in musegen/: what plays a soundfont, tries files of strangers, or edits the notes of a piece."""


@cache
def modules() -> dict[str, Path]:
    """Every module of the product."""
    found = {}
    for base, packages in ((ROOT, "musegen"), (ROOT / "plugins", "musegen_*")):
        for path in base.glob(f"{packages}/**/*.py"):
            parts = path.relative_to(base).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(nodes: Iterable[ast.AST], at_once: bool = False) -> Iterator[str]:
    """Modules that code imports, but for type checkers; ``at_once``: only those imported with it, not in its functions."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in modules() else str(node.module)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(node.orelse, at_once)
        elif not (at_once and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))):
            yield from imports(ast.iter_child_nodes(node), at_once)


def imported_by(module: str, at_once: bool = False) -> set[str]:
    return set(imports([ast.parse(modules()[module].read_text("utf-8"))], at_once))


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("room", NEVER)
def test_arrows_go_down(room: str) -> None:
    here = [module for module in modules() if is_in(module, f"musegen.{room}")]
    assert here
    upward = [
        f"{module} imports {name}"
        for module in here
        for name in sorted(imported_by(module))
        for other in NEVER[room]
        if is_in(name, f"musegen.{other}")
    ]
    assert not upward


def test_no_modules_import_each_other() -> None:
    graph = {module: imported_by(module, at_once=True) & modules().keys() - {module} for module in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_core_imports_no_plugin_and_no_plugin_a_family() -> None:
    pairs = [(module, name) for module in modules() for name in sorted(imported_by(module))]
    assert not [f"{m} imports {n}" for m, n in pairs if is_in(m, "musegen") and n.startswith("musegen_")]
    assert not [f"{m} imports {n}" for m, n in pairs if m.startswith("musegen_") and is_in(n, "musegen.families")]


def words(path: Path) -> set[str]:
    """Words of the names and texts in a file, in small letters; those of comments do not count."""
    with path.open("rb") as file:
        text = " ".join(token.string for token in tokenize.tokenize(file.readline) if token.type != tokenize.COMMENT)
    return {word.lower() for word in re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", text)}


def test_the_core_knows_no_music() -> None:
    named = {
        module: sorted(words(path) & MUSIC)
        for module, path in modules().items()
        if is_in(module, "musegen") and not any(is_in(module, f"musegen.{room}") for room in MUSICAL)
    }
    assert not [f"{module} names {', '.join(found)}" for module, found in named.items() if found]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("pitch_range = 1", {"pitch"}),
        ("class PrettyMIDI: pass", {"midi"}),
        ('"""Beats, and MidiFiles."""', {"midi"}),
        ("x = f'{y} at this Tempo'", {"tempo"}),
        ("temporary = 1  # no tempo", set()),
    ],
)
def test_how_words_are_found(code: str, found: set[str], tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(code)
    assert words(path) & MUSIC == found


def test_how_imports_are_found() -> None:
    code = """
if TYPE_CHECKING:
    import a
else:
    import b
from musegen import errors, train
class C:
    import c
    def f(self):
        from d import e
"""
    assert set(imports([ast.parse(code)])) == {"b", "musegen.errors", "musegen", "c", "d"}
    assert set(imports([ast.parse(code)], at_once=True)) == {"b", "musegen.errors", "musegen", "c"}
