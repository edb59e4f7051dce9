"""How strong the cells of a binary grid are that are on: a law of strengths, given all cells.

    p(s | x) = Π_t Π_i p(s_{t,i} | x, s_{t,<i}, s_{<t}),    s_{t,i} ∈ {0 … K − 1}

A grid ``(C, T, W)`` has some channels whose cells have strengths, one for each part, as the notes that begin in each track of a
piece are loud. Rows are steps; cells of a step come part by part, and within a part column by column. A cell's logits are

    V φ(φ(c + A x_near + B h_t + D m_{t,i}))

* x_near, all cells around it: ``reach`` steps and ``interval`` columns to either side, of all channels. These are looked at for
  cells that are on alone, which are few.
* h_t, states of two recurrent networks: one over the steps before t, which knows their strengths, and one from the last step
  back to t, over those that are given. Both know where cells are on, up to t and from t on, and the position in a cycle.
* m_{t,i}, the mean strength of the cells of step t that come before this one, in its part and in all; given ones come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.networks.nade.choice import step_noise
from musegen.probability.any_number import own_streams
from musegen.probability.by_device import with_float64

__all__ = ["StrengthNetwork"]

AT_ONCE = 1 << 13
"""Cells whose neighbours are looked at at a time."""
MANY = 4
"""Cells of a part and step, from which on their number does not matter."""


class Cells(NamedTuple):
    """Cells that are on and whose strengths are not given, in their order.

    Attributes:
        sample, step, part, column: of each, int64 ``(N,)``.
    """

    sample: Tensor
    step: Tensor
    part: Tensor
    column: Tensor


class StrengthNetwork(nn.Module):
    """x ``(B, C, T, W)`` and strengths of its cells ``(B, P, T, W)`` → log p of those that are not given.

    Args:
        n_channels: C.
        channels: of the P parts, those whose cells have strengths.
        n_columns: W.
        n_strengths: K.
        period: length of a cycle (a bar) in steps, in which the networks are told the position; 0: none.
        units: of each recurrent network.
        hidden: units of the layers over a cell.
        reach, interval: steps and columns that are seen to either side of a cell.
        dropout: share of the recurrent networks' outputs that are dropped in training.

    >>> import torch
    >>> from musegen.networks.strengths import StrengthNetwork
    >>> network = StrengthNetwork(2, [1], 6, 4)
    >>> x = torch.ones(3, 2, 5, 6)
    >>> known = torch.zeros(3, 1, 5, dtype=torch.bool)
    >>> drawn = network.draw(x, torch.zeros(3, 1, 5, 6).long(), known)
    >>> drawn.shape, network(x, drawn, known).shape
    (torch.Size([3, 1, 5, 6]), torch.Size([3]))
    """

    def __init__(
        self,
        n_channels: int,
        channels: Sequence[int],
        n_columns: int,
        n_strengths: int,
        period: int = 0,
        units: int = 64,
        hidden: int = 64,
        reach: int = 3,
        interval: int = 12,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels, self.n_strengths, self.period = list(channels), n_strengths, period
        self.reach, self.interval = reach, interval
        n_parts = len(self.channels)
        ahead = 4 * n_parts + period  # of a step: what is given (mean, any), whether it is, and how many cells are on
        self.forwards = nn.GRU(2 * n_parts + ahead, units, batch_first=True)
        self.backwards = nn.GRU(ahead, units, batch_first=True)
        self.drop = nn.Dropout(dropout)
        self.near = nn.Linear(n_channels * (2 * reach + 1) * (2 * interval + 1), hidden)
        self.of_step = nn.Linear(2 * units + period, hidden, bias=False)
        self.of_part = nn.Embedding(n_parts, hidden)
        self.of_column = nn.Embedding(n_columns, hidden)
        self.of_means = nn.Linear(4, hidden, bias=False)
        self.deeper = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, n_strengths)
        for few in (self.of_part, self.of_column, self.head):  # every strength is as likely at first
            nn.init.zeros_(few.weight)

    def forward(self, x: Tensor, strengths: Tensor, known: Tensor) -> Tensor:
        """log p(s | x) of the cells that are on and not given, nats ``(B,)``.

        Args:
            x: ``(B, C, T, W)``.
            strengths: 0 to K − 1, int64 ``(B, P, T, W)``; they mean nothing where no cell is on.
            known: which parts' strengths are given at which steps, bool ``(B, P, T)``.
        """
        on, n_steps = self._on(x), x.shape[2]
        cells, value = self._free(on, known), self._value(strengths)
        ahead, back = self._ahead(on, value, known)
        of_steps = F.pad(_summary(value, on), (0, 0, 1, 0))[:, :n_steps]  # of the step before each
        h, _ = self.forwards(torch.cat([of_steps, ahead], 2))
        context = self._context(h, back, ahead)[cells.sample, cells.step]
        means = self._means_before(cells, on, value, known)
        logits = self._logits(self._near(x, cells) + context, means, cells.part, cells.column)
        s = strengths[cells.sample, cells.part, cells.step, cells.column]
        log_p = -F.cross_entropy(logits.float(), s, reduction="none")
        return log_p.new_zeros(len(x)).index_add(0, cells.sample, log_p)

    @torch.no_grad()
    def draw(self, x: Tensor, strengths: Tensor, known: Tensor, temperature: float = 1.0, leading: int = 1) -> Tensor:
        """Strengths ``(B, P, T, W)`` of all cells that are on, 0 elsewhere: given ones as they are, others drawn.

        Args:
            x, strengths, known: as of ``forward``; what is not given does not matter.
            leading: samples that share the default generator; see ``step_noise``.
        """
        on, n_steps = self._on(x), x.shape[2]
        found = torch.where(known[..., None] & on, strengths, 0)
        cells, value = self._free(on, known), self._value(found)
        if not len(cells.sample):
            return found
        ahead, back = self._ahead(on, value, known)
        near = self._near(x, cells)
        # Cells of sample b and step t are neighbours: they begin at begins[b, t].
        count = torch.bincount(cells.sample * n_steps + cells.step, minlength=len(x) * n_steps)
        begins = (count.cumsum(0) - count).view(len(x), n_steps)
        count = count.view(len(x), n_steps)
        first, last = int(cells.step.min()), int(cells.step.max()) + 1
        given = known[..., None] & on
        h = None
        if first:
            before = F.pad(_summary(value, given), (0, 0, 1, 0))[:, :first]
            _, h = self.forwards(torch.cat([before, ahead[:, :first]], 2))
        with own_streams():
            for t in range(first, last):
                row = slice(t - 1, t) if t else slice(0, 0)
                before = (
                    _summary(self._value(found[:, :, row]), on[:, :, row])
                    if t
                    else ahead.new_zeros(len(x), 1, 2 * len(self.channels))
                )
                out, h = self.forwards(torch.cat([before, ahead[:, t : t + 1]], 2), h)
                context = self._context(out, back[:, t : t + 1], ahead[:, t : t + 1])[:, 0]
                noise = step_noise(len(x), on.shape[1] * on.shape[3], x.device, leading)
                self._draw_step(found, cells, given, context, near, begins[:, t], count[:, t], noise, t, temperature)
        return found

    def _draw_step(
        self,
        found: Tensor,
        cells: Cells,
        given: Tensor,
        context: Tensor,
        near: Tensor,
        begins: Tensor,
        count: Tensor,
        noise: Tensor,
        t: int,
        temperature: float,
    ) -> None:
        """Draw the strengths of a step into ``found``, one cell of each sample at a time."""
        total, number = _sums(self._value(found[:, :, t]), given[:, :, t])  # (B, P) each
        for i in range(int(count.max())):
            b = (count > i).nonzero()[:, 0]
            cell = begins[b] + i
            part, column = cells.part[cell], cells.column[cell]
            means = _means(total[b, part], number[b, part], total[b].sum(1), number[b].sum(1))
            logits = self._logits(near[cell] + context[b], means, part, column).float()
            if temperature == 0:
                s = logits.argmax(1)
            else:
                below = (logits / temperature).softmax(1).cumsum(1)[:, :-1]
                s = (noise[b, part * given.shape[3] + column, None] >= below).sum(1)
            found[b, part, t, column] = s
            total[b, part] += self._value(s)
            number[b, part] += 1

    def _on(self, x: Tensor) -> Tensor:
        """Cells that have a strength, bool ``(B, P, T, W)``."""
        return x[:, self.channels] > 0.5

    def _free(self, on: Tensor, known: Tensor) -> Cells:
        found = (
            (on & ~known[..., None]).permute(0, 2, 1, 3).nonzero().T
        )  # (B, T, P, W): in the order in which they are drawn
        return Cells(*found)

    def _value(self, strengths: Tensor) -> Tensor:
        """Strengths as numbers from −1 to 1."""
        return strengths.to(self.head.weight.dtype) * (2 / max(1, self.n_strengths - 1)) - 1

    def _ahead(self, on: Tensor, value: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """What each step knows of what is given and of where cells are on, ``(B, T, …)``, and the state of the network that has
        seen it from the last step back ``(B, T, units)``."""
        n, _, n_steps, _ = on.shape
        given = _summary(value, on & known[..., None])
        number = on.sum(3).clamp(max=MANY).transpose(1, 2).to(value.dtype) / MANY
        parts = [given, known.transpose(1, 2).to(value.dtype), number]
        if self.period:
            step = torch.arange(n_steps, device=on.device) % self.period
            parts.append(F.one_hot(step, self.period).to(value.dtype).expand(n, -1, -1))
        ahead = torch.cat(parts, 2)
        return ahead, self.backwards(ahead.flip(1))[0].flip(1)

    def _context(self, h: Tensor, back: Tensor, ahead: Tensor) -> Tensor:
        """Both states and the position, ``(B, R, …)`` → ``(B, R, hidden)``."""
        position = ahead[..., ahead.shape[2] - self.period :]
        return self.of_step(torch.cat([self.drop(h), self.drop(back), position], 2))

    def _near(self, x: Tensor, cells: Cells) -> Tensor:
        """What stands around cells, ``(N, hidden)``."""
        padded = F.pad(x.to(self.near.weight.dtype), (self.interval, self.interval, self.reach, self.reach))
        windows = padded.unfold(2, 2 * self.reach + 1, 1).unfold(3, 2 * self.interval + 1, 1)  # (B, C, T, W, …), a view
        parts = [
            self.near(windows[b, :, t, w].flatten(1))
            for b, t, w in zip(*(part.split(AT_ONCE) for part in (cells.sample, cells.step, cells.column)), strict=True)
        ]
        return torch.cat(parts)

    def _logits(self, hidden: Tensor, means: Tensor, part: Tensor, column: Tensor) -> Tensor:
        """Logits of strengths ``(N, K)``."""
        hidden = F.relu(hidden + self.of_part(part) + self.of_column(column) + self.of_means(means))
        return self.head(F.relu(hidden + self.deeper(hidden)))

    def _means_before(self, cells: Cells, on: Tensor, value: Tensor, known: Tensor) -> Tensor:
        """Of each cell the mean value of the cells before it in its step, ``(N, 4)``; see ``_means``."""
        n_parts, n_steps = on.shape[1:3]
        given_total, given_number = _sums(value, on & known[..., None])  # (B, P, T)
        of_step = cells.sample * n_steps + cells.step
        of_part = of_step * n_parts + cells.part
        own = value[cells.sample, cells.part, cells.step, cells.column]
        both = []
        for of_cell, given in ((own, given_total), (torch.ones_like(own), given_number)):
            cells_, parts, steps = with_float64(of_cell, _begins(of_part), _begins(of_step))
            earlier = cells_.double().cumsum(0) - cells_  # of all cells before each
            in_part, in_step = earlier - earlier[parts], earlier - earlier[steps]
            both += [in_part.to(own), in_step.to(own) + given.sum(1)[cells.sample, cells.step]]
        return _means(both[0], both[2], both[1], both[3])


def _begins(group: Tensor) -> Tensor:
    """Of each of some neighbours in groups the place where its group begins, int64 ``(N,)``."""
    place = torch.arange(len(group), device=group.device)
    new = torch.ones_like(group, dtype=torch.bool)
    new[1:] = group[1:] != group[:-1]
    return torch.where(new, place, 0).cummax(0).values if len(group) else place


def _means(total: Tensor, number: Tensor, all_total: Tensor, all_number: Tensor) -> Tensor:
    """Mean value and whether there is any, of a part and of all, ``(N, 4)``."""
    columns = [total / number.clamp(min=1), number > 0, all_total / all_number.clamp(min=1), all_number > 0]
    return torch.stack([column.to(total.dtype) for column in columns], 1)


def _sums(value: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of some cells' values and their number, ``(…, W)`` → ``(…)`` each."""
    return (value * of).sum(-1), of.sum(-1).to(value.dtype)


def _summary(value: Tensor, of: Tensor) -> Tensor:
    """Mean value of some cells of each part and step, and whether there is any: ``(B, P, T, W)`` → ``(B, T, 2 P)``."""
    total, number = _sums(value, of)
    return torch.cat([total / number.clamp(min=1), (number > 0).to(value.dtype)], 1).transpose(1, 2)
