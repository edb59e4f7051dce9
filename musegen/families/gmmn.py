"""Generative moment matching network (Li, Swersky & Zemel 2015, 1502.02761).

A generator x̃ = G(h), h uniform on [−1, 1]^H, is trained without an adversary: its samples shall have the moments of the
data, all of them. With N examples x and M samples x̃ the squared maximum mean discrepancy is

    MMD² = ‖1/N Σ_i φ(x_i) − 1/M Σ_j φ(x̃_j)‖²
         = 1/N² Σ_ii' k(x_i, x_i') − 2/NM Σ_ij k(x_i, x̃_j) + 1/M² Σ_jj' k(x̃_j, x̃_j')   (eqs. 1–3)

including i = i': a V-statistic, ≥ 0 and biased upwards by O(1/N + 1/M), so batches must be large (1000 in the paper; one sample
per example here too). The kernel is a sum of Gaussians k(x, x') = Σ_q exp(−‖x − x'‖² / 2σ_q), σ_q ``bandwidths``; note that
σ, as in the paper, has the dimension of a squared distance. The loss is √MMD², whose gradient does not fade near the
optimum as that of MMD² does (section 3.3). Neither is in nats.

Bandwidths were chosen by hand per data set. By default they are multiples of the mean ‖x − x'‖² of the examples at hand,
so that one list serves all domains: MNIST has about 100, which turns the list of the authors' program, 2 to 80, into
0.02 to 0.8. ``bandwidth_unit`` absolute takes them as they are.

``code_space`` (section 3.2, GMMN+AE): for ``pretraining_steps`` steps an autoencoder e, d (``encoder`` and ``code``,
``decoder``) with codes in (0, 1)^n learns −log p(x|z = e(x)), in nats; from then on it is frozen, batch statistics included,
and G, now an MLP, matches e(x) with G(h) ∈ (0, 1)^n. Samples are d(G(h)). ``dropout`` is on the encoder's last features.

Reported in evaluation: ``mmd``, always √MMD² of samples and data with the default bandwidths, so that it compares runs, and
steps before and after pretraining; both players report then, whoever moves.

Deviations: Adam instead of momentum; no layer-wise pretraining; dropout not in every layer of the encoder; where
cells are binary, G shows their probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Decoder, Encoder, Spec, Wanted
from musegen.contracts.family import Capabilities, Family, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.errors import BadInput
from musegen.networks.mlp import MLPDecoder
from musegen.options import option
from musegen.probability.whole_batch import gathered

__all__ = ["GMMN", "mean_squared_distance", "mmd_squared", "root"]

BANDWIDTHS = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8]


@dataclass(frozen=True)
class GMMNConfig:
    latent_dim: int = option(10, "dimensions H of the uniform noise h", ge=1)
    bandwidths: list[float] = option(BANDWIDTHS, "σ of each Gaussian kernel, in bandwidth_unit")
    bandwidth_unit: Literal["data", "absolute"] = option(
        "data", "data: multiples of the examples' mean squared distance; absolute: squared distances as they are"
    )
    code_space: bool = option(False, "match the codes of an autoencoder instead of samples")
    code_dim: int = option(32, "dimensions of the autoencoder's code", ge=1)
    pretraining_steps: int = option(3000, "steps of the autoencoder before it is frozen", ge=1, unit="steps")
    dropout: float = option(0.5, "dropout on the encoder's features while the autoencoder learns", ge=0, lt=1)
    generator_widths: list[int] = option([64, 256, 256, 1024], "hidden layers of G in the code space")

    def __post_init__(self) -> None:
        if not self.bandwidths or any(not b > 0 for b in self.bandwidths):
            raise BadInput(f"bandwidths={self.bandwidths} is invalid: use positive numbers, such as {BANDWIDTHS}.")
        if any(width < 1 for width in self.generator_widths):
            raise BadInput(f"generator_widths={self.generator_widths} is invalid: use positive numbers.")


def mean_squared_distance(x: Tensor) -> Tensor:
    """1/N² Σ_ii' ‖x_i − x_i'‖² of rows ``(N, n)``: twice the total variance; a scalar."""
    return 2 * x.var(0, correction=0).sum()


def mmd_squared(x: Tensor, y: Tensor, bandwidths: Sequence[float], unit: Tensor | float = 1.0) -> Tensor:
    """MMD² of rows ``(N, n)`` and ``(M, n)`` with the kernel Σ_q exp(−d² / 2σ_q), σ_q in ``unit``; a scalar ≥ 0 (eq. 3)."""
    # Distances are differences of large numbers, and MMD² of larger ones: never in half precision.
    with torch.autocast(x.device.type, enabled=False):
        rows = torch.cat([x, y]).to(torch.promote_types(x.dtype, torch.float32))
        rows = rows - rows.mean(0).detach()  # the discrepancy is invariant; the rounding of the next line is not
        norms = rows.square().sum(1)
        distances = (norms[:, None] + norms - 2 * rows @ rows.T).clamp_min(0) / unit  # (N + M, N + M)
        sign = torch.cat([rows.new_full((len(x),), 1 / len(x)), rows.new_full((len(y),), -1 / len(y))])  # (N + M,)
        kernel = sum((torch.exp(-distances / (2 * b)) for b in bandwidths), torch.zeros_like(distances))
        return (sign @ kernel @ sign).clamp_min(0)


def root(squared: Tensor) -> Tensor:
    """√MMD², with a constant that keeps its gradient finite at 0."""
    return (squared + 1e-8).sqrt()


class GMMN(Family):
    name = "gmmn"
    title = "Generative moment matching network"
    paper = "Li, Swersky & Zemel 2015, arXiv 1502.02761"
    objective = "min_G  √MMD²,   MMD² = ‖E φ(x) − E φ(G(h))‖²,   k(x, x') = Σ_q exp(−‖x − x'‖² / 2σ_q)"
    Config = GMMNConfig
    capabilities = Capabilities(decode=True)
    monitor = "mmd"
    generator: Any
    encoder: Any
    decoder: Any

    def __init__(self, config: GMMNConfig, spec: Spec, networks: dict[str, Any]) -> None:
        super().__init__(config, spec, networks)
        if config.code_space:
            self.code = nn.Linear(self.encoder.n_features, config.code_dim)
            self.generator = MLPDecoder(config.latent_dim, (config.code_dim,), config.generator_widths[::-1])

    @classmethod
    def networks(cls, config: GMMNConfig, spec: Spec) -> dict[str, Wanted]:
        if config.code_space:
            return {"encoder": Encoder(), "decoder": Decoder(config.code_dim)}
        return {"generator": Decoder(config.latent_dim)}

    @classmethod
    def graph(cls, config: GMMNConfig) -> Graph:
        h, x, generated = (
            Node("h", "noise", "noise"),
            Node("x", "observed", "data"),
            Node("x̃", "generated", "generated"),
        )
        moments = Node("φ", "feature", "matched moments")
        if not config.code_space:
            return Graph(
                nodes=(h, x, generated, moments),
                edges=(
                    Edge("h", "x̃", "generative", "x̃ = G(h)", ("generator",)),
                    Edge("x", "φ", "deterministic", "φ(x)"),
                    Edge("x̃", "φ", "deterministic", "φ(x̃)"),
                ),
            )
        return Graph(
            nodes=(h, x, Node("z", "code", "code"), Node("z̃", "generated", "generated code"), generated, moments),
            edges=(
                Edge("h", "z̃", "generative", "z̃ = G(h)", ("generator",)),
                Edge("z̃", "x̃", "generative", "x̃ = d(z̃)", ("decoder",)),
                Edge("x", "z", "deterministic", "z = e(x)", ("encoder", "code")),
                Edge("z", "φ", "deterministic", "φ(z)"),
                Edge("z̃", "φ", "deterministic", "φ(z̃)"),
            ),
        )

    @property
    def players(self) -> dict[str, Player]:
        autoencoder = {"autoencoder": Player(("encoder", "code", "decoder"))} if self.config.code_space else {}
        return autoencoder | {"generator": Player(("generator",))}

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        c = self.config
        if c.code_space:
            pretraining = self.training and self.step < c.pretraining_steps
            for network in (self.encoder, self.code, self.decoder):
                network.train(pretraining)  # frozen: running statistics do not move either
            if pretraining or not self.training:
                z = self.encode(batch.x)
                yield "autoencoder", {"loss": -self.likelihood.log_prob(self.decoder(z), batch.x).mean()}
            if pretraining:
                return

        h = self.noise(len(batch))
        if c.code_space:
            with torch.no_grad():
                wanted = self.encode(batch.x)
            made = self.generate_code(h)
        else:
            wanted, made = batch.x.flatten(1), self.decode(h).flatten(1)  # (B, *S) -> (B, prod S)
        wanted, made = gathered(wanted), gathered(made)
        unit = self.unit(wanted) if c.bandwidth_unit == "data" else 1.0
        losses = {"loss": root(mmd_squared(wanted, made, c.bandwidths, unit))}
        if not self.training:
            x, generated = batch.x.flatten(1), self.decode(h).flatten(1)
            losses["mmd"] = root(mmd_squared(x, generated, BANDWIDTHS, self.unit(x)))
        yield "generator", losses

    @staticmethod
    def unit(x: Tensor) -> Tensor:
        """The mean squared distance of examples; not 0 where there is one example, or all are alike."""
        return mean_squared_distance(x).clamp_min(1e-6)

    def noise(self, n: int, temperature: float = 1.0) -> Tensor:
        """h uniform on [−1, 1]^H, times ``temperature``: ``(n, H)``."""
        return temperature * (2 * torch.rand(n, self.config.latent_dim, device=self.device) - 1)

    def encode(self, x: Tensor) -> Tensor:
        """The autoencoder's code in (0, 1)^n, ``(B, n)``."""
        if not self.config.code_space:
            return super().encode(x)
        features = F.dropout(self.encoder(x), self.config.dropout, training=self.code.training)
        return self.code(features).sigmoid()

    def generate_code(self, h: Tensor) -> Tensor:
        """G(h) in the code space: ``(B, H)`` → ``(B, n)``."""
        return self.generator(h).sigmoid()

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        return self.decode(self.noise(n, self.sampling.temperature))

    def decode(self, z: Tensor) -> Tensor:
        """The sample of noise h ``(B, H)``, ``(B, *S)``."""
        return self.likelihood.mean(
            self.decoder(self.generate_code(z)) if self.config.code_space else self.generator(z)
        )
