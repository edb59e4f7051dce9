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

MuseGAN (Dong et al. 2018, 1709.06298) is this family with the domain's ``musegan`` networks, ``loss`` = wasserstein-gp,
``critic_steps`` = 5, ``critic_boost`` = 100 and ``beta1`` = 0.5. Boosted steps go through their minibatches again and again, as
the authors' code does, with fresh noise. Where the discriminator is several critics, each has its own penalty, and they add up.

G shows the discriminator the mean of the domain's likelihood (for Bernoulli cells the probability), which is
differentiable. With ``neurons`` G ends in binary neurons instead (Dong & Yang 2018, 1804.09399, the end-to-end models of the
appendix): what D sees, and what is sampled, is 0 or 1, and gradients pass straight through. Their two-stage training of
a refiner after a pretrained G is left out. An epoch, for ``slope_annealing``, is N examples seen.

Real and generated examples pass through the discriminator apart, so that batch statistics do not mix.
Deviation: the discriminator's Adam settings are the generator's; Goodfellow et al. used momentum and maxout.
``real_smoothing`` softens real labels only (Salimans et al. 2016, 1606.03498, section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Decoder, Discriminator, Norm, Spec, Wanted
from musegen.contracts.family import Capabilities, Family, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.errors import BadInput
from musegen.networks.layers import BinaryNeurons
from musegen.options import option
from musegen.probability.latent import StandardNormal
from musegen.probability.whole_batch import batch_length

__all__ = ["GAN", "binary_neurons", "boosted", "discriminator_loss", "generator_loss", "gradient_penalty"]

GANLoss = Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein-gp"]
NeuronKind = Literal["none", "deterministic", "stochastic"]


@dataclass(frozen=True)
class GANConfig:
    latent_dim: int = option(64, "dimensions of the noise z", ge=1)
    loss: GANLoss = option("non-saturating", "the game, see the table in the family's docstring")
    critic_steps: int = option(1, "discriminator updates per generator update, each on fresh data", ge=1)
    critic_boost: int = option(
        0,
        "discriminator updates in each of the first 25 steps and in every 500th; 0: as in the others; MuseGAN has 100",
        ge=0,
    )
    gradient_penalty: float = option(10.0, "λ of wasserstein-gp", ge=0)
    beta1: float | None = option(
        None, "Adam's β₁ (default: 0 with wasserstein-gp, 0.5 otherwise); MuseGAN has 0.5", ge=0, lt=1
    )
    neurons: NeuronKind = option(
        "none", "binary neurons at the end of the generator, for cells that are 0 or 1: what it shows is binary too"
    )
    slope_annealing: float = option(
        1.0, "factor per epoch on the slope of the neurons' gradient; BinaryMuseGAN has 1.1", ge=1
    )
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


def boosted(batch: Batch, critic_steps: int, critic_boost: int, step: int) -> Iterable[Batch]:
    """The discriminator's minibatches of a step: ``critic_steps``, or the same again and again up to ``critic_boost``.

    That many in the first 25 steps and in every 500th bring the critic near its optimum while G changes fast, and back there
    now and then (Arjovsky et al. 2017, 1701.07875, whose code has 100).
    """
    minibatches = batch.split(critic_steps)
    if critic_boost and (step < 25 or step % 500 == 0):
        return islice(cycle(minibatches), max(critic_boost, critic_steps))
    return minibatches


def binary_neurons(kind: NeuronKind, rate: float, spec: Spec) -> BinaryNeurons | None:
    """The neurons that options ask for.

    Raises:
        BadInput: the domain's cells are not binary.
    """
    if kind == "none":
        return None
    if spec.likelihood.name != "bernoulli":
        raise BadInput(
            f"neurons={kind} needs cells that are 0 or 1, and this domain's are {spec.likelihood.name}: set it to none."
        )
    return BinaryNeurons(kind, rate)


def gradient_penalty(
    critic: Callable[[Tensor], tuple[Tensor, Tensor]], real: Tensor, fake: Tensor, critics: int = 1
) -> Tensor:
    """(‖∇_x̂ a(x̂)‖₂ − 1)² at x̂ uniform between pairs: ``(B, *S)`` twice → ``(B,)`` (1704.00028, eq. 3).

    Works also inside ``torch.no_grad()``, as an evaluation needs. With several critics, each of an equal part of x along its first
    axis, whose logits a sums, it is the sum of their penalties.
    """
    with torch.enable_grad():
        # In 16 bits points between 0 and 1 are too few, and types that autocast left different do not mix.
        dtype = torch.promote_types(torch.promote_types(real.dtype, fake.dtype), torch.float32)
        u = torch.rand(len(real), *(1 for _ in real.shape[1:]), device=real.device, dtype=dtype)  # (B, 1, …)
        between = torch.lerp(fake.to(dtype), real.to(dtype), u).detach().requires_grad_()
        _, logit = critic(between)
        (gradient,) = torch.autograd.grad(logit.sum(), between, create_graph=True)
        gradient = gradient.view(len(real), critics, -1)  # (B, *S) -> (B, critics, cells)
        # The small constant keeps the derivative of the norm finite at 0.
        return ((gradient.square().sum(2) + 1e-12).sqrt() - 1).square().sum(1)


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
        self.critics = getattr(self.discriminator, "critics", 1)
        self.draws = config.neurons != "none"
        self.neurons = binary_neurons(config.neurons, config.slope_annealing, spec)

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
        return {
            "discriminator": Player(("discriminator",), learning_rate=2e-4, betas=betas),
            "generator": Player(("generator",), learning_rate=2e-4, betas=betas),
        }

    @property
    def differentiated_twice(self) -> tuple[str, ...]:
        return ("discriminator",) if self.config.loss == "wasserstein-gp" else ()

    @property
    def minibatches(self) -> int:
        return self.config.critic_steps

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        c = self.config
        if self.training and self.neurons is not None:
            self.neurons.anneal(self.step * batch_length(len(batch)) // self.n_examples)
        for real in boosted(batch, c.critic_steps, c.critic_boost * self.training, self.step):
            with torch.no_grad():
                fake = self.generate(len(real))
            (_, real_logit), (_, fake_logit) = self.discriminator(real.x), self.discriminator(fake)
            loss = discriminator_loss(c.loss, real_logit, fake_logit, c.real_smoothing).mean()
            losses = {"loss": loss, "real_logit": real_logit.mean(), "fake_logit": fake_logit.mean()}
            if c.loss == "wasserstein-gp":
                penalty = gradient_penalty(self.discriminator, real.x, fake, self.critics).mean()
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
        params = self.generator(self.prior.sample(n, self.device, temperature))
        return self.likelihood.mean(params) if self.neurons is None else self.neurons(params)

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        return self.generate(n, self.sampling.temperature)

    def decode(self, z: Tensor) -> Tensor:
        params = self.generator(z)
        return self.likelihood.mean(params) if self.neurons is None else self.neurons(params, mode=True)
