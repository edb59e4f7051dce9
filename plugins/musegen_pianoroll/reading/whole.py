"""A file with all of its events, to be written again as it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from musegen_pianoroll.limits import BEAT_CAP, EVENT_CAP
from musegen_pianoroll.reading.errors import MidiError, TooManyEvents
from musegen_pianoroll.reading.events import Events, read_events
from musegen_pianoroll.reading.layout import layout
from musegen_pianoroll.reading.meta import sound_meta

__all__ = ["WholeFile", "read_whole"]


@dataclass(frozen=True)
class WholeFile:
    """A MIDI file.

    Attributes:
        kind: 0 or 1.
        division: of the header, as it is; ``ticks_per_beat`` what it means.
        tracks: of each its events in order, as (tick, bytes with the status), without the end of the track.
        ends: tick of the end of each track.
    """

    kind: int
    division: int
    ticks_per_beat: int
    tracks: list[list[tuple[int, bytes]]]
    ends: list[int]


def read_whole(data: bytes, path: Path) -> WholeFile:
    """All events of a file, but for those that make no sense.

    Raises:
        MidiError: the file cannot be used.
    """
    found = layout(data, path)
    try:
        events = read_events([(data, *track, BEAT_CAP * found.ticks_per_beat) for track in found.tracks], EVENT_CAP)
    except TooManyEvents:
        raise MidiError(path, f"has more than {EVENT_CAP:,} events") from None
    others: list[list[tuple[int, int, bytes]]] = [[] for _ in found.tracks]
    for track, row, tick, event in events.others:
        others[track].append((row, tick, sound_meta(event) if event[0] == 0xFF else event))
    tracks = [_in_order(events, track, others[track]) for track in range(len(found.tracks))]
    return WholeFile(found.kind, found.division, found.ticks_per_beat, tracks, events.ends)


def _in_order(events: Events, track: int, others: list[tuple[int, int, bytes]]) -> list[tuple[int, bytes]]:
    """All events of a track as they follow one another.

    Args:
        others: of the track, without the track.
    """
    begin, end = events.begins[track], events.begins[track + 1]
    rows = np.stack([events.status[begin:end], events.first[begin:end], events.second[begin:end]], 1).tobytes()
    ticks = events.tick[begin:end].tolist()
    found: list[tuple[int, bytes]] = []
    done = 0
    for row, tick, event in [*others, (end, 0, b"")]:
        found += [(ticks[i], rows[3 * i : 3 * i + 3]) for i in range(done, row - begin)]
        done = row - begin
        if event:
            found.append((tick, event))
    return found
