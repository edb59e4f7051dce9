"""Weights that are put into a family: all of them, or those that fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from musegen.contracts.family import Family
from musegen.errors import BadInput

__all__ = ["Taken", "load_weights", "take_weights"]

SHOWN = 5
"""Names in a list, at most."""


def load_weights(family: Family, weights: dict[str, Tensor]) -> None:
    """Load weights into a family.

    Raises:
        BadInput: they do not fit, or some are NaN or infinite.
    """
    # What is NaN in a new family says so that it holds nothing yet.
    own = {name: tensor for name, tensor in family.state_dict().items() if tensor.isfinite().all()}
    bad = [name for name in own if name in weights and not weights[name].isfinite().all()]
    if bad:
        raise BadInput(
            f"Weights of the family {family.name} are NaN or infinite ({', '.join(bad[:SHOWN])}): take an earlier checkpoint, or "
            "train again."
        )
    try:
        family.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise BadInput(f"The weights do not fit the family {family.name} as configured: {detail}") from None


@dataclass(frozen=True)
class Taken:
    """What a family took of another model's weights.

    Attributes:
        n: how many tensors.
        other_shape: names of those that both have, in different shapes.
        missing: names of those that the other model does not have.
    """

    n: int
    other_shape: Sequence[str]
    missing: Sequence[str]

    @property
    def of(self) -> int:
        """How many the family has."""
        return self.n + len(self.other_shape) + len(self.missing)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"taken": self.n, "of": self.of, "other_shape": [*self.other_shape], "missing": [*self.missing]}

    def __str__(self) -> str:
        parts = [f"{self.n} of {self.of} weights taken"]
        for why, names in (("not taken for their shape", self.other_shape), ("not in that model", self.missing)):
            if names:
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                parts.append(f"{why}: {', '.join(names[:SHOWN])}{more}")
        return "; ".join(parts)


@torch.no_grad()
def take_weights(family: Family, weights: Mapping[str, Tensor], leave: Collection[str] = ()) -> Taken:
    """Copy those weights into a family whose names and shapes are those of its own; the others stay as they are.

    Args:
        leave: names of the family's tensors that are not to be replaced.
    """
    own = {name: tensor for name, tensor in family.state_dict().items() if name not in leave}
    fits = [name for name in own if name in weights and weights[name].shape == own[name].shape]
    for name in fits:
        own[name].copy_(weights[name])
    other = [name for name in own if name in weights and name not in fits]
    return Taken(len(fits), other, [name for name in own if name not in weights])
