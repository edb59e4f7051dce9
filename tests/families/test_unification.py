"""What docs/unification.md says: GANs as variational inference (Hu et al. 2018, 1706.00550), and what wake-sleep shares with VAEs.

Everything is exact: x takes five values, p_g is a softmax of its parameters θ, and expectations are sums.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from musegen.families.adversarial import discriminator_loss, generator_loss

N = 5


def laws() -> tuple[Tensor, Tensor, Tensor]:
    """θ with p_g = softmax(θ), p_data, and logits of the discriminator that is optimal against it, as constants."""
    theta = torch.randn(N, dtype=torch.float64, requires_grad=True)
    data = torch.randn(N, dtype=torch.float64).softmax(0)
    return theta, data, (data.log() - theta.detach().log_softmax(0))


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.log() - q.log())).sum()


def jsd(p: Tensor, q: Tensor) -> Tensor:
    m = 0.5 * (p + q)
    return 0.5 * kl(p, m) + 0.5 * kl(q, m)


def gradient(value: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(value, of, retain_graph=True)[0]


def reversed_posterior(theta: Tensor, data: Tensor, logit: Tensor) -> Tensor:
    """q^r(x|y) ∝ q^r(y|x) p_{θ₀}(x), y ∈ {fake, real}, with q^r(y|x) = q(1 − y|x) of D: ``(2, N)``, constants."""
    prior = 0.5 * (theta.detach().softmax(0) + data)  # p_{θ₀}(x) = E_{p(y)} p_{θ₀}(x|y)
    d = logit.sigmoid()
    joint = torch.stack([d, 1 - d]) * prior
    return joint / joint.sum(1, keepdim=True)


@pytest.mark.parametrize("seed", range(5))
def test_the_posterior_that_the_generator_is_drawn_to_is_the_data_law(seed: int) -> None:
    """q^r(x|y = fake) = p_data(x) where D is optimal; with D = ½ it is the mixture of both laws, in between."""
    torch.manual_seed(seed)
    theta, data, best = laws()
    torch.testing.assert_close(reversed_posterior(theta, data, best)[0], data)
    mixture = 0.5 * (theta.detach().softmax(0) + data)
    torch.testing.assert_close(reversed_posterior(theta, data, torch.zeros(N).double())[0], mixture)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("optimal", [True, False])
def test_lemma_1(seed: int, optimal: bool) -> None:
    """∇_θ of the generator's loss = ∇_θ 2 [E_p(y) KL(p_θ(x|y) ‖ q^r(x|y)) − JSD(p_fake ‖ p_real)] at θ₀, for musegen's own loss.

    The paper's left side is E_p(y) E_x [−log q^r(y|x)], of which the generator's half is ½ E_fake[−log D]; hence the factor 2.
    D may be any: of the joint law only q^r(y|x) is D's, and its evidence is a constant of θ.
    """
    torch.manual_seed(seed)
    theta, data, logit = laws()
    if not optimal:
        logit = torch.randn(N).double()
    p_fake = theta.softmax(0)
    loss = (p_fake * generator_loss("non-saturating", logit)).sum()
    q = reversed_posterior(theta, data, logit)
    bound = 0.5 * kl(p_fake, q[0]) + 0.5 * kl(data, q[1])
    expected = gradient(2 * (bound - jsd(p_fake, data)), theta)
    torch.testing.assert_close(gradient(loss, theta), expected)
    assert gradient(loss, theta).abs().max() > 1e-3
    # Without the JSD it is another update.
    without = gradient(2 * (0.5 * kl(p_fake, q[0])), theta)
    assert not torch.allclose(without, expected, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_discriminator_and_the_minimax_game(seed: int) -> None:
    """D* = p_data / (p_data + p_g) minimises the discriminator's loss, which there is 2 log 2 − 2 JSD (1406.2661, theorem 1)."""
    torch.manual_seed(seed)
    theta, data, best = laws()
    p_g = theta.detach().softmax(0)

    def loss(logit: Tensor) -> Tensor:
        # Every pair of a real and a generated value, each with its probability.
        real, fake = logit[:, None].expand(N, N), logit.expand(N, N)
        return (data[:, None] * p_g * discriminator_loss("minimax", real, fake)).sum()

    at = best.clone().requires_grad_()
    torch.testing.assert_close(gradient(loss(at), at), torch.zeros(N).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(loss(best), 2 * torch.log(torch.tensor(2.0).double()) - 2 * jsd(p_g, data))


def joint_laws() -> tuple[Tensor, Tensor, Tensor]:
    """Logits of p(z) p(x|z) ``(3, N)`` and of q(z|x) ``(N, 3)``, and p_data ``(N,)``."""
    p = torch.randn(3, N, dtype=torch.float64, requires_grad=True)
    q = torch.randn(N, 3, dtype=torch.float64, requires_grad=True)
    return p, q, torch.randn(N).double().softmax(0)


def parts(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x, z) and log q(z|x), both ``(N, 3)``."""
    return p.flatten().log_softmax(0).view(3, N).T, q.log_softmax(1)


def elbo(p: Tensor, q: Tensor, data: Tensor) -> Tensor:
    log_p, log_q = parts(p, q)
    return (data[:, None] * log_q.exp() * (log_p - log_q)).sum()


@pytest.mark.parametrize("seed", range(3))
def test_the_wake_phase_is_the_bound_of_a_vae(seed: int) -> None:
    """∇ of the decoder: that of max E_q log p(x, z), wake-sleep's wake phase, is the VAE's."""
    torch.manual_seed(seed)
    p, q, data = joint_laws()
    log_p, log_q = parts(p, q)
    wake = (data[:, None] * log_q.detach().exp() * log_p).sum()
    torch.testing.assert_close(gradient(wake, p), gradient(elbo(p, q, data), p))


@pytest.mark.parametrize("seed", range(3))
def test_the_sleep_phase_turns_the_divergence_round(seed: int) -> None:
    """∇ of the encoder: a VAE descends E_data KL(q(z|x) ‖ p(z|x)), the sleep phase E_p(x) KL(p(z|x) ‖ q(z|x)). They differ."""
    torch.manual_seed(seed)
    p, q, data = joint_laws()
    log_p, log_q = parts(p, q)
    posterior = log_p.log_softmax(1)  # log p(z|x)
    of_vae = (data[:, None] * log_q.exp() * (log_q - posterior)).sum()
    torch.testing.assert_close(-gradient(elbo(p, q, data), q), gradient(of_vae, q))

    p_joint = log_p.detach().exp()  # a dream: x, z ~ p
    sleep = gradient(-(p_joint * log_q).sum(), q)
    turned = (p_joint.sum(1, keepdim=True) * posterior.detach().exp() * (posterior.detach() - log_q)).sum()
    torch.testing.assert_close(sleep, gradient(turned, q))
    assert not torch.allclose(sleep, -gradient(elbo(p, q, data), q), atol=1e-4)
