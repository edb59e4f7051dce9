"""Convolutional networks over one to three axes, of any size."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musegen.networks.conv import SMALLEST, ConvDecoder, ConvDiscriminator, ConvEncoder, sizes

shapes = st.integers(1, 3).flatmap(
    lambda rank: st.tuples(
        st.just(rank),
        st.lists(st.integers(1, 3), max_size=1),
        st.lists(st.integers(1, 23), min_size=rank, max_size=rank),
    )
)


@settings(max_examples=40)
@given(shapes)
def test_networks_fit_any_size(drawn: tuple[int, list[int], list[int]]) -> None:
    rank, planes, grid = drawn
    shape = (*planes, *grid)
    x = torch.randn(2, *shape)
    encoder = ConvEncoder(shape, 2, rank).eval()
    assert encoder(x).shape == (2, encoder.n_features)
    assert ConvDecoder(3, shape, 2, rank).eval()(torch.randn(2, 3)).shape == (2, *shape)
    by_class = ConvDecoder(3, (5, *shape), 2, rank, n_classes=2).eval()
    assert by_class(torch.randn(2, 3), torch.tensor([0, 1])).shape == (2, 5, *shape)
    for norm in ("batch", "spectral", "none"):
        critic = ConvDiscriminator(shape, 2, rank, norm).eval()
        features, logit = critic(x)
        assert features.shape == (2, critic.n_features)
        assert logit.shape == (2,)


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=3))
def test_axes_are_halved_until_they_are_small(grid: list[int]) -> None:
    found = sizes(grid)
    assert found[0] == tuple(grid)
    assert max(found[-1]) <= SMALLEST
    assert len(found) >= 2
    for before, after in pairwise(found):
        assert all(a == (math.ceil(b / 2) if b > SMALLEST else b) for b, a in zip(before, after, strict=True))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_cell_reaches_the_features_and_no_example_reaches_another(rank: int) -> None:
    shape = (2, *[9] * rank)
    encoder = ConvEncoder(shape, 4, rank, "none")
    x = torch.randn(3, *shape, requires_grad=True)
    encoder(x)[0].sum().backward()
    assert x.grad is not None
    assert bool((x.grad[0] != 0).all())
    assert not x.grad[1:].any()
