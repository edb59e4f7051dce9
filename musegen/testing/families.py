"""What a family promises; and one step of every installed family, on a domain at hand."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest import SkipTest

import torch
from torch import Tensor

from musegen.contracts.domain import Autoregressive, Domain
from musegen.contracts.family import Family
from musegen.contracts.graph import Graph
from musegen.errors import BadInput
from musegen.plugins import registry
from musegen.running.config import RunConfig
from musegen.running.resolved import Resolved
from musegen.running.runs import Run
from musegen.running.session import Session
from musegen.testing.domains import options_of
from musegen.testing.networks import has_autoregressive
from musegen.testing.rules import Rule, Unmet, expect, rule

__all__ = ["RULES", "steps", "takes_a_step"]

N_EXAMPLES, BATCH = 128, 4
NETWORKS = ("encoder", "decoder", "discriminator", "autoregressive")


def steps() -> list[Rule]:
    """A rule per installed family: it takes one step on a domain."""
    return [
        Rule(
            f"family {name}",
            f"The family {name} takes a step on the domain: finite losses, weights that moved, samples of the spec's shape.",
            partial(takes_a_step, name),
            ("synthetic", "seed", "likelihood", "gradients", *NETWORKS),
        )
        for name in registry().families
    ]


def session(family: type[Family], domain: Domain) -> Session:
    """What trains the family, with default options, on the domain's synthetic data.

    Raises:
        SkipTest: the domain lacks what the family needs.
    """
    config = family.Config()
    run = RunConfig(batch_size=BATCH, device="cpu")
    options = {"family_config": config, "domain_config": domain.config}
    options |= {"sampling": family.Sampling(), "writing": domain.writing}
    resolved = Resolved(family, type(domain), run, data=None, **options)
    try:
        wanted = family.networks(config, domain.spec).values()
        if any(isinstance(want, Autoregressive) for want in wanted) and not has_autoregressive(domain):
            raise SkipTest("the domain has no autoregressive networks")
        nowhere = Run(Path(tempfile.gettempdir()))  # nothing is saved
        return Session(nowhere, resolved, domain, domain.synthetic(N_EXAMPLES), torch.device("cpu"), quiet=True)
    except BadInput as error:
        raise SkipTest(str(error)) from None


def takes_a_step(name: str, domain: Domain) -> None:
    """Hold a family and a domain against each other."""
    family = registry().family(name)
    trained = session(family, domain)
    trained.prepare()
    before = {key: value.clone() for key, value in trained.engine.family.state_dict().items()}
    trained.engine.step([trained.batches[0]])
    trained.engine.check()  # losses and weights are finite
    after = trained.engine.family.state_dict()
    expect(any(not torch.equal(before[key], after[key]) for key in before), f"a step of {name} moved no weight.")
    if trained.engine.family.capabilities.sample:
        with trained.engine.averaged() as model, torch.no_grad():
            _samples(model, domain)


def _samples(model: Family, domain: Domain) -> Tensor:
    x = model.sample(1)
    wanted = (1, *domain.spec.shape)
    expect(tuple(x.shape) == wanted, f"a sample of {model.name} has shape {tuple(x.shape)}, not {wanted}.")
    expect(bool(x.isfinite().all()), f"a sample of {model.name} is not finite.")
    return x


def stage(family: type[Family]) -> tuple[Session, Domain]:
    """The family on small pictures with classes and a second data set; if it wants a part given, the upper half may be.

    Raises:
        SkipTest: it refuses them.
    """
    image = registry().domain("image")
    reason = SkipTest("")
    for given in ("none", "top"):
        domain = image(image.Config(size=8, widths=[16], classes=["a", "b"], target="inverted", given=given))
        try:
            return session(family, domain), domain
        except SkipTest as refusal:
            reason = refusal
    raise reason


@rule("declaration")
def declaration(family: type[Family]) -> None:
    """A family says its name, title, paper and objective; options of it and of drawing have meanings, defaults and come back."""
    for name in ("name", "title", "paper", "objective"):
        value = getattr(family, name, None)
        expect(isinstance(value, str) and bool(value.strip()), f"{name} is {value!r}: musegen explain prints it.")
    for kind in (family.Config, family.Sampling):
        options_of(kind, kind())


@rule("graph", "declaration")
def graph(family: type[Family]) -> None:
    """The graphical model has an edge for every network, names no other, and players move networks that exist."""
    found: Graph = family.graph(family.Config())
    trained, _ = stage(family)
    model = trained.engine.family
    networks = [name for name, module in model.named_children() if any(True for _ in module.parameters())]
    try:
        found.check(networks, {name: player.networks for name, player in model.players.items()})
    except ValueError as error:
        raise Unmet(f"graph: {error}.") from None


@rule("players", "declaration")
def players(family: type[Family]) -> None:
    """updates yields (player, losses) with a scalar loss that reaches that player's parameters; all players are known."""
    trained, _ = stage(family)
    trained.prepare()
    model, engine = trained.engine.family.train(), trained.engine
    updates = model.updates(trained.batches[0])
    moved = 0
    for player, losses in updates:
        expect(
            player in model.players, f'updates yields the player "{player}", and players knows {sorted(model.players)}.'
        )
        loss = losses.get("loss")
        expect(
            isinstance(loss, Tensor) and loss.dim() == 0,
            f'updates: losses of "{player}" need a scalar "loss", not {loss if loss is None else tuple(loss.shape)}.',
        )
        reached = torch.autograd.grad(loss, engine.parameters[player], allow_unused=True)  # type: ignore[arg-type]
        expect(any(g is not None for g in reached), f'updates: the loss of "{player}" reaches none of its parameters.')
        moved += 1
    expect(moved > 0, "updates yields nothing.")


@rule("one player at a time", "players")
def one_at_a_time(family: type[Family]) -> None:
    """Nothing but the player that was yielded moves, and only while it moves: updates itself changes no weight."""
    trained, _ = stage(family)
    trained.prepare()
    model = trained.engine.family.train()
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in model.updates(trained.batches[0]):
        pass
    changed = [name for name, p in model.named_parameters() if not torch.equal(p, weights[name])]
    expect(
        not changed,
        f"updates changes the weights {', '.join(changed[:3])} itself: yield losses, the engine moves players.",
    )


@rule("capabilities", "players")
def capabilities(family: type[Family]) -> None:
    """What a family says it can do gives tensors of the right shape, finite, and the same under the same seed."""
    trained, domain = stage(family)
    trained.prepare()
    trained.engine.step([trained.batches[0]])
    x = trained.batches[1].x[:BATCH]
    with trained.engine.averaged() as model, torch.no_grad():
        can = model.capabilities
        calls: dict[str, tuple[Any, tuple[int, ...] | None]] = {
            "sample": (lambda: model.sample(3), (3, *domain.spec.shape)),
            "encode": (lambda: model.encode(x), None),
            "reconstruct": (lambda: model.reconstruct(x), (BATCH, *domain.spec.shape)),
            "log_prob": (lambda: model.log_prob(x), (BATCH,)),
            "classify": (lambda: model.classify(x), None),
        }
        for name, (call, shape) in calls.items():
            if not getattr(can, name):
                continue
            found = []
            for _ in range(2):
                torch.manual_seed(0)
                found.append(call())
            expect(
                shape is None or tuple(found[0].shape) == shape,
                f"{name} gives shape {tuple(found[0].shape)}, not {shape}.",
            )
            expect(len(found[0]) in (3, BATCH), f"{name} gives {len(found[0])} rows for {BATCH} examples.")
            expect(bool(found[0].isfinite().all()), f"{name} gives values that are not finite.")
            expect(torch.equal(*found), f"{name} differs under the same seed: draw with torch's own generator.")
        if can.classify:
            total = model.classify(x).exp().sum(1)
            expect(
                torch.allclose(total, torch.ones_like(total), atol=1e-4),
                "classify: the classes of an example do not sum to probability 1.",
            )
        if can.encode and can.decode:
            made = model.decode(model.encode(x))
            expect(tuple(made.shape) == (BATCH, *domain.spec.shape), f"decode gives shape {tuple(made.shape)}.")


RULES = [declaration, graph, players, one_at_a_time, capabilities]
