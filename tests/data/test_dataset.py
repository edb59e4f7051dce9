"""Batches as a pure function of (seed, step), and parts of data sets."""

from __future__ import annotations

import hashlib
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musegen.contracts.dataset import Batch, generator_for
from musegen.data.arrays import ArrayDataset, View, balanced_subset
from musegen.data.batches import Batches, spread

CPU = torch.device("cpu")


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 100), st.integers(0, 5))
def test_every_epoch_shows_every_example_once(n: int, batch_size: int, seed: int) -> None:
    batches = Batches(ArrayDataset(torch.zeros(n, 1, dtype=torch.uint8)), batch_size, seed, CPU)
    n_steps = -(-3 * n // batch_size)
    seen = torch.cat([batches.index(step) for step in range(n_steps)])
    for epoch in range(3):
        assert sorted(seen[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(0, 3))
def test_a_step_is_the_same_whatever_was_asked_before(step: int, seed: int) -> None:
    dataset = ArrayDataset(
        torch.arange(30, dtype=torch.uint8)[:, None], transform=lambda x, g: torch.bernoulli(x, generator=g)
    )
    one, other = (Batches(dataset, 7, seed, CPU) for _ in range(2))
    for s in range(step):
        one[s]
    torch.rand(3)  # the global generator plays no part
    assert torch.equal(one[step].index, other[step].index)
    assert torch.equal(one[step].x, other[step].x)


def test_seeds_and_steps_differ() -> None:
    dataset = ArrayDataset(torch.arange(100, dtype=torch.uint8)[:, None])
    orders = [Batches(dataset, 100, seed, CPU).index(step) for seed in (0, 1) for step in (0, 1)]
    assert len({tuple(order.tolist()) for order in orders}) == 4


def test_dynamic_binarisation_draws_anew_at_every_visit() -> None:
    dataset = ArrayDataset(
        torch.full((50, 20), 128, dtype=torch.uint8), transform=lambda x, g: torch.bernoulli(x, generator=g)
    )
    batches = Batches(dataset, 50, 0, CPU)
    first, second = (batches[s].x[batches[s].index.argsort()] for s in (0, 1))
    assert not torch.equal(first, second)
    assert float(torch.stack([batches[s].x for s in range(40)]).mean()) == pytest.approx(128 / 255, abs=0.01)


def test_validation_is_the_same_each_time_and_in_order() -> None:
    dataset = ArrayDataset(
        torch.full((25, 4), 128, dtype=torch.uint8), transform=lambda x, g: torch.bernoulli(x, generator=g)
    )
    batches = Batches(dataset, 8, 0, CPU)
    one, other = (list(batches.once()) for _ in range(2))
    assert [len(b) for b in one] == [8, 8, 8, 1]
    assert torch.equal(torch.cat([b.index for b in one]), torch.arange(25))
    assert all(torch.equal(a.x, b.x) for a, b in zip(one, other, strict=True))


@given(st.integers(1, 60), st.integers(1, 400))
@settings(deadline=None)
def test_some_examples_are_evenly_spread_over_all(n: int, total: int) -> None:
    """The i-th of n is the middle one of the i-th of n equal parts, so each is seen once and none is far from the next."""
    found = spread(n, total).tolist()
    n = min(n, total)
    assert found == [math.floor((i + 0.5) * total / n) for i in range(n)]
    assert len(set(found)) == n
    assert all(total // n <= b - a <= -(-total // n) for a, b in itertools.pairwise(found))


def test_a_few_examples_are_of_all_parts_of_the_data() -> None:
    """Ten examples of five pieces of 20 windows each: two of every piece, in order, in batches as usual."""
    dataset = ArrayDataset(torch.zeros(100, 1, dtype=torch.uint8), label=torch.arange(100) // 20)
    seen = list(Batches(dataset, 4, 0, CPU).once(limit=10))
    assert [len(batch) for batch in seen] == [4, 4, 2]
    assert torch.cat([batch.index for batch in seen]).tolist() == [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]
    assert torch.cat([batch.label for batch in seen]).bincount().tolist() == [2, 2, 2, 2, 2]  # type: ignore[misc]
    (second,) = Batches(dataset, 4, 0, CPU).once(10, first=1, every=2)
    assert second.index.tolist() == [45, 55, 65, 75]


def test_generators_are_keyed() -> None:
    draws = {float(torch.rand(1, generator=generator_for(CPU, *key))) for key in ((0, 1), (1, 0), (0, 1, 2), (0,))}
    assert len(draws) == 4


@given(st.integers(1, 30), st.integers(1, 5))
@settings(deadline=None)
def test_split_covers_the_batch(n: int, parts: int) -> None:
    batch = Batch(torch.arange(n)[:, None].float(), torch.arange(n), torch.arange(n) % 3)
    split = list(batch.split(parts))
    assert len(split) <= parts
    assert torch.equal(torch.cat([b.index for b in split]), batch.index)
    assert torch.equal(torch.cat([b.label for b in split]), batch.label)  # type: ignore[misc]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("part", "recorded"), [(None, "49ee6b2e6eece58a"), (range(5, 45, 3), "1df468351465afd8")])
def test_order_and_values_are_what_they_always_were(part: range | None, recorded: str, dtype: torch.dtype) -> None:
    """A run that began with an older musegen goes on with the batches that it would have had: these are recorded."""
    x = torch.randint(0, 256, (50, 3, 4), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
    pictures = ArrayDataset(x, torch.arange(50) % 3, lambda x, g: torch.bernoulli(x, generator=g), binary=True)
    some = View(pictures, torch.arange(5, 45, 3))
    dataset = pictures if part is None else View(pictures, torch.tensor(part))
    batches = Batches(dataset.placed(CPU, None, dtype), 7, 5, CPU, {"more": some.placed(CPU, None, dtype)})
    digest = hashlib.sha256()
    for step in [*range(20), 30, 31, 12]:
        batch, more = batches[step], batches[step].auxiliary["more"]
        assert batch.x.dtype == dtype
        for tensor in (batch.x.to(torch.uint8), batch.index, batch.label, more.x.to(torch.uint8), more.index):
            digest.update(tensor.numpy().tobytes())  # type: ignore[union-attr]
    for batch in batches.once():
        digest.update(batch.x.to(torch.uint8).numpy().tobytes())
    assert digest.hexdigest()[:16] == recorded


# Auxiliary data and views


def test_streams_come_beside_each_batch_in_an_order_of_their_own() -> None:
    main, other = (ArrayDataset(torch.arange(50, dtype=torch.uint8)[:, None], scale=1) for _ in range(2))
    batches = Batches(main, 10, 0, CPU, {"other": other})
    seen = [batches[step].auxiliary["other"].index for step in range(5)]
    assert sorted(torch.cat(seen).tolist()) == list(range(50))
    assert not torch.equal(batches[0].index, seen[0])
    plain = Batches(main, 10, 0, CPU)
    assert torch.equal(plain[3].index, batches[3].index)  # auxiliary data do not change the batches
    parts = list(batches[0].split(2))
    assert [len(part.auxiliary["other"]) for part in parts] == [5, 5]
    assert [len(b.auxiliary["other"]) for b in Batches(main, 20, 0, CPU, {"other": other}).once()] == [20, 20, 10]


def test_a_balanced_subset_is_balanced_and_fixed() -> None:
    label = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    chosen = balanced_subset(label, 31, seed=3)
    assert label[chosen].bincount().tolist() == [11, 10, 10]
    assert len(set(chosen.tolist())) == 31
    assert torch.equal(chosen, balanced_subset(label, 31, seed=3))
    assert not torch.equal(chosen, balanced_subset(label, 31, seed=4))
    with pytest.raises(ValueError, match="class 2 has 20 examples"):
        balanced_subset(label, 90, seed=0)


def test_views_choose_and_hide() -> None:
    whole = ArrayDataset(torch.arange(10, dtype=torch.uint8)[:, None], torch.arange(10), scale=1)
    some = View(whole, torch.tensor([7, 3]))
    batch = some.gather(torch.tensor([1, 0]), torch.Generator())
    assert batch.index.tolist() == batch.label.tolist() == [3, 7]  # type: ignore[union-attr]
    assert some.label.tolist() == [7, 3]  # type: ignore[union-attr]
    hidden = View(whole, labelled=False)
    assert hidden.label is None
    assert hidden.gather(torch.tensor([1]), torch.Generator()).label is None
    assert len(hidden) == 10
