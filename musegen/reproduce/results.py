"""What was measured, as JSON: read, added to, and shown beside the papers' figures. Nothing here imports torch.

A file of results is a list of objects, one per table, row and budget: ``seeds`` holds a score per seed, ``machine``, ``versions``
and ``date`` say where they come from. Only test figures are in it, never those of the budget smoke.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from musegen.errors import BadInput
from musegen.files import content_of, write_atomically
from musegen.limits import RECORD_CAP_BYTES
from musegen.reproduce.rows import Row

__all__ = ["add", "listed", "markdown", "read", "shipped"]

Results = list[dict[str, Any]]


def shipped() -> Results:
    """The results that ship with musegen."""
    found: Results = json.loads(files("musegen.reproduce").joinpath("results.json").read_text("utf-8"))
    return found


def read(path: Path) -> Results:
    """
    Raises:
        BadInput: the file holds something else. Where there is none, there are no results.
    """
    if not path.is_file():
        return []
    try:
        found = json.loads(content_of(path, RECORD_CAP_BYTES))
        for result in found:
            _ = result["table"], result["row"], result["budget"], [float(s["value"]) for s in result["seeds"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadInput(f"The file {path} holds no results of musegen reproduce: choose another one.") from None
    return list(found)


def add(path: Path, row: Row, budget: str, seed: int, score: Mapping[str, Any], where: Mapping[str, Any]) -> None:
    """Put the score of a seed into a file, in the place of what is there of this row, budget and seed.

    Args:
        score: at least ``value``.
        where: machine, versions and date.

    Raises:
        BadInput: the file holds something else.
    """
    results = read(path)
    key = (row.table, row.name, budget)
    own = next((r for r in results if (r["table"], r["row"], r["budget"]) == key), None)
    if own is None:
        own = {"table": row.table, "row": row.name, "budget": budget, "seeds": {}}
        results.append(own)
    own |= where
    own["seeds"] = dict(sorted((own["seeds"] | {str(seed): dict(score)}).items(), key=lambda item: int(item[0])))
    results.sort(key=lambda r: (r["table"], r["row"], r["budget"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())


def listed(rows: Sequence[Row], results: Results) -> list[dict[str, Any]]:
    """An object per row: its figure in the paper, ours, and whether it is reached; None where nobody ran it.

    ``ours`` is the mean over the seeds of the largest budget that was run, ``spread`` their standard deviation.
    """
    found = []
    for row in rows:
        result = _of(row, results)
        line = {"table": row.table, "row": row.name, "title": row.title, "paper": row.paper, "unit": row.unit}
        if result is None:
            line |= {"ours": None, "spread": None, "seeds": 0, "budget": None, "reached": None, "differs": row.differs}
        else:
            values = [float(score["value"]) for score in result["seeds"].values()]
            ours = statistics.fmean(values)
            line |= {
                "ours": ours,
                "spread": statistics.stdev(values) if len(values) > 1 else None,
                "seeds": len(values),
                "budget": result["budget"],
                "reached": row.reached(ours),
                "differs": row.differs,
            }
        found.append(line)
    return found


def _of(row: Row, results: Results) -> dict[str, Any] | None:
    own = [r for r in results if (r["table"], r["row"]) == (row.table, row.name) and r["seeds"]]
    return next((r for budget in ("gpu", "cpu") for r in own if r["budget"] == budget), None)


def markdown(rows: Sequence[Row], results: Results) -> Iterator[str]:
    """Lines of a document: each table with a heading, every row with the paper's figure and ours."""
    table = ""
    for row, line in zip(rows, listed(rows, results), strict=True):
        if row.table != table:
            table = row.table
            yield from (
                "",
                f"### {table}",
                "",
                "| row | paper | ours | budget | why they differ |",
                "|---|---|---|---|---|",
            )
        paper = "–" if row.paper is None else f"{figure(row.paper)} {row.unit}"
        yield f"| {row.title} | {paper} ({row.source}) | {_ours(line)} | {_budget(row, _of(row, results))} | {row.differs} |"


def _ours(line: Mapping[str, Any]) -> str:
    if line["ours"] is None:
        return "not run yet"
    spread = "" if line["spread"] is None else f" ± {figure(line['spread'])}"
    return f"{figure(line['ours'])}{spread}{' ✓' if line['reached'] else ''}"


def _budget(row: Row, result: Mapping[str, Any] | None) -> str:
    """Steps, seeds, time and what stands beside the figure."""
    if result is None:
        return "–"
    scores = list(result["seeds"].values())
    minutes = statistics.fmean(score["seconds"] for score in scores) / 60
    text = f"{result['budget']}: {scores[0]['steps']:,} steps, {len(scores)} seed{'s' if len(scores) > 1 else ''}, "
    text += f"{minutes:.1f} min each, {result['machine']}"
    beside = scores[0].get("beside", {})
    means = {name: statistics.fmean(score["beside"][name] for score in scores) for name in beside}
    return text + "".join(f"; {name} {figure(value)}" for name, value in means.items())


def figure(value: float) -> str:
    """A number with four digits that say something, at most.

    >>> from musegen.reproduce.results import figure
    >>> figure(-97.66), figure(0.0333), figure(1234.5)
    ('−97.66', '0.0333', '1234')
    """
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if abs(value) < 1000 else 0
    return f"{value:.{min(digits, 4)}f}".replace("-", "−")
