"""The plane of codes and the density on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musegen.evaluation.latent import density, draw, principal_plane


def test_the_plane_holds_the_largest_variances() -> None:
    codes = torch.randn(500, 6) * torch.tensor([5.0, 3.0, 0.1, 0.1, 0.1, 0.1]) + 7
    plane, share = principal_plane(codes)
    assert share == pytest.approx((25 + 9) / (25 + 9 + 0.04), abs=0.01)
    torch.testing.assert_close(plane.var(0), torch.tensor([25.0, 9.0]).double(), rtol=0.2, atol=0)
    torch.testing.assert_close(plane.mean(0), torch.zeros(2).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("n", [1, 2])
def test_few_dimensions_stay_as_they_are(n: int) -> None:
    codes = torch.randn(10, n)
    plane, share = principal_plane(codes)
    assert share == 1
    torch.testing.assert_close(plane[:, :n], codes.double())


def test_the_density_integrates_to_one_and_peaks_where_codes_are() -> None:
    xy = np.random.default_rng(0).normal([2.0, -1.0], [0.5, 1.5], (2000, 2))
    grid = [np.linspace(-2, 6, 300), np.linspace(-9, 7, 300)]
    found = density(xy, grid)
    cell = (grid[0][1] - grid[0][0]) * (grid[1][1] - grid[1][0])
    assert found.sum() * cell == pytest.approx(1, abs=0.01)
    i, j = np.unravel_index(found.argmax(), found.shape)
    assert grid[0][i] == pytest.approx(2, abs=0.5)
    assert grid[1][j] == pytest.approx(-1, abs=1)


def test_the_picture_shows_every_class_in_its_colour() -> None:
    codes = torch.cat([torch.randn(50, 3) + 4 * c for c in range(3)])
    label = torch.arange(3).repeat_interleave(50)
    plain, coloured = (np.asarray(draw(codes, y, ("a", "b", "c"))) for y in (None, label))
    for colour in ((31, 119, 180), (255, 127, 14), (44, 160, 44)):  # matplotlib's first three
        assert (coloured[:, : coloured.shape[1] // 2] == colour).all(-1).sum() > 20
    assert not (plain == (255, 127, 14)).all(-1).any()


def test_draws_of_the_prior_have_a_panel_of_their_own() -> None:
    """A third panel, with grey dots where draws are; and the last one has their density, not that of the codes."""
    codes, drawn = torch.randn(200, 2), torch.randn(300, 2) + 8
    two, three = (np.asarray(draw(codes, None, (), prior)).astype(int) for prior in (None, drawn))
    assert three.shape[1] > two.shape[1]
    left, middle, right = np.array_split(three, 3, axis=1)
    dots = [int((abs(panel - 0x44) < 12).all(-1).sum()) for panel in (left, middle)]
    assert dots[1] > dots[0] + 300
    yellow = (right[..., 0] > 220) & (right[..., 1] > 200) & (right[..., 2] < 80)  # the top of viridis
    rows, columns = np.nonzero(yellow)
    assert rows.mean() < right.shape[0] / 2 < right.shape[1]
    assert columns.mean() > right.shape[1] / 2
