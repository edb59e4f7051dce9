"""Files and folders that appear whole or not at all, and the version of their format."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import time
from pathlib import Path

from musegen.errors import BadInput, because_of

__all__ = [
    "FORMAT",
    "at_home",
    "check_format",
    "content_of",
    "read_file",
    "regular",
    "remove_leftovers",
    "sync_folder",
    "temporary_path",
    "user_path",
    "write_atomically",
    "write_file",
]

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
"""How a file is opened that nobody else may have made."""
LONGEST = 60
"""Characters of a name that a temporary name repeats: no name may have more than 255 bytes."""
LEFT_S = 3600
"""Seconds after which what is half-written is nobody's any more."""
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


def regular(path: str | Path) -> int:
    """Open a regular file for reading: a descriptor. What has no end, a pipe or a device, is refused without waiting for it.

    Raises:
        OSError: it cannot be opened, or is none; ``strerror`` says why.
    """
    # Opened so, a pipe is open at once, though nobody writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))


def content_of(path: str | Path, most: int) -> bytes:
    """What is in a regular file.

    Args:
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger; ``strerror`` says why.
    """
    with open(regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = (
            b"" if size > most else file.read(size + 1)
        )  # no more than that: room is made for all that is asked for
    if max(size, len(content)) > most:
        raise OSError(errno.EOVERFLOW, f"it has more than {most:,} bytes", os.fspath(path))
    return content


def read_file(path: str | Path, most: int) -> bytes:
    """What is in a file that a user named.

    Args:
        most: bytes that it may have.

    Raises:
        BadInput: it cannot be read, is no regular file, or is larger.
    """
    path = user_path(path)
    try:
        return content_of(path, most)
    except OSError as error:
        raise because_of(error, f"The file {path} cannot be read: {error.strerror}.") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it to disk, and rename it into place.

    Nobody can guess the temporary name, and nothing that has it is written to. What a killed process left of the same file is
    removed once it is too old to be anybody's.
    """
    remove_leftovers(path.parent, path.name, LEFT_S)
    temporary = temporary_path(path)
    descriptor = os.open(temporary, NEW, 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def temporary_path(path: Path) -> Path:
    """A name beside a file or folder for what will be it: ``.NAME.0123456789abcdef.tmp``, each time another."""
    return path.with_name(f".{path.name[:LONGEST]}.{os.urandom(8).hex()}.tmp")


def remove_leftovers(folder: Path, name: str = "", older_than_s: float = 0) -> None:
    """Remove what killed processes left half-written in a folder under names of ``temporary_path``.

    Args:
        name: of the file or folder that it would have been; empty: any.
        older_than_s: only what was written to last so many seconds ago.
    """
    wanted = re.compile(rf"\.{re.escape(name[:LONGEST]) or '.+'}\.[0-9a-f]{{16}}\.tmp")
    with contextlib.suppress(OSError):  # whatever cannot be removed harms nobody
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if wanted.fullmatch(entry.name)]
        for entry in found:
            if time.time() - entry.stat(follow_symlinks=False).st_mtime < older_than_s:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)


def write_file(path: str | Path, content: bytes) -> Path:
    """``write_atomically`` for a file that a user named; returns its path.

    Raises:
        BadInput: the place cannot be written to.
    """
    path = user_path(path)
    if not path.name or path.is_dir():
        raise BadInput(f"{path} is a folder: name a file.")
    try:
        write_atomically(path, content)
    except OSError as error:
        raise because_of(error, f"{path} cannot be written: {error.strerror}.") from None
    return path


def sync_folder(folder: Path) -> None:
    """Have the disk know which files are in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
