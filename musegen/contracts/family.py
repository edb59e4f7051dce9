"""The Family contract: an algorithm as a generator.

A family's ``updates`` reads like the algorithm box of its paper. It yields the player to move and that player's
losses; whoever drives it (the engine, an evaluation, a test) moves that player, and only that one, and then asks for
the next. Three rules follow, and the engine enforces the first two:

* Gradients are taken with respect to that player's parameters alone, whatever else the loss depends on.
* The graph of a loss is freed when its player moves. Compute the next loss from fresh forward passes: a stale graph
  is an error, not a silent mistake.
* Do not hold ``torch.no_grad()`` or any other context open across a ``yield``.

Evaluation is the same generator with nobody moving.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from musegen.contracts.asked import Asked
from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Auxiliary, Domain, Spec, Wanted
from musegen.contracts.graph import Graph
from musegen.errors import BadInput
from musegen.options import NoOptions, option

__all__ = ["Capabilities", "Family", "Losses", "Player", "Sampling", "build", "require"]

Losses = dict[str, Tensor]
"""``loss`` is the scalar that the player minimises; the rest are scalars to report, in nats unless named otherwise."""


@dataclass(frozen=True)
class Capabilities:
    """What a family can do.

    ``log_prob`` says whether it is exact or a lower bound, and ``decode`` maps codes to samples. ``given`` is to sample around a
    part that comes back unchanged, of a sample or of a grid of any length; ``continue_`` is to go on from its first rows, and
    ``fill`` to be given any parts of a grid of any length, each time others (see ``Spec.parts``).
    """

    sample: bool = True
    encode: bool = False
    decode: bool = False
    reconstruct: bool = False
    log_prob: Literal["exact", "bound"] | None = None
    classify: bool = False
    condition: bool = False
    given: Literal["sample", "any length"] | None = None
    continue_: bool = False
    fill: bool = False

    def table(self) -> dict[str, str]:
        """One word per capability, for ``musegen families``."""
        return {
            name.rstrip("_"): value if isinstance(value, str) else ("yes" if value else "–")
            for name, value in vars(self).items()
        }


@dataclass(frozen=True)
class Player:
    """Who moves: the networks whose parameters an update may change, and the optimiser its paper used (Adam).

    Args:
        networks: names of attributes of the family that are modules.
        learning_rate: Adam's α, as in the paper; the run option ``learning_rate`` overrides it, of all players or of one.
        betas: Adam's (β₁, β₂).
    """

    networks: tuple[str, ...]
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn. None of these options changes the model, so all of them may be set after training.

    A family with more options derives its own class, and ``--help`` and the Python API show them by themselves:

    >>> from dataclasses import dataclass
    >>> from musegen.contracts.family import Sampling
    >>> from musegen.options import option
    >>> @dataclass(frozen=True)
    ... class SharpSampling(Sampling):
    ...     sharpness: float = option(0.0, "how far cells move towards 0 or 1", ge=0, le=1)
    >>> SharpSampling(sharpness=0.5)
    SharpSampling(temperature=1.0, sharpness=0.5)
    """

    temperature: float = option(
        1.0,
        "scales the spread of the prior, or tempers the choices of an autoregressive family; below 1, samples are more typical",
        ge=0,
    )


class Family(nn.Module, ABC):
    """A generative model family: the objective, the order of updates, sampling and inference, its graph.

    A family names no domain, holds no optimiser and sees neither a rank nor a file. It gets the networks that
    ``networks`` asked for from the domain, and adds the heads that belong to no domain.

    Attributes:
        name, title, paper: identifier, full name, and source with arXiv number.
        objective: the objective in one or a few lines, as ``musegen explain`` prints it.
        Config: what a model is, a frozen dataclass of ``option`` fields.
        Sampling: how samples are drawn from it, another one.
        config, sampling: instances of the two; whoever draws samples may set ``sampling``.
        capabilities: what it can do; a model whose options leave it less may have its own.
        monitor: the validation metric whose minimum marks the best checkpoint; None where no loss measures quality.
        never_averaged: how names of tensors end that a moving average of the weights leaves as they are, such as a memory.
        begun_anew: networks whose weights ``updates`` set in this step, as when one begins as a copy of another: their moving
            average begins again.
        draws: ``sample`` gives draws of x, not expectations, so that a domain has no threshold to calibrate.
        searches_codes: ``encode`` finds codes by optimisation, so that it is no network and cannot be exported.
        step: updates done so far, set by the engine before each step; schedules such as KL warm-up read it.
        n_examples: size N of the training split, set by training once the family is built; 1 elsewhere. Estimates of
            the data's average posterior from a minibatch read it.

    >>> import torch
    >>> from musegen.contracts.dataset import Batch
    >>> from musegen.contracts.family import build
    >>> from musegen.families.vae import VAE, VAEConfig
    >>> from musegen_image.domain import ImageConfig, ImageDomain
    >>> vae = build(VAE, VAEConfig(latent_dim=2), ImageDomain(ImageConfig(size=8, widths=[16])))
    >>> batch = Batch(torch.rand(4, 1, 8, 8).round(), index=torch.arange(4))
    >>> for player, losses in vae.updates(batch):  # the engine moves this player before it goes on
    ...     print(player, list(losses))
    autoencoder ['loss', 'nelbo', 'reconstruction', 'kl']
    >>> vae.sample(3).shape
    torch.Size([3, 1, 8, 8])
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    objective: ClassVar[str]
    Config: ClassVar[type] = NoOptions
    Sampling: ClassVar[type[Sampling]] = Sampling
    capabilities: Capabilities = Capabilities()
    monitor: ClassVar[str | None] = None
    never_averaged: ClassVar[tuple[str, ...]] = ()
    begun_anew: tuple[str, ...] = ()
    draws: bool = False
    searches_codes: ClassVar[bool] = False
    sampling: Any

    def __init__(self, config: Any, spec: Spec, networks: dict[str, nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.sampling = self.Sampling()
        self.spec = spec
        self.likelihood = spec.likelihood
        self.step = 0
        self.n_examples = 1
        for name, network in networks.items():
            self.add_module(name, network)

    @classmethod
    @abstractmethod
    def networks(cls, config: Any, spec: Spec) -> dict[str, Wanted]:
        """The networks it wants of the domain, as data: ``{"encoder": Encoder(), …}``."""

    @classmethod
    def auxiliary(cls, config: Any, spec: Spec) -> dict[str, Auxiliary]:
        """Further data that it wants beside each batch, as data: ``{"labelled": Labelled(100)}``; they arrive in
        ``batch.auxiliary``."""
        return {}

    @classmethod
    @abstractmethod
    def graph(cls, config: Any) -> Graph:
        """Its graphical model."""

    @property
    @abstractmethod
    def players(self) -> dict[str, Player]:
        """Who moves, by name."""

    @property
    def minibatches(self) -> int:
        """Minibatches that one step consumes: more than 1 where several inner updates each want fresh data."""
        return 1

    @property
    def differentiated_twice(self) -> tuple[str, ...]:
        """Networks of whose gradient a loss takes the gradient, as a penalty on it does: they cannot be compiled."""
        return ()

    @abstractmethod
    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        """One step of the algorithm: yields ``(player, losses)`` in the paper's order.

        Args:
            batch: ``minibatches × B`` examples.
        """

    def prepare(self, example: Batch) -> None:
        """Called once, before step 0 of a new run, with one training batch: data-dependent initialisation."""

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """n samples ``(n, *S)``: the expected x given codes from the prior, or exact draws of an autoregressive family.

        How they are drawn is said by ``self.sampling``.

        Args:
            label: class per sample ``(n,)``, where the family takes a condition.
            given: the part of each sample that is given, ``(*S)`` or ``(n, *S)``, where the family takes one (see ``Spec.given``).
        """
        raise TypeError(f"{self.name} cannot sample")

    def draw_codes(self, n: int) -> Tensor:
        """The codes of n new samples, ``(n, latent)``, as ``sample`` draws them, of a family that decodes."""
        raise TypeError(f"{self.name} has no codes to draw")

    def encode(self, x: Tensor) -> Tensor:
        """The code of x: ``(B, *S)`` → ``(B, n)``; the posterior's mean where there is a posterior."""
        raise TypeError(f"{self.name} has no encoder")

    def decode(self, z: Tensor) -> Tensor:
        """The expected x of a code: ``(B, n)`` → ``(B, *S)``."""
        raise TypeError(f"{self.name} has no decoder")

    def reconstruct(self, x: Tensor) -> Tensor:
        """x through its code and back, ``(B, *S)``."""
        return self.decode(self.encode(x))

    def continue_(self, past: Tensor, n_steps: int, *, label: Tensor | None = None) -> Tensor:
        """The ``n_steps`` rows that follow ``past`` ``(n, C, any number of rows, W)``, drawn anew: ``(n, C, n_steps, W)``."""
        raise TypeError(f"{self.name} cannot continue")

    def fill(self, asked: Asked, *, label: Tensor | None = None) -> Tensor:
        """Samples in which everything that is not given is drawn, as it is asked for, ``(n, C, rows, W)``; n, C, rows and W are
        those of ``asked.cells``, with any number of rows."""
        raise TypeError(f"{self.name} cannot fill in")

    def rest_log_prob(self, x: Tensor, mask: Tensor) -> Tensor:
        """log p of what is not given of grids ``(B, C, any number of rows, W)``, nats, ``(B,)``, of families that ``fill``.

        Args:
            mask: what is given, bool ``(B, C, rows)``.
        """
        raise TypeError(f"{self.name} cannot fill in")

    def log_prob(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """log p(x), or a lower bound from ``n_samples`` draws per example, nats, ``(B,)``."""
        raise TypeError(f"{self.name} has no log-probability")

    def classify(self, x: Tensor) -> Tensor:
        """log p(class | x), nats: ``(B, *S)`` → ``(B, K)``; without labels the classes are those the family found."""
        raise TypeError(f"{self.name} has no classifier")

    def traversal(self, steps: int) -> Tensor:
        """Codes that show what each coordinate does, ``(rows, steps, n)``: each of the first ten from −2 to 2, the rest at 0."""
        n = getattr(self.config, "latent_dim", 0)
        if not (self.capabilities.decode and n):
            raise TypeError(f"{self.name} has no codes to walk through")
        rows = min(n, 10)
        codes = torch.zeros(rows, steps, n, device=self.device)
        codes[torch.arange(rows), :, torch.arange(rows)] = torch.linspace(-2, 2, steps, device=self.device)
        return codes

    def parameters_of(self, player: str) -> list[nn.Parameter]:
        """The parameters that ``player`` moves, each once, in a fixed order."""
        modules = [self.get_submodule(network) for network in self.players[player].networks]
        return list(dict.fromkeys(p for module in modules for p in module.parameters()))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


def build(family_class: type[Family], config: Any, domain: Domain) -> Family:
    """The family over networks that the domain builds for it."""
    wanted = family_class.networks(config, domain.spec)
    return family_class(config, domain.spec, {name: domain.network(want) for name, want in wanted.items()})


def require(family: type[Family] | Family, capability: str, families: dict[str, type[Family]]) -> None:
    """Refuse a command that needs what the family cannot do.

    Raises:
        BadInput: names the families that can.
    """
    if not getattr(family.capabilities, capability):
        able = sorted(name for name, other in families.items() if getattr(other.capabilities, capability))
        who = "This model of the family" if family.name in able else "The family"
        raise BadInput(f'{who} "{family.name}" cannot {capability.rstrip("_")}; these can: {", ".join(able)}.')
