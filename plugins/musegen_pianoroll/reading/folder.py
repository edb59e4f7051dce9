"""The files of a folder that music is read from."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

from musegen.errors import BadInput
from musegen_pianoroll.reading.formats import SUFFIXES
from musegen_pianoroll.store.merge import name_order

__all__ = ["find_files", "unread_suffixes", "unread_summary"]

PASSED_OVER = {"@eaDir", "__MACOSX"}
"""Folders in which systems keep notes of their own about files, under the files' names."""
READ = "MIDI (.mid, .midi, .kar, .rmi, .smf), Lakh pianorolls (.npz), MuseGAN's arrays (.npz, .npy), MusicXML and ABC"


def find_files(folder: Path) -> tuple[Path, list[str]]:
    """All files below a folder that music is read from: what names are relative to, and the names, with "/", in their order.

    Hidden files and folders are passed over. A link to a folder is followed, but no folder is searched twice.

    Args:
        folder: a single file works too.

    Raises:
        BadInput: no such folder, or none in it.
    """
    if not folder.is_dir():
        if folder.is_file() and folder.suffix.lower() in SUFFIXES:
            return folder.parent, [folder.name]
        problem = "is no folder, no store, and no file of a kind that is read" if folder.exists() else "does not exist"
        raise BadInput(f"{folder} {problem}: give a store, or a folder or file of {READ}.")
    names = [name for name in _files(folder) if name.lower().endswith(SUFFIXES)]
    if not names:
        found = unread_summary(unread_suffixes(folder))
        raise BadInput(
            f"The folder {folder} holds no MIDI files and no others that are read: {READ}.{found and f' {found}.'}"
        )
    names.sort(key=name_order)
    return folder, names


def unread_suffixes(folder: Path) -> Counter[str]:
    """How many files below a folder are not read, by suffix in lower case; "" counts those without one.

    Args:
        folder: nothing is counted beside a single file.
    """
    if not folder.is_dir():
        return Counter()
    suffixes = (os.path.splitext(name)[1].lower() for name in _files(folder))
    return Counter(suffix for suffix in suffixes if suffix not in SUFFIXES)


def unread_summary(counts: Counter[str]) -> str:
    """What ``unread_suffixes`` counted, the most frequent first: "Not read: 3 .txt, 2 .pdf"; "" if there is nothing."""
    kinds = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "Not read: " + ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in kinds) if kinds else ""


def _files(folder: Path) -> Iterator[str]:
    """Names, relative to a folder, of all files below it that are not hidden.

    Linked folders come last, so that a folder within is known by its own name and not by a link's. Those without permission
    are passed over.
    """
    seen: set[tuple[int, int]] = set()
    inside, links = deque([""]), deque[str]()
    while inside or links:
        within = inside.popleft() if inside else links.popleft()
        try:
            state = os.stat(folder / within)
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            with os.scandir(folder / within) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            name = within + entry.name
            if entry.name.startswith("."):
                continue
            if not _is_folder(entry):
                yield name
            elif entry.name not in PASSED_OVER:
                (links if entry.is_symlink() else inside).append(f"{name}/")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False
