"""Reading MIDI files of strangers.

Every event is looked at before anything else sees the file: parsers hang, crash or fill the memory on some malformed files. What
``events`` can read, ``decoding`` makes notes of; the few other files are walked event by event, and symusic parses them. It can
still crash, which is why ``build`` reads files in worker processes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from musegen_pianoroll.reading.decoding import decode
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.events import Events, read_events
from musegen_pianoroll.reading.score import Score, ScoreTrack

__all__ = ["check_files", "read_scores"]

SIZE_CAP_BYTES = 16 << 20
NOTE_CAP = 1_000_000
BEAT_CAP = 50_000
"""Longest piece, in quarter notes: about seven hours at 120 beats per minute."""

_DATA_BYTES = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}


def read_scores(files: Sequence[tuple[Path, bytes]]) -> list[Score]:
    """Read MIDI files. Notes without an end are left out; lengths are at least 0.

    Call it in a worker process for files of strangers: the parser that some of them need is compiled code. That one sees a
    file alone; all others are read together, because calling numpy for each of them takes as long as the work itself.

    Args:
        files: paths, for messages, and contents; 16 MB in all, or one file.

    Raises:
        MidiError: one of the files cannot be used. Others may have faults, too.
    """
    layouts, events = check_files(files)
    if events is not None:
        return decode(events, [(layout.ticks_per_beat, len(layout.tracks)) for layout in layouts])
    if len(files) == 1:
        return [_parse(data, path) for path, data in files]
    half = len(files) // 2
    return read_scores(files[:half]) + read_scores(files[half:])


def check_files(files: Sequence[tuple[Path, bytes]]) -> tuple[list[Layout], Events | None]:
    """Check structure and size of files before any parser sees them.

    Returns:
        Where their tracks are, and the events of all, where they could be read without walking from one to the next. If
        not, a single file has been walked; of several, some have not been checked to the end.

    Raises:
        MidiError: what is wrong with one of them.
    """
    layouts = [_layout(data, path) for path, data in files]
    events = _sound_events(files, layouts)
    if events is None and len(files) > 1:
        return layouts, None
    for (path, data), layout in zip(files, layouts, strict=True):
        if events is None:
            _walk(data, layout.tracks, BEAT_CAP * layout.ticks_per_beat, path)
        if layout.fault:
            raise MidiError(path, layout.fault)
    return layouts, events


@dataclass(frozen=True)
class Layout:
    """What a file's header and the headers of its chunks say.

    Attributes:
        tracks: (first byte, byte after the last) of each.
        fault: what is wrong with it as a whole; what is wrong with an event, which comes earlier in the file, goes first.
    """

    ticks_per_beat: int
    tracks: list[tuple[int, int]]
    fault: str


def _layout(data: bytes, path: Path) -> Layout:
    """Check size, header and chunks.

    Refuses type 2 (independent sequences, which have no common time) and SMPTE divisions (which have no beats).

    Raises:
        MidiError: what is wrong.
    """
    if len(data) > SIZE_CAP_BYTES:
        raise MidiError(path, f"is larger than {SIZE_CAP_BYTES >> 20} MB")
    if data[:4] != b"MThd":
        raise MidiError(path, "is empty" if not data else "is no MIDI file")
    if len(data) < 14:
        raise MidiError(path, "ends inside its header")
    length, kind, n_tracks, division = struct.unpack(">IHHH", data[4:14])
    if length < 6 or kind > 2:
        raise MidiError(path, "has a damaged header")
    if kind == 2:
        raise MidiError(path, "is of type 2, independent sequences, which is not supported")
    if division & 0x8000:
        raise MidiError(path, "counts time in SMPTE frames instead of beats, which is not supported")
    if division == 0:
        raise MidiError(path, "has no ticks per beat")
    position, is_cut = 8 + length, False
    tracks: list[tuple[int, int]] = []
    while position + 8 <= len(data) and len(tracks) < n_tracks and not is_cut:
        tag, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "big")
        position += 8
        is_cut = position + size > len(data)
        if tag == b"MTrk" and not is_cut:  # other chunks are to be ignored, says the standard
            tracks.append((position, position + size))
        position += size
    fault = ""
    if is_cut:
        fault = "ends in the middle of a track"
    elif len(tracks) < n_tracks:
        fault = f"has {len(tracks)} tracks where its header promises {n_tracks}"
    return Layout(division, tracks, fault)


def _sound_events(files: Sequence[tuple[Path, bytes]], layouts: Sequence[Layout]) -> Events | None:
    """The events of all tracks of all files, where they could be read without walking from one to the next."""
    tracks, max_ticks, at = [], [], 0
    for (_, data), layout in zip(files, layouts, strict=True):
        tracks += [(at + begin, at + end) for begin, end in layout.tracks]
        max_ticks += [BEAT_CAP * layout.ticks_per_beat] * len(layout.tracks)
        at += len(data)
    return read_events(b"".join(data for _, data in files), tracks, max_ticks, NOTE_CAP)


def _walk(data: bytes, tracks: list[tuple[int, int]], max_ticks: int, path: Path) -> None:
    """Check event by event."""
    n_notes = 0
    for begin, end in tracks:
        ticks, notes = _check_track(data, begin, end, path)
        n_notes += notes
        if ticks > max_ticks:
            raise MidiError(path, f"is longer than {BEAT_CAP:,} beats")
        if n_notes > NOTE_CAP:
            raise MidiError(path, f"has more than {NOTE_CAP:,} notes")


def _check_track(data: bytes, position: int, end: int, path: Path) -> tuple[int, int]:
    """Walk the events of one track; returns its length in ticks and its number of note-ons."""
    ticks, notes, status = 0, 0, 0
    while position < end:
        delta, position = _quantity(data, position, end, path)
        ticks += delta
        if position >= end:
            raise MidiError(path, "ends inside an event")
        byte = data[position]
        if byte in (0xFF, 0xF0, 0xF7):
            position, is_last = _check_other(data, position, end, path)
            if is_last:
                break
            continue
        if byte > 0xF0:
            raise MidiError(path, "has an event that files must not have")
        if byte >= 0x80:
            status, position = byte, position + 1
        elif status == 0:
            raise MidiError(path, "has data without an event")
        n_data = _DATA_BYTES[status >> 4]
        if position + n_data > end:
            raise MidiError(path, "ends inside an event")
        if data[position] > 0x7F or (n_data == 2 and data[position + 1] > 0x7F):
            raise MidiError(path, "has an event with damaged data")
        notes += status >> 4 == 0x9 and data[position + 1] > 0
        position += n_data
    return ticks, notes


def _check_other(data: bytes, position: int, end: int, path: Path) -> tuple[int, bool]:
    """Check a meta or system exclusive event; where it ends, and whether it is the track's last."""
    meta, position = -1, position + 1
    if data[position - 1] == 0xFF:
        if position >= end:
            raise MidiError(path, "ends inside an event")
        meta, position = data[position], position + 1
    length, position = _quantity(data, position, end, path)
    if position + length > end:
        raise MidiError(path, "ends inside an event")
    if meta == 0x58 and (length < 2 or data[position] == 0 or data[position + 1] > 6):
        raise MidiError(path, "has an impossible time signature")
    if meta == 0x51 and length != 3:
        raise MidiError(path, "has an impossible tempo")
    return position + length, meta == 0x2F


def _quantity(data: bytes, at: int, end: int, path: Path) -> tuple[int, int]:
    """A length or time, and where it ends."""
    value = 0
    for i in range(at, min(at + 4, end)):
        value = value << 7 | data[i] & 0x7F
        if data[i] < 0x80:
            return value, i + 1
    raise MidiError(path, "has a length or time of more than four bytes" if at + 4 <= end else "ends inside an event")


def _parse(data: bytes, path: Path) -> Score:
    """The score of any file, by symusic."""
    from symusic import Score as Parsed

    try:
        parsed: Any = Parsed.from_midi(data)
        tempos = parsed.tempos.numpy()
        metres = parsed.time_signatures.numpy()
        tracks = [_track(track) for track in parsed.tracks]
    except Exception as error:  # whatever the parser makes of a file that passed the checks
        raise MidiError(path, f"cannot be parsed ({type(error).__name__})") from None
    return Score(
        int(parsed.ticks_per_quarter),
        [(t, 6e7 / us) for t, us in zip(tempos["time"].tolist(), tempos["mspq"].tolist(), strict=True) if us > 0],
        list(zip(*(metres[key].tolist() for key in ("time", "numerator", "denominator")), strict=True)),
        tracks,
    )


def _track(parsed: Any) -> ScoreTrack:
    """A track of the parser as one of ours."""
    columns = parsed.notes.numpy()
    start, duration, pitch = (columns[name].astype(np.int64) for name in ("time", "duration", "pitch"))
    notes = np.stack([start, start + np.maximum(duration, 0), pitch], 1)
    notes = notes[(start >= 0) & (pitch >= 0) & (pitch < 128)]
    return ScoreTrack(str(parsed.name), int(parsed.program) & 0x7F, bool(parsed.is_drum), notes)
