"""Masked networks on a grid: nothing sees what comes later, nothing earlier is missed, and sampling is exact."""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musegen.contracts.domain import Autoregressive, AutoregressiveKind
from musegen.networks.autoregressive import AutoregressiveGrid
from musegen.networks.grid_layers import DiagonalBiLSTM, MaskedConv, RowLSTM, skew, unskew
from musegen.probability.likelihood import Bernoulli, Categorical, Gaussian, Likelihood, LogisticMixture

KINDS = get_args(AutoregressiveKind)
Shape = tuple[int, int, int]


def grid(kind: Any, shape: Shape, likelihood: Likelihood | None = None, **options: Any) -> AutoregressiveGrid:
    """A network in float64 with weights large enough that cells depend on one another."""
    likelihood = likelihood or Bernoulli()
    wanted = Autoregressive(**({"kind": kind, "channels": 6, "layers": 2, "location": True} | options))
    network = AutoregressiveGrid(shape, likelihood.params_shape(shape), wanted).double()
    with torch.no_grad():
        for name, p in network.named_parameters():
            p.copy_(torch.randn_like(p) * (0.3 if "bias" in name else 1.5 / math.sqrt(p[0].numel())))
    return network


def dependence(kind: Any, shape: Shape, likelihood: Likelihood, **options: Any) -> Tensor:
    """Which cell's parameters depend on which cell: bool (cells, cells), both in the order of the grid."""
    found = torch.zeros(math.prod(shape), math.prod(shape), dtype=torch.bool)
    for _ in range(3):  # several networks, for a ReLU may be shut in one
        network, x = grid(kind, shape, likelihood, **options), torch.rand(1, *shape).double()
        jacobian = torch.autograd.functional.jacobian(lambda x, n=network: n(x), x)
        entries = jacobian.reshape(-1, *shape, *shape).abs().sum(0)  # K summed out: (C, H, W, C, H, W)
        found |= entries.permute(1, 2, 0, 4, 5, 3).reshape(found.shape) > 0
    return found


@pytest.mark.parametrize(
    "likelihood", [Bernoulli(), Categorical(3), LogisticMixture(256, 2)], ids=lambda likelihood: likelihood.name
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_depends_on_every_earlier_cell_and_on_no_other(kind: str, likelihood: Likelihood) -> None:
    """Row by row, column by column, red then green then blue; the grid is small enough for every receptive field."""
    seen = dependence(kind, (3, 3, 4), likelihood, channels=12)
    assert torch.equal(seen, torch.ones_like(seen).tril(-1))


def seen_from(kind: str, shape: Shape, row: int, column: int, **options: Any) -> Tensor:
    """What the cell (row, column) of a one-channel grid depends on, bool (H, W)."""
    return dependence(kind, shape, Bernoulli(), **options)[row * shape[2] + column].view(shape[1:])


def test_the_gated_stacks_see_a_full_rectangle() -> None:
    """One layer after the first: 3 + 1 rows above, and 3 + 1 columns to either side, without a gap."""
    expected = torch.zeros(6, 13, dtype=torch.bool)
    expected[1:5, 2:11] = True
    expected[5, 2:6] = True
    assert torch.equal(seen_from("gated", (1, 6, 13), 5, 6, layers=1), expected)


@pytest.mark.parametrize("kind", ["pixelcnn", "row-lstm"])
def test_the_blind_spot_of_plain_stacks_and_the_triangle_of_the_row_lstm(kind: str) -> None:
    """d rows above, nothing right of column j + d + 2 is seen, though five layers' rectangle would reach it."""
    seen = seen_from(kind, (1, 4, 12), 3, 3, layers=5)
    for d in (1, 2, 3):
        assert torch.equal(seen[3 - d].nonzero()[:, 0], torch.arange(3 + d + 3)), f"{d} rows above"


@pytest.mark.parametrize("kind", ["gated", "diagonal-bilstm"])
def test_no_blind_spot(kind: str) -> None:
    seen = seen_from(kind, (1, 4, 12), 3, 3, layers=5)
    assert seen[:3].all()
    assert torch.equal(seen[3], torch.arange(12) < 3)


def every_grid(shape: Shape, levels: int) -> Tensor:
    """All grids of evenly spaced levels in [0, 1], float64 ``(levels^cells, *shape)``."""
    values = [i / (levels - 1) for i in range(levels)]
    return torch.tensor(list(itertools.product(values, repeat=math.prod(shape)))).double().view(-1, *shape)


@pytest.mark.parametrize(
    ("shape", "likelihood"),
    [((1, 3, 3), Bernoulli()), ((2, 2, 2), Bernoulli()), ((2, 1, 3), Categorical(3)), ((1, 3, 2), Categorical(3))],
)
@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_of_all_grids_sum_to_one(kind: str, shape: Shape, likelihood: Likelihood) -> None:
    x = every_grid(shape, 3 if isinstance(likelihood, Categorical) else 2)
    with torch.no_grad():
        log_p = likelihood.log_prob(grid(kind, shape, likelihood)(x), x)
    assert float(log_p.logsumexp(0)) == pytest.approx(0, abs=1e-9)
    assert float(log_p.max() - log_p.min()) > 1  # a law that is not uniform, or the sum would say little


def one_cell_at_a_time(
    network: AutoregressiveGrid, likelihood: Likelihood, x: Tensor, temperature: float, condition: Tensor | None
) -> Tensor:
    """A whole pass per cell; each row's noise is drawn as ``draw`` does, all of it before the row's first cell."""
    n_channels, n_rows, n_columns = network.shape
    for i in range(n_rows):
        noise = torch.get_rng_state()
        for j, c in itertools.product(range(n_columns), range(n_channels)):
            torch.set_rng_state(noise)
            params = network(x, condition)[..., i : i + 1, :]
            x[:, c, i, j] = likelihood.sample(params, temperature)[:, c, 0, j]
    return x


@pytest.mark.parametrize("likelihood", [Bernoulli(), Categorical(4), Gaussian()], ids=lambda x: x.name)
@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_those_of_one_cell_at_a_time(
    kind: str, likelihood: Likelihood, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (2, 3, 5)
    n_condition = 3 if kind == "gated" else 0
    network = grid(kind, shape, likelihood, n_condition=n_condition)
    condition = torch.randn(4, n_condition).double() if n_condition else None
    blank = torch.zeros(4, *shape).double()
    for temperature in (1.0, 0.5):
        torch.manual_seed(7)
        slow = one_cell_at_a_time(network, likelihood, blank.clone(), temperature, condition)
        torch.manual_seed(7)
        passes = []
        rows = network.rows
        monkeypatch.setattr(network, "rows", lambda *a, rows=rows, passes=passes: passes.append(a[0]) or rows(*a))
        fast = network.draw(blank, likelihood, temperature=temperature, condition=condition)
        monkeypatch.undo()
        torch.testing.assert_close(fast, slow, atol=1e-9, rtol=0)
        assert not torch.equal(slow, blank)
        assert all(x.shape[2] == 1 for x in passes)  # never the whole grid
        assert len(passes) <= 3 * (2 * 5 + 1)  # at most one pass per cell, and one to see that a row has settled


@pytest.mark.parametrize("kind", KINDS)
def test_draws_follow_the_law(kind: str) -> None:
    """Frequencies of all 64 grids of 2 × 3 binary cells: χ² of 63 degrees has mean 63 and σ = 11.2."""
    network, n = grid(kind, (1, 2, 3)), 20_000
    x = every_grid((1, 2, 3), 2)
    with torch.no_grad():
        expected = n * Bernoulli().log_prob(network(x), x).exp()
    drawn = network.draw(torch.zeros(n, 1, 2, 3).double(), Bernoulli())
    code = (drawn.flatten(1) @ 2.0 ** torch.arange(5, -1, -1).double()).long()
    chi_squared = ((torch.bincount(code, minlength=64) - expected).square() / expected.clamp_min(1e-3)).sum()
    assert 20 < float(chi_squared) < 63 + 5 * 11.2


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_given_stay_and_the_rest_follows_from_them(kind: str) -> None:
    network = grid(kind, (2, 4, 3))
    x = (torch.rand(5, 2, 4, 3) < 0.5).double()
    whole = network.draw(x, Bernoulli(), temperature=0)  # the mode: a function of what is given
    torch.testing.assert_close(network.draw(whole, Bernoulli(), given=2, temperature=0), whole)
    kept = network.draw(x, Bernoulli(), given=2)
    assert torch.equal(kept[:, :, :2], x[:, :, :2])
    assert torch.equal(network.draw(x, Bernoulli(), given=4), x)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_rows_give_what_one_pass_gives(kind: str) -> None:
    network, x = grid(kind, (2, 6, 5)), torch.rand(3, 2, 6, 5).double()
    state, parts = None, []
    for block in x.split([1, 3, 2], 2):
        params, state = network.rows(block, state)
        parts.append(params)
    torch.testing.assert_close(torch.cat(parts, 2), network(x))


def test_masks_by_hand() -> None:
    """1601.06759, figure 2: with mask A red sees nothing of its position, green red, blue red and green; with B also itself."""
    rgb = torch.arange(3)
    a = MaskedConv(rgb, rgb, "A", rows=1, columns=3).mask
    b = MaskedConv(rgb, rgb, "B", rows=1, columns=3).mask
    assert a[:, :, 1, 1].tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert b[:, :, 1, 1].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    for mask in (a, b):
        assert mask[:, :, 0].all()  # the row above
        assert mask[:, :, 1, 0].all()  # the cell to the left
        assert not mask[:, :, 1, 2].any()  # the cell to the right


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 6))
def test_skewing(n_rows: int, n_columns: int) -> None:
    x = torch.arange(1, n_rows * n_columns + 1).view(1, n_rows, n_columns)
    skewed = skew(x)
    assert skewed.shape == (1, n_rows, n_rows + n_columns - 1)
    for i in range(n_rows):
        row = [0] * i + x[0, i].tolist() + [0] * (n_rows - 1 - i)
        assert skewed[0, i].tolist() == row
    assert torch.equal(unskew(skewed), x)


def cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 3 of 1601.06759 from the sum of both convolutions: gates ``(B, 4h)`` → h, c."""
    o, f, i, g = gates.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def test_row_lstm_cell_by_cell() -> None:
    h, w = 3, 5
    lstm, x = RowLSTM(1, h).double(), torch.randn(2, 2 * h, 4, w).double()
    inputs, _ = lstm.input_to_state(x)
    weight = lstm.state_to_state.weight  # (4h, h, 3)
    zero = torch.zeros(2, h).double()
    states: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    for i, j in itertools.product(range(4), range(w)):
        above = [states.get((i - 1, j + d), (zero, zero))[0] for d in (-1, 0, 1)]
        gates = inputs[:, :, i, j] + sum(s @ weight[:, :, k].T for k, s in enumerate(above))
        states[i, j] = cell(gates, states.get((i - 1, j), (zero, zero))[1])
    expected = torch.stack([torch.stack([states[i, j][0] for j in range(w)], 2) for i in range(4)], 2)
    torch.testing.assert_close(lstm(x, None)[0], x + lstm.expand(expected)[0])


def test_diagonal_bilstm_cell_by_cell() -> None:
    h, n, w = 3, 4, 5
    lstm, x = DiagonalBiLSTM(1, h).double(), torch.randn(2, 2 * h, n, w).double()
    inputs, _ = lstm.input_to_state(x)
    zero = torch.zeros(2, h).double()
    maps = []
    for direction, columns in enumerate((list(range(w)), list(reversed(range(w))))):
        back = -1 if direction == 0 else 1  # where the cell before lies
        weight = lstm.state_to_state.weight[4 * h * direction :][: 4 * h]  # (4h, h, 2): the row above, this row
        states: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        for i, j in itertools.product(range(n), columns):
            above, beside = states.get((i - 1, j), (zero, zero)), states.get((i, j + back), (zero, zero))
            gates = inputs[:, 4 * h * direction :][:, : 4 * h, i, j]
            gates = gates + above[0] @ weight[:, :, 0].T + beside[0] @ weight[:, :, 1].T
            states[i, j] = cell(gates, beside[1])
        maps.append(torch.stack([torch.stack([states[i, j][0] for j in range(w)], 2) for i in range(n)], 2))
    left, right = maps
    right_of_the_row_above = torch.cat([torch.zeros_like(right[:, :, :1]), right[:, :, :-1]], 2)
    torch.testing.assert_close(lstm(x, None)[0], x + lstm.expand(left + right_of_the_row_above)[0])


def test_every_channel_has_features_of_its_own() -> None:
    """4 maps for 3 channels become 6: with fewer than one map each, green could not see red."""
    network = AutoregressiveGrid((3, 2, 2), (3, 2, 2), Autoregressive("gated", channels=4, layers=1))
    assert network.hidden.out_channels == 6


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"gated"}))
def test_only_gates_take_a_condition(kind: Any) -> None:
    with pytest.raises(ValueError, match="no condition"):
        AutoregressiveGrid((1, 2, 2), (1, 2, 2), Autoregressive(kind, n_condition=2))
