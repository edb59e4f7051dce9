"""Which plugins a run or a model file needs, as recorded beside it, and how they are found again.

What is recorded may come from a stranger. Nothing of it is run but a one-file plugin that a run folder names and that this
user has named himself before, with the very same content (``musegen.plugins.files``); a model file alone has nothing run.
"""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from musegen.errors import BadInput, MusegenWarning
from musegen.files import content_of
from musegen.limits import SOURCE_CAP_BYTES
from musegen.plugins import files
from musegen.plugins.discovery import ONLY, registry
from musegen.plugins.hooks import Refused
from musegen.plugins.points import OURS

__all__ = ["needs", "provide", "readable", "warn_once"]

USE = "add --plugin with its path (in Python: musegen.use_plugin)"
FIELDS = ("what", "name", "plugin", "distribution", "version", "api", "file", "sha256", "object")


def needs(family: str, domain: str) -> list[dict[str, str]]:
    """The plugins that a family and a domain come from, as JSON can hold them."""
    recorded = []
    for what, name in (("family", family), ("domain", domain)):
        found = registry().provider(what, name)
        if found is not None:
            origin = {name: getattr(found, name) for name in FIELDS[3:8]}
            recorded.append({"what": what, "name": name, "plugin": found.name, **origin})
    return recorded


def provide(recorded: Any, family: str, domain: str, where: str, run: bool) -> None:
    """See to it that what a run or a model file needs is there, as far as may be.

    Args:
        recorded: what ``needs`` returned when it was made; anything else is taken for nothing.
        where: for messages: ``The run runs/x``.
        run: it is a run folder and not a model file.

    Raises:
        BadInput: a plugin is missing, and what to do.
    """
    for need in readable(recorded):
        if need["object"] or (need["what"], need["name"]) not in (("family", family), ("domain", domain)):
            continue  # what was handed over as an object is nobody's plugin
        found = registry().provider(need["what"], need["name"])
        needed = f'{where} needs the {need["what"]} "{need["name"]}"'
        if found is not None:
            if found.file and need["sha256"] not in ("", found.sha256):
                warn_once(f"{where} was made with {Path(found.file).name} as it was then; it has changed since.")
            if found.distribution and need["distribution"] and found.distribution != need["distribution"]:
                warn_once(
                    f'{where} was made with the {need["what"]} "{need["name"]}" of {need["distribution"]}; '
                    f"the one in use is {found.distribution}'s."
                )
        elif need["file"] and run:
            _provide_file(need, needed)
        elif need["file"]:
            raise BadInput(f"{needed} of the plugin file {Path(need['file']).name}: {USE}.")
        else:
            raise BadInput(f"{needed} of {_missing(need)}")


def _provide_file(need: dict[str, str], needed: str) -> None:
    """Run the plugin file that a run folder names, if the user has run that very file before."""
    path, add = Path(need["file"]), f"--plugin {shlex.quote(need['file'])}"
    needed += f" of the plugin file {need['file']}"
    try:
        sha256 = files.digest(content_of(path, SOURCE_CAP_BYTES))
    except OSError:
        raise BadInput(f"{needed}, which cannot be read: restore it, or {USE}.") from None
    if sha256 != need["sha256"]:
        raise BadInput(f"{needed}, which has changed since: restore it, or add {add} to use it as it is now.")
    if not files.is_remembered(path, sha256):
        raise BadInput(
            f"{needed}, which you have not used here before: it is a program, so look at it, and add {add} if you trust it."
        )
    try:
        registry().add_file(path, sha256)
    except Refused as error:
        raise BadInput(f"{needed}, which cannot be used: {error}; {error.remedy or 'correct it'}.") from error


def _missing(need: dict[str, str]) -> str:
    """The end of the sentence about a plugin that is not there, and what to do."""
    from importlib.metadata import version

    who = f"{need['distribution']} {need['version']}".strip() or f'the plugin "{need["plugin"]}"'
    for found in registry().found:
        if (found.name, found.distribution) == (need["plugin"], need["distribution"]):
            if found.status == "OFF":
                return f"{who}, which {ONLY} leaves out: add {found.name} to it, or unset it."
            if found.status != "OK":
                return f"{who}, which is {found.status}: {found.problem}; {found.remedy}."
            return f"{who}, and {found.version} of it offers no such thing: install that version."
    if need["distribution"] == OURS:
        return f"{who}, and this is {version(OURS)}: update musegen."
    if not need["distribution"]:
        return f"{who}, which is not there: use it as when this was made."
    return f"{who}, which is not installed: if you trust it, pip install {need['distribution']}."


def readable(recorded: Any) -> Iterable[dict[str, str]]:
    """Entries that can be what ``needs`` returned: a name in them may end up in a message that says what to install."""
    for entry in recorded if isinstance(recorded, list) else ():
        if not isinstance(entry, dict):
            continue
        need = {name: entry.get(name, "") for name in FIELDS}
        plain = all(isinstance(text, str) and text.isprintable() and len(text) < 4096 for text in need.values())
        if plain and re.fullmatch(r"[A-Za-z0-9._-]{0,100}", need["distribution"]):
            need["version"] = need["version"] if re.fullmatch(r"[A-Za-z0-9.!+-]{1,50}", need["version"]) else ""
            yield need


@cache
def warn_once(text: str) -> None:
    """Say something that a user may know already, once per process."""
    warnings.warn(text, MusegenWarning, stacklevel=2)
