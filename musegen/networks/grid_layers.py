"""Layers over a grid that do not see what comes later: masked convolutions, and what autoregressive networks make of them.

A layer takes a block of rows, and the rows (or the states) above it that it still needs; it returns those for the next block.
Papers and sections are those that ``autoregressive`` names.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "FIRST_KERNEL",
    "DiagonalBiLSTM",
    "GatedLayer",
    "MaskedConv",
    "ResidualBlock",
    "RowLSTM",
    "channel_groups",
    "skew",
    "unskew",
]

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
            above = x.new_zeros(x.shape[0], x.shape[1], self.rows, x.shape[3])
        seen = torch.cat([above, x], 2)  # (B, in, rows + R, W)
        y = F.conv2d(seen, self.weight * self.mask, self.bias, padding=(0, self.columns // 2))
        return y, seen[:, :, seen.shape[2] - self.rows :]


def channel_groups(n_groups: int, n: int, repeats: int = 1) -> Tensor:
    """Channel groups of ``repeats`` × n features, n a multiple of the groups: 2, 4, 2 → 0 0 1 1 0 0 1 1."""
    return torch.arange(n_groups).repeat_interleave(n // n_groups).repeat(repeats)


class ResidualBlock(nn.Module):
    """ReLU, 1×1 from 2h to h; ReLU, 3×3; ReLU, 1×1 back to 2h; added to its input (1601.06759, figure 5, left)."""

    def __init__(self, n_groups: int, h: int) -> None:
        super().__init__()
        one, two = channel_groups(n_groups, h), channel_groups(n_groups, h, 2)
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
        one, two = channel_groups(n_groups, h), channel_groups(n_groups, h, 2)
        self.input_to_state = MaskedConv(two, channel_groups(n_groups, h, 4), "B", columns=KERNEL)
        self.state_to_state = nn.Conv1d(h, 4 * h, KERNEL, padding=KERNEL // 2, bias=False)
        self.expand = MaskedConv(one, two, "B")
        self.h = h

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x ``(B, 2h, R, W)``, (h, c) of the row above, each ``(B, h, W)``."""
        zeros = x.new_zeros(x.shape[0], self.h, x.shape[3])
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
        one, two = channel_groups(n_groups, h), channel_groups(n_groups, h, 2)
        self.input_to_state = MaskedConv(two, channel_groups(n_groups, h, 8), "B")
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


class GatedLayer(nn.Module):
    """One layer of both stacks: tanh(W_f ∗ x + V_f h) ⊙ σ(W_g ∗ x + V_g h) (1606.05328, figure 2, eqs. 2 and 4).

    Args:
        source: channel groups of the horizontal input: the grid's own for the first layer.
    """

    def __init__(self, source: Tensor, n_groups: int, p: int, n_condition: int, first: bool) -> None:
        super().__init__()
        one, two = channel_groups(n_groups, p), channel_groups(n_groups, p, 2)
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
