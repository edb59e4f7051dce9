"""Commands for several runs together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from musegen.cli.app import LOOK, app
from musegen.cli.options import Flag, Json
from musegen.cli.output import check_free, print_table, save_picture
from musegen.errors import BadInput


@app.command(group=LOOK)
def compare(
    *runs: Path,
    by: Annotated[
        str | None,
        Parameter(
            help="Options that make groups, such as family,latent_dim (default: all but the seed in which runs differ)."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="A metric, or the end of its name, such as nelbo; repeatable (default: losses of validation).",
        ),
    ] = None,
    markdown: Annotated[bool, Parameter(negative="", help="Print a table in Markdown.")] = False,
    latex: Annotated[bool, Parameter(negative="", help="Print a table in LaTeX, for the package booktabs.")] = False,
    csv: Annotated[bool, Parameter(negative="", help="Print numbers in full, as CSV.")] = False,
    json: Json = False,
    curves: Annotated[Path | None, Parameter(help="Draw how the metrics went into this file (PNG).")] = None,
    overwrite: Flag = False,
) -> None:
    """Compare runs: mean ± standard deviation over seeds of any metric.

    Parameters
    ----------
    runs
        Run folders, or a folder that holds several.
    """
    import musegen

    wanted = [name for name, is_ in (("markdown", markdown), ("latex", latex), ("csv", csv), ("json", json)) if is_]
    if len(wanted) > 1:
        raise BadInput(f"--{wanted[0]} and --{wanted[1]} do not go together: choose one.")
    if curves is not None:
        check_free(curves, overwrite)
    found = musegen.compare(list(runs), None if by is None else by.split(","), metric)
    if wanted:
        print(found.table(wanted[0]), end="")
    else:
        print_table(found.shown(), False)
    if curves is not None:
        save_picture(found.picture(), curves)
