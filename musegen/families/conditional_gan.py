"""Conditional generative adversarial network (Mirza & Osindero 2014, 1411.1784), in the form that works: conditional batch
normalisation in G (Dumoulin et al. 2017, 1610.07629), a projection or an auxiliary head and spectral normalisation in D
(Miyato & Koyama 2018, 1802.05637; Odena et al. 2017, 1610.09585; Miyato et al. 2018, 1802.05957).

    min_G max_D  E_{x,y} log D(x, y) + E_{z,y} log(1 − D(G(z, y), y))        with the hinge loss by default

``condition`` says what y is, and the domain says what that means for its data:

* ``label``: a class. G's batch normalisation has a scale and a shift per class. With ``head`` = projection the logit is
  a(x, y) = v_yᵀ φ(x) + ψ(φ(x)) (1802.05637, eq. 4), φ the domain's features and ψ its logit; ``embedding`` holds the v_y.
  With ``head`` = auxiliary, D also classifies: D and G both minimise −log C(y|x), D on real examples and G on its own
  (1610.09585, eqs. 2–3, without D's term on generated examples, which teaches it from wrong labels early on).
* ``given``: cells m of x that are given (tracks of a piece, the bars before, half of a picture). The domain's decoder takes m ⊙ x
  beside z, and G's output is put around what is given: x̃ = m ⊙ x + (1 − m) ⊙ G(z, m ⊙ x), so it comes
  back unchanged, and D(x̃) judges how the two fit together. With the domain's ``musegan`` networks, ``loss`` = wasserstein-gp,
  ``critic_steps`` = 5 and ``critic_boost`` = 100 this is MuseGAN's track-conditional model (Dong et al. 2018, 1709.06298).

``wasserstein-gp`` (1704.00028) has a gradient penalty with λ = 10, between examples of one label, instead of spectral
normalisation of the domain's discriminator. ``neurons`` are those of ``gan``.

Deviations: ``embedding`` is normalised as one matrix. When nobody says what is given, ``sample`` takes one of ``examples``, a
few given parts of training data that the model keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Decoder, Discriminator, Spec, Wanted
from musegen.contracts.family import Capabilities, Family, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.errors import BadInput
from musegen.families.gan import (
    NeuronKind,
    binary_neurons,
    boosted,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)
from musegen.options import option
from musegen.probability.latent import StandardNormal
from musegen.probability.whole_batch import batch_length

__all__ = ["ConditionalGAN", "paste"]

N_EXAMPLES = 32
"""Given parts that the model keeps."""
LAMBDA = 10.0
"""Weight of wasserstein-gp's penalty, as in 1704.00028."""


@dataclass(frozen=True)
class ConditionalGANConfig:
    latent_dim: int = option(64, "dimensions of the noise z", ge=1)
    condition: Literal["label", "given"] = option(
        "label", "a class, or cells of x that the domain's option given names"
    )
    head: Literal["projection", "auxiliary"] = option("projection", "how the discriminator sees a label")
    loss: Literal["hinge", "non-saturating", "least-squares", "wasserstein-gp"] = option("hinge", "the game, as in gan")
    auxiliary_weight: float = option(1.0, "weight of −log C(y|x) with the auxiliary head", ge=0)
    critic_steps: int = option(1, "discriminator updates per generator update, each on fresh data", ge=1)
    critic_boost: int = option(
        0,
        "discriminator updates in each of the first 25 steps and in every 500th; 0: as in the others; MuseGAN has 100",
        ge=0,
    )
    neurons: NeuronKind = option(
        "none", "binary neurons at the end of the generator, for cells that are 0 or 1: what it shows is binary too"
    )
    slope_annealing: float = option(
        1.0, "factor per epoch on the slope of the neurons' gradient; BinaryMuseGAN has 1.1", ge=1
    )

    @property
    def by_label(self) -> bool:
        return self.condition == "label"


def paste(x: Tensor, given: Tensor, mask: Tensor) -> Tensor:
    """m ⊙ given + (1 − m) ⊙ x: ``(B, *S)``, ``(B, *S)``, bool ``(*S)`` → ``(B, *S)``."""
    return torch.where(mask, given, x)


class ConditionalGAN(Family):
    name = "conditional_gan"
    title = "Conditional generative adversarial network"
    paper = "Mirza & Osindero 2014, arXiv 1411.1784; projection: Miyato & Koyama 2018, arXiv 1802.05637"
    objective = "min_G max_D  E log D(x, y) + E log(1 − D(G(z, y), y)),   a(x, y) = v_yᵀ φ(x) + ψ(φ(x))"
    Config = ConditionalGANConfig
    capabilities = Capabilities(condition=True, given="sample")
    generator: Any
    discriminator: Any
    mask: Tensor
    examples: Tensor

    def __init__(self, config: ConditionalGANConfig, spec: Spec, networks: dict[str, nn.Module]) -> None:
        super().__init__(config, spec, networks)
        self.prior = StandardNormal(config.latent_dim)
        self.critics = getattr(self.discriminator, "critics", 1)
        self.draws = config.neurons != "none"
        self.neurons = binary_neurons(config.neurons, config.slope_annealing, spec)
        k, n_features = len(spec.classes), self.discriminator.n_features
        if not config.by_label:
            self.register_buffer("mask", spec.given_mask(), persistent=False)
            self.register_buffer("examples", torch.zeros(N_EXAMPLES, *spec.shape))
        elif config.head == "projection":
            self.embedding = spectral_norm(nn.Embedding(k, n_features))
        else:
            self.classifier = spectral_norm(nn.Linear(n_features, k))

    @classmethod
    def networks(cls, config: ConditionalGANConfig, spec: Spec) -> dict[str, Wanted]:
        discriminator = Discriminator("none" if config.loss == "wasserstein-gp" else "spectral")
        if config.by_label:
            if not spec.classes:
                raise BadInput(
                    "conditional_gan with condition=label needs classes, and these data have none: use data with classes "
                    "(subfolders of pictures, labels=mode for music), or condition=given."
                )
            return {"generator": Decoder(config.latent_dim, len(spec.classes)), "discriminator": discriminator}
        if not spec.given:
            raise BadInput(
                "conditional_gan with condition=given needs the domain's option given, which says what is given."
            )
        return {"generator": Decoder(config.latent_dim, given=True), "discriminator": discriminator}

    @classmethod
    def graph(cls, config: ConditionalGANConfig) -> Graph:
        y = Node("c", "label", "class") if config.by_label else Node("c", "observed", "what is given")
        head = {"projection": ("embedding",), "auxiliary": ("classifier",)}[config.head] if config.by_label else ()
        return Graph(
            nodes=(
                Node("z", "noise", "noise"),
                y,
                Node("x̃", "generated", "generated"),
                Node("x", "observed", "data"),
                Node("y", "indicator", "real or fake"),
            ),
            edges=(
                Edge("z", "x̃", "generative", "x̃ = G(z, c)", ("generator",)),
                Edge("c", "x̃", "generative", "x̃ = G(z, c)", ("generator",)),
                Edge("x̃", "y", "adversarial", "D(x̃, c)", ("discriminator", *head)),
                Edge("x", "y", "adversarial", "D(x, c)", ("discriminator", *head)),
            ),
        )

    @property
    def players(self) -> dict[str, Player]:
        c = self.config
        head = ("embedding",) if c.head == "projection" else ("classifier",)
        return {
            "discriminator": Player(("discriminator", *(head if c.by_label else ())), 2e-4, (0.0, 0.9)),
            "generator": Player(("generator",), 2e-4, (0.0, 0.9)),
        }

    @property
    def differentiated_twice(self) -> tuple[str, ...]:
        return self.players["discriminator"].networks if self.config.loss == "wasserstein-gp" else ()

    @property
    def minibatches(self) -> int:
        return self.config.critic_steps

    def prepare(self, example: Batch) -> None:
        if not self.config.by_label:
            rows = torch.arange(N_EXAMPLES, device=example.x.device) % len(example)
            self.examples.copy_(example.x[rows] * self.mask)

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        c = self.config
        if self.training and self.neurons is not None:
            self.neurons.anneal(self.step * batch_length(len(batch)) // self.n_examples)
        for real in boosted(batch, c.critic_steps, c.critic_boost * self.training, self.step):
            with torch.no_grad():
                fake = self.generate(len(real), real.label, self.given_of(real))
            (features, real_logit), (_, fake_logit) = self.judge(real.x, real.label), self.judge(fake, real.label)
            losses = {
                "loss": discriminator_loss(c.loss, real_logit, fake_logit).mean(),
                "real_logit": real_logit.mean(),
                "fake_logit": fake_logit.mean(),
            }
            if c.loss == "wasserstein-gp":
                critic = partial(self.judge, label=real.label)
                penalty = gradient_penalty(critic, real.x, fake, self.critics).mean()
                losses |= {
                    "loss": losses["loss"] + LAMBDA * penalty,
                    "penalty": penalty,
                    "wasserstein": -losses["loss"],
                }
            yield "discriminator", self.with_auxiliary(losses, features, real.label)

        last = next(batch.split(c.critic_steps))
        features, logit = self.judge(self.generate(len(last), last.label, self.given_of(last)), last.label)
        losses = {"loss": generator_loss(c.loss, logit).mean()}
        yield "generator", self.with_auxiliary(losses, features, last.label)

    def given_of(self, batch: Batch) -> Tensor | None:
        """What G sees of a batch, if it is given anything; the cells outside the mask do not matter."""
        return None if self.config.by_label else batch.x

    def judge(self, x: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features φ(x) ``(B, F)`` and logit a(x, c) ``(B,)``."""
        features, logit = self.discriminator(x)
        if self.config.by_label and self.config.head == "projection":
            logit = logit + (self.embedding(label) * features).sum(1)  # (B, F) · (B, F) -> (B,)
        return features, logit

    def with_auxiliary(self, losses: Losses, features: Tensor, label: Tensor | None) -> Losses:
        """With the auxiliary head, −log C(y|x) joins the loss."""
        if not self.config.by_label or self.config.head == "projection":
            return losses
        cross_entropy = F.cross_entropy(self.classifier(features), label)  # type: ignore[arg-type]
        return losses | {"loss": losses["loss"] + self.config.auxiliary_weight * cross_entropy, "class": cross_entropy}

    def generate(self, n: int, label: Tensor | None, given: Tensor | None, temperature: float = 1.0) -> Tensor:
        """G(z, c) for n draws of z, ``(n, *S)``; ``given`` ``(n, *S)`` matters where the mask is true."""
        z = self.prior.sample(n, self.device, temperature)
        params = self.generator(z, label) if given is None else self.generator(z, given=given * self.mask)
        x = self.likelihood.mean(params) if self.neurons is None else self.neurons(params)
        return x if given is None else paste(x, given, self.mask)

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """n samples ``(n, *S)``; without a condition, of each class in turn, or around what the model remembers."""
        rows = torch.arange(n, device=self.device)
        if self.config.by_label:
            label = rows % len(self.spec.classes) if label is None else label.to(self.device)
        else:
            given = self.examples[rows % N_EXAMPLES] if given is None else given.to(self.device)
            if given.shape not in (self.spec.shape, (n, *self.spec.shape)):
                raise BadInput(
                    f"What is given has the shape {tuple(given.shape)}, and this model needs {self.spec.shape}, once or {n} times."
                )
            given = given.expand(n, *self.spec.shape)
        return self.generate(n, label, given, self.sampling.temperature)
