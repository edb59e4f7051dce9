"""The data sets of a run, where they are needed."""

from __future__ import annotations

from dataclasses import fields

import torch

from musegen.contracts.dataset import Dataset
from musegen.contracts.domain import Auxiliary, Data, Labelled, Spec, Target
from musegen.contracts.family import Family
from musegen.data.arrays import View, balanced_subset
from musegen.data.batches import Batches
from musegen.errors import BadInput
from musegen.running.resolved import Resolved

__all__ = ["auxiliary_dataset", "placed_batches"]


def placed_batches(
    resolved: Resolved, spec: Spec, data: Data, family: Family, dtype: torch.dtype
) -> tuple[Batches, Batches | None]:
    """Training data, and validation data if there are any and they are wanted, with what the family wants beside them, on the
    family's device.

    Raises:
        BadInput: data are missing that the family or an option needs.
    """
    config, device = resolved.run, family.device
    wanted = resolved.family.auxiliary(resolved.family_config, spec)
    memory = None if config.device_memory is None else int(1e9 * config.device_memory)

    def ready(dataset: Dataset) -> Dataset:
        return dataset.placed(device, memory, dtype)

    def batches(dataset: Dataset, auxiliary: dict[str, Dataset]) -> Batches:
        return Batches(ready(dataset), config.batch_size * family.minibatches, config.seed, device, auxiliary)

    auxiliary = {name: ready(auxiliary_dataset(resolved, data, want)) for name, want in wanted.items()}
    train = batches(data.splits["train"], auxiliary)
    valid = data.splits.get("valid")
    if valid is None or not len(valid) or not config.validate_every:
        if config.early_stop:
            raise BadInput("early_stop needs validation data: use early_stop=0, or validate_every=500.")
        return train, None
    if "target_valid" in data.splits:
        second = {name: ready(data.splits["target_valid"]) for name, want in wanted.items() if isinstance(want, Target)}
        auxiliary = auxiliary | second
    return train, batches(valid, auxiliary)


def auxiliary_dataset(resolved: Resolved, data: Data, wanted: Auxiliary) -> Dataset:
    """The further data that a family wants.

    Raises:
        BadInput: the domain has no such data as configured.
    """
    family, domain = resolved.family.name, resolved.domain.name
    match wanted:
        case Target():
            if "target" not in data.splits:
                may_have = any(option.name == "target" for option in fields(resolved.domain.Config))
                do = "name one with target=…" if may_have else "use a domain that has one"
                raise BadInput(
                    f'The family "{family}" needs a second data set, and the domain "{domain}" has none as configured: {do}.'
                )
            return View(data.splits["target"], labelled=False)
        case Labelled(n):
            train = data.splits["train"]
            if train.label is None:
                raise BadInput(f'The family "{family}" needs labels, and these data have none: use data with classes.')
            try:
                return View(train, balanced_subset(train.label, n, resolved.run.seed))
            except ValueError as error:
                raise BadInput(f"There are not enough labelled examples: {error}. Ask for fewer.") from None
