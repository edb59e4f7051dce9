"""Options: dataclass fields with a meaning and bounds. Every part of musegen declares its own, and this module checks them all.

The same names work on the command line, in a YAML file, in Python and in the ``config.yaml`` of a run folder. Declaring an option
needs the standard library alone; pydantic, which checks values, is imported when there is something to check.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from musegen.errors import BadInput, did_you_mean

__all__ = ["describe", "load_yaml", "option", "parse_assignments", "split_options", "validate"]


def option(
    default: Any,
    meaning: str,
    *,
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    unit: str | None = None,
) -> Any:
    """A dataclass field with a meaning, bounds and a unit.

    Args:
        default: the default; a list or a dict is copied for every instance.
        meaning: one sentence for ``--help``.
        gt, ge, lt, le: bounds; pydantic checks them.
        unit: shown behind the meaning.
    """
    bounds = {name: bound for name, bound in (("gt", gt), ("ge", ge), ("lt", lt), ("le", le)) if bound is not None}
    metadata = {"meaning": meaning, "bounds": bounds, "unit": unit}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


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
    model = _checking(config_class)  # type: ignore[arg-type]
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


@functools.cache  # building it takes longer than all that it ever checks
def _checking(config_class: type) -> Any:
    """The pydantic model of a dataclass of ``option`` fields."""
    import pydantic

    hints = get_type_hints(config_class)
    definitions: dict[str, Any] = {
        f.name: (Annotated[hints[f.name], pydantic.Field(**f.metadata.get("bounds", {}))], None)
        for f in dataclasses.fields(config_class)
    }
    return pydantic.create_model(
        config_class.__name__,
        __config__=pydantic.ConfigDict(allow_inf_nan=False, protected_namespaces=()),
        **definitions,
    )


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
        except (yaml.YAMLError, RecursionError):  # the latter: brackets within brackets, thousands of them
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
    except (yaml.YAMLError, RecursionError) as error:
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
