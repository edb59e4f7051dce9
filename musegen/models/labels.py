"""Classes as a user names them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from musegen.errors import BadInput, did_you_mean

__all__ = ["class_numbers"]


def class_numbers(
    label: int | str | Sequence[int | str] | Tensor, n: int, classes: Sequence[str], n_classes: int
) -> Tensor:
    """Numbers of classes, int64 ``(n,)``.

    Args:
        label: one class for all n, or one for each: by name, or by number from 0 where no class has that name. So 2 and "2" are the
            same: the class named 2 if there is one, else the third. A tensor holds numbers, as labels of data do.
        classes: their names, if they have any.
        n_classes: how many there are.

    Raises:
        BadInput: there is no such class, or there are not n.

    >>> from musegen.models.labels import class_numbers
    >>> class_numbers("5", 2, ["1", "5", "10"], 3), class_numbers([10, 0], 2, ["1", "5", "10"], 3)
    (tensor([1, 1]), tensor([2, 0]))
    """
    if isinstance(label, Tensor) and label.dim():
        numbers = label.long()
        if bool(((numbers < 0) | (numbers >= n_classes)).any()):
            raise BadInput(f"Class numbers outside 0 to {n_classes - 1} are invalid: {label.tolist()}.")
    elif isinstance(label, (str, int, Tensor)) or not hasattr(label, "__len__"):
        numbers = torch.tensor(_number(label, classes, n_classes)).expand(n)
    else:
        numbers = torch.tensor([_number(one, classes, n_classes) for one in label], dtype=torch.int64)
    if numbers.shape != (n,):
        raise BadInput(f"{len(numbers)} classes for {n} samples are invalid: give one for all, or one for each.")
    return numbers


def _number(label: object, classes: Sequence[str], n_classes: int) -> int:
    """The number of one class."""
    name = str(label.item() if isinstance(label, Tensor) else label).strip()
    if name in classes:
        return list(classes).index(name)
    if name.isdecimal() and int(name) < n_classes:
        return int(name)
    numbers = f"a number from 0 to {n_classes - 1}"
    if not classes:
        raise BadInput(f'There is no class "{name}": use {numbers}.')
    if isinstance(label, str) and not name.isdecimal():
        raise BadInput(f'There is no class "{name}".{did_you_mean(name, classes)}')
    raise BadInput(f'There is no class "{name}": use {numbers}, or a name: {", ".join(classes)}.')
