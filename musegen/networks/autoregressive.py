"""Autoregressive networks on a grid: p(x) = Π_i p(x_i | x_<i) with every factor from one pass.

A sample is a grid ``(C, H, W)``. Its cells are ordered row by row, within a row column by column, and within a position
channel by channel ("red, then green, then blue"): cell (c, i, j) comes after all channels of every earlier position and
after the channels before c of its own. Four kinds:

* ``pixelcnn``: masked convolutions in residual blocks (van den Oord et al. 2016, 1601.06759, sections 3.3–3.5, figure 5).
  They have a blind spot: of the d-th row above, nothing right of column j + d + 2 is seen, however many layers.
* ``gated``: a vertical stack over the rows above and a horizontal one along the row, with gates (van den Oord et al. 2016,
  1606.05328, figure 2, eq. 2; with a condition eq. 4). Together they see a full rectangle.
* ``row-lstm``: an LSTM from row to row (1601.06759, section 3.1, eq. 3); it sees a triangle, like ``pixelcnn``.
* ``diagonal-bilstm``: two LSTMs along the diagonals (section 3.2, figure 3); they see all earlier cells.

Their layers are in ``grid_layers``. Everything works on blocks of rows given a state, the rows (or LSTM states) above that a
layer still needs: training passes all rows at once and no state, sampling one row after the other. Both run the same code.

Deviations: feature maps are rounded up to a multiple of C, so that no channel is without features of its own. For
``diagonal-bilstm`` an empty column follows the last: mask A shows a cell only to positions below or to its right, and
without that column the last cell of the row above would be seen by nobody beyond the first convolution. With
``location`` a learned bias per row and per column follows the first layer (1606.05328, eq. 5, with a constant map s),
without which layers tell one row or column from another by their distance from the border alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.contracts.domain import Autoregressive
from musegen.networks.grid_layers import (
    FIRST_KERNEL,
    DiagonalBiLSTM,
    GatedLayer,
    MaskedConv,
    ResidualBlock,
    RowLSTM,
    channel_groups,
)
from musegen.probability.by_device import default_generator
from musegen.probability.likelihood import Likelihood
from musegen.reporting import each, several

__all__ = ["AutoregressiveGrid"]


class _Stack(nn.Module):
    """A 7×7 convolution with mask A, then residual layers over 2h feature maps (1601.06759, table 1)."""

    def __init__(self, shape: Sequence[int], h: int, layers: int, layer: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        n_groups = shape[0]
        groups = channel_groups(n_groups, h, 2)
        self.first = MaskedConv(torch.arange(n_groups), groups, "A", FIRST_KERNEL // 2, FIRST_KERNEL)
        self.layers = nn.ModuleList(layer(n_groups, h) for _ in range(layers))

    def forward(self, x: Tensor, location: Tensor, condition: Tensor | None, states: list[Any]) -> tuple[Tensor, list]:
        y, first = self.first(x, states[0])
        y, after = y + location, [first]
        for layer, state in zip(self.layers, states[1:], strict=True):
            y, state = layer(y, state)
            after.append(state)
        return y, after


class _GatedStacks(nn.Module):
    """The vertical and the horizontal stack (1606.05328, section 2.2)."""

    def __init__(self, shape: Sequence[int], p: int, layers: int, n_condition: int) -> None:
        super().__init__()
        n_groups = shape[0]
        first = GatedLayer(torch.arange(n_groups), n_groups, p, n_condition, first=True)
        rest = [GatedLayer(channel_groups(n_groups, p), n_groups, p, n_condition, first=False) for _ in range(layers)]
        self.layers = nn.ModuleList([first, *rest])

    def forward(self, x: Tensor, location: Tensor, condition: Tensor | None, states: list[Any]) -> tuple[Tensor, list]:
        v, h, after = x, x, []
        for layer, state in zip(self.layers, states, strict=True):
            v, h, state = layer(v, h, location, condition, state)
            after.append(state)
        return h, after


class AutoregressiveGrid(nn.Module):
    """x ``(B, C, H, W)`` → likelihood parameters ``(B, …, C, H, W)`` of each cell given the earlier ones.

    Args:
        shape: (C, H, W) of a sample.
        params_shape: of its likelihood's parameters: the shape itself, or (K, C, H, W).
        wanted: kind, size and condition.

    >>> import torch
    >>> from musegen.contracts.domain import Autoregressive
    >>> from musegen.networks.autoregressive import AutoregressiveGrid
    >>> from musegen.probability.likelihood import Bernoulli
    >>> network = AutoregressiveGrid((1, 4, 4), (1, 4, 4), Autoregressive(channels=4, layers=1))
    >>> network(torch.zeros(2, 1, 4, 4)).shape  # logits of each cell given the earlier ones
    torch.Size([2, 1, 4, 4])
    >>> network.draw(torch.zeros(2, 1, 4, 4), Bernoulli(), given=2).shape  # the two upper rows stay
    torch.Size([2, 1, 4, 4])
    """

    def __init__(self, shape: Sequence[int], params_shape: Sequence[int], wanted: Autoregressive) -> None:
        super().__init__()
        n_groups, n_rows, n_columns = self.shape = tuple(shape)
        self.leading = tuple(params_shape[:-3])
        channels = -(-wanted.channels // n_groups) * n_groups
        self.stack: nn.Module
        match wanted.kind:
            case "gated":
                self.stack = _GatedStacks(shape, channels, wanted.layers, wanted.n_condition)
            case "pixelcnn":
                self.stack = _Stack(shape, channels, wanted.layers, ResidualBlock)
            case "row-lstm":
                self.stack = _Stack(shape, channels, wanted.layers, RowLSTM)
            case "diagonal-bilstm":
                self.stack = _Stack(shape, channels, wanted.layers, DiagonalBiLSTM)
        if wanted.n_condition and wanted.kind != "gated":
            raise ValueError(f"{wanted.kind} takes no condition")
        features = channel_groups(n_groups, channels, 1 if wanted.kind == "gated" else 2)
        target = torch.arange(n_groups).repeat(math.prod(self.leading))  # (K · C): C fastest
        self.hidden, self.head = MaskedConv(features, features, "B"), MaskedConv(features, target, "B")
        self.n_layers = wanted.layers + 1
        self.margin = 1 if wanted.kind == "diagonal-bilstm" else 0  # empty columns on the right
        # One bias per feature and row, and one per feature and column, of the 2h (2p) maps that the first layer makes.
        self.row_bias = nn.Parameter(torch.zeros(2 * channels, n_rows, 1)) if wanted.location else None
        self.column_bias = (
            nn.Parameter(torch.zeros(2 * channels, 1, n_columns + self.margin)) if wanted.location else None
        )

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x ``(B, C, H, W)``, condition ``(B, n_condition)`` → ``(B, *params_shape)``."""
        return self.rows(x, None, condition)[0]

    def rows(self, x: Tensor, state: list[Any] | None = None, condition: Tensor | None = None) -> tuple[Tensor, list]:
        """A block of rows ``(B, C, R, W)`` below those that ``state`` remembers → their parameters, and the next state."""
        first: int = 0 if state is None else state[0]
        states = [None] * self.n_layers if state is None else state[1:]
        last = first + x.shape[2]
        location = x.new_zeros(())
        if self.row_bias is not None and self.column_bias is not None:
            location = self.row_bias[:, first:last] + self.column_bias  # (2h, R, W)
        y, states = self.stack(F.pad(x, (0, self.margin)), location, condition, states)
        y = y[..., : x.shape[3]]
        y, _ = self.head(self.hidden(y.relu())[0].relu())
        return y.unflatten(1, (*self.leading, self.shape[0])), [last, *states]  # (B, K · C, R, W) -> (B, K, C, R, W)

    @torch.no_grad()
    def draw(
        self,
        x: Tensor,
        likelihood: Likelihood,
        *,
        given: int = 0,
        temperature: float = 1.0,
        condition: Tensor | None = None,
    ) -> Tensor:
        """x ``(B, C, H, W)`` with its rows from ``given`` on replaced by exact draws given the rows above them.

        A row's noise is drawn once. With the noise fixed, each cell is a function of the earlier ones, and the row is the
        fixed point of "parameters from the row, row from the parameters": iterating from any start settles at least one
        more cell per pass, and where cells depend little on one another many at once (Wiggers & Hoogeboom 2020,
        2002.09928). The outcome is that of one cell after the other, with far fewer passes.
        """
        done, state = x[:, :, :given], None
        if given:
            _, state = self.rows(done, None, condition)
        for _ in each(range(given, self.shape[1]), f"Drawing {several(len(x), 'sample')}", "rows"):
            row = torch.zeros_like(x[:, :, :1])  # (B, C, 1, W)
            generator = default_generator(x.device)
            noise = generator.get_state()
            for _ in range(row[0].numel() + 1):
                generator.set_state(noise)
                params, after = self.rows(row, state, condition)
                before, row = row, likelihood.sample(params, temperature)
                if torch.equal(before, row):
                    break
            state, done = after, torch.cat([done, row], 2)
        return done
