"""The configuration of a run: one flat set of plain names, validated once, at the border.

Options belong to the run (``RunConfig``), to the family or to the domain (their ``Config``). The same names work on the
command line, in a YAML file, in Python and in the ``config.yaml`` of a run folder. pydantic does the checking; it is
imported only when there is something to check.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from musegen.errors import BadInput, did_you_mean
from musegen.options import option

__all__ = ["FORMAT", "RunConfig", "describe", "load_yaml", "parse_assignments", "split_options", "validate"]

FORMAT = 1
"""Version of the formats of run folders, checkpoints and model files. A change that old code cannot read raises it."""


@dataclass(frozen=True)
class RunConfig:
    """How to train, whatever the family and the domain."""

    steps: int = option(10_000, "training steps; one step is one pass through the family's algorithm", ge=1)
    batch_size: int = option(64, "examples per minibatch", ge=1)
    learning_rate: float | None = option(None, "Adam's learning rate for every player (default: the paper's)", gt=0)
    schedule: Literal["constant", "linear", "cosine"] = option(
        "constant", "course of the learning rate, to 0 at the last step"
    )
    lr_warmup_steps: int = option(0, "steps over which the learning rate rises from 0", ge=0)
    clip_norm: float | None = option(None, "largest gradient norm of a player; longer gradients are scaled down", gt=0)
    accumulate: int = option(1, "batches whose gradients are averaged into one step", ge=1)
    ema: float = option(
        0.0,
        "decay of the moving average of weights used for samples and validation; 0 turns it off",
        ge=0,
        lt=1,
    )
    seed: int = option(0, "seed of everything random", ge=0)
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    processes: int = option(
        1, "processes on this machine that share every batch; torchrun says it for more machines", ge=1
    )
    precision: Literal["float32", "bf16"] = option("float32", "bf16: autocast on a CUDA device")
    compile: Literal["none", "default", "reduce-overhead"] = option(
        "none",
        "compile the networks, which takes minutes at the start; reduce-overhead replays CUDA graphs, for networks so small that "
        "calls into the device take longer than what it computes",
    )
    device_memory: float | None = option(
        None,
        "data that take more than this are streamed to the device while it trains (default: half of a CUDA device's memory; "
        "no limit on a CPU)",
        gt=0,
        unit="GB",
    )
    minutes: float | None = option(None, "stop after this much training time", gt=0, unit="minutes")
    log_every: int = option(50, "steps between lines of metrics.jsonl", ge=1)
    validate_every: int = option(500, "steps between validations; 0 turns them off", ge=0)
    validate_examples: int = option(2000, "validation examples used each time, at most", ge=1)
    early_stop: int = option(0, "stop after this many validations without improvement; 0 never", ge=0)
    checkpoint_every: int = option(500, "steps between checkpoints; 0: only at the end", ge=0)
    sample_every: int = option(1000, "steps between samples written to the run folder; 0 turns them off", ge=0)
    samples: int = option(16, "samples written each time", ge=1)
    tensorboard: bool = option(False, "write TensorBoard files: scalars, pictures, sound")


T = TypeVar("T")


def validate(config_class: type[T], values: Mapping[str, Any], what: str) -> T:
    """An instance of a dataclass of ``option`` fields from what a user wrote.

    Args:
        config_class: the dataclass.
        values: by field name; strings are converted where the type asks for it.
        what: whose options these are, for messages: ``the family "vae"``.

    Raises:
        BadInput: an unknown option, a wrong type or a value out of bounds, in one sentence.
    """
    import pydantic

    fields = {f.name: f for f in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise BadInput(f'{what[0].upper()}{what[1:]} has no option "{name}".{did_you_mean(name, fields)}')
    hints = get_type_hints(config_class)
    definitions: dict[str, Any] = {
        name: (Annotated[hints[name], pydantic.Field(**f.metadata.get("bounds", {}))], None)
        for name, f in fields.items()
    }
    model = pydantic.create_model(
        config_class.__name__,
        __config__=pydantic.ConfigDict(allow_inf_nan=False, protected_namespaces=()),
        **definitions,
    )
    try:
        checked = model(**values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name, given = str(first["loc"][0]), first["input"]
        raise BadInput(
            f'Option "{name}" of {what}: {given!r} will not do ({first["msg"][0].lower()}{first["msg"][1:]}); '
            f"it means: {fields[name].metadata.get('meaning', '')}."
        ) from None
    return config_class(**{name: getattr(checked, name) for name in values})


def describe(config_class: type) -> list[dict[str, str]]:
    """One row per option (name, type, default, meaning) for ``--help`` and the documentation."""
    rows = []
    hints = get_type_hints(config_class)
    for f in dataclasses.fields(config_class):
        default = f.default if f.default is not dataclasses.MISSING else f.default_factory()  # type: ignore[operator]
        unit = f" [{f.metadata['unit']}]" if f.metadata.get("unit") else ""
        rows.append(
            {
                "option": f.name,
                "type": _type_name(hints[f.name]),
                "default": "" if default is None else str(default),
                "meaning": f.metadata.get("meaning", "") + unit,
            }
        )
    return rows


def _type_name(hint: Any) -> str:
    if getattr(hint, "__origin__", None) is Literal:
        return " | ".join(str(choice) for choice in get_args(hint))
    if get_args(hint) and type(None) in get_args(hint):
        return " | ".join(_type_name(arg) for arg in get_args(hint) if arg is not type(None))
    return getattr(hint, "__name__", str(hint)) if not get_args(hint) else str(hint).replace("typing.", "")


def split_options(values: Mapping[str, Any], owners: Mapping[str, type]) -> dict[str, dict[str, Any]]:
    """Sort flat options by who owns them.

    Args:
        values: by name, as the user wrote them. An option that family and domain both have is meant for both, unless its owner
            stands before it: ``domain.channels``.
        owners: config class by owner, e.g. ``{"run": RunConfig, "family": VAEConfig, "domain": …}``.

    Returns:
        Options by owner.

    Raises:
        BadInput: nobody has such an option.
    """
    names = {owner: {f.name for f in dataclasses.fields(config)} for owner, config in owners.items()}
    sorted_: dict[str, dict[str, Any]] = {owner: {} for owner in owners}
    for name in sorted(values, key=lambda name: "." in name):  # what is said of one owner counts more
        one, _, option = name.rpartition(".")
        owning = [owner for owner, known in names.items() if option in known and one in ("", owner)]
        if not owning:
            raise BadInput(f'There is no option "{name}".{did_you_mean(option, set().union(*names.values()))}')
        for owner in owning:
            sorted_[owner][option] = values[name]
    return sorted_


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """``["latent_dim=8", "widths=[400, 400]"]`` → values, read as YAML.

    Raises:
        BadInput: an assignment without ``=``, or a value that is no YAML.
    """
    import yaml

    values = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise BadInput(f'"--set {assignment}" is not of the form key=value.')
        try:
            values[name.strip().replace("-", "_")] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise BadInput(f'The value of "--set {assignment}" cannot be read; put quotes around text.') from None
    return values


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        BadInput: it does not exist, cannot be read, or holds something else.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BadInput(f"The file {path} cannot be read: {reason}.") from None
    except yaml.YAMLError as error:
        line = (
            f", line {error.problem_mark.line + 1}"
            if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark
            else ""
        )
        raise BadInput(f"The file {path}{line} is no valid YAML.") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise BadInput(f"The file {path} must hold lines of the form option: value.")
    return values
