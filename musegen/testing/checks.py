"""Conformance checks: rules, held against one domain or family.

Some rules only make sense once others hold: the mean of what a decoder of the wrong shape puts out tells nobody anything. Such a
rule names those that it needs, and its check skips where one of them fails, so that one fault gives one failure.
"""

from __future__ import annotations

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
from musegen.reporting import each
from musegen.testing import datasets, domains, families, files, networks
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


def checks(subject: Domain | type[Domain] | type[Family]) -> list[Check]:
    """The checks of a domain, or of a family class.

    Args:
        subject: a domain; its class stands for the domain with default options.

    >>> from musegen.families.vae import VAE
    >>> from musegen.testing import checks
    >>> str(checks(VAE)[0])
    'declaration'
    """
    if isinstance(subject, type) and issubclass(subject, Domain):
        subject = _opened(subject)
    rules: Sequence[Rule] = families.RULES
    if isinstance(subject, Domain):
        rules = [*domains.RULES, *datasets.RULES, *networks.RULES, *files.RULES, *families.steps()]
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
    subject: Domain | type[Domain] | type[Family], report: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """Run every check.

    Args:
        subject: as for ``checks``.
        report: called with each outcome as it comes.

    >>> from musegen.families.vae import VAE
    >>> from musegen.testing import conformance
    >>> [outcome.check for outcome in conformance(VAE) if outcome.status == "FAILED"]
    []
    """
    found = []
    for check in each(list(checks(subject)), "Checking", "checks"):
        found.append(check.outcome)
        if report is not None:
            report(check.outcome)
    return found
