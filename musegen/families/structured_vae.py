"""Structured VAE: hierarchically factorised codes (Esmaeili et al. 2019, 1804.02086), the split of Chen et al. (2018, 1802.04942).

The code z = (z_1, …, z_G) has groups, such as the class of a digit and its style. Each categorical code of ``discrete`` is a
group of one variable c; each entry of ``continuous`` is a group of that many variables z_gd. p(z) is uniform and N(0, I),
q(z|x) a product over all variables. With q(z) = 1/N Σ_n q(z|x_n), the aggregate posterior, the negative ELBO is the sum of

    reconstruction       −E log p(x|z)
    mutual_information   E log q(z|x) − log q(z)                                I(x; z) under q
    total_correlation    E log q(z) − Σ_g log q(z_g)                            dependence between groups
    group_correlation    E Σ_g [log q(z_g) − Σ_d log q(z_gd)]                   dependence within groups
    dimension_kl         E Σ_gd [log q(z_gd) − log p(z_gd)]                     KL(q(z_gd) ‖ p(z_gd))

(1804.02086, section 3; with one variable per group 1802.04942, eq. 2), all in nats. The last four have the weights of the same
names. All 1, the default, is the ELBO; a larger ``total_correlation`` alone makes groups independent and leaves each free
within, as β-TCVAE's β (6 on dSprites) does with groups of one variable. It is no cure for an empty class: N examples have at
most log N nats, and once style alone tells them apart, the dependence between class and style is I(c; x), so that the weight
falls on the class. θ is ``decoder``; φ is ``encoder`` and ``posterior``.

Each group g has its share KL_g = E log q(z_g|x) − log p(z_g) in these terms, which add up to Σ_g KL_g. Options change it:

* ``weights`` w_g: (w_g − 1) KL_g is added to the loss.
* ``capacities`` C_g: γ |KL_g − C_g| takes the place of KL_g (Dupont 2018, 1804.00104, eq. 7; γ is ``capacity_weight``).
* ``class_information`` F: γ max(0, F − I(c; x)) is added for each categorical code c, with I(c; x) = H(E q(c|x)) − E H(q(c|x)) of
  the batch, reported as ``class_information``. A capacity on KL(q(c|x) ‖ p(c)) is met as well by a code of few classes that are the
  same for all x; I(c; x) near log K needs all of them, each for its share of the data. Left to the ELBO, c stays empty.
  On MNIST (400-400 units, ``continuous`` = [4], 3,000 steps of 100, seed 0) F = 2.2 leaves 39 % of validation images outside the
  majority class of their cluster, and 55 % with ``continuous`` = [10].

C and F grow from 0 over ``capacity_steps``.

log q of z, z_g and z_gd are estimated on the minibatch, for example i of B with z_i ~ q(z|x_i), as

    q(z_i) ≈ 1/N q(z_i|x_i) + (N − 1) / (N (B − 1)) Σ_{j≠i} q(z_i|x_j)

which is unbiased for q, and exact when the minibatch is the data set; its logarithm is too small in the mean. This is the
stratified estimate of 1802.04942, appendix C.2, averaged over which of the other examples gets that estimate's odd weight:
the same mean, less variance, and no dependence on the order of examples. N is ``n_examples``; if it is below B, N = B.

Training draws categorical codes from the Concrete distribution at temperature ``relaxation`` (Maddison et al. 2017,
1611.00712; Jang et al. 2017, 1611.01144), and takes the prior's Concrete density at the same temperature (1611.00712 allows
two). Evaluation draws one-hot codes with exact probabilities: ``nelbo`` then bounds −log p(x) of the model that ``sample``
draws from, as ``log_prob`` does. A code ``(B, n)`` is one-hot or relaxed c first, then z; ``encode`` takes the most
probable classes and the mean of z. ``classify`` is log q(c_1|x): clusters without names. ``sample``'s ``label`` fixes c_1.
Samples come of p(z), or from where the codes of training examples are (``prior``, see ``musegen.families.remembered``), of those
of the class where c_1 is fixed.

Deviation: p(z) factorises over all variables, so the dependence terms of 1804.02086 lose their parts in p.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Decoder, Encoder, Spec, Wanted
from musegen.contracts.family import Capabilities, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.errors import BadInput
from musegen.families.remembered import Remembering, gaussian_codes, memory_option
from musegen.options import option
from musegen.probability.bounds import log_mean_of_draws
from musegen.probability.latent import Concrete, DiagonalGaussian
from musegen.probability.mixture import CodeMixture
from musegen.probability.whole_batch import batch_mean, gathered

__all__ = ["Factorised", "StructuredVAE", "decomposed_kl", "stratified_log_weights"]


@dataclass(frozen=True)
class StructuredVAEConfig:
    discrete: list[int] = option([10], "classes of each categorical code")
    continuous: list[int] = option([10], "dimensions of each group of continuous codes")
    mutual_information: float = option(1.0, "weight of I(x; z)", ge=0)
    total_correlation: float = option(1.0, "weight of the dependence between groups", ge=0)
    group_correlation: float = option(1.0, "weight of the dependence within groups", ge=0)
    dimension_kl: float = option(1.0, "weight of the KL of single codes to their prior", ge=0)
    relaxation: float = option(2 / 3, "temperature λ of relaxed categorical codes in training", gt=0)
    weights: list[float] = option([], "weight of each group's KL to its prior, categorical codes first; none given: 1")
    capacities: list[float] = option(
        [], "KL that each group is held to, categorical codes first; none given: their KL is as the ELBO has it"
    )
    class_information: float = option(
        0.0, "least I(c; x) of each categorical code c, nats; log 10 is all that 10 classes can hold", ge=0
    )
    capacity_steps: int = option(1500, "steps over which capacities and class_information grow from 0", ge=1)
    capacity_weight: float = option(30.0, "weight of what is amiss with capacities and class_information", ge=0)
    memory: int = memory_option()

    def __post_init__(self) -> None:
        if any(k < 2 for k in self.discrete) or any(n < 1 for n in self.continuous):
            raise BadInput(
                "Each entry of discrete must be at least 2 classes, each of continuous at least 1 dimension."
            )
        if not self.discrete and not self.continuous:
            raise BadInput("There are no codes: give at least one entry in discrete or continuous.")
        for name, values in (("weights", self.weights), ("capacities", self.capacities)):
            if values and (len(values) != len(self.groups) or min(values) < 0):
                raise BadInput(f"{name}={values} is invalid: give {len(self.groups)} numbers from 0 on, one per group.")
        for k in self.discrete:
            if self.class_information >= math.log(k):
                raise BadInput(
                    f"class_information={self.class_information:g} is invalid: a code of {k} classes holds less than "
                    f"{math.log(k):.4f} nats."
                )

    @property
    def groups(self) -> list[int]:
        """Variables per group, categorical codes first."""
        return [1] * len(self.discrete) + self.continuous

    @property
    def n_code(self) -> int:
        return sum(self.discrete) + sum(self.continuous)


@dataclass(frozen=True)
class Factorised:
    """q(z|x) or p(z): a product over U variables, the categorical ones first. A code is (log c_1, …, log c_M, z)."""

    categorical: tuple[Concrete, ...]
    gaussian: DiagonalGaussian

    def rsample(self) -> Tensor:
        """Reparameterised draw, ``(B, n_code)``."""
        return torch.cat([*(q.rsample() for q in self.categorical), self.gaussian.rsample()], -1)

    def gathered(self) -> Factorised:
        """Of the examples of the whole batch, those at hand first."""
        categorical = tuple(Concrete(gathered(q.log_alpha, own_first=True), q.relaxation) for q in self.categorical)
        mean, log_var = (gathered(t, own_first=True) for t in (self.gaussian.mean, self.gaussian.log_var))
        return Factorised(categorical, DiagonalGaussian(mean, log_var))

    def log_prob(self, code: Tensor) -> Tensor:
        """Log-density of each variable, nats: ``(…, n_code)`` → ``(…, U)``; broadcasts over the leading axes."""
        sizes = [q.log_alpha.shape[-1] for q in self.categorical]
        *log_c, z = code.split([*sizes, self.gaussian.mean.shape[-1]], -1)
        # DiagonalGaussian sums over the last axis: one of length 1 keeps the dimensions apart, (…, n) -> (…, n, 1).
        normal = DiagonalGaussian(self.gaussian.mean[..., None], self.gaussian.log_var[..., None])
        single = [q.log_prob(c)[..., None] for q, c in zip(self.categorical, log_c, strict=True)]
        return torch.cat([*single, normal.log_prob(z[..., None])], -1)


def stratified_log_weights(b: int, n: int, device: torch.device | str = "cpu") -> Tensor:
    """log w_ij of the estimate q(z_i) ≈ Σ_j w_ij q(z_i|x_j), ``(B, B)``; see the family's docstring. Rows sum to 1.

    Args:
        b: B examples in the minibatch; a single one is all there is to know about the data.
        n: N examples in the data set.
    """
    if b == 1:
        return torch.zeros(1, 1, device=device)
    n = max(n, b)
    weights = torch.full((b, b), math.log((n - 1) / (n * (b - 1))), device=device)
    return weights.fill_diagonal_(-math.log(n))


def decomposed_kl(log_q: Tensor, log_p: Tensor, groups: Sequence[int], n_examples: int) -> dict[str, Tensor]:
    """The four terms that add up to log q(z|x) − log p(z), per example, nats, each ``(b,)``.

    Args:
        log_q: log q(z_iu|x_j) of every variable u, ``(b, B, U)``: row i has the draw of example i, one of the first b of B.
        log_p: log p(z_iu), ``(b, U)``.
        groups: variables per group, in order; they add up to U.
        n_examples: N.
    """
    log_w = stratified_log_weights(log_q.shape[1], n_examples, log_q.device)[: len(log_q)]
    grouped = torch.stack([part.sum(-1) for part in log_q.split(list(groups), -1)], -1)  # (b, B, U) -> (b, B, G)
    joint = log_q.sum(-1)  # (b, B)
    # Aggregate posteriors of everything, of each group and of each variable, summed over the last: (b,)
    log_qz = (joint + log_w).logsumexp(1)
    log_qg, log_qd = ((part + log_w[..., None]).logsumexp(1).sum(-1) for part in (grouped, log_q))
    return {
        "mutual_information": joint.diagonal() - log_qz,
        "total_correlation": log_qz - log_qg,
        "group_correlation": log_qg - log_qd,
        "dimension_kl": log_qd - log_p.sum(-1),
    }


class StructuredVAE(Remembering):
    name = "structured_vae"
    title = "Structured variational autoencoder"
    paper = "Esmaeili et al. 2019, arXiv 1804.02086; Chen et al. 2018, arXiv 1802.04942"
    objective = (
        "min  −E log p(x|z) + α I(x; z) + β TC between groups + γ TC within groups + δ Σ KL(q(z_gd) ‖ p(z_gd));\n"
        "all weights 1 give −ELBO"
    )
    Config = StructuredVAEConfig
    capabilities = Capabilities(
        encode=True, decode=True, reconstruct=True, log_prob="bound", classify=True, condition=True
    )
    monitor = "nelbo"
    encoder: Any
    decoder: Any

    def __init__(self, config: StructuredVAEConfig, spec: Spec, networks: dict[str, Any]) -> None:
        width = sum(config.discrete) + 2 * sum(config.continuous)
        super().__init__(config, spec, networks, width)
        self.posterior = nn.Linear(self.encoder.n_features, width)

    @classmethod
    def networks(cls, config: StructuredVAEConfig, spec: Spec) -> dict[str, Wanted]:
        return {"encoder": Encoder(), "decoder": Decoder(config.n_code)}

    @classmethod
    def graph(cls, config: StructuredVAEConfig) -> Graph:
        groups = []
        for symbol, sizes, meaning in (("c", config.discrete, "one of"), ("z", config.continuous, "numbers:")):
            for i, size in enumerate(sizes, 1):
                groups.append(Node(symbol if len(sizes) == 1 else f"{symbol}{i}", "latent", f"{meaning} {size}"))
        down = [Edge(g.name, "x", "generative", "p(x|c, z)", ("decoder",)) for g in groups]
        up = [Edge("x", g.name, "inference", f"q({g.name}|x)", ("encoder", "posterior")) for g in groups]
        return Graph((*groups, Node("x", "observed", "data")), (*down, *up))

    @property
    def players(self) -> dict[str, Player]:
        return {"autoencoder": Player(("encoder", "posterior", "decoder"))}

    def q(self, x: Tensor, relaxation: float) -> Factorised:
        """q(z|x); relaxation 0 gives exact categorical codes."""
        return self.posterior_of(self.posterior(self.encoder(x)), relaxation)

    def posterior_of(self, statistics: Tensor, relaxation: float) -> Factorised:
        """q(z|x) of what the encoder says of it, ``(B, Σ K + 2n)``: logits, then means and log-variances."""
        c = self.config
        *logits, gaussian = statistics.split([*c.discrete, 2 * sum(c.continuous)], 1)
        categorical = tuple(Concrete(part.log_softmax(1), relaxation) for part in logits)
        return Factorised(categorical, DiagonalGaussian.from_statistics(gaussian))

    def prior(self, n: int, relaxation: float) -> Factorised:
        """p(z), n times."""
        c = self.config
        uniform = (torch.full((n, k), -math.log(k), device=self.device) for k in c.discrete)
        zeros = torch.zeros(n, sum(c.continuous), device=self.device)
        return Factorised(tuple(Concrete(p, relaxation) for p in uniform), DiagonalGaussian(zeros, zeros))

    def visible(self, code: Tensor) -> Tensor:
        """What the decoder sees of a draw, ``(B, n_code)``: c in place of log c."""
        m = sum(self.config.discrete)
        return torch.cat([code[:, :m].exp(), code[:, m:]], 1)

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        c, n = self.config, len(batch)
        relaxation = c.relaxation if self.training else 0.0
        statistics = self.posterior(self.encoder(batch.x))
        self.remember(statistics)
        q, p = self.posterior_of(statistics, relaxation), self.prior(n, relaxation)
        code = q.rsample()
        reconstruction = -self.likelihood.log_prob(self.decoder(self.visible(code)), batch.x).mean()
        # (B, 1, n_code) against the statistics (B, ·) of all examples: (B, B, U)
        kl = decomposed_kl(q.gathered().log_prob(code[:, None]), p.log_prob(code), c.groups, self.n_examples)
        terms = {name: value.mean() for name, value in kl.items()}
        loss = reconstruction + sum(getattr(c, name) * value for name, value in terms.items())
        loss = loss + self.of_groups(q, p, code)
        nelbo = reconstruction + sum(terms.values())
        terms |= {"class_information": self.class_information(q)} if c.discrete else {}
        if c.class_information:
            floor = self.grown * c.class_information
            loss = loss + c.capacity_weight * sum(F.relu(floor - i) for i in self.informations(q))
        yield "autoencoder", {"loss": loss, "nelbo": nelbo, "reconstruction": reconstruction} | terms

    @property
    def grown(self) -> float:
        """Share of the capacities that holds at this step; all of it in evaluation."""
        return min(1.0, (self.step + 1) / self.config.capacity_steps) if self.training else 1.0

    def of_groups(self, q: Factorised, p: Factorised, code: Tensor) -> Tensor:
        """What weights and capacities of the groups add to the loss, nats, a scalar."""
        c, zero = self.config, code.new_zeros(())
        if not (c.weights or c.capacities):
            return zero
        single = (q.log_prob(code) - p.log_prob(code)).split(c.groups, 1)
        kl = torch.stack([batch_mean(part.sum(1)) for part in single])  # (G,)
        added = (torch.tensor(c.weights, device=kl.device) - 1) @ kl if c.weights else zero
        if c.capacities:
            wanted = self.grown * torch.tensor(c.capacities, device=kl.device)
            added = added + (c.capacity_weight * (kl - wanted).abs() - kl).sum()
        return added

    @staticmethod
    def informations(q: Factorised) -> list[Tensor]:
        """I(c; x) = H(E q(c|x)) − E H(q(c|x)) of each categorical code over the batch, nats."""
        entropies = (torch.special.entr(part.log_alpha.exp()).sum(1) for part in q.categorical)
        means = (batch_mean(part.log_alpha.exp()) for part in q.categorical)
        return [torch.special.entr(m).sum() - batch_mean(h) for m, h in zip(means, entropies, strict=True)]

    def class_information(self, q: Factorised) -> Tensor:
        """The smallest I(c; x), nats."""
        return torch.stack(self.informations(q)).min()

    def codes_of(self, rows: Tensor) -> CodeMixture:
        q = self.posterior_of(rows, 0.0)
        gaussian = gaussian_codes(q.gaussian.mean, (0.5 * q.gaussian.log_var).exp())
        return replace(gaussian, classes=tuple(part.log_alpha for part in q.categorical))

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        if label is not None:
            k = self.classes()
            label = label.to(self.device)
            if label.shape != (n,) or not bool(((label >= 0) & (label < k)).all()):
                raise BadInput(f"label must hold {n} whole numbers from 0 to {k - 1}.")
        return self.decode(self.draw_codes(n, label))

    def draw_codes(self, n: int, label: Tensor | None = None) -> Tensor:
        code = self.remembered_codes(n, label)
        if code is None:
            code = self.visible(self.prior(n, 0.0).rsample())
            code[:, sum(self.config.discrete) :] *= self.sampling.temperature
            if label is not None:
                code[:, : self.classes()] = F.one_hot(label, self.classes()).to(code.dtype)
        return code

    def classes(self) -> int:
        """How many values the first categorical code has; refused where there is none."""
        if not self.config.discrete:
            raise BadInput("This structured_vae has no categorical code, hence no classes: train one with discrete.")
        return self.config.discrete[0]

    def encode(self, x: Tensor) -> Tensor:
        q = self.q(x, 0.0)
        one_hot = [F.one_hot(part.log_alpha.argmax(1), part.log_alpha.shape[1]) for part in q.categorical]
        return torch.cat([*one_hot, q.gaussian.mean], 1)

    def decode(self, z: Tensor) -> Tensor:
        """E[x|c, z] of ``(B, n_code)``: one-hot c of each categorical code, then z."""
        return self.likelihood.mean(self.decoder(z))

    def log_prob(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """log 1/K Σ_k p(x, z_k) / q(z_k|x), K = ``n_samples`` draws with one-hot c (1509.00519, eq. 8), nats, ``(B,)``."""
        q, p = self.q(x, 0.0), self.prior(len(x), 0.0)

        def log_w() -> Tensor:
            code = q.rsample()
            log_px = self.likelihood.log_prob(self.decoder(self.visible(code)), x)
            return log_px + (p.log_prob(code) - q.log_prob(code)).sum(1)

        return log_mean_of_draws(log_w, n_samples)

    def classify(self, x: Tensor) -> Tensor:
        """log q(c_1|x), nats, ``(B, K)``."""
        self.classes()
        return self.q(x, 0.0).categorical[0].log_alpha
