"""What is given in training: of every kind, in whole bars of whole parts, and never all."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musegen.families.masks import Masks


@given(
    parts=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    bar=st.integers(0, 4),
    rows=st.integers(1, 11),
    seed=st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_whole_bars_of_whole_parts_are_given_and_something_is_always_left(
    parts: list[int], bar: int, rows: int, seed: int
) -> None:
    torch.manual_seed(seed)
    masks = Masks(parts, bar)
    mask = masks.drawn(torch.zeros(50, sum(parts), rows, 2))
    assert mask.shape == (50, sum(parts), rows)
    assert not mask.flatten(1).all(1).any()
    for part in mask.split(parts, 1):
        assert torch.equal(part, part[:, :1].expand_as(part))
        for bars in part.split(bar or 1, 2):
            assert torch.equal(bars, bars[:, :, :1].expand_as(bars))


def test_every_kind_of_question_is_asked_as_often_as_it_says() -> None:
    torch.manual_seed(0)
    mask = Masks([2, 2, 2], 4).drawn(torch.zeros(20_000, 6, 32, 1))[:, ::2, ::4]  # (n, parts, bars)
    nothing = ~mask.flatten(1).any(1)
    whole_parts = (mask == mask[:, :, :1]).flatten(1).all(1) & ~nothing
    past = mask[:, :, 0].all(1) & ~mask[:, :, -1].any(1)
    assert float(nothing.float().mean()) == pytest.approx(0.4, abs=0.08)
    assert float(whole_parts.float().mean()) > 0.1
    assert float(past.float().mean()) > 0.01
    assert not mask.flatten(1).all(1).any()


@pytest.mark.parametrize("parts", [[1], [2, 1], [2, 2, 2]])
@pytest.mark.parametrize("number", [0, 1, 5])
def test_a_sweep_draws_everything_that_is_not_given_once(parts: list[int], number: int) -> None:
    torch.manual_seed(number)
    masks = Masks(parts, 2)
    given = masks.drawn(torch.zeros(7, sum(parts), 9, 1))
    sweeps = list(masks.sweep(given, number))
    drawn = torch.stack([~known for known in sweeps]).sum(0)
    assert torch.equal(drawn, (~given).long())
    assert len(sweeps) == max(2, len(parts))
