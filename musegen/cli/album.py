"""``musegen album``: chosen pieces of several folders in one."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from musegen.cli.app import MAKE, app
from musegen.cli.options import Flag
from musegen.errors import BadInput, because_of, did_you_mean
from musegen.folders import NewFolder
from musegen.reporting import plain

if TYPE_CHECKING:
    from musegen.album.record import Sample

NUMBER = re.compile(r"\d+ ")
"""What an album writes before the names of its pieces."""


@dataclass(frozen=True)
class Entry:
    """One of the samples of a folder.

    Args:
        name: for the next album, without the number that it has in this one.
    """

    folder: Path
    sample: Sample
    name: str


@app.command(group=MAKE)
def album(
    *folders: Annotated[Path, Parameter(help="Folders that commands wrote pieces to, or albums.")],
    out: Annotated[Path, Parameter(help="The album, a new folder.")],
    keep: Annotated[
        list[str],
        Parameter(
            negative="",
            help="A piece that goes into the album, as sample_003 or FOLDER/sample_003, and =TITLE behind it for another name; "
            "repeatable, in the order of the album. All, if none is named.",
        ),
    ] = [],  # noqa: B006
    title: Annotated[str | None, Parameter(help="Of the page.")] = None,
    overwrite: Annotated[Flag, Parameter(help="Replace an older album.")] = False,
) -> None:
    """Copy chosen pieces into a folder of their own, numbered and named, with one page for all."""
    from musegen.album import making, record

    if not folders:
        raise BadInput("There is nothing to put into the album: name folders that musegen wrote pieces to.")
    entries = [entry for folder in folders for entry in _entries(folder)]
    chosen = [_found(text, entries) for text in keep] if keep else entries
    if not chosen:
        raise BadInput(f"No files are left of the pieces in {folders[0]}: name other folders.")
    found = record.read(out)
    if overwrite and found is not None and found.kind != "album":
        raise BadInput(f"{out} is no album, and --overwrite would remove what is in it: choose another --out.")
    digits = max(2, len(str(len(chosen))))
    with NewFolder(out, record.RECORD, "album", overwrite) as new:
        samples = [_copied(entry, f"{i:0{digits}d} {entry.name}", new.temporary) for i, entry in enumerate(chosen, 1)]
        made = record.Album(plain(title or out.name) or "Album", samples, kind="album")
        making.write(new.temporary, made)
        new.commit()
    for sample in samples:
        for file in sample.files:
            print(plain(str(out / record.file_of(file))))
    print(plain(str(out / making.PAGE)))


def _entries(folder: Path) -> list[Entry]:
    """The samples of a folder that have files still.

    Raises:
        BadInput: there is no record of them.
    """
    from musegen.album import record

    found = record.read(folder)
    if found is None:
        raise BadInput(
            f"{folder} is no folder that musegen wrote pieces to, or its {record.RECORD} is damaged: name others, or let a "
            "command write there again."
        )
    samples = record.remaining(found.samples, folder)
    return [Entry(folder, s, NUMBER.sub("", s.name, 1) if found.kind == "album" else s.name) for s in samples]


def _found(text: str, entries: Sequence[Entry]) -> Entry:
    """The entry that a choice means, with the name that it shall have.

    Raises:
        BadInput: there is none, or there are several.
    """
    for wanted, name in _readings(text):
        same = [entry for entry in entries if wanted in (entry.sample.name, str(entry.folder / entry.sample.name))]
        if len(same) == 1:
            return dataclasses.replace(same[0], name=name or same[0].name)
        if same:
            raise BadInput(f"--keep {wanted} is in several folders: write {same[0].folder / wanted}.")
    names = {entry.sample.name for entry in entries}
    raise BadInput(f"--keep {text} is in none of the folders.{did_you_mean(text.partition('=')[0], names)}")


def _readings(text: str) -> Iterator[tuple[str, str]]:
    """What is chosen and how it shall be called: a name may hold a =, too."""
    yield text, ""
    wanted, equals, name = text.rpartition("=")
    if equals:
        if not name.strip() or "/" in name or "\0" in name:
            raise BadInput(f'--keep {text}: "{name}" cannot be the name of a file: choose another.')
        yield wanted, name.strip()


def _copied(entry: Entry, name: str, out: Path) -> Sample:
    """A sample whose files are copied under another name."""
    from musegen.album.record import address, file_of

    folder, sample, new = entry.folder, entry.sample, {}
    for file in sample.files:
        old = file_of(file)
        new[file] = f"{name}{Path(old).suffix}"
        try:
            shutil.copyfile(folder / old, out / new[file])
        except OSError as error:
            raise because_of(error, f"{folder / old} cannot be copied: {error.strerror}.") from None
    moved = {file: address(name) for file, name in new.items()}
    return dataclasses.replace(
        sample,
        name=plain(name),
        files=list(moved.values()),
        sound=moved.get(sample.sound, ""),
        picture=moved.get(sample.picture, sample.picture),
    )
