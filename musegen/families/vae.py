"""Variational autoencoder (Kingma & Welling 2014, 1312.6114; Rezende, Mohamed & Wierstra 2014, 1401.4082).

Maximise the evidence lower bound, in nats, summed over the cells of x and averaged over the batch:

    ELBO(x) = E_{q(z|x)} log p(x|z) − KL(q(z|x) ‖ p(z))                                           (1312.6114, eq. 3)

with p(z) = N(0, I) and q(z|x) = N(μ(x), diag σ²(x)); the KL has a closed form (appendix B). θ is ``decoder``; φ is
``encoder`` and ``posterior``. Options:

* ``beta``: ELBO_β = E log p(x|z) − β KL (Higgins et al. 2017); a bound on log p(x) only for β ≥ 1.
* ``warmup_steps``: β grows linearly from 0 (Sønderby et al. 2016, 1602.02282).
* ``free_bits`` λ: Σ_j max(λ, E_batch KL_j), per latent dimension (Kingma et al. 2016, 1606.04934, eq. 15).
* ``importance_samples`` K > 1: the tighter bound L_K = E log 1/K Σ_k w_k, w_k = p(x, z_k) / q(z_k|x) (Burda et al.
  2016, 1509.00519, eq. 8). It has no separate KL term, so β, free bits and warm-up do not apply and are refused.
* ``estimator``: how ∇_φ passes the expectation over z.
  ``pathwise``: z = μ + σ ε (1312.6114, eq. 10).
  ``score-function``: E_q[(f(z) − b) ∇_φ log q(z|x)] (Williams 1992), f the learning signal in nats and b a baseline that
  does not depend on z: for K = 1 a running mean over earlier batches (Mnih & Gregor 2014, 1402.0030, without their
  input-dependent part and variance normalisation, which would bias the scale); for K > 1 VIMCO's leave-one-out
  baseline (Mnih & Rezende 2016, 1602.06725, eq. 10).

Samples come of p(z), or from where the codes of training examples are (``prior``, see ``musegen.families.remembered``).

Reported: ``elbo`` (or L_K) at β = 1, its terms ``reconstruction`` = −E log p(x|z) and ``kl``.
"""

from __future__ import annotations

import math
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
from musegen.families.remembered import Remembering, gaussian_codes, memory_option
from musegen.options import option
from musegen.probability.bounds import log_mean_exp, log_mean_of_draws
from musegen.probability.latent import DiagonalGaussian, StandardNormal
from musegen.probability.mixture import CodeMixture
from musegen.probability.whole_batch import batch_mean

__all__ = ["VAE", "GaussianCode", "free_bits_kl", "vimco_signal"]


@dataclass(frozen=True)
class VAEConfig:
    latent_dim: int = option(40, "dimensions of the code z", ge=1)
    beta: float = option(1.0, "weight of the KL term", ge=0)
    warmup_steps: int = option(0, "steps over which beta grows linearly from 0", ge=0, unit="steps")
    free_bits: float = option(0.0, "KL per latent dimension that costs nothing", ge=0, unit="nats")
    importance_samples: int = option(1, "K of the importance-weighted bound; 1 is the ELBO", ge=1)
    estimator: Literal["pathwise", "score-function"] = option("pathwise", "gradient estimator of the encoder")
    memory: int = memory_option()

    def __post_init__(self) -> None:
        if self.importance_samples > 1 and (self.beta != 1 or self.warmup_steps or self.free_bits):
            raise BadInput(
                "importance_samples > 1 has no KL term to weigh: use beta=1, warmup_steps=0 and free_bits=0."
            )


def free_bits_kl(kl: Tensor, free_bits: float) -> Tensor:
    """Σ_j max(λ, mean over the batch of KL_j), nats, a scalar; kl is ``(B, n)`` (1606.04934, eq. 15)."""
    return batch_mean(kl).clamp_min(free_bits).sum()


def vimco_signal(log_w: Tensor) -> Tensor:
    """Learning signal L̂ − L̂^{−k} of each sample, ``(K, B)``, nats (1602.06725, eq. 10).

    L̂^{−k} replaces w_k by the geometric mean of the others, so the baseline does not depend on z_k.
    """
    k = len(log_w)
    others = (log_w.sum(0, keepdim=True) - log_w) / (k - 1)  # (K, B): log of the geometric mean without k
    # Row k of the stack is log_w with its k-th entry replaced: (K, K, B).
    replaced = torch.where(torch.eye(k, dtype=torch.bool, device=log_w.device)[..., None], others, log_w)
    return log_mean_exp(log_w) - (replaced.logsumexp(1) - math.log(k))


class GaussianCode(Remembering):
    """What a VAE and those built on it share: the code z ~ N(0, I), q(z|x) = N(μ, σ²) and p(x|z)."""

    encoder: Any
    decoder: Any

    def __init__(self, config: Any, spec: Spec, networks: dict[str, Any]) -> None:
        super().__init__(config, spec, networks, 2 * config.latent_dim)
        self.prior = StandardNormal(config.latent_dim)
        self.posterior = nn.Linear(self.encoder.n_features, 2 * config.latent_dim)

    def q(self, x: Tensor) -> DiagonalGaussian:
        """q(z|x)."""
        return DiagonalGaussian.from_statistics(self.posterior(self.encoder(x)))

    def codes_of(self, rows: Tensor) -> CodeMixture:
        mean, log_var = rows.chunk(2, 1)
        return gaussian_codes(mean, (0.5 * log_var).exp())

    def remember_posterior(self, q: DiagonalGaussian) -> None:
        """Keep q(z|x) of a training batch."""
        self.remember(torch.cat([q.mean, q.log_var], 1))

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        return self.decode(self.draw_codes(n))

    def draw_codes(self, n: int) -> Tensor:
        z = self.remembered_codes(n)
        return self.prior.sample(n, self.device, self.sampling.temperature) if z is None else z

    def encode(self, x: Tensor) -> Tensor:
        return self.q(x).mean

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(z))


class VAE(GaussianCode):
    name = "vae"
    title = "Variational autoencoder"
    paper = "Kingma & Welling 2014, arXiv 1312.6114; importance weighting: Burda et al. 2016, arXiv 1509.00519"
    objective = "max  E_q(z|x) log p(x|z) − β KL(q(z|x) ‖ p(z));   K > 1:  E log 1/K Σ_k p(x, z_k) / q(z_k|x)"
    Config = VAEConfig
    capabilities = Capabilities(encode=True, decode=True, reconstruct=True, log_prob="bound")
    monitor = "nelbo"
    baseline: Tensor

    def __init__(self, config: VAEConfig, spec: Spec, networks: dict[str, Any]) -> None:
        super().__init__(config, spec, networks)
        self.register_buffer("baseline", torch.tensor(float("nan")))  # of the score-function estimator

    @classmethod
    def networks(cls, config: VAEConfig, spec: Spec) -> dict[str, Wanted]:
        return {"encoder": Encoder(), "decoder": Decoder(config.latent_dim)}

    @classmethod
    def graph(cls, config: VAEConfig) -> Graph:
        return Graph(
            nodes=(Node("z", "latent", "code"), Node("x", "observed", "data")),
            edges=(
                Edge("z", "x", "generative", "p(x|z)", ("decoder",)),
                Edge("x", "z", "inference", "q(z|x) = N(μ, σ²)", ("encoder", "posterior")),
            ),
        )

    @property
    def players(self) -> dict[str, Player]:
        return {"autoencoder": Player(("encoder", "posterior", "decoder"))}

    def beta(self) -> float:
        """β of this step; its final value in evaluation."""
        warm = self.config.warmup_steps
        return self.config.beta * (min(1.0, (self.step + 1) / warm) if warm and self.training else 1.0)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z): x ``(B, *S)``, z ``(B, n)`` or ``(K, B, n)`` → ``(B,)`` or ``(K, B)``, nats."""
        params = self.decoder(z.flatten(0, -2))  # (K·B, n) -> (K·B, *params_shape)
        x = x if z.dim() == 2 else x.repeat(len(z), *(1 for _ in x.shape[1:]))  # K copies, batch fastest
        return self.likelihood.log_prob(params, x).view(z.shape[:-1])

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        losses = self.elbo_losses(batch.x) if self.config.importance_samples == 1 else self.iwae_losses(batch.x)
        yield "autoencoder", losses

    def elbo_losses(self, x: Tensor) -> Losses:
        """−ELBO_β and its terms."""
        q = self.q(x)
        self.remember_posterior(q)
        z = q.rsample()
        score_function = self.config.estimator == "score-function"
        if score_function:
            z = z.detach()
        log_px, kl_terms = self.log_likelihood(x, z), q.kl()
        reconstruction, kl = -log_px.mean(), kl_terms.sum(1).mean()
        penalty = free_bits_kl(kl_terms, self.config.free_bits) if self.config.free_bits else kl
        loss = reconstruction + self.beta() * penalty
        if score_function:
            loss = loss - (self.centred(log_px.detach()) * q.log_prob(z)).mean()
        return {"loss": loss, "nelbo": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}

    def iwae_losses(self, x: Tensor) -> Losses:
        """−L_K with either estimator."""
        q = self.q(x)
        self.remember_posterior(q)
        z = q.rsample(self.config.importance_samples)  # (K, B, n)
        if self.config.estimator == "score-function":
            z = z.detach()
        log_q = q.log_prob(z)
        log_w = self.log_likelihood(x, z) + self.prior.log_prob(z) - log_q  # (K, B)
        bound = log_mean_exp(log_w)
        loss = -bound.mean()
        if self.config.estimator == "score-function":
            loss = loss - (vimco_signal(log_w.detach()) * log_q).sum(0).mean()
        return {"loss": loss, "nelbo": -bound.mean()}

    def centred(self, signal: Tensor) -> Tensor:
        """signal − b, and then the running mean b moves towards the signal. ``(B,)``, nats."""
        # The first batch is its own baseline: slightly biased once, instead of a first step of hundreds of nats.
        mean = batch_mean(signal)
        baseline = torch.where(self.baseline.isnan(), mean, self.baseline)
        if self.training:
            self.baseline = torch.lerp(baseline, mean, 0.1)
        return signal - baseline

    def log_prob(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """The importance-weighted bound L_K with K = ``n_samples``, nats, ``(B,)``; one pass per sample, so K is free."""
        q = self.q(x)

        def log_w() -> Tensor:
            z = q.rsample()
            return self.log_likelihood(x, z) + self.prior.log_prob(z) - q.log_prob(z)

        return log_mean_of_draws(log_w, n_samples)
