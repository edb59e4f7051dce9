"""Files and folders that appear whole or not at all, and the version of their format."""

from __future__ import annotations

import os
import re
from pathlib import Path

from musegen.errors import BadInput

__all__ = ["FORMAT", "at_home", "check_format", "sync_folder", "user_path", "write_atomically", "write_file"]

FORMAT = 1
"""Version of the formats of run folders, checkpoints and model files. A change that old code cannot read raises it."""


def check_format(version: object, where: object) -> None:
    """Refuse what another version of musegen wrote.

    Args:
        version: of the format, as found.
        where: in what, for the message.

    Raises:
        BadInput: it is not ``FORMAT``.
    """
    if version != FORMAT:
        raise BadInput(
            f"{where} was written in format {version}, and this musegen reads format {FORMAT}: "
            "use the version of musegen that wrote it, or train again."
        )


def at_home(text: str) -> str:
    """A text that is a path in somebody's home, ``~/music``, as that path in full; any other as it is."""
    return os.path.expanduser(text) if re.match(r"~[\w.-]*(/|$)", text) else text


def user_path(path: str | Path) -> Path:
    """A path as a user wrote it: ``~`` is the home folder."""
    return Path(at_home(os.fspath(path)))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it to disk, and rename it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_file(path: str | Path, content: bytes) -> Path:
    """``write_atomically`` for a file that a user named; returns its path.

    Raises:
        BadInput: the place cannot be written to.
    """
    path = user_path(path)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.") from None
    return path


def sync_folder(folder: Path) -> None:
    """Have the disk know which files are in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
