"""Semi-supervised VAE (Kingma, Rezende, Mohamed & Welling 2014, 1406.5298): few labels, many examples without.

``model`` chooses between, all in nats:

* ``m2`` (section 2): p(x, y, z) = p(y) p(z) p(x|y, z) with uniform p(y) and p(z) = N(0, I), and q(y, z|x) = q(y|x) q(z|x, y).
      labelled    −L(x, y) = E_{q(z|x,y)} log p(x|y, z) + log p(y) − KL(q(z|x, y) ‖ p(z))               (eq. 6)
      unlabelled  −U(x) = Σ_y q(y|x) (−L(x, y)) + H(q(y|x))              y summed out, never sampled     (eq. 7)
      minimise    J = E U + ``labelled_weight`` E L + ``alpha`` E [−log q(y|x)]                           (eqs. 8–9)
  θ is ``decoder`` on (one-hot y, z); φ is ``encoder``, ``from_features``, ``from_class`` and ``posterior`` for q(z|x, y), and
  ``class_encoder`` and ``classifier`` for q(y|x).
* ``m1`` (section 2): a VAE's features z₁ of all examples for ``pretraining_steps``, then a classifier q(y|z₁) on the labelled ones.
* ``m1+m2``: the same features, then M2 with z₁ in place of x, its p(z₁|y, z) a Gaussian; perceptrons of ``hidden`` units.

As in the authors' program, M2's weights may begin as draws of N(0, ``initial_sigma``²) and have a prior N(0, 1), whose
−log p(θ) / N is a part of J with the weight ``weight_prior``; and M1's features whose posterior means have a standard deviation
below ``least_spread`` when M2 begins, and carry nothing, are left out of M2: for them p(z₁) stays N(0, 1).

Labels come in the auxiliary data ``labelled``, a balanced subset of ``labelled`` training examples; those of the batch are not read
in training. Reported in validation: ``error`` of q(y|x), the monitor, so that the labels of the validation part choose the
checkpoint (and ``early_stop`` ends where it gets worse); and ``nelbo``: U(x), of z₁ for m1+m2, or the classifier's cross-entropy
on labelled examples for m1.

Weights are of means over minibatches that have as many labelled as unlabelled examples. The paper's objective sums over N
unlabelled and M labelled examples with α = 0.1 · N; divided by N that is α = 0.1 here, and M / N for ``labelled_weight``. At 1 the
decoder learns y from the labelled examples before the classifier settles: in trials on MNIST's pixels (100 labels, 2,000 steps)
0.1 left 46 % wrong and 1 left 15 %. A narrow z matters as much: as long as z alone can explain x, the bounds of all classes are
alike and y is left to the classifier.

Deviations: M1's classifier is a perceptron instead of a transductive SVM; M2's classifier has an encoder of its own.
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
from musegen.contracts.domain import Auxiliary, Decoder, Encoder, Labelled, Spec, Wanted
from musegen.contracts.family import Capabilities, Family, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.errors import BadInput
from musegen.networks.mlp import MLPDecoder, MLPEncoder
from musegen.options import option
from musegen.probability.bounds import log_mean_of_draws
from musegen.probability.latent import DiagonalGaussian, StandardNormal
from musegen.probability.likelihood import Gaussian, Likelihood
from musegen.probability.whole_batch import gathered

__all__ = ["M2", "SemisupervisedVAE", "unlabelled_bound"]


@dataclass(frozen=True)
class SemisupervisedVAEConfig:
    model: Literal["m1", "m2", "m1+m2"] = option("m1+m2", "features, class and style, or both")
    latent_dim: int = option(4, "dimensions of z, the style; the paper has 50, on pixels 2 are best", ge=1)
    feature_dim: int = option(50, "dimensions of M1's features", ge=1)
    labelled: int = option(100, "labelled training examples, the same number of each class", ge=1)
    alpha: float = option(0.3, "weight of the classifier's cross-entropy", ge=0)
    labelled_weight: float = option(1.0, "weight of the labelled bound", ge=0)
    initial_sigma: float = option(
        0.0, "standard deviation of M2's initial weights; the authors have 0.001; 0: as PyTorch has them", ge=0
    )
    weight_prior: float = option(0.0, "weight of the prior N(0, 1) of M2's weights; the authors have 1", ge=0)
    least_spread: float = option(
        0.0, "M1's features whose means vary by less over the data are left out of M2; the authors have 0.1", ge=0
    )
    hidden: int = option(500, "units of the perceptrons on features", ge=1)
    pretraining_steps: int = option(5000, "steps of M1 on all examples", ge=1, unit="steps")


def unlabelled_bound(labelled: Tensor, log_q: Tensor) -> Tensor:
    """U(x) = Σ_y q(y|x) (L(x, y) + log q(y|x)), nats (eq. 7): L ``(B, K)``, log q(y|x) ``(B, K)`` → ``(B,)``."""
    return (log_q.exp() * (labelled + log_q)).sum(1)


class M2(nn.Module):
    """q(y|v), q(z|v, y) and p(v|y, z) over variables v: samples of a domain, or M1's features.

    Args:
        k: classes.
        latent_dim: of z.
        hidden: units between features with the class and the statistics of z.
        n_features: where v is M1's features, how many; some of them may be left out by ``kept``.
    """

    kept: Tensor | None

    def __init__(
        self,
        likelihood: Likelihood,
        k: int,
        latent_dim: int,
        hidden: int,
        encoder: Any,
        class_encoder: Any,
        decoder: Any,
        n_features: int = 0,
    ) -> None:
        super().__init__()
        self.likelihood, self.k = likelihood, k
        self.prior = StandardNormal(latent_dim)
        self.encoder, self.class_encoder, self.decoder = encoder, class_encoder, decoder
        self.from_features = nn.Linear(encoder.n_features, hidden)
        self.from_class = nn.Linear(k, hidden, bias=False)
        self.posterior = nn.Linear(hidden, 2 * latent_dim)
        self.classifier = nn.Linear(class_encoder.n_features, k)
        self.register_buffer("kept", torch.ones(n_features, dtype=torch.bool) if n_features else None)

    def seen(self, v: Tensor) -> Tensor:
        """v as the networks see it: features that are left out are 0."""
        return v if self.kept is None else v * self.kept

    def log_likelihood(self, params: Tensor, v: Tensor) -> Tensor:
        """log p(v|y, z), nats, ``(B,)``; features that are left out are N(0, 1)."""
        if self.kept is None:
            return self.likelihood.log_prob(params, v)
        alone = -0.5 * (v.square() + math.log(2 * math.pi))
        return torch.where(self.kept, self.likelihood.cell_log_prob(params, v), alone).sum(1)

    def draw(self, params: Tensor, temperature: float) -> Tensor:
        """v ~ p(v|y, z), ``(B, …)``."""
        v = self.likelihood.sample(params, temperature)
        return v if self.kept is None else torch.where(self.kept, v, temperature * torch.randn_like(v))

    def features(self, v: Tensor) -> Tensor:
        """What q(z|v, y) takes from v, ``(B, hidden)``: the first layer is linear, so one row serves every class."""
        return self.from_features(self.encoder(self.seen(v)))

    def q(self, features: Tensor, one_hot: Tensor) -> DiagonalGaussian:
        """q(z|v, y): ``(B, hidden)``, ``(B, K)`` → ``(B, n)``."""
        return DiagonalGaussian.from_statistics(self.posterior(F.relu(features + self.from_class(one_hot))))

    def log_q(self, v: Tensor) -> Tensor:
        """log q(y|v), nats, ``(B, K)``."""
        return self.classifier(self.class_encoder(self.seen(v))).log_softmax(1)

    def bound(self, v: Tensor, y: Tensor, features: Tensor | None = None) -> Tensor:
        """L(v, y), nats, ``(B,)``; y ``(B,)``; ``features`` of v may be given, to compute them once for all classes."""
        one_hot = F.one_hot(y, self.k).float()
        q = self.q(self.features(v) if features is None else features, one_hot)
        params = self.decoder(torch.cat([one_hot, q.rsample()], 1))
        return -self.log_likelihood(params, v) + math.log(self.k) + q.kl().sum(1)

    def bounds(self, v: Tensor) -> Tensor:
        """L(v, y) for every class, ``(B, K)``."""
        features, b = self.features(v), len(v)
        every = torch.arange(self.k, device=v.device).repeat_interleave(b)  # (K·B,): class by class
        repeated = v.repeat(self.k, *(1 for _ in v.shape[1:]))
        return self.bound(repeated, every, features.repeat(self.k, 1)).view(self.k, b).T  # (K·B,) -> (B, K)

    def log_prob(self, v: Tensor) -> Tensor:
        """One sample of log Σ_y p(y) p(v, z_y|y) / q(z_y|v, y), nats, ``(B,)``: the terms of an importance-weighted bound."""
        features, terms = self.features(v), []
        for y in range(self.k):
            one_hot = F.one_hot(torch.full((len(v),), y, device=v.device), self.k).float()
            q = self.q(features, one_hot)
            z = q.rsample()
            log_p = self.log_likelihood(self.decoder(torch.cat([one_hot, z], 1)), v)
            terms.append(log_p + self.prior.log_prob(z) - q.log_prob(z))
        return torch.stack(terms).logsumexp(0) - math.log(self.k)

    def params(self, y: Tensor, z: Tensor) -> Tensor:
        """Parameters of p(v|y, z): y ``(B,)``, z ``(B, n)`` → ``(B, …)``."""
        return self.decoder(torch.cat([F.one_hot(y, self.k).to(z.dtype), z], 1))


class SemisupervisedVAE(Family):
    name = "semisupervised_vae"
    title = "Semi-supervised variational autoencoder"
    paper = "Kingma, Rezende, Mohamed & Welling 2014, arXiv 1406.5298"
    objective = "min  E U(x) + E L(x, y) + α E [−log q(y|x)],   U(x) = Σ_y q(y|x) (L(x, y) + log q(y|x))"
    Config = SemisupervisedVAEConfig
    capabilities = Capabilities(encode=True, log_prob="bound", classify=True, condition=True)
    monitor = "error"
    encoder: Any
    decoder: Any

    def __init__(self, config: SemisupervisedVAEConfig, spec: Spec, networks: dict[str, Any]) -> None:
        super().__init__(config, spec, networks)
        c, k = config, len(spec.classes)
        if c.model == "m2":
            # Its networks are the domain's, so they move with it.
            del self.encoder, self.decoder, self.class_encoder
            n = networks["encoder"].n_features
            parts = (networks["encoder"], networks["class_encoder"], networks["decoder"])
            self.m2 = M2(self.likelihood, k, c.latent_dim, n, *parts)
            self.begin_near_zero()
            return
        self.posterior = nn.Linear(self.encoder.n_features, 2 * c.feature_dim)
        shape, hidden = (c.feature_dim,), [c.hidden]
        if c.model == "m1":
            self.classifier = nn.Sequential(MLPEncoder(shape, hidden), nn.Linear(c.hidden, k))
            return
        features = Gaussian(sigma_min=0.05)
        parts = (
            MLPEncoder(shape, hidden),
            MLPEncoder(shape, hidden),
            MLPDecoder(k + c.latent_dim, features.params_shape(shape), hidden),
        )
        self.m2 = M2(features, k, c.latent_dim, c.hidden, *parts, n_features=c.feature_dim)
        self.begin_near_zero()

    def begin_near_zero(self) -> None:
        """Draw M2's weights from N(0, ``initial_sigma``²), with offsets of 0, if that is asked for."""
        if not self.config.initial_sigma:
            return
        for layer in self.m2.modules():
            if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
                nn.init.normal_(layer.weight, std=self.config.initial_sigma)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    @classmethod
    def networks(cls, config: SemisupervisedVAEConfig, spec: Spec) -> dict[str, Wanted]:
        if not spec.classes:
            raise BadInput(
                "semisupervised_vae needs some labels, and these data have no classes: use data with labels."
            )
        if config.model == "m2":
            n_code = len(spec.classes) + config.latent_dim
            return {"encoder": Encoder(), "class_encoder": Encoder(), "decoder": Decoder(n_code)}
        return {"encoder": Encoder(), "decoder": Decoder(config.feature_dim)}

    @classmethod
    def auxiliary(cls, config: SemisupervisedVAEConfig, spec: Spec) -> dict[str, Auxiliary]:
        return {"labelled": Labelled(config.labelled)}

    @classmethod
    def graph(cls, config: SemisupervisedVAEConfig) -> Graph:
        x, y = Node("x", "observed", "data"), Node("y", "label", "class, mostly unknown")
        z, z1 = Node("z", "latent", "style"), Node("z₁", "latent", "features")
        features = (
            Edge("z₁", "x", "generative", "p(x|z₁)", ("decoder",)),
            Edge("x", "z₁", "inference", "q(z₁|x)", ("encoder", "posterior")),
        )
        if config.model == "m1":
            return Graph((z1, y, x), (*features, Edge("z₁", "y", "inference", "q(y|z₁)", ("classifier",))))
        low = "x" if config.model == "m2" else "z₁"
        edges = (
            Edge("y", low, "generative", f"p({low}|y, z)", ("m2",)),
            Edge("z", low, "generative", f"p({low}|y, z)", ("m2",)),
            Edge(low, "y", "inference", f"q(y|{low})", ("m2",)),
            Edge(low, "z", "inference", f"q(z|{low}, y)", ("m2",)),
        )
        return Graph((y, z, x), edges) if config.model == "m2" else Graph((y, z, z1, x), (*edges, *features))

    @property
    def players(self) -> dict[str, Player]:
        features = {"features": Player(("encoder", "posterior", "decoder"))}
        match self.config.model:
            case "m1":
                return features | {"classifier": Player(("classifier",), learning_rate=3e-4)}
            case "m2":
                return {"m2": Player(("m2",), learning_rate=3e-4)}
            case _:
                return features | {"m2": Player(("m2",), learning_rate=3e-4)}

    def q(self, x: Tensor) -> DiagonalGaussian:
        """q(z₁|x) of M1."""
        return DiagonalGaussian.from_statistics(self.posterior(self.encoder(x)))

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        c, labelled = self.config, batch.auxiliary["labelled"]
        assert labelled.label is not None
        if c.model != "m2" and (self.step < c.pretraining_steps or not self.training):
            q = self.q(batch.x)
            nelbo = (q.kl().sum(1) - self.likelihood.log_prob(self.decoder(q.rsample()), batch.x)).mean()
            yield "features", {"loss": nelbo, "nelbo": nelbo} if self.training else {"loss": nelbo}
            if self.training:
                return
        if c.model == "m1+m2" and self.training and self.step == c.pretraining_steps:
            self.leave_out(batch.x)
        with torch.no_grad():
            v, v_labelled = (x if c.model == "m2" else self.q(x).rsample() for x in (batch.x, labelled.x))
        if c.model == "m1":
            loss = F.nll_loss(self.classifier(v_labelled).log_softmax(1), labelled.label)
            yield "classifier", {"loss": loss, "nelbo": loss} | self.errors(batch)
            return
        log_q = self.m2.log_q(v)
        unlabelled = unlabelled_bound(self.m2.bounds(v), log_q).mean()
        bound = self.m2.bound(v_labelled, labelled.label).mean()
        cross_entropy = F.nll_loss(self.m2.log_q(v_labelled), labelled.label)
        loss = unlabelled + c.labelled_weight * bound + c.alpha * cross_entropy
        if c.weight_prior:
            squares = torch.stack([p.square().sum() for p in self.m2.parameters()]).sum()
            loss = loss + c.weight_prior * 0.5 * squares / self.n_examples
        terms = {"nelbo": unlabelled, "labelled": bound, "class": cross_entropy}
        yield "m2", {"loss": loss} | terms | self.errors(batch)

    @torch.no_grad()
    def leave_out(self, x: Tensor) -> None:
        """Leave features out of M2 whose means hardly differ among these examples; one is always kept."""
        spread = gathered(self.q(x).mean).std(0, correction=0)
        self.m2.kept = (spread >= self.config.least_spread) | (spread == spread.max())

    def errors(self, batch: Batch) -> Losses:
        """Share of wrong classes, in validation only: in training the labels of the batch are not read."""
        if self.training or batch.label is None:
            return {}
        return {"error": (self.classify(batch.x).argmax(1) != batch.label).float().mean()}

    def classify(self, x: Tensor) -> Tensor:
        if self.config.model == "m2":
            return self.m2.log_q(x)
        mean = self.q(x).mean
        return self.classifier(mean).log_softmax(1) if self.config.model == "m1" else self.m2.log_q(mean)

    def encode(self, x: Tensor) -> Tensor:
        """The mean of z₁ (M1), or of z given the most probable class (M2): ``(B, n)``."""
        if self.config.model != "m2":
            return self.q(x).mean
        y = F.one_hot(self.m2.log_q(x).argmax(1), self.m2.k).float()
        return self.m2.q(self.m2.features(x), y).mean

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """n samples, of each class in turn if no label is given; M1 alone does not know classes."""
        c, temperature = self.config, self.sampling.temperature
        if c.model == "m1":
            return self.likelihood.mean(self.decoder(StandardNormal(c.feature_dim).sample(n, self.device, temperature)))
        label = torch.arange(n, device=self.device) % self.m2.k if label is None else label.to(self.device)
        params = self.m2.params(label, self.m2.prior.sample(n, self.device, temperature))
        if c.model == "m2":
            return self.likelihood.mean(params)
        # z₁ is a code as well, so it is drawn: its mean alone would leave out what y and z do not say.
        return self.likelihood.mean(self.decoder(self.m2.draw(params, temperature)))

    def log_prob(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """log p(x) from below, by ``n_samples`` importance-weighted draws of z and z₁, with y summed out: nats, ``(B,)``."""
        c = self.config

        def log_w() -> Tensor:
            if c.model == "m2":
                return self.m2.log_prob(x)
            q = self.q(x)
            z = q.rsample()
            log_prior = StandardNormal(c.feature_dim).log_prob(z) if c.model == "m1" else self.m2.log_prob(z)
            return self.likelihood.log_prob(self.decoder(z), x) + log_prior - q.log_prob(z)

        return log_mean_of_draws(log_w, n_samples)
