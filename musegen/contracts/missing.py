"""Bars that have fewer rows than others: each has the room of the longest, and rows that it lacks are marked.

So bars of several lengths stand in one grid, and everything that counts rows by bars goes on doing so. A row that is missing has
all of its cells on, in samples, in what is given, and in what is drawn. It is always given, and nothing is drawn in it.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["MARK", "missing_rows"]

MARK = 1.0
"""What the cells of a row are that is missing."""
MOST = 0.5
"""Share of its cells that a real row never has on. A marked row has less than all of them on where it was moved out of the grid by
augmentation."""


def missing_rows(x: Tensor) -> Tensor:
    """The rows that bars lack, of samples ``(…, C, T, W)``: bool ``(…, T)``.

    >>> import torch
    >>> from musegen.contracts.missing import missing_rows
    >>> missing_rows(torch.tensor([[[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]]]))  # one channel, two rows, three columns
    tensor([False,  True])
    """
    return x.float().mean((-3, -1)) > MOST
