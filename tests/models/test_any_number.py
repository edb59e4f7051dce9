"""The first samples of many are those of few, in every family, and also where a sample takes many draws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from configurations import ON_TOYS, configured
from torch import Tensor

import musegen
from musegen.engine.shared_state import seeded
from musegen.probability.any_number import AnyNumber

RUN = {"steps": 2, "batch_size": 8, "sample_every": 0, "device": "cpu", "quiet": True}
CPU = torch.device("cpu")


def trained(key: str, domain: str, folder: Path, **options: Any) -> musegen.Model:
    family, own = configured(key, domain, options)
    model = musegen.load(musegen.train(family, domain, out=folder / "run", **RUN, **own).path)
    with torch.no_grad(), seeded(5, CPU):  # hardly trained networks draw much the same, whatever they are fed
        for parameter in model.family.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def same(few: Tensor, many: Tensor) -> None:
    """Equal but for how sums over batches of other sizes round."""
    assert not torch.allclose(many[0], many[-1])
    torch.testing.assert_close(few, many[: len(few)], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("key", ON_TOYS)
def test_of_every_family(key: str, tmp_path: Path) -> None:
    model = trained(key, "toy", tmp_path, **({"given": True} if "given" in key else {}))
    can = model.family.capabilities
    if not can.sample:
        pytest.skip("it does not sample")
    for n, more in ((4, 8), (1, 2), (3, 19)):
        same(model.sample(n, 3), model.sample(more, 3))
    if hasattr(model.family.sampling, "temperature"):
        same(model.sample(4, 3, temperature=0.7), model.sample(8, 3, temperature=0.7))
    if can.condition:
        labels = [1, 0, 1, 0, 0, 1, 1, 0]
        same(model.sample(4, 3, label=labels[:4]), model.sample(8, 3, label=labels))


@pytest.mark.parametrize("key", ["pixelcnn-plain", "pixelcnn-gated", "pixelrnn-row"])
def test_of_grey_pictures(key: str, tmp_path: Path, picture_folder: Path) -> None:
    """Each cell has one of several levels, which takes a random number per level."""
    model = trained(key, "image", tmp_path, size=6, binarisation="none", data=picture_folder)
    few, many = model.sample(3, 3), model.sample(5, 3)
    # An even choice between two levels may be decided by rounding.
    assert (few == many[:3]).float().mean() > 0.98
    assert not torch.equal(many[0], many[1])


def test_of_music_that_goes_on(tmp_path: Path, band_store: Path) -> None:
    options = {"data": band_store, "bars": 1, "lowest_pitch": 60, "highest_pitch": 71}
    model = trained("rnn_nade", "pianoroll", tmp_path, **options)
    longer = 2 * model.domain.spec.shape[1]
    for n, more in ((1, 4), (2, 3), (3, 5)):
        same(model.sample(n, 3, n_steps=longer), model.sample(more, 3, n_steps=longer))
        past = model.sample(1, 4)[0]
        same(model.continue_(past, 8, n, 3), model.continue_(past, 8, more, 3))


@pytest.mark.parametrize("key", ["rnn_nade-given", "conditional_gan-given"])
def test_of_accompaniments(key: str, tmp_path: Path, band_store: Path) -> None:
    options = {"data": band_store, "bars": 1, "lowest_pitch": 60, "highest_pitch": 71}
    model = trained(key, "pianoroll", tmp_path, **options)
    part = torch.zeros(model.domain.spec.shape[0], 40, model.domain.spec.shape[2])
    part[4 if "rnn" in key else 3, ::4] = 1
    for n, more in ((1, 2), (3, 5)):
        same(model.accompany(part, n, 3), model.accompany(part, more, 3))
        same(model.sample(n, 3), model.sample(more, 3))


FUNCTIONS: dict[str, Callable[[int], Tensor]] = {
    "rand": lambda n: torch.rand(n, 3),
    "randn": lambda n: torch.randn(n, 3),
    "randn of a tuple": lambda n: torch.randn((n, 3), dtype=torch.float64),
    "randn of size": lambda n: torch.randn(size=(n, 3)),
    "randn without columns": lambda n: torch.randn(n),
    "randint": lambda n: torch.randint(9, (n, 3)),
    "rand_like": lambda n: torch.rand_like(torch.zeros(n, 3)),
    "randn_like": lambda n: torch.randn_like(torch.zeros(n, 3)),
    "normal of tensors": lambda n: torch.normal(torch.zeros(n, 3), torch.ones(n, 3)),
    "normal of a tensor": lambda n: torch.normal(torch.zeros(n, 3), std=2.0),
    "normal of numbers": lambda n: torch.normal(1.0, 2.0, (n, 3)),
    "normal_": lambda n: torch.zeros(n, 3).normal_(1.0, std=2.0),
    "exponential_": lambda n: torch.zeros(n, 3).exponential_(),
    "bernoulli": lambda n: torch.bernoulli(torch.full((n, 3), 0.5)),
    "multinomial": lambda n: torch.multinomial(torch.ones(n, 9), 4),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_whatever_is_drawn_with(name: str) -> None:
    function = FUNCTIONS[name]

    def twice(n: int) -> tuple[Tensor, Tensor]:
        with seeded(3, CPU), AnyNumber():
            return function(n), function(n)

    for n in (1, 2, 5, 16, 17):
        for few, many in zip(twice(n), twice(40), strict=True):
            assert few.shape[0] == n
            assert torch.equal(few, many[:n])
    first, second = twice(40)
    assert not torch.equal(first, second)
    # What is drawn first is what torch itself would draw from this seed, up to where it treats a few numbers otherwise.
    with seeded(3, CPU):
        plain = function(32)
    assert torch.equal(plain, twice(32)[0])


def test_normal_numbers_have_their_mean_and_deviation() -> None:
    with seeded(3, CPU), AnyNumber():
        for x in (
            torch.normal(1.0, 2.0, (20000,)),
            torch.normal(torch.ones(20000), 2.0),
            torch.zeros(20000).normal_(1, 2),
        ):
            assert abs(float(x.mean()) - 1) < 0.05
            assert abs(float(x.std()) - 2) < 0.05


def test_a_generator_of_ones_own_is_left_alone() -> None:
    own = torch.Generator().manual_seed(3)
    with seeded(1, CPU), AnyNumber():
        found = torch.cat([torch.rand(2, generator=own), torch.rand(2, generator=own)])
    assert torch.equal(found, torch.rand(4, generator=torch.Generator().manual_seed(3)))
