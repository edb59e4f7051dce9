"""Distances between sets of examples, and what codes know of factors."""

from __future__ import annotations

import torch

from musegen.evaluation.factors import mutual_information_gap
from musegen.evaluation.features import ROWS, frechet_distance, nearest, neighbourhoods
from musegen.reproduce.made import FACTORS, factors


def test_the_frechet_distance_of_gaussians_that_do_not_share_their_axes() -> None:
    torch.manual_seed(0)
    x = torch.linalg.qr(torch.randn(500, 2, dtype=torch.float64) - 0.0).Q
    x = x - x.mean(0)
    x = torch.linalg.solve_triangular(
        torch.linalg.cholesky(torch.cov(x.T)), x.T, upper=False
    ).T  # covariance I, exactly
    a, turn = torch.diag(torch.tensor([2.0, 1.0]).double()), torch.tensor([[0.6, -0.8], [0.8, 0.6]]).double()
    s, t = a @ a, turn @ torch.diag(torch.tensor([9.0, 1.0]).double()) @ turn.T
    root = torch.linalg.cholesky(t)
    values = torch.linalg.eigvals(s @ t).real  # tr (ST)^½ by eigenvalues of the product itself
    exact = float(s.trace() + t.trace() - 2 * values.sqrt().sum()) + 25
    assert abs(frechet_distance(x @ a, x @ root.T + torch.tensor([3.0, 4.0])) - exact) < 1e-6
    assert frechet_distance(x, x) < 1e-9


def test_neighbourhoods_of_sets_that_are_equal_and_that_are_apart() -> None:
    torch.manual_seed(0)
    x = torch.randn(ROWS + 10, 3)
    same = neighbourhoods(x, x)
    assert same["precision"] == same["recall"] == same["coverage"] == 1
    assert (
        1 <= same["density"] < 1.3
    )  # each lies within its own neighbourhood, and within those of five others on average
    assert set(neighbourhoods(x, x + 100).values()) == {0.0}


def test_samples_of_one_mode_are_precise_and_recall_half() -> None:
    torch.manual_seed(0)
    real = torch.randn(400, 2)
    real[200:] += 100
    found = neighbourhoods(torch.randn(200, 2), real)
    assert found["precision"] > 0.8
    assert 0.3 < found["recall"] < 0.52
    assert 0.3 < found["coverage"] < 0.52


def test_the_nearest_training_example_is_found() -> None:
    torch.manual_seed(0)
    training = torch.rand(50, 1, 4, 4)
    distance, index = nearest(training[[7, 3]] + 0.001, training)
    assert index.tolist() == [7, 3]
    assert torch.allclose(distance, torch.full((2,), 0.004), atol=1e-4)


def test_the_gap_does_not_mind_order_and_finds_nothing_in_noise() -> None:
    torch.manual_seed(0)
    v = torch.cartesian_prod(*map(torch.arange, FACTORS))
    codes = torch.cat([v.float()[:, [2, 0, 3, 1]], torch.randn(len(v), 2)], 1)
    assert mutual_information_gap(codes, v) > 0.9  # noise in 20 bins knows a little of each, by chance
    assert mutual_information_gap(torch.randn(len(v), 6), v) < 0.02


def test_pictures_of_factors_are_all_different_and_whole() -> None:
    x, v = factors()
    assert len(x) == len(v) == len({picture.tobytes() for picture in x})
    assert set(x.flatten().tolist()) == {0, 1}
    edges = x[..., [0, -1], :].sum() + x[..., [0, -1]].sum()
    assert edges == 0  # nothing is cut off
