"""Commands for the authors of plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from musegen.cli.app import plugin_app
from musegen.cli.options import Assignments, Json
from musegen.cli.output import print_table
from musegen.errors import BadInput, did_you_mean
from musegen.option_texts import parse_assignments
from musegen.options import validate
from musegen.reporting import plain


@plugin_app.command
def new(
    name: str,
    *,
    family: Annotated[bool, Parameter(negative="", help="A family: an algorithm, to be replaced by your own.")] = False,
    one_file: Annotated[bool, Parameter(negative="", help="One file for --plugin, instead of a package.")] = False,
    out: Annotated[
        Path | None,
        Parameter(help="Folder to create, or with --one-file the file; musegen-NAME or NAME.py if not given."),
    ] = None,
) -> None:
    """Write a plugin that works: a new domain (curves, to be replaced by your own kind of data), or a new family.

    Parameters
    ----------
    name
        Of the domain or family: lower-case letters, digits and underscores.
    """
    import os
    import shlex

    from musegen.template import Kind, write_file_plugin, write_plugin

    kind: Kind = "family" if family else "domain"
    train = f"musegen train {name} image" if family else f"musegen train vae {name}"
    if one_file:
        path = write_file_plugin(name, out or Path(f"{name}.py"), kind)
        named = shlex.join(["--plugin", str(path)])
        print(plain(os.path.relpath(path)))
        print(f"\nNext: musegen plugin check {name} {named} && {train} {named} --steps 500")
        return
    folder = out or Path(f"musegen-{name}")
    for path in write_plugin(name, folder, kind):
        print(plain(os.path.relpath(path)))
    install = shlex.join(["pip", "install", "-e", str(folder)])
    print(f"\nNext: {install} && musegen plugin check {name} && {train} --steps 500")


@plugin_app.command
def check(
    name: str,
    *,
    set_: Assignments = [],  # noqa: B006
    data: Annotated[
        Path | None, Parameter(help="A file or folder of yours: the domain is also checked on these data.")
    ] = None,
    json: Json = False,
) -> None:
    """Hold a domain, a family, a measure or a command of a plugin against its contract. Exit code 1 if a check fails.

    Parameters
    ----------
    name
        Of a domain, a family, a measure or a command.
    """
    from musegen.plugins import registry

    known = registry()
    options = parse_assignments(set_)
    if name in known.domains:
        domain = known.domain(name)
        _report(domain(validate(domain.Config, options, f'the domain "{name}"')), json, data)
        return
    others = {**dict.fromkeys(known.families, "family"), **dict.fromkeys(known.all_measures, "measure")}
    others |= dict.fromkeys(known.commands, "command")
    if name not in others:
        names = [*known.domains, *others]
        raise BadInput(f'There is no domain and no family "{name}".{did_you_mean(name, names)} See "musegen plugins".')
    if options or data is not None:
        raise BadInput(
            f'"{name}" is a {others[name]}, which is checked with its default options: leave out --set and --data.'
        )
    if name in known.families:
        _report(known.family(name), json)
    else:
        _report(known.all_measures.get(name) or known.commands[name], json)


def _report(subject: Any, json: bool, data: Path | None = None) -> None:
    from musegen.testing import conformance

    outcomes = conformance(subject, data=data)
    print_table([vars(outcome) for outcome in outcomes], json)
    failed = sum(outcome.status == "FAILED" for outcome in outcomes)
    if not json:
        print(f"\n{len(outcomes)} checks, {failed} failed, {sum(o.status == 'SKIPPED' for o in outcomes)} skipped.")
    if failed:
        raise SystemExit(1)
