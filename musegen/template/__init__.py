"""A plugin to begin with: a package with a domain that works, written under a name of one's own.

The files beside this module are the package; ``$name`` and ``$title`` in their texts and names are replaced.
"""

from __future__ import annotations

import keyword
import re
import shutil
from pathlib import Path
from string import Template

from musegen.errors import BadInput, because_of
from musegen.files import temporary_path
from musegen.plugins import registry

__all__ = ["write_plugin"]

_PACKAGE = Path(__file__).parent / "package"
_SUFFIX = ".in"
"""Templates are no Python until they have a name, so no tool takes them for it."""


def write_plugin(name: str, folder: Path) -> list[Path]:
    """Write the package of a new domain.

    Args:
        name: of the domain; its package is ``musegen_NAME``.
        folder: to create.

    Returns:
        The files written.

    Raises:
        BadInput: the name is invalid or taken, or the folder exists or cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise BadInput(
            f'"{name}" cannot be a domain\'s name: use lower-case letters, digits and underscores, as in "curves".'
        )
    if name in registry().domains:
        raise BadInput(f'There is a domain "{name}" already: choose another name.')
    if folder.exists():
        raise BadInput(f"{folder} exists: choose another with out=FOLDER.")
    words = {"name": name, "title": "".join(word.capitalize() for word in name.split("_"))}
    written, temporary = [], temporary_path(folder)
    try:
        for source in sorted(_PACKAGE.rglob(f"*{_SUFFIX}")):
            path = temporary / Template(str(source.relative_to(_PACKAGE))).substitute(words).removesuffix(_SUFFIX)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(source.read_text("utf-8")).substitute(words), "utf-8")
            written.append(folder / path.relative_to(temporary))
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise because_of(error, f"{folder} cannot be written: {error.strerror}.") from None
    return written
