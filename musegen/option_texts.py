"""Options as they are written on a command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_origin, get_type_hints

from musegen.errors import BadInput, shown
from musegen.options import NotRead, kinds_of, mapping_of, read_yaml

__all__ = ["from_text", "parse_assignments"]


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """``["latent_dim=8", "widths=[400, 400]"]`` → values, read as YAML.

    Raises:
        BadInput: an assignment without ``=``, or a value that is no YAML.
    """
    values = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise BadInput(f'"--set {assignment}" is not of the form key=value.')
        try:
            values[name.strip().replace("-", "_")] = read_yaml(text)
        except NotRead as error:
            raise BadInput(
                f'The value of "--set {shown(assignment)}" cannot be read: it {error.reason}; put quotes around text.'
            ) from None
    return values


def from_text(config_class: type, texts: Mapping[str, str]) -> dict[str, Any]:
    """Options as they are written on a command line → values to be checked by ``validate``.

    Where an option takes a mapping, ``Piano=5,Bass=33`` is one; where it takes a list, so is ``1,2,4``. YAML in brackets
    works for both.

    Raises:
        BadInput: a text that is neither.
    """
    hints, values = get_type_hints(config_class), dict[str, Any](texts)
    for name, text in texts.items():
        kinds = kinds_of(hints[name]) if name in hints else set()
        if kinds & {list, dict} and text.startswith(("[", "{")):
            try:
                values[name] = read_yaml(text)
            except NotRead as error:
                option = f"--{name.replace('_', '-')}"
                raise BadInput(
                    f'The value of {option} cannot be read, as it {error.reason}: "{shown(text)}".'
                ) from None
        elif dict in kinds and ("=" in text or get_origin(hints[name]) is dict):
            if (pairs := mapping_of(text)) is None:
                raise BadInput(f'--{name.replace("_", "-")} "{text}" is invalid: write it like Piano=5,Bass=33.')
            values[name] = pairs
        elif list in kinds and "," in text:
            values[name] = [part.strip() for part in text.split(",")]
    return values
