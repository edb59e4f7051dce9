"""Networks of no domain: binary neurons, and decoders that see what is given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from toy import ToyConfig, ToyDomain

from musegen.contracts.domain import Decoder
from musegen.networks.layers import BinaryNeurons

KINDS = ("deterministic", "stochastic")
logits = st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=8).map(lambda v: torch.tensor(v, dtype=torch.float32))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=50)
@given(x=logits, epoch=st.integers(0, 100_000))
@example(x=torch.tensor([5.9605e-08]), epoch=5)  # σ rounds it to ½, and 1.6 times as much to more
def test_neurons_put_out_exactly_0_or_1(kind: Any, x: torch.Tensor, epoch: int) -> None:
    neurons = BinaryNeurons(kind, 1.1)
    neurons.anneal(epoch)
    found = neurons(x)
    assert ((found == 0) | (found == 1)).all()
    if kind == "deterministic":
        assert torch.equal(found == 1, x > 0)
    assert torch.equal(neurons(x, mode=True), BinaryNeurons("deterministic")(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epoch", [0, 3])
def test_gradients_pass_straight_through_a_sigmoid(kind: Any, epoch: int) -> None:
    """Backward is that of p = σ(s x): s p (1 − p), whatever was drawn."""
    neurons = BinaryNeurons(kind, 1.1)
    neurons.anneal(epoch)
    x = torch.linspace(-6, 6, 25, requires_grad=True)
    weight = torch.linspace(1, 2, 25)
    (gradient,) = torch.autograd.grad((weight * neurons(x)).sum(), x)
    p = (1.1**epoch * x.detach()).sigmoid()
    torch.testing.assert_close(gradient, weight * 1.1**epoch * p * (1 - p))


def test_a_stochastic_neuron_is_1_as_often_as_its_probability_says() -> None:
    torch.manual_seed(0)
    neurons = BinaryNeurons("stochastic", 1.5)
    neurons.anneal(2)
    x = torch.tensor([-3.0, -1.0, 0.0, 0.5, 2.0])
    n = 40_000
    p = (1.5**2 * x).sigmoid()
    error = (neurons(x.expand(n, -1)).mean(0) - p).abs()
    assert (error < 5 * (p * (1 - p) / n).sqrt()).all()


def test_the_slope_grows_by_epochs_to_a_limit_and_is_saved() -> None:
    neurons = BinaryNeurons("stochastic", 1.1)
    slopes = []
    for epoch in (0, 1, 2, 1000, 10**9):
        neurons.anneal(epoch)
        slopes.append(float(neurons.slope))
    assert slopes == pytest.approx([1, 1.1, 1.21, BinaryNeurons.MAX_SLOPE, BinaryNeurons.MAX_SLOPE])
    copy = BinaryNeurons("stochastic", 1.1)
    copy.load_state_dict(neurons.state_dict())
    assert float(copy.slope) == BinaryNeurons.MAX_SLOPE


@pytest.mark.parametrize("n_classes", [0, 2])
def test_a_plain_domain_has_decoders_that_see_what_is_given(n_classes: int) -> None:
    torch.manual_seed(0)
    domain = ToyDomain(ToyConfig(given=True))
    decoder = domain.network(Decoder(3, n_classes, given=True)).eval()
    z, label = torch.randn(4, 3), [torch.tensor([0, 1, 0, 1])] if n_classes else []
    x, y = torch.rand(2, 4, *domain.spec.shape).unbind()
    assert decoder(z, *label, given=x).shape == (4, *domain.spec.shape)
    assert not torch.allclose(decoder(z, *label, given=x), decoder(z, *label, given=y))
    assert not torch.allclose(decoder(z, *label, given=x), decoder(z + 1, *label, given=x))
