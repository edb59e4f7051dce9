"""How full bars shall be: levels are what they say, and a model that learns them does what it is asked."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musegen.contracts.asked import LEVELS, OPEN, Asked
from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.engine.engine import Engine
from musegen.families.rnn_nade import RNNNADE, RNNNADEConfig
from musegen.families.wishes import Wishes
from musegen.probability.likelihood import Bernoulli
from musegen.running.config import RunConfig


@given(seed=st.integers(0, 99), rows=st.integers(1, 13), bar=st.integers(1, 5), channels=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_levels_are_thirds_of_the_bars_that_have_any(seed: int, rows: int, bar: int, channels: int) -> None:
    torch.manual_seed(seed)
    x = (torch.rand(40, channels, rows, 4) < torch.rand(40, channels, rows, 1) ** 2).float()
    wishes = Wishes(channels, bar)
    counts = wishes.counts(x)
    n_bars = -(-rows // bar)
    assert counts.shape == (40, channels, n_bars)
    for b in range(n_bars):
        part = x[:, :, b * bar : (b + 1) * bar]
        scale = bar / part.shape[2]  # a last bar that is not whole
        torch.testing.assert_close(counts[:, :, b], part.sum((2, 3)) * scale)
    wishes.learn(x)
    levels = wishes.levels(x)
    assert torch.equal(levels == 0, counts == 0)
    for c in range(channels):
        some = counts[:, c][counts[:, c] > 0]
        of_some = levels[:, c][counts[:, c] > 0]
        if len(some):
            thirds = torch.quantile(some, torch.tensor([1 / 3, 2 / 3]))
            assert bool((some[of_some == 1] <= thirds[0] + 1).all())
            assert bool((some[of_some == 3] > thirds[1].floor()).all())


def test_a_level_is_a_vector_that_stands_at_every_row_of_its_bar() -> None:
    wishes = Wishes(2, 3)
    levels = torch.tensor([[[0, 3], [OPEN, 1]]])
    vectors = wishes(levels, 5)
    assert vectors.shape == (1, 5, 2 * len(LEVELS))
    first, second = torch.zeros(8), torch.zeros(8)
    first[0], second[3], second[5] = 1, 1, 1
    assert torch.equal(vectors[0], torch.stack([first] * 3 + [second] * 2))


def test_half_of_the_examples_are_asked_for_nothing_and_the_rest_for_some_of_what_they_are() -> None:
    torch.manual_seed(0)
    x = torch.bernoulli(torch.full((4000, 3, 8, 2), 0.3))
    wishes = Wishes(3, 2)
    wishes.learn(x)
    drawn, levels = wishes.drawn(x), wishes.levels(x)
    asked = drawn != OPEN
    assert torch.equal(drawn[asked], levels[asked])
    # Asked at all half of the time; then no channel is in one of eight cases, and no bar in one of 2 · 2⁴.
    some = 0.5 * (1 - 1 / 8) * (1 - 1 / 32)
    assert float(asked.flatten(1).any(1).float().mean()) == pytest.approx(some, abs=0.03)


def test_a_model_does_what_it_is_asked() -> None:
    """Bars that are empty, have one cell on or all four: of what is asked for, they have as many."""
    torch.manual_seed(0)
    counts = torch.randint(3, (256, 1, 2))
    bars = torch.zeros(256, 1, 2, 2, 2)
    bars[..., 0, 0] = (counts > 0).float()
    bars = torch.where((counts == 2)[..., None, None], torch.ones(()), bars)
    x = bars.flatten(2, 3)  # two bars of two rows of two cells
    spec = Spec((1, 4, 2), ("channel", "row", "column"), Bernoulli(), bar=2, parts=(1,))
    family = RNNNADE(RNNNADEConfig(units=16, hidden=16, features=4, depth=0, dropout=0.0, lags=[]), spec, {})
    family.prepare(Batch(x, torch.arange(256)))
    assert family.wishes is not None
    engine = Engine(family, RunConfig(steps=300, learning_rate=0.01, schedule="cosine"))
    for _ in range(300):
        engine.step([Batch(x, torch.arange(256))])
    family.eval()
    nothing = Asked.nothing(200, spec.shape, 4)
    most = int(family.wishes.levels(torch.ones(1, 1, 4, 2))[0, 0, 0])
    for levels in ([0, most], [most, 0], [1, most]):
        asked = Asked(nothing.cells, nothing.mask, torch.tensor([levels]))
        found = family.fill(asked).unflatten(2, (2, 2)).sum((3, 4))[:, 0]
        expected = torch.tensor([{0: 0, 1: 1, most: 4}[level] for level in levels])
        assert float((found == expected).float().mean()) > 0.9
