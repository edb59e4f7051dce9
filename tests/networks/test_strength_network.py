"""The network of strengths: an exact law, which is also the law of its draws."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from musegen.networks.strengths import StrengthNetwork

K = 3
X = torch.tensor(  # three channels, of which the last two have strengths; three rows, two columns
    [[[1.0, 0], [0, 1], [1, 1]], [[1, 0], [0, 0], [1, 0]], [[1, 1], [0, 0], [0, 1]]]
)[None]


@pytest.fixture
def network() -> StrengthNetwork:
    torch.manual_seed(0)
    found = StrengthNetwork(3, [1, 2], 2, K, period=2, units=5, hidden=6, reach=1, interval=1)
    for weights in found.parameters():  # so that everything that may decide does
        torch.nn.init.normal_(weights, std=0.7)
    return found.eval()


def every(given: dict[int, int]) -> Tensor:
    """All strengths of the five cells that are on, ``(n, 2, 3, 2)``, of which some, by number, are given."""
    places = X[0, 1:].nonzero()
    choices = [[given[i]] if i in given else range(K) for i in range(len(places))]
    found = torch.zeros(len(list(itertools.product(*choices))), *X.shape[1:], dtype=torch.int64)[:, 1:]
    for row, chosen in zip(found, itertools.product(*choices), strict=True):
        for (part, step, column), strength in zip(places.tolist(), chosen, strict=True):
            row[part, step, column] = strength
    return found


KNOWN = [
    ({}, []),
    ({0: 2, 1: 0}, [(0, 0), (0, 2)]),  # one part, whose cells are in rows 0 and 2
    ({0: 2, 2: 1, 3: 0}, [(0, 0), (1, 0)]),  # all of the first row, with which nothing is left to draw
    ({4: 1}, [(1, 2)]),  # the last row of the other one, later than what is drawn
]


def known_of(places: list[tuple[int, int]]) -> Tensor:
    known = torch.zeros(1, 2, 3, dtype=torch.bool)
    for part, step in places:
        known[0, part, step] = True
    return known


@pytest.mark.parametrize(("given", "places"), KNOWN)
def test_probabilities_of_all_strengths_add_up_to_one(
    network: StrengthNetwork, given: dict[int, int], places: list[tuple[int, int]]
) -> None:
    strengths = every(given)
    n = len(strengths)
    with torch.no_grad():
        log_p = network(X.expand(n, -1, -1, -1), strengths, known_of(places).expand(n, -1, -1))
    assert float(log_p.logsumexp(0)) == pytest.approx(0, abs=1e-5)
    assert float(log_p.std()) > 0.1  # they are not all alike


@pytest.mark.parametrize(("given", "places"), KNOWN)
def test_draws_have_the_law_that_the_likelihood_says(
    network: StrengthNetwork, given: dict[int, int], places: list[tuple[int, int]]
) -> None:
    n, strengths = 6000, every(given)
    known = known_of(places)
    torch.manual_seed(1)
    drawn = network.draw(X.expand(n, -1, -1, -1), strengths[:1].expand(n, -1, -1, -1), known.expand(n, -1, -1))
    assert not drawn[:, X[0, 1:] == 0].any()  # only where a cell is on
    keep = known[0, :, :, None].expand(-1, -1, 2)
    assert torch.equal(drawn[:, keep], strengths[:1, keep].expand(n, -1))
    with torch.no_grad():
        p = network(X.expand(len(strengths), -1, -1, -1), strengths, known.expand(len(strengths), -1, -1)).exp()
    code = K ** torch.arange(12).view(2, 3, 2)
    of_law = {int(number): float(one) for number, one in zip((strengths * code).sum((1, 2, 3)), p, strict=True)}
    numbers, counts = (drawn * code).sum((1, 2, 3)).unique(return_counts=True)
    seen = dict(zip(numbers.tolist(), (counts / n).tolist(), strict=True))
    assert sum(abs(of_law[number] - seen.get(number, 0)) for number in of_law) / 2 < 0.07  # total variation


def test_what_is_given_before_and_after_decides_the_likeliest_draw(network: StrengthNetwork) -> None:
    """One cell alone is free, in row 3 of 6: the draw at temperature 0 is the strength that the likelihood finds likeliest."""
    generator = torch.Generator().manual_seed(0)
    n = 200
    x = (torch.rand(n, 3, 6, 2, generator=generator) < 0.6).float()
    x[:, 1:, 3] = 0
    x[:, 2, 3, 1] = 1
    strengths = torch.randint(K, (n, 2, 6, 2), generator=generator)
    known = torch.ones(n, 2, 6, dtype=torch.bool)
    known[:, 1, 3] = False

    def of_every() -> Tensor:
        found = []
        for s in range(K):
            strengths[:, 1, 3, 1] = s
            with torch.no_grad():
                found.append(network(x, strengths, known))
        return torch.stack(found)  # (K, n)

    with torch.no_grad():
        network.head.bias -= of_every().mean(1)  # so that what is given decides, and not what is likely anyhow
    likeliest = of_every().argmax(0)
    assert len(likeliest.unique()) == K
    assert torch.equal(network.draw(x, strengths, known, temperature=0)[:, 1, 3, 1], likeliest)


def test_more_draws_begin_with_the_same_ones_and_cold_ones_are_all_alike(network: StrengthNetwork) -> None:
    def draw(n: int, temperature: float = 1.0) -> Tensor:
        torch.manual_seed(3)
        nothing = torch.zeros(n, 2, 3, 2, dtype=torch.int64)
        return network.draw(X.expand(n, -1, -1, -1), nothing, nothing[..., 0] > 0, temperature)

    assert torch.equal(draw(7)[:3], draw(3))
    assert len(draw(7).flatten(1).unique(dim=0)) > 1
    assert len(draw(7, 0.0).flatten(1).unique(dim=0)) == 1


def test_no_cell_on_is_certain(network: StrengthNetwork) -> None:
    nothing = torch.zeros(2, 2, 3, 2, dtype=torch.int64)
    assert network(torch.zeros(2, 3, 3, 2), nothing, nothing[..., 0] > 0).tolist() == [0, 0]
    assert not network.draw(torch.zeros(2, 3, 3, 2), nothing, nothing[..., 0] > 0).any()
