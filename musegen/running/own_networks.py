"""Networks that a program or a user's file brings, in the place of a domain's: built, and tried against the contract at once."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from musegen.contracts.domain import Autoregressive, Decoder, Discriminator, Domain, Encoder, Spec, Wanted
from musegen.contracts.family import Family
from musegen.engine.shared_state import seeded
from musegen.errors import BadInput
from musegen.plugins.checks import one_line
from musegen.plugins.named import Named, named

__all__ = ["ROLES", "NetworkMaker", "OwnNetwork", "check_wanted", "networks_of", "with_networks"]

ROLES: dict[str, type] = {
    "encoder": Encoder,
    "decoder": Decoder,
    "discriminator": Discriminator,
    "autoregressive": Autoregressive,
}
"""What may be handed over, and what families ask for by it."""
NetworkMaker = nn.Module | Callable[..., nn.Module] | str
"""A network: a module, a function of what is wanted (and of the ``Spec``, if it takes two arguments), such as a class, or the
place of
one of these, ``FILE.py:NAME``."""
EXAMPLES = 3
"""In a batch that a network is tried with."""


@dataclass(frozen=True)
class OwnNetwork:
    """A network that takes the place of a domain's.

    Args:
        role: which, a key of ``ROLES``.
        given: a module, which is copied, so that its weights are those that training begins with and it stays as it is; or a
            function of what is wanted.
        source: the file that it is from, if it is from one.
    """

    role: str
    given: Any
    source: Named | None = None

    @classmethod
    def of(cls, role: str, given: NetworkMaker) -> OwnNetwork:
        """
        Raises:
            BadInput: it is no such thing.
        """
        if isinstance(given, str):
            found = named(given, f"{role}=")
            return cls(role, found.value, found)
        if not (isinstance(given, nn.Module) or callable(given)):
            raise BadInput(
                f"{role} is of the type {type(given).__name__}: give a torch module, a function of what is wanted, such "
                "as a class, or "
                '"FILE.py:NAME".'
            )
        return cls(role, given)

    @property
    def name(self) -> str:
        return self.source.name if self.source else _name_of(self.given)

    def build(self, wanted: Wanted, spec: Spec) -> nn.Module:
        """A module, tried with examples.

        Raises:
            BadInput: it does not keep the contract of its role, with the shapes.
        """
        network = copy.deepcopy(self.given) if isinstance(self.given, nn.Module) else self._made(wanted, spec)
        outlined = (
            torch.empty(0).device.type == "meta"
        )  # shapes alone are wanted; the network itself is tried afterwards
        if not outlined or not hasattr(network, "n_features"):
            try:
                self._try(network, wanted, spec)
            except BadInput as error:
                if outlined:
                    raise ValueError(str(error)) from error
                raise
        return network

    def _made(self, wanted: Wanted, spec: Spec) -> nn.Module:
        try:
            inspect.signature(self.given).bind(wanted, spec)
            arguments: tuple[Any, ...] = (wanted, spec)
        except (TypeError, ValueError):
            arguments = (wanted,)
        try:
            network = self.given(*arguments)
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(
                f"The {self.role} {self.name} cannot be made: {one_line(error)}. It is called with what is wanted, "
                f"{wanted}, and with the "
                "Spec of samples if it takes two arguments."
            ) from error
        if not isinstance(network, nn.Module):
            raise BadInput(
                f"The {self.role} {self.name} gives something of the type {type(network).__name__}: it must give a torch module."
            )
        return network

    def _try(self, network: Any, wanted: Wanted, spec: Spec) -> None:
        """Call it once, as a family does, and see what comes out."""
        first = next(itertools.chain(network.parameters(), network.buffers()), torch.empty(0))
        training = network.training
        with seeded(0, first.device), torch.no_grad():
            shown, names = _arguments(wanted, spec, first.device)
            try:
                found = network.eval()(*shown)
            except Exception as error:
                raise BadInput(
                    f"The {self.role} {self.name} fails on {names}: {one_line(error)}. "
                    f"It is called with {names}, and must give {_promised(wanted, spec)}."
                ) from error
            finally:
                network.train(training)
        if (problem := _wrong(network, found, wanted, spec)) is not None:
            raise BadInput(
                f"The {self.role} {self.name} makes {_shapes(found)} of {names}, and must make {_promised(wanted, spec)}{problem}."
            )
        if isinstance(wanted, Encoder) and not hasattr(network, "n_features"):
            network.n_features = found.shape[1]
        if isinstance(wanted, Discriminator) and not hasattr(network, "n_features"):
            network.n_features = found[0].shape[1]


def _arguments(wanted: Wanted, spec: Spec, device: torch.device) -> tuple[list[Tensor], str]:
    """What a family calls a network with, and the same in words."""
    if isinstance(wanted, Decoder):
        shown = [torch.randn(EXAMPLES, wanted.n_code, device=device)]
        if wanted.n_classes:
            shown.append(torch.arange(EXAMPLES, device=device) % wanted.n_classes)
        what = f"a code {(EXAMPLES, wanted.n_code)}" + f" and a label {(EXAMPLES,)}" * bool(wanted.n_classes)
        return shown, what
    shown, what = [torch.rand(EXAMPLES, *spec.shape, device=device)], f"x {(EXAMPLES, *spec.shape)}"
    if isinstance(wanted, Autoregressive) and wanted.n_condition:
        shown.append(torch.randn(EXAMPLES, wanted.n_condition, device=device))
        what += f" and a condition {(EXAMPLES, wanted.n_condition)}"
    return shown, what


def _promised(wanted: Wanted, spec: Spec) -> str:
    match wanted:
        case Encoder():
            return f"features ({EXAMPLES}, F)"
        case Discriminator():
            return f"a pair of features ({EXAMPLES}, F) and a logit ({EXAMPLES},)"
    return f"parameters {(EXAMPLES, *spec.params_shape)} of the likelihood {spec.likelihood.name}"


def _wrong(network: Any, found: Any, wanted: Wanted, spec: Spec) -> str | None:
    """What to do about a network that does not keep its contract, as the end of a sentence, perhaps empty; None if nothing is
    wrong."""
    if isinstance(wanted, Discriminator):
        right = isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, Tensor) for part in found)
        if not right or found[0].dim() != 2 or len(found[0]) != EXAMPLES or tuple(found[1].shape) != (EXAMPLES,):
            return "; families use both"
        return _wrong_width(network, found[0])
    if not isinstance(found, Tensor):
        return ""
    if isinstance(wanted, Encoder):
        return "" if found.dim() != 2 or len(found) != EXAMPLES else _wrong_width(network, found)
    promised = (EXAMPLES, *spec.params_shape)
    if tuple(found.shape) != promised:
        same = found.shape[0] == EXAMPLES and found.numel() == torch.Size(promised).numel()
        return f": end with .reshape(-1, {', '.join(map(str, spec.params_shape))})" if same else ""
    if isinstance(wanted, Autoregressive) and not callable(getattr(network, "draw", None)):
        return ", and have a method draw"
    return None


def _wrong_width(network: Any, features: Tensor) -> str | None:
    width = getattr(network, "n_features", features.shape[1])
    return None if width == features.shape[1] else f"; and its n_features is {width}, not {features.shape[1]}"


def _shapes(found: Any) -> str:
    if isinstance(found, Tensor):
        return str(tuple(found.shape))
    if isinstance(found, tuple):
        return f"({', '.join(map(_shapes, found))})"
    return f"a {type(found).__name__}"


def _name_of(given: Any) -> str:
    """A class's or a function's name, or that of a module's class."""
    return str(getattr(given, "__qualname__", None) or type(given).__qualname__)


def with_networks(domain: type[Domain], networks: Mapping[str, OwnNetwork]) -> type[Domain]:
    """The domain with these networks in the place of its own."""

    def method(own: OwnNetwork) -> Callable[[Domain, Any], nn.Module]:
        return lambda self, wanted: own.build(wanted, self.spec)

    body: dict[str, Any] = {role: method(own) for role, own in networks.items()}
    if "decoder" in networks or "encoder" in networks:
        body["given_decoder"] = Domain.given_decoder  # of these networks, and not of the domain's
    body |= {"own_networks": dict(networks), "__module__": domain.__module__, "__doc__": domain.__doc__}
    kind: Any = type(domain)
    return kind(domain.__name__, (domain,), body)


def networks_of(domain: type[Domain]) -> Mapping[str, OwnNetwork]:
    """The networks that a program has handed over for a domain."""
    return getattr(domain, "own_networks", {})


def check_wanted(family: type[Family], config: Any, domain: Domain) -> None:
    """See that a family asks for the networks that were handed over.

    Raises:
        BadInput: names one that it does not ask for.
    """
    wanted = family.networks(config, domain.spec).values()
    asked = {role for role, kind in ROLES.items() if any(isinstance(want, kind) for want in wanted)}
    if any(isinstance(want, Decoder) and want.given for want in wanted):
        asked.add("encoder")
    for role in networks_of(type(domain)):
        if role not in asked:
            kinds = ", ".join(sorted(asked)) or "no network of the domain's"
            raise BadInput(
                f'The family "{family.name}" asks for no {role} as configured, but for {kinds}: leave {role}= out.'
            )
