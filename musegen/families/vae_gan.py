"""VAE/GAN: a variational autoencoder that measures reconstruction by a discriminator's features (Larsen et al. 2016,
1512.09300, "Autoencoding beyond pixels using a learned similarity metric").

Three players. With z ~ q(z|x), z_p ~ p(z) = N(0, I), x̃ = Dec(z), x_p = Dec(z_p), and Dis_l the features of the
discriminator, per example and in nats:

    L_prior   = KL(q(z|x) ‖ p(z))                                                                       (eq. 4)
    L_feature = −E_q log p(Dis_l(x)|z),   p(Dis_l(x)|z) = N(Dis_l(x); Dis_l(x̃), I)                  (eqs. 6, 7)
    L_GAN     = log Dis(x) + log(1 − Dis(x̃)) + log(1 − Dis(x_p))                                    (Algorithm 1)

    encoder        minimises  L_prior + L_feature
    decoder        minimises  γ L_feature − L_GAN', the part of it that depends on x̃ and x_p
    discriminator  minimises  −L_GAN

where the decoder's −L_GAN' is the generator's side of the game: log(1 − Dis(·)) over x̃ and x_p (``loss`` = minimax, what
Algorithm 1 writes) or −log Dis(·) (``loss`` = non-saturating). Error signals stop where the paper stops them (section 2.3):
L_feature trains no discriminator, or features that are constant would win, and L_GAN trains no encoder. Both hold because
only the player that is yielded moves. γ is ``gamma``; q(z|x) is ``encoder`` and ``posterior``; Dec and Dis are ``decoder``
and ``discriminator``. A generated example shows the discriminator the mean of the domain's likelihood; its scale, where it
has one, is not trained, and there is no bound on log p(x). With two generated examples for each real one, equal laws make
the optimal Dis ⅓, not ½, and the discriminator's loss 3 log 3 − 2 log 2.

Deviations: the players move in turn, each on a fresh pass, where Algorithm 1 takes all gradients from one pass. Dis_l is the
last hidden layer of the domain's discriminator; the paper's lies further down. Real, reconstructed and generated examples
pass the discriminator apart, so that batch statistics do not mix. The decoder's default loss does not saturate. Adam stands
for RMSProp. The authors' code also pauses a player that is far ahead and weighs each generated example by half; this does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Decoder, Discriminator, Encoder, Norm, Spec, Wanted
from musegen.contracts.family import Capabilities, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.families.adversarial import discriminator_loss, generator_loss
from musegen.families.remembered import memory_option
from musegen.families.vae import GaussianCode
from musegen.options import option

__all__ = ["VAEGAN", "feature_loss", "three_way_loss"]


@dataclass(frozen=True)
class VAEGANConfig:
    latent_dim: int = option(128, "dimensions of the code z", ge=1)
    gamma: float = option(0.01, "γ, weight of the feature loss against the GAN loss in the decoder", ge=0)
    loss: Literal["minimax", "non-saturating"] = option("non-saturating", "what the decoder minimises of the game")
    discriminator_norm: Norm = option("batch", "normalisation in the discriminator")
    memory: int = memory_option()


def feature_loss(features: Tensor, target: Tensor) -> Tensor:
    """−log N(target; features, I), nats: both ``(B, F)`` → ``(B,)`` (eqs. 6 and 7)."""
    return 0.5 * (target - features).square().sum(1) + 0.5 * features.shape[1] * math.log(2 * math.pi)


def three_way_loss(real: Tensor, reconstructed: Tensor, generated: Tensor) -> Tensor:
    """−L_GAN of Algorithm 1, what the discriminator minimises, nats: logits ``(B,)`` → ``(B,)``."""
    # The generator's minimax loss is log(1 − D), so its negative is the discriminator's share for one more generated x.
    return discriminator_loss("minimax", real, reconstructed) - generator_loss("minimax", generated)


class VAEGAN(GaussianCode):
    name = "vae_gan"
    title = "VAE/GAN"
    paper = "Larsen, Sønderby, Larochelle & Winther 2016, arXiv 1512.09300"
    objective = (
        "encoder: min KL(q(z|x) ‖ p(z)) + L_feature;  decoder: min γ L_feature − L_GAN;  discriminator: max L_GAN"
    )
    Config = VAEGANConfig
    capabilities = Capabilities(encode=True, decode=True, reconstruct=True)
    discriminator: Any

    @classmethod
    def networks(cls, config: VAEGANConfig, spec: Spec) -> dict[str, Wanted]:
        return {
            "encoder": Encoder(),
            "decoder": Decoder(config.latent_dim),
            "discriminator": Discriminator(config.discriminator_norm),
        }

    @classmethod
    def graph(cls, config: VAEGANConfig) -> Graph:
        return Graph(
            nodes=(
                Node("z", "latent", "code"),
                Node("x̃", "generated", "from code or prior"),
                Node("x", "observed", "data"),
                Node("Dis_l", "feature", "features"),
                Node("y", "indicator", "real or fake"),
            ),
            edges=(
                Edge("z", "x̃", "generative", "x̃ = Dec(z)", ("decoder",)),
                Edge("x", "z", "inference", "q(z|x) = N(μ, σ²)", ("encoder", "posterior")),
                Edge("x̃", "Dis_l", "deterministic", "Dis_l(x̃)", ("discriminator",)),
                Edge("x", "Dis_l", "generative", "N(Dis_l(x̃), I)", ("discriminator",)),
                Edge("Dis_l", "y", "adversarial", "Dis", ("discriminator",)),
            ),
        )

    @property
    def players(self) -> dict[str, Player]:
        rate, betas = 3e-4, (0.5, 0.999)
        return {
            "encoder": Player(("encoder", "posterior"), rate, betas),
            "decoder": Player(("decoder",), rate, betas),
            "discriminator": Player(("discriminator",), rate, betas),
        }

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        x, c = batch.x, self.config
        with torch.no_grad():
            target, _ = self.discriminator(x)  # Dis_l(x), which neither encoder nor decoder changes

        q = self.q(x)
        self.remember_posterior(q)
        features, _ = self.discriminator(self.decode(q.rsample()))
        kl, feature = q.kl().sum(1).mean(), feature_loss(features, target).mean()
        yield "encoder", {"loss": kl + feature, "kl": kl, "feature": feature}

        code, noise = self.codes(x)
        features, reconstructed = self.discriminator(self.decode(code))
        _, generated = self.discriminator(self.decode(noise))
        feature = feature_loss(features, target).mean()
        game = (generator_loss(c.loss, reconstructed) + generator_loss(c.loss, generated)).mean()
        yield "decoder", {"loss": c.gamma * feature + game, "feature": feature, "game": game}

        code, noise = self.codes(x)
        with torch.no_grad():
            fakes = self.decode(code), self.decode(noise)
        real, reconstructed, generated = (self.discriminator(each)[1] for each in (x, *fakes))
        logits = {"real": real, "reconstructed": reconstructed, "generated": generated}
        reported = {f"{name}_logit": logit.mean() for name, logit in logits.items()}
        yield "discriminator", {"loss": three_way_loss(**logits).mean()} | reported

    @torch.no_grad()
    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z ~ q(z|x) and as many z_p ~ p(z), for the players that leave the encoder alone: ``(B, n)`` twice."""
        return self.q(x).rsample(), self.prior.sample(len(x), x.device)
