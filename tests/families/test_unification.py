"""What docs/unification.md claims, on a world of six points where every integral is a sum (Hu et al. 2018, 1706.00550)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum()


@pytest.fixture
def world() -> tuple[Tensor, Tensor, Tensor]:
    """Logits θ of the generator, the data's law and a discriminator's probability that each of six points is real."""
    generator = torch.Generator().manual_seed(3)
    theta, data, d = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    return theta.requires_grad_(), data.softmax(0), d.sigmoid()


def parts(theta: Tensor, data: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """p(x|y=0), p(x|y=1), and at the present θ: q^r(x|y=0) ∝ q^r(y=0|x) p(x), and Σ_x p(x) q^r(y=0|x)."""
    p_g = theta.softmax(0)
    weight = d * ((p_g + data) / 2).detach()  # of generated x, y = 0, the reversed label is "real": q^r(y=0|x) = d(x)
    return p_g, data, weight / weight.sum(), weight.sum()


def gradient(value: Tensor, theta: Tensor) -> Tensor:
    return torch.autograd.grad(value, theta, retain_graph=True)[0]


def test_the_update_of_a_gans_generator_is_that_of_kl_minus_jsd(world: tuple[Tensor, Tensor, Tensor]) -> None:
    """Lemma 1, with both labels as likely: −½ ∇ E_{p_g} log d = ∇ [½ KL(p_g ‖ q^r) − JSD(p_g ‖ p_data)]."""
    theta, data, d = world
    p_g, p_data, q_r, _ = parts(*world)
    mixed = (p_g + data) / 2
    jsd = (kl(p_g, mixed) + kl(p_data, mixed)) / 2
    update = gradient(-(p_g * d.log()).sum() / 2, theta)
    torch.testing.assert_close(update, gradient(kl(p_g, q_r) / 2 - jsd, theta))
    assert not torch.allclose(update, gradient(kl(p_g, q_r) / 2, theta), atol=1e-3)  # the JSD is needed


def test_at_the_best_discriminator_q_r_of_generated_points_is_the_data(world: tuple[Tensor, Tensor, Tensor]) -> None:
    theta, data, _ = world
    best = data / (data + theta.detach().softmax(0))
    torch.testing.assert_close(parts(theta, data, best)[2], data)


def joint(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """p(x, z) and q(z|x) over six points and four codes, with the logits λ of q."""
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(24, generator=generator, dtype=torch.float64).softmax(0).view(6, 4)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64).requires_grad_()
    return p, logits.softmax(1), logits


def test_a_vae_minimises_kl_of_q_to_p_and_sleep_the_other_way_round() -> None:
    """ELBO = log p(x) − KL(q ‖ p(z|x)). Sleep, −E_p log q(z|x), is E_p(x) KL(p(z|x) ‖ q) and a constant in λ."""
    p, q, logits = joint(0)
    p_x, posterior = p.sum(1), p / p.sum(1, keepdim=True)
    elbo = (q * (p.log() - q.log())).sum(1)
    to_posterior = (q * (q / posterior).log()).sum(1)
    torch.testing.assert_close(elbo, p_x.log() - to_posterior)
    sleep = -(p * q.log()).sum()
    forward = (p_x * (posterior * (posterior / q).log()).sum(1)).sum()
    torch.testing.assert_close(gradient(sleep, logits), gradient(forward, logits))
    ours, theirs = gradient((p_x * to_posterior).sum(), logits), gradient(sleep, logits)
    assert not torch.allclose(ours, theirs, atol=1e-3)  # the two directions of KL are two updates


def test_wake_is_the_vaes_update_of_the_decoder() -> None:
    """At a fixed q, −E_q log p(x, z) and −ELBO differ by the entropy of q, in which θ does not occur."""
    _, q, _ = joint(0)
    theta = torch.zeros(24, dtype=torch.float64, requires_grad=True)
    p, q = theta.softmax(0).view(6, 4), q.detach()
    wake, bound = -(q * p.log()).sum(1).mean(), -(q * (p.log() - q.log())).sum(1).mean()
    torch.testing.assert_close(gradient(wake, theta), gradient(bound, theta))
    assert float((wake - bound).detach()) == pytest.approx(float(-(q * q.log()).sum(1).mean()))
    assert float((wake - bound).detach()) < math.log(4)
