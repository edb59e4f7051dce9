"""Samples that are drawn as somebody asks: with parts given, and with what the rest shall be.

Functions here draw: whoever calls them sets the generators and ``family.sampling``, and takes gradients off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from musegen.contracts.asked import Asked, Section
from musegen.contracts.domain import Domain
from musegen.contracts.family import Family
from musegen.contracts.missing import missing_rows
from musegen.errors import BadInput, did_you_mean
from musegen.plugins import registry

__all__ = ["PAST_BARS", "can_fill", "filled", "given_parts", "likeliest", "require_fill"]

PAST_BARS = 16
"""Bars of a past that decide how it goes on where something is asked for."""


def can_fill(family: Family) -> bool:
    return family.capabilities.fill


def require_fill(family: Family) -> None:
    """Refuse what needs a model that may be given any part.

    Raises:
        BadInput: this one may not.
    """
    if not can_fill(family):
        able = [name for name, f in registry().working_families().items() if f.capabilities.fill]
        raise BadInput(
            f'This model of the family "{family.name}" was not trained to be given any part: train {" or ".join(able)} with the '
            "domain's option given=any, or use one that ships (musegen models)."
        )


def given_parts(domain: Domain, names: Sequence[str], n_rows: int) -> Tensor:
    """The mask of parts as a whole, bool ``(C, rows)``.

    Raises:
        BadInput: there is no such part, or none is left to draw.
    """
    known = list(domain.part_names)
    for name in names:
        if name not in known:
            raise BadInput(f'There is no track "{name}" in this model.{did_you_mean(name, known)}')
    if set(names) >= set(known[1:] if domain.spec.plan else known):
        raise BadInput("All tracks are given, so nothing is left to write: name fewer of them (--tracks).")
    of_part = torch.tensor([name in names for name in known])
    return of_part[domain.spec.part_of][:, None].expand(-1, n_rows)


def filled(family: Family, domain: Domain, asked: Asked, asking: Any, label: Tensor | None) -> Tensor:
    """Samples in which what is not given is drawn, ``(n, C, rows, W)``."""
    if asking is None:
        return family.fill(asked, label=label).float().cpu()
    sections, variation = domain.sections(asking, asked.n_rows)
    whole = domain.asked(asking, asked)
    if len(sections) == 1:
        x = family.fill(whole, label=label).float().cpu()
    else:
        x = _in_sections(family, domain, whole, sections, variation, label)
    last = domain.ending(asking, x, whole)
    return x if last is None else family.fill(last, label=label).float().cpu()


def _in_sections(
    family: Family, domain: Domain, whole: Asked, sections: Sequence[Section], variation: float, label: Tensor | None
) -> Tensor:
    """Sections one after the other, each given those before it."""
    if whole.mask[:, domain.spec.plan :].any():
        raise BadInput("A form is for new pieces: leave it out where a part of a piece is given.")
    x = whole.cells.clone()
    for section in sections:
        rows = slice(section.first, section.last)
        known = whole.mask[:, :, : section.last].clone()
        known[:, :, : section.first] = True
        if section.like is not None:
            x[:, :, rows] = x[:, :, section.like : section.like + section.last - section.first]
            known[:, :, rows] = _kept(domain, len(x), section.last - section.first, variation)
        part = replace(
            whole,
            cells=x[:, :, : section.last],
            mask=known,
            levels=None if whole.levels is None else whole.levels[..., : -(-section.last // domain.spec.bar)],
            allowed=None if whole.allowed is None else whole.allowed[:, : section.last],
        )
        x[:, :, : section.last] = family.fill(part, label=label).float().cpu()
    return x


def _kept(domain: Domain, n: int, n_rows: int, variation: float) -> Tensor:
    """What stays of a section that returns, bool ``(n, C, rows)``: not some bars of some parts, nor the last bar. A plan stays."""
    spec = domain.spec
    n_bars = -(-n_rows // spec.bar)
    kept = torch.rand(n, len(spec.parts), n_bars) >= variation
    kept[:, :, -1] = False
    if spec.plan:
        kept[:, 0] = True
    rows = kept.repeat_interleave(spec.bar, 2)[:, :, :n_rows]
    return rows[:, spec.part_of]


def likeliest(family: Family, x: Tensor, mask: Tensor, k: int) -> Tensor:
    """The k samples ``(n, C, rows, W)`` that the model finds most probable for as many cells as are on, best first: their numbers.

    By nats per cell that is on and not given: by nats alone the emptiest ones would win. Samples without any come last.

    Args:
        mask: what is given, bool ``(n, C, rows)``.
    """
    device = family.device
    if family.spec.short_bars:
        mask = mask | missing_rows(x)[:, None]
    nats = -torch.cat(
        [
            family.rest_log_prob(part.to(device), of_part.to(device)).float().cpu()
            for part, of_part in zip(x.split(8), mask.split(8), strict=True)
        ]
    )
    cells = slice(x.shape[1] - family.spec.n_strengths)
    on = (x * ~mask[..., None])[:, cells].flatten(1).sum(1)
    return torch.where(on > 0, nats / on.clamp(min=1), torch.inf).argsort()[:k]
