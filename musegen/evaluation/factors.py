"""How well single dimensions of a code say single factors of the data."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mutual_information_gap"]

BINS = 20


def mutual_information_gap(codes: Tensor, factors: Tensor, bins: int = BINS) -> float:
    """Mean over factors of (I(z_a; v) − I(z_b; v)) / H(v), a and b the two dimensions that know most (Chen et al. 2018, eq. 6).

    Dimensions are cut into bins of equal width, as Locatello et al. 2019 (1811.12359) do.

    Args:
        codes: ``(N, d)``, d ≥ 2.
        factors: whole numbers from 0, ``(N, f)``.

    >>> import torch
    >>> from musegen.evaluation.factors import mutual_information_gap
    >>> v = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    >>> mutual_information_gap(v.float(), v), mutual_information_gap((v @ torch.ones(2, 2).long()).float(), v)
    (1.0, 0.0)
    """
    low, high = codes.amin(0), codes.amax(0)
    place = ((codes - low) / (high - low).clamp_min(1e-12) * bins).long().clamp(0, bins - 1)  # (N, d)
    gaps = []
    for factor in factors.T:
        v, own = factor.long(), []
        for column in place.T:
            joint = torch.bincount(column * (int(v.max()) + 1) + v, minlength=bins * (int(v.max()) + 1)).double()
            joint = joint.view(bins, -1) / len(v)
            own.append(_entropy(joint.sum(0)) + _entropy(joint.sum(1)) - _entropy(joint.flatten()))
        first, second = torch.stack(own).topk(2).values
        entropy = _entropy(torch.bincount(v).double() / len(v))
        gaps.append(float((first - second) / entropy.clamp_min(1e-12)))
    return sum(gaps) / len(gaps)


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum()
