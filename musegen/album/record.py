"""What a folder of samples holds and how it was made: ``album.json``, from which the page is written."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from musegen.contracts.figure import Figure
from musegen.errors import BadInput
from musegen.files import FORMAT, content_of
from musegen.limits import RECORD_CAP_BYTES

__all__ = ["RECORD", "Album", "Sample", "added", "address", "encoded", "file_of", "read", "remaining"]

RECORD = "album.json"
EMBEDDED = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/]*={0,2}")


def address(name: str) -> str:
    """The name of a file as a page beside it links to it; a name may hold any character, and bytes that are no text."""
    return quote(os.fsencode(name), safe="")


def file_of(address: str) -> str:
    """The name of the file at an address."""
    return os.fsdecode(unquote_to_bytes(address))


@dataclass(frozen=True)
class Sample:
    """One piece in a folder.

    Args:
        name: of its files without suffixes, for people.
        files: their addresses, see ``address``.
        sound: the one of them that can be heard; empty: none.
        picture: the one of them that can be seen, or a picture itself, as a data URI; empty: none, or ``figure``.
        figure: how it looks.
        command: that made it, as it was typed.
        seed: of its draws, if it was drawn.
        seconds: of its sound, if there is any.

    Raises:
        BadInput: a file would be in another folder, or a picture is neither.

    >>> from musegen.album.record import Sample, address, file_of
    >>> Sample("fifty-fifty", [address("50/50.mid".replace("/", " & "))]).files
    ['50%20%26%2050.mid']
    >>> file_of("50%20%26%2050.mid")
    '50 & 50.mid'
    """

    name: str
    files: Sequence[str]
    sound: str = ""
    picture: str = ""
    figure: Figure | None = None
    command: str = ""
    seed: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for file in self.files:
            name = file_of(file)
            if address(name) != file or name in ("", ".", "..") or "/" in name or "\0" in name:
                raise BadInput(f"{file} is no file beside the page: a sample's files are in its own folder.")
        if self.sound not in ("", *self.files):
            raise BadInput(f"{self.sound} is no file of the sample {self.name}: name one of them.")
        if self.picture not in ("", *self.files) and not EMBEDDED.fullmatch(self.picture):
            raise BadInput(f"The picture of the sample {self.name} is invalid: name one of its files.")
        if self.seconds is not None and not 0 <= self.seconds < 1e9:
            raise BadInput(f"The sample {self.name} cannot last {self.seconds} seconds.")


@dataclass(frozen=True)
class Album:
    """The samples of a folder.

    Args:
        title: of the page.
        samples: in the order of the page.
        more: samples in the folder for which the page has no room.
        kind: ``folder``: what commands wrote, one after the other; ``album``: what ``musegen album`` chose.
        format: of the record.
    """

    title: str
    samples: Sequence[Sample]
    more: int = 0
    kind: Literal["folder", "album"] = "folder"
    format: int = FORMAT


def read(folder: Path) -> Album | None:
    """The record of a folder; None if there is none, or if it is no such record."""
    from pydantic import TypeAdapter, ValidationError

    try:
        found = json.loads(content_of(folder / RECORD, RECORD_CAP_BYTES))
        album: Album = TypeAdapter(Album).validate_python(found)
    except (OSError, BadInput, ValueError, RecursionError, ValidationError):
        return None
    return album if album.format == FORMAT else None


def added(folder: Path, title: str, new: Sequence[Sample]) -> Album:
    """What a folder holds once samples were written there: these first, then those that were there and still are."""
    old = read(folder)
    if old is None:
        return Album(title, new)
    written = {file for sample in new for file in sample.files}
    return dataclasses.replace(old, samples=[*new, *remaining(old.samples, folder, written)])


def remaining(samples: Sequence[Sample], folder: Path, written: Collection[str] = ()) -> list[Sample]:
    """Samples whose files are there and were not replaced; those that lack some do without."""
    remaining = []
    for sample in samples:
        files = [file for file in sample.files if file not in written and (folder / file_of(file)).is_file()]
        if files:
            gone = {*sample.files} - {*files}
            sound, picture = ("" if file in gone else file for file in (sample.sound, sample.picture))
            remaining.append(dataclasses.replace(sample, files=files, sound=sound, picture=picture))
    return remaining


def encoded(album: Album) -> tuple[Album, bytes]:
    """A record as the content of its file, and what is in it: of very many samples the first, so that it can be read again."""
    content = json.dumps(dataclasses.asdict(album), indent=1, allow_nan=False).encode("ascii")
    if len(content) <= RECORD_CAP_BYTES:
        return album, content
    half = len(album.samples) // 2
    more = album.more + len(album.samples) - half
    return encoded(dataclasses.replace(album, samples=album.samples[:half], more=more))
