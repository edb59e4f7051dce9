"""Likelihoods against torch.distributions, normalisation and bounds."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Normal

from musegen.probability.latent import slerp
from musegen.probability.likelihood import Bernoulli, Categorical, Gaussian, Likelihood, LogisticMixture

ALL: list[Likelihood] = [Bernoulli(), Gaussian(), Gaussian(0.1, (0.0, 1.0)), Categorical(5), LogisticMixture(5, 3)]
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


def draw(likelihood: Likelihood, shape: tuple[int, ...], n: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    params = 2 * torch.randn(n, *likelihood.params_shape(shape))
    return params, likelihood.sample(params)


@settings(deadline=None, max_examples=25)
@given(shapes)
def test_shapes_and_sums(shape: tuple[int, ...]) -> None:
    for likelihood in ALL:
        params, x = draw(likelihood, shape)
        assert x.shape == likelihood.mean(params).shape == (3, *shape)
        cells = likelihood.cell_log_prob(params, x)
        assert cells.shape == (3, *shape)
        torch.testing.assert_close(likelihood.log_prob(params, x), cells.flatten(1).sum(1))


def test_bernoulli_matches_torch() -> None:
    params, x = draw(Bernoulli(), (3, 4))
    torch.testing.assert_close(Bernoulli().cell_log_prob(params, x), TorchBernoulli(logits=params).log_prob(x))
    torch.testing.assert_close(Bernoulli().mean(params), TorchBernoulli(logits=params).mean)


def test_bernoulli_probabilities_sum_to_one() -> None:
    params = torch.randn(1, 4)
    grids = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4)))
    torch.testing.assert_close(Bernoulli().log_prob(params.expand(16, 4), grids).exp().sum(), torch.tensor(1.0))


def test_gaussian_matches_torch() -> None:
    likelihood = Gaussian(sigma_min=0.05)
    params, x = draw(likelihood, (3, 4))
    scale = 0.05 + torch.nn.functional.softplus(params[:, 1])
    torch.testing.assert_close(likelihood.cell_log_prob(params, x), Normal(params[:, 0], scale).log_prob(x))


@settings(deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_gaussian_scale_never_falls_below_its_floor(loc: float, raw: float) -> None:
    """Mattei & Frellsen 2018: without a floor the density is unbounded."""
    likelihood = Gaussian(sigma_min=0.05, bounds=(0.0, 1.0))
    params = torch.tensor([[[loc], [raw]]])
    mean = likelihood.mean(params)
    assert 0 <= float(mean) <= 1
    assert (
        float(likelihood.cell_log_prob(params, mean)) <= -torch.log(torch.tensor(0.05 * (2 * torch.pi) ** 0.5)) + 1e-4
    )


def test_categorical_matches_torch() -> None:
    likelihood = Categorical(5)
    params, x = draw(likelihood, (3, 4))
    theirs = TorchCategorical(logits=params.movedim(1, -1))
    torch.testing.assert_close(likelihood.cell_log_prob(params, x), theirs.log_prob((4 * x).round()))
    levels = torch.linspace(0, 1, 5)
    torch.testing.assert_close(likelihood.mean(params), (theirs.probs * levels).sum(-1))


@pytest.mark.parametrize("likelihood", ALL, ids=lambda x: type(x).__name__)
def test_samples_follow_the_mean_and_temperature_0_is_the_mode(likelihood: Likelihood) -> None:
    params = torch.randn(1, *likelihood.params_shape((3,)))
    many = params.expand(40_000, *params.shape[1:])
    torch.testing.assert_close(likelihood.sample(many).mean(0), likelihood.mean(params)[0], atol=0.03, rtol=0)
    modes = likelihood.sample(many[:100], temperature=0)
    assert (modes == modes[0]).all()
    best = likelihood.log_prob(many[:100], modes)[0]
    assert (best >= likelihood.log_prob(many, likelihood.sample(many)) - 1e-5).all()


def test_slerp_keeps_the_norm_and_meets_the_ends() -> None:
    a, b = torch.randn(2, 64)
    b = b * a.norm() / b.norm()
    path = slerp(a, b, torch.linspace(0, 1, 7))
    torch.testing.assert_close(path[0], a)
    torch.testing.assert_close(path[-1], b)
    torch.testing.assert_close(path.norm(dim=1), a.norm().expand(7))
    torch.testing.assert_close(slerp(a, 2 * a, torch.tensor([0.5])), 1.5 * a[None])


@pytest.mark.parametrize("temperature", [0.25, 0.5, 2.0])
def test_a_temperature_narrows_or_widens_what_is_drawn(temperature: float) -> None:
    """A Gaussian's standard deviation is multiplied by it; a categorical's and a Bernoulli's log-odds are divided by it."""
    n = 20_000
    spread = Gaussian().sample(torch.stack([torch.zeros(n), torch.full((n,), 2.0)])[None], temperature).std()
    assert float(spread) == pytest.approx(temperature * (0.05 + math.log1p(math.exp(2))), rel=0.03)
    logits = torch.tensor([0.0, 1.0, -1.0])
    drawn = Categorical(levels=3).sample(logits[None, :, None].expand(1, 3, n), temperature)
    found = (2 * drawn).round().long().flatten().bincount(minlength=3) / n
    torch.testing.assert_close(found, (logits / temperature).softmax(0), atol=0.02, rtol=0)
    on = Bernoulli().sample(torch.full((1, n), 1.0), temperature).mean()
    assert float(on) == pytest.approx(1 / (1 + math.exp(-1 / temperature)), abs=0.02)


@settings(deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=9, max_size=9))
def test_a_logistic_mixture_sums_to_one_over_256_levels(values: list[float]) -> None:
    likelihood = LogisticMixture(256, 3)
    params = torch.tensor(values, dtype=torch.float64)[None, :, None].requires_grad_()
    levels = torch.linspace(0, 1, 256, dtype=torch.float64)
    each = likelihood.cell_log_prob(params.expand(256, 9, 1), levels[:, None])[:, 0]
    assert each.isfinite().all()
    assert float(each.detach().exp().sum()) == pytest.approx(1, abs=1e-9)
    torch.testing.assert_close(likelihood.log_levels(params)[0, :, 0], each)
    (slope,) = torch.autograd.grad(each.sum(), params)
    assert slope.isfinite().all()


def test_a_logistic_mixture_is_a_difference_of_distribution_functions() -> None:
    """1701.05517, eq. 2, by hand in one cell of three levels and two components."""
    params = torch.tensor([0.3, -0.4, 0.2, 0.1, -0.5, 0.6]).double()
    pi, mean = params[:2].softmax(0), params[2:4] + torch.tensor([-0.5, 0.5]).double()
    scale = params[4:].exp() / 2
    cdf = ((torch.tensor([-0.5, 0.5]).double()[:, None] - mean) / scale).sigmoid() @ pi  # between the levels −1, 0, 1
    by_hand = torch.stack([cdf[0], cdf[1] - cdf[0], 1 - cdf[1]])
    found = LogisticMixture(3, 2).log_levels(params[None, :, None])[0, :, 0].exp()
    torch.testing.assert_close(found, by_hand)


def test_classes_without_an_order_have_no_mean_between_them() -> None:
    """Classes 0 and 2 are likely, 1 is not: an expected value would be about 1."""
    logits = torch.tensor([2.0, -5.0, 2.1])[None, :, None].requires_grad_()
    shown = Categorical(3, ordered=False).mean(logits)
    assert shown.tolist() == [[1.0]]
    expected = Categorical(3).mean(logits)
    assert float(expected) == pytest.approx(0.52, abs=0.02)
    for mean in (shown, expected):
        (slope,) = torch.autograd.grad(mean.sum(), logits, retain_graph=True)
        assert slope[0, 2, 0] > 0 > slope[0, 0, 0]
