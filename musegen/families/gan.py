"""Generative adversarial network (Goodfellow et al. 2014, 1406.2661, Algorithm 1).

A generator G(z), z ~ N(0, I), and a discriminator with logit a(x), D(x) = σ(a(x)). For ``critic_steps`` minibatches the
discriminator moves, then the generator once (``musegen.families.adversarial``, the game that ``conditional_gan`` plays too). Per
example, in nats; a_r = a(x), a_f = a(G(z)):

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
``dcgan`` networks and ``discriminator_norm`` = batch; Adam(2e-4, β₁ = 0.5) is theirs, (0, 0.9) is WGAN-GP's. Against a
discriminator with batch normalisation the generator has 1e-3, as InfoGAN's (1606.03657, appendix C.1).

MuseGAN (Dong et al. 2018, 1709.06298) is this family with the domain's MuseGAN networks (``musegan-composer``,
``-jamming``, ``-hybrid``), ``loss`` = wasserstein-gp,
``critic_steps`` = 5, ``critic_boost`` = 100 and ``beta1`` = 0.5. Boosted steps go through their minibatches again and again, as
the authors' code does, with fresh noise. Where the discriminator is several critics, each has its own penalty, and they add up.

G shows the discriminator the mean of the domain's likelihood (for Bernoulli cells the probability), which is
differentiable. With ``neurons`` G ends in binary neurons instead (Dong & Yang 2018, 1804.09399, the end-to-end models of the
appendix): what D sees, and what is sampled, is 0 or 1, and gradients pass straight through. Their two-stage training of
a refiner after a pretrained G is left out. An epoch, for ``slope_annealing``, is N examples seen.

There is no encoder. ``encode`` finds the code that G shows most nearly as x by optimisation (``musegen.families.inversion``), which
interpolation and arithmetic need.

Real and generated examples pass through the discriminator apart, so that batch statistics do not mix.
Deviation: the discriminator's Adam settings are the generator's; Goodfellow et al. used momentum and maxout.
``real_smoothing`` softens real labels only (Salimans et al. 2016, 1606.03498, section 3.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from musegen.contracts.domain import Decoder, Discriminator, Norm, Spec, Wanted
from musegen.contracts.family import Capabilities, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.errors import BadInput
from musegen.families.adversarial import Adversarial, GameConfig
from musegen.families.inversion import inverted
from musegen.options import option

__all__ = ["GAN", "GANConfig"]


@dataclass(frozen=True)
class GANConfig(GameConfig):
    beta1: float | None = option(
        None, "Adam's β₁ (default: 0 with wasserstein-gp, 0.5 otherwise); MuseGAN has 0.5", ge=0, lt=1
    )
    discriminator_norm: Literal["auto", "batch", "spectral", "none"] = option(
        "auto", "normalisation in the discriminator: none for wasserstein-gp, spectral otherwise; DCGAN has batch"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss == "wasserstein-gp" and self.discriminator_norm == "batch":
            raise BadInput(
                "loss=wasserstein-gp penalises the gradient of each example, which batch normalisation mixes: "
                "use discriminator_norm=none or discriminator_norm=spectral."
            )

    @property
    def norm(self) -> Norm:
        if self.discriminator_norm != "auto":
            return self.discriminator_norm
        return "none" if self.loss == "wasserstein-gp" else "spectral"


class GAN(Adversarial):
    name = "gan"
    title = "Generative adversarial network"
    paper = "Goodfellow et al. 2014, arXiv 1406.2661; Wasserstein with gradient penalty: arXiv 1704.00028"
    objective = "min_G max_D  E_x log D(x) + E_z log(1 − D(G(z)))   (and four other losses)"
    Config = GANConfig
    capabilities = Capabilities(encode=True, decode=True, reconstruct=True)
    searches_codes = True

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
        c = self.config
        first, second = (0.0, 0.9) if c.loss == "wasserstein-gp" else (0.5, 0.999)
        betas = (first if c.beta1 is None else c.beta1, second)
        rate = 1e-3 if c.norm == "batch" else 2e-4
        return {
            "discriminator": Player(("discriminator",), learning_rate=2e-4, betas=betas),
            "generator": Player(("generator",), learning_rate=rate, betas=betas),
        }

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        return self.generate(n, temperature=self.sampling.temperature)

    def draw_codes(self, n: int) -> Tensor:
        return self.prior.sample(n, self.device, self.sampling.temperature)

    def encode(self, x: Tensor) -> Tensor:
        """The code that G shows most nearly as x, by optimisation: ``(B, *S)`` → ``(B, n)``; see ``musegen.families.inversion``."""
        return inverted(self.decode, x, self.config.latent_dim)

    def decode(self, z: Tensor) -> Tensor:
        return self.shown(self.generator(z), mode=True)
