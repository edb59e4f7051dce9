"""Adversarial domain adaptation: a classifier for data without labels, from labelled data that look different.

Labelled examples (x_s, y_s) come from a source, unlabelled x_t from a target (auxiliary data ``target``). Features f that a
discriminator D cannot tell apart carry a classifier from one to the other. Nodes: y is the class, d says source or target.
``method`` chooses between, in nats,

    dann   Ganin et al. 2016, 1505.07818, eq. 9–10: one encoder, one move,
               min_{f, C} max_D  −log C(y_s|f(x_s)) + λ E log D        by the gradient reversal layer R_λ:
           R_λ is the identity forward and −λ backward (eqs. 16–17): D descends its cross-entropy on R_λ(f(x)), f climbs it.
           λ = ``weight`` · (2 / (1 + e^{−10 p}) − 1), p = step / ``ramp_steps`` up to 1 (section 5.2.2).
    adda   Tzeng et al. 2017, 1702.05464, eqs. 6–9: two encoders. For ``pretraining_steps`` ``encoder`` and ``classifier``
           learn on the source. Then ``encoder`` rests, ``target_encoder`` starts as its copy, and for every batch
               discriminator:  −log D(f_s(x_s)) − log(1 − D(f_t(x_t)))
               target_encoder: −log D(f_t(x_t))

Labels of the target are never read in training, nor to choose a checkpoint; ``target_error`` is reported where validation has them.
``classify`` and ``encode`` are for target data (dann has one encoder for both, whose batch normalisation keeps the target's
statistics: with those of both mixed it would see neither as in training). Deviations: Adam instead of momentum with
annealing; D is a perceptron of ``discriminator_widths`` without batch normalisation; features are the domain's encoder's.
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
from musegen.contracts.domain import Auxiliary, Encoder, Spec, Target, Wanted
from musegen.contracts.family import Capabilities, Family, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.errors import BadInput
from musegen.families.adversarial import discriminator_loss, generator_loss
from musegen.networks.layers import own_statistics
from musegen.networks.mlp import MLPDiscriminator
from musegen.options import option

__all__ = ["ADA", "reverse_gradient"]


@dataclass(frozen=True)
class ADAConfig:
    method: Literal["dann", "adda"] = option("dann", "gradient reversal with one encoder, or two encoders")
    weight: float = option(1.0, "λ of dann at the end of its ramp", ge=0)
    ramp_steps: int = option(5000, "steps over which λ grows from 0", ge=1, unit="steps")
    pretraining_steps: int = option(2000, "steps of adda on the source alone", ge=1, unit="steps")
    discriminator_widths: list[int] = option([500, 500], "hidden layers of the discriminator of features")


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


def reverse_gradient(x: Tensor, weight: float) -> Tensor:
    """R_λ: x forward, −λ times the gradient backward (1505.07818, eqs. 16–17)."""
    return _Reversal.apply(x, weight)


class ADA(Family):
    name = "ada"
    title = "Adversarial domain adaptation"
    paper = "Ganin et al. 2016, arXiv 1505.07818 (dann); Tzeng et al. 2017, arXiv 1702.05464 (adda)"
    objective = "min_{f,C} max_D  −E log C(y_s|f(x_s)) + λ [E log D(f(x_s)) + E log(1 − D(f(x_t)))]"
    Config = ADAConfig
    capabilities = Capabilities(sample=False, encode=True, classify=True)
    encoder: Any
    target_encoder: Any

    def __init__(self, config: ADAConfig, spec: Spec, networks: dict[str, nn.Module]) -> None:
        super().__init__(config, spec, networks)
        n = self.encoder.n_features
        self.classifier = nn.Linear(n, len(spec.classes))
        self.discriminator = MLPDiscriminator((n,), config.discriminator_widths, "none")

    @classmethod
    def networks(cls, config: ADAConfig, spec: Spec) -> dict[str, Wanted]:
        if not spec.classes:
            raise BadInput("ada carries a classifier over, and these data have no classes: use data with labels.")
        names = ("encoder", "target_encoder") if config.method == "adda" else ("encoder",)
        return {name: Encoder() for name in names}

    @classmethod
    def auxiliary(cls, config: ADAConfig, spec: Spec) -> dict[str, Auxiliary]:
        return {"target": Target()}

    @classmethod
    def graph(cls, config: ADAConfig) -> Graph:
        of_target = ("target_encoder",) if config.method == "adda" else ("encoder",)
        return Graph(
            nodes=(
                Node("x_s", "observed", "source"),
                Node("x_t", "observed", "target"),
                Node("f", "feature", "features"),
                Node("y", "label", "class"),
                Node("d", "indicator", "source or target"),
            ),
            edges=(
                Edge("x_s", "f", "deterministic", "f(x_s)", ("encoder",)),
                Edge("x_t", "f", "deterministic", "f(x_t)", of_target),
                Edge("f", "y", "inference", "C(y|f)", ("classifier",)),
                Edge("f", "d", "adversarial", "D(f)", ("discriminator",)),
            ),
        )

    @property
    def players(self) -> dict[str, Player]:
        if self.config.method == "dann":
            return {"adaptation": Player(("encoder", "classifier", "discriminator"))}
        return {
            "classifier": Player(("encoder", "classifier")),
            "discriminator": Player(("discriminator",), 2e-4, (0.5, 0.999)),
            "target_encoder": Player(("target_encoder",), 2e-4, (0.5, 0.999)),
        }

    @property
    def reversal_weight(self) -> float:
        """λ of this step (1505.07818, section 5.2.2)."""
        progress = min(1.0, self.step / self.config.ramp_steps)
        return self.config.weight * (2 / (1 + math.exp(-10 * progress)) - 1)

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        target = batch.auxiliary["target"]
        return self.dann(batch, target) if self.config.method == "dann" else self.adda(batch, target)

    def dann(self, source: Batch, target: Batch) -> Iterator[tuple[str, Losses]]:
        with own_statistics(self.encoder):
            of_source = self.encoder(source.x)
        features = [of_source, self.encoder(target.x)]
        reversed_ = [reverse_gradient(f, self.reversal_weight) for f in features]
        (_, real), (_, fake) = (self.discriminator(f) for f in reversed_)
        confusion = discriminator_loss("non-saturating", real, fake).mean()
        cross_entropy, errors = self.classification(self.classifier(features[0]), source, target)
        yield "adaptation", {"loss": cross_entropy + confusion, "class": cross_entropy, "domain": confusion} | errors

    def adda(self, source: Batch, target: Batch) -> Iterator[tuple[str, Losses]]:
        c = self.config
        if self.training and self.step < c.pretraining_steps:
            cross_entropy, errors = self.classification(self.classifier(self.encoder(source.x)), source, target)
            yield "classifier", {"loss": cross_entropy} | errors
            return
        if self.training and self.step == c.pretraining_steps:
            self.target_encoder.load_state_dict(self.encoder.state_dict())
        with torch.no_grad():
            f_source, f_target = self.encoder(source.x), self.target_encoder(target.x)
            cross_entropy, errors = self.classification(self.classifier(f_source), source, target)
        (_, real), (_, fake) = self.discriminator(f_source), self.discriminator(f_target)
        loss = discriminator_loss("non-saturating", real, fake).mean()
        yield "discriminator", {"loss": loss, "class": cross_entropy} | errors
        _, logit = self.discriminator(self.target_encoder(target.x))
        yield "target_encoder", {"loss": generator_loss("non-saturating", logit).mean()}

    def classification(self, logits: Tensor, source: Batch, target: Batch) -> tuple[Tensor, Losses]:
        """−log C(y_s|x_s), nats, and shares of wrong classes: on the source, and on the target where labels are shown."""
        assert source.label is not None
        errors = {"source_error": (logits.argmax(1) != source.label).float().mean()}
        if target.label is not None and not self.training:
            errors["target_error"] = (self.classify(target.x).argmax(1) != target.label).float().mean()
        return F.cross_entropy(logits, source.label), errors

    def encode(self, x: Tensor) -> Tensor:
        """Features of target data, ``(B, n)``."""
        return (self.encoder if self.config.method == "dann" else self.target_encoder)(x)

    def classify(self, x: Tensor) -> Tensor:
        return self.classifier(self.encode(x)).log_softmax(1)
