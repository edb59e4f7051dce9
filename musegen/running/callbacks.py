"""What a program may do while its training goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from musegen.contracts.family import Family
from musegen.running.runs import Run

__all__ = ["Callback", "Kind", "Moment", "tell"]

Kind = Literal["train", "valid", "end"]


@dataclass(frozen=True)
class Moment:
    """A moment of a training.

    Attributes:
        kind: ``train``, every ``log_every`` steps; ``valid``, after each validation; ``end``, when all is done and saved.
        step: steps done.
        metrics: means of the losses since the last such moment, or those of validation data, by name: ``autoencoder/loss``; none at
            the end.
        family: the networks that train, with gradients off. What is drawn here does not change what the training draws.
        run: its folder.

    >>> import musegen
    >>> seen = []
    >>> def watch(moment):
    ...     seen.append((moment.kind, moment.step))
    ...     return moment.step >= 2  # True: stop after the next step
    >>> options = {"steps": 100, "log_every": 1, "validate_every": 0, "sample_every": 0, "widths": [8], "quiet": True}
    >>> run = musegen.train("ae", "image", out="run", callbacks=[watch], **options)
    >>> seen
    [('train', 1), ('train', 2), ('train', 3), ('end', 3)]
    """

    kind: Kind
    step: int
    metrics: Mapping[str, float] = field(repr=False)
    family: Family = field(repr=False)
    run: Run


Callback = Callable[[Moment], object]
"""Called in the first process; the training stops after the next step if it returns True."""


def tell(callbacks: Sequence[Callback], moment: Moment) -> bool:
    """Call them one after the other, without gradients; whether one wants the training to stop."""
    training = moment.family.training
    with torch.no_grad():
        wanted = [callback(moment) is True for callback in callbacks]
    moment.family.train(training)
    return any(wanted)
