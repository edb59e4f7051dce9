"""Helmholtz machine, trained by wake-sleep (Hinton, Dayan, Frey & Neal 1995, doi:10.1126/science.7761831).

Layers of stochastic units h_1 (next to x) … h_L (top), widths ``layers``. Two networks that share nothing:

    generative    p(x, h) = p(h_L) Π_l p(h_l | h_{l+1}) p(x | h_1)      ``prior``, ``generative``, ``decoder``
    recognition   q(h | x) = q(h_1 | x) Π_l q(h_{l+1} | h_l)            ``encoder``, ``recognition``

Every conditional of ``units`` = binary is Bernoulli(σ(W h + b)); of ``units`` = gaussian it is N(W h + b, diag σ²) with
σ = ``SIGMA_MIN`` + softplus(V h + c). p(h_L) is the same with learned biases alone; x | h_1 has the domain's decoder and
likelihood, h_1 | x the domain's encoder and a linear head. No gradient passes through a sample: each move is maximum
likelihood on units that are given. With ``algorithm`` = wake-sleep, in nats per example:

    wake     h ~ q(h|x):        generative    minimises  −log p(x, h)      a bound: E_q log p(x, h) + H(q) ≤ log p(x)
    sleep    (x, h) ~ p(x, h):  recognition   minimises  −log q(h | x)     KL(p ‖ q), not the KL(q ‖ p) of the bound

With ``algorithm`` = reweighted (Bornschein & Bengio 2015, 1406.2751, section 2 and Algorithm 1) K = ``importance_samples``
draws h^k ~ q(h|x) make the wake phase a self-normalised estimate of ∇ log p(x), biased by O(1/K):

    ω_k = p(x, h^k) / q(h^k|x),  ω̃_k = ω_k / Σ_k' ω_k';   generative minimises  −Σ_k ω̃_k log p(x, h^k)
    ``q_update``   wake    recognition minimises −Σ_k ω̃_k log q(h^k|x): fits q to p(h|x) on data, not on dreams
                   sleep   as above
                   both    the mean of the two: the paper weighs them equally

Wake-sleep is K = 1 with the sleep update. A dream is a draw of x, not its mean. The code of x, for ``encode`` and
``decode``, is the mean of q(h_1|x): for binary units, their probabilities. Reported: ``nelbo`` = −log 1/K Σ_k ω_k, whose mean
bounds −log p(x).

The decoder sees a binary unit as ±CODE_SCALE. That is the paper's model with other first weights, larger ones at the start:
with small ones dreams hardly depend on h, recognition learns to ignore x, and then h has nothing to tell the decoder.

Deviations: the bottom layer has whatever hidden layers the domain's networks have, and it is a sigmoid belief network
only where those are linear; Adam instead of plain gradients. A domain's batch normalisation sees
data and dreams in separate passes, and keeps running statistics of both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Decoder, Encoder, Spec, Wanted
from musegen.contracts.family import Capabilities, Family, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.errors import BadInput
from musegen.networks.layers import Biases
from musegen.options import option
from musegen.probability.bounds import log_mean_exp, log_mean_of_draws
from musegen.probability.likelihood import Bernoulli, Gaussian, Likelihood

__all__ = ["WakeSleep", "reweighted"]

SIGMA_MIN = 0.05
"""Floor of a Gaussian unit's σ: without it the density of a unit that can be foretold has no bound."""
CODE_SCALE = 4.0
"""MNIST, wake-sleep, widths 200: log p(x) > −146 nats after 1200 steps; with units 0 and 1, −180 after 2000."""


@dataclass(frozen=True)
class WakeSleepConfig:
    layers: list[int] = option([200], "units per layer, from the one next to the data to the top")
    units: Literal["binary", "gaussian"] = option("binary", "law of the hidden units")
    algorithm: Literal["wake-sleep", "reweighted"] = option("wake-sleep", "one sample, or K importance-weighted ones")
    importance_samples: int = option(0, "K; 0: 1 for wake-sleep, 5 for reweighted", ge=0)
    q_update: Literal["auto", "wake", "sleep", "both"] = option(
        "auto", "phase that teaches the recognition network: sleep for wake-sleep, both for reweighted"
    )

    def __post_init__(self) -> None:
        if not self.layers or min(self.layers) < 1:
            raise BadInput(f"layers needs at least one layer of at least one unit, not {self.layers}.")
        if self.algorithm == "wake-sleep" and (self.importance_samples > 1 or self.q_update in ("wake", "both")):
            raise BadInput(
                "algorithm=wake-sleep draws one sample and teaches recognition in its sleep: "
                "set algorithm=reweighted for importance_samples > 1 or another q_update."
            )

    @property
    def k(self) -> int:
        return self.importance_samples or (1 if self.algorithm == "wake-sleep" else 5)

    @property
    def phases(self) -> tuple[str, ...]:
        """Phases in which the recognition network learns."""
        if self.q_update == "auto":
            return ("sleep",) if self.algorithm == "wake-sleep" else ("wake", "sleep")
        return ("wake", "sleep") if self.q_update == "both" else (self.q_update,)


def repeated(t: Tensor, k: int) -> Tensor:
    """``(B, …)`` → ``(k·B, …)``, batch fastest."""
    return t.repeat(k, *(1 for _ in t.shape[1:]))


def reweighted(log_w: Tensor, log_density: Tensor) -> Tensor:
    """−Σ_k ω̃_k log f(h^k), weights held fixed: log ω and log f ``(K, B)`` → ``(B,)``, nats (1406.2751, section 2)."""
    return -(log_w.detach().softmax(0) * log_density).sum(0)


class Layer(nn.Linear):
    """Parameters of a layer of n units given another: ``(B, n_in)`` → ``(B, *units.params_shape((n,)))``."""

    def __init__(self, n_in: int, n: int, units: Likelihood) -> None:
        self.shape = units.params_shape((n,))
        super().__init__(n_in, math.prod(self.shape))

    def forward(self, h: Tensor) -> Tensor:
        return super().forward(h).unflatten(1, self.shape)  # (B, prod) -> (B, *shape)


class WakeSleep(Family):
    name = "wake_sleep"
    title = "Helmholtz machine"
    paper = (
        "Hinton, Dayan, Frey & Neal 1995, doi:10.1126/science.7761831; reweighted: Bornschein & Bengio, arXiv 1406.2751"
    )
    objective = "wake: max_p E_q(h|x) log p(x, h);  sleep: max_q E_p(x,h) log q(h|x);  reweighted: Σ_k ω̃_k, ω = p(x, h) / q(h|x)"
    Config = WakeSleepConfig
    capabilities = Capabilities(encode=True, decode=True, reconstruct=True, log_prob="bound")
    monitor = "nelbo"
    encoder: Any
    decoder: Any

    def __init__(self, config: WakeSleepConfig, spec: Spec, networks: dict[str, Any]) -> None:
        super().__init__(config, spec, networks)
        widths = config.layers
        self.units: Likelihood = Bernoulli() if config.units == "binary" else Gaussian(SIGMA_MIN)
        self.prior = Biases(self.units.params_shape((widths[-1],)))
        self.generative = nn.ModuleList(Layer(above, below, self.units) for below, above in pairwise(widths))
        self.recognition = nn.ModuleList(
            Layer(i, o, self.units) for i, o in pairwise([self.encoder.n_features, *widths])
        )

    @classmethod
    def networks(cls, config: WakeSleepConfig, spec: Spec) -> dict[str, Wanted]:
        return {"encoder": Encoder(), "decoder": Decoder(config.layers[0])}

    @classmethod
    def graph(cls, config: WakeSleepConfig) -> Graph:
        h = [f"h{i + 1}" for i in range(len(config.layers))]
        return Graph(
            nodes=(
                Node("b", "noise", "biases of the top"),
                *(
                    Node(name, "latent", f"{width} {config.units} units")
                    for name, width in zip(h, config.layers, strict=True)
                ),
                Node("x", "observed", "data"),
            ),
            edges=(
                Edge("b", h[-1], "prior", f"p({h[-1]})", ("prior",)),
                *(Edge(up, low, "generative", f"p({low}|{up})", ("generative",)) for low, up in pairwise(h)),
                Edge(h[0], "x", "generative", f"p(x|{h[0]})", ("decoder",)),
                Edge("x", h[0], "inference", f"q({h[0]}|x)", ("encoder", "recognition")),
                *(Edge(low, up, "inference", f"q({up}|{low})", ("recognition",)) for low, up in pairwise(h)),
            ),
        )

    @property
    def players(self) -> dict[str, Player]:
        upper = ("generative",) if len(self.generative) else ()
        return {
            "generative": Player(("prior", *upper, "decoder")),
            "recognition": Player(("encoder", "recognition")),
        }

    def params(self, h: Tensor) -> Tensor:
        """Parameters of p(x|h_1): ``(B, n_1)``, states or means → ``(B, *params_shape)``."""
        return self.decoder(CODE_SCALE * (2 * h - 1) if self.config.units == "binary" else h)

    @torch.no_grad()
    def infer(self, x: Tensor, k: int = 1) -> list[Tensor]:
        """k draws of h ~ q(h|x) per example: h_1 … h_L, each ``(k·B, n_l)``, batch fastest."""
        h = [self.units.sample(repeated(self.recognition[0](self.encoder(x)), k))]
        for layer in self.recognition[1:]:
            h.append(self.units.sample(layer(h[-1])))
        return h

    @torch.no_grad()
    def dream(self, n: int, temperature: float = 1.0) -> list[Tensor]:
        """n draws of h from p: h_1 … h_L, each ``(n, n_l)``."""
        h = [self.units.sample(self.prior(n), temperature)]
        for layer in reversed(self.generative):
            h.insert(0, self.units.sample(layer(h[0]), temperature))
        return h

    def log_p(self, x: Tensor, h: list[Tensor]) -> Tensor:
        """log p(x, h): x ``(B, *S)``, each h_l ``(K·B, n_l)`` → ``(K, B)``, nats."""
        k = len(h[0]) // len(x)
        log_p = self.likelihood.log_prob(self.params(h[0]), repeated(x, k)) + self.units.log_prob(
            self.prior(len(h[-1])), h[-1]
        )
        for layer, below, above in zip(self.generative, h, h[1:], strict=False):
            log_p = log_p + self.units.log_prob(layer(above), below)
        return log_p.view(k, len(x))  # (K·B,) -> (K, B)

    def log_q(self, x: Tensor, h: list[Tensor]) -> Tensor:
        """log q(h|x): x ``(B, *S)``, each h_l ``(K·B, n_l)`` → ``(K, B)``, nats."""
        k = len(h[0]) // len(x)
        log_q = self.units.log_prob(repeated(self.recognition[0](self.encoder(x)), k), h[0])
        for layer, below, above in zip(self.recognition[1:], h, h[1:], strict=False):
            log_q = log_q + self.units.log_prob(layer(below), above)
        return log_q.view(k, len(x))  # (K·B,) -> (K, B)

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        x = batch.x
        h = self.infer(x, self.config.k)
        log_p = self.log_p(x, h)
        with torch.no_grad():
            log_w = log_p - self.log_q(x, h)
        yield "generative", {"loss": reweighted(log_w, log_p).mean(), "nelbo": -log_mean_exp(log_w).mean()}

        losses: Losses = {}
        if "wake" in self.config.phases:
            losses["wake"] = reweighted(log_w, self.log_q(x, h)).mean()
        if "sleep" in self.config.phases:
            h = self.dream(len(x))
            with torch.no_grad():
                x = self.likelihood.sample(self.params(h[0]))
            losses["sleep"] = -self.log_q(x, h).mean()
        yield "recognition", {"loss": torch.stack(list(losses.values())).mean(), **losses}

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        return self.decode(self.dream(n, self.sampling.temperature)[0])

    def encode(self, x: Tensor) -> Tensor:
        return self.units.mean(self.recognition[0](self.encoder(x)))

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.params(z))

    def log_prob(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """log 1/K Σ_k ω_k with K = ``n_samples``, nats, ``(B,)``: below log p(x) on average; one pass per sample."""

        def log_w() -> Tensor:
            h = self.infer(x)
            return (self.log_p(x, h) - self.log_q(x, h))[0]  # (1, B) -> (B,)

        return log_mean_of_draws(log_w, n_samples)
