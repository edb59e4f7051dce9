"""The command for the papers' tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from musegen.cli.app import TRAIN, app
from musegen.cli.options import Flag, Json, at_least
from musegen.cli.output import print_table
from musegen.errors import BadInput
from musegen.files import user_path


@app.command(group=TRAIN)
def reproduce(
    table: Annotated[str | None, Parameter(help="A table, see --list.")] = None,
    *,
    row: Annotated[str | None, Parameter(help="One row of it alone.")] = None,
    budget: Annotated[
        Literal["smoke", "cpu", "gpu"],
        Parameter(help="How long: a few steps, to see that it runs; up to an hour on a CPU; a GPU."),
    ] = "cpu",
    seeds: Annotated[int | None, Parameter(help="Runs of each row, seeds 0, 1, 2 … (default: the row's).")] = None,
    out: Annotated[Path, Parameter(help="A folder for the runs.")] = Path("runs/reproduce"),
    data: Annotated[
        Path | None, Parameter(help="The folder of data sets that do not ship with musegen, such as binarized_mnist.")
    ] = None,
    results: Annotated[Path | None, Parameter(help="The file of results (default: results.json in --out).")] = None,
    valid: Annotated[
        bool, Parameter(negative="", help="Measure on validation examples, and keep no result: for tuning.")
    ] = False,
    test_again: Annotated[
        bool, Parameter(negative="", help="Measure on the test examples once more, after something has changed.")
    ] = False,
    list_: Annotated[
        bool,
        Parameter(name="--list", negative="", help="List all rows, the papers' figures, and those that were measured."),
    ] = False,
    json: Json = False,
    quiet: Flag = False,
) -> None:
    """Train and measure what papers published, row by row; the same command goes on where it was interrupted.

    Parameters
    ----------
    quiet
        Show no progress of a run.
    """
    from musegen.reproduce import results as kept
    from musegen.reproduce.rows import chosen

    if row is not None and table is None:
        raise BadInput(f"--row {row} needs a table: musegen reproduce TABLE --row {row}.")
    rows = chosen(table, row)
    if list_:
        found = kept.listed(rows, kept.shipped() if results is None else kept.read(user_path(results)))
        print_table(found if json else [_shown(line) for line in found], json)
        return
    if table is None:
        raise BadInput("Say which table, such as gae-likelihood; musegen reproduce --list shows all of them.")
    if seeds is not None:
        at_least(1, seeds=seeds)
    from musegen.reproduce.running import reproduce as run

    scores = []
    for score in run(
        rows,
        budget,
        user_path(out),
        seeds,
        data and user_path(data),
        results and user_path(results),
        valid,
        test_again,
        quiet,
    ):
        scores.append(score)
        if not json:
            beside = "".join(f"; {name} {kept.figure(value)}" for name, value in score.get("beside", {}).items())
            print(
                f"{score['table']} {score['row']}, seed {score['seed']}, {score['split']}: {kept.figure(score['value'])}{beside}",
                flush=True,
            )
    if json:
        print_table(scores, True)


def _shown(line: dict[str, object]) -> dict[str, object]:
    from musegen.reproduce.results import figure

    def of(value: object) -> str:
        return "–" if value is None else figure(value) if isinstance(value, float) else str(value)

    spread = "" if line["spread"] is None else f" ± {of(line['spread'])}"
    reached = {True: "yes", False: "no", None: "–"}[line["reached"]]  # type: ignore[index]
    shown = {"table": line["table"], "row": line["row"], "title": line["title"], "paper": of(line["paper"])}
    return shown | {
        "ours": of(line["ours"]) + spread,
        "unit": line["unit"],
        "budget": of(line["budget"]),
        "reached": reached,
    }
