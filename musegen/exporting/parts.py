"""Which parts a model has that work without musegen, each a function of tensors that draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from musegen.contracts.domain import Autoregressive, Decoder, Discriminator, Spec
from musegen.contracts.family import Family

__all__ = ["Part", "parts_of"]

FEW = 3
"""Examples that a part is traced with. Not 1: torch.export takes that for a constant."""


@dataclass(frozen=True)
class Part:
    """One part of a model.

    Args:
        module: ``forward(*inputs)`` takes the inputs in their order, and gives one tensor.
        inputs: an example of each by name, the batch first.
        output: name of what comes out.
        meaning: one sentence.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    output: str
    meaning: str


class _Function(nn.Module):
    """A function of a family's networks as a module, which is what can be traced."""

    def __init__(self, family: Family, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.family, self.function = family, function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def parts_of(family: Family) -> dict[str, Part]:
    """The parts of a family in evaluation mode, by name; none where it has no network of these kinds.

    ``encoder``, ``classifier``, ``decoder`` or ``generator``, ``discriminator``, ``autoregressive``: what the family can do, and
    networks that it asked its domain for.

    >>> from musegen.contracts.family import build
    >>> from musegen.exporting.parts import parts_of
    >>> from musegen.families.gan import GAN, GANConfig
    >>> from musegen_image.domain import ImageConfig, ImageDomain
    >>> gan = build(GAN, GANConfig(latent_dim=2), ImageDomain(ImageConfig(size=8, widths=[16]))).eval()
    >>> {name: list(part.inputs) for name, part in parts_of(gan).items()}
    {'generator': ['code'], 'discriminator': ['x']}
    """
    spec, can = family.spec, family.capabilities
    x, found = _samples(spec), {}

    def add(name: str, function: Callable[..., Tensor], inputs: dict[str, Tensor], output: str, meaning: str) -> None:
        found[name] = Part(_Function(family, function).eval(), inputs, output, meaning)

    encodes = can.encode and not family.searches_codes
    code = family.encode(x) if encodes else None
    if encodes:
        add("encoder", family.encode, {"x": x}, "code", "The code of a sample: the mean of q(z|x) where there is one.")
    if can.classify:
        add("classifier", family.classify, {"x": x}, "log_p", "log p(class | x), in nats.")
    if can.decode:
        z = _normal(family.traversal(2).shape[-1] if code is None else code.shape[-1])
        name = "generator" if "generator" in dict(family.named_children()) else "decoder"
        add(name, family.decode, {"code": z}, "x", "The expected sample of a code.")
    for name, wanted in family.networks(family.config, spec).items():
        network: Any = getattr(family, name, None)  # what a part of the family took for its own is not there
        if isinstance(wanted, Discriminator) and network is not None:
            add(name, _logit(network), {"x": x}, "logit", "The logit with which it takes a sample for real.")
        if isinstance(wanted, Autoregressive) and network is not None:
            add(name, network, _with_condition(x, wanted), "parameters", _ONE_PASS)
        if isinstance(wanted, Decoder) and network is not None and not can.decode:
            add(name, _mean(family, network, wanted), _code_of(wanted, x), "x", _meaning(wanted))
    judge = dict(family.named_children()).get("discriminator")
    if judge is not None and "discriminator" not in found and code is not None:
        add("discriminator", _logit(judge), {"code": code}, "logit", "The logit with which it judges a code.")
    return found


_ONE_PASS = (
    "Parameters of each cell's distribution given the cells before it. One pass is one step of drawing: draw the next cell, or "
    "all cells of a row again and again until they stay, and pass on."
)


def _samples(spec: Spec) -> Tensor:
    x = torch.rand(FEW, *spec.shape, generator=torch.Generator().manual_seed(0))
    return x if spec.likelihood.name == "gaussian" else x.round()


def _normal(n: int) -> Tensor:
    return torch.randn(FEW, n, generator=torch.Generator().manual_seed(0))


def _logit(network: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: network(x)[1]


def _with_condition(x: Tensor, wanted: Autoregressive) -> dict[str, Tensor]:
    if not wanted.n_condition:
        return {"x": x}
    return {"x": x, "condition": torch.eye(wanted.n_condition)[torch.arange(FEW) % wanted.n_condition]}


def _code_of(wanted: Decoder, x: Tensor) -> dict[str, Tensor]:
    inputs = {"code": _normal(wanted.n_code)}
    if wanted.n_classes:
        return inputs | {"label": torch.arange(FEW) % wanted.n_classes}
    return inputs | {"given": x} if wanted.given else inputs


def _mean(family: Family, network: Any, wanted: Decoder) -> Callable[..., Tensor]:
    if wanted.given:
        return lambda code, given: family.likelihood.mean(network(code, given=given))
    return lambda *inputs: family.likelihood.mean(network(*inputs))


def _meaning(wanted: Decoder) -> str:
    if wanted.n_classes:
        return "The expected sample of a code and the number of a class."
    if wanted.given:
        return "The expected sample of a code beside what is given, zero elsewhere; put what is given back into it."
    return "The expected sample of a code."
