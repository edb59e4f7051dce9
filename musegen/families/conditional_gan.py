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
  back unchanged, and D(x̃) judges how the two fit together. With the domain's MuseGAN networks
  (``musegan-composer``, ``-jamming``, ``-hybrid``), ``loss`` = wasserstein-gp,
  ``critic_steps`` = 5 and ``critic_boost`` = 100 this is MuseGAN's track-conditional model (Dong et al. 2018, 1709.06298).

The game is that of ``gan``, with its options. ``wasserstein-gp`` (1704.00028) has a gradient penalty between examples of one label
instead of spectral normalisation of the domain's discriminator.

Deviations: Adam's rate is 1e-3 where 1802.05637 has 2e-4 (as here with wasserstein-gp): with that a discriminator of normalised
layers is too slow for small networks, and each class keeps one shape. ``embedding`` is normalised as one matrix. When nobody
says what is given, ``sample`` takes one of ``examples``, a few given parts of training data that the model keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from musegen.contracts.domain import Discriminator, Norm, Spec, Wanted
from musegen.contracts.family import Capabilities, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.families.adversarial import Adversarial, GameConfig
from musegen.families.conditions import Auxiliary, Condition, Given, Projection
from musegen.options import option

__all__ = ["ConditionalGAN", "ConditionalGANConfig"]


@dataclass(frozen=True)
class ConditionalGANConfig(GameConfig):
    loss: Literal["hinge", "non-saturating", "least-squares", "wasserstein-gp"] = option("hinge", "the game, as in gan")
    condition: Literal["label", "given"] = option(
        "label", "a class, or cells of x that the domain's option given names"
    )
    head: Literal["projection", "auxiliary"] = option("projection", "how the discriminator sees a label")
    auxiliary_weight: float = option(1.0, "weight of −log C(y|x) with the auxiliary head", ge=0)

    @property
    def kind(self) -> type[Condition]:
        by_label: dict[str, type[Condition]] = {"projection": Projection, "auxiliary": Auxiliary}
        return by_label[self.head] if self.condition == "label" else Given


class ConditionalGAN(Adversarial):
    name = "conditional_gan"
    title = "Conditional generative adversarial network"
    paper = "Mirza & Osindero 2014, arXiv 1411.1784; projection: Miyato & Koyama 2018, arXiv 1802.05637"
    objective = "min_G max_D  E log D(x, y) + E log(1 − D(G(z, y), y)),   a(x, y) = v_yᵀ φ(x) + ψ(φ(x))"
    Config = ConditionalGANConfig
    capabilities = Capabilities(condition=True, given="sample")

    def __init__(self, config: ConditionalGANConfig, spec: Spec, networks: dict[str, nn.Module]) -> None:
        super().__init__(config, spec, networks)
        self.condition = config.kind(self)

    @classmethod
    def networks(cls, config: ConditionalGANConfig, spec: Spec) -> dict[str, Wanted]:
        norm: Norm = "none" if config.loss == "wasserstein-gp" else "spectral"
        return {"generator": config.kind.generator(config.latent_dim, spec), "discriminator": Discriminator(norm)}

    @classmethod
    def graph(cls, config: ConditionalGANConfig) -> Graph:
        judges = ("discriminator", *config.kind.heads)
        return Graph(
            nodes=(
                Node("z", "noise", "noise"),
                config.kind.node,
                Node("x̃", "generated", "generated"),
                Node("x", "observed", "data"),
                Node("y", "indicator", "real or fake"),
            ),
            edges=(
                Edge("z", "x̃", "generative", "x̃ = G(z, c)", ("generator",)),
                Edge("c", "x̃", "generative", "x̃ = G(z, c)", ("generator",)),
                Edge("x̃", "y", "adversarial", "D(x̃, c)", judges),
                Edge("x", "y", "adversarial", "D(x, c)", judges),
            ),
        )

    @property
    def players(self) -> dict[str, Player]:
        rate = 2e-4 if self.config.loss == "wasserstein-gp" else 1e-3
        return {
            "discriminator": Player(("discriminator", *self.config.kind.heads), rate, (0.0, 0.9)),
            "generator": Player(("generator",), rate, (0.0, 0.9)),
        }

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """n samples ``(n, *S)``; without a condition, of each class in turn, or around what the model remembers."""
        return self.generate(n, self.condition.chosen(n, label, given), self.sampling.temperature)
