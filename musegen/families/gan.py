"""Generative adversarial network (Goodfellow et al. 2014, 1406.2661, Algorithm 1).

A generator G(z), z ~ N(0, I), and a discriminator with logit a(x), D(x) = σ(a(x)). For ``critic_steps`` minibatches the
discriminator moves, then the generator once. Per example, in nats; a_r = a(x), a_f = a(G(z)):

    loss             discriminator minimises                         generator minimises
    minimax          −log D(x) − log(1 − D(G(z)))   (eq. 1)          log(1 − D(G(z)))          (saturates)
    non-saturating   the same                                        −log D(G(z))              (section 3)
    least-squares    ½(a_r − 1)² + ½ a_f²           (1611.04076)     ½(a_f − 1)²               (eq. 9)
    hinge            max(0, 1 − a_r) + max(0, 1 + a_f)               −a_f                      (1705.02894)
    wasserstein-gp   a_f − a_r + λ (‖∇a(x̂)‖₂ − 1)²  (1704.00028, eq. 3)   −a_f

x̂ is uniform on the line between a real and a generated example. A gradient penalty is defined per example, so
``wasserstein-gp`` asks for a discriminator without batch normalisation (1704.00028, section 4). The others take spectral
normalisation (Miyato et al. 2018, 1802.05957) unless told otherwise: batch normalisation of real and of generated examples
apart hides from a perceptron how their means differ. DCGAN (Radford et al. 2016, 1511.06434) is this family with the domain's
``dcgan`` networks and ``discriminator_norm`` = batch; Adam(2e-4, β₁ = 0.5) is theirs, (0, 0.9) is WGAN-GP's.

G shows the discriminator the mean of the domain's likelihood (for Bernoulli cells the probability), which is
differentiable. Real and generated examples pass through the discriminator apart, so that batch statistics do not mix.
Deviation: the discriminator's Adam settings are the generator's; Goodfellow et al. used momentum and maxout.
``real_smoothing`` softens real labels only (Salimans et al. 2016, 1606.03498, section 3.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.data.dataset import Batch
from musegen.domain import Decoder, Discriminator, Norm, Spec, Wanted
from musegen.errors import BadInput
from musegen.family import Capabilities, Family, Losses, Player
from musegen.graph import Edge, Graph, Node
from musegen.latent import StandardNormal
from musegen.options import option

__all__ = ["GAN", "discriminator_loss", "generator_loss", "gradient_penalty"]

GANLoss = Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein-gp"]


@dataclass(frozen=True)
class GANConfig:
    latent_dim: int = option(64, "dimensions of the noise z", ge=1)
    loss: GANLoss = option("non-saturating", "the game, see the table in the family's docstring")
    critic_steps: int = option(1, "discriminator updates per generator update, each on fresh data", ge=1)
    gradient_penalty: float = option(10.0, "λ of wasserstein-gp", ge=0)
    real_smoothing: float = option(0.0, "real label 1 − this (minimax and non-saturating)", ge=0, lt=1)
    discriminator_norm: Literal["auto", "batch", "spectral", "none"] = option(
        "auto", "normalisation in the discriminator: none for wasserstein-gp, spectral otherwise; DCGAN has batch"
    )

    def __post_init__(self) -> None:
        if self.loss == "wasserstein-gp" and self.discriminator_norm == "batch":
            raise BadInput(
                "loss=wasserstein-gp penalises the gradient of each example, which batch normalisation mixes: "
                "set discriminator_norm to none or spectral."
            )
        if self.real_smoothing and self.loss not in ("minimax", "non-saturating"):
            raise BadInput(f"real_smoothing needs loss=minimax or loss=non-saturating, not {self.loss}.")

    @property
    def norm(self) -> Norm:
        if self.discriminator_norm != "auto":
            return self.discriminator_norm
        return "none" if self.loss == "wasserstein-gp" else "spectral"


def discriminator_loss(loss: GANLoss, real: Tensor, fake: Tensor, real_smoothing: float = 0.0) -> Tensor:
    """What the discriminator minimises, per pair of examples, without the gradient penalty: logits ``(B,)`` → ``(B,)``."""
    match loss:
        case "minimax" | "non-saturating":
            target = torch.full_like(real, 1 - real_smoothing)
            return F.binary_cross_entropy_with_logits(real, target, reduction="none") + F.softplus(fake)
        case "least-squares":
            return 0.5 * (real - 1).square() + 0.5 * fake.square()
        case "hinge":
            return F.relu(1 - real) + F.relu(1 + fake)
        case "wasserstein-gp":
            return fake - real


def generator_loss(loss: GANLoss, fake: Tensor) -> Tensor:
    """What the generator minimises, per example: logits ``(B,)`` → ``(B,)``."""
    match loss:
        case "minimax":
            return -F.softplus(fake)  # log(1 − σ(a))
        case "non-saturating":
            return F.softplus(-fake)  # −log σ(a)
        case "least-squares":
            return 0.5 * (fake - 1).square()
        case "hinge" | "wasserstein-gp":
            return -fake


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """(‖∇_x̂ a(x̂)‖₂ − 1)² at x̂ uniform between pairs: ``(B, *S)`` twice → ``(B,)`` (1704.00028, eq. 3).

    Works also inside ``torch.no_grad()``, as an evaluation needs.
    """
    with torch.enable_grad():
        u = torch.rand(len(real), *(1 for _ in real.shape[1:]), device=real.device, dtype=real.dtype)  # (B, 1, …)
        between = torch.lerp(fake, real, u).detach().requires_grad_()
        _, logit = critic(between)
        (gradient,) = torch.autograd.grad(logit.sum(), between, create_graph=True)
        # The small constant keeps the derivative of the norm finite at 0.
        return ((gradient.flatten(1).square().sum(1) + 1e-12).sqrt() - 1).square()


class GAN(Family):
    name = "gan"
    title = "Generative adversarial network"
    paper = "Goodfellow et al. 2014, arXiv 1406.2661; Wasserstein with gradient penalty: arXiv 1704.00028"
    objective = "min_G max_D  E_x log D(x) + E_z log(1 − D(G(z)))   (and four other losses)"
    Config = GANConfig
    capabilities = Capabilities(decode=True)
    generator: Any
    discriminator: Any

    def __init__(self, config: GANConfig, spec: Spec, networks: dict[str, nn.Module]) -> None:
        super().__init__(config, spec, networks)
        self.prior = StandardNormal(config.latent_dim)

    @classmethod
    def networks(cls, config: GANConfig, spec: Spec) -> dict[str, Wanted]:
        return {"generator": Decoder(config.latent_dim), "discriminator": Discriminator(config.norm)}

    @classmethod
    def graph(cls, config: GANConfig) -> Graph:
        return Graph(
            nodes=(
                Node("z", "noise", "noise"),
                Node("x̃", "generated", "generated"),
                Node("x", "observed", "data"),
                Node("y", "indicator", "real or fake"),
            ),
            edges=(
                Edge("z", "x̃", "generative", "x̃ = G(z)", ("generator",)),
                Edge("x̃", "y", "adversarial", "D(x̃)", ("discriminator",)),
                Edge("x", "y", "adversarial", "D(x)", ("discriminator",)),
            ),
        )

    @property
    def players(self) -> dict[str, Player]:
        betas = (0.0, 0.9) if self.config.loss == "wasserstein-gp" else (0.5, 0.999)
        return {
            "discriminator": Player(("discriminator",), learning_rate=2e-4, betas=betas),
            "generator": Player(("generator",), learning_rate=2e-4, betas=betas),
        }

    @property
    def minibatches(self) -> int:
        return self.config.critic_steps

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        c = self.config
        for real in batch.split(c.critic_steps):
            with torch.no_grad():
                fake = self.generate(len(real))
            (_, real_logit), (_, fake_logit) = self.discriminator(real.x), self.discriminator(fake)
            loss = discriminator_loss(c.loss, real_logit, fake_logit, c.real_smoothing).mean()
            losses = {"loss": loss, "real_logit": real_logit.mean(), "fake_logit": fake_logit.mean()}
            if c.loss == "wasserstein-gp":
                penalty = gradient_penalty(self.discriminator, real.x, fake).mean()
                losses |= {
                    "loss": loss + c.gradient_penalty * penalty,
                    "penalty": penalty,
                    "wasserstein": -loss,
                }
            yield "discriminator", losses

        _, logit = self.discriminator(self.generate(-(-len(batch) // c.critic_steps)))
        yield "generator", {"loss": generator_loss(c.loss, logit).mean()}

    def generate(self, n: int, temperature: float = 1.0) -> Tensor:
        """G(z) for n draws of z, ``(n, *S)``."""
        return self.decode(self.prior.sample(n, self.device, temperature))

    def sample(self, n: int, *, temperature: float = 1.0, label: Tensor | None = None) -> Tensor:
        return self.generate(n, temperature)

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.generator(z))
