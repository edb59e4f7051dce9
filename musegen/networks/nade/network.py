"""The network: a recurrent one over the steps, and the terms of a step's logits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.contracts.asked import Faults
from musegen.networks.nade.absolute import Absolute
from musegen.networks.nade.choice import draw_step, step_noise
from musegen.networks.nade.recurrent import Backwards, Recurrent, initial_state, recurrent_network, through
from musegen.networks.nade.relative import Relative
from musegen.networks.nade.terms import Block, Cells, Given, State, Term
from musegen.probability.any_number import own_streams
from musegen.reporting import each, several

__all__ = ["Memory", "RecurrentNADE"]

TRIES = 24
"""How often a step is drawn at most where rules are to be kept."""


class Memory(NamedTuple):
    """What the next step depends on.

    Attributes:
        step: number of the next step, from 0.
        row: the step before it, ``(B, C, 1, W)``; zeros before the first.
        state: of the recurrent network, which has seen all steps but that one.
        terms: what each term remembers.
    """

    step: int
    row: Tensor
    state: State
    terms: tuple[State, ...]


class RecurrentNADE(nn.Module):
    """x ``(B, C, T, W)`` → logits ``(B, C, T, W)`` of each cell given the earlier ones.

    Args:
        shape: (C, T, W); T does not matter, any number of steps will do.
        recurrent: kind of the network over time.
        units: of each of its layers.
        layers: of it.
        hidden: H, units of the NADE.
        depth: further hidden layers of either term, residual.
        features: F, feature maps of the relative term; 0 leaves it out.
        reach: steps before t that the convolution sees.
        interval: columns that it sees to either side.
        dropout: share of inputs and of outputs of the recurrent network that are dropped in training.
        n_condition: length of a condition vector.
        period: length of a cycle (a bar) in steps, in which the network is told the position; 0: none.
        lags: further steps back that the convolution sees. (As inputs of the recurrent network they were learnt by heart.)
        octave: columns after which columns of one class return, as notes of one name do: the relative term also knows how
            often each class has sounded. Divides ``SPAN``; 0: it does not.
        given: whether cells may be given, of any channels at any steps.
        n_plan: channels, the first ones, of which a step's cells come before all others of the step.

    >>> import torch
    >>> from musegen.networks.nade import RecurrentNADE
    >>> network = RecurrentNADE((2, 4, 6), units=8, hidden=4, features=2, interval=3)
    >>> network(torch.zeros(3, 2, 4, 6)).shape, network.draw(5, network.start(3)).shape
    (torch.Size([3, 2, 4, 6]), torch.Size([3, 2, 5, 6]))
    """

    def __init__(
        self,
        shape: Sequence[int],
        recurrent: Recurrent = "lstm",
        units: int = 256,
        layers: int = 1,
        hidden: int = 128,
        depth: int = 0,
        features: int = 32,
        reach: int = 2,
        interval: int = 24,
        dropout: float = 0.0,
        n_condition: int = 0,
        period: int = 0,
        lags: Sequence[int] = (),
        octave: int = 0,
        given: bool = False,
        n_plan: int = 0,
    ) -> None:
        super().__init__()
        self.period = period
        self.cells = cells = Cells(shape[0], shape[2], n_plan)
        beside = n_condition + period + (units + shape[0] if given else 0)
        self.recurrent = recurrent_network(recurrent, len(cells) + beside, units, layers, dropout)
        self.drop_input, self.drop_output = nn.Dropout(dropout), nn.Dropout(dropout)
        n = units + beside
        self.absolute = Absolute(cells, n, hidden, depth, dropout, given)
        self.given: Backwards | None = None
        if given:
            n_inputs = len(cells) + shape[0] + n_condition + period
            backwards = recurrent_network(recurrent, n_inputs, units, layers, dropout)
            self.given = Backwards(cells, backwards, self.drop_input, self.drop_output)
        relative: list[Term] = []
        if features:
            relative = [Relative(cells, n, features, depth, reach, lags, interval, octave, period or 16, given)]
        self.terms: list[Term] = [*relative, self.absolute]
        parts = [self.absolute, *([self.given] if self.given else []), *relative]
        for part in parts:  # in the order in which their layers were made
            for name, layer in vars(part).items():
                if isinstance(layer, nn.Module):
                    self.add_module(name, layer)

    def start(self, n: int) -> Memory:
        """Before the first step of n samples."""
        row = self.cells.blank(n, 1, self.absolute.out.weight)
        return Memory(0, row, initial_state(self.recurrent, n, row), tuple(term.start(n) for term in self.terms))

    def forward(self, x: Tensor, condition: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Logits of the cells that are not given; others' mean nothing.

        Args:
            x: ``(B, C, T, W)``.
            condition: ``(B, n_condition)``, or of each step from number 0 on ``(B, T, n_condition)``.
            mask: which channels are given at which steps, bool ``(B, C, T)``; None: nothing is.
        """
        given = None if mask is None else Given.of(x, mask)
        return self.steps(x, self.start(len(x)), condition, given)[0]

    def steps(
        self, x: Tensor, memory: Memory, condition: Tensor | None = None, given: Given | None = None
    ) -> tuple[Tensor, Memory]:
        """A block of steps ``(B, C, R, W)`` behind those that ``memory`` knows → their logits, and the next memory.

        Args:
            given: what is given in these steps and all after them; None: nothing is.
        """
        n_steps, given = x.shape[2], self._given(given, len(x), x.shape[2])
        ahead = [part[:, :n_steps] for part in self._ahead(given, memory.step, condition)]
        context, state = self._context(x, memory, condition, ahead)
        block = Block(memory.step, x, given, context.flatten(0, 1))
        parts = [term.block(block, before) for term, before in zip(self.terms, memory.terms, strict=True)]
        logits = reduce(torch.add, [logits for logits, _ in parts]).view(len(x), n_steps, -1)
        after = Memory(memory.step + n_steps, x[:, :, -1:], state, tuple(after for _, after in parts))
        return self.cells.grid(logits), after

    @torch.no_grad()
    def draw(
        self,
        n_steps: int,
        memory: Memory,
        temperature: float = 1.0,
        condition: Tensor | None = None,
        given: Given | None = None,
        top_p: float = 1.0,
        leading: int = 1,
        allowed: Tensor | None = None,
        faults: Faults | None = None,
    ) -> Tensor:
        """``n_steps`` more steps ``(B, C, n_steps, W)``: exact draws given what ``memory`` knows.

        Args:
            given: what is given in these steps; None: nothing is.
            top_p: below 1, only the most probable choices of the next cell on, which together have this probability, are drawn
                from (nucleus sampling, Holtzman et al. 2020, 1904.09751).
            leading: samples that share the default generator; see ``step_noise``.
            allowed: cells that may come on, bool ``(C, n_steps, W)``; given ones may be others. None: all may.
            faults: a step that breaks rules is drawn again, up to ``TRIES`` times in all; the one that breaks fewest stays.
        """
        n = len(memory.row)
        given = self._given(given, n, n_steps)
        ahead = self._ahead(given, memory.step, condition)
        terms, rows = [term.drawing() for term in self.terms], [memory.row[:, :, :0]]
        row, free = self.cells.blank(n, 1, memory.row), memory.row.new_ones(n, len(self.cells), dtype=torch.bool)
        with own_streams():
            for i in each(range(n_steps), f"Drawing {several(n, 'sample')}", "steps"):
                now = None if given is None else given.since(i)
                if now is not None:
                    row, free = now.cells[:, :, :1], ~self.cells.of_channels(now.mask[:, :, :1])[:, 0]
                may = free if allowed is None else free & self.cells.flat(allowed[None, :, i : i + 1])[:, 0]
                context, state = self._context(row, memory, condition, [part[:, i : i + 1] for part in ahead])
                step = Block(memory.step, row, now, context[:, 0])
                drawn, fewest = row, None
                for _ in range(1 if faults is None else TRIES):
                    for term, before in zip(terms, memory.terms, strict=True):
                        term.begin(step, before)
                    noise = step_noise(n, len(self.cells), row.device, leading)
                    tried = draw_step(terms, self.cells, row, may, noise, temperature, top_p)
                    if faults is None:
                        drawn = tried
                        break
                    found = faults(memory.step, memory.row, tried)
                    better = torch.ones_like(found, dtype=torch.bool) if fewest is None else found < fewest
                    drawn = tried.where(better[:, None, None, None], drawn)
                    fewest = found if fewest is None else torch.minimum(found, fewest)
                    if not fewest.any():
                        break
                memory = Memory(memory.step + 1, drawn, state, tuple(term.end(drawn) for term in terms))
                rows.append(drawn)
        return torch.cat(rows, 2)

    def _context(
        self, x: Tensor, memory: Memory, condition: Tensor | None, ahead: Sequence[Tensor]
    ) -> tuple[Tensor, State]:
        """What each step knows of the steps before it and of what is given, ``(B, R, n)``; it does not look at the last of x.
        And the recurrent network's state behind them."""
        beside = [*self._beside(len(x), memory.step, x.shape[2], condition), *ahead]
        before = torch.cat([memory.row, x[:, :, :-1]], 2)  # the step before each
        inputs = self.drop_input(self.cells.flat(before))
        h, state = through(self.recurrent, torch.cat([inputs, *beside], 2), memory.state)
        return torch.cat([self.drop_output(h), *beside], 2), state

    def _given(self, given: Given | None, n: int, n_steps: int) -> Given | None:
        """What is given, or that nothing is; None if the network is never given anything."""
        if self.given is None or given is not None:
            return given
        blank = self.cells.blank(n, n_steps, self.absolute.out.weight)
        return Given(blank, blank[..., 0] > 0)

    def _ahead(self, given: Given | None, first: int, condition: Tensor | None) -> list[Tensor]:
        """What is given from each step to the last, and which channels are at it, each ``(B, T, …)``."""
        if self.given is None or given is None:
            return []
        return self.given.ahead(given, self._beside(len(given.mask), first, given.mask.shape[2], condition))

    def _beside(self, n: int, first: int, n_steps: int, condition: Tensor | None) -> list[Tensor]:
        """Position in the cycle and condition, at steps from the first on: each ``(B, R, …)``."""
        beside, like = [], self.absolute.out.weight
        if self.period:
            step = torch.arange(first, first + n_steps, device=like.device)
            beside.append(F.one_hot(step % self.period, self.period).to(like.dtype).expand(n, -1, -1))
        if condition is not None:
            of_steps = condition[:, None].expand(-1, first + n_steps, -1) if condition.dim() == 2 else condition
            beside.append(of_steps[:, first : first + n_steps])
        return beside
