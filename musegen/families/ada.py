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

Other papers of this line add terms to dann, which these options declare:

* ``conditional``: D sees the products f_i · C(k|f) of features and class probabilities in place of f, so that it compares the
  domains class by class (CDAN, Long et al. 2018, 1705.10667, eq. 4); no gradient passes through these probabilities.
* ``entropy``: weight of E H(C(y|f(x_t))): boundaries move away from target examples (VADA, Shu et al. 2018, 1802.08735, eq. 4).
* ``consistency``: weight of E max_{‖r‖ ≤ ε} KL(C(y|f(x)) ‖ C(y|f(x + r))), the mean over source and target, ε = ``radius``, by one
  power iteration (VADA, eqs. 5–6; Miyato et al. 2018, 1704.03976). Without it boundaries may pass between neighbours all the same.

Two more change what networks see, in either method. ``instance_norm`` (VADA, section 6): brightness and contrast of an example tell
no domain. ``source_flip``: which of ink and paper is brighter tells no class. It is knowledge of how domains may differ, which
pictures of the target alone do not give.

DANN's learning rate falls as the run option ``schedule`` = inverse says (section 5.2.2).

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
    conditional: bool = option(False, "D of dann sees features times class probabilities (CDAN)")
    entropy: float = option(0.0, "weight of the entropy of the target's classes in dann (VADA has 0.01)", ge=0)
    consistency: float = option(
        0.0, "weight of what a small change of x does to its classes in dann (VADA has 1 and 0.01)", ge=0
    )
    radius: float = option(3.5, "length of that change, as a distance of examples", gt=0)
    instance_norm: bool = option(False, "networks see each example with mean 0 and variance 1 of its cells (VADA)")
    source_flip: bool = option(
        False, "training shows half of the source's examples with black and white exchanged; with instance_norm"
    )

    def __post_init__(self) -> None:
        if self.source_flip and not self.instance_norm:
            raise BadInput(
                "source_flip=True needs instance_norm=True, which alone makes a mirrored picture a negative."
            )
        for name in ("conditional", "entropy", "consistency"):
            if self.method == "adda" and getattr(self, name):
                raise BadInput(f"{name}={getattr(self, name)} is a term of method=dann: leave it out with method=adda.")


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


NEARBY = 1e-2
"""Length of the first change of the power method, as a share of the radius."""


def _of_length(r: Tensor, length: float) -> Tensor:
    """Each example's r ``(B, *S)`` scaled to a length."""
    norms = torch.linalg.vector_norm(r.flatten(1), dim=1).clamp_min(1e-12)
    return length * r / norms.view(-1, *(1 for _ in r.shape[1:]))


def instance_normalised(x: Tensor) -> Tensor:
    """Each channel of each example ``(B, C, …)``, or each example ``(B, n)``, with mean 0 and variance 1 over its cells.

    Where all cells are the same they are 0 (Ulyanov et al. 2016, 1607.08022, with VADA's use of it for inputs).
    """
    x = x.float()
    axes = tuple(range(min(2, x.dim() - 1), x.dim()))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) * (variance + 1e-5).rsqrt()


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
        seen = n * len(spec.classes) if config.conditional else n
        self.discriminator = MLPDiscriminator((seen,), config.discriminator_widths, "none")

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
        c = self.config
        shown = self.shown(source.x)
        with own_statistics(self.encoder):
            of_source = self.features(shown)
        features = [of_source, self.features(target.x)]
        reversed_ = [reverse_gradient(self.compared(f), self.reversal_weight) for f in features]
        (_, real), (_, fake) = (self.discriminator(f) for f in reversed_)
        confusion = discriminator_loss("non-saturating", real, fake).mean()
        logits = [self.classifier(f) for f in features]
        cross_entropy, errors = self.classification(logits[0], source, target)
        losses = {"loss": cross_entropy + confusion, "class": cross_entropy, "domain": confusion} | errors
        if c.entropy:
            log_p = logits[1].log_softmax(1)
            losses["entropy"] = -(log_p.exp() * log_p).sum(1).mean()
            losses["loss"] = losses["loss"] + c.entropy * losses["entropy"]
        if c.consistency and self.training:
            changes = [self.change(x, own) for x, own in zip((shown, target.x), logits, strict=True)]
            losses["consistency"] = torch.stack(changes).mean()
            losses["loss"] = losses["loss"] + c.consistency * losses["consistency"]
        yield "adaptation", losses

    def compared(self, features: Tensor) -> Tensor:
        """What D sees of features ``(B, n)``: these, or their products with class probabilities, ``(B, n · K)``."""
        if not self.config.conditional:
            return features
        p = self.classifier(features).softmax(1).detach()
        return (features[:, :, None] * p[:, None, :]).flatten(1)  # (B, n, 1) · (B, 1, K) -> (B, n · K)

    def change(self, x: Tensor, logits: Tensor) -> Tensor:
        """KL(C(y|x) ‖ C(y|x + r)), nats, the mean of examples; r is the change of length ``radius`` that moves the classes most."""
        x, log_p = x.float(), logits.detach().log_softmax(1)  # half precision would round a small change away

        def divergence(r: Tensor) -> Tensor:
            with own_statistics(self.encoder):
                log_q = self.classifier(self.features(x + r)).log_softmax(1)
            return (log_p.exp() * (log_p - log_q)).sum(1).mean()

        # One step of the power method: the gradient at a small random change (1704.03976, section 3.3).
        small = _of_length(torch.randn_like(x), NEARBY * self.config.radius).requires_grad_()
        (direction,) = torch.autograd.grad(divergence(small), small)
        return divergence(_of_length(direction, self.config.radius))

    def adda(self, source: Batch, target: Batch) -> Iterator[tuple[str, Losses]]:
        c = self.config
        if self.training and self.step < c.pretraining_steps:
            cross_entropy, errors = self.classification(
                self.classifier(self.features(self.shown(source.x))), source, target
            )
            yield "classifier", {"loss": cross_entropy} | errors
            return
        if self.training and self.step == c.pretraining_steps:
            self.target_encoder.load_state_dict(self.encoder.state_dict())
            self.begun_anew = ("target_encoder",)
        with torch.no_grad():
            f_source, f_target = self.features(self.shown(source.x)), self.encode(target.x)
            cross_entropy, errors = self.classification(self.classifier(f_source), source, target)
        (_, real), (_, fake) = self.discriminator(f_source), self.discriminator(f_target)
        loss = discriminator_loss("non-saturating", real, fake).mean()
        yield "discriminator", {"loss": loss, "class": cross_entropy} | errors
        _, logit = self.discriminator(self.encode(target.x))
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
        return self.features(x, self.encoder if self.config.method == "dann" else self.target_encoder)

    def features(self, x: Tensor, encoder: nn.Module | None = None) -> Tensor:
        """f(x), ``(B, n)``, of ``encoder`` if no other is given."""
        return (encoder or self.encoder)(instance_normalised(x) if self.config.instance_norm else x)

    def shown(self, x: Tensor) -> Tensor:
        """Source examples as training shows them, ``(B, *S)``: with ``source_flip`` half of them mirrored about their mean."""
        if not (self.config.source_flip and self.training):
            return x
        shape = (len(x), *(1 for _ in x.shape[1:]))
        mean = x.float().flatten(1).mean(1).view(shape)
        return torch.where(torch.rand(shape, device=x.device) < 0.5, 2 * mean - x, x)

    def classify(self, x: Tensor) -> Tensor:
        return self.classifier(self.encode(x)).log_softmax(1)
