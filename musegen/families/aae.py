"""Adversarial autoencoder (Makhzani et al. 2015, 1511.05644).

An autoencoder whose aggregated posterior q(z) = ∫ q(z|x) p_data(x) dx (section 2) is driven to the prior
p(z) = N(0, σ² I) by a discriminator D(z) = σ(a(z)) of codes instead of a KL term. Each step has two phases (section 2):

    reconstruction    min over encoder, decoder   −E_x E_{q(z|x)} log p(x|z)
    regularisation    max over D                  E_{p(z)} log D(z) + E_{q(z)} log(1 − D(z))
                      then the encoder as generator:  min E_{q(z)} −log D(z)      (``loss`` = non-saturating)
                                                      min E_{q(z)} log(1 − D(z))  (``loss`` = minimax)

For a fixed encoder the optimum is D*(z) = p(z) / (p(z) + q(z)) (Goodfellow et al. 2014, proposition 1), so D ≡ ½ and a
discriminator loss of 2 log 2 nats once q(z) = p(z). σ is ``prior_sigma``; D is ``discriminator``; q(z|x) is ``encoder``
and ``posterior``: a Dirac at its output, or N(μ(x), diag σ²(x)) with the reparameterisation trick (section 2). Losses are
in nats, log p(x|z) summed over the cells of x. Nothing here bounds log p(x), and no single loss says how good samples
are: low reconstruction error with q(z) far from p(z) makes bad ones.

``latent_dim`` 8, ``prior_sigma`` 5, the deterministic encoder and two hidden layers of 1200 are those of the paper's
likelihood experiments on MNIST. D has no batch normalisation: it would compare batches of codes, not codes.

Samples come of p(z), or from where the codes of training examples are (``prior``, see ``musegen.families.remembered``).

Deviations: Adam for the paper's SGD with momentum; leaky ReLU in D for its ReLU, and no dropout; the domain's encoder
and decoder. Reconstruction goes through the domain's likelihood, squared error in the paper. Left out: the "universal
approximator" posterior with noise at the encoder's input, and the label-informed variants of section 2.3 onwards.
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
from musegen.families.adversarial import discriminator_loss, generator_loss
from musegen.families.remembered import Remembering, gaussian_codes, memory_option
from musegen.networks.mlp import MLPDiscriminator
from musegen.options import option
from musegen.probability.latent import DiagonalGaussian, StandardNormal
from musegen.probability.mixture import CodeMixture
from musegen.probability.whole_batch import batch_mean

__all__ = ["AAE"]


@dataclass(frozen=True)
class AAEConfig:
    latent_dim: int = option(8, "dimensions of the code z", ge=1)
    prior_sigma: float = option(5.0, "standard deviation of the prior p(z)", gt=0)
    posterior: Literal["deterministic", "gaussian"] = option("deterministic", "q(z|x): a point, or N(μ(x), σ²(x))")
    loss: Literal["minimax", "non-saturating"] = option("non-saturating", "what the encoder minimises against D")
    discriminator_widths: list[int] = option([1200, 1200], "widths of the hidden layers of the latent discriminator")
    memory: int = memory_option()

    def __post_init__(self) -> None:
        if not self.discriminator_widths or min(self.discriminator_widths) < 1:
            widths = self.discriminator_widths
            raise BadInput(f"discriminator_widths={widths} is invalid: use positive numbers, such as [1200, 1200].")


class AAE(Remembering):
    name = "aae"
    title = "Adversarial autoencoder"
    paper = "Makhzani, Shlens, Jaitly, Goodfellow & Frey 2015, arXiv 1511.05644"
    objective = "max E log p(x|z), z ~ q(z|x);   min_q max_D  E_p(z) log D(z) + E_q(z) log(1 − D(z))"
    Config = AAEConfig
    capabilities = Capabilities(encode=True, decode=True, reconstruct=True)
    encoder: Any
    decoder: Any

    def __init__(self, config: AAEConfig, spec: Spec, networks: dict[str, nn.Module]) -> None:
        n = config.latent_dim
        width = n if config.posterior == "deterministic" else 2 * n
        super().__init__(config, spec, networks, width)
        self.prior = StandardNormal(n, config.prior_sigma)
        self.posterior = nn.Linear(self.encoder.n_features, width)
        self.discriminator = MLPDiscriminator((n,), config.discriminator_widths, "none")

    @classmethod
    def networks(cls, config: AAEConfig, spec: Spec) -> dict[str, Wanted]:
        return {"encoder": Encoder(), "decoder": Decoder(config.latent_dim)}

    @classmethod
    def graph(cls, config: AAEConfig) -> Graph:
        deterministic = config.posterior == "deterministic"
        return Graph(
            nodes=(
                Node("z", "latent", "code"),
                Node("x", "observed", "data"),
                Node("y", "indicator", "prior or code"),
            ),
            edges=(
                Edge("z", "x", "generative", "p(x|z)", ("decoder",)),
                Edge("x", "z", "inference", "z = e(x)" if deterministic else "q(z|x)", ("encoder", "posterior")),
                Edge("z", "y", "adversarial", "D(z)", ("discriminator",)),
            ),
        )

    @property
    def players(self) -> dict[str, Player]:
        # The encoder moves in two phases with separate optimisers, as its gradients differ by orders of magnitude.
        return {
            "autoencoder": Player(("encoder", "posterior", "decoder")),
            "discriminator": Player(("discriminator",), learning_rate=2e-4, betas=(0.5, 0.999)),
            "encoder": Player(("encoder", "posterior"), learning_rate=2e-4, betas=(0.5, 0.999)),
        }

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        x, loss = batch.x, self.config.loss
        statistics = self.posterior(self.encoder(x))
        self.remember(statistics)
        params = self.decoder(self.drawn(statistics))
        yield "autoencoder", {"loss": -self.likelihood.log_prob(params, x).mean()}

        with torch.no_grad():
            code = self.draw(x)
        prior = self.prior.sample(len(x), x.device)
        (_, prior_logit), (_, code_logit) = self.discriminator(prior), self.discriminator(code)
        losses = {"loss": discriminator_loss(loss, prior_logit, code_logit).mean()}
        losses |= {"prior_logit": prior_logit.mean(), "code_logit": code_logit.mean()}
        # In the unit of z: prior_sigma, if q(z) = p(z).
        yield "discriminator", losses | {"code_rms": batch_mean(code.square().mean(1)).sqrt()}

        _, logit = self.discriminator(self.draw(x))
        yield "encoder", {"loss": generator_loss(loss, logit).mean()}

    def draw(self, x: Tensor) -> Tensor:
        """z ~ q(z|x), differentiable: ``(B, *S)`` → ``(B, n)``."""
        return self.drawn(self.posterior(self.encoder(x)))

    def drawn(self, statistics: Tensor) -> Tensor:
        """z of what the encoder says of it, ``(B, n)`` or ``(B, 2n)`` → ``(B, n)``."""
        if self.config.posterior == "deterministic":
            return statistics
        return DiagonalGaussian.from_statistics(statistics).rsample()

    def codes_of(self, rows: Tensor) -> CodeMixture:
        if self.config.posterior == "deterministic":
            return gaussian_codes(rows, torch.zeros_like(rows))
        q = DiagonalGaussian.from_statistics(rows)
        return gaussian_codes(q.mean, (0.5 * q.log_var).exp())

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        return self.decode(self.draw_codes(n))

    def draw_codes(self, n: int) -> Tensor:
        z = self.remembered_codes(n)
        return self.prior.sample(n, self.device, self.sampling.temperature) if z is None else z

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(self.encoder(x))[:, : self.config.latent_dim]  # the means, where variances follow

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(z))
