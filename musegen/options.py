"""Options: dataclass fields with a meaning and bounds. Every part of musegen declares its own, and this module checks them all.

The same names work on the command line, in a YAML file, in Python and in the ``config.yaml`` of a run folder. Declaring an option
needs the standard library alone; pydantic, which checks values, is imported when there is something to check.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from musegen.errors import BadInput, did_you_mean, shown
from musegen.files import at_home, read_file, user_path
from musegen.limits import CONFIG_CAP_BYTES, CONFIG_CAP_VALUES, VALUE_CHARACTERS

__all__ = [
    "NoOptions",
    "NotRead",
    "describe",
    "flat_options",
    "kinds_of",
    "load_yaml",
    "mapping_of",
    "option",
    "read_yaml",
    "split_options",
    "validate",
]


def option(
    default: Any,
    meaning: str,
    *,
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    unit: str | None = None,
    of_data: bool = False,
) -> Any:
    """A dataclass field with a meaning, bounds and a unit.

    Args:
        default: the default; a list or a dict is copied for every instance.
        meaning: one sentence for ``--help``.
        gt, ge, lt, le: bounds; pydantic checks them.
        unit: shown behind the meaning.
        of_data: it is found in the data where nobody sets it; so a run that begins with another model's weights finds its own.

    >>> from dataclasses import dataclass
    >>> from musegen.options import describe, option
    >>> @dataclass(frozen=True)
    ... class Config:
    ...     seconds: float = option(1.0, "length of a clip", gt=0, unit="s")
    >>> describe(Config)
    [{'option': 'seconds', 'type': 'float', 'default': '1.0', 'meaning': 'length of a clip [s]'}]
    """
    bounds = {name: bound for name, bound in (("gt", gt), ("ge", ge), ("lt", lt), ("le", le)) if bound is not None}
    metadata = {"meaning": meaning, "bounds": bounds, "unit": unit, "of_data": of_data}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of what has none."""


def validate(config_class: type[T], values: Mapping[str, Any], what: str) -> T:
    """An instance of a dataclass of ``option`` fields from what a user wrote.

    Args:
        config_class: the dataclass.
        values: by field name; strings are converted where the type asks for it, as ``1,2`` is where it asks for a list and
            ``a=1,b=2`` where it asks for a mapping, and those that are paths in somebody's home, ``~/music``, are written in full.
        what: whose options these are, for messages: ``the family "vae"``.

    Raises:
        BadInput: an unknown option, a wrong type or a value out of bounds, in one sentence.

    >>> from musegen.families.vae import VAEConfig
    >>> from musegen.options import validate
    >>> validate(VAEConfig, {"latent_dim": "8"}, 'the family "vae"').latent_dim
    8
    >>> validate(VAEConfig, {"latent_dims": 8}, 'the family "vae"')
    Traceback (most recent call last):
    musegen.errors.BadInput: The family "vae" has no option "latent_dims". Did you mean "latent_dim"?
    """
    import pydantic

    fields = {f.name: f for f in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise BadInput(f'{what[0].upper()}{what[1:]} has no option "{shown(name)}".{did_you_mean(name, fields)}')
    model = _checking(config_class)  # type: ignore[arg-type]
    hints = get_type_hints(config_class)

    def as_meant(name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if get_origin(hints[name]) is list:
            return [part.strip() for part in value.split(",")] if value else []
        if dict in kinds_of(hints[name]) and (pairs := mapping_of(value)) is not None:
            return pairs
        return at_home(value)

    try:
        checked = model(**{name: as_meant(name, v) for name, v in values.items()})
    except pydantic.ValidationError as error:
        # Of the types that an option may have, the one that the value is nearest to says what is wrong with it.
        first = max(error.errors(), key=lambda found: len(found["loc"]))
        name = str(first["loc"][0])
        raise BadInput(
            f"{name}={shown(values[name])} is invalid for {what}: {first['msg'][0].lower()}{first['msg'][1:]}. "
            f"Its meaning: {fields[name].metadata.get('meaning', '')}."
        ) from None
    return config_class(**{name: getattr(checked, name) for name in values})


@functools.cache  # building it takes longer than all that it ever checks
def _checking(config_class: type) -> Any:
    """The pydantic model of a dataclass of ``option`` fields."""
    import pydantic

    hints = get_type_hints(config_class)
    definitions: dict[str, Any] = {
        f.name: (_bounded(hints[f.name], f.metadata.get("bounds", {})), None) for f in dataclasses.fields(config_class)
    }
    return pydantic.create_model(
        config_class.__name__,
        __config__=pydantic.ConfigDict(allow_inf_nan=False, protected_namespaces=()),
        **definitions,
    )


def _bounded(hint: Any, bounds: Mapping[str, Any]) -> Any:
    """A type with bounds for pydantic; of a union, those of each number in it."""
    import pydantic

    kinds = get_args(hint)
    if not bounds or hint is type(None):
        return hint
    if get_origin(hint) is dict:
        return dict[kinds[0], _bounded(kinds[1], bounds)]  # type: ignore[valid-type, misc]
    if dict in kinds_of(hint):
        return functools.reduce(operator.or_, (_bounded(kind, bounds) for kind in kinds))
    return Annotated[hint, pydantic.Field(**bounds)]


def kinds_of(hint: Any) -> set[Any]:
    """The types that an option may have, without what is in them: those of a union, or the one."""
    return {get_origin(kind) or kind for kind in (hint, *get_args(hint))}


def mapping_of(text: str) -> dict[str, str] | None:
    """``Piano=5,Bass=33`` as a mapping; None where a text is none."""
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(key.strip() and equals and value.strip() for key, equals, value in pairs):
        return None
    return {key.strip(): value.strip() for key, _, value in pairs}


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
    kinds = get_args(hint)
    match get_origin(hint):
        case None:
            return getattr(hint, "__name__", str(hint))
        case choices if choices is Literal:
            return " | ".join(map(str, kinds))
        case sequence if sequence is list:
            return f"list of {_type_name(kinds[0])}"
        case mapping if mapping is dict:
            return f"name={_type_name(kinds[1])}"
        case _:  # a union
            return " | ".join(_type_name(kind) for kind in kinds if kind is not type(None))


def split_options(values: Mapping[str, Any], owners: Mapping[str, type], whose: str = "") -> dict[str, dict[str, Any]]:
    """Sort flat options by who owns them.

    Args:
        values: by name, as the user wrote them. An option that family and domain both have is meant for both, unless its owner
            stands before it: ``domain.channels``.
        owners: config class by owner, e.g. ``{"run": RunConfig, "family": VAEConfig, "domain": …}``.
        whose: for messages, who lacks an option: ``The model``.

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
            lacking = f'{whose} has no option "{shown(name)}"' if whose else f'There is no option "{shown(name)}"'
            raise BadInput(f"{lacking}.{did_you_mean(option, set().union(*names.values()))}")
        for owner in owning:
            sorted_[owner][option] = values[name]
    return sorted_


def flat_options(owners: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of ``split_options``: options by plain name, in plain types, as ``config.yaml`` has them.

    Args:
        owners: an instance of each set of options, by owner. What two of them set differently is there once for each, with
            its owner before its name.
    """
    own = {
        owner: {f.name: _plain(getattr(kept, f.name)) for f in dataclasses.fields(kept)}
        for owner, kept in owners.items()
    }
    merged = {name: value for options in own.values() for name, value in options.items()}
    differ = {name for options in own.values() for name, value in options.items() if merged[name] != value}
    return {f"{o}.{name}" if name in differ else name: v for o, options in own.items() for name, v in options.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


class NotRead(Exception):
    """A text is no YAML, or stands for too much.

    Args:
        reason: the end of a sentence.
        line: from 1 on; 0: unknown.
    """

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


def read_yaml(text: str) -> Any:
    """What a YAML text says, in plain types.

    Raises:
        NotRead: it is none, or stands for more than ``CONFIG_CAP_VALUES`` values.
    """
    import yaml

    invalid = "is no valid YAML"
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise NotRead(invalid, error.problem_mark.line + 1 if error.problem_mark else 0) from None
    # The 99th month, a number of thousands of digits, brackets within brackets.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        raise NotRead(invalid) from None


def _count(node: Any, known: dict[int, int]) -> int:
    """Values that a YAML node stands for, each as often as it is referred to.

    Args:
        known: of nodes that were counted, by their ``id``; 0 for those that are being counted.
    """
    if id(node) in known:
        if not known[id(node)]:
            raise NotRead("has a value that contains itself")
        return known[id(node)]
    known[id(node)] = 0
    n = 1
    if node.tag.endswith(":int") and len(node.value) > VALUE_CHARACTERS:
        raise NotRead(f"has a number of {len(node.value):,} digits", node.start_mark.line + 1)
    if isinstance(node.value, list):
        for child in node.value:
            n += sum(_count(part, known) for part in (child if isinstance(child, tuple) else (child,)))
            if n > CONFIG_CAP_VALUES:
                raise NotRead(f"stands for more than {CONFIG_CAP_VALUES:,} values")
    known[id(node)] = n
    return n


def load_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        BadInput: it does not exist, cannot be read, or holds something else.
    """
    path = user_path(path)
    try:
        values = read_yaml(read_file(path, CONFIG_CAP_BYTES).decode("utf-8"))
    except UnicodeDecodeError:
        raise BadInput(f"The file {path} cannot be read: it is not text.") from None
    except NotRead as error:
        line = f", line {error.line}" if error.line else ""
        raise BadInput(f"The file {path}{line} {error.reason}.") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise BadInput(f"The file {path} must hold lines of the form option: value.")
    return values
