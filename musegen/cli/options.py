"""Options that several commands share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from musegen.errors import BadInput, shown
from musegen.limits import MOST_AT_ONCE
from musegen.option_texts import from_text
from musegen.options import split_options
from musegen.running.config import RunConfig

if TYPE_CHECKING:
    from musegen.models.model import Model

# Every option of a run, as text: conversion and bounds are checked in one place, by musegen.options.
RunOptions = dataclasses.make_dataclass(
    "RunOptions",
    [
        (
            field.name,
            Annotated[
                (bool if isinstance(field.default, bool) else str) | None, Parameter(help=field.metadata["meaning"])
            ],
            dataclasses.field(default=None, kw_only=True),
        )
        for field in dataclasses.fields(RunConfig)
    ],
)
RunOptions.__module__ = __name__  # without a module of its own, cyclopts takes the class for a builtin

Options = Annotated[RunOptions, Parameter(name="*")]  # type: ignore[valid-type]
Flag = Annotated[bool, Parameter(negative="")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of a table.")]
Assignments = Annotated[
    list[str],
    Parameter(name="--set", negative="", help="An option of the family or the domain, as key=value; repeatable."),
]
Networks = Annotated[
    list[str],
    Parameter(
        name="--network",
        negative="",
        help="A network of your own, as ROLE=FILE.py:NAME; the role is encoder, decoder, discriminator or autoregressive; "
        "repeatable. The file is run.",
    ),
]
ModelName = Annotated[
    str,
    Parameter(
        help="A run folder, a model file, the name of a model that ships (see musegen models), or hf://owner/name."
    ),
]
ModelOption = Annotated[str, Parameter(show=False)]
"""Of ``**options``: options of the model in hand, as text; ``--help`` shows those of a model that is named."""
Files = Annotated[list[Path], Parameter(negative="", consume_multiple=True)]
Label = Annotated[
    str | None,
    Parameter(help="A class, for families that take one: its name, or its number (from 0) if none has that name."),
]
Draws = Annotated[
    int, Parameter(name=["-k", "--k"], help="Draws per example for a lower bound; not used where log p is exact.")
]

ROLES = ("encoder", "decoder", "discriminator", "autoregressive")
"""Networks that may be a user's own, see ``musegen.running.own_networks``, which imports torch."""

Owner = Literal["asking", "sampling", "reading", "writing"]
MODEL_COMMANDS: dict[str, tuple[Owner, ...]] = {
    "generate": ("asking", "sampling", "reading", "writing"),
    "continue": ("asking", "sampling", "reading", "writing"),
    "accompany": ("asking", "sampling", "reading", "writing"),
    "infill": ("asking", "sampling", "reading", "writing"),
    "regenerate": ("asking", "sampling", "reading", "writing"),
    "reconstruct": ("reading", "writing"),
    "interpolate": ("reading", "writing"),
    "arithmetic": ("reading", "writing"),
    "evaluate": ("sampling",),
}
"""Commands that take options of a model, and whose."""


def given_options(options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in vars(options).items() if value is not None}


def own_networks(assignments: Sequence[str]) -> dict[str, str]:
    """What ``--network`` says, by role, as ``musegen.train`` and ``musegen.load`` take it.

    Raises:
        BadInput: a role that there is not, or no name of a file and of something in it.
    """
    found = {}
    for text in assignments:
        role, equals, place = text.partition("=")
        if role not in ROLES or not (equals and ":" in place):
            raise BadInput(
                f'--network "{shown(text)}" is invalid: write it like decoder=my_file.py:MyDecoder; the role is {", ".join(ROLES)}.'
            )
        found[role] = place
    return found


def at_least(least: int, **numbers: int) -> None:
    """Refuse an option that is too small, or so large that nobody can mean it.

    Raises:
        BadInput: names it.
    """
    for name, number in numbers.items():
        if number < least:
            flag = f"-{name}" if len(name) == 1 else f"--{name}"
            raise BadInput(f"{flag} {number} is invalid: use {least} or more.")
        if number > MOST_AT_ONCE:
            flag = f"-{name}" if len(name) == 1 else f"--{name}"
            raise BadInput(f"{flag} {shown(number)} is invalid: use {MOST_AT_ONCE:,} or less.")


@dataclasses.dataclass
class Source:
    """Which weights of a model, and where they work."""

    checkpoint: Annotated[str, Parameter(help="Which checkpoint of a run: best, last, or the number of a step.")] = (
        "best"
    )
    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:N or mps.")] = "auto"
    network: Networks = dataclasses.field(default_factory=list)

    def load(self, model: str, command: str = "", options: Mapping[str, str] | None = None) -> Model:
        """The model, with the options of its own that a command was given.

        Raises:
            BadInput: there is no such model or option, or a value is invalid.
        """
        import musegen

        mine: dict[str, Any] = own_networks(self.network)
        loaded = musegen.load(model, checkpoint=self.checkpoint, device=self.device, **mine)
        known = loaded.option_owners
        owners: dict[str, type] = {owner: known[owner] for owner in MODEL_COMMANDS.get(command, ()) if owner in known}
        texts = {name.replace("-", "_"): text for name, text in (options or {}).items()}
        sorted_ = split_options(texts, owners, f"musegen {command} with the model {model}")
        values: dict[str, Any] = {}
        for owner, kind in owners.items():
            values |= from_text(kind, sorted_[owner])
        loaded.configure(**values)
        return loaded


SourceOptions = Annotated[Source, Parameter(name="*")]


def unique(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that repeat."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return result
