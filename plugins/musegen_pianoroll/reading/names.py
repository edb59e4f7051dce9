"""Names in MIDI files, which are bytes without a word of what they mean."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["decode_name", "names_drums"]

_PERCUSSION_PROGRAMS = range(112, 120)  # steel drums, taiko, synth drum …: melodic, whatever their names say
_DRUMS = re.compile(
    r"\b(drums?|drum ?(kit|set|machine|track)|percussions?|perc|schlagzeug|batterie|bater[ií]a|batteria)\b", re.I
)


def decode_name(content: bytes) -> str:
    """Text from UTF-8, Shift-JIS or Latin-1 (as Windows has it), whichever it can be, in that order.

    Any bytes can be Latin-1. What could be Shift-JIS is taken for it if half of its characters or more are then Japanese.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        try:
            text = content.decode("shift_jis")
            if 2 * sum(_is_japanese(character) for character in text) < len(text.strip()):
                raise UnicodeError
        except UnicodeError:
            text = content.decode("cp1252", errors="replace")
    return unicodedata.normalize("NFC", text.replace("\0", "").strip())


def _is_japanese(character: str) -> bool:
    """Kana, kanji, and their punctuation; not the kana of half width, which are what Latin letters become."""
    return "\u3000" <= character <= "\u30ff" or "\u4e00" <= character <= "\u9fff"


def names_drums(name: str, program: int) -> bool:
    """Whether a track's name says that it is drums, though its channel does not."""
    return program not in _PERCUSSION_PROGRAMS and _DRUMS.search(name) is not None
