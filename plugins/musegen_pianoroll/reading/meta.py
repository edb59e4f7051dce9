"""Meta events of MIDI files: what they must hold so that others can read them."""

from __future__ import annotations

__all__ = ["INSTRUMENT_NAME", "KEY", "METRE", "PORT", "TEMPO", "TRACK_NAME", "content_of", "sound_meta"]

TRACK_NAME, INSTRUMENT_NAME, CHANNEL, PORT, TEMPO, OFFSET, METRE, KEY = 0x03, 0x04, 0x20, 0x21, 0x51, 0x54, 0x58, 0x59
_LENGTHS = {CHANNEL: 1, PORT: 1, TEMPO: 3, OFFSET: 5, METRE: 4, KEY: 2}
_CLICK = bytes([24, 8])
"""What a metre says of the metronome and of notated 32nds, where it says nothing."""


def content_of(event: bytes) -> bytes:
    """What a meta event says, without its kind and its length."""
    if event[2] < 0x80:
        return event[3:]
    at = 2
    while event[at] >= 0x80:
        at += 1
    return event[at + 1 :]


def sound_meta(event: bytes) -> bytes:
    """A meta event that every reader takes: as it is, without what is too much, or empty if it makes no sense.

    Args:
        event: its bytes, from 0xFF on.
    """
    kind = event[1]
    length = _LENGTHS.get(kind)
    if length is None:
        return event if kind < 0x80 else b""
    if event[2] == length and kind != KEY:
        return event
    content = content_of(event)
    if kind == METRE and 2 <= len(content) < 4:
        content = content[:2] + _CLICK
    if len(content) < length:
        return b""
    if kind == KEY and not ((content[0] + 7) % 256 <= 14 and content[1] < 2):
        return b""
    return bytes([0xFF, kind, length]) + content[:length]
