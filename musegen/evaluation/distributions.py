"""How far two distributions of a measure are from each other, whatever it was measured on.

A measure is a set of numbers, one per bar or picture (``Numbers``), or a table of counts (``Counts``), such as how often
one class follows another. Of two of the same kind, p from samples and q from data held out:

    overlap    Σ_i min(p_i, q_i)                     1 where they are equal, 0 where they have nothing in common
    kl         Σ_i q_i log(q_i / p_i)                KL(q ‖ p), nats: what describing the data by the samples costs
    distance   ∫ |P(t) − Q(t)| dt                    1-Wasserstein, in units of the measure; numbers only

Overlap and KL are taken over the bins of the measure (Yang & Lerch 2020 smooth with a Gaussian kernel instead, which spreads
rates that are exactly 0 or 1 over values that do not exist). For KL half a count is added to every
bin (Jeffreys' prior), which keeps it finite. All three move away from perfect as samples become fewer, so that a value means
something only beside a floor: training data against the same data held out, with as many examples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Counts", "Numbers", "Values", "compare", "kl", "merge", "overlap", "wasserstein"]


@dataclass(frozen=True)
class Numbers:
    """A number per example.

    Args:
        values: any shape; NaN where the measure is not defined, as for the highest note of an empty bar.
        edges: of the bins, ascending, ``(k + 1,)``; what lies outside falls into the first or the last.
    """

    values: Tensor
    edges: Tensor

    @property
    def defined(self) -> Tensor:
        """The values without NaN, double ``(m,)``."""
        values = self.values.double().flatten()
        return values[~values.isnan()]

    @property
    def counts(self) -> Tensor:
        """Values per bin, double ``(k,)``; a value on an inner edge belongs to the bin above it."""
        index = torch.bucketize(self.defined, self.edges[1:-1].double(), right=True)
        return torch.bincount(index, minlength=len(self.edges) - 1).double()


@dataclass(frozen=True)
class Counts:
    """How often each of some cases occurs.

    Args:
        table: of any shape, at least 0.
    """

    table: Tensor

    @property
    def counts(self) -> Tensor:
        return self.table.double().flatten()


Values = Numbers | Counts


def merge(parts: Sequence[Mapping[str, Values]]) -> dict[str, Values]:
    """The measures of some examples and those of others as the measures of all."""
    merged: dict[str, Values] = {}
    for name, first in parts[0].items():
        if isinstance(first, Numbers):
            values = [part[name].values.flatten() for part in parts]  # type: ignore[union-attr]
            merged[name] = Numbers(torch.cat(values), first.edges)
        else:
            merged[name] = Counts(torch.stack([part[name].counts for part in parts]).sum(0))
    return merged


def overlap(p: Tensor, q: Tensor) -> float:
    """Common area of two histograms of counts ``(k,)``, 0 to 1; NaN if one is empty."""
    if not (p.sum() and q.sum()):
        return math.nan
    return float(torch.minimum(p / p.sum(), q / q.sum()).sum())


def kl(q: Tensor, p: Tensor) -> float:
    """KL(q ‖ p) of two histograms of counts ``(k,)``, nats, with half a count more in every bin; NaN if one is empty.

    Cells that are empty in both are no cases, and get no half count.
    """
    if not (p.sum() and q.sum()):
        return math.nan
    seen = (p + q) > 0
    p, q = p[seen] + 0.5, q[seen] + 0.5
    p, q = p / p.sum(), q / q.sum()
    return max(0.0, float((q * (q / p).log()).sum()))


def wasserstein(a: Tensor, b: Tensor) -> float:
    """1-Wasserstein distance of two sets of numbers ``(m,)`` and ``(n,)``, in their unit; NaN if one is empty."""
    if not (len(a) and len(b)):
        return math.nan
    a, b = a.double().sort().values, b.double().sort().values
    points = torch.cat([a, b]).sort().values  # (m + n,)
    # Between two neighbouring points both distribution functions are constant.
    below = [torch.searchsorted(x, points[:-1], right=True).double() / len(x) for x in (a, b)]
    return float(((below[0] - below[1]).abs() * points.diff()).sum())


def compare(samples: Mapping[str, Values], reference: Mapping[str, Values]) -> dict[str, float]:
    """Every measure of the reference beside the same of samples: ``name/figure`` for the figures above.

    Of numbers also ``mean`` and ``reference``, the means of the samples and of the reference.

    >>> import torch
    >>> from musegen.evaluation.distributions import Numbers, compare
    >>> edges = torch.arange(0.0, 5.0)  # one bin per number of notes
    >>> samples, held_out = (Numbers(torch.tensor(n), edges) for n in ([1.0, 2.0, 2.0, 3.0], [1.0, 1.0, 2.0, 3.0]))
    >>> figures = compare({"notes": samples}, {"notes": held_out})
    >>> figures["notes/mean"], figures["notes/overlap"], figures["notes/distance"]
    (2.0, 0.75, 0.25)
    """
    figures: dict[str, float] = {}
    for name, q in reference.items():
        p = samples[name]
        if isinstance(p, Numbers) and isinstance(q, Numbers):
            figures[f"{name}/mean"] = float(p.defined.mean())
            figures[f"{name}/reference"] = float(q.defined.mean())
        figures[f"{name}/overlap"] = overlap(p.counts, q.counts)
        figures[f"{name}/kl"] = kl(q.counts, p.counts)
        if isinstance(p, Numbers) and isinstance(q, Numbers):
            figures[f"{name}/distance"] = wasserstein(p.defined, q.defined)
    return figures
