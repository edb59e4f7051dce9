"""InfoGAN (Chen, Duan, Houthooft, Schulman, Sutskever & Abbeel 2016, 1606.03657).

The generator's input has two parts: incompressible noise z and a code c that x = G(z, c) shall give back. The
mutual information I(c; G(z, c)) is bounded from below with an auxiliary Q(c|x),

    L_I(G, Q) = E_{c ~ P(c), x ~ G(z, c)} log Q(c|x) + H(c)  ≤  I(c; G(z, c))          (eq. 5)

with equality where Q is the posterior, and the game is

    min_{G, Q} max_D  V(D, G) − λ L_I(G, Q)                                            (eq. 6)

All in nats. V is the game of ``gan`` with G's non-saturating loss, as in the authors' program. The code is
c = (c₁, c₂): c₁ is one of ``n_classes`` K, uniform, so H(c₁) = log K, and Q(c₁|x) a softmax; c₂ are ``n_continuous``
uniform numbers on [−1, 1], so H(c₂) = n log 2, and Q(c₂|x) a factored Gaussian (section 6). A perfect Q reaches log K
on c₁. λ is ``lambda_categorical`` and ``lambda_continuous``. Q is ``recognition``, a layer of 128 units and an output layer on D's
features (appendix C). σ of Q(c₂|x) is ``continuous_sigma``: 1 in the authors' program for MNIST, so that −log Q is a squared
error, and λ may be 1 for both codes; learnt, with 0, its differential entropy has no ceiling, and λ is better 0.1.

Who moves: D and Q share all layers below their heads, and eq. 6 does not say who moves these. As in the authors' program, D's step
moves them and Q, and maximises λ L_I besides its own game; then G alone moves. Without ``trunk_learns_code`` D moves the shared
layers by its own game alone, and Q moves with G.

In training each batch of D, real or generated, is normalised by its own statistics. The ones that batch normalisation remembers,
and uses when D is asked to classify, are those of real examples alone.

The authors' sizes for MNIST are ``networks`` = dcgan with 64 ``channels`` and 1,024 ``dense`` units in batches of 128, the rates
those of ``players``. Deviations: z ~ N(0, I) instead of uniform; ``recognition`` has no batch normalisation, because it would
have seen nothing but generated examples when it is asked to classify real ones.

``classify`` is log Q(c₁|x): clusters without names, which a few labels, or the majority label, may name. ``sample``'s
``label`` fixes c₁.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Decoder, Discriminator, Spec, Wanted
from musegen.contracts.family import Capabilities, Family, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.errors import BadInput
from musegen.families.adversarial import discriminator_loss, generator_loss
from musegen.networks.layers import own_statistics
from musegen.options import option
from musegen.probability.latent import DiagonalGaussian, StandardNormal

__all__ = ["InfoGAN", "categorical_information", "continuous_information"]


@dataclass(frozen=True)
class InfoGANConfig:
    latent_dim: int = option(62, "dimensions of the noise z", ge=1)
    n_classes: int = option(10, "K of the categorical code", ge=2)
    n_continuous: int = option(2, "uniform continuous codes", ge=0)
    lambda_categorical: float = option(1.0, "λ of the categorical code's information", ge=0)
    lambda_continuous: float = option(1.0, "λ of the continuous codes' information", ge=0)
    continuous_sigma: float = option(1.0, "σ of Q(c₂|x); 0: learnt", ge=0)
    trunk_learns_code: bool = option(
        True, "Q moves with the discriminator, whose step also maximises λ L_I, instead of with the generator"
    )
    discriminator_norm: Literal["batch", "spectral", "none"] = option("batch", "normalisation in the discriminator")

    @property
    def n_code(self) -> int:
        """Length of the generator's input (z, one-hot c₁, c₂)."""
        return self.latent_dim + self.n_classes + self.n_continuous


def categorical_information(logits: Tensor, label: Tensor) -> Tensor:
    """log Q(c₁|x) + log K, nats: ``(B, K)``, ``(B,)`` → ``(B,)``; its mean bounds I(c₁; x) (eq. 5)."""
    return math.log(logits.shape[1]) - F.cross_entropy(logits, label, reduction="none")


def continuous_information(q: DiagonalGaussian, c: Tensor) -> Tensor:
    """log Q(c₂|x) + n log 2, nats: c ``(B, n)`` → ``(B,)``; its mean bounds I(c₂; x) (eq. 5)."""
    return q.log_prob(c) + c.shape[1] * math.log(2)


class InfoGAN(Family):
    name = "infogan"
    title = "Information-maximising generative adversarial network"
    paper = "Chen et al. 2016, arXiv 1606.03657"
    objective = "min_{G,Q} max_D  V(D, G) − λ L_I(G, Q),   L_I = E log Q(c|G(z, c)) + H(c) ≤ I(c; G(z, c))"
    Config = InfoGANConfig
    capabilities = Capabilities(decode=True, classify=True, condition=True)
    generator: Any
    discriminator: Any

    def __init__(self, config: InfoGANConfig, spec: Spec, networks: dict[str, Any]) -> None:
        super().__init__(config, spec, networks)
        self.prior = StandardNormal(config.latent_dim)
        n_statistics = config.n_classes + (1 if config.continuous_sigma else 2) * config.n_continuous
        self.recognition = nn.Sequential(
            nn.Linear(self.discriminator.n_features, 128), nn.LeakyReLU(0.2), nn.Linear(128, n_statistics)
        )

    @classmethod
    def networks(cls, config: InfoGANConfig, spec: Spec) -> dict[str, Wanted]:
        return {"generator": Decoder(config.n_code), "discriminator": Discriminator(config.discriminator_norm)}

    @classmethod
    def graph(cls, config: InfoGANConfig) -> Graph:
        return Graph(
            nodes=(
                Node("z", "noise", "noise"),
                Node("c", "code", "code"),
                Node("x̃", "generated", "generated"),
                Node("x", "observed", "data"),
                Node("y", "indicator", "real or fake"),
            ),
            edges=(
                Edge("z", "x̃", "generative", "x̃ = G(z, c)", ("generator",)),
                Edge("c", "x̃", "generative", "x̃ = G(z, c)", ("generator",)),
                Edge("x̃", "c", "inference", "Q(c|x̃)", ("discriminator", "recognition")),
                Edge("x̃", "y", "adversarial", "D(x̃)", ("discriminator",)),
                Edge("x", "y", "adversarial", "D(x)", ("discriminator",)),
            ),
        )

    @property
    def players(self) -> dict[str, Player]:
        q = ("recognition",)
        with_d, with_g = (q, ()) if self.config.trunk_learns_code else ((), q)
        return {
            "discriminator": Player(("discriminator", *with_d), learning_rate=2e-4, betas=(0.5, 0.999)),
            "generator": Player(("generator", *with_g), learning_rate=1e-3, betas=(0.5, 0.999)),
        }

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        code = self.draw(len(batch))
        with torch.no_grad():
            fake = self.decode(code)
        (_, real_logit), (features, fake_logit) = self.discriminator(batch.x), self.judge_generated(fake)
        loss = discriminator_loss("non-saturating", real_logit, fake_logit).mean()
        if self.config.trunk_learns_code:
            loss = loss - self.information(features, code)[0]
        yield "discriminator", {"loss": loss, "real_logit": real_logit.mean(), "fake_logit": fake_logit.mean()}

        code = self.draw(len(batch))
        features, logit = self.judge_generated(self.decode(code))
        weighted, terms = self.information(features, code)
        yield "generator", {"loss": generator_loss("non-saturating", logit).mean() - weighted} | terms

    def judge_generated(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logit of generated examples, whose statistics D does not remember."""
        with own_statistics(self.discriminator):
            features, logit = self.discriminator(x)
        return features, logit

    def draw(self, n: int, temperature: float = 1.0, label: Tensor | None = None) -> Tensor:
        """(z, one-hot c₁, c₂) from the prior, ``(n, n_code)``; ``label`` (n,) fixes c₁."""
        c, device = self.config, self.device
        z = self.prior.sample(n, device, temperature)
        if label is None:
            label = torch.randint(c.n_classes, (n,), device=device)
        continuous = temperature * (2 * torch.rand(n, c.n_continuous, device=device) - 1)
        return torch.cat([z, F.one_hot(label, c.n_classes).to(z.dtype), continuous], 1)  # (n, n_z + K + n_c)

    def traversal(self, steps: int) -> Tensor:
        """A row per class c₁; along it the first continuous code from −1 to 1, all with the same noise z."""
        c = self.config
        z = self.prior.sample(1, self.device).expand(c.n_classes, steps, -1)
        one_hot = torch.eye(c.n_classes, device=self.device)[:, None].expand(-1, steps, -1)  # (K, steps, K)
        continuous = torch.zeros(c.n_classes, steps, c.n_continuous, device=self.device)
        continuous[..., :1] = torch.linspace(-1, 1, steps, device=self.device)[:, None]
        return torch.cat([z, one_hot, continuous], 2)  # (K, steps, n_z + K + n_c)

    def q(self, features: Tensor) -> tuple[Tensor, DiagonalGaussian]:
        """Q(c|x) of D's features: logits of c₁ ``(B, K)``, and the Gaussian of c₂, ``(B, n_continuous)``."""
        c = self.config
        logits, statistics = self.recognition(features).tensor_split([c.n_classes], 1)
        if not c.continuous_sigma:
            return logits, DiagonalGaussian.from_statistics(statistics)  # (B, 2 n_c)
        return logits, DiagonalGaussian(statistics, torch.full_like(statistics, 2 * math.log(c.continuous_sigma)))

    def information(self, features: Tensor, code: Tensor) -> tuple[Tensor, Losses]:
        """λ L_I, and L_I of each kind of code, nats, means over the batch."""
        c = self.config
        _, one_hot, continuous = code.split([c.latent_dim, c.n_classes, c.n_continuous], 1)
        logits, q = self.q(features)
        terms = {"categorical_information": categorical_information(logits, one_hot.argmax(1)).mean()}
        weighted = c.lambda_categorical * terms["categorical_information"]
        if c.n_continuous:
            terms["continuous_information"] = continuous_information(q, continuous).mean()
            weighted = weighted + c.lambda_continuous * terms["continuous_information"]
        return weighted, terms

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        if label is not None:
            label = label.to(self.device)
            if label.shape != (n,) or not bool(((label >= 0) & (label < self.config.n_classes)).all()):
                raise BadInput(f"label must hold {n} whole numbers from 0 to {self.config.n_classes - 1}.")
        return self.decode(self.draw(n, self.sampling.temperature, label))

    def decode(self, z: Tensor) -> Tensor:
        """G(z, c) of ``(B, n_code)``: noise, one-hot c₁ and c₂ in this order."""
        return self.likelihood.mean(self.generator(z))

    def classify(self, x: Tensor) -> Tensor:
        """log Q(c₁|x), nats, ``(B, K)``."""
        features, _ = self.discriminator(x)
        return self.q(features)[0].log_softmax(1)
