"""How a run begins: with weights drawn at random, or with those of another model (the run option ``init``)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Domain
from musegen.contracts.family import Family, build
from musegen.data.bundled import models
from musegen.engine.engine import Engine
from musegen.engine.sizes import check_size, outline
from musegen.engine.weights import Taken, take_weights
from musegen.errors import BadInput, TrainingDiverged
from musegen.models.loading import find, locate, weights_of
from musegen.options import split_options
from musegen.running.own import Own
from musegen.running.own_networks import check_wanted
from musegen.running.resolved import Resolved, option_owners

__all__ = ["begin", "check_asked", "check_losses", "compare_with_data", "short", "with_options_of"]

OF_THE_NETWORK = ("family_config", "domain_config", "sampling")
"""What a run that begins with a model's weights has of the model's options."""
OPEN: tuple[Any, ...] = (None, "auto", "", [], {}, ())
"""Values of options that say nothing yet."""
SHOWN = 60
"""Characters of a value in a message, at most."""


def with_options_of(
    init: str | Path, family: type[Family], domain: type[Domain], options: Mapping[str, Any], own: Own | None = None
) -> dict[str, Any]:
    """The options of a run that begins with a model's weights.

    Those of the family, the domain and of drawing are the model's, so that the weights fit, unless the user sets them or they are
    found in the data.

    Args:
        init: a run folder, a model file, or the name of a model that ships.
        options: the user's.
        own: what the program brings itself, which the model may need as well.

    Raises:
        BadInput: there is no such model, it is of another family or domain, or there is no such option.
    """
    model, path = find(init, own), locate(init)
    if (model.family.name, model.domain.name) != (family.name, domain.name):
        raise BadInput(
            f"{init} is a model of {model.family.name} on {model.domain.name}, and cannot begin one of {family.name} on "
            f"{domain.name}: give a model of the same family and domain."
        )
    mine = split_options(options, option_owners(family, domain))
    inherited = {}
    for part in OF_THE_NETWORK:
        kept, owner = getattr(model, part), part.removesuffix("_config")
        for field in dataclasses.fields(kept):
            if field.name not in mine[owner] and not field.metadata.get("of_data"):
                inherited[f"{owner}.{field.name}"] = getattr(kept, field.name)
    return {**options, **inherited, "init": path.stem if path in models().values() else str(path.absolute())}


def compare_with_data(asked: Any, found: Any, users: Collection[str]) -> list[str]:
    """What of a domain's options the data decide otherwise than was asked.

    Args:
        asked: the domain's options, as the run was asked for.
        found: the same, as the data have them.
        users: names of those that the user set himself.

    Returns:
        Names of the others, such as those of a model that the run begins with.

    Raises:
        BadInput: the user set one of them.
    """
    others = []
    for field in dataclasses.fields(asked):
        wanted, real = getattr(asked, field.name), getattr(found, field.name)
        # What is left open is for the data to say; and a mapping may have been written to a file and read again.
        if wanted in OPEN or json.dumps(wanted, default=str) == json.dumps(real, default=str):
            continue
        if field.name in users:
            raise BadInput(
                f"{field.name}={short(wanted)} cannot be set: the data decide it, and these have {short(real)}. Leave it out."
            )
        others.append(field.name)
    return others


def short(value: Any) -> str:
    """A value in a message, as YAML, which the user may have written."""
    import yaml

    flow = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf)
    text = flow.removesuffix("\n").removesuffix("\n...")
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} …"


def begin(engine: Engine, example: Batch, init: str | None, own: Own | None = None) -> Taken | None:
    """Before step 0: what a family learns from one batch, and then the weights of another model, as far as they fit.

    Args:
        example: a training batch.
        init: that model, if there is one.
        own: what the program brings itself, which the model may need as well.

    Returns:
        What was taken of it.

    Raises:
        BadInput: there is no such model, or none of its weights fits.
    """
    family = engine.family
    before = {name: buffer.clone() for name, buffer in family.named_buffers()} if init is not None else {}
    family.prepare(example)
    if init is None:
        return None
    # What the family has looked up in these data stays.
    found = {name for name, buffer in family.named_buffers() if not _same(buffer, before[name])}
    weights, _, _ = weights_of(locate(init), own=own)
    taken = take_weights(family, weights, found)
    learnt = {name for name, _ in family.named_parameters()}
    if learnt <= {*taken.other_shape, *taken.missing}:
        raise BadInput(
            f"None of the weights of {init} fits these networks: {taken}. Leave out the options that you set."
        )
    engine.restart_average()
    return taken


def check_asked(resolved: Resolved, domain: Domain, device: torch.device) -> None:
    """See that what a run is asked for goes together, and fits this machine, before anything takes memory.

    Raises:
        BadInput: it does not.
    """
    family = resolved.family
    if resolved.run.early_stop and family.monitor is None:
        raise BadInput(f'The family "{family.name}" has no validation loss to stop on: use early_stop=0.')
    check_wanted(family, resolved.family_config, domain)
    check_size(outline(lambda: build(family, resolved.family_config, domain), "The run"), device, "The run")


def check_losses(engine: Engine, example: Batch) -> None:
    """One dry evaluation finds sizes that do not fit, and losses that are no numbers, before anything is written.

    Raises:
        TrainingDiverged: a loss is NaN or infinite.
    """
    for key, value in engine.evaluate([example]).items():
        if not math.isfinite(value):
            player, name = key.split("/", 1)
            raise TrainingDiverged(
                f"{name} of the player {player} is {value} before the first step: look at the data and the options."
            )


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal, with whatever in them is not a number yet."""
    return a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
