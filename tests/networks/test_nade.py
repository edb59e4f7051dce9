"""The recurrent NADE: a law over grids, in which nothing sees what comes later, and which is drawn from exactly."""

from __future__ import annotations

import copy
import itertools
import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from musegen.networks.nade import RecurrentNADE
from musegen.networks.nade.harmony import Harmony
from musegen.networks.nade.recurrent import Recurrent, initial_state, recurrent_network, through
from musegen.networks.nade.relative import Relative
from musegen.networks.nade.sparse_conv import SparseConv
from musegen.networks.nade.terms import Block, Given

Shape = tuple[int, int, int]
GIVEN = {"given": True}
OPTIONS = [
    {},
    {"features": 0, "depth": 1},
    {"recurrent": "gru", "layers": 2, "reach": 1, "period": 2},
    {"reach": 1, "lags": [2], "octave": 2},
]
PLANS = [{"n_plan": 1, "octave": 2}, {"n_plan": 1, "reach": 0, "depth": 1, "octave": 2, "given": True}]


def network(shape: Shape, **options: Any) -> RecurrentNADE:
    """In float64, with weights large enough that cells depend on one another."""
    sizes: dict[str, Any] = {"units": 5, "hidden": 4, "features": 2 * shape[0], "interval": shape[2], "reach": 2}
    made = RecurrentNADE(shape, **(sizes | options)).double()
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn_like(p))
        made.weight.weight[-1] = 0
    return made


def grids(shape: Shape) -> Tensor:
    """All binary grids."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=math.prod(shape))), dtype=torch.float64).view(
        -1, *shape
    )


def masks(n: int, shape: Shape, share: float = 0.5) -> Tensor:
    """Which channels are given at which steps, at random, bool ``(n, C, T)``."""
    return torch.rand(n, *shape[:2]) < share


def log_p(made: RecurrentNADE, x: Tensor) -> Tensor:
    return -torch.nn.functional.binary_cross_entropy_with_logits(made(x), x, reduction="none").flatten(1).sum(1)


def cells(x: Tensor, n_plan: int = 0) -> Tensor:
    """Cells in their order: rows, and of each the plan's channels before the others, then columns, then channels;
    ``(B, C, T, W)`` → ``(B, cells)``."""
    parts = [part.permute(0, 2, 3, 1).flatten(2) for part in (x[:, :n_plan], x[:, n_plan:])]
    return torch.cat(parts, 2).flatten(1)


def order(n_channels: int, n_columns: int, n_plan: int = 0) -> list[tuple[int, int]]:
    """(column, channel) of a step's cells in their order."""
    places = itertools.product(range(n_columns), range(n_channels))
    return sorted(places, key=lambda place: (place[1] >= n_plan, *place))


@pytest.mark.parametrize(
    ("shape", "options"),
    [*itertools.product([(1, 3, 3), (2, 2, 2), (1, 1, 8)], OPTIONS), *itertools.product([(2, 2, 2), (3, 1, 4)], PLANS)],
    ids=str,
)
def test_probabilities_of_all_grids_sum_to_one(shape: Shape, options: dict[str, Any]) -> None:
    with torch.no_grad():
        assert float(log_p(network(shape, **options), grids(shape)).logsumexp(0)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("options", [*OPTIONS, *PLANS], ids=str)
def test_a_cell_depends_on_every_earlier_cell_and_on_no_other(options: dict[str, Any]) -> None:
    """Flip a cell: what moves are the logits of later cells, and for some grid each of them."""
    n_plan = options.get("n_plan", 0)
    shape = (2 + n_plan, 3, 2)
    n = math.prod(shape)
    order = cells(torch.arange(n).view(1, *shape), n_plan)[0]
    moved = torch.zeros(n, n, dtype=torch.bool)
    for _ in range(4):
        made, x = network(shape, **options), torch.randint(2, (1, *shape)).double()
        flipped = x.repeat(n, 1, 1, 1)
        flat = flipped.flatten(1)
        flat[torch.arange(n), order] = 1 - flat[torch.arange(n), order]
        with torch.no_grad():
            difference = cells(made(flat.view(n, *shape)), n_plan) - cells(made(x), n_plan)
            moved |= (difference.abs() > 1e-12).T  # (cell that moved, flipped)
    assert torch.equal(moved, torch.ones(n, n, dtype=torch.bool).tril(-1))


@pytest.mark.parametrize("given_channels", [None, [], [1]], ids=str)
def test_segments_give_the_recursion_of_nade(given_channels: list[int] | None) -> None:
    """The hidden layer cell by cell, as the paper writes it, for steps with no, some and all cells on, in three spans. Given cells
    come first, with weights of their own."""
    n, channels = 2 * 30, given_channels or []
    made = network((2, 1, 30), features=0, depth=1, given=given_channels is not None)
    context = torch.randn(6, made.bias.in_features, dtype=torch.float64)
    x = (torch.rand(6, n) < torch.tensor([0, 1, 0.5, 0.5, 0.05, 0.05])[:, None]).double()
    expected = torch.zeros(6, n, dtype=torch.float64)
    with torch.no_grad():
        a = made.bias(context)
        for d in sorted(range(n), key=lambda d: (d % 2 not in channels, d)):
            expected[:, d] = made.deep(a.relu()) @ made.out.weight[d] + made.step_bias(context)[:, d]
            weight = made.given_weight.weight[:, d] if d % 2 in channels else made.weight.weight[d]  # type: ignore[union-attr]
            a = a + x[:, d, None] * weight
        grid = made.cells.grid(x[:, None])
        mask = torch.zeros(6, 2, 1, dtype=torch.bool)
        mask[:, channels] = True
        found, _ = made.absolute.block(
            Block(0, grid, None if given_channels is None else Given.of(grid, mask), context), ()
        )
        rest = ~made.cells.of_channels(mask)[0, 0]
        torch.testing.assert_close(found[:, rest], expected[:, rest])


TERMS = [
    {"depth": 1},
    {"reach": 1, "lags": [3], "octave": 4},
    GIVEN,
    {"features": 0, **GIVEN},
    {"n_plan": 1, "octave": 4, **GIVEN},
    {"n_plan": 1, "reach": 0},
]


@pytest.mark.parametrize("options", TERMS, ids=str)
def test_the_logit_is_the_sum_of_the_terms(options: dict[str, Any]) -> None:
    """Of networks that have one term each."""
    made, x = network((2, 4, 15), **options), torch.randint(2, (3, 2, 4, 15)).double()
    mask = masks(3, (2, 4, 15)) if "given" in options else None
    with torch.no_grad():
        expected, terms, alone = made(x, None, mask), made.terms, []
        for term in terms:
            made.terms = [term]
            alone.append(made(x, None, mask))
    assert len(terms) == (1 if "features" in options else 2)
    torch.testing.assert_close(torch.stack(alone).sum(0), expected)


@pytest.mark.parametrize("options", TERMS, ids=str)
def test_a_term_that_is_drawn_from_follows_what_came_on(options: dict[str, Any]) -> None:
    """Told of cells one by one, it is at each cell what it is for the whole block, and remembers the same."""
    c, t, w = 2, 6, 15
    made, x = network((c, t, w), **options), (torch.rand(1, c, t, w) < 0.2).double()
    given, free = (
        Given.of(x, masks(1, (c, t, w))) if "given" in options else None,
        torch.ones(t, c * w, dtype=torch.bool),
    )
    if given is not None:
        free = ~made.cells.of_channels(given.mask)[0]
    context = torch.randn(t, made.absolute.bias.in_features).double()
    for term in made.terms:
        with torch.no_grad():
            expected, after = term.block(Block(0, x, given, context), term.start(1))
            drawing, state = term.drawing(), term.start(1)
            for step in range(t):
                row, coming = x[:, :, step : step + 1], None if given is None else given.since(step)
                begun = torch.zeros_like(row) if coming is None else coming.cells[:, :, :1]
                drawing.begin(Block(step, begun, coming, context[step, None]), state)
                for d in free[step].nonzero()[:, 0]:
                    torch.testing.assert_close(drawing.logits()[0, d], expected[step, d])
                    if made.cells.flat(row)[0, 0, d]:
                        drawing.learn(d[None])
                state = drawing.end(row)
        assert len(state) == len(after)
        for ours, theirs in zip(state, after, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_layers_have_the_names_that_model_files_know() -> None:
    """And a copy of the network draws with its own."""
    made = network((2, 4, 15), octave=4, depth=1, **GIVEN)
    heads = [name.split(".")[0] for name in made.state_dict()]
    assert list(dict.fromkeys(heads)) == [
        *("recurrent", "bias", "step_bias", "weight", "deep", "out", "given_weight", "backward_"),
        *("relative", "relative_bias", "relative_deep", "relative_out", "harmony"),
    ]
    x = torch.randint(2, (1, 2, 4, 15)).double()
    other = copy.deepcopy(made)
    with torch.no_grad():
        expected = made(x)
        for p in made.parameters():
            p.zero_()
        torch.testing.assert_close(other(x), expected)
        assert float(made(x).abs().max()) == 0


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 30)),
    interval=st.integers(0, 32),
    reach=st.integers(1, 3),
    lags=st.sets(st.integers(2, 9), max_size=3).map(sorted),
    given_share=st.sampled_from([None, 0.0, 0.5]),
    density=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_looking_weights_up_is_the_masked_convolution(
    shape: Shape, interval: int, reach: int, lags: list[int], given_share: float | None, density: float, seed: int
) -> None:
    torch.manual_seed(seed)
    (c, t, w), group = shape, torch.arange(2 * shape[0]) % shape[0]
    relative = SparseConv(group, c, reach, lags, interval, given_share is not None).double()
    back = max(reach, *lags, 0)
    seen = torch.bernoulli(torch.full((2, c, back + t, w), density)).double()
    x = seen[:, :, back:]
    block = Block(0, x, None if given_share is None else Given.of(x, masks(2, shape, given_share)), torch.zeros(0))
    weight, n_past = relative.weight * relative.mask, len(relative.offsets) - 1
    # Earlier steps; what is free of this one; what is given of this one and later ones.
    kernel = torch.zeros(len(group), c, back + 1, 2 * interval + 1, dtype=torch.float64)
    rows = torch.tensor([back + offset for offset in relative.offsets[:-1]])
    dense = F.conv2d(seen, kernel.index_add(2, rows, weight[:, :, :n_past]), padding=(0, interval))  # (B, F, T, W)
    dense = dense + F.conv2d(block.free, weight[:, :, n_past, None], padding=(0, interval))
    if block.given is not None:
        kernel = torch.zeros(len(group), c, back + 1, 2 * interval + 1, dtype=torch.float64)
        kernel = kernel.index_add(2, torch.tensor(relative.ahead), weight[:, :, n_past + 1 :])
        dense = dense + F.conv2d(F.pad(block.given.cells, (0, 0, 0, back)), kernel, padding=(0, interval))
    table = relative.table()
    found = relative(relative.rows(seen[:, :, :back], block), table).transpose(0, 1).flatten(1, 2)[:, :w]  # (B·T, W, F)
    torch.testing.assert_close(found.view(2, t, w, -1).permute(0, 3, 1, 2), dense)
    if density:
        noise = torch.randn_like(dense)
        for a, b in zip(
            torch.autograd.grad((found.view(2, t, w, -1).permute(0, 3, 1, 2) * noise).sum(), relative.weight),
            torch.autograd.grad((dense * noise).sum(), relative.weight),
            strict=True,
        ):
            torch.testing.assert_close(a, b)


@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 9), st.sampled_from([0, 2]))
@settings(max_examples=8, deadline=None)
def test_harmony_is_the_weighted_mean_of_what_has_sounded(n_steps: int, cut: int, seed: int, n_plan: int) -> None:
    """As its formula says, step by step and class by class, also where the steps come in two blocks. Of a plan it also knows the
    step before, and, but for features of the plan's own channels, the present one."""
    torch.manual_seed(seed)
    group = torch.tensor([0, 2])
    harmony, x = Harmony(group, 3, 9, 4, 5, n_plan).double(), torch.randint(2, (1, 3, n_steps, 9)).double()
    for weight in harmony.parameters():
        torch.nn.init.normal_(weight)
    cut = min(cut, n_steps)
    before = F.pad(x, (0, 0, 1, 0))  # each step's predecessor, and none

    def block(first: int, last: int) -> Block:
        return Block(first, x[:, :, first:last], None, torch.zeros(0))

    first, sums = harmony(block(0, cut), before[:, :, :1], harmony.start(1))
    found = torch.cat([first, harmony(block(cut, n_steps), before[:, :, cut : cut + 1], sums)[0]])
    assert harmony.decay.tolist() == pytest.approx([math.exp(-1 / 5), math.exp(-1 / 40)])
    expected = torch.zeros(n_steps, 4, 2, dtype=torch.float64)
    for t in range(1, n_steps):
        mean = torch.zeros(2, 3, 4, dtype=torch.float64)
        for k, decay in enumerate(harmony.decay.tolist()):
            weight = [decay ** (t - 1 - s) for s in range(t)]
            for s, (c, w) in itertools.product(range(t), itertools.product(range(3), range(9))):
                mean[k, c, w % 4] += weight[s] * x[0, c, s, w] / sum(weight)
        for j, i in itertools.product(range(4), range(4)):
            expected[t, j] += harmony.weight[:, :, i] @ mean.flatten(0, 1)[:, (j + i) % 4]
    if n_plan:
        for t, j, i, c, w in itertools.product(range(n_steps), range(4), range(4), range(2), range(9)):
            if w % 4 == (j + i) % 4:
                expected[t, j] += harmony.plan[:, c, i] * before[0, c, t, w]
                expected[t, j, 1] += harmony.plan[1, 2 + c, i] * x[0, c, t, w]
    torch.testing.assert_close(found, expected.repeat(1, 3, 1))  # a span of twelve columns
    step, after = harmony.start(1), []
    for t in range(n_steps):
        # While it is drawn, the step is empty at first, and then its cells come on one by one.
        features = harmony.now(
            Block(t, torch.zeros_like(x[:, :, :1]), None, torch.zeros(0)), before[:, :, t : t + 1], step
        )
        for c, w in x[0, :, t].nonzero().tolist():
            features = features + harmony.added(torch.tensor([c]), torch.tensor([w]))
        after.append(features)
        step = harmony.after(x[:, :, t : t + 1], step)
    torch.testing.assert_close(torch.cat(after), found)


def test_the_relative_term_is_the_same_in_every_key() -> None:
    """Moved by three columns of an octave of four, what the term says moves along."""
    made = network((2, 6, 40), octave=4, interval=3, lags=[4])
    x = torch.zeros(1, 2, 6, 40, dtype=torch.float64)
    x[..., 16:24] = torch.randint(2, (1, 2, 6, 8))
    said = []
    relative = made.terms[0]
    assert isinstance(relative, Relative)
    with torch.no_grad():
        for grid in (x, x.roll(3, 3)):
            block = Block(0, grid, None, torch.zeros(6, 5).double())
            said.append(relative.block(block, relative.start(1))[0].view(6, 40, 2))
    torch.testing.assert_close(said[1][:, 3:], said[0][:, :-3])
    assert float((said[1] - said[0]).abs().max()) > 0.1


def test_what_returns_after_a_bar_is_copied() -> None:
    """Eight cells in random order, bar after bar: without a look at the last bar, a memory of 3 units cannot hold them."""
    made = RecurrentNADE((1, 32, 8), units=3, hidden=2, features=4, interval=0, reach=1, lags=[8])
    optimiser = torch.optim.Adam(made.parameters(), 0.05)
    for _ in range(150):
        bar = F.one_hot(torch.rand(16, 8).argsort(1), 8).float()
        x = bar.repeat(1, 4, 1)[:, None]
        bits = F.binary_cross_entropy_with_logits(made(x), x, reduction="none")[:, :, 8:]
        optimiser.zero_grad()
        bits.sum((1, 2, 3)).mean().backward()
        optimiser.step()
    assert float(bits.detach().sum((1, 3)).mean()) < 0.2  # nats per step; a step that is not known costs log 8 = 2.08


@given(st.integers(0, 7))
@settings(max_examples=8, deadline=None)
def test_steps_in_two_blocks_are_those_in_one(cut: int) -> None:
    made = network((2, 7, 3), period=3, n_condition=2, lags=[3, 5], octave=3)
    x = torch.randint(2, (2, 2, 7, 3)).double()
    condition = torch.randn(2, 2, dtype=torch.float64)
    with torch.no_grad():
        memory, parts = made.start(2), []
        for block in (x[:, :, :cut], x[:, :, cut:]):
            if block.shape[2]:
                logits, memory = made.steps(block, memory, condition)
                parts.append(logits)
        torch.testing.assert_close(torch.cat(parts, 2), made(x, condition))


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (0.0, 1.0), (1.0, 0.6), (0.8, 0.9)])
@pytest.mark.parametrize("options", [*OPTIONS, *PLANS], ids=str)
def test_draws_are_those_of_one_whole_pass_per_cell(options: dict[str, Any], temperature: float, top_p: float) -> None:
    """The same noise, the same cells, from a past of three steps on, well beyond any window."""
    n, (c, t, w), n_plan = 3, (2, 9, 4), options.get("n_plan", 0)
    made = network((c, 5, w), **options)
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(0.5)
        past = torch.randint(2, (n, c, 3, w)).double()
        _, memory = made.steps(past, made.start(n))
        torch.manual_seed(5)
        drawn = made.draw(t - 3, memory, temperature, top_p=top_p, leading=n)
        torch.manual_seed(5)
        x = torch.cat([past, torch.zeros(n, c, t - 3, w, dtype=torch.float64)], 2)
        for step in range(3, t):
            noise, after = torch.rand(n, c * w), [0] * n  # the cell after the last that is on
            for d, (column, channel) in enumerate(order(c, w, n_plan)):
                logits = cells(made(x)[:, :, step : step + 1], n_plan)  # (n, D), of this step
                for i in range(n):
                    p = float(hazard(logits[i, after[i] :].sigmoid(), d - after[i], temperature, top_p))
                    if noise[i, d] < p:
                        x[i, channel, step, column], after[i] = 1, d + 1
    assert torch.equal(drawn, x[:, :, 3:])
    assert 0 < drawn.mean() < 1


def hazard(p: Tensor, d: int, temperature: float, top_p: float = 1.0) -> Tensor:
    """Whether the d-th of some cells is on, given that none is before it, when the choice which of them is on next, or none, is
    tempered and kept to its nucleus."""
    q = torch.cat([p, torch.ones(1)]) * torch.cat([torch.ones(1), (1 - p).cumprod(0)])
    if temperature == 0:
        return (q.argmax() == d).double()
    q = q ** (1 / temperature) / (q ** (1 / temperature)).sum()
    if top_p < 1:
        nucleus: set[int] = set()
        for choice in sorted(range(len(q)), key=lambda k: -float(q[k])):
            if sum(float(q[k]) for k in nucleus) < top_p:
                nucleus.add(choice)
        q = torch.tensor([float(value) if k in nucleus else 0.0 for k, value in enumerate(q)])
    return q[d] / q[d:].sum() if q[d] else torch.zeros(())


def test_frequencies_of_draws_are_their_probabilities() -> None:
    made, everything = network((1, 2, 2)), grids((1, 2, 2))
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(0.4)
        expected = log_p(made, everything).exp()
        n = 20_000
        drawn = made.draw(2, made.start(n)).flatten(1) @ torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64)
    found = drawn.long().bincount(minlength=16) / n
    assert float(((found - expected).square() / expected).sum() * n) < 37.7  # χ², 15 degrees of freedom: p = 0.001


def test_a_step_costs_the_same_however_long_the_past(monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen, run = network((1, 4, 3)), [], through
    monkeypatch.setattr(
        "musegen.networks.nade.network.through", lambda of, x, state: seen.append(x.shape[1]) or run(of, x, state)
    )
    with torch.no_grad():
        _, memory = made.steps(torch.ones(2, 1, 50, 3, dtype=torch.float64), made.start(2))
        made.draw(6, memory)
    assert seen == [50, 1, 1, 1, 1, 1, 1]


def test_a_low_temperature_keeps_the_number_of_cells_on() -> None:
    """One of ten cells, or none, each as likely: among equals a temperature changes nothing. Cell by cell it would."""
    made = network((1, 1, 10), features=0)
    with torch.no_grad():
        for p in made.parameters():
            p.zero_()
        made.step_bias.bias.copy_((1 / torch.arange(11.0, 1, -1)).logit())
        made.weight.weight[:-1, 0] = 1  # a cell that is on turns all later ones off
        made.out.weight[:, 0] = -50
        for temperature in (1.0, 0.3):
            drawn = made.draw(1, made.start(4000), temperature).flatten(1)
            torch.testing.assert_close(drawn.mean(0), torch.full((10,), 1 / 11).double(), atol=0.02, rtol=0)
            assert float(drawn.sum(1).max()) == 1


@pytest.mark.parametrize("options", [GIVEN, {"features": 0, **GIVEN}, {"depth": 1, "period": 2, **GIVEN}], ids=str)
def test_probabilities_of_all_completions_of_what_is_given_sum_to_one(options: dict[str, Any]) -> None:
    """Whatever is given: each of two channels at each of two steps, or not."""
    everything, made = grids((2, 2, 2)), network((2, 2, 2), **options)
    places = 2.0 ** torch.arange(8).view(2, 2, 2)
    for channels in itertools.product([False, True], repeat=4):
        mask = torch.tensor(channels).view(1, 2, 2).expand(len(everything), -1, -1)
        with torch.no_grad():
            loss = F.binary_cross_entropy_with_logits(made(everything, None, mask), everything, reduction="none")
        log_p = -(loss * ~mask[..., None]).flatten(1).sum(1)
        part = (
            (everything * mask[..., None] * places).flatten(1).sum(1).long()
        )  # which completions are of the same part
        total = torch.zeros(256, dtype=torch.float64).index_add(0, part, log_p.exp())
        torch.testing.assert_close(total[part.unique()], torch.ones(len(part.unique()), dtype=torch.float64))


@pytest.mark.parametrize("features", [0, 6])
def test_a_cell_depends_on_earlier_cells_and_on_all_that_is_given(features: int) -> None:
    """Flip a cell: what moves are the logits of later cells that are not given, and all of these if it is given."""
    shape, n = (3, 3, 2), 18
    order = cells(torch.arange(n).view(1, *shape))[0]
    mask = torch.tensor([[[0, 1, 0], [1, 1, 1], [0, 0, 1]]], dtype=torch.bool)  # (1, C, T)
    is_given = cells(mask[..., None].expand(-1, -1, -1, 2))[0]
    moved = torch.zeros(n, n, dtype=torch.bool)
    for _ in range(6):
        made, x = network(shape, given=True, features=features), torch.randint(2, (1, *shape)).double()
        flipped = x.repeat(n, 1, 1, 1)
        flat = flipped.flatten(1)
        flat[torch.arange(n), order] = 1 - flat[torch.arange(n), order]
        with torch.no_grad():
            after = made(flat.view(n, *shape), None, mask.expand(n, -1, -1))
            moved |= ((cells(after) - cells(made(x, None, mask))).abs() > 1e-12).T
    expected = torch.ones(n, n, dtype=torch.bool).tril(-1) | is_given
    assert torch.equal(moved[~is_given], expected[~is_given])


@pytest.mark.parametrize(("step", "seen"), [(1, True), (2, False), (3, True)])
def test_the_convolution_alone_sees_what_is_given_later(step: int, seen: bool) -> None:
    """With weights of the backward network at 0, one given cell of the next step, or of one a lag later, moves logits as far as
    ``interval``."""
    made = network((2, 4, 9), given=True, interval=2, reach=1, lags=[3])
    x = torch.zeros(1, 2, 4, 9, dtype=torch.float64)
    later = x.clone()
    later[0, 1, step, 4] = 1
    mask = torch.tensor([False, True])[None, :, None].expand(1, 2, 4)
    with torch.no_grad():
        for p in made.backward_.parameters():  # type: ignore[union-attr]
            p.zero_()
        made.relative.bias.fill_(9)  # type: ignore[union-attr]  # behind the ReLU's kink
        moved = (made(later, None, mask) - made(x, None, mask))[0, 0, 0].abs() > 1e-12
    assert moved.nonzero()[:, 0].tolist() == ([2, 3, 4, 5, 6] if seen else [])


@given(cut=st.integers(0, 7), features=st.sampled_from([0, 4]))
@settings(max_examples=10, deadline=None)
def test_blocks_that_know_what_is_given_later_are_the_whole(cut: int, features: int) -> None:
    made, x = network((2, 7, 3), given=True, period=3, features=features), torch.randint(2, (2, 2, 7, 3)).double()
    given = Given.of(x, masks(2, (2, 7, 3)))
    with torch.no_grad():
        memory, parts = made.start(2), []
        for block, first in ((x[:, :, :cut], 0), (x[:, :, cut:], cut)):
            if block.shape[2]:
                logits, memory = made.steps(block, memory, given=given.since(first))
                parts.append(logits)
        torch.testing.assert_close(torch.cat(parts, 2), made(x, None, given.mask))


def test_nothing_given_is_a_mask_that_gives_nothing() -> None:
    made, x = network((2, 4, 3), **GIVEN), torch.randint(2, (2, 2, 4, 3)).double()
    with torch.no_grad():
        torch.testing.assert_close(made(x), made(x, None, torch.zeros(2, 2, 4, dtype=torch.bool)))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("options", [{}, {"features": 0, "layers": 2}, {"n_plan": 1, "octave": 4}], ids=str)
def test_draws_to_what_is_given_are_those_of_one_whole_pass_per_cell(
    options: dict[str, Any], temperature: float
) -> None:
    n, (c, t, w), n_plan = 3, (3, 5, 4), options.get("n_plan", 0)
    made, part = network((c, 2, w), given=True, **options), torch.randint(2, (n, c, t, w)).double()
    given = Given.of(part, masks(n, (c, t, w)))
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(0.5)
        torch.manual_seed(5)
        drawn = made.draw(t, made.start(n), temperature, given=given, leading=n)
        torch.manual_seed(5)
        x = given.cells.clone()
        for step in range(t):
            noise = torch.rand(n, c * w)
            for i in range(n):
                in_order = order(c, w, n_plan)
                ours = [d for d, (_, channel) in enumerate(in_order) if not given.mask[i, channel, step]]
                for i_d, d in enumerate(ours):
                    logits = cells(made(x, None, given.mask)[i, None, :, step, None], n_plan)[0, ours[i_d:]]
                    p = float(hazard(logits.sigmoid(), 0, temperature))
                    column, channel = in_order[d]
                    x[i, channel, step, column] = float(noise[i, d] < p)
    assert torch.equal(drawn, x)
    assert torch.equal(drawn * given.mask[..., None], given.cells)
    assert 0 < (drawn * ~given.mask[..., None]).mean() < 1


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("begun", [False, True])
def test_layer_by_layer_computes_and_draws_what_torch_does(kind: type[nn.LSTM | nn.GRU], begun: bool) -> None:
    network, x = kind(5, 7, 3, batch_first=True, dropout=0.4), torch.randn(4, 6, 5)
    state = initial_state(network, 4, x)
    if begun:
        state = tuple(torch.randn_like(part) for part in state)
    theirs: Any = state if kind is nn.LSTM else state[0]
    results = []
    for run, before in ((network, theirs if begun else None), (partial(through, network), state)):
        torch.manual_seed(1)
        y, after = run(x, before)
        gradients = torch.autograd.grad(y.square().sum(), list(network.parameters()))
        results.append([y, *(after if isinstance(after, tuple) else [after]), *gradients, torch.get_rng_state()])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    network.eval()
    torch.testing.assert_close(through(network, x, state)[0], network(x, theirs)[0], rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 3])
def test_one_step_is_what_the_recurrent_network_says(kind: Recurrent, layers: int) -> None:
    """Where nothing is learnt an LSTM takes a single step through cells."""
    made, x = recurrent_network(kind, 5, 7, layers, 0.2), torch.randn(4, 1, 5)
    state = tuple(torch.randn_like(part) for part in initial_state(made.eval(), 4, x))
    expected = through(made, x, state)
    with torch.no_grad():
        torch.testing.assert_close(through(made, x, state), expected)
