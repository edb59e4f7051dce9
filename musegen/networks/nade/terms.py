"""What a summand of the logits is, and what it is asked about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["SPAN", "Block", "Cells", "Drawing", "Given", "State", "Term"]

SPAN = 12
"""Columns that are computed together."""

State = tuple[Tensor, ...]
"""What something remembers of earlier steps."""


@dataclass(frozen=True)
class Cells:
    """The D cells of a step in their order: column by column, and channel by channel within a column; those of the plan first.

    Args:
        n_channels: C.
        n_columns: W.
        n_plan: channels that come before the others, as a plan of what these will be; the first ones.
    """

    n_channels: int
    n_columns: int
    n_plan: int = 0

    def __len__(self) -> int:
        return self.n_channels * self.n_columns

    @property
    def sizes(self) -> tuple[int, int]:
        """Cells of the plan, and the others."""
        return self.n_plan * self.n_columns, (self.n_channels - self.n_plan) * self.n_columns

    def flat(self, x: Tensor) -> Tensor:
        """``(B, C, R, W)`` → ``(B, R, D)``."""
        return self.ordered(x.permute(0, 2, 3, 1))

    def ordered(self, x: Tensor) -> Tensor:
        """Cells by column and channel in their order: ``(…, W, C)`` → ``(…, D)``."""
        if not self.n_plan:
            return x.flatten(-2)
        return torch.cat([x[..., : self.n_plan].flatten(-2), x[..., self.n_plan :].flatten(-2)], -1)

    def grid(self, flat: Tensor) -> Tensor:
        """``(B, R, D)`` → ``(B, C, R, W)``."""
        if not self.n_plan:
            return flat.unflatten(2, (self.n_columns, self.n_channels)).permute(0, 3, 1, 2)
        parts = [part.unflatten(2, (self.n_columns, -1)) for part in flat.split(self.sizes, 2)]
        return torch.cat(parts, 3).permute(0, 3, 1, 2)

    def place(self, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Channel and column of cells by number, int64; of the number after the last they mean nothing."""
        n_plan, n_other = self.n_plan, self.n_channels - self.n_plan
        rest = cell - self.sizes[0]
        if not n_plan:
            return cell % n_other, cell // n_other
        of_plan = rest < 0
        return (
            torch.where(of_plan, cell % n_plan, n_plan + rest % max(1, n_other)),
            torch.where(of_plan, cell // n_plan, rest.div(max(1, n_other), rounding_mode="floor")),
        )

    def of_channels(self, mask: Tensor) -> Tensor:
        """What is said of channels, of their cells: ``(B, C, R)`` → ``(B, R, D)``."""
        return self.flat(mask[..., None].expand(-1, -1, -1, self.n_columns))

    def blank(self, n: int, n_steps: int, like: Tensor) -> Tensor:
        """Steps in which no cell is on, ``(B, C, R, W)``, of the type that ``like`` has."""
        return like.new_zeros(n, self.n_channels, n_steps, self.n_columns)


class Given(NamedTuple):
    """What is given in some steps and in those after them.

    Attributes:
        cells: the cells that are given and on ``(B, C, T, W)``; 0 elsewhere.
        mask: which channels are given at which steps, bool ``(B, C, T)``.
    """

    cells: Tensor
    mask: Tensor

    @classmethod
    def of(cls, x: Tensor, mask: Tensor) -> Given:
        """Of cells ``(B, C, T, W)`` that may hold more."""
        return cls(x * mask[..., None], mask)

    def since(self, step: int) -> Given:
        return Given(self.cells[:, :, step:], self.mask[:, :, step:])


class Block(NamedTuple):
    """Steps that follow one another; where they are drawn, one, in which only what is given is on.

    Attributes:
        first: number of the first, from 0.
        x: their cells ``(B, C, R, W)``.
        given: what is given in them and in all steps after them; None if the network is never given anything.
        context: what each knows of the steps before it and of what is given ``(B·R, n)``.
    """

    first: int
    x: Tensor
    given: Given | None
    context: Tensor

    @property
    def free(self) -> Tensor:
        """The cells that are not given, ``(B, C, R, W)``; 0 elsewhere."""
        return self.x if self.given is None else self.x * ~self.given.mask[:, :, : self.x.shape[2], None]


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
