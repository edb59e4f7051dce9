"""The game of a generator and a discriminator, as ``gan`` and ``conditional_gan`` play it: Algorithm 1 of 1406.2661 with any of the
losses in ``gan``'s table, the gradient penalty of 1704.00028, the diversity term of 1901.09024, MuseGAN's schedule of the critic
and binary neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.contracts.family import Family, Losses
from musegen.errors import BadInput
from musegen.families.conditions import Condition
from musegen.networks.layers import BinaryNeurons
from musegen.options import option
from musegen.probability.latent import StandardNormal
from musegen.probability.whole_batch import batch_length

__all__ = [
    "Adversarial",
    "GANLoss",
    "GameConfig",
    "discriminator_loss",
    "diversity",
    "generator_loss",
    "gradient_penalty",
]

GANLoss = Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein-gp"]


@dataclass(frozen=True)
class GameConfig:
    """Options of the game, whatever the generator is given."""

    latent_dim: int = option(64, "dimensions of the noise z", ge=1)
    loss: GANLoss = option("non-saturating", "the game, see the table in gan's docstring")
    critic_steps: int = option(1, "discriminator updates per generator update, each on fresh data", ge=1)
    critic_boost: int = option(
        0,
        "discriminator updates in each of the first 25 steps and in every 500th; 0: as in the others; MuseGAN has 100",
        ge=0,
    )
    gradient_penalty: float = option(10.0, "λ of wasserstein-gp", ge=0)
    real_smoothing: float = option(0.0, "real label 1 − this (minimax and non-saturating)", ge=0, lt=1)
    neurons: Literal["none", "deterministic", "stochastic"] = option(
        "none", "binary neurons at the end of the generator, for cells that are 0 or 1: what it shows is binary too"
    )
    diversity: float = option(
        0.0, "weight of what keeps G from showing the same for different noise, see diversity; 0: without it", ge=0
    )
    most_diverse: float = option(10.0, "bound of its ratio, from which on nothing is gained", gt=0)
    slope_annealing: float = option(
        1.0, "factor per epoch on the slope of the neurons' gradient; BinaryMuseGAN has 1.1", ge=1
    )

    def __post_init__(self) -> None:
        if self.real_smoothing and self.loss not in ("minimax", "non-saturating"):
            raise BadInput(f"real_smoothing needs loss=minimax or loss=non-saturating, not {self.loss}.")


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


def diversity(a: Tensor, b: Tensor, z_a: Tensor, z_b: Tensor, most: float) -> Tensor:
    """min(‖a − b‖₁ / ‖z_a − z_b‖₁, most), of what G makes of two draws of noise, means over cells and dimensions: ``(B, *S)`` and
    ``(B, d)`` twice → ``(B,)``. G maximises it, so that one shape cannot stand for all noise (Yang et al. 2019, 1901.09024).

    >>> import torch
    >>> from musegen.families.adversarial import diversity
    >>> diversity(torch.zeros(1, 2, 3), torch.full((1, 2, 3), 0.5), torch.zeros(1, 4), torch.ones(1, 4), 10.0)
    tensor([0.5000])
    """
    apart = (z_a - z_b).abs().flatten(1).mean(1)
    return ((a - b).abs().flatten(1).mean(1) / apart.clamp(min=1e-8)).clamp(max=most)


def boosted(batch: Batch, critic_steps: int, critic_boost: int, step: int) -> Iterable[Batch]:
    """The discriminator's minibatches of a step: ``critic_steps``, or the same again and again up to ``critic_boost``.

    That many in the first 25 steps and in every 500th bring the critic near its optimum while G changes fast, and back there
    now and then (Arjovsky et al. 2017, 1701.07875, whose code has 100).
    """
    minibatches = batch.split(critic_steps)
    if critic_boost and (step < 25 or step % 500 == 0):
        return islice(cycle(minibatches), max(critic_boost, critic_steps))
    return minibatches


class Adversarial(Family):
    """A family of two players, who move as in Algorithm 1; G(z, y) and a(x, y) are told its ``condition`` y."""

    generator: Any
    discriminator: Any

    def __init__(self, config: GameConfig, spec: Spec, networks: dict[str, nn.Module]) -> None:
        super().__init__(config, spec, networks)
        self.prior = StandardNormal(config.latent_dim)
        self.critics = getattr(self.discriminator, "critics", 1)
        self.draws = config.neurons != "none"
        self.neurons: BinaryNeurons | None = None
        if config.neurons != "none":
            if spec.likelihood.name != "bernoulli":
                raise BadInput(
                    f"neurons={config.neurons} needs cells that are 0 or 1, and this domain's are {spec.likelihood.name}: "
                    "use neurons=none."
                )
            self.neurons = BinaryNeurons(config.neurons, config.slope_annealing)
        self.condition = Condition(self)

    @property
    def differentiated_twice(self) -> tuple[str, ...]:
        return self.players["discriminator"].networks if self.config.loss == "wasserstein-gp" else ()

    @property
    def minibatches(self) -> int:
        return self.config.critic_steps

    def prepare(self, example: Batch) -> None:
        self.condition.prepare(example)

    def judge(self, x: Tensor, y: Any) -> tuple[Tensor, Tensor]:
        """Features φ(x) ``(B, F)`` and logit a(x, y) ``(B,)``."""
        features, logit = self.discriminator(x)
        return features, self.condition.logit(features, logit, y)

    def shown(self, params: Tensor, mode: bool = False) -> Tensor:
        """What G shows of its parameters: the mean, or 0 and 1 of its neurons; ``mode`` asks these for the more probable value."""
        return self.likelihood.mean(params) if self.neurons is None else self.neurons(params, mode=mode)

    def generate(self, n: int, y: Any = None, temperature: float = 1.0) -> Tensor:
        """G(z, y) for n draws of z, ``(n, *S)``."""
        return self.condition.generated(self.prior.sample(n, self.device, temperature), y)

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        c = self.config
        if self.training and self.neurons is not None:
            self.neurons.anneal(self.step * batch_length(len(batch)) // self.n_examples)
        for real in boosted(batch, c.critic_steps, c.critic_boost * self.training, self.step):
            y = self.condition.of(real)
            with torch.no_grad():
                fake = self.generate(len(real), y)
            (features, real_logit), (_, fake_logit) = self.judge(real.x, y), self.judge(fake, y)
            loss = discriminator_loss(c.loss, real_logit, fake_logit, c.real_smoothing).mean()
            losses = {"loss": loss, "real_logit": real_logit.mean(), "fake_logit": fake_logit.mean()}
            if c.loss == "wasserstein-gp":
                penalty = gradient_penalty(partial(self.judge, y=y), real.x, fake, self.critics).mean()
                losses |= {"loss": loss + c.gradient_penalty * penalty, "penalty": penalty, "wasserstein": -loss}
            yield "discriminator", self.condition.with_auxiliary(losses, features, y)

        last = next(batch.split(c.critic_steps))
        y = self.condition.of(last)
        z = self.prior.sample(len(last), self.device)
        fake = self.condition.generated(z, y)
        features, logit = self.judge(fake, y)
        losses = {"loss": generator_loss(c.loss, logit).mean()}
        if c.diversity:
            other = self.prior.sample(len(last), self.device)
            spread = diversity(fake, self.condition.generated(other, y), z, other, c.most_diverse).mean()
            losses = {"loss": losses["loss"] - c.diversity * spread, "diversity": spread}
        yield "generator", self.condition.with_auxiliary(losses, features, y)
