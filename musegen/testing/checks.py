"""Conformance checks: rules, held against one domain or family.

Some rules only make sense once others hold: the mean of what a decoder of the wrong shape puts out tells nobody anything. Such a
rule names those that it needs, and its check skips where one of them fails, so that one fault gives one failure.
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from unittest import SkipTest

import torch

from musegen.contracts.domain import Domain
from musegen.contracts.family import Family
from musegen.errors import BadInput
from musegen.plugins.hooks import Command, Measure
from musegen.reporting import each
from musegen.testing import datasets, domains, families, files, networks, offers, opened
from musegen.testing.rules import Rule, Unmet

__all__ = ["Check", "Outcome", "checks", "conformance"]


@dataclass(frozen=True)
class Outcome:
    """What came of a check.

    Args:
        check: its name.
        status: of the check.
        what: why it failed or was skipped; what it promises where it holds.
    """

    check: str
    status: Literal["OK", "FAILED", "SKIPPED"]
    what: str


@dataclass(frozen=True)
class Check:
    """A rule, held against one domain or family. It runs once; calling it again tells the same."""

    rule: Rule
    subject: Any
    others: Mapping[str, Check] = field(repr=False)

    def __str__(self) -> str:
        return self.rule.name

    def __call__(self) -> None:
        """Raise ``AssertionError`` if the promise is broken, ``unittest.SkipTest`` if it cannot be looked at."""
        if self._error is not None:
            raise self._error

    @cached_property
    def outcome(self) -> Outcome:
        status: Literal["OK", "FAILED", "SKIPPED"] = "OK"
        if self._error is not None:
            status = "SKIPPED" if isinstance(self._error, SkipTest) else "FAILED"
        return Outcome(self.rule.name, status, str(self._error or self.rule.wants))

    @cached_property
    def _waits_for(self) -> str:
        """A failing check without which this one says nothing, directly or by way of others; empty if there is none."""
        for other in (self.others[name] for name in self.rule.needs):
            if other.outcome.status == "FAILED" or other._waits_for:
                return other._waits_for or other.rule.name
        return ""

    @cached_property
    def _error(self) -> Unmet | SkipTest | None:
        if self._waits_for:
            return SkipTest(f'waits for the check "{self._waits_for}", which fails')
        try:
            # What a check draws is the same alone and among others.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.rule.holds(self.subject)
        except (Unmet, SkipTest) as error:
            return error
        except Exception as error:
            at, what = traceback.extract_tb(error.__traceback__)[-1], " ".join(str(error).split())
            failure = Unmet(
                f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {what}. Wanted: {self.rule.wants}"
            )
            failure.__cause__ = error
            return failure
        return None


Subject = Domain | type[Domain] | type[Family] | Measure | Command


def checks(subject: Subject) -> list[Check]:
    """The checks of a domain, of a family class, or of a measure or a command that a plugin offers.

    Args:
        subject: a domain; its class stands for the domain with default options.

    >>> from musegen.families.vae import VAE
    >>> from musegen.testing import checks
    >>> str(checks(VAE)[0])
    'declaration'
    """
    if isinstance(subject, type) and issubclass(subject, Domain):
        subject = _opened(subject)
    return _held(subject, _rules(subject))


def _rules(subject: Any) -> Sequence[Rule]:
    match subject:
        case Domain():
            return [*domains.RULES, *datasets.RULES, *networks.RULES, *files.RULES, *families.steps()]
        case Measure():
            return offers.MEASURE_RULES
        case Command():
            return offers.COMMAND_RULES
    return families.RULES


def _held(subject: Any, rules: Sequence[Rule]) -> list[Check]:
    others: dict[str, Check] = {}
    others.update({r.name: Check(r, subject, others) for r in rules})
    return list(others.values())


def _opened(domain: type[Domain]) -> Domain:
    try:
        return domain(domain.Config())
    except Exception as error:
        raise Unmet(
            f"{domain.__name__}({domain.Config.__name__}()) raises {type(error).__name__}: {error}. "
            "Default options must do."
        ) from error


def conformance(
    subject: Subject, report: Callable[[Outcome], None] | None = None, data: Path | None = None
) -> list[Outcome]:
    """Run every check.

    Args:
        subject: as for ``checks``.
        report: called with each outcome as it comes.
        data: of a domain: a file or folder of a user, on which further checks are run, whose names begin with ``data:``.

    Raises:
        BadInput: the domain refuses these data.

    >>> from musegen.families.vae import VAE
    >>> from musegen.testing import conformance
    >>> [outcome.check for outcome in conformance(VAE) if outcome.status == "FAILED"]
    []
    """
    made = _opened(subject) if isinstance(subject, type) and issubclass(subject, Domain) else subject
    found, todo, folder = [], checks(made), None
    try:
        if data is not None:
            if not isinstance(made, Domain):
                raise BadInput("Data are there to check a domain with: leave them out.")
            domain, examples, folder = opened.opened(made, data)
            todo += _held(domain, opened.rules(domain, examples, data))
        for check in each(todo, "Checking", "checks"):
            found.append(check.outcome)
            if report is not None:
                report(check.outcome)
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return found
