"""Checks of measures, commands and a user's data: each passes what is right, and finds what it is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from cyclopts import Parameter
from toy import ToyConfig, ToyDomain

from musegen.contracts.domain import Data
from musegen.errors import BadInput
from musegen.plugins import Command, Measure
from musegen.testing import conformance


def failed(subject: Any, data: Path | None = None) -> list[str]:
    return [outcome.check for outcome in conformance(subject, data=data) if outcome.status == "FAILED"]


def level(samples: torch.Tensor, reference: torch.Tensor) -> dict[str, Any]:
    return {"mean": samples.mean(), "distance": abs(samples.mean() - reference.mean())}


def changes(samples: torch.Tensor, reference: torch.Tensor) -> dict[str, Any]:
    samples.zero_()
    return {"mean": 0.0}


def far(samples: torch.Tensor, reference: torch.Tensor) -> dict[str, Any]:
    return {"distance": 1.0}


calls = iter(range(100))


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (level, []),
        (changes, ["figures"]),
        (far, ["figures"]),
        (lambda x, y: {}, ["figures"]),
        (lambda x, y: {"mean": float("inf")}, ["figures"]),
        (lambda x, y: {"mean": float(next(calls))}, ["figures"]),
        (lambda x: {"mean": 0.0}, ["figures"]),
        ("no function", ["declaration"]),
    ],
)
def test_measures(function: Any, found: list[str]) -> None:
    assert failed(Measure("level", "mean of all cells", lambda: function, domains=("toy",))) == found


def right(model: str, *, n: Annotated[int, Parameter(help="How many.")] = 3) -> None:
    """Count.

    Parameters
    ----------
    model
        Of whom.
    """


def silent(model: str) -> None:
    """Count."""


def untyped(model) -> None:  # type: ignore[no-untyped-def]
    """Count.

    Parameters
    ----------
    model
        Of whom.
    """


def undocumented(*, n: Annotated[int, Parameter(help="How many.")] = 3) -> None: ...


@pytest.mark.parametrize(
    ("function", "found"),
    [(right, []), (silent, ["parameters"]), (untyped, ["parameters"]), (undocumented, ["help"])],
)
def test_commands(function: Callable[..., None], found: list[str]) -> None:
    assert failed(Command("data tally", "Count.", lambda: function)) == found
    assert failed(Command("tally", "", lambda: right)) == ["declaration"]


class OtherFingerprints(ToyDomain):
    opened = iter(range(100))

    @classmethod
    def open(cls, config: ToyConfig, source: Path | None, cache: Path) -> Any:
        domain, data = super().open(config, source, cache)
        return domain, Data(data.splits, f"{next(cls.opened)}", data.description)


class NoTraining(ToyDomain):
    @classmethod
    def open(cls, config: ToyConfig, source: Path | None, cache: Path) -> Any:
        domain, data = super().open(config, source, cache)
        return domain, Data({"valid": data.splits["valid"]}, data.fingerprint, data.description)


class OtherFiles(ToyDomain):
    suffixes = (".npy",)

    def read(self, path: Path) -> torch.Tensor:
        return torch.zeros(1, 1, 4, 4) if path.name.startswith("sample") else torch.full((1, 1, 4, 4), 2.0)


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        (ToyDomain, []),
        (OtherFingerprints, ["data: twice"]),
        (NoTraining, ["data: examples"]),
        (OtherFiles, ["data: files"]),
    ],
)
def test_data_of_a_user(domain: type[ToyDomain], found: list[str], tmp_path: Path) -> None:
    (source := tmp_path / "mine.npy").write_bytes(b"")
    of_data = [name for name in failed(domain(ToyConfig(examples=24, valid=8)), source) if name.startswith("data:")]
    assert of_data == found


def test_data_are_for_domains(tmp_path: Path) -> None:
    from musegen.families.ae import AE

    with pytest.raises(BadInput, match="check a domain"):
        conformance(AE, data=tmp_path)
    with pytest.raises(BadInput, match="is no file"):
        conformance(ToyDomain, data=tmp_path / "missing.npy")
