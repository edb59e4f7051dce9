"""What a summand of the logits is, and what it is asked about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["SPAN", "Block", "Cells", "Drawing", "State", "Term"]

SPAN = 12
"""Columns that are computed together."""

State = tuple[Tensor, ...]
"""What something remembers of earlier steps."""


class Cells(nn.Module):
    """The D cells of a step in their order, and which of them are given.

    Args:
        n_channels: C.
        n_columns: W.
        given: channels that are given.
    """

    given: Tensor
    """bool ``(D,)``."""

    def __init__(self, n_channels: int, n_columns: int, given: Sequence[int] = ()) -> None:
        super().__init__()
        self.n_channels, self.n_columns, self.n_given = n_channels, n_columns, len(given) * n_columns
        self.channels_given = [channel in given for channel in range(n_channels)]
        self.register_buffer("given", torch.tensor(self.channels_given).repeat(n_columns), persistent=False)

    def __len__(self) -> int:
        return self.n_channels * self.n_columns

    @property
    def given_channels(self) -> Tensor:
        """bool ``(C,)``."""
        return self.given[: self.n_channels]

    def flat(self, x: Tensor) -> Tensor:
        """``(B, C, R, W)`` → ``(B, R, D)``."""
        return x.permute(0, 2, 3, 1).flatten(2)

    def grid(self, flat: Tensor) -> Tensor:
        """``(B, R, D)`` → ``(B, C, R, W)``."""
        return flat.unflatten(2, (self.n_columns, self.n_channels)).permute(0, 3, 1, 2)

    def blank(self, n: int, n_steps: int, like: Tensor) -> Tensor:
        """Steps in which no cell is on, ``(B, C, R, W)``, of the type that ``like`` has."""
        return like.new_zeros(n, self.n_channels, n_steps, self.n_columns)


class Block(NamedTuple):
    """Steps that follow one another; where they are drawn, one, in which only what is given is on.

    Attributes:
        first: number of the first, from 0.
        x: their cells ``(B, C, R, W)``.
        given: what is given in them and in all steps after them, ``(B, C, R or more, W)``; other channels mean nothing.
        context: what each knows of the steps before it and of what is given ``(B·R, n)``.
    """

    first: int
    x: Tensor
    given: Tensor
    context: Tensor


class Drawing(ABC):
    """A term while steps are drawn: it keeps what it knows of the present one, and follows as cells come on."""

    @abstractmethod
    def begin(self, step: Block, state: State) -> None:
        """A step begins, in which only what is given is on."""

    @abstractmethod
    def logits(self) -> Tensor:
        """The term at every cell, ``(B, D)``, right for those after the last that came on."""

    @abstractmethod
    def learn(self, cell: Tensor) -> None:
        """A cell of each sample came on, ``(B,)``, the next in its order; number D stands for none."""

    @abstractmethod
    def end(self, row: Tensor) -> State:
        """The step is ``(B, C, 1, W)``: the state behind it."""


class Term(ABC):
    """A summand of the logits.

    It is no module: its layers are attributes that the network takes over, each under the name that it has here, so that names
    in a model file know no terms. A tensor must therefore stand in a layer, which moves with the network.
    """

    @abstractmethod
    def start(self, n: int) -> State:
        """Before the first step of n samples."""

    @abstractmethod
    def block(self, block: Block, state: State) -> tuple[Tensor, State]:
        """The term at every cell ``(B·R, D)``, given the cells before it, and the state behind the block."""

    @abstractmethod
    def drawing(self) -> Drawing:
        """For drawing with the weights as they are now."""
