"""What is promised of a user's own data, once a domain has opened them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import SkipTest

import torch

from musegen.contracts.dataset import generator_for
from musegen.contracts.domain import Data, Domain
from musegen.testing import datasets, domains, families
from musegen.testing.rules import Rule, expect
from musegen.walking import walk

__all__ = ["opened", "rules"]

CPU = torch.device("cpu")
FEW_FILES = 20
MOST = 20_000
"""Examples up to which every one of them is gathered, several times."""


def opened(domain: Domain, source: Path) -> tuple[Domain, Data, Path]:
    """The domain with what it finds in the data, the data, and a folder of theirs that may be removed at the end.

    Raises:
        BadInput: the domain refuses them.
    """
    folder = Path(tempfile.mkdtemp(prefix="musegen-check-"))
    found, data = type(domain).open(domain.config, source, folder / "cache")
    return found, data, folder


def rules(domain: Domain, data: Data, source: Path) -> list[Rule]:
    """Rules for a domain that ``opened`` gave, whose names begin with ``data:``."""
    own = type(
        type(domain).__name__, (type(domain),), {"synthetic": lambda self, n, seed=0: data}
    )  # the rules of data sets ask a domain for data
    subject: Domain = own(domain.config, domain.writing)
    checks: list[tuple[str, str, Callable[[Any], None]]] = [
        ("examples", "Every split has examples with the spec's shape, values and classes.", _examples),
        ("twice", "Opened twice, the data are the same, with the same fingerprint and options.", _twice(source, data)),
        ("files", "Files of the data are read as samples, each alone.", _files(source)),
    ]
    found = [Rule(f"data: {name}", wants, partial(_on, holds, subject)) for name, wants, holds in checks]
    for known in datasets.RULES:
        holds = partial(_on, _if_few(known.holds, data), subject)
        found.append(replace(known, name=f"data: {known.name}", holds=holds, needs=("data: examples",)))
    step = partial(_on, partial(families.takes_a_step, "ae"), subject)
    wants = "The family ae takes a step on the data: finite losses, weights that moved."
    return [*found, Rule("data: a step of training", wants, step, ("data: examples",))]


def _on(holds: Callable[[Any], None], subject: Domain, _: Any) -> None:
    """A rule of the domain that gives its data for made-up ones."""
    holds(subject)


def _if_few(holds: Callable[[Any], None], data: Data) -> Callable[[Any], None]:
    def held(subject: Any) -> None:
        n = max(map(len, data.splits.values()))
        if n > MOST:
            raise SkipTest(f"{n:,} examples are too many to compare all: check it with a part of the data")
        holds(subject)

    return held


def _examples(domain: Domain) -> None:
    data = domain.synthetic(0)
    expect("train" in data.splits, f"the data have the splits {', '.join(data.splits)}, and no train.")
    expect(bool(data.description), "the data have no description: say in one line what they are.")
    for split, dataset in data.splits.items():
        domains.check_split(domain, split, dataset)


def _twice(source: Path, data: Data) -> Callable[[Any], None]:
    def holds(domain: Domain) -> None:
        with tempfile.TemporaryDirectory() as folder:
            kind = type(domain).__mro__[1]  # without the data at hand
            again, other = kind.open(domain.config, source, Path(folder) / "cache")  # type: ignore[attr-defined]
            expect(again.config == domain.config, "opened again with the options that it found, it finds others.")
            expect(other.fingerprint == data.fingerprint, "opened twice, the same data have two fingerprints.")
            for split, dataset in data.splits.items():
                index = torch.arange(min(len(dataset), domains.N_EXAMPLES))
                x, y = (d.gather(index, generator_for(CPU, 0)).x for d in (dataset, other.splits[split]))
                expect(torch.equal(x, y), f"{split}: opened twice, the data have other examples.")

    return holds


def _files(source: Path) -> Callable[[Any], None]:
    def holds(domain: Domain) -> None:
        suffixes = type(domain).suffixes
        if not suffixes:
            raise SkipTest("the domain does not say which files are its own (suffixes)")
        files = walk(source, suffixes)[0][:FEW_FILES] if source.is_dir() else [source]
        left_out = {str(path) for path, _ in domain.synthetic(0).skipped}
        for file in files:
            if str(file) in left_out:
                continue
            x = domain.read(Path(file))
            expect(
                len(x) >= 1 and tuple(x.shape[1:]) == domain.spec.shape,
                f"{Path(file).name}: read gives {tuple(x.shape)}, not (n, {str(domain.spec.shape)[1:]}.",
            )
            why = domains.support(domain.spec.likelihood, x)
            expect(not why, f"{Path(file).name}: read gives values outside the support of the likelihood: {why}.")

    return holds
