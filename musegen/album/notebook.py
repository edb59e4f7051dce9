"""Pieces in a notebook: the samples of a page, with sound and pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

from musegen.album.making import sample_of
from musegen.album.page import article, style
from musegen.errors import BadInput
from musegen.reporting import several
from musegen.sound.files import encode

if TYPE_CHECKING:
    from musegen.contracts.piece import Piece

__all__ = ["Pieces", "html_of"]

SHOWN = 12
"""Pieces of a list, at most: a minute of sound takes a megabyte of the notebook."""


class Pieces(list["Piece"]):
    """A list of pieces, which a notebook shows with a player each.

    >>> import musegen
    >>> model = musegen.load("chorale")
    >>> pieces = model.pieces(model.sample(2, n_steps=8))
    >>> pieces._repr_html_().count("<audio")
    2
    """

    def _repr_html_(self) -> str:
        return html_of(self)


def html_of(pieces: Sequence[Piece]) -> str:
    """Pieces as HTML that needs no other file: drawings or pictures, and players."""
    shown = [sample_of(piece, f"Piece {i}", []) for i, piece in enumerate(pieces[:SHOWN], 1)]
    parts = [article(sample, sound=_sound(piece)) for sample, piece in zip(shown, pieces, strict=False)]
    more = f"<p>… and {several(len(pieces) - SHOWN, 'piece')} more</p>" if len(pieces) > SHOWN else ""
    return f'<style>{style(shown)}</style><div class="musegen"><div class="samples">{"".join(parts)}</div>{more}</div>'


def _sound(piece: Piece) -> str:
    """What is to be heard, as a data URI: MP3, which every browser plays, or WAV where libsndfile is old; empty: nothing."""
    heard = piece.audio()
    if heard is None:
        return ""
    try:
        kind, sound = "mpeg", encode(*heard, "mp3")
    except BadInput:
        kind, sound = "wav", encode(*heard)
    return f"data:audio/{kind};base64,{base64.b64encode(sound).decode()}"
