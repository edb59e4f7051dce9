"""The data that a model is compared with."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from musegen.contracts.domain import Data, Domain
from musegen.data.held import held
from musegen.errors import BadInput
from musegen.files import user_path
from musegen.running.own import IN_MEMORY
from musegen.running.runs import Run

__all__ = ["reference_data"]

BUNDLED = Path("bundled")


def reference_data(domain: Domain, run: Run | None, source: Any) -> Data | None:
    """The data at ``source``, or else those of the run; None if there is neither.

    Args:
        source: a file or folder, or ``bundled``: the data that ship with musegen; or data in memory, as for ``musegen.train``.

    Raises:
        BadInput: the data are gone, or are not like those that the model was trained on.
    """
    if source is None:
        return None if run is None else _of_run(run)
    if not isinstance(source, (str, Path)):
        other, data = type(domain).hold(domain.config, held(source))
        if other.spec != domain.spec:
            raise BadInput(
                "The data handed over have other classes or sizes than this model's data: give data like those."
            )
        return data
    source = user_path(source)
    where = None if source == BUNDLED and not source.exists() else source
    with tempfile.TemporaryDirectory() as cache:  # what is mapped from there stays readable
        other, data = type(domain).open(domain.config, where, Path(cache))
    theirs, ours = other.part_names, domain.part_names
    if theirs != ours and sorted(theirs) == sorted(ours):
        raise BadInput(
            f"{source} has {', '.join(theirs)}, and the model has {', '.join(ours)}: build it again in the model's order."
        )
    if other.spec != domain.spec or theirs != ours:
        raise BadInput(f"{source} has other tracks, classes or sizes than this model's data: give data like those.")
    return data


def _of_run(run: Run) -> Data:
    """The data that a run was trained on."""
    resolved = run.config()
    try:
        return resolved.open(run.path / "data")[1]
    except BadInput as error:
        if resolved.data in (None, IN_MEMORY) or Path(str(resolved.data)).exists():
            raise
        raise BadInput(
            f"The data of {run.path} are not in {resolved.data} any more: say where they are with source=PATH."
        ) from error
