"""Things in a Python file that a user names, ``FILE.py:NAME``. The file is run, and nothing else is looked for beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musegen.errors import BadInput, did_you_mean, shown
from musegen.files import content_of, user_path
from musegen.limits import SOURCE_CAP_BYTES
from musegen.plugins import files
from musegen.plugins.checks import one_line, quiet

__all__ = ["Named", "named"]


@dataclass(frozen=True)
class Named:
    """What a user named.

    Attributes:
        path, sha256: of its file.
        name: in the file.
        value: what has that name.
    """

    path: Path
    sha256: str
    name: str
    value: Any


def named(text: str, what: str) -> Named:
    """Run a file and return what is named in it; the file is remembered as one that this user has named.

    Args:
        text: ``FILE.py:NAME``.
        what: is named, for messages: ``decoder=``.

    Raises:
        BadInput: there is no such file or name in it, or the file fails.
    """
    file, colon, name = text.rpartition(":")
    if not (colon and file and name):
        raise BadInput(
            f'"{what}{shown(text)}" names nothing: write {what}FILE.py:NAME, such as {what}my_file.py:MyNetwork.'
        )
    path = user_path(file).absolute()
    try:
        source = content_of(path, SOURCE_CAP_BYTES)
    except OSError as error:
        raise BadInput(f"The file {file} cannot be read: {error.strerror or error}.") from None
    try:
        with quiet():
            module = files.run_once(path, source)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        line = files.line_of(error, path)
        where = f" (line {line})" if line else ""
        raise BadInput(f"The file {file} cannot be used: {one_line(error)}{where}; correct it.") from error
    if not hasattr(module, name):
        mine = [n for n, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise BadInput(f'The file {file} has nothing named "{shown(name)}".{did_you_mean(name, mine)}')
    sha256 = files.digest(source)
    files.remember(path, sha256)
    return Named(path, sha256, name, getattr(module, name))
