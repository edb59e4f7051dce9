"""What commands and the studio ask of a model beside a file that somebody gives: samples, and the writer that keeps the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from musegen.errors import BadInput, shown
from musegen.models import filling, unfolding

if TYPE_CHECKING:
    from musegen.contracts.domain import Keep
    from musegen.contracts.piece import Writer
    from musegen.models.model import Model

__all__ = ["accompanied", "bars_of", "continued", "rewritten", "rows_of"]

EMPTY = '""'
"""How messages write a text of no characters."""


def rows_of(model: Model, bars: int) -> int:
    """Rows of a sample in so many bars.

    Raises:
        BadInput: its samples have no bars.
    """
    if not model.domain.spec.bar:
        raise BadInput(f'Samples of the domain "{model.domain.name}" have no bars: leave out how many you want.')
    return bars * model.domain.spec.bar


def bars_of(text: str | None) -> tuple[int, int | None]:
    """First and last bar of 5-8 or 5; of 5-, and of None, the last one of the piece is None.

    Raises:
        BadInput: it is none of these.

    >>> from musegen.models.beside import bars_of
    >>> bars_of("5-8"), bars_of("5"), bars_of("5-"), bars_of(None)
    ((5, 8), (5, 5), (5, None), (1, None))
    """
    match = re.fullmatch(r"([0-9]{1,6})(-?)([0-9]{0,6})", "1-" if text is None else text)
    if match is None:
        raise BadInput(f"bars={shown(text) or EMPTY} is invalid: write the first and the last bar, as 5-8, or one bar.")
    first, dash, last = match.groups()
    return int(first), int(last or first) if last or not dash else None


def continued(
    model: Model, given: Path, bars: int, n: int, seed: int, label: str | None = None, only_new: bool = False
) -> tuple[Tensor, Writer]:
    """n samples that begin with a file and go on for so many bars; ``only_new``: what is written has only these.

    Raises:
        BadInput: the model does not continue, or cannot read the file.
    """
    unfolding.require_continue(model.family, model.domain)
    n_steps = rows_of(model, bars)
    past, writer = model.read_given(given, "none" if only_new else "all")
    new = model.continue_(past, n_steps, n, seed, label)
    return torch.cat([past.expand(n, *past.shape), new], 2), writer


def accompanied(
    model: Model, given: Path, tracks: Sequence[str] | None, n: int, seed: int, replace: bool = False
) -> tuple[Tensor, Writer]:
    """n samples with new tracks beside those of a file.

    Args:
        tracks: that are given; None: those that the model was trained with, or all that have notes.
        replace: the file's own notes of the tracks that the model writes are left out.

    Raises:
        BadInput: the model does not accompany, or cannot read the file, or was trained to be given other tracks.
    """
    keep: Keep = "given only" if replace else "given"
    if filling.can_fill(model.family):
        sounding = tracks or model.sounding_parts(model.read_given(given, "all")[0])
        filling.given_parts(model.domain, sounding, 1)
        part, writer = model.read_given(given, keep, sounding)
        return model.accompany(part, n, seed, sounding), writer
    unfolding.require_given_tracks(model.family, model.domain)
    trained = model.config["given"]
    if tracks is not None and set(tracks) != set(trained):
        raise BadInput(f"tracks={','.join(tracks)} is invalid: this model was trained to be given {','.join(trained)}.")
    part, writer = model.read_given(given, keep)
    return model.accompany(part, n, seed), writer


def rewritten(
    model: Model,
    given: Path,
    tracks: Sequence[str] | None,
    bars: str | None,
    n: int,
    seed: int,
    best: int | None = None,
    label: str | None = None,
) -> tuple[Tensor, Writer]:
    """Samples of a file of which a region is written anew, the best of them if so many are wanted; and what writes them there.

    Args:
        tracks, bars: the region; None: all. Bars as of ``bars_of``.

    Raises:
        BadInput: the model may not be given any part, or cannot read the file, or there is no such region.
    """
    x, mask, writer = model.read_region(given, tracks, bars_of(bars))
    samples = model.fill(x, mask, n, seed, label)
    return samples if best is None else model.likeliest(samples, best, mask), writer
