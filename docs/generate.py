"""Write docs/families.md, docs/limits.md and docs/graphs/*.svg from the code: python docs/generate.py [--check].

--check writes nothing and fails if what is there is not what the code says.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from musegen.contracts.family import Sampling
from musegen.families import FAMILIES
from musegen.options import describe
from musegen.plugins import registry

DOCS = Path(__file__).parent
LIMITS = {
    "Everywhere": "musegen.limits",
    "Music": "musegen_pianoroll.limits",
    "Pictures": "musegen_image.limits",
    "Sound": "musegen_audio.limits",
}


def files() -> Iterator[tuple[Path, str]]:
    """Every generated file and its content."""
    names = [name for name, _, _ in FAMILIES]
    classes = {name: registry().family(name) for name in names}
    columns = list(next(iter(classes.values())).capabilities.table())
    lines = [
        "# Families",
        "",
        "Generated from the code by `python docs/generate.py`. `musegen explain FAMILY` prints the same.",
        "",
        "| family | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    lines += [
        f"| [`{name}`](#{name}) | " + " | ".join(c.capabilities.table().values()) + " |" for name, c in classes.items()
    ]
    lines += [
        "",
        "How samples are drawn may be set at any time (`musegen generate RUN --temperature 0.9`). Every family that samples has",
        "",
        *options(Sampling),
    ]
    for name, family in classes.items():
        graph = family.graph(family.Config())
        yield DOCS / "graphs" / f"{name}.svg", graph.svg(family.title)
        module = inspect.getmodule(family)
        assert module is not None
        assert module.__doc__ is not None
        lines += [
            "",
            f"## {name}",
            "",
            f"**{family.title}.** {family.paper}",
            "",
            f"![Graphical model](graphs/{name}.svg)",
            "",
        ]
        lines += options(family.Config)
        if family.Sampling is not Sampling:
            lines += ["", "How samples are drawn, also after training:", "", *options(family.Sampling)]
        lines += ["", "```text", inspect.cleandoc(module.__doc__).replace("``", "`"), "```"]
    yield DOCS / "families.md", "\n".join(lines) + "\n"
    yield DOCS / "limits.md", "\n".join(limits()) + "\n"


def limits() -> Iterator[str]:
    """Every limit, with its value and its reason."""
    yield "# Limits"
    yield ""
    yield "Generated from the code by `python docs/generate.py`. Why there are limits: [security.md](security.md)."
    for title, name in LIMITS.items():
        module = importlib.import_module(name)
        yield from (
            "",
            f"## {title}",
            "",
            inspect.cleandoc(module.__doc__ or ""),
            "",
            "| limit | value | meaning |",
            "|---|---|---|",
        )
        body = ast.parse(inspect.getsource(module)).body
        for statement, text in pairwise(body):
            if isinstance(statement, ast.Assign) and isinstance(text, ast.Expr):
                targets = [n.id for n in ast.walk(statement.targets[0]) if isinstance(n, ast.Name)]
                values = ", ".join(_number(getattr(module, target)) for target in targets)
                reason = inspect.cleandoc(ast.literal_eval(text.value)).replace("\n", " ").replace("``", "`")
                yield f"| `{', '.join(targets)}` | {values} | {reason} |"


def _number(value: object) -> str:
    if isinstance(value, tuple):
        return " to ".join(map(_number, value))
    return f"{value:,}"


def options(kind: type) -> list[str]:
    """A table of options."""
    rows = [{key: text.replace("|", "\\|") for key, text in row.items()} for row in describe(kind)]
    lines = [f"| `{row['option']}` | {row['type']} | {row['default']} | {row['meaning']} |" for row in rows]
    return ["| option | type | default | meaning |", "|---|---|---|---|", *lines]


def main() -> int:
    stale = [path for path, content in files() if not path.is_file() or path.read_text("utf-8") != content]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path} is not what the code says: run python docs/generate.py", file=sys.stderr)
        return bool(stale)
    for path, content in files():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
