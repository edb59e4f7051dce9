"""What the promises of a contract are, and how a broken one is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Rule", "Unmet", "expect", "rule"]


@dataclass(frozen=True)
class Rule:
    """One promise of a contract.

    Args:
        name: for tables and test names.
        wants: the promise, in a sentence.
        holds: raises ``AssertionError`` (or ``SkipTest``) for a domain or a family class.
        needs: names of rules without which this one says nothing.
    """

    name: str
    wants: str
    holds: Callable[[Any], None]
    needs: tuple[str, ...] = ()


def rule(name: str, *needs: str) -> Callable[[Callable[[Any], None]], Rule]:
    """Make a rule of a function; the first line of its docstring is the promise."""

    def make(function: Callable[[Any], None]) -> Rule:
        return Rule(name, (function.__doc__ or "").strip().splitlines()[0], function, needs)

    return make


class Unmet(AssertionError):
    """A promise is broken: one sentence says what is wrong and what the contract wants."""


def expect(condition: bool, message: str) -> None:
    """``assert`` that holds under ``python -O`` too."""
    if not condition:
        raise Unmet(message)
