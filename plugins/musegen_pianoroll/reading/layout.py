"""Where the tracks of a MIDI file are: header and chunks, also of files that say it wrongly or are wrapped in others."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from musegen_pianoroll.limits import SIZE_CAP_BYTES
from musegen_pianoroll.reading.errors import MidiError

__all__ = ["Layout", "layout"]

HEADER_WITHIN = 4096
"""Bytes that may stand before a header: those of a RIFF or MacBinary file, for instance."""
MOST_TRACKS = 65535
SMPTE_BPM = 120


@dataclass(frozen=True)
class Layout:
    """What a file's header and the headers of its chunks say.

    Attributes:
        kind: 0, one track of all channels; 1, tracks that sound together.
        division: as it stands in the file.
        ticks_per_beat: of time in frames, half a second.
        in_frames: time is counted in frames of film, so tempos mean nothing.
        tracks: (first byte, byte after the last, whether it ends at its end-of-track event) of each.
        mended: what was wrong, in short phrases.
    """

    kind: int
    division: int
    ticks_per_beat: int
    in_frames: bool
    tracks: list[tuple[int, int, bool]]
    mended: list[str]


def layout(data: bytes, path: Path) -> Layout:
    """Find the tracks of a file.

    Chunks that are no tracks are passed over. The number of tracks in the header counts for nothing. Where the length of a track
    cannot be right (no chunk follows, and no end-of-track event stands there), the track goes on to the next one.

    Raises:
        MidiError: it is no MIDI file, or holds independent sequences (type 2), which have no common time.
    """
    if len(data) > SIZE_CAP_BYTES:
        raise MidiError(path, f"is larger than {SIZE_CAP_BYTES >> 20} MB")
    start = data.find(b"MThd", 0, HEADER_WITHIN)
    if start < 0:
        raise MidiError(path, "is empty" if not data else "is no MIDI file")
    if len(data) < start + 14:
        raise MidiError(path, "ends inside its header")
    length, kind, promised, division = struct.unpack(">IHHH", data[start + 4 : start + 14])
    mended: list[str] = []
    if start and data[:4] != b"RIFF" and start != 128:
        mended.append(f"{start} bytes before its header")
    at = start + 8 + length
    if length < 6 or data[at : at + 4] != b"MTrk":
        found = data.find(b"MTrk", start + 8)
        if length != 6 and found >= 0 and not _is_tag(data, at):
            mended.append("a header of the wrong length")
            at = found
    tracks = _tracks(data, at, mended)
    if not tracks:
        raise MidiError(path, "has no tracks")
    if kind == 2 and len(tracks) > 1:
        raise MidiError(path, "is of type 2, independent sequences, which is not supported")
    if kind > 2:
        mended.append(f"type {kind}, which does not exist, read as type 1")
    if len(tracks) != promised and promised != MOST_TRACKS:
        mended.append(f"{len(tracks)} tracks where its header promises {promised}")
    frames, ticks = 256 - (division >> 8), division & 0xFF
    in_frames = division >= 0x8000
    if in_frames:
        mended.append("time in frames instead of beats, read at 120 beats per minute")
    ticks_per_beat = (
        round((30000 / 1001 if frames == 29 else frames) * ticks * 60 / SMPTE_BPM) if in_frames else division
    )
    if ticks_per_beat == 0:
        raise MidiError(path, "has no ticks per beat")
    return Layout(min(kind, 1) if kind != 2 else 0, division, ticks_per_beat, in_frames, tracks, mended)


def _tracks(data: bytes, at: int, mended: list[str]) -> list[tuple[int, int, bool]]:
    """Track chunks from byte ``at`` on."""
    tracks: list[tuple[int, int, bool]] = []
    while at + 8 <= len(data) and len(tracks) < MOST_TRACKS:
        tag, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        begin, end = at + 8, at + 8 + size
        at = end
        if tag == b"MTrk":
            trusted = _follows(data, end) or (end <= len(data) and data[end - 3 : end] == b"\xff\x2f\x00")
            if not trusted:
                following = data.find(b"MTrk", begin)
                at = end = following if following >= 0 else len(data)
                mended.append("a track of the wrong length")
            tracks.append((begin, end, not trusted))
        if not _follows(data, at):
            at = data.find(b"MTrk", min(at, len(data)) if tag == b"MTrk" else begin)
            if at < 0:
                break
    return tracks


def _follows(data: bytes, at: int) -> bool:
    """Whether the file ends here, or another chunk begins."""
    return at == len(data) or _is_tag(data, at)


def _is_tag(data: bytes, at: int) -> bool:
    tag = data[at : at + 4]
    return len(data) >= at + 8 and (tag == b"MTrk" or all(0x20 <= byte < 0x7F for byte in tag))
