"""From pieces and their files to samples of an album, and the files of an album in its folder."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from musegen.album.page import page
from musegen.album.record import RECORD, Album, Sample, address, encoded
from musegen.contracts.piece import save
from musegen.files import write_file
from musegen.reporting import each, plain
from musegen.sound.files import FORMATS, write_sound

if TYPE_CHECKING:
    from PIL.Image import Image

    from musegen.contracts.piece import Piece

__all__ = ["PAGE", "embedded", "sample_of", "saved", "write"]

PAGE = "index.html"
SIDE_PX = 256
"""Of an embedded picture at most: a page is small. The folder's ``picture.png`` has them larger."""
SEEN = (".png", ".jpg", ".jpeg", ".gif", ".webp")
"""Files that a browser shows."""


def sample_of(
    piece: Piece,
    name: str,
    files: Sequence[Path],
    command: str = "",
    seed: int | None = None,
    seconds: float | None = None,
) -> Sample:
    """A piece that was written, as one sample of its folder.

    Args:
        name: of its files, without suffixes.
        files: that were written of it.
        command, seed, seconds: as of ``Sample``.
    """
    addresses = [address(path.name) for path in files]
    by_suffix = {path.suffix.lower(): file for path, file in zip(files, addresses, strict=True)}
    sound = next((by_suffix[f".{kind}"] for kind in FORMATS if f".{kind}" in by_suffix), "")
    picture = next((by_suffix[suffix] for suffix in SEEN if suffix in by_suffix), "")
    figure = piece.figure()
    if figure is None and not picture:
        picture = embedded(piece.picture())
    return Sample(plain(name), addresses, sound, picture, figure, plain(command), seed, seconds)


def saved(
    pieces: Sequence[Piece],
    folder: Path,
    names: Sequence[str],
    audio: str | None = None,
    command: str = "",
    seed: int | None = None,
) -> tuple[list[Sample], list[Path]]:
    """Pieces written into a folder, in their native format and as sound: samples of its page, and the paths.

    Args:
        names: of their files, without suffixes.
        audio: format of the sound, a key of ``FORMATS``; None: none is written.
        command, seed: as of ``Sample``.

    Raises:
        BadInput: the folder cannot be written to.
    """
    paths = save(pieces, folder, names)
    files = [[path] for path in paths]
    seconds: list[float | None] = [None] * len(pieces)
    for i, piece in enumerate(each(pieces, "Writing sound", "files") if audio else ()):
        path = folder / f"{names[i]}.{audio}"
        if (heard := piece.audio()) is not None:
            seconds[i] = heard[0].shape[-1] / heard[1]
            if path not in paths:  # of some domains this is the native format
                files[i].append(write_sound(path, *heard))
    columns = zip(pieces, names, files, seconds, strict=True)
    samples = [sample_of(piece, name, some, command, seed, s) for piece, name, some, s in columns]
    return samples, [*paths, *(path for some in files for path in some[1:])]


def embedded(picture: Image) -> str:
    """A small picture as a data URI: a PNG, or a JPEG where that is smaller."""
    small = picture.convert("RGB")
    small.thumbnail((SIDE_PX, SIDE_PX))
    found = []
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": 60})):
        content = io.BytesIO()
        small.save(content, kind, **options)
        found.append((len(content.getvalue()), kind, content.getvalue()))
    _, kind, smallest = min(found)
    return f"data:image/{kind};base64,{base64.b64encode(smallest).decode()}"


def write(folder: Path, album: Album) -> Path:
    """Write the record and the page of a folder; returns the path of the page.

    Raises:
        BadInput: the folder cannot be written to.
    """
    album, content = encoded(album)
    write_file(folder / RECORD, content)
    return write_file(folder / PAGE, page(album).encode())
