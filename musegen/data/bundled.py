"""The data and trained models that ship with musegen: where they are, and whether they are whole.

Each data set is a folder with its files, ``README.md`` (source, licence, how it was made) and ``SHA256SUMS``. The folder ``models``
holds model files ``NAME.safetensors``, which carry a checksum of their own, and beside each a card ``NAME.md``, whose first
paragraph says what the model makes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from musegen.errors import BadInput, did_you_mean

__all__ = ["bundled", "models", "shipped", "summary", "verify"]

_PACKAGE = Path(__file__).parents[1]
_CHECKSUMS = "SHA256SUMS"
_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<file>[^/\\]+)")  # as sha256sum writes it, without folders


def bundled(name: str) -> Path:
    """Return the folder of a data set that ships with musegen.

    Args:
        name: the folder's name: ``mnist``, ``freedoom``; in a source checkout also ``chorales``.

    Raises:
        BadInput: there is no such data set, neither in an installed package nor in a source checkout.
    """
    places = _places()
    for place in places:
        if (place / name / _CHECKSUMS).is_file():
            return place / name
    known = {found.parent.name for place in places for found in place.glob(f"*/{_CHECKSUMS}")}
    raise BadInput(
        f'No data set "{name}" ships with musegen (looked in {places[0]} and {places[1]}). Some are fetched: '
        "musegen data get --help." + did_you_mean(name, known)
    )


def _places() -> tuple[Path, Path]:
    """Where data may be. The installed place comes first: beside an installed package, `data` may be anybody's."""
    return _PACKAGE / "_data", _PACKAGE.parent / "data"


def models() -> dict[str, Path]:
    """The model files that ship with musegen, by name."""
    place = next((place for place in _places() if place.is_dir()), _PACKAGE)
    return {file.stem: file for file in sorted((place / "models").glob("*.safetensors"))}


def shipped(name: str) -> Path:
    """The model file of that name.

    Raises:
        BadInput: no such model ships with musegen.
    """
    known = models()
    if name not in known:
        raise BadInput(
            f"There is no model {name}: give a run folder, a model file, or the name of a model that ships with musegen."
            + did_you_mean(name, known)
        )
    return known[name]


def summary(model: Path) -> str:
    """The first paragraph of a model file's card, on one line; nothing where there is no card."""
    card = model.with_suffix(".md")
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    paragraphs = (" ".join(part.strip("# \n").split()) for part in re.split(r"\n\s*\n", text))
    return next(filter(None, paragraphs), "")


def verify(name: str) -> None:
    """Check every file of a data set that ships with musegen against its SHA-256.

    Args:
        name: as for ``bundled``.

    Raises:
        BadInput: there is no such data set, or a file of it, which the message names, is missing or damaged.
    """
    folder = bundled(name)
    for file, expected in _listed(folder / _CHECKSUMS):
        if not file.is_file():
            raise BadInput(f"{file} is missing: install musegen again.")
        with file.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != expected:
                raise BadInput(f"{file} is damaged, its SHA-256 is not {expected}: install musegen again.")


def _listed(checksums: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file that a list of checksums names, with its SHA-256."""
    lines = checksums.read_text(encoding="utf-8", errors="replace").splitlines()
    # An empty list would vouch for everything.
    for line in lines or [""]:
        match = _LINE.fullmatch(line)
        if match is None:
            raise BadInput(f"{checksums} is damaged: install musegen again.")
        yield checksums.parent / match["file"], match["digest"]
