"""The files of somebody's folder: those that a person put there, each once, through links as well.

Not looked at, and not counted: whatever begins with a dot, and what operating systems, archives and network drives leave behind
(``Thumbs.db``, ``__MACOSX``, ``@eaDir``). Everything else that is not read is left out with a reason.
"""

from __future__ import annotations

import os
import unicodedata
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from musegen.errors import BadInput

__all__ = ["UNREADABLE", "plain_name", "walk"]

NOBODYS = {
    "@eadir",
    "@tmp",
    "@recycle",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "__macosx",
    "__pycache__",
    "desktop.ini",
    "ehthumbs.db",
    "icon\r",
    "lost+found",
    "system volume information",
    "thumbs.db",
}
"""Names, in lower case, of what machines put into folders."""
UNREADABLE = "that cannot be opened"
"""A reason, as all of them: a number goes before it."""
BROKEN, DOUBLE, ABOVE, SPECIAL = (
    "linked to nothing",
    "linked to what is read already",
    "linked to a folder above",
    "not a regular file",
)


def plain_name(name: str) -> str:
    """A name in one Unicode form (NFC), in which names from macOS equal those from elsewhere; no name is invalid UTF-8 then."""
    return unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def walk(folder: Path, suffixes: Sequence[str]) -> tuple[list[Path], list[tuple[str, str]]]:
    """Files below a folder whose names end with one of ``suffixes`` (lower case), in the order of their names.

    Links to files and to folders are followed. What several links lead to is there once: by its own name if it lies below the
    folder, else by that of the first link. A link to a folder above the given one is not followed.

    Returns:
        the files; what was left out, with the reason, which for a file of another kind is its suffix.

    Raises:
        BadInput: the folder itself cannot be read.

    >>> from pathlib import Path
    >>> from musegen.walking import walk
    >>> Path("mine/.cache").mkdir(parents=True)
    >>> for name in ("b.png", "a.png", "notes.txt", ".cache/c.png"):
    ...     _ = Path("mine", name).write_bytes(b"")
    >>> files, left_out = walk(Path("mine"), (".png",))
    >>> [file.name for file in files], [(Path(path).name, reason) for path, reason in left_out]
    (['a.png', 'b.png'], [('notes.txt', '.txt')])
    """
    if not os.access(folder, os.R_OK | os.X_OK):
        raise BadInput(f"The folder {folder} cannot be read: permission denied.")
    found = _Found(folder, tuple(suffixes))
    found.enter(folder, os.path.realpath(folder))
    while found.links:  # after everything that lies here itself, which keeps its own name
        found.follow(found.links.popleft())
    found.files.sort(key=lambda path: [plain_name(part) for part in path.relative_to(folder).parts])
    return found.files, sorted(found.left_out)


class _Found:
    """What a walk has found so far."""

    def __init__(self, folder: Path, suffixes: tuple[str, ...]) -> None:
        self.root, self.suffixes = os.path.realpath(folder), suffixes
        self.files: list[Path] = []
        self.left_out: list[tuple[str, str]] = []
        self.links: deque[Path] = deque()
        self._seen: set[str] = set()

    def enter(self, folder: Path, real: str) -> None:
        """Everything in a folder and below it; ``real``: its path without links. Links wait."""
        waiting = [(folder, real)]
        while waiting:
            here, real = waiting.pop()
            if real in self._seen:
                continue
            self._seen.add(real)
            try:
                with os.scandir(here) as entries:
                    listed = list(entries)
            except OSError:
                self.left_out.append((str(here), UNREADABLE))
                continue
            for entry in listed:
                path = here / entry.name
                if entry.name.startswith(".") or entry.name.lower() in NOBODYS:
                    continue
                if entry.is_symlink():
                    self.links.append(path)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append((path, os.path.join(real, entry.name)))
                else:
                    self._take(path, os.path.join(real, entry.name), entry.is_file(follow_symlinks=False))
        self.links = deque(sorted(self.links))

    def follow(self, link: Path) -> None:
        real = os.path.realpath(link)
        if not os.path.exists(real):
            self.left_out.append((str(link), BROKEN))
        elif os.path.isdir(real) and (self.root + os.sep).startswith(real.rstrip(os.sep) + os.sep):
            self.left_out.append((str(link), ABOVE))
        elif real in self._seen:
            self.left_out.append((str(link), DOUBLE))
        elif os.path.isdir(real):
            self.enter(link, real)
        else:
            self._take(link, real, os.path.isfile(real))

    def _take(self, path: Path, real: str, regular: bool) -> None:
        if real in self._seen:  # through a link to it alone, before one to its folder
            self.left_out.append((str(path), DOUBLE))
            return
        self._seen.add(real)
        if not path.name.lower().endswith(self.suffixes):
            self.left_out.append((str(path), plain_name(path.suffix.lower()) or "without a suffix"))
        elif not regular:  # a pipe or a device: reading it may never end
            self.left_out.append((str(path), SPECIAL))
        else:
            self.files.append(path)
