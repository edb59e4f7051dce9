"""Generative Auto Encoder (Kim, Kim & Hwang 2018; known to us through slides, so what they leave open is derived here).

The prior of the code is not chosen but is the aggregate posterior of the n training examples, P(z) = (1/n) Σ_j P(z|x_j), with
P(z|x_j) = N(μ(x_j), diag σ²(x_j)) of φ = ``encoder``, ``posterior``. Maximise over φ and θ = ``decoder``, in nats:

    L = Σ_i log (1/n) Σ_j ∫ P(x_i|z) P(z|x_j) dz + R,    R = Σ_j [−λ1 Σ_d μ_jd² + λ2 Σ_d (1 + log σ_jd² − σ_jd²)]

The signs make R largest at μ = 0 and σ = 1; λ1 = λ2 = ½ is −KL(P(z|x_j) ‖ N(0, I)). λ1 = ``lambda_mean``, λ2 = ``lambda_variance``.
An example's own component stays out of its mixture (``own_component`` = leave-one-out), unless it is alone. Included, it explains
x_i by itself, and L becomes an autoencoder's plus R: at λ = ½ a VAE's bound, at smaller λ the training examples by heart.

The latent variables of x_i are y, the component, and z. Two ways to raise L (``method``):

**proposal** (the default), a step of variational EM. For any density q_i, by Jensen,

    log P(x_i) = log ∫ P(x_i|z) P_i(z) dz ≥ E_{q_i(z)} [log P(x_i|z) + log P_i(z) − log q_i(z)],   P_i(z) = (1/C) Σ_{j≠i} P(z|x_j)

with equality where q_i is the posterior of z given x_i under the other examples' codes. The E-step is amortised: q_i =
N(μ(x_i), diag τ²(x_i)) has the mean of x_i's own code and variances of its own, of the head ``proposal``. Were they σ² too, one
number had to be small, for x_i to be told exactly, and large, for the components to overlap; σ ends at its floor. The M-step moves
θ, and φ through the C components; both are one gradient step on one draw z ~ q_i, reparameterised. So a code may carry as many
nats as P_i(z) allows, where the other way below cannot tell an example from more than its C − 1 others: log (C − 1) nats. It is
the bound of Exemplar VAE (Norouzi, Fleet & Norouzi 2020, 2004.04795), whose components have one σ.

**components**, the EM of the slides. Write z = μ(x_y) + σ(x_y) ε. The latent variables y ~ uniform and ε ~ N(0, I) have priors
without parameters, so all of log P(x_i, y = j, ε) that can move is log P(x_i | μ_j + σ_j ε):

    E   r_i(j, ε) ∝ (1/n) N(ε; 0, I) P(x_i | μ_j + σ_j ε)     with the parameters as they are
    M   maximise Q = Σ_i E_{r_i} log P(x_i | μ_j + σ_j ε) + R     with r_i fixed

By Jensen L' − L ≥ Q' − Q, so whatever raises Q raises L. What the slides leave open, and why it is as it is:

* Latent ε, not z: with z the M-step would fit P(z|x_j) to reweighted draws of itself; with ε, φ learns through the decoder.
* One draw ε_j per component. Draws come from the mixture itself, so importance weights are likelihoods: r_ij is the
  softmax over j of log P(x_i|z_j), under ``no_grad``.
* ``warmup_steps`` with y = i known, an autoencoder with R. EM finds local optima: while codes say nothing about x, the r_i are
  arbitrary, each code is pulled to whatever it happened to explain, and training ends near P(z|x_j) = N(0, I) for all j.
* The M-step is one gradient step (generalised EM); at r_i just computed, ∇Q = ∇L. Pairs (x_i, z_j) that get a gradient are
  ``draws`` per example, j ~ r_i (Monte Carlo EM: unbiased for ∇Q, memory of an ordinary minibatch); 0 takes them all.
* R is needed here (λ = 0.1): nothing else keeps codes near one another.

Of either: the sum over j runs over a subset, the minibatch and ``memory_components`` remembered codes (constants for φ).
σ² = SIGMA_MIN² + the head's variance: a mixture of points has no overlap to generalise by.

Sampling: y ~ empirical, z ~ P(z|y), x ~ P(x|z); so the model carries (μ, log σ²) of the last ``memory`` training examples that it
saw: batches come in random order, hence a random subset. That mixture, whole, is P(z) in evaluation: ``log_prob`` is log 1/S
Σ_s P(x|z_s) P(z_s) / q(z_s), z_s ~ q (of ``components``: P(z|x)), below log P(x) on average. Reported: ``nll``, −log of what a
step estimates of P(x_i); ``rate`` = E_q [log q − log P(z)] or ``entropy`` of r_i.
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
from musegen.contracts.domain import Decoder, Encoder, Spec, Wanted
from musegen.contracts.family import Capabilities, Family, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.options import option
from musegen.probability.bounds import log_mean_of_draws
from musegen.probability.latent import LOG_VAR_BOUNDS, DiagonalGaussian
from musegen.probability.likelihood import Bernoulli, Likelihood
from musegen.probability.whole_batch import gathered, same_everywhere

__all__ = ["GAE", "e_step", "log_mixture", "pairwise_log_density", "pairwise_log_likelihood", "regulariser"]

SIGMA_MIN = 0.05
EVALUATION_COMPONENTS = 256
PAIRWISE_NUMBERS = 2**17
"""Numbers that ``pairwise_log_likelihood`` holds at a time: what fits a processor's cache is fastest."""


@dataclass(frozen=True)
class GAEConfig:
    latent_dim: int = option(40, "dimensions of the code z", ge=1)
    method: Literal["proposal", "components"] = option(
        "proposal", "codes are proposed for each example, or are draws of the others' components, as in the slides"
    )
    lambda_mean: float = option(0.0, "λ1, pull of the posterior means to 0; with method=components use 0.1", ge=0)
    lambda_variance: float = option(
        0.0, "λ2, pull of the posterior variances to 1; with method=components use 0.1", ge=0
    )
    own_component: Literal["leave-one-out", "include"] = option(
        "leave-one-out", "whether an example's own code may explain it"
    )
    memory: int = option(4096, "training examples whose codes the model keeps: the prior that it samples from", ge=1)
    memory_components: int = option(
        1000, "codes of the memory that join the minibatch's; with method=components few or none", ge=0
    )
    draws: int = option(
        1, "components per example in the M-step of method=components, drawn from its responsibilities; 0: all", ge=0
    )
    warmup_steps: int = option(
        500, "steps of method=components with each example's own code alone, before EM", ge=0, unit="steps"
    )


def pairwise_log_likelihood(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    """log P(x_i|z_c), nats: params ``(C, *params_shape)`` and x ``(B, *S)`` → ``(B, C)``."""
    if isinstance(likelihood, Bernoulli):  # x · l − Σ log(1 + eˡ): a product of matrices
        logits = params.flatten(1)
        return x.flatten(1) @ logits.T - F.softplus(logits).sum(1)
    rows, columns = len(x), []
    for part in params.split(max(1, PAIRWISE_NUMBERS // x.numel())):
        # Component-major: (c, *) -> (c·B, *), and c copies of x.
        repeated = part.repeat_interleave(rows, 0), x.repeat(len(part), *(1 for _ in x.shape[1:]))
        columns.append(likelihood.log_prob(*repeated).view(len(part), rows))  # (c·B,) -> (c, B)
    return torch.cat(columns).T


def pairwise_log_density(z: Tensor, components: DiagonalGaussian) -> Tensor:
    """log N(z_i; μ_c, σ_c²), nats: z ``(B, n)`` and C components → ``(B, C)``."""
    precision = (-components.log_var).exp()
    squares = (
        z.square() @ precision.T
        - 2 * z @ (precision * components.mean).T
        + (precision * components.mean.square()).sum(1)
    )
    return -0.5 * (squares + components.log_var.sum(1) + z.shape[1] * math.log(2 * math.pi))


def log_mixture(log_density: Tensor, left_out: Tensor) -> Tensor:
    """log (1/C_i) Σ_j N(z_i; μ_j, σ_j²), nats, ``(B,)``, of its summands' logarithms ``(B, C)``; arguments as of ``e_step``."""
    return e_step(log_density, left_out)[1]


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
    written: Tensor
    never_averaged = ("codes",)  # slots change their owners

    def __init__(self, config: GAEConfig, spec: Spec, networks: dict[str, Any]) -> None:
        super().__init__(config, spec, networks)
        self.posterior = nn.Linear(self.encoder.n_features, 2 * config.latent_dim)
        if config.method == "proposal":
            self.proposal = nn.Linear(self.encoder.n_features, config.latent_dim)
        # The memory, a ring: whose code, −1 where there is none yet; μ, then log σ²; and how many were written to it.
        self.register_buffer("owner", torch.full((config.memory,), -1))
        self.register_buffer("codes", torch.zeros(config.memory, 2 * config.latent_dim))
        self.register_buffer("written", torch.zeros((), dtype=torch.long))

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
                *cls._inference(config),
            ),
        )

    @classmethod
    def _inference(cls, config: GAEConfig) -> tuple[Edge, ...]:
        if config.method == "proposal":
            return (Edge("x", "z", "inference", "q(z|x) = N(μ, τ²)", ("encoder", "posterior", "proposal")),)
        return (
            Edge("x", "z", "inference", "P(z|x)", ("encoder", "posterior")),
            Edge("x", "y", "inference", "r(y) ∝ P(x|z), z ~ P(z|x_y)", ("decoder",)),
        )

    @property
    def players(self) -> dict[str, Player]:
        heads = ("proposal",) if self.config.method == "proposal" else ()
        return {"autoencoder": Player(("encoder", "posterior", *heads, "decoder"))}

    def q(self, x: Tensor) -> DiagonalGaussian:
        """P(z|x), its σ above the floor."""
        return self._component(self.encoder(x))

    def _component(self, features: Tensor) -> DiagonalGaussian:
        q = DiagonalGaussian.from_statistics(self.posterior(features))
        floor = torch.full_like(q.log_var, 2 * math.log(SIGMA_MIN))
        return DiagonalGaussian(q.mean, torch.logaddexp(q.log_var, floor))  # a sum of variances: no gradient is cut off

    def proposed(self, x: Tensor) -> tuple[DiagonalGaussian, DiagonalGaussian]:
        """P(z|x), and the density that codes of x are drawn from: N(μ, τ²), or P(z|x) itself."""
        features = self.encoder(x)
        component = self._component(features)
        if self.config.method == "components":
            return component, component
        return component, DiagonalGaussian(component.mean, self.proposal(features).clamp(*LOG_VAR_BOUNDS))

    @torch.no_grad()
    def remember(self, q: DiagonalGaussian, index: Tensor) -> None:
        """Keep the codes of examples in the place of those that were kept longest."""
        kept = slice(max(0, len(index) - len(self.owner)), None)
        slots = (self.written + torch.arange(len(index), device=index.device))[kept] % len(self.owner)
        self.owner[slots] = index[kept]
        self.codes[slots] = torch.cat([q.mean, q.log_var], 1)[kept].to(self.codes)
        self.written += len(index)

    @property
    def remembered(self) -> DiagonalGaussian:
        """The components of P(z) ``(C, latent)``; N(0, I) before there is any."""
        filled = max(1, int((self.owner >= 0).sum()))
        mean, log_var = self.codes[:filled].chunk(2, 1)
        return DiagonalGaussian(mean, log_var)

    @torch.no_grad()
    def recall(self, n: int) -> tuple[DiagonalGaussian, Tensor]:
        """n components drawn from the memory, and whose code each is ``(n,)``."""
        kept = self.remembered
        y = torch.randint(len(kept.mean), (n,), device=self.device)
        return DiagonalGaussian(kept.mean[y], kept.log_var[y]), self.owner[y]

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        step = self._by_proposal if self.config.method == "proposal" else self._by_components
        yield "autoencoder", step(batch)

    def _by_proposal(self, batch: Batch) -> Losses:
        c = self.config
        component, q = self.proposed(batch.x)
        z = q.rsample()
        if self.training:
            with same_everywhere():
                others, owner = self.recall(c.memory_components)
            index = gathered(batch.index)
            mean, log_var = gathered(component.mean), gathered(component.log_var)
            mixture = DiagonalGaussian(torch.cat([mean, others.mean]), torch.cat([log_var, others.log_var]))
            own = batch.index[:, None] == torch.cat([index, owner])  # (B, C)
            left_out = own & (c.own_component == "leave-one-out")
            self.remember(DiagonalGaussian(mean, log_var), index)
        else:
            mixture = self.remembered
            left_out = torch.zeros(len(z), len(mixture.mean), dtype=torch.bool, device=z.device)
        rate = q.log_prob(z) - log_mixture(pairwise_log_density(z, mixture), left_out)
        nll = rate - self.likelihood.log_prob(self.decoder(z), batch.x)
        penalty = -regulariser(component, c.lambda_mean, c.lambda_variance).mean()
        return {"loss": nll.mean() + penalty, "nll": nll.mean(), "penalty": penalty, "rate": rate.mean()}

    def _by_components(self, batch: Batch) -> Losses:
        c = self.config
        q = self.q(batch.x)
        if self.training:
            with same_everywhere():
                others, owner = self.recall(c.memory_components)
                remembered = others.rsample()
            # C = B + memory_components
            index = gathered(batch.index)
            z, owner = torch.cat([gathered(q.rsample()), remembered]), torch.cat([index, owner])
            own = batch.index[:, None] == owner  # (B, C)
            left_out = ~own if self.step < c.warmup_steps else own & (c.own_component == "leave-one-out")
            self.remember(DiagonalGaussian(gathered(q.mean), gathered(q.log_var)), index)
        else:
            z = self.recall(EVALUATION_COMPONENTS)[0].rsample()
            left_out = torch.zeros(len(batch), len(z), dtype=torch.bool, device=z.device)
        with same_everywhere():
            params = self.decoder(z)  # (C, *params_shape)

        with torch.no_grad():  # E-step
            log_r, log_px = e_step(pairwise_log_likelihood(self.likelihood, params, batch.x), left_out)
            r = log_r.exp()

        expected = self.expected_log_likelihood(r, params, batch.x).mean()  # M-step
        penalty = -regulariser(q, c.lambda_mean, c.lambda_variance).mean()
        entropy = torch.special.entr(r).sum(1).mean()
        return {"loss": penalty - expected, "nll": -log_px.mean(), "penalty": penalty, "entropy": entropy}

    def expected_log_likelihood(self, r: Tensor, params: Tensor, x: Tensor) -> Tensor:
        """Σ_j r_i(j) log P(x_i|z_j) or its estimate from ``draws``, nats: r ``(B, C)``, params ``(C, …)`` → ``(B,)``."""
        n = self.config.draws
        if n == 0:
            return (r * pairwise_log_likelihood(self.likelihood, params, x)).sum(1)
        j = torch.multinomial(r, n, replacement=True)  # (B, draws)
        return self.likelihood.log_prob(params[j.flatten()], x.repeat_interleave(n, 0)).view(j.shape).mean(1)

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        return self.decode(self.draw_codes(n))

    def draw_codes(self, n: int) -> Tensor:
        """z ~ P(z): the code of an example of the memory, drawn from its posterior, ``(n, latent)``."""
        drawn, _ = self.recall(n)
        spread = 2 * math.log(max(self.sampling.temperature, 1e-30))
        return DiagonalGaussian(drawn.mean, drawn.log_var + spread).rsample()

    def encode(self, x: Tensor) -> Tensor:
        return self.q(x).mean

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(z))

    def log_prob(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """log 1/S Σ_s P(x|z_s) P(z_s) / q(z_s|x), z_s ~ q, S = ``n_samples``, nats, ``(B,)``: below log P(x) on average."""
        _, q = self.proposed(x)
        mixture = self.remembered
        nobody = torch.zeros(len(x), len(mixture.mean), dtype=torch.bool, device=x.device)

        def log_weight() -> Tensor:
            z = q.rsample()
            log_pz = log_mixture(pairwise_log_density(z, mixture), nobody)
            return self.likelihood.log_prob(self.decoder(z), x) + log_pz - q.log_prob(z)

        return log_mean_of_draws(log_weight, n_samples)
