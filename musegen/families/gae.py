"""Generative Auto Encoder (Kim, Kim & Hwang 2018; known to us through slides, so what they leave open is derived here).

The prior of the code is not chosen but is the aggregate posterior of the n training examples, P(z) = (1/n) Σ_j P(z|x_j), with
P(z|x_j) = N(μ(x_j), diag σ²(x_j)) of φ = ``encoder``, ``posterior``. Maximise over φ and θ = ``decoder``, in nats:

    L = Σ_i log (1/n) Σ_j ∫ P(x_i|z) P(z|x_j) dz + R,    R = Σ_j [−λ1 Σ_d μ_jd² + λ2 Σ_d (1 + log σ_jd² − σ_jd²)]

The signs make R largest at μ = 0 and σ = 1; λ1 = λ2 = ½ is −KL(P(z|x_j) ‖ N(0, I)). λ1 = ``lambda_mean``, λ2 = ``lambda_variance``.

EM. Write z = μ(x_y) + σ(x_y) ε. The latent variables of x_i are y ~ uniform and ε ~ N(0, I), whose priors have no
parameters, so all of log P(x_i, y = j, ε) that can move is log P(x_i | μ_j + σ_j ε):

    E   r_i(j, ε) ∝ (1/n) N(ε; 0, I) P(x_i | μ_j + σ_j ε)     with the parameters as they are
    M   maximise Q = Σ_i E_{r_i} log P(x_i | μ_j + σ_j ε) + R     with r_i fixed

By Jensen L' − L ≥ Q' − Q, so whatever raises Q raises L. What the slides leave open, and why it is as it is:

* Latent ε, not z: with z the M-step would fit P(z|x_j) to reweighted draws of itself; with ε, φ learns through the decoder.
* One draw ε_j per component. Draws come from the mixture itself, so importance weights are likelihoods: r_ij is the
  softmax over j of log P(x_i|z_j), under ``no_grad``.
* The sum over j runs over a subset: the minibatch and ``memory_components`` remembered codes (constants for φ).
* ``own_component`` = leave-one-out keeps j = i out of the mixture of x_i. Included, r_i → δ_i, and L becomes an autoencoder's
  plus R: at λ = ½ a VAE's bound, at smaller λ the training examples by heart. An example alone keeps its own.
* ``warmup_steps`` with y = i known, an autoencoder with R. EM finds local optima: while codes say nothing about x, the r_i are
  arbitrary, each code is pulled to whatever it happened to explain, and training ends near P(z|x_j) = N(0, I) for all j.
* The M-step is one gradient step (generalised EM); at r_i just computed, ∇Q = ∇L. Pairs (x_i, z_j) that get a gradient are
  ``draws`` per example, j ~ r_i (Monte Carlo EM: unbiased for ∇Q, memory of an ordinary minibatch); 0 takes them all.
* σ² = SIGMA_MIN² + the head's variance: a mixture of points has no overlap to generalise by.

Sampling: y ~ empirical, z ~ P(z|y), x ~ P(x|z); so the model carries (μ, log σ²) of ``memory`` training examples: those
seen first (batches come in random order, hence a random subset), renewed whenever they are seen again. In evaluation
the components are EVALUATION_COMPONENTS draws of this P(z). Reported: ``nll`` = −log (1/C) Σ_j P(x_i|z_j) over the C
components, in expectation above −log P(x_i) and nearer for larger C; ``entropy`` of r_i. The E-step costs B · C likelihoods.
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
from musegen.contracts.family import Capabilities, Family, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.options import option
from musegen.probability.bounds import log_mean_of_draws
from musegen.probability.latent import DiagonalGaussian
from musegen.probability.likelihood import Likelihood
from musegen.probability.whole_batch import gathered, same_everywhere

__all__ = ["GAE", "e_step", "pairwise_log_likelihood", "regulariser"]

SIGMA_MIN = 0.05
EVALUATION_COMPONENTS = 256
PAIRWISE_NUMBERS = 2**17
"""Numbers that ``pairwise_log_likelihood`` holds at a time: what fits a processor's cache is fastest."""


@dataclass(frozen=True)
class GAEConfig:
    latent_dim: int = option(40, "dimensions of the code z", ge=1)
    lambda_mean: float = option(0.1, "λ1, pull of the posterior means to 0", ge=0)
    lambda_variance: float = option(0.1, "λ2, pull of the posterior variances to 1", ge=0)
    own_component: Literal["leave-one-out", "include"] = option(
        "leave-one-out", "whether an example's own code may explain it"
    )
    memory: int = option(4096, "training examples whose codes the model keeps: the prior that it samples from", ge=1)
    memory_components: int = option(0, "codes drawn from the memory that join the minibatch's in the E-step", ge=0)
    draws: int = option(1, "components per example in the M-step, drawn from its responsibilities; 0: all", ge=0)
    warmup_steps: int = option(500, "steps with each example's own code alone, before EM", ge=0, unit="steps")


def pairwise_log_likelihood(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    """log P(x_i|z_c), nats: params ``(C, *params_shape)`` and x ``(B, *S)`` → ``(B, C)``."""
    rows, columns = len(x), []
    for part in params.split(max(1, PAIRWISE_NUMBERS // x.numel())):
        # Component-major: (c, *) -> (c·B, *), and c copies of x.
        repeated = part.repeat_interleave(rows, 0), x.repeat(len(part), *(1 for _ in x.shape[1:]))
        columns.append(likelihood.log_prob(*repeated).view(len(part), rows))  # (c·B,) -> (c, B)
    return torch.cat(columns).T


def e_step(log_likelihood: Tensor, left_out: Tensor) -> tuple[Tensor, Tensor]:
    """log r_i(j) ``(B, C)`` and log (1/C_i) Σ_j P(x_i|z_j) ``(B,)``, nats, of log P(x_i|z_j) ``(B, C)``.

    Args:
        left_out: components that are not in the mixture of x_i, ``(B, C)``; where all would be, none is.
    """
    left_out = left_out & ~left_out.all(1, keepdim=True)
    joint = log_likelihood.masked_fill(left_out, -math.inf)
    evidence = joint.logsumexp(1)
    return joint - evidence[:, None], evidence - (~left_out).sum(1).log()


def regulariser(q: DiagonalGaussian, lambda_mean: float, lambda_variance: float) -> Tensor:
    """R_j = −λ1 Σ μ² + λ2 Σ (1 + log σ² − σ²) ≤ 0 per example, ``(B,)``."""
    spread = (1 + q.log_var - q.log_var.exp()).sum(1)
    return lambda_variance * spread - lambda_mean * q.mean.square().sum(1)


class GAE(Family):
    name = "gae"
    title = "Generative Auto Encoder"
    paper = "Kim, Kim & Hwang 2018 (slides)"
    objective = (
        "max  Σ_i log (1/n) Σ_j ∫ P(x_i|z) P(z|x_j) dz − λ1 Σ μ² + λ2 Σ (1 + log σ² − σ²),  by EM over (y = j, z)"
    )
    Config = GAEConfig
    capabilities = Capabilities(encode=True, decode=True, reconstruct=True, log_prob="bound")
    monitor = "nll"
    encoder: Any
    decoder: Any
    owner: Tensor
    codes: Tensor

    def __init__(self, config: GAEConfig, spec: Spec, networks: dict[str, Any]) -> None:
        super().__init__(config, spec, networks)
        self.posterior = nn.Linear(self.encoder.n_features, 2 * config.latent_dim)
        # The memory: whose code, −1 where there is none yet (slots fill up in order); μ, then log σ².
        self.register_buffer("owner", torch.full((config.memory,), -1))
        self.register_buffer("codes", torch.zeros(config.memory, 2 * config.latent_dim))

    @classmethod
    def networks(cls, config: GAEConfig, spec: Spec) -> dict[str, Wanted]:
        return {"encoder": Encoder(), "decoder": Decoder(config.latent_dim)}

    @classmethod
    def graph(cls, config: GAEConfig) -> Graph:
        return Graph(
            nodes=(
                Node("y", "indicator", "which training example"),
                Node("z", "latent", "code"),
                Node("x", "observed", "data"),
            ),
            edges=(
                Edge("y", "z", "prior", "P(z|x_y) = N(μ, σ²)", ("encoder", "posterior")),
                Edge("z", "x", "generative", "P(x|z)", ("decoder",)),
                Edge("x", "z", "inference", "P(z|x)", ("encoder", "posterior")),
                Edge("x", "y", "inference", "r(y) ∝ P(x|z), z ~ P(z|x_y)", ("decoder",)),
            ),
        )

    @property
    def players(self) -> dict[str, Player]:
        return {"autoencoder": Player(("encoder", "posterior", "decoder"))}

    def q(self, x: Tensor) -> DiagonalGaussian:
        """P(z|x), its σ above the floor."""
        q = DiagonalGaussian.from_statistics(self.posterior(self.encoder(x)))
        floor = torch.full_like(q.log_var, 2 * math.log(SIGMA_MIN))
        return DiagonalGaussian(q.mean, torch.logaddexp(q.log_var, floor))  # a sum of variances: no gradient is cut off

    @torch.no_grad()
    def remember(self, q: DiagonalGaussian, index: Tensor) -> None:
        """Renew the codes of examples that have a slot; give free slots to new ones, first come, first kept."""
        same = index[:, None] == self.owner  # (B, memory)
        first = (index[:, None] == index).long().argmax(1) == torch.arange(len(index), device=index.device)
        new = first & ~same.any(1)  # one slot per example, even where a batch has it twice
        slot = torch.where(new, (self.owner >= 0).sum() + new.cumsum(0) - 1, same.long().argmax(1))
        kept = (same.any(1) & first) | (new & (slot < len(self.owner)))
        self.owner[slot[kept]] = index[kept]
        self.codes[slot[kept]] = torch.cat([q.mean, q.log_var], 1)[kept].to(self.codes)

    @torch.no_grad()
    def recall(self, n: int, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """n draws of z ~ P(z) ``(n, latent)`` and whose code each is ``(n,)``; N(0, I), where R pulls, before there is any."""
        filled = max(1, int((self.owner >= 0).sum()))
        y = torch.randint(filled, (n,), device=self.device)
        mean, log_var = self.codes[y].chunk(2, 1)
        return DiagonalGaussian(mean, log_var + 2 * math.log(max(temperature, 1e-30))).rsample(), self.owner[y]

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        c = self.config
        q = self.q(batch.x)
        if self.training:
            with same_everywhere():
                remembered, owner = self.recall(c.memory_components)
            # C = B + memory_components
            index = gathered(batch.index)
            z, owner = torch.cat([gathered(q.rsample()), remembered]), torch.cat([index, owner])
            own = batch.index[:, None] == owner  # (B, C)
            left_out = ~own if self.step < c.warmup_steps else own & (c.own_component == "leave-one-out")
            self.remember(DiagonalGaussian(gathered(q.mean), gathered(q.log_var)), index)
        else:
            z, _ = self.recall(EVALUATION_COMPONENTS)
            left_out = torch.zeros(len(batch), len(z), dtype=torch.bool, device=z.device)
        with same_everywhere():
            params = self.decoder(z)  # (C, *params_shape)

        with torch.no_grad():  # E-step
            log_r, log_px = e_step(pairwise_log_likelihood(self.likelihood, params, batch.x), left_out)
            r = log_r.exp()

        expected = self.expected_log_likelihood(r, params, batch.x).mean()  # M-step
        penalty = -regulariser(q, c.lambda_mean, c.lambda_variance).mean()
        yield (
            "autoencoder",
            {
                "loss": penalty - expected,
                "nll": -log_px.mean(),
                "penalty": penalty,
                "entropy": torch.special.entr(r).sum(1).mean(),
            },
        )

    def expected_log_likelihood(self, r: Tensor, params: Tensor, x: Tensor) -> Tensor:
        """Σ_j r_i(j) log P(x_i|z_j) or its estimate from ``draws``, nats: r ``(B, C)``, params ``(C, …)`` → ``(B,)``."""
        n = self.config.draws
        if n == 0:
            return (r * pairwise_log_likelihood(self.likelihood, params, x)).sum(1)
        j = torch.multinomial(r, n, replacement=True)  # (B, draws)
        return self.likelihood.log_prob(params[j.flatten()], x.repeat_interleave(n, 0)).view(j.shape).mean(1)

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        return self.decode(self.recall(n, self.sampling.temperature)[0])

    def encode(self, x: Tensor) -> Tensor:
        return self.q(x).mean

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(z))

    def log_prob(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """log 1/S Σ_s P(x|z_s), z_s ~ P(z), S = ``n_samples``, nats, ``(B,)``: below log P(x) on average, far below for small S."""
        return log_mean_of_draws(lambda: self.likelihood.log_prob(self.decoder(self.recall(len(x))[0]), x), n_samples)
