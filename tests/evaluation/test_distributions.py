"""Distances between distributions against closed forms and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance
from torch import Tensor

from musegen.evaluation.distributions import Counts, Numbers, compare, kl, merge, overlap, wasserstein

numbers = st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=1, max_size=30)
histograms = st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any)


def counts(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(numbers, numbers)
def test_wasserstein_is_scipys(a: list[float], b: list[float]) -> None:
    found = wasserstein(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64))
    assert found == pytest.approx(wasserstein_distance(a, b), rel=1e-9, abs=1e-9)


@given(numbers, st.floats(-50, 50))
def test_moving_everything_by_t_costs_t(a: list[float], t: float) -> None:
    x = torch.tensor(a, dtype=torch.float64)
    assert wasserstein(x, x + t) == pytest.approx(abs(t), rel=1e-9, abs=1e-9)


@given(histograms, histograms)
def test_overlap_is_one_minus_total_variation(p: list[int], q: list[int]) -> None:
    a, b = np.array(p) / sum(p), np.array(q) / sum(q)
    assert overlap(counts(p), counts(q)) == pytest.approx(1 - 0.5 * np.abs(a - b).sum())


@given(histograms, histograms)
def test_kl_bounds_the_overlap(p: list[int], q: list[int]) -> None:
    """Pinsker: KL ≥ 2 TV², of the smoothed histograms; and it is 0 for equal ones."""
    assert kl(counts(p), counts(p)) == 0
    seen = (counts(p) + counts(q)) > 0
    smooth = [(counts(x) + 0.5) * seen for x in (p, q)]
    variation = 1 - overlap(*smooth)
    assert kl(counts(q), counts(p)) >= 2 * variation**2 - 1e-12


def test_kl_in_closed_form() -> None:
    """After smoothing q = (3.5, 0.5)/4 and p = (1.5, 1.5)/3; and the two directions differ."""
    wanted = 0.875 * math.log(1.75) + 0.125 * math.log(0.25)
    assert kl(q=counts([3, 0]), p=counts([1, 1])) == pytest.approx(wanted)
    assert kl(q=counts([1, 1]), p=counts([3, 0])) == pytest.approx(-0.5 * (math.log(1.75) + math.log(0.25)))


def test_bins_hold_what_lies_outside_and_nan_is_left_out() -> None:
    edges = torch.tensor([0.0, 1.0, 2.0])
    found = Numbers(torch.tensor([[-5.0, 0.0, math.nan], [1.0, 2.0, 9.0]]), edges)
    assert found.defined.tolist() == [-5, 0, 1, 2, 9]
    assert found.counts.tolist() == [2, 3]


def test_compare_names_every_figure() -> None:
    edges = torch.arange(5.0)
    a = {"n": Numbers(torch.tensor([0.0, 1.0]), edges), "t": Counts(torch.tensor([[1, 1], [0, 0]]))}
    b = {"n": Numbers(torch.tensor([1.0, 2.0]), edges), "t": Counts(torch.tensor([[1, 0], [0, 1]]))}
    found = compare(a, b)
    assert found["n/mean"] == 0.5
    assert found["n/reference"] == 1.5
    assert found["n/overlap"] == found["t/overlap"] == 0.5
    assert found["n/distance"] == 1.0
    assert "t/distance" not in found
    nothing = compare({"n": Numbers(torch.tensor([math.nan]), edges)}, {"n": b["n"]})
    assert all(math.isnan(nothing[f"n/{figure}"]) for figure in ("mean", "overlap", "kl", "distance"))
    assert nothing["n/reference"] == 1.5


def test_measures_in_parts_are_the_measures_of_all() -> None:
    edges = torch.arange(5.0)
    parts = [{"n": Numbers(torch.full((i, 2), float(i)), edges), "t": Counts(torch.eye(2) * i)} for i in (1, 2)]
    merged = merge(parts)
    assert merged["n"].counts.tolist() == [0, 2, 4, 0]
    assert merged["t"].counts.tolist() == [3, 0, 0, 3]
