"""What can be asked of a studio: a class of options for each request, from which checks and the interface's description follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from musegen.options import option

__all__ = [
    "REQUESTS",
    "Accompany",
    "Continue",
    "Decode",
    "Edit",
    "Encode",
    "Generate",
    "Infill",
    "Open",
    "Regenerate",
    "Save",
    "Stem",
    "Work",
]

MOST, LONGEST = 16, 128
"""Pieces of one request, and bars of a piece: on two cores these take a minute."""
LONGEST_STEM_S = 60.0

Row = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class ByModel:
    """What every request to a model says."""

    model: str = option("", "name of a model of the studio")


@dataclass(frozen=True)
class Work(ByModel):
    """What every request for new pieces says."""

    n: int = option(1, "how many pieces", ge=1, le=MOST)
    seed: int = option(0, "the same seed gives the same pieces", ge=0, lt=2**63)
    options: dict[str, Any] = option({}, "options of the model, see GET /api/models/{name}")


@dataclass(frozen=True)
class Generate(Work):
    """New pieces."""

    bars: int | None = option(None, "length in bars, for music; as in training, if not given", ge=1, le=LONGEST)
    label: str | None = option(None, "a class, for models that take one")


@dataclass(frozen=True)
class Beside(Work):
    """What requests say that are about a piece."""

    piece: str = option("", "id of the piece")


@dataclass(frozen=True)
class Continue(Beside):
    """What follows a piece, which stays as it is."""

    bars: int = option(8, "how many bars to add", ge=1, le=LONGEST)
    label: str | None = option(None, "a class, for models that take one")


@dataclass(frozen=True)
class Accompany(Beside):
    """New tracks beside those of a piece."""

    tracks: list[str] | None = option(None, "the given tracks; all that have notes, if not given")
    replace: bool = option(False, "leave out the piece's own notes of the tracks that the model writes")


@dataclass(frozen=True)
class Infill(Beside):
    """Some tracks of some bars of a piece anew; the new notes stand on tracks of their own."""

    tracks: list[str] | None = option(None, "the tracks that are written anew; all, if not given")
    bars: str | None = option(None, "the first and the last bar, as 5-8, or one bar; all, if not given")
    label: str | None = option(None, "a class, for models that take one")


@dataclass(frozen=True)
class Regenerate(Infill):
    """The same for a piece that the model wrote; the new notes stand on the same tracks as the rest."""


@dataclass(frozen=True)
class Encode(ByModel):
    """The code of a piece, of a model that has codes."""

    piece: str = option("", "id of the piece")


@dataclass(frozen=True)
class Decode(ByModel):
    """The pieces of codes, of a model that has codes: a piece for each."""

    codes: list[list[float]] = option([], "as many numbers each as the model says")
    options: dict[str, Any] = option({}, "options of the model, see GET /api/models/{name}")


@dataclass(frozen=True)
class Edit:
    """A piece with other notes, as a new piece. A note is [voice, first tick, last tick, pitch, velocity], as in the score of the
    piece. A note that begins within another of its voice and pitch ends that one."""

    piece: str = option("", "id of the piece")
    remove: list[Row] = option([], "notes that the piece has")
    add: list[Row] = option([], "notes")


@dataclass(frozen=True)
class Stem:
    """The notes of one voice that begin from one time to before another."""

    voice: int = option(0, "its number in the score", ge=0)
    first: float = option(0.0, "seconds", ge=0)
    last: float = option(LONGEST_STEM_S, "seconds, at most a minute later")


@dataclass(frozen=True)
class Open:
    """A file, which is the body of the request, as a piece."""

    model: str = option("", "name of the model whose domain reads it")
    name: str = option("", "of the file, with its suffix")


@dataclass(frozen=True)
class Save:
    """Pieces into a new folder of the studio's own, with a page."""

    pieces: list[str] = option([], "ids of the pieces")
    folder: str = option("piece", "name of the folder; where there is one, a number is added")
    audio: Literal["wav", "flac", "ogg", "mp3"] | None = option("wav", "format of the sound; null: none")


REQUESTS: dict[str, type[ByModel]] = {
    "generate": Generate,
    "continue": Continue,
    "accompany": Accompany,
    "infill": Infill,
    "regenerate": Regenerate,
    "decode": Decode,
    "encode": Encode,
}
"""Requests that a model answers, by name."""
