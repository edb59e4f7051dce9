"""Commands that say what there is."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from musegen.cli.app import LOOK, PLUGINS, app
from musegen.cli.options import Json
from musegen.cli.output import print_table, print_text
from musegen.files import write_file
from musegen.options import describe
from musegen.reporting import plain


@app.command(group=PLUGINS)
def families(*, json: Json = False) -> None:
    """List the families and what each can do."""
    from musegen.errors import BadInput
    from musegen.plugins import registry

    rows: list[dict[str, Any]] = []
    for name in registry().families:
        try:
            family = registry().family(name)
        except BadInput as error:  # of a broken plugin; the others are listed all the same
            rows.append({"family": name, "title": f"BROKEN: {error}"})
        else:
            rows.append({"family": name, **family.capabilities.table(), "title": family.title})
    if json:
        print_table(rows, True)
    else:
        print_table([{"family": row["family"], "title": row["title"], "can": _abilities(row)} for row in rows], False)
    _say_what_is_missing()


def _abilities(row: Mapping[str, str]) -> str:
    """``"sample, encode, log_prob (bound)"``: what a family can do, in words."""
    can = {name: how for name, how in row.items() if name not in ("family", "title") and how != "–"}
    return ", ".join(name if how == "yes" else f"{name} ({how})".replace(" ", "\u00a0") for name, how in can.items())


@app.command(group=PLUGINS)
def domains(*, json: Json = False) -> None:
    """List the domains, and which plugin each comes from."""
    from musegen.plugins import registry

    rows = []
    for name, offer in registry().domains.items():
        found = registry().provider("domain", name)
        assert found is not None
        rows.append({"domain": name, "summary": offer.summary, "from": found.origin})
    print_table(rows, json)
    _say_what_is_missing()


def _say_what_is_missing() -> None:
    """A line about broken plugins, whose families and domains are not in a list."""
    from musegen.plugins import registry

    bad = [f'"{found.name}"' for found in registry().found if found.status in ("BROKEN", "INCOMPATIBLE")]
    if bad:
        print(f"Broken plugins are left out: {', '.join(bad)}. See musegen plugins.", file=sys.stderr)


@app.command(group=LOOK)
def models(*, json: Json = False) -> None:
    """List the trained models that ship with musegen. Every command that takes a model takes their names."""
    from musegen.data import bundled
    from musegen.engine.checkpoint import read_model_config

    rows = []
    for name, file in bundled.models().items():
        config, size = read_model_config(file), file.stat().st_size
        made = {"model": name, "family": config.get("family"), "domain": config.get("domain")}
        rows.append({**made, "MB": round(size / 1e6, 1), "what": bundled.summary(file), "file": str(file)})
    if json:
        print_table(rows, True)
    elif rows:
        print_table([{key: value for key, value in row.items() if key != "file"} for row in rows], False)
    else:
        print("No models ship with this musegen.")


@app.command(group=PLUGINS)
def plugins(*, json: Json = False) -> None:
    """List the plugins, where they come from, and what is wrong with broken ones."""
    import dataclasses

    from musegen.plugins import registry

    found = registry().found
    if json:
        print_table([{"plugin": f.name, **dataclasses.asdict(f)} for f in found], True)
        return
    rows = []
    for f in found:
        names_of = ("families", "domains", "measures", "commands", "trackers")
        kinds = {kind: getattr(f, kind) for kind in names_of}
        offers = "; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names)
        row = {"plugin": f.name, "status": f.status, "from": f.origin}
        rows.append({**row, "API": f.api, "offers": offers})
    print_table(rows, False)
    for f in found:
        if f.problem:
            print_text(f"\n{f.name} ({f.origin}) is {f.status}: {f.problem}.\n  What to do: {f.remedy}.")


@app.command(group=PLUGINS)
def explain(
    family: str, *, svg: Annotated[Path | None, Parameter(help="Draw the graph into this file.")] = None
) -> None:
    """Explain a family: its objective, paper, players, options and graphical model."""
    import inspect

    from musegen.contracts.family import build
    from musegen.plugins import registry

    family_class = registry().family(family)
    config = family_class.Config()
    graph = family_class.graph(config)
    if svg is not None:
        write_file(svg, graph.svg(family_class.title).encode())
        print(plain(f"Wrote {svg}"))
        return
    module = inspect.getmodule(family_class)
    # The players are those of a real instance, so that what is printed is what trains.
    domain_class = registry().domain("image") if "image" in registry().domains else None
    print_text(f"{family_class.title} ({family})\n{family_class.paper}\n\nObjective\n  {family_class.objective}\n")
    if domain_class is not None:
        # With what some families need: classes, and a second data set.
        data: Any = domain_class.Config(classes=[str(i) for i in range(10)], target="inverted")
        instance = build(family_class, config, domain_class(data))
        print_text("Players; each updates its own networks alone")
        for name, player in instance.players.items():
            adam = f"(Adam {player.learning_rate:g}, β {player.betas})"
            print_text(f"  {name}: {', '.join(player.networks)}   {adam}")
    print_text(f"\nGraphical model\n{graph.text()}\n")
    print_table(describe(family_class.Config), False, "Options")
    if family_class.capabilities.sample:
        print()
        print_table(describe(family_class.Sampling), False, "How samples are drawn, also after training")
    if module is not None and module.__doc__:
        print_text(f"\n{inspect.cleandoc(module.__doc__)}")
