"""Commands that say what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from musegen.cli.app import app
from musegen.cli.options import Json
from musegen.cli.output import print_table, write_file
from musegen.config import describe


@app.command
def families(*, json: Json = False) -> None:
    """List the families and what each can do."""
    from musegen.plugins import registry

    classes: dict[str, Any] = {name: offer.load() for name, offer in registry().families.items()}
    titles = {name: family.title for name, family in classes.items()}
    rows = [{"family": name, **family.capabilities.table()} for name, family in classes.items()]
    if json:
        print_table([{**row, "title": titles[row["family"]]} for row in rows], True)
        return
    print_table(rows, False)
    print()
    print_table([{"family": name, "title": title} for name, title in titles.items()], False)


@app.command
def domains(*, json: Json = False) -> None:
    """List the domains."""
    from musegen.plugins import registry

    print_table([{"domain": name, "summary": offer.summary} for name, offer in registry().domains.items()], json)


@app.command
def models(*, json: Json = False) -> None:
    """List the trained models that ship with musegen; every command takes their names."""
    from musegen.checkpoint import read_model_config
    from musegen.data import bundled

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


@app.command
def plugins(*, json: Json = False) -> None:
    """List the plugins, where they come from, and what is wrong with broken ones."""
    from musegen.plugins import registry

    rows = [
        {
            "plugin": found.name,
            "status": "BROKEN" if found.problem else "OK",
            "distribution": f"{found.distribution} {found.version}",
            "offers": ", ".join(found.offers),
            "problem": found.problem,
        }
        for found in registry().found
    ]
    print_table(rows, json)


@app.command
def explain(
    family: str, *, svg: Annotated[Path | None, Parameter(help="Draw the graph into this file.")] = None
) -> None:
    """Explain a family: objective, paper, players, options, and its graphical model."""
    import inspect

    from musegen.family import build
    from musegen.plugins import registry

    family_class = registry().family(family)
    config = family_class.Config()
    graph = family_class.graph(config)
    if svg is not None:
        write_file(svg, graph.svg(family_class.title).encode())
        print(f"Wrote {svg}")
        return
    module = inspect.getmodule(family_class)
    # The players are those of a real instance, so that what is printed is what trains.
    domain_class = registry().domain("image") if "image" in registry().domains else None
    print(f"{family_class.title} ({family})\n{family_class.paper}\n\nObjective\n  {family_class.objective}\n")
    if domain_class is not None:
        instance = build(family_class, config, domain_class(domain_class.Config()))
        print("Players, in the order of their names; each moves its own networks alone")
        for name, player in instance.players.items():
            print(f"  {name}: {', '.join(player.networks)}   (Adam {player.learning_rate:g}, β {player.betas})")
    print(f"\nGraphical model\n{graph.text()}\n")
    print_table(describe(family_class.Config), False, "Options")
    if module is not None and module.__doc__:
        print(f"\n{inspect.cleandoc(module.__doc__)}")
