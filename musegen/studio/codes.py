"""Codes of a model that a user moves by hand: sliders for them, and codes that come from a client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from musegen.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from musegen.models.model import Model

__all__ = ["codes_of", "sliders"]

MOST_CODES = 64


def sliders(model: Model) -> dict[str, Any] | None:
    """A code to begin with, and the coordinates that ``Family.traversal`` moves, with their bounds; None: the model has no codes.

    >>> import musegen
    >>> from musegen.studio.codes import sliders
    >>> sliders(musegen.load("chorale")) is None
    True
    """
    walks = _walks(model)
    if walks is None:
        return None
    codes = walks.flatten(0, 1)
    low, high = codes.amin(0), codes.amax(0)
    moved = [
        {"coordinate": i, "low": float(low[i]), "high": float(high[i])} for i in (high > low).nonzero()[:, 0].tolist()
    ]
    return {"start": walks[0, walks.shape[1] // 2].tolist(), "sliders": moved}


def _walks(model: Model) -> Tensor | None:
    """Codes ``(rows, steps, n)``."""
    if not model.family.capabilities.decode:
        return None
    try:
        with model.drawing(0):
            return model.family.traversal(3).cpu()
    except TypeError:  # codes that are no vectors
        return None


def codes_of(model: Model, codes: Sequence[Sequence[float]]) -> Tensor:
    """Codes ``(n, size)`` of a request.

    Raises:
        BadInput: the model has none of that size, or there are too many.
    """
    import torch

    found = sliders(model)
    if found is None:
        raise BadInput("This model has no codes: use one that has, such as a vae.")
    size = len(found["start"])
    if not 1 <= len(codes) <= MOST_CODES:
        raise BadInput(f"codes has {len(codes)} codes: give 1 to {MOST_CODES}.")
    for code in codes:
        if len(code) != size or not all(abs(value) <= 1000 for value in code):
            raise BadInput(f"codes is invalid: a code of this model is {size} numbers from -1000 to 1000.")
    return torch.tensor(codes, dtype=torch.float32)
