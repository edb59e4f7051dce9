"""Options of a run, a family or a domain: plain dataclass fields that carry their meaning and bounds.

Declaring an option needs nothing but the standard library, so the core imports without pydantic; checking what a
user wrote happens in ``musegen.config``, once, at the border.
"""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["option"]


def option(
    default: Any,
    meaning: str,
    *,
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    unit: str | None = None,
) -> Any:
    """A dataclass field with a meaning, bounds and a unit.

    Args:
        default: the default; a list or a dict is copied for every instance.
        meaning: one sentence for ``--help``.
        gt, ge, lt, le: bounds; pydantic checks them.
        unit: shown behind the meaning.
    """
    bounds = {name: bound for name, bound in (("gt", gt), ("ge", ge), ("lt", lt), ("le", le)) if bound is not None}
    metadata = {"meaning": meaning, "bounds": bounds, "unit": unit}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
