"""What a build has read so far, part by part, so that an interrupted one goes on where it was.

Files are read some at a time: a part. What a part holds, notes and what is known of each piece, lies in two files in the folder
``OUT.building`` under a name made of all that it depends on: the options, and the names, sizes and times of its files. So a changed
file costs its part, and other options find nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Part", "parts_of"]

PART_FILES = 32


@dataclass(frozen=True)
class Part:
    """Some files that are read together.

    Args:
        base: the folder of all files.
        names: of these, relative to it.
        at: where what they hold is kept: ``AT.json``, an entry per file, and ``AT.notes``.
    """

    base: Path
    names: Sequence[str]
    at: Path

    @property
    def files(self) -> list[str]:
        """Their paths."""
        return [os.path.join(self.base, name) for name in self.names]

    def entries(self) -> list[dict[str, Any]] | None:
        """What is kept of it; None if that is not there, or not whole."""
        try:
            entries = json.loads(Path(f"{self.at}.json").read_bytes())
            n_keys = sum(entry.get("n_keys", 0) for entry in entries)
            whole = len(entries) == len(self.names) and os.stat(f"{self.at}.notes").st_size == 8 * n_keys
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return None
        return entries if whole else None


def parts_of(base: Path, names: Sequence[str], options: Sequence[Any], folder: Path) -> list[Part]:
    """The parts of a build, in the order of their files.

    Args:
        options: that what is read depends on.
        folder: where it is kept.
    """
    known = json.dumps([*options, os.fspath(base.resolve())]).encode()
    some = [names[i : i + PART_FILES] for i in range(0, len(names), PART_FILES)]
    return [Part(base, part, folder / _part_name(base, part, known)) for part in some]


def _part_name(base: Path, names: Sequence[str], options: bytes) -> str:
    """Of all that a part depends on: options, and names, sizes and times of its files."""
    digest = hashlib.sha256(options)
    for name in names:
        try:
            state = os.stat(os.path.join(base, name))  # a Path for each would take longer than the rest
            size, changed = state.st_size, state.st_mtime_ns
        except OSError:  # gone, or a link to nowhere: reading it will say so
            size = changed = -1
        digest.update(os.fsencode(name) + struct.pack("<xqq", size, changed))
    return digest.hexdigest()[:32]
