"""Messages name options as Python does, ``learning_rate=1e-4``; here they are named as they are typed: ``--learning-rate 1e-4``."""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from collections.abc import Iterator, Sequence

from musegen.cli.app import app

__all__ = ["as_typed"]

VALUE = r"""\[[^\]]*\]|\{[^}]*\}|"[^"]*"|'[^']*'|[^\s,;:()"']*[^\s,;:()"'.?]"""
ASSIGNED = re.compile(rf"(?<![^\s(])(?<!--set )([a-z][a-z0-9_.]*)=({VALUE})")
BARE = re.compile(r"""(?<![\w./='"-])([a-z]+(?:_[a-z]+)+)(?![\w/='"-]|\.\w)""")
"""A name that can be no word of a sentence, as it has an underscore."""
ANY = "[KEYWORD]"
"""How cyclopts names the options of a model, which a command does not know before it is run."""
ELSEWHERE = {"source": "data"}
"""Options that have another name in Python."""


def as_typed(text: str, arguments: Sequence[str]) -> str:
    """A message about a command: ``name=value`` as ``--name value`` if it is one of the command's own options, and as ``--set
    name=value`` if it is one of the family or the domain; ``batch_size`` alone as ``--batch-size``."""
    if "=" not in text and "_" not in text:
        return text
    flags = _flags(arguments)
    settable = set(_settable("Config", "Sampling", "Writing")) if "set" in flags else set()
    if ANY in flags:
        flags |= dict.fromkeys(_settable("Sampling", "Reading", "Writing"), False)

    def typed(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        flag = ELSEWHERE.get(name, name)
        if flag in flags:
            dashed = _flag(flag)
            return dashed if flags[flag] and value == "True" else f"{dashed} {value}"
        if name.rpartition(".")[2] in settable:
            return f"--set {_quoted(f'{name}={value}')}"
        return match[0]

    return BARE.sub(lambda match: _flag(match[1]) if match[1] in flags else match[0], ASSIGNED.sub(typed, text))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _quoted(word: str) -> str:
    """A word as a shell takes it."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def _flags(arguments: Sequence[str]) -> dict[str, bool]:
    """The options of a command by their names in Python, and whether each stands without a value."""
    try:
        _, apps, _ = app.parse_commands(list(arguments))
        found = apps[-1].assemble_argument_collection()
    except Exception:  # what the arguments are about is not known, and the message is about that
        return {}
    return {
        name.removeprefix("--").replace("-", "_"): argument.hint in (bool, bool | None)
        for argument in found
        for name in argument.names
        if name.startswith("--")
    }


def _settable(*owners: str) -> Iterator[str]:
    """Names of the options of all families and domains that this process has loaded: others have nothing to say.

    Args:
        owners: which sets of options.
    """
    for module, base in (("musegen.contracts.family", "Family"), ("musegen.contracts.domain", "Domain")):
        if module not in sys.modules:
            continue
        kinds = [getattr(sys.modules[module], base)]
        while kinds:
            kind = kinds.pop()
            kinds += kind.__subclasses__()
            for owner in owners:
                options = getattr(kind, owner, None)
                if dataclasses.is_dataclass(options):
                    yield from (field.name for field in dataclasses.fields(options))
