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

Everything works on blocks of rows given a state, the rows (or LSTM states) above that a layer still needs: training
passes all rows at once and no state, sampling one row after the other. Both run the same code.

Deviations: feature maps are rounded up to a multiple of C, so that no channel is without features of its own. For
``diagonal-bilstm`` an empty column follows the last: mask A shows a cell only to positions below or to its right, and
without that column the last cell of the row above would be seen by nobody beyond the first convolution. With
``location`` a learned bias per row and per column follows the first layer (1606.05328, eq. 5, with a constant map s),
without which layers tell a drum from a pitch, or a beat from an offbeat, by their distance from the border alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.contracts.domain import Autoregressive
from musegen.probability.likelihood import Likelihood

__all__ = ["AutoregressiveGrid", "DiagonalBiLSTM", "MaskedConv", "RowLSTM", "skew", "unskew"]

FIRST_KERNEL, KERNEL = 7, 3
"""Widths of the first convolution and of those after it (1601.06759, table 1)."""

Mask = Literal["A", "B", "rows-A", "rows-B"]


class MaskedConv(nn.Conv2d):
    """A convolution over the rows at and above, and the columns on both sides; the mask hides what comes later.

    ``A`` hides the cell itself, ``B`` shows it; of the same position, features of channel group g show those of groups
    before g (A) or up to g (B). ``rows-A`` and ``rows-B`` order whole rows: only rows above, or the row itself too.

    Args:
        source, target: channel group of each input and each output feature.
        rows: rows above that the kernel reaches.
        columns: the kernel's odd width.
    """

    mask: Tensor

    def __init__(self, source: Tensor, target: Tensor, mask: Mask, rows: int = 0, columns: int = 1) -> None:
        super().__init__(len(source), len(target), (rows + 1, columns))
        self.rows, self.columns = rows, columns
        m = torch.ones(len(target), len(source), rows + 1, columns)
        if mask == "rows-A":
            m[:, :, -1] = 0
        elif mask in ("A", "B"):
            m[:, :, -1, columns // 2 + 1 :] = 0
            earlier = source < target[:, None] if mask == "A" else source <= target[:, None]
            m[:, :, -1, columns // 2] = earlier.to(m.dtype)  # (out, in)
        self.register_buffer("mask", m, persistent=False)

    def forward(  # type: ignore[override]
        self, x: Tensor, above: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """x ``(B, in, R, W)``, the rows above it ``(B, in, rows, W)`` → ``(B, out, R, W)``, the rows above the next block."""
        if above is None:
            above = x.new_zeros(len(x), x.shape[1], self.rows, x.shape[3])
        seen = torch.cat([above, x], 2)  # (B, in, rows + R, W)
        y = F.conv2d(seen, self.weight * self.mask, self.bias, padding=(0, self.columns // 2))
        return y, seen[:, :, seen.shape[2] - self.rows :]


def _features(n_groups: int, n: int, repeats: int = 1) -> Tensor:
    """Channel groups of ``repeats`` × n features, n a multiple of the groups: 2, 4, 2 → 0 0 1 1 0 0 1 1."""
    return torch.arange(n_groups).repeat_interleave(n // n_groups).repeat(repeats)


class _ResidualBlock(nn.Module):
    """ReLU, 1×1 from 2h to h; ReLU, 3×3; ReLU, 1×1 back to 2h; added to its input (1601.06759, figure 5, left)."""

    def __init__(self, n_groups: int, h: int) -> None:
        super().__init__()
        one, two = _features(n_groups, h), _features(n_groups, h, 2)
        self.reduce = MaskedConv(two, one, "B")
        self.conv = MaskedConv(one, one, "B", KERNEL // 2, KERNEL)
        self.expand = MaskedConv(one, two, "B")

    def forward(self, x: Tensor, above: Tensor | None) -> tuple[Tensor, Tensor]:
        y, _ = self.reduce(x.relu())
        y, above = self.conv(y.relu(), above)
        y, _ = self.expand(y.relu())
        return x + y, above


class RowLSTM(nn.Module):
    """[o, f, i, g] = K_ss ⊛ h_{i−1} + K_is ⊛ x_i;  c_i = f c_{i−1} + i g;  h_i = o tanh(c_i), row by row (eq. 3).

    K_is is masked along the row, K_ss is not: all of the row above is earlier. A 1×1 convolution takes h back to the 2h
    feature maps of the residual connection (figure 5, right).
    """

    def __init__(self, n_groups: int, h: int) -> None:
        super().__init__()
        one, two = _features(n_groups, h), _features(n_groups, h, 2)
        self.input_to_state = MaskedConv(two, _features(n_groups, h, 4), "B", columns=KERNEL)
        self.state_to_state = nn.Conv1d(h, 4 * h, KERNEL, padding=KERNEL // 2, bias=False)
        self.expand = MaskedConv(one, two, "B")
        self.h = h

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x ``(B, 2h, R, W)``, (h, c) of the row above, each ``(B, h, W)``."""
        zeros = x.new_zeros(len(x), self.h, x.shape[3])
        h, c = state if state is not None else (zeros, zeros)
        rows = []
        for gates in self.input_to_state(x)[0].unbind(2):  # R × (B, 4h, W)
            o, f, i, g = (gates + self.state_to_state(h)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            rows.append(h)
        return x + self.expand(torch.stack(rows, 2))[0], (h, c)


def skew(x: Tensor) -> Tensor:
    """Row i moves right by i, so that diagonals become columns: ``(…, R, W)`` → ``(…, R, R + W − 1)`` (figure 3)."""
    r, w = x.shape[-2:]
    flat = F.pad(x, (0, r)).flatten(-2)  # (…, R · (W + R)): dropping the last R lets row i start i further right
    return flat[..., : r * (w + r - 1)].unflatten(-1, (r, w + r - 1))


def unskew(x: Tensor) -> Tensor:
    """The inverse of ``skew``: ``(…, R, R + W − 1)`` → ``(…, R, W)``."""
    r, d = x.shape[-2:]
    return F.pad(x.flatten(-2), (0, r)).unflatten(-1, (r, d + 1))[..., : d + 1 - r]


class DiagonalBiLSTM(nn.Module):
    """Two LSTMs along the diagonals, from the left and from the right (section 3.2).

    The state at (i, j) follows from those at (i, j − 1) and (i − 1, j): on the skewed map a convolution of height 2 on the
    column before. The map from the right, which has seen the row to its end, is shifted down by one row and added to the
    map from the left. Both directions run as the two groups of one convolution.
    """

    def __init__(self, n_groups: int, h: int) -> None:
        super().__init__()
        one, two = _features(n_groups, h), _features(n_groups, h, 2)
        self.input_to_state = MaskedConv(two, _features(n_groups, h, 8), "B")
        self.state_to_state = nn.Conv1d(2 * h, 8 * h, 2, groups=2, bias=False)
        self.expand = MaskedConv(one, two, "B")
        self.h = h

    def forward(self, x: Tensor, above: Tensor | None) -> tuple[Tensor, Tensor]:
        """x ``(B, 2h, R, W)``, the states of the row above ``(B, 2h, W)``, left to right and mirrored right to left."""
        b, _, n_rows, w = x.shape
        if above is None:
            above = x.new_zeros(b, 2 * self.h, w)
        left, right = self.input_to_state(x)[0].chunk(2, 1)
        gates = skew(torch.cat([left, right.flip(3)], 1)).permute(3, 0, 1, 2)  # (D, B, 8h, R), D = R + W − 1
        top = F.pad(above, (0, n_rows - 1))  # (B, 2h, D): above the first row
        h = c = x.new_zeros(b, 2 * self.h, n_rows)
        columns = []
        for d, column in enumerate(gates.contiguous()):  # D × (B, 8h, R)
            column = column + self.state_to_state(torch.cat([top[..., d : d + 1], h], 2))
            # (B, 8h, R) -> 4 × (B, 2, h, R) -> 4 × (B, 2h, R): gates within each direction
            o, f, i, g = (t.flatten(1, 2) for t in column.unflatten(1, (2, 4, self.h)).unbind(2))
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()  # 0 left of the grid, where all gates are 0 without a bias
            h = o.sigmoid() * c.tanh()
            columns.append(h)
        states = unskew(torch.stack(columns, 3))  # (B, 2h, R, W)
        left, right = states.chunk(2, 1)
        shifted = torch.cat([above[:, self.h :, None], right[:, :, :-1]], 2).flip(3)  # (B, h, R, W)
        return x + self.expand(left + shifted)[0], states[:, :, -1]


class _Stack(nn.Module):
    """A 7×7 convolution with mask A, then residual layers over 2h feature maps (1601.06759, table 1)."""

    def __init__(self, shape: Sequence[int], h: int, layers: int, layer: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        n_groups = shape[0]
        groups = _features(n_groups, h, 2)
        self.first = MaskedConv(torch.arange(n_groups), groups, "A", FIRST_KERNEL // 2, FIRST_KERNEL)
        self.layers = nn.ModuleList(layer(n_groups, h) for _ in range(layers))

    def forward(self, x: Tensor, location: Tensor, condition: Tensor | None, states: list[Any]) -> tuple[Tensor, list]:
        y, first = self.first(x, states[0])
        y, after = y + location, [first]
        for layer, state in zip(self.layers, states[1:], strict=True):
            y, state = layer(y, state)
            after.append(state)
        return y, after


class _GatedLayer(nn.Module):
    """One layer of both stacks: tanh(W_f ∗ x + V_f h) ⊙ σ(W_g ∗ x + V_g h) (1606.05328, figure 2, eqs. 2 and 4).

    Args:
        source: channel groups of the horizontal input: the grid's own for the first layer.
    """

    def __init__(self, source: Tensor, n_groups: int, p: int, n_condition: int, first: bool) -> None:
        super().__init__()
        one, two = _features(n_groups, p), _features(n_groups, p, 2)
        k = FIRST_KERNEL if first else KERNEL
        self.vertical = MaskedConv(source, two, "rows-A" if first else "rows-B", k // 2, k)
        self.horizontal = MaskedConv(source, two, "A" if first else "B", columns=k)
        self.across = nn.Conv2d(2 * p, 2 * p, 1)  # the vertical stack holds only rows above: nothing to mask
        self.out = MaskedConv(one, one, "B")
        # V of both stacks, without a bias: the convolutions have one.
        self.condition = nn.Linear(n_condition, 4 * p, bias=False) if n_condition else None
        self.first = first

    def forward(
        self, v: Tensor, h: Tensor, location: Tensor, condition: Tensor | None, above: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        vertical, above = self.vertical(v, above)
        if self.first:
            vertical = vertical + location
        horizontal = self.horizontal(h)[0] + self.across(vertical)
        if self.condition is not None:
            for_v, for_h = self.condition(condition)[..., None, None].chunk(2, 1)  # (B, 4p) -> 2 × (B, 2p, 1, 1)
            vertical, horizontal = vertical + for_v, horizontal + for_h
        out = self.out(_gate(horizontal))[0]
        # No residual connection around the first layer: it would show the cell to itself.
        return _gate(vertical), out if self.first else h + out, above


def _gate(x: Tensor) -> Tensor:
    f, g = x.chunk(2, 1)
    return f.tanh() * g.sigmoid()


class _GatedStacks(nn.Module):
    """The vertical and the horizontal stack (1606.05328, section 2.2)."""

    def __init__(self, shape: Sequence[int], p: int, layers: int, n_condition: int) -> None:
        super().__init__()
        n_groups = shape[0]
        first = _GatedLayer(torch.arange(n_groups), n_groups, p, n_condition, first=True)
        rest = [_GatedLayer(_features(n_groups, p), n_groups, p, n_condition, first=False) for _ in range(layers)]
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
                self.stack = _Stack(shape, channels, wanted.layers, _ResidualBlock)
            case "row-lstm":
                self.stack = _Stack(shape, channels, wanted.layers, RowLSTM)
            case "diagonal-bilstm":
                self.stack = _Stack(shape, channels, wanted.layers, DiagonalBiLSTM)
        if wanted.n_condition and wanted.kind != "gated":
            raise ValueError(f"{wanted.kind} takes no condition")
        features = _features(n_groups, channels, 1 if wanted.kind == "gated" else 2)
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
        for _ in range(given, self.shape[1]):
            row = torch.zeros_like(x[:, :, :1])  # (B, C, 1, W)
            noise = _generator_state(x.device)
            for _ in range(row[0].numel() + 1):
                _set_generator_state(x.device, noise)
                params, after = self.rows(row, state, condition)
                before, row = row, likelihood.sample(params, temperature)
                if torch.equal(before, row):
                    break
            state, done = after, torch.cat([done, row], 2)
        return done


def _generator_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_generator_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
