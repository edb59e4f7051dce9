"""Looking at data before anybody trains on them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from musegen.cli.app import data_app
from musegen.cli.options import Assignments, Json
from musegen.cli.output import as_json, print_fields, print_table, print_text
from musegen.errors import BadInput
from musegen.option_texts import parse_assignments
from musegen.options import validate

if TYPE_CHECKING:
    from musegen.contracts.domain import Domain
    from musegen.contracts.survey import Survey


@data_app.command
def info(
    source: Annotated[
        Path | None, Parameter(help="A file, a folder or a store (default: the data that ship with the domain).")
    ] = None,
    *,
    domain: Annotated[
        str | None, Parameter(help="The domain that reads them (default: the one that most of the files are for).")
    ] = None,
    set_: Assignments = [],  # noqa: B006
    json: Json = False,
) -> None:
    """Show what training would see of data, and which files are left out and why."""
    from musegen.plugins import registry
    from musegen.running.beginning import compare_with_data

    if source is None and domain is None:
        raise BadInput("There is nothing to look at: give a folder, or --domain for the data that ship with it.")
    if source is not None and not source.exists():
        raise BadInput(f"{source} does not exist: give a file, a folder or a store.")
    name = domain or _guessed(source)
    kind = registry().domain(name)
    options = parse_assignments(set_)
    config: Any = validate(kind.Config, options, f'the domain "{name}"')
    with tempfile.TemporaryDirectory() as cache:
        found = kind.survey(config, source, Path(cache))
    if found.config is not None:
        compare_with_data(config, found.config, list(options))
    _show(found, source, kind, json)


def _guessed(source: Path | None) -> str:
    """The domain that most of the files are for.

    Raises:
        BadInput: none reads any.
    """
    from musegen.plugins import registry

    assert source is not None
    known = registry()
    counts = {}
    for name in known.domains:
        try:
            counts[name] = known.domain(name).count_files(source)
        except BadInput:  # of a broken plugin
            continue
    best = max(counts, key=lambda name: counts[name], default=None)
    if best is None or not counts[best]:
        raise BadInput(f"No domain knows the files in {source}: name the domain with --domain ({', '.join(counts)}).")
    return best


def _show(found: Survey, source: Path | None, domain: type[Domain], json: bool) -> None:
    facts = {"source": None if source is None else str(source), "domain": domain.name, **found.facts}
    if json:
        counts = {"left_out": len(found.left_out), "reasons": found.reasons, "remarks": list(found.remarks)}
        classes = {row["class"]: dict(list(row.items())[1:]) for row in found.tables.get("classes", ())}
        print(as_json({**facts, **counts, **found.tables, "classes": classes}))
        return
    shown = {name.replace("_", " "): value for name, value in facts.items() if value is not None}
    shown["left out"] = len(found.left_out)
    print_fields(shown)
    for remark in found.remarks:
        print_text(f"\n{remark[:1].upper()}{remark[1:]}.")
    if found.reasons:
        print_text("\nLeft out:")
        for reason, n in found.reasons.items():
            print_text(f"{n:>6} {reason}")
    for title, rows in found.tables.items():
        print()
        print_table(rows, False, title.replace("_", " ").capitalize())
