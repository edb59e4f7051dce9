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
    out: Annotated[Path | None, Parameter(help="Folder to create; musegen-NAME if not given.")] = None,
) -> None:
    """Write a package with a new domain that works: curves, to be replaced by your own kind of data.

    Parameters
    ----------
    name
        Of the domain: lower-case letters, digits and underscores.
    """
    import os
    import shlex

    from musegen.template import write_plugin

    folder = out or Path(f"musegen-{name}")
    for path in write_plugin(name, folder):
        print(plain(os.path.relpath(path)))
    install = shlex.join(["pip", "install", "-e", str(folder)])
    print(f"\nNext: {install} && musegen plugin check {name} && musegen train vae {name} --steps 500")


@plugin_app.command
def check(name: str, *, set_: Assignments = [], json: Json = False) -> None:  # noqa: B006
    """Hold a domain or a family against its contract. Exit code 1 if a check fails.

    Parameters
    ----------
    name
        Of a domain or a family.
    """
    from musegen.plugins import registry

    known = registry()
    options = parse_assignments(set_)
    if name in known.domains:
        domain = known.domain(name)
        _report(domain(validate(domain.Config, options, f'the domain "{name}"')), json)
    elif name in known.families:
        if options:
            raise BadInput(
                f'"{name}" is a family, and families are checked with their default options: leave out --set.'
            )
        _report(known.family(name), json)
    else:
        names = [*known.domains, *known.families]
        raise BadInput(f'There is no domain and no family "{name}".{did_you_mean(name, names)} See "musegen plugins".')


def _report(subject: Any, json: bool) -> None:
    from musegen.testing import conformance

    outcomes = conformance(subject)
    print_table([vars(outcome) for outcome in outcomes], json)
    failed = sum(outcome.status == "FAILED" for outcome in outcomes)
    if not json:
        print(f"\n{len(outcomes)} checks, {failed} failed, {sum(o.status == 'SKIPPED' for o in outcomes)} skipped.")
    if failed:
        raise SystemExit(1)
