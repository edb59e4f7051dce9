"""Samples that unfold in time, longer than those a model was trained on: continued, window by window if need be, and accompanied.

Functions here draw: whoever calls them sets the generators and ``family.sampling``, and takes gradients off.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from musegen.contracts.domain import Domain
from musegen.contracts.family import Family, require
from musegen.engine.shared_state import reseed
from musegen.errors import BadInput
from musegen.plugins import registry

__all__ = [
    "accompaniments",
    "check_past",
    "continuations",
    "padded",
    "require_continue",
    "require_given",
    "require_given_tracks",
    "rows_given",
    "samples",
]


def rows_given(family: Family, domain: Domain) -> int:
    """The first bars of a sample, in rows, if these are what the model is given, and nothing else; 0 otherwise."""
    if not domain.spec.bar or not family.capabilities.given:
        return 0
    slabs = domain.spec.given
    return max((last for _, _, last in slabs), default=0) if all(slab[:2] == (1, 0) for slab in slabs) else 0


def require_continue(family: Family, domain: Domain) -> None:
    """Refuse what needs a model that can continue: by its family, or because it is given the past.

    Raises:
        BadInput: this one cannot.
    """
    if not rows_given(family, domain):
        require(family, "continue_", registry().working_families())


def require_given(family: Family, domain: Domain) -> None:
    """Refuse what needs a model that is given a part of a sample.

    Raises:
        BadInput: this one is not.
    """
    if not (family.capabilities.given and domain.spec.given):
        raise BadInput(
            f'This model of the family "{family.name}" was not trained to be given a part of a sample: '
            "train rnn_nade with the domain's option given, or conditional_gan with condition=given."
        )


def require_given_tracks(family: Family, domain: Domain) -> None:
    """Refuse what needs a model that is given parts that last as long as a sample, such as tracks.

    Raises:
        BadInput: this one is not.
    """
    require_given(family, domain)
    if any(axis != 0 for axis, _, _ in domain.spec.given):
        given = domain.config.given
        named = ", ".join(given) if isinstance(given, (list, tuple)) else given
        raise BadInput(f"This model was trained to be given {named}, which is not a set of whole tracks.")


def check_past(family: Family, domain: Domain, past: Tensor, n_steps: int) -> None:
    """Refuse a past that the model cannot go on from.

    Raises:
        BadInput: it has other channels or columns, or too few rows; or nothing is to be added.
    """
    channels, _, columns = domain.spec.shape
    if past.dim() != 3 or (past.shape[0], past.shape[2]) != (channels, columns):
        raise BadInput(
            f"A past of shape {tuple(past.shape)} is invalid: this model needs ({channels}, rows, {columns})."
        )
    known = rows_given(family, domain)
    if past.shape[1] < known:
        raise BadInput(f"A past of {past.shape[1]} steps is too short: this model needs {known} or more to go on from.")
    if n_steps < 1:
        raise BadInput(f"n_steps={n_steps} is invalid: use 1 or more.")


def samples(family: Family, domain: Domain, n: int, n_steps: int, seed: int, label: Tensor | None) -> Tensor:
    """Samples of another length than that of training, ``(n, C, n_steps, W)``."""
    channels, rows, columns = domain.spec.shape
    if n_steps < rows:
        return family.sample(n, label=label).float().cpu()[:, :, :n_steps]
    if not rows_given(family, domain):
        nothing = torch.zeros(n, channels, 0, columns, device=family.device)
        return family.continue_(nothing, n_steps, label=label).float().cpu()
    begun = family.sample(n, label=label).float().cpu()
    reseed(seed, family.device)  # what follows is what continues the same past by itself
    more = _by_windows(family, domain, domain.discretise(begun), n_steps - rows)
    return torch.cat([begun, more], 2)


def continuations(family: Family, domain: Domain, past: Tensor, n_steps: int, label: Tensor | None) -> Tensor:
    """What follows each past ``(n, C, rows, W)``: ``(n, C, n_steps, W)``."""
    if rows_given(family, domain):
        return _by_windows(family, domain, past, n_steps)
    return family.continue_(past, n_steps, label=label).float().cpu()


def _by_windows(family: Family, domain: Domain, past: Tensor, n_steps: int) -> Tensor:
    """``continuations`` of a family that is given the first rows of every sample."""
    known = rows_given(family, domain)
    n, shape = len(past), domain.spec.shape
    seen, parts = past[:, :, -known:].float().cpu(), []
    for _ in range(-(-n_steps // (shape[1] - known))):
        given = torch.zeros(n, *shape)
        given[:, :, :known] = seen
        new = family.sample(n, given=given).float().cpu()
        parts.append(new[:, :, known:])
        seen = domain.discretise(new)[:, :, -known:]  # what will be written, and not its probabilities
    return torch.cat(parts, 2)[:, :, :n_steps]


def padded(x: Tensor, n_rows: int) -> Tensor:
    """Rows ``(C, rows, W)`` with silence after them, ``(C, n_rows, W)``."""
    return F.pad(x.float().cpu(), (0, 0, 0, n_rows - x.shape[1]))


def accompaniments(family: Family, domain: Domain, given: Tensor, n: int, chunk: int) -> Tensor:
    """n samples around the given part of a piece, ``(C, rows, W)`` → ``(n, C, rows, W)``.

    Args:
        chunk: windows that are drawn at a time.
    """
    if family.capabilities.given == "any length":
        return family.sample(n, given=given.float().expand(n, *given.shape)).float().cpu()
    channels, rows, columns = domain.spec.shape
    n_windows = -(-given.shape[1] // rows)
    whole = padded(given, n_windows * rows)
    windows = whole.view(channels, n_windows, rows, columns).transpose(0, 1)  # (k, C, rows, W)
    parts = [family.sample(len(part), given=part).float().cpu() for part in windows.repeat(n, 1, 1, 1).split(chunk)]
    whole = torch.cat(parts).view(n, n_windows, channels, rows, columns).transpose(1, 2).flatten(2, 3)
    return whole[:, :, : given.shape[1]]
