"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from musegen.errors import BadInput

__all__ = ["write_atomically", "write_file"]


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
    _sync_folder(path.parent)


def write_file(path: str | Path, content: bytes) -> Path:
    """``write_atomically`` for a file that a user named; returns its path.

    Raises:
        BadInput: the place cannot be written to.
    """
    path = Path(path)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.") from None
    return path


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
