"""What a sweep consists of, as a file says. Each run is one that ``musegen train`` would make.

out: runs/sweep                  # a folder, with a run folder for each
family: [vae, ae]                # one or several
domain: image                    # one or several
data: pictures                   # as for train; the domain's own if left out
options: {steps: 2000}           # of all runs
vary: {latent_dim: [8, 32]}      # every value of each with every value of the others
for: {vae: {beta: 0.5}}          # options of one family alone
seeds: 3                         # 0, 1, 2; or a list
evaluate: {n: 256}               # arguments of musegen.evaluate; false: leave that out
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musegen.errors import BadInput, did_you_mean, shown
from musegen.files import user_path
from musegen.limits import MOST_RUNS
from musegen.options import load_yaml
from musegen.running.beginning import short
from musegen.running.resolved import resolve

__all__ = ["Planned", "read_sweep"]

KEYS = ("out", "family", "domain", "data", "options", "vary", "for", "seeds", "evaluate")
MEASURED = ("n", "k", "seed", "split")
"""Arguments of ``musegen.evaluate`` that a file may set."""
LONGEST_NAME = 120
"""Characters of a run's name; longer ones end with a number."""


@dataclass(frozen=True)
class Planned:
    """One run of a sweep.

    Attributes:
        name: of its folder.
        path: its folder.
        family, domain, data, options: as for ``musegen.train``.
        evaluate: arguments of ``musegen.evaluate``; None: it is not evaluated.
    """

    name: str
    path: Path
    family: str
    domain: str
    data: str | None
    options: Mapping[str, Any]
    evaluate: Mapping[str, Any] | None


def read_sweep(path: str | Path) -> list[Planned]:
    """The runs of a sweep, in the order of the file, seed by seed.

    Every one is checked, so that none fails after hours for a slip of the pen.

    Raises:
        BadInput: what the file says is no sweep, or a run of it is none.
    """
    said = load_yaml(path)
    for key in said:
        if key not in KEYS:
            raise BadInput(f'{path} has a line "{shown(key)}", which says nothing of a sweep.{did_you_mean(key, KEYS)}')
    for key in ("out", "family", "domain"):
        if key not in said:
            raise BadInput(
                f"{path} has no line {key}: it needs out, family and domain, such as {key}: {_EXAMPLE[key]}."
            )
    out, data = user_path(str(said["out"])), said.get("data")
    families, domains = (_several(said[key], key, path) for key in ("family", "domain"))
    vary = {name: _list(values, f"vary: {name}", path) for name, values in _mapping(said, "vary", path).items()}
    own = _mapping(said, "for", path)
    for family in own:
        if family not in families:
            raise BadInput(
                f'{path} has options for "{shown(family)}", which is no family of the sweep: leave them out.'
            )
    seeds = _seeds(said.get("seeds", 1), path)
    n = len(families) * len(domains) * len(seeds) * math.prod(map(len, vary.values()))
    if n > MOST_RUNS:
        raise BadInput(f"{path} stands for {n:,} runs, more than {MOST_RUNS:,}: vary less, or use several files.")
    found: list[Planned] = []
    for seed, domain, family, *values in itertools.product(seeds, domains, families, *vary.values()):
        varied = dict(zip(vary, values, strict=True))
        options = {**_mapping(said, "options", path), **_mapping(own, family, path), **varied, "seed": seed}
        can = resolve(family, domain, options).family.capabilities
        evaluate = _evaluation(said, path) if can.sample or can.log_prob else None
        name = _name([family, *([domain] if len(domains) > 1 else [])], varied, seed, len(found))
        found.append(Planned(name, out / name, family, domain, _text(data), options, evaluate))
    return found


_EXAMPLE = {"out": "runs/sweep", "family": "[vae, ae]", "domain": "image"}


def _several(value: Any, key: str, path: str | Path) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, str) for v in values):
        raise BadInput(f"{path}: {key} must be a name or a list of names, such as {_EXAMPLE[key]}.")
    return list(dict.fromkeys(values))


def _list(value: Any, key: str, path: str | Path) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise BadInput(f"{path}: {key} must be a list of values, such as [8, 32].")
    return value


def _mapping(said: Mapping[str, Any], key: str, path: str | Path) -> dict[str, Any]:
    value = said.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise BadInput(f"{path}: {key} must be names and values, such as {{latent_dim: 8}}.")
    return value


def _seeds(value: Any, path: str | Path) -> list[int]:
    seeds = list(range(min(value, MOST_RUNS + 1))) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise BadInput(f"{path}: seeds must be how many, such as 3, or a list of them, such as [0, 1, 2].")
    return list(dict.fromkeys(seeds))


def _evaluation(said: Mapping[str, Any], path: str | Path) -> dict[str, Any] | None:
    value = said.get("evaluate", {})
    if value is False:
        return None
    arguments = {} if value is True or value is None else _mapping(said, "evaluate", path)
    for name, argument in arguments.items():
        if name not in MEASURED or not (isinstance(argument, str) if name == "split" else type(argument) is int):
            raise BadInput(
                f"{path}: evaluate takes {', '.join(MEASURED)}, and {shown(name)}={shown(argument)} is none of these."
            )
    return arguments


def _text(data: Any) -> str | None:
    return None if data is None else str(data)


def _name(kinds: Sequence[str], varied: Mapping[str, Any], seed: int, number: int) -> str:
    """Of a run's folder: what sets it apart, of characters that every file system has."""
    parts = [*kinds, *(f"{name}={short(value)}" for name, value in varied.items()), f"seed={seed}"]
    name = re.sub(r"[^\w.=,+-]+", "_", "-".join(parts)).strip("_.")
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{number}"
