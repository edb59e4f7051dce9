"""The Piece contract: one sample as a user holds it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from musegen.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from musegen.contracts.figure import Figure
    from musegen.contracts.score import Note, Score

__all__ = ["Joining", "Piece", "Sound", "Writer", "save", "tiled"]

Sound = tuple[Any, int]
"""A float array ``(channels, frames)`` in [−1, 1], and its rate in Hz."""

GAP_PX = 8
"""Between the pictures of pieces that are shown together."""


class Piece(ABC):
    """One sample: it saves itself, shows itself, and sounds if there is anything to hear.

    Attributes:
        suffix: of its native format, such as ``.png``.

    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from musegen.contracts.piece import Piece
    >>> from musegen.errors import BadInput
    >>> class Word(Piece):
    ...     suffix = ".txt"
    ...     def __init__(self, text):
    ...         self.text = text
    ...     def save(self, path):
    ...         if Path(path).suffix != self.suffix:
    ...             raise BadInput(f"{path} cannot be written: use the suffix .txt.")
    ...         Path(path).write_text(self.text)
    ...         return Path(path)
    ...     def picture(self):
    ...         return Image.new("L", (8 * len(self.text), 12))
    >>> Word("hello").save("word.txt").read_text()
    'hello'
    """

    suffix: ClassVar[str]

    @abstractmethod
    def save(self, path: str | Path) -> Path:
        """Write it in the format that the suffix names, whole or not at all; returns the path.

        Raises:
            BadInput: another suffix, or a place that cannot be written to.
        """

    @abstractmethod
    def picture(self) -> Image:
        """How it looks."""

    def audio(self) -> Sound | None:
        """Sound, a float array (channels, frames) in [−1, 1], and its rate in Hz; None if it is silent by nature."""
        return None

    def figure(self) -> Figure | None:
        """How it looks in a page, in layers that can be shown and hidden; None: its picture is shown there."""
        return None

    def score(self) -> Score | None:
        """Its notes one by one; None: it has none. What has some is edited by ``edited`` and heard in parts by ``stem``."""
        return None

    def edited(self, remove: Sequence[Note], add: Sequence[Note]) -> Piece:
        """The piece with other notes; all else stays as it is.

        Args:
            remove: notes of ``score``; their velocities do not matter.
            add: notes. One that begins within another of its voice and pitch ends that one, and one that begins with another
                takes its place.

        Raises:
            BadInput: the piece has no notes, or not these, or they cannot be.
        """
        raise BadInput("This piece has no notes that can be edited.")

    def stem(self, voice: int, first_s: float, last_s: float) -> tuple[Any, int]:
        """The sound of those notes of a voice that begin from one time to before another: as of ``audio``, as long as they ring,
        but at their own level, which may exceed 1. The sum over all voices and times is the sound of the piece.

        Raises:
            BadInput: there is no such voice.
        """
        raise BadInput("This piece has no voices that can be heard by themselves.")

    def _repr_html_(self) -> str:
        """What a notebook shows: picture and player."""
        from musegen.album.notebook import html_of

        return html_of([self])


class Writer(Protocol):
    """Turns samples into pieces. A domain is one; so is what puts a model's part beside a piece that was given."""

    def pieces(self, samples: Tensor) -> Sequence[Piece]:
        """Samples ``(n, *S)`` as n pieces."""
        ...

    def sheet(self, pieces: Sequence[Any], columns: int | None = None) -> Image:
        """Pieces in one picture, row by row."""
        ...


class Joining:
    """A writer that makes one piece of all samples, which follow each other; of pieces without a method ``then``, one of each.

    ``piece.then(*others)`` is the piece, and the others after it.

    Args:
        writer: makes pieces of single samples.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def pieces(self, samples: Tensor) -> Sequence[Piece]:
        pieces = self.writer.pieces(samples)
        then = getattr(pieces[0], "then", None)
        return pieces if then is None or len(pieces) == 1 else [then(*pieces[1:])]

    def sheet(self, pieces: Sequence[Any], columns: int | None = None) -> Image:
        return self.writer.sheet(pieces, columns)


def save(pieces: Sequence[Piece], folder: Path, names: Sequence[str]) -> list[Path]:
    """Write pieces in their native format, one file each, as ``folder/names[i].suffix``."""
    return [piece.save(folder / f"{name}{piece.suffix}") for piece, name in zip(pieces, names, strict=True)]


def tiled(pictures: Sequence[Image], columns: int) -> Image:
    """Pictures of one size in one picture, row by row."""
    from PIL import Image

    columns = min(columns, len(pictures))
    width, height = pictures[0].size
    size = (columns * (width + GAP_PX), -(-len(pictures) // columns) * (height + GAP_PX))
    sheet = Image.new("RGB", size, "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * (width + GAP_PX), i // columns * (height + GAP_PX)))
    return sheet
