"""What every domain promises of its data sets: that they place themselves, and stay the same wherever they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from musegen.contracts.dataset import Batch, Dataset, generator_for
from musegen.contracts.domain import Domain
from musegen.errors import BadInput
from musegen.testing.domains import N_EXAMPLES
from musegen.testing.rules import expect, rule

__all__ = ["RULES"]

CPU, META, BF16 = torch.device("cpu"), torch.device("meta"), torch.bfloat16
BATCH = 5
N_COUNTED = 200
"""Examples whose bytes are counted: enough that what a data set holds beside them weighs little."""
SPARE_BYTES = 1000
"""What a data set may hold beside its examples."""


def _splits(domain: Domain) -> Iterator[tuple[str, Dataset]]:
    yield from domain.synthetic(N_EXAMPLES).splits.items()


def _streamed(dataset: Dataset, dtype: torch.dtype = torch.float32) -> Dataset:
    """The data set with less memory than it takes, and as little as it accepts."""
    n = dataset.n_bytes
    for memory in (n // 4, n // 2, n - 1):
        try:
            return dataset.placed(CPU, max(memory, 0), dtype)
        except BadInput:
            continue
    return dataset.placed(CPU, None, dtype)


def _differ(found: Batch, wanted: Batch) -> str:
    """What differs between two batches; empty if nothing does."""
    if not torch.equal(found.x, wanted.x):
        return "x"
    if not torch.equal(found.index, wanted.index):
        return "index"
    if (found.label is None) != (wanted.label is None):
        return "label"
    return "" if found.label is None or torch.equal(found.label, wanted.label) else "label"  # type: ignore[arg-type]


@rule("streaming", "seed")
def streaming(domain: Domain) -> None:
    """A data set that is placed with less memory than it takes gives the same examples for the same index and generator."""
    for split, dataset in _splits(domain):
        streamed = _streamed(dataset)
        expect(
            len(streamed) == len(dataset),
            f"{split}: placed with little memory it has {len(streamed)} examples, not {len(dataset)}.",
        )
        in_order = [index for epoch in range(2) for index in streamed.order(0, epoch).split(BATCH)]
        scattered = torch.arange(len(dataset)).flip(0).split(BATCH)
        for i, index in enumerate([*in_order, *scattered]):
            found = streamed.gather(index.to(streamed.index_device), generator_for(CPU, i))
            what = _differ(found, dataset.gather(index.to(dataset.index_device), generator_for(CPU, i)))
            expect(
                not what,
                f"{split}: placed with little memory, it gives another {what} for the same index and generator.",
            )


@rule("order of an epoch", "seed")
def order(domain: Domain) -> None:
    """An epoch visits every example once, in an order that is a function of its key alone."""
    for split, dataset in _splits(domain):
        for kind, placed in (("", dataset), (" placed with little memory,", _streamed(dataset))):
            first, _, again = placed.order(0, 0), placed.order(0, 1), placed.order(0, 0)
            expect(
                first.dtype == torch.int64 and first.device == CPU and first.shape == (len(dataset),),
                f"{split}:{kind} order gives {first.dtype} {tuple(first.shape)} on {first.device}, "
                f"not torch.int64 {(len(dataset),)} on cpu.",
            )
            expect(
                torch.equal(first.sort().values, torch.arange(len(dataset))),
                f"{split}:{kind} the order of an epoch does not have every example once.",
            )
            expect(
                torch.equal(first, again),
                f"{split}:{kind} the same key gives another order after other keys: resuming would not be exact.",
            )


@rule("types", "seed")
def types(domain: Domain) -> None:
    """Placed in bfloat16, batches come in it only if their cells are 0 or 1, and in float32 otherwise, with the same values."""
    for split, dataset in _splits(domain):
        index = torch.arange(min(len(dataset), N_EXAMPLES))
        wanted = dataset.gather(index, generator_for(CPU, 0)).x
        found = dataset.placed(CPU, None, BF16).gather(index, generator_for(CPU, 0)).x
        expect(found.dtype in (torch.float32, BF16), f"{split}: placed in bfloat16, a batch is {found.dtype}.")
        expect(
            found.dtype == torch.float32 or bool(((wanted == 0) | (wanted == 1)).all()),
            f"{split}: batches come in bfloat16 and are rounded, for cells are neither 0 nor 1: such data are not binary.",
        )
        expect(torch.equal(found.float(), wanted), f"{split}: placed in bfloat16, batches have other values.")


@rule("memory", "seed")
def memory(domain: Domain) -> None:
    """n_bytes is what the examples take on a device, or more."""
    for split, dataset in domain.synthetic(N_COUNTED).splits.items():
        n = dataset.n_bytes
        expect(isinstance(n, int) and n >= 0, f"{split}: n_bytes is {n!r}, not a number of bytes.")
        found = {
            id(tensor): tensor.nbytes
            for tensor in _tensors(dataset.placed(META))
            if not (tensor.dtype == torch.int64 and tensor.shape == (len(dataset),))  # labels and positions
        }
        total = sum(found.values())
        expect(
            total <= n + SPARE_BYTES,
            f"{split}: n_bytes is {n}, and on a device it takes {total} bytes: it would not be streamed when it has to be.",
        )


def _tensors(thing: Any) -> Iterator[Tensor]:
    """The tensors of a placed data set that lie on the device."""
    if isinstance(thing, Tensor):
        if thing.device == META:
            yield thing
    elif isinstance(thing, Dataset):
        yield from _tensors(vars(thing))
    elif isinstance(thing, Mapping):
        for value in thing.values():
            yield from _tensors(value)
    elif isinstance(thing, (list, tuple)):
        for value in thing:
            yield from _tensors(value)


@rule("placing", "seed")
def placing(domain: Domain) -> None:
    """placed makes another data set and leaves the one at hand as it is."""
    for split, dataset in _splits(domain):
        index = torch.arange(min(len(dataset), BATCH))
        before = dataset.gather(index, generator_for(CPU, 0))
        dataset.placed(META, None, BF16)
        _streamed(dataset, BF16)
        expect(dataset.index_device == CPU, f"{split}: placed moves the data set itself: change a copy.")
        after = dataset.gather(index, generator_for(CPU, 0))
        same = (after.x.dtype, after.x.device) == (before.x.dtype, before.x.device)
        expect(same and not _differ(after, before), f"{split}: placed changes the data set itself: change a copy.")


RULES = [streaming, order, types, memory, placing]
