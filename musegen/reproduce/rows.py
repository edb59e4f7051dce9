"""Rows of the papers' tables, each a file ``rows/TABLE/ROW.yaml`` that a reader can read and run. Nothing here imports torch.

title: GAE, 1 layer
paper: -97.66                    # the published figure; left out where there is none
unit: nats
better: higher                   # or lower
within: 0.05                     # share of the paper's figure by which ours may be worse; left out: the two cannot be compared
source: Kim, Kim & Hwang 2018 (slides)
family: gae
domain: image
data: binarized_mnist            # in --data; made:factors: on the fly; package:NAME==VERSION/FOLDER; bundled, or none: what ships
options: {latent_dim: 10}        # as for ``musegen train``; {data} stands for the folder of --data
measure: {name: log_prob, k: 200}
budgets:                         # options of each budget; data and measure may be said anew
  smoke: {steps: 2}
  cpu: {steps: 24000}
  gpu: {steps: 200000}
seeds: 3
differs: why ours and the paper's differ
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from musegen.errors import BadInput, did_you_mean, shown
from musegen.options import read_yaml

__all__ = ["BUDGETS", "Row", "all_rows", "chosen"]

BUDGETS = ("smoke", "cpu", "gpu")
_REQUIRED = ("title", "unit", "better", "source", "family", "domain", "measure", "budgets", "seeds")
_KEYS = {*_REQUIRED, "paper", "within", "data", "options", "differs"}


@dataclass(frozen=True)
class Row:
    """One row of a paper's table.

    Attributes:
        table, name: of its folder and its file.
        title: as a reader knows it.
        paper: the published figure, in ``unit``; None if there is none.
        higher_is_better: whether more is better.
        within: share of the paper's figure by which ours may be worse; None if the two cannot be compared.
        source: where the paper's figure stands.
        family, domain, options, data: as for ``musegen.train``; of the data see ``musegen.reproduce.running``.
        measure: the measure's ``name``, and its arguments.
        budgets: changes to the options, by budget; also to ``data`` and ``measure``.
        seeds: how many are run, 0, 1, 2 …
        differs: why ours and the paper's figure differ, as far as known.
    """

    table: str
    name: str
    title: str
    paper: float | None
    unit: str
    higher_is_better: bool
    within: float | None
    source: str
    family: str
    domain: str
    data: str | None
    options: Mapping[str, Any]
    measure: Mapping[str, Any]
    budgets: Mapping[str, Mapping[str, Any]]
    seeds: int
    differs: str

    def reached(self, ours: float) -> bool | None:
        """Whether a figure is as good as the paper's, or at most ``within`` of it worse; None if this cannot be said.

        >>> from musegen.reproduce.rows import chosen
        >>> row = chosen("gae-likelihood", "gae-1")[0]
        >>> row.paper, row.within, row.reached(-99.0), row.reached(-110.0)
        (-97.66, 0.05, True, False)
        """
        if self.paper is None or self.within is None:
            return None
        worse = self.paper - ours if self.higher_is_better else ours - self.paper
        return worse <= self.within * abs(self.paper)


@cache
def all_rows() -> tuple[Row, ...]:
    """Every row, table by table."""
    folder = files("musegen.reproduce").joinpath("rows")
    tables = sorted((place for place in folder.iterdir() if place.is_dir()), key=lambda place: place.name)
    found = []
    for table in tables:
        rows = sorted((f for f in table.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
        found += [_row(table.name, f.name.removesuffix(".yaml"), read_yaml(f.read_text("utf-8"))) for f in rows]
    return tuple(found)


def chosen(table: str | None = None, row: str | None = None) -> tuple[Row, ...]:
    """The rows of a table, or one of them; without a table, all.

    Raises:
        BadInput: there is no such table or row.
    """
    rows = all_rows()
    if table is None:
        return rows
    tables = list(dict.fromkeys(r.table for r in rows))
    if table not in tables:
        raise BadInput(f'There is no table "{shown(table)}".{_or_all(table, tables)}')
    own = [r for r in rows if r.table == table]
    if row is None:
        return tuple(own)
    names = [r.name for r in own]
    if row not in names:
        raise BadInput(f'The table {table} has no row "{shown(row)}".{_or_all(row, names)}')
    return tuple(r for r in own if r.name == row)


def _or_all(word: str, known: list[str]) -> str:
    return did_you_mean(word, known) or f" There are {', '.join(known)}."


def _row(table: str, name: str, said: Any) -> Row:
    """
    Raises:
        ValueError: the file is no row. Files ship with musegen, so that no user can see this.
    """
    where = f"{table}/{name}.yaml"
    if missing := [key for key in _REQUIRED if key not in said]:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    if unknown := said.keys() - _KEYS:
        raise ValueError(f"{where} has unknown lines: {', '.join(unknown)}")
    if said["better"] not in ("higher", "lower") or tuple(said["budgets"]) != BUDGETS:
        raise ValueError(f"{where}: better is higher or lower, budgets are {', '.join(BUDGETS)}")
    plain = {key: said.get(key) for key in ("title", "paper", "unit", "within", "source", "family", "domain", "data")}
    return Row(
        table,
        name,
        **plain,
        higher_is_better=said["better"] == "higher",
        options=said.get("options") or {},
        measure=said["measure"],
        budgets=said["budgets"],
        seeds=said["seeds"],
        differs=said.get("differs") or "",
    )
