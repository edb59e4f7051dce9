"""The folder that a command writes pieces to, and the page in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from musegen.cli.options import Flag
from musegen.cli.output import save_picture
from musegen.cli.typed import typed
from musegen.errors import BadInput
from musegen.folders import Claim
from musegen.reporting import plain

if TYPE_CHECKING:
    from musegen.contracts.piece import Piece, Writer

__all__ = ["Folder", "FolderOptions"]

PICTURE = "picture"
"""Name of the picture of all pieces."""


@dataclass
class Folder:
    """Where pieces go, and as what."""

    out: Annotated[Path, Parameter(help="Folder to write to.")] = Path("out")
    audio: Annotated[
        Literal["wav", "flac", "ogg", "mp3", "none"],
        Parameter(help="Format of the sound files, for domains with sound."),
    ] = "wav"
    overwrite: Annotated[Flag, Parameter(help="Replace files of the same names.")] = False

    def check(self, names: Sequence[str]) -> None:
        """Refuse, before any work is done, what could not be written.

        Raises:
            BadInput: something there would be replaced, or the folder cannot be made.
        """
        taken = [path for name in [*names, PICTURE] for path in sorted(self.out.glob(f"{name}.*"))]
        from musegen.album import record
        from musegen.album.making import PAGE

        if record.read(self.out) is None:  # neither is ours
            taken += [path for path in (self.out / PAGE, self.out / record.RECORD) if path.exists()]
        if taken and not self.overwrite:
            raise BadInput(f"{taken[0]} exists: choose another --out, or add --overwrite.")
        place = next(p for p in (self.out.absolute(), *self.out.absolute().parents) if p.exists())
        if not place.is_dir():
            raise BadInput(f"The folder {self.out} cannot be written: {place} is a file. Choose another --out.")
        if not os.access(place, os.W_OK):
            raise BadInput(f"The folder {self.out} cannot be written: permission denied. Choose another --out.")

    def write(
        self,
        writer: Writer,
        pieces: Sequence[Piece],
        names: Sequence[str],
        *,
        shown: Sequence[Piece] | None = None,
        seed: int | None = None,
    ) -> None:
        """Native files, sound, a picture of the pieces or of those that are to be shown instead, and the folder's page; prints
        their paths.

        The page has all samples of the folder, also those that other commands wrote there: it is for listening, and what can be
        heard there should be in it.

        Args:
            seed: of the draws, if they are drawn.

        Raises:
            BadInput: the folder cannot be written, or files of these names have appeared meanwhile.
        """
        # Two commands may write to one folder at once: each writes its files together, and leaves alone what has appeared.
        with Claim(self.out, f"The folder {self.out}", wait=True):
            self.check(names)
            self._write(writer, pieces, names, shown, seed)

    def _write(
        self,
        writer: Writer,
        pieces: Sequence[Piece],
        names: Sequence[str],
        shown: Sequence[Piece] | None,
        seed: int | None,
    ) -> None:
        from musegen.album import making, record

        audio = None if self.audio == "none" else self.audio
        samples, paths = making.saved(pieces, self.out, names, audio, typed(), seed)
        for path in paths:
            print(plain(str(path)))
        save_picture(writer.sheet(pieces if shown is None else shown), self.out / f"{PICTURE}.png")
        page = making.write(self.out, record.added(self.out, plain(self.out.name) or "Samples", samples))
        print(plain(str(page)))


FolderOptions = Annotated[Folder, Parameter(name="*")]
