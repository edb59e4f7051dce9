"""What a studio keeps while it runs: models in memory, and pieces in a folder of its own."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musegen.errors import BadInput, did_you_mean, shown
from musegen.options import describe
from musegen.studio.codes import sliders

if TYPE_CHECKING:
    from musegen.contracts.domain import Domain
    from musegen.contracts.family import Family
    from musegen.contracts.piece import Piece
    from musegen.models.model import Model

__all__ = ["Kept", "Models", "Pieces", "description", "file_name", "read"]


class Models:
    """Models by name, of which the last ones that were used stay in memory.

    Args:
        places: where each is, for ``load``. Nobody can name another: a client gives names, not paths.
        load: loads one.
        most: in memory.
    """

    def __init__(self, places: Mapping[str, str], load: Callable[[str], Model], most: int = 2) -> None:
        self.places, self._load, self.most = dict(places), load, most
        self._loaded: OrderedDict[str, Model] = OrderedDict()
        self._about: dict[str, dict[str, Any]] = {}  # as they were loaded: requests set options for themselves alone
        self._lock = threading.Lock()

    def get(self, name: str) -> Model:
        """A model, loaded if need be.

        Raises:
            BadInput: the studio has no such model.
        """
        self.check(name)
        with self._lock:
            if name not in self._loaded:
                while len(self._loaded) >= self.most:
                    self._loaded.popitem(last=False)
                self._loaded[name] = self._load(self.places[name])
                self._about[name] = {"name": name, **description(self._loaded[name])}
            self._loaded.move_to_end(name)
            return self._loaded[name]

    def about(self, name: str) -> dict[str, Any]:
        """``description`` of a model.

        Raises:
            BadInput: the studio has no such model.
        """
        if name not in self._about:
            self.get(name)
        return self._about[name]

    def check(self, name: str) -> None:
        """Refuse a name that is none.

        Raises:
            BadInput: the studio has no such model.
        """
        if name not in self.places:
            raise BadInput(f'The studio has no model "{shown(name)}".{did_you_mean(name, self.places)}')


def description(model: Model) -> dict[str, Any]:
    """What a model is, what it can do, and its options with their present values: a form can be made of it."""
    from musegen.models import filling, unfolding

    family, domain, code = model.family, model.domain, sliders(model)
    fill, bars = filling.can_fill(family), domain.spec.bar > 0
    can = {
        "generate": family.capabilities.sample,
        "continue": bars and _does(unfolding.require_continue, model),
        "accompany": bars and (fill or _does(unfolding.require_given_tracks, model)),
        "infill": fill,
        "regenerate": fill,
        "decode": code is not None,
        "encode": code is not None and family.capabilities.encode,
    }
    owned = {"sampling": family.sampling, "reading": domain.config, "writing": domain.writing}
    options = [
        {**row, "owner": owner, "value": getattr(owned.get(owner), row["option"], None)}
        for owner, kind in model.option_owners.items()
        for row in describe(kind)
    ]
    return {
        "family": family.name,
        "domain": domain.name,
        "can": [what for what, able in can.items() if able],
        "tracks": list(domain.part_names)[domain.spec.plan > 0 :] if domain.spec.parts else [],  # without the plan
        "labels": list(domain.spec.classes) if family.capabilities.condition else [],
        "options": options,
        "code": code,
    }


def _does(require: Callable[[Family, Domain], None], model: Model) -> bool:
    """Whether a model can what is required of it."""
    try:
        require(model.family, model.domain)
    except BadInput:
        return False
    return True


@dataclass(frozen=True)
class Kept:
    """A piece in the studio.

    Args:
        id: which nobody can guess.
        name: for people, and for files.
        file: in its native format, or the one that was opened.
        made: the request that it came of.
        read: the piece, from memory or again from its file.
    """

    id: str
    name: str
    file: Path
    made: Mapping[str, Any]
    read: Callable[[], Piece]

    @property
    def piece(self) -> Piece:
        """Itself. It may have to be read, which takes a moment."""
        return self.read()


class Pieces:
    """Pieces by id. Of more than ``most`` the oldest are forgotten, with their files; those that were used last are in memory.

    Args:
        folder: of this process alone.
        reread: reads a piece from a file, for the model of that name.
        most: that are kept; versions that somebody may go back to.
        in_memory: of these.
    """

    def __init__(
        self, folder: Path, reread: Callable[[str, Path], Piece], most: int = 8192, in_memory: int = 256
    ) -> None:
        self.folder, self._reread, self.most, self.in_memory = folder, reread, most, in_memory
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._pieces: OrderedDict[str, Piece] = OrderedDict()
        self._lock = threading.Lock()

    def place(self) -> Path:
        """A new folder for the file of a piece."""
        place = self.folder / secrets.token_urlsafe(9)
        place.mkdir(parents=True)
        return place

    def add(self, piece: Piece, name: str, made: Mapping[str, Any], opened: Path | None = None) -> Kept:
        """Keep a piece.

        Args:
            opened: the file that it was read from, in ``folder``; it stays what it is.
        """
        id = secrets.token_urlsafe(9)
        if opened is None:
            opened = piece.save(self.place() / f"{file_name(name)}{piece.suffix}")
        file, own = opened, dict(made)
        kept = Kept(id, name, file, own, lambda: self._piece(id, own["model"], file))
        with self._lock:
            self._kept[id] = kept
            while len(self._kept) > self.most:
                gone, old = self._kept.popitem(last=False)
                self._pieces.pop(gone, None)
                shutil.rmtree(old.file.parent, ignore_errors=True)
        self._remember(id, piece)
        return kept

    def _piece(self, id: str, model: str, file: Path) -> Piece:
        with self._lock:
            if id in self._pieces:
                self._pieces.move_to_end(id)
                return self._pieces[id]
        piece = self._reread(model, file)
        self._remember(id, piece)
        return piece

    def _remember(self, id: str, piece: Piece) -> None:
        with self._lock:
            self._pieces[id] = piece
            self._pieces.move_to_end(id)
            while len(self._pieces) > self.in_memory:
                self._pieces.popitem(last=False)

    def get(self, id: str) -> Kept:
        """A piece.

        Raises:
            BadInput: there is none, or not any more.
        """
        with self._lock:
            if id not in self._kept:
                raise BadInput(
                    f'There is no piece "{shown(id)}" in this studio, or not any more: save what you want to keep.'
                )
            return self._kept[id]


def read(model: Model, file: Path) -> Piece:
    """A file as one piece, which keeps what it holds where its domain can."""
    if model.domain.spec.bar:
        x, writer = model.read_given(file)
        return writer.pieces(x[None])[0]
    samples, writer = model.read_whole(file)
    return writer.pieces(samples[0])[0]


def file_name(text: str) -> str:
    """A text as the name of a file without its suffix: letters, digits and a few signs, no path, and not too long.

    >>> from musegen.studio.shelf import file_name
    >>> file_name("../Mein Lied: 1/2"), file_name("…")
    ('Mein Lied 1 2', 'piece')
    """
    words = re.sub(r"[^\w .,&()'+-]", " ", text)
    return re.sub(r" +", " ", words).strip(" .")[:50].strip(" .") or "piece"
