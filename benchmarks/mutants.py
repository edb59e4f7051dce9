"""Do the tests notice when the code is wrong? Small faults are put into modules, one at a time, and the module's tests run.

    python benchmarks/mutants.py [--n 120] [--seed 0] [--out mutants.jsonl] [--only musegen.files]

A mutant is a module with one change: a comparison, an operator, a constant, a condition, a result, or a call or an exception that
is left out. What nobody could notice is left alone: messages, documentation, annotations. Each mutant lives in a process of its
own, and nothing on the disk changes. It is caught if a test fails or hangs. Results are appended to a file as they come, so that
the same command goes on where it stopped; the table at the end has every survivor.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 150
"""That the tests of a mutant may take: with a fault they may hang."""
_RUNNING = [
    "tests/running/test_run_folder.py",
    "tests/running/test_not_finite.py",
    "tests/running/test_interruption.py",
]
_RUNNING += ["tests/running/test_resuming.py"]
_READING = [
    f"tests/pianoroll/reading/{name}.py" for name in ("test_midi_events", "test_channels", "test_pianoroll_reading")
]
_READING += ["tests/pianoroll/reading/test_lakh.py", "tests/pianoroll/writing/test_unchanged.py"]
_READING += ["tests/pianoroll/store/test_bars_of_stores.py", "tests/pianoroll/reading/test_midi_fuzz.py"]
_STORE = ["tests/pianoroll/store", "tests/pianoroll/reading/test_folder.py", "tests/pianoroll/test_pianoroll_domain.py"]
_LATENT = [
    "tests/probability",
    *(f"tests/families/test_{name}.py" for name in ("vae", "aae", "infogan", "structured_vae")),
]
TESTS: dict[str, list[str]] = {
    "musegen.files": ["tests/test_files.py", "tests/test_claimed_folders.py", "tests/engine/test_checkpoint.py"],
    "musegen.folders": ["tests/test_claimed_folders.py"],
    "musegen.engine.checkpoint": ["tests/engine/test_checkpoint.py", "tests/running/test_not_finite.py"],
    "musegen.engine.engine": [
        "tests/engine/test_engine.py",
        "tests/running/test_not_finite.py",
        "tests/engine/test_precision.py",
    ],
    "musegen.engine.sizes": ["tests/engine/test_sizes.py"],
    "musegen.engine.weights": ["tests/running/test_beginning.py", "tests/running/test_not_finite.py"],
    "musegen.running.runs": _RUNNING,
    "musegen.running.session": _RUNNING,
    "musegen.running.resuming": _RUNNING,
    "musegen.running.training": _RUNNING,
    "musegen.running.validating": _RUNNING,
    "musegen.probability.likelihood": ["tests/probability"],
    "musegen.probability.bounds": ["tests/probability"],
    "musegen.probability.latent": _LATENT,
    "musegen_pianoroll.store.format": _STORE,
    "musegen_pianoroll.store.store": _STORE,
    "musegen_pianoroll.store.writer": _STORE,
    "musegen_pianoroll.store.metres": _STORE,
    "musegen_pianoroll.store.windows": _STORE,
    "musegen_pianoroll.reading.layout": _READING,
    "musegen_pianoroll.reading.track": _READING,
    "musegen_pianoroll.reading.events": _READING,
    "musegen_pianoroll.reading.decoding": _READING,
    "musegen_pianoroll.reading.channels": _READING,
    "musegen_pianoroll.reading.quantise": _READING,
}
"""The quick tests of each module."""
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Mod: ast.FloorDiv,
    ast.Div: ast.Mult,
}
TELLS = {
    "say",
    "warn",
    "report",
    "doing",
    "each",
    "option",
    "Field",
    "namedtuple",
    "TypeVar",
    "print",
    "register_buffer",
}
"""Calls whose arguments only tell somebody something, or declare."""


Way = list[tuple[ast.AST, str, int | None]]
"""Nodes from the module down, each with the field, and the place in it, where the next one stands."""


def places(tree: ast.Module) -> Iterator[tuple[str, int, Way]]:
    """What can be changed, as a description and a line, with the way to the node."""

    def walk(node: ast.AST, way: Way) -> Iterator[tuple[str, int, Way]]:
        line = getattr(node, "lineno", 0)
        if isinstance(node, (ast.JoinedStr, ast.Import, ast.ImportFrom)):
            return
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in TELLS:
                return
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Raise) and node.exc is not None:
            yield "an exception left out", line, way
            return
        if isinstance(node, ast.Expr):
            if isinstance(node.value, ast.Constant):
                return
            if isinstance(node.value, ast.Call):
                yield "a call left out", line, way
        if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
            yield "None returned", line, way
        if isinstance(node, (ast.If, ast.While, ast.IfExp)):
            yield "a condition negated", line, way
        if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            yield f"{type(node.ops[0]).__name__} made {SWAPS[type(node.ops[0])].__name__}", line, way
        if isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in SWAPS:
            yield f"{type(node.op).__name__} made {SWAPS[type(node.op)].__name__}", line, way
        if isinstance(node, ast.Constant) and type(node.value) in (bool, int):
            yield f"{node.value} made {_other(node.value)}", line, way
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "type_params", "msg"):
                continue
            for i, child in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(child, ast.AST):
                    yield from walk(child, [*way, (node, field, i if isinstance(value, list) else None)])

    yield from walk(tree, [])


def _other(value: object) -> object:
    return not value if isinstance(value, bool) else int(str(value)) + 1


def mutant(source: str, number: int) -> tuple[ast.Module, str, int]:
    """The module with change ``number``; what it is, and in which line."""
    tree = ast.parse(source)
    what, line, way = list(places(tree))[number]
    parent, field, i = way[-1]
    value = getattr(parent, field)
    node = value if i is None else value[i]
    new: ast.AST = copy.copy(node)
    if what.endswith("left out"):
        new = ast.Pass()
    elif what == "None returned":
        new = ast.Return(ast.Constant(None))
    elif what == "a condition negated":
        new.test = ast.UnaryOp(ast.Not(), node.test)  # type: ignore[attr-defined]
    elif isinstance(node, ast.Compare):
        new.ops = [SWAPS[type(node.ops[0])](), *node.ops[1:]]  # type: ignore[attr-defined]
    elif isinstance(node, ast.Constant):
        new = ast.Constant(_other(node.value))
    else:
        new.op = SWAPS[type(node.op)]()  # type: ignore[attr-defined]
    if i is None:
        setattr(parent, field, new)
    else:
        value[i] = new
    return ast.fix_missing_locations(tree), what, line


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module as it is in ``tree``."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self.name, self.path, self.tree = name, path, tree

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None  # type: ignore[arg-type]

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)


def path_of(module: str) -> Path:
    parts = module.split(".")
    return (ROOT / "plugins" if parts[0] != "musegen" else ROOT).joinpath(*parts).with_suffix(".py")


def caught(module: str, tree: ast.Module | None) -> bool:
    """Whether the module's tests fail with it; ``tree`` None: without a change."""
    child = os.fork()
    if not child:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        if tree is not None:
            sys.meta_path.insert(0, Mutated(module, path_of(module), tree))
        import pytest

        os.chdir(ROOT)
        os._exit(int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *TESTS[module]])))
    begun = time.monotonic()
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() - begun > LIMIT_S:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.05)
    return ended[1] != 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=120, help="mutants in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("mutants.jsonl"))
    parser.add_argument("--only", action="append", choices=list(TESTS), default=None)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin none after so many")
    arguments = parser.parse_args()
    sources = {name: path_of(name).read_text() for name in arguments.only or TESTS}
    every = [(name, i) for name, source in sources.items() for i in range(len(list(places(ast.parse(source)))))]
    chosen = random.Random(arguments.seed).sample(every, min(arguments.n, len(every)))
    import hypothesis  # noqa: F401
    import pytest  # noqa: F401
    import torch._dynamo  # noqa: F401  (all before the fork)

    rows = [json.loads(row) for row in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    known = {(row["module"], row["number"]): row for row in rows}
    begun = time.monotonic()
    for name, number in chosen:
        if (name, number) in known or time.monotonic() - begun > 60 * arguments.minutes:
            continue
        tree, what, line = mutant(sources[name], number)
        row = {"module": name, "number": number, "line": line, "what": what, "caught": caught(name, tree)}
        known[name, number] = row
        with arguments.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
    done = [known[key] for key in chosen if key in known]
    print(
        f"{len(every):,} mutants in {len(sources)} modules; {len(done)} tried, {sum(row['caught'] for row in done)} caught"
    )
    for name in sources:
        own = [row for row in done if row["module"] == name]
        if own:
            print(f"{name:40} {sum(row['caught'] for row in own):3} of {len(own):3}")
    for row in done:
        if not row["caught"]:
            print(f"{path_of(row['module']).relative_to(ROOT)}:{row['line']}: {row['what']}")


if __name__ == "__main__":
    main()
