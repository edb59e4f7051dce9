"""The classifier of digits that ships: how often it is right, what it leaves alone, and the figures made of it."""

from __future__ import annotations

import hashlib
import math
from importlib.resources import files

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from musegen.data.bundled import bundled
from musegen_image.classifier import (
    WEIGHTS,
    DigitNetwork,
    class_entropy,
    confidence,
    confident_share,
    digit_probabilities,
)
from musegen_image.data import binarise, read_mnist
from musegen_image.metrics import compare


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """The first 2,000 test images and their labels."""
    images, label = read_mnist(bundled("mnist"))["test"]
    return torch.from_numpy(np.array(images[:2000]))[:, None].float() / 255, torch.from_numpy(np.array(label[:2000]))


@pytest.mark.parametrize(("how", "least"), [("none", 0.985), ("threshold", 0.985), ("dynamic", 0.975)])
def test_it_reads_digits_however_they_are_binarised(digits: tuple[Tensor, Tensor], how: str, least: float) -> None:
    """The first 2,000 test images are harder than the rest; all 10,000 are read by the slow test below."""
    x = binarise(digits[0], how, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    p = digit_probabilities(x)
    assert p.shape == (2000, 10)
    torch.testing.assert_close(p.sum(1), torch.ones(2000))
    assert float((p.argmax(1) == digits[1]).float().mean()) >= least
    assert confident_share(x) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("how", "least"), [("none", 0.992), ("threshold", 0.992), ("dynamic", 0.98)])
def test_accuracy_over_the_whole_test_set(how: str, least: float) -> None:
    images, label = read_mnist(bundled("mnist"))["test"]
    x = binarise(torch.from_numpy(np.array(images))[:, None].float() / 255, how, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert float((digit_probabilities(x).argmax(1) == torch.from_numpy(np.array(label))).float().mean()) >= least


def test_what_is_no_digit_is_doubted(digits: tuple[Tensor, Tensor]) -> None:
    x = digits[0][:500]
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(x.shape, generator=generator)
    pixels = x.flatten(1)[:, torch.randperm(784, generator=generator)].view_as(x)
    blank = torch.zeros(1, 1, 28, 28)
    for nothing in (noise, 0.3 * noise, (noise < 0.13).float(), pixels, blank, 1 - blank):
        assert confident_share(nothing) < 0.05
    # Two digits over each other, at half the brightness each, may still look like one of them.
    assert confident_share((x + x.roll(1, 0)) / 2) < 0.75 < confident_share(x)


def test_the_figures_by_hand() -> None:
    p = torch.tensor([[0.95, 0.05, 0.0], [0.2, 0.5, 0.3], [0.9, 0.1, 0.0], [0.0, 0.0, 1.0]])
    assert confidence(p) == 0.5  # 0.9 itself is not above 0.9
    assert confidence(p, 0.4) == 1.0
    mean = [2.05 / 4, 0.65 / 4, 1.3 / 4]
    assert class_entropy(p) == pytest.approx(-sum(m * math.log(m) for m in mean), rel=1e-6)
    assert class_entropy(torch.eye(10)) == pytest.approx(math.log(10))
    assert class_entropy(torch.eye(10)[[3, 3, 3]]) == 0


def test_nobody_else_notices(digits: tuple[Tensor, Tensor]) -> None:
    """No random number is drawn, also when the weights are loaded; nothing is remembered between pictures."""
    from musegen_image import classifier

    classifier._trained.cache_clear()
    before, x = torch.get_rng_state(), digits[0][:1500]
    p = digit_probabilities(x)
    assert torch.equal(torch.get_rng_state(), before)
    assert not p.requires_grad
    assert torch.equal(digit_probabilities(x), p)
    torch.testing.assert_close(digit_probabilities(x[700:703]), p[700:703], atol=1e-5, rtol=1e-4)
    assert torch.equal(digit_probabilities(x.double()).argmax(1), p.argmax(1))
    assert digit_probabilities(x[:0]).shape == (0, 10)
    with pytest.raises(ValueError, match="28, 28"):
        digit_probabilities(torch.zeros(2, 28, 28))


def test_the_weights_are_small_and_are_those_that_were_trained() -> None:
    content = files("musegen_image").joinpath(WEIGHTS).read_bytes()
    assert len(content) <= 500_000
    assert hashlib.sha256(content).hexdigest() == "ca1ea59bb93ca594266c21a4361465e54dbe233d41666a421d07865fc7549b0a"
    weights = load(content)
    assert weights.keys() == DigitNetwork().state_dict().keys()
    assert 50_000 <= sum(p.numel() for p in DigitNetwork().parameters()) <= 200_000


def test_comparisons_of_digits_say_how_sure_and_how_varied(digits: tuple[Tensor, Tensor]) -> None:
    x, label = digits
    found = compare(x[label == 4], x)
    assert found["confident_samples"] == confident_share(x[label == 4])
    assert found["confident_reference"] == confident_share(x)
    assert found["classes_entropy_samples"] < 0.2
    noise = compare(torch.rand(50, 1, 28, 28, generator=torch.Generator().manual_seed(0)), x)
    assert noise["confident_samples"] < 0.05
    assert compare(x, x)["classes_entropy_samples"] == pytest.approx(math.log(10), abs=0.02)


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 16, 16)])
def test_other_pictures_are_not_taken_for_digits(shape: tuple[int, ...]) -> None:
    x = torch.rand(4, *shape)
    assert not {"confident_samples", "confident_reference", "classes_entropy_samples"} & compare(x, x).keys()
