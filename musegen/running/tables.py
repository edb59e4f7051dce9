"""Comparisons as text in several formats."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from musegen.running.comparing import Comparison

__all__ = ["FORMATS"]

LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
}


def _csv(comparison: Comparison) -> str:
    """Numbers in full, each in a column of its own."""
    rows, text = comparison.rows(), io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _json(comparison: Comparison) -> str:
    """Numbers in full, and those of every run."""
    groups = [
        {
            "options": dict(group.values),
            "runs": [str(path) for path in group.runs],
            "metrics": {
                metric: {"values": list(values), "mean": row[f"{metric} mean"], "sd": row[f"{metric} sd"]}
                for metric, values in group.metrics.items()
            },
        }
        for group, row in zip(comparison.groups, comparison.rows(), strict=True)
    ]
    return json.dumps({"by": list(comparison.by), "groups": groups}, indent=1, ensure_ascii=False) + "\n"


def _markdown(comparison: Comparison) -> str:
    rows = comparison.shown()
    cells = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in cells)


def _latex(comparison: Comparison) -> str:
    rows = comparison.shown()
    n = len(comparison.by)
    lines = [_latex_row(list(rows[0]), len(rows[0])), *(_latex_row(list(row.values()), n) for row in rows)]
    body = "\n".join([lines[0], "\\midrule", *lines[1:]])
    columns = "l" * n + "r" * (len(rows[0]) - n)
    return f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"


def _latex_row(cells: Sequence[str], texts: int) -> str:
    """A row whose first cells are text, and the others numbers."""
    parts = ["".join(LATEX.get(c, c) for c in cell) for cell in cells[:texts]]
    parts += [f"${cell.replace('±', chr(92) + 'pm')}$" if cell != "–" else "--" for cell in cells[texts:]]
    return f"{' & '.join(parts)} \\\\"


FORMATS: dict[str, Callable[[Comparison], str]] = {"markdown": _markdown, "latex": _latex, "csv": _csv, "json": _json}
