"""Classes as a user names them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from musegen.errors import BadInput, did_you_mean

__all__ = ["class_numbers"]


def class_numbers(label: int | str | Sequence[int], n: int, classes: Sequence[str], n_classes: int) -> Tensor:
    """Numbers of classes, int64 ``(n,)``.

    Args:
        label: one class for all n, by name or number, or a number for each.
        classes: their names, if they have any.
        n_classes: how many there are.

    Raises:
        BadInput: there is no such class.
    """
    if isinstance(label, str):
        if label in classes:
            label = list(classes).index(label)
        elif label.isdecimal():
            label = int(label)
        else:
            raise BadInput(f'There is no class "{label}".{did_you_mean(label, classes)}')
    labels = torch.tensor(label).expand(n) if isinstance(label, int) else torch.as_tensor(label)
    if len(labels) != n or not bool(((labels >= 0) & (labels < n_classes)).all()):
        raise BadInput(f"label={label} is invalid: use class numbers from 0 to {n_classes - 1}.")
    return labels
