"""Files that are unlike the data that a model was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from musegen.models.model import Model

__all__ = ["outlier_threshold", "typicality"]


def typicality(model: Model, x: Tensor, n_samples: int = 1) -> Tensor:
    """What outliers are low in, ``(n,)``: log p(x), nats, where the family has one, else the probability of the best class."""
    if model.family.capabilities.log_prob:
        return model.log_prob(x, n_samples)
    return model.classify(x).max(1).values.exp()


def outlier_threshold(model: Model, n_samples: int = 1, n: int = 500, source: Path | None = None) -> float | None:
    """The typicality that only 1 % of validation examples (of the run, or of the data at ``source``) fall below.

    n of them are asked, evenly spread over the split.

    None for a model file without a ``source``.

    Raises:
        BadInput: the data are gone or unsuitable.
    """
    batch = model.examples(n, source=source)
    return None if batch is None else float(typicality(model, batch.x, n_samples).quantile(0.01))
