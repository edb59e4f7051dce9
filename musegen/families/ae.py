"""Autoencoder.

A deterministic code z = e(x) and a decoder trained to give x back (Rumelhart, Hinton & Williams 1986; the deep form of
Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647):

    L(θ, φ; x) = −log p_θ(x | z = e_φ(x))

in nats, summed over the cells of x, mean over the batch. θ is ``decoder``, φ is ``encoder`` and ``code``. With linear
networks and a Gaussian likelihood of fixed σ the decoder spans the principal subspace of the data (Baldi & Hornik 1989).

There is no p(z). Samples are drawn from where the codes of training examples are: of a Gaussian mixture fitted to them (Ghosh et
al. 2020, 1903.12436), or, with ``prior`` = aggregate, these very codes (``musegen.families.remembered``).

Deviation from Hinton & Salakhutdinov: no layer-wise pretraining, which Adam and today's initialisations made unnecessary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Decoder, Encoder, Spec, Wanted
from musegen.contracts.family import Capabilities, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.errors import BadInput
from musegen.families.remembered import CodeSampling, Remembering, gaussian_codes, memory_option
from musegen.options import option
from musegen.probability.mixture import CodeMixture

__all__ = ["AE"]


@dataclass(frozen=True)
class AEConfig:
    latent_dim: int = option(32, "dimensions of the code z", ge=1)
    memory: int = memory_option()


@dataclass(frozen=True)
class AESampling(CodeSampling):
    prior: Literal["aggregate", "mixture"] = option(
        "mixture", "where codes are drawn from: codes of training examples, or a Gaussian mixture fitted to these"
    )


class AE(Remembering):
    name = "ae"
    title = "Autoencoder"
    paper = "Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647"
    objective = "L = −log p(x | z),  z = e(x)"
    Config = AEConfig
    Sampling = AESampling
    capabilities = Capabilities(encode=True, decode=True, reconstruct=True)
    monitor = "loss"
    encoder: Any
    decoder: Any

    def __init__(self, config: AEConfig, spec: Spec, networks: dict[str, Any]) -> None:
        super().__init__(config, spec, networks, config.latent_dim)
        self.code = nn.Linear(self.encoder.n_features, config.latent_dim)

    @classmethod
    def networks(cls, config: AEConfig, spec: Spec) -> dict[str, Wanted]:
        return {"encoder": Encoder(), "decoder": Decoder(config.latent_dim)}

    @classmethod
    def graph(cls, config: AEConfig) -> Graph:
        return Graph(
            nodes=(Node("z", "code", "deterministic code"), Node("x", "observed", "data")),
            edges=(
                Edge("x", "z", "deterministic", "z = e(x)", ("encoder", "code")),
                Edge("z", "x", "generative", "p(x|z)", ("decoder",)),
            ),
        )

    @property
    def players(self) -> dict[str, Player]:
        return {"autoencoder": Player(("encoder", "code", "decoder"))}

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        z = self.encode(batch.x)
        self.remember(z)
        yield "autoencoder", {"loss": -self.likelihood.log_prob(self.decoder(z), batch.x).mean()}

    def codes_of(self, rows: Tensor) -> CodeMixture:
        return gaussian_codes(rows, torch.zeros_like(rows))

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        return self.decode(self.draw_codes(n))

    def draw_codes(self, n: int) -> Tensor:
        z = self.remembered_codes(n)
        if z is None:
            raise BadInput("This autoencoder has no codes to sample from: train it for a step or more.")
        return z

    def encode(self, x: Tensor) -> Tensor:
        return self.code(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(z))
