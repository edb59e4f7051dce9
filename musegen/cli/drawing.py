"""What commands that draw samples share."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from musegen.cli.options import at_least
from musegen.errors import BadInput

__all__ = ["Best", "Seed", "names_of"]

Best = Annotated[
    int | None,
    Parameter(help="Of all that are drawn, write only so many: those that the model itself finds most probable."),
]
Seed = Annotated[int, Parameter(help="Random seed: the same seed gives the same files; more of them for a larger -n.")]


def names_of(stem: str, n: int, best: int | None) -> list[str]:
    """Names of n files, or of the best of them."""
    at_least(1, n=n)
    if best is not None:
        at_least(1, best=best)
        if best > n:
            raise BadInput(f"--best {best} is invalid: only {n} are drawn (-n).")
    return [f"{stem}_{i:03d}" for i in range(n if best is None else best)]
