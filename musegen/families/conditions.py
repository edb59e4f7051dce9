"""What generator and discriminator are told: nothing, a class, or a part of the sample."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Decoder, Spec
from musegen.contracts.family import Losses
from musegen.contracts.graph import Node
from musegen.errors import BadInput

__all__ = ["Auxiliary", "Condition", "Given", "Projection", "paste"]

N_EXAMPLES = 32
"""Given parts that the model keeps."""


def paste(x: Tensor, given: Tensor, mask: Tensor) -> Tensor:
    """m ⊙ given + (1 − m) ⊙ x: ``(B, *S)``, ``(B, *S)``, bool ``(*S)`` → ``(B, *S)``."""
    return torch.where(mask, given, x)


class Condition:
    """y, which G and D are told beside z and x: here nothing. It is no module: its layers and tensors are the model's.

    Args:
        gan: the model, a ``musegen.families.adversarial.Adversarial``.

    Attributes:
        node: y in the graphical model.
        heads: networks of the model by which D sees y.
    """

    node: ClassVar[Node]
    heads: ClassVar[tuple[str, ...]] = ()

    def __init__(self, gan: Any) -> None:
        self.gan = gan

    @staticmethod
    def generator(latent_dim: int, spec: Spec) -> Decoder:
        """The generator that it takes.

        Raises:
            BadInput: the data have no y of this kind.
        """
        return Decoder(latent_dim)

    def of(self, batch: Batch) -> Any:
        """y of each example."""

    def chosen(self, n: int, label: Tensor | None, given: Tensor | None) -> Any:
        """y of n samples, as somebody says, or as the model chooses.

        Raises:
            BadInput: it does not fit.
        """

    def generated(self, z: Tensor, y: Any) -> Tensor:
        """G(z, y), ``(B, *S)``."""
        return self.gan.shown(self.gan.generator(z))

    def logit(self, features: Tensor, logit: Tensor, y: Any) -> Tensor:
        """a(x, y), ``(B,)``, of φ(x) ``(B, F)`` and a(x) ``(B,)``."""
        return logit

    def with_auxiliary(self, losses: Losses, features: Tensor, y: Any) -> Losses:
        """What a player minimises, with what it minimises besides: D of φ(x) of real examples, G of generated ones."""
        return losses

    def prepare(self, example: Batch) -> None:
        """Called with one training batch, before the first step."""


class _Label(Condition):
    """y is a class, a number ``(B,)``."""

    node = Node("c", "label", "class")

    @staticmethod
    def generator(latent_dim: int, spec: Spec) -> Decoder:
        if not spec.classes:
            raise BadInput(
                "conditional_gan with condition=label needs classes, and these data have none: use data with classes, such as "
                "subfolders (some domains find them only if their option labels says so), or condition=given."
            )
        return Decoder(latent_dim, len(spec.classes))

    def of(self, batch: Batch) -> Tensor:
        assert batch.label is not None
        return batch.label

    def chosen(self, n: int, label: Tensor | None, given: Tensor | None) -> Tensor:
        """Each class in turn, if nobody says which."""
        device = self.gan.device
        return torch.arange(n, device=device) % len(self.gan.spec.classes) if label is None else label.to(device)

    def generated(self, z: Tensor, y: Tensor) -> Tensor:
        return self.gan.shown(self.gan.generator(z, y))


class Projection(_Label):
    """a(x, y) = v_yᵀ φ(x) + ψ(φ(x)) (1802.05637, eq. 4); ``embedding`` holds the v_y."""

    heads = ("embedding",)

    def __init__(self, gan: Any) -> None:
        super().__init__(gan)
        gan.embedding = spectral_norm(nn.Embedding(len(gan.spec.classes), gan.discriminator.n_features))

    def logit(self, features: Tensor, logit: Tensor, y: Tensor) -> Tensor:
        return logit + (self.gan.embedding(y) * features).sum(1)  # (B, F) · (B, F) -> (B,)


class Auxiliary(_Label):
    """D has a ``classifier`` C, and either player minimises −log C(y|x) besides (1610.09585, eqs. 2–3)."""

    heads = ("classifier",)

    def __init__(self, gan: Any) -> None:
        super().__init__(gan)
        gan.classifier = spectral_norm(nn.Linear(gan.discriminator.n_features, len(gan.spec.classes)))

    def with_auxiliary(self, losses: Losses, features: Tensor, y: Tensor) -> Losses:
        cross_entropy = F.cross_entropy(self.gan.classifier(features), y)
        loss = losses["loss"] + self.gan.config.auxiliary_weight * cross_entropy
        return losses | {"loss": loss, "class": cross_entropy}


class Given(Condition):
    """y is a grid ``(B, *S)`` that matters where the mask is true: G sees m ⊙ y, and its output is put around it."""

    node = Node("c", "observed", "what is given")

    def __init__(self, gan: Any) -> None:
        super().__init__(gan)
        gan.register_buffer("mask", gan.spec.given_mask(), persistent=False)
        gan.register_buffer("examples", torch.zeros(N_EXAMPLES, *gan.spec.shape))

    @staticmethod
    def generator(latent_dim: int, spec: Spec) -> Decoder:
        if not spec.given:
            raise BadInput(
                "conditional_gan with condition=given needs the domain's option given, which says what is given."
            )
        return Decoder(latent_dim, given=True)

    def of(self, batch: Batch) -> Tensor:
        return batch.x

    def chosen(self, n: int, label: Tensor | None, given: Tensor | None) -> Tensor:
        """What the model remembers of training data, if nobody says what is given: once for all, or for each."""
        gan, shape = self.gan, self.gan.spec.shape
        rows = torch.arange(n, device=gan.device) % N_EXAMPLES
        given = gan.examples[rows] if given is None else given.to(gan.device)
        if given.shape not in (shape, (n, *shape)):
            raise BadInput(
                f"What is given has the shape {tuple(given.shape)}, and this model needs {shape}, once or {n} times."
            )
        return given.expand(n, *shape)

    def generated(self, z: Tensor, y: Tensor) -> Tensor:
        return paste(self.gan.shown(self.gan.generator(z, given=y * self.gan.mask)), y, self.gan.mask)

    def prepare(self, example: Batch) -> None:
        rows = torch.arange(N_EXAMPLES, device=example.x.device) % len(example)
        self.gan.examples.copy_(example.x[rows] * self.gan.mask)
