"""What a domain understood of a file or folder, before anybody trains on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Survey", "counted"]

DOUBLE = "same as "


@dataclass(frozen=True)
class Survey:
    """What was understood, and what was left out.

    Args:
        facts: by name, with underscores: numbers and short texts.
        tables: rows by title.
        left_out: files, and why.
        remarks: what a user should know of how the data were taken, a sentence each.
        config: the domain's options as the data have them; None where nothing was opened that says so.

    >>> from musegen.contracts.survey import Survey
    >>> found = Survey({"curves": 40}, left_out=[("a.csv", "no numbers"), ("b.csv", "same as c.csv"), ("d.csv", "no numbers")])
    >>> found.reasons
    {'no numbers': 2, 'same as another file': 1}
    """

    facts: Mapping[str, Any]
    tables: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    left_out: Sequence[tuple[str, str]] = ()
    remarks: Sequence[str] = ()
    config: Any = None

    @property
    def reasons(self) -> dict[str, int]:
        """Files left out by reason, the most frequent first; doubles of other files count together."""
        kinds = ("same as another file" if reason.startswith(DOUBLE) else reason for _, reason in self.left_out)
        return dict(Counter(kinds).most_common())


def counted(left_out: Sequence[tuple[str, str]]) -> str:
    """Files left out, counted by reason, in one line; empty if there are none.

    >>> from musegen.contracts.survey import counted
    >>> counted([("a.png", "damaged"), ("b.txt", ".txt"), ("c.txt", ".txt")])
    '2 .txt, 1 damaged'
    """
    return ", ".join(f"{n} {reason}" for reason, n in Survey({}, left_out=left_out).reasons.items())
