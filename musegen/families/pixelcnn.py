"""PixelCNN (van den Oord et al. 2016, 1601.06759) and Gated PixelCNN (van den Oord et al. 2016, 1606.05328).

Every cell is predicted from the cells before it, so the likelihood is exact:

    p(x) = Π_i p(x_i | x_1, …, x_{i−1})                                            (1601.06759, eq. 1; 1606.05328, eq. 1)
    L(θ; x) = −log p_θ(x) = −Σ_i log p_θ(x_i | x_<i)

in nats, summed over the cells, mean over the batch. θ is ``autoregressive``, which the domain builds: row by row, column
by column, and within a position channel by channel, "red, then green, then blue" (1601.06759, eq. 2). One pass gives all
factors. Options:

* ``gated`` False: masked convolutions in residual blocks, h = ``channels`` (1601.06759, section 3.5). A stack of them has
  a blind spot: cells above and to the right that no number of layers reaches.
* ``gated`` True: a vertical and a horizontal stack of p = ``channels`` maps, y = tanh(W_f ∗ x) ⊙ σ(W_g ∗ x), without a
  blind spot (1606.05328, eq. 2, figure 2).
* ``conditional``: p(x | y) = Π_i p(x_i | x_<i, y), the label's one-hot vector h added within the gates as V·h (1606.05328,
  eqs. 3 and 4). ``log_prob`` then sums it out, p(x) = 1/K Σ_y p(x | y): every class is as likely as another; and ``classify``
  is Bayes' rule, p(y | x) ∝ p(x | y). A low ``log_prob`` tells what fits no class.
* ``location``: a learned bias per row and per column behind the first layer; a domain whose rows and columns mean
  something gains by it. It is eq. 5 of 1606.05328 with a constant map s = r_row + c_column.

``sample`` draws row by row; a row's cells settle by fixed-point iteration instead of one by one, with the same outcome
(``AutoregressiveGrid.draw``). Reported: ``bits_per_dim`` = L / (cells · ln 2).

Deviations: Adam instead of RMSProp; the likelihood is the domain's (binary cells, or the 256 levels of the
papers: ``likelihood=softmax`` or ``logistic_mixture`` of the domain ``image``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Autoregressive, Spec, Wanted
from musegen.contracts.family import Capabilities, Family, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.errors import BadInput
from musegen.families.labels import class_vector, log_posterior, summed_out
from musegen.options import option

__all__ = ["PixelCNN", "bits_per_dim"]


@dataclass(frozen=True)
class PixelCNNConfig:
    gated: bool = option(True, "gates, and two stacks without a blind spot")
    conditional: bool = option(False, "condition on the class label, where the data have classes")
    channels: int = option(32, "feature maps of a layer", ge=1)
    layers: int = option(5, "layers after the first", ge=0)
    location: bool = option(True, "learned biases per row and per column")

    def __post_init__(self) -> None:
        if self.conditional and not self.gated:
            raise BadInput("conditional=True adds the label within the gates: set gated=True.")


def bits_per_dim(nll: Tensor, n_cells: int) -> Tensor:
    """Nats per example → bits per cell."""
    return nll / (n_cells * math.log(2))


class PixelCNN(Family):
    name = "pixelcnn"
    title = "PixelCNN, plain and gated"
    paper = "van den Oord et al. 2016, arXiv 1601.06759; gated and conditional: arXiv 1606.05328"
    objective = "max  log p(x) = Σ_i log p(x_i | x_<i)   (conditional: p(x_i | x_<i, y))"
    Config = PixelCNNConfig
    capabilities = Capabilities(log_prob="exact", classify=True, condition=True)
    monitor = "loss"
    draws = True
    autoregressive: Any

    def __init__(self, config: PixelCNNConfig, spec: Spec, networks: dict[str, nn.Module]) -> None:
        super().__init__(config, spec, networks)
        self.n_classes = len(spec.classes) if config.conditional else 0
        self.capabilities = replace(self.capabilities, classify=bool(self.n_classes))

    @classmethod
    def networks(cls, config: PixelCNNConfig, spec: Spec) -> dict[str, Wanted]:
        if config.conditional and not spec.classes:
            raise BadInput("conditional=True needs data with class labels, and these have none: use conditional=False.")
        return {
            "autoregressive": Autoregressive(
                kind="gated" if config.gated else "pixelcnn",
                channels=config.channels,
                layers=config.layers,
                n_condition=len(spec.classes) if config.conditional else 0,
                location=config.location,
            )
        }

    @classmethod
    def graph(cls, config: PixelCNNConfig) -> Graph:
        before, cell = Node("x_<i", "observed", "earlier cells"), Node("x_i", "observed", "a cell")
        if not config.conditional:
            return Graph((before, cell), (Edge("x_<i", "x_i", "generative", "p(x_i|x_<i)", ("autoregressive",)),))
        return Graph(
            nodes=(before, Node("y", "label", "class"), cell),
            edges=(
                Edge("x_<i", "x_i", "generative", "p(x_i|x_<i, y)", ("autoregressive",)),
                Edge("y", "x_i", "generative", "V y", ("autoregressive",)),
            ),
        )

    @property
    def players(self) -> dict[str, Player]:
        return {"autoregressive": Player(("autoregressive",))}

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        loss = -self.log_prob_given(batch.x, batch.label).mean()
        yield "autoregressive", {"loss": loss, "bits_per_dim": bits_per_dim(loss, batch.x[0].numel())}

    def condition(self, label: Tensor | None) -> Tensor | None:
        """The label's one-hot vector, ``(B,)`` → ``(B, K)``; None where the model takes no condition."""
        return class_vector(label, self.n_classes, self.device)

    def log_prob_given(self, x: Tensor, label: Tensor | None) -> Tensor:
        """log p(x | y), nats, ``(B,)``; log p(x) where the model takes no condition."""
        return self.likelihood.log_prob(self.autoregressive(x, self.condition(label)), x)

    def log_prob(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """log p(x), nats, ``(B,)``: exact, so ``n_samples`` changes nothing."""
        return summed_out(self.log_prob_given, x, self.n_classes)

    def classify(self, x: Tensor) -> Tensor:
        """log p(y | x), nats, ``(B, K)``."""
        return log_posterior(self.log_prob_given, x, self.n_classes)

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """n draws; without labels a conditional model draws them uniformly."""
        return self.complete(torch.zeros(n, *self.spec.shape, device=self.device), 0, self.sampling.temperature, label)

    def complete(self, x: Tensor, given: int, temperature: float = 1.0, label: Tensor | None = None) -> Tensor:
        """x ``(n, *S)`` with all but its first ``given`` rows drawn anew: the rest of a picture, or how a piece goes on."""
        if self.n_classes and label is None:
            label = torch.randint(self.n_classes, (len(x),), device=x.device)
        return self.autoregressive.draw(
            x, self.likelihood, given=given, temperature=temperature, condition=self.condition(label)
        )
