"""Which files are for training, and which are held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["SHARES", "split_indices"]

SHARES = {"valid": 0.1, "test": 0.1}
"""Of what files hold, as far as whole files allow; the rest is for training."""


def split_indices(
    n: int,
    label: np.ndarray | None = None,
    weight: Sequence[float] | np.ndarray | None = None,
    seed: int = 0,
    shares: Mapping[str, float] = SHARES,
) -> dict[str, np.ndarray]:
    """Which of n files are for training, and which are held out: numbers 0 … n − 1 by split, ascending.

    Files are shuffled by the seed, class by class. Each goes to the held-out split that lacks most of its share, if it brings that
    closer to it, and else to training; what a class has too little or too much of is made up for by the next one. So the shares of
    what files hold are as near as whole files allow: one long recording is for training. If a split would be empty, it gets the
    lightest training file, as long as there are three files, its class keeps another one, and training stays the largest.

    Args:
        label: class of each file ``(n,)``: every class has a file for training, and as large a share of it is held out.
        weight: how much each file holds ``(n,)``; the same if None.
        shares: of what is held out.

    >>> from musegen.data.splits import split_indices
    >>> {name: index.tolist() for name, index in split_indices(3, weight=[120, 2, 2]).items()}
    {'train': [0], 'valid': [2], 'test': [1]}
    """
    order = np.random.default_rng(seed).permutation(n)
    held = np.ones(n) if weight is None else np.asarray(weight, np.float64)
    group = np.zeros(n, np.int64) if label is None else np.asarray(label)
    share = np.array(list(shares.values()))
    owed = np.zeros(len(share))
    place = np.full(n, -1)
    order = order[np.argsort(group[order], kind="stable")]
    for mine in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        part = (
            0.49 * held[mine].mean() if len(mine) else 0.0
        )  # less than half a file, so that a heavy one is not made up for
        owed = owed.clip(-part, part) + share * held[mine].sum()
        for number, i in enumerate(mine):
            most = int(owed.argmax())
            alone = number == len(mine) - 1 and not (place[mine] < 0)[:number].any()
            if held[i] <= 2 * owed[most] and not alone:
                place[i] = most
                owed[most] -= held[i]
    for split in range(len(share)):
        if n >= 3 and not (place == split).any():
            _move_one(place, split, order, group, held)
    return {"train": np.flatnonzero(place < 0)} | {name: np.flatnonzero(place == i) for i, name in enumerate(shares)}


def _move_one(place: np.ndarray, split: int, order: np.ndarray, group: np.ndarray, held: np.ndarray) -> None:
    """The lightest training file into a split that is empty, if its class keeps another one and training stays the largest."""
    training = order[place[order] < 0]
    _, number, count = np.unique(group[training], return_inverse=True, return_counts=True)
    movable = training[count[number] > 1]
    if not len(movable):
        return
    lightest = movable[held[movable].argmin()]
    if held[lightest] < held[training].sum() - held[lightest]:
        place[lightest] = split
