"""A plugin to begin with: a domain or a family that works, written under a name of one's own, as a package or as one file.

The files beside this module are templates; ``$name`` and ``$title`` in their texts and names are replaced.
"""

from __future__ import annotations

import keyword
import re
import shutil
from pathlib import Path
from string import Template
from typing import Literal

from musegen.errors import BadInput, because_of
from musegen.files import temporary_path, write_file
from musegen.plugins import registry

__all__ = ["Kind", "write_file_plugin", "write_plugin"]

Kind = Literal["domain", "family"]
_HERE = Path(__file__).parent
_SUFFIX = ".in"
"""Templates are no Python until they have a name, so no tool takes them for it."""
_HOOK = """

@hookimpl
def musegen_families() -> list[Offer]:
    return [Offer("$name", ${title}.title, lambda: ${title})]
"""


def write_plugin(name: str, folder: Path, kind: Kind = "domain") -> list[Path]:
    """Write the package of a new domain or family.

    Args:
        name: of the domain or family; its package is ``musegen_NAME``.
        folder: to create.

    Returns:
        The files written.

    Raises:
        BadInput: the name is invalid or taken, or the folder exists or cannot be written.
    """
    words = _words(name, kind)
    if folder.exists():
        raise BadInput(f"{folder} exists: choose another with out=FOLDER.")
    written, temporary = [], temporary_path(folder)
    try:
        for root in (_HERE / "common", _HERE / kind):
            for source in sorted(root.rglob(f"*{_SUFFIX}")):
                path = temporary / Template(str(source.relative_to(root))).substitute(words).removesuffix(_SUFFIX)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(_filled(source, words), "utf-8")
                written.append(folder / path.relative_to(temporary))
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise because_of(error, f"{folder} cannot be written: {error.strerror}.") from None
    return written


def write_file_plugin(name: str, path: Path, kind: Kind = "domain") -> Path:
    """Write a new domain or family as one file, for ``--plugin``.

    Raises:
        BadInput: the name is invalid or taken, or the file exists or cannot be written.
    """
    words = _words(name, kind)
    if path.exists():
        raise BadInput(f"{path} exists: choose another with out=FILE.")
    if kind == "domain":
        return write_file(path, _filled(_HERE / "one_file" / f"domain.py{_SUFFIX}", words).encode())
    parts = {
        "plugin_import": "from musegen.plugins import Offer, hookimpl\n",
        "plugin_api": '\nMUSEGEN_API = "1.0"\n',
        "plugin_hook": Template(_HOOK).substitute(words),
    }
    return write_file(path, _filled(_HERE / "family" / "musegen_$name" / f"family.py{_SUFFIX}", words | parts).encode())


def _words(name: str, kind: Kind) -> dict[str, str]:
    """What stands for what in templates.

    Raises:
        BadInput: the name is invalid or taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise BadInput(
            f'"{name}" cannot be a {kind}\'s name: use lower-case letters, digits and underscores, as in "curves".'
        )
    known = registry()
    if name in (known.domains if kind == "domain" else known.families):
        raise BadInput(f'There is a {kind} "{name}" already: choose another name.')
    title = "".join(word.capitalize() for word in name.split("_"))
    return {"name": name, "title": title, "plugin_import": "", "plugin_api": "", "plugin_hook": ""}


def _filled(source: Path, words: dict[str, str]) -> str:
    """A template's text, which ends with one line break."""
    return Template(source.read_text("utf-8")).substitute(words).rstrip("\n") + "\n"
