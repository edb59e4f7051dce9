"""What the channels of MIDI files play, and when: programs, drum kits and pedals.

A channel belongs to the file, whichever track its events are in. Drums are channel 10; a channel whose bank says so (XG 127 and
126, GM2 120); and one that a system exclusive message of GS or XG makes a drum part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from musegen_pianoroll.reading.events import Events

__all__ = ["DRUM_BIT", "Pedals", "instruments"]

DRUM_CHANNEL = 9
DRUM_BIT = 0x80
PEDAL, BANK = 64, 0
DRUM_BANKS, MELODIC_BANK = (120, 126, 127), 121
_TICK_BITS = 44  # more than a track can last
_ROW_BITS = 24


def instruments(
    events: Events, bus: np.ndarray, rows: np.ndarray, track: np.ndarray, channel: np.ndarray
) -> np.ndarray:
    """What plays each note: program, and 128 more for drums; int64 as ``rows``.

    A change of program counts for notes that begin at its tick or later, in whatever track it stands; in its own track only for
    those that come after it. Of several at one tick, that in the note's own track goes before others, and then the last.

    Args:
        bus: of each track the number of what has sixteen channels of its own.
        rows: numbers of the events with which notes begin.
        track, channel: of these; channel with the number of the bus: ``bus << 4 | channel``.
    """
    n_channels = (int(bus.max(initial=0)) + 1) << 4
    plays = np.where(np.arange(n_channels) & 0xF == DRUM_CHANNEL, DRUM_BIT, 0)
    unsettled: dict[int, list[tuple[int, int, int, int]]] = {}
    for number, said in _said(events, bus).items():
        changes = _followed(number & 0xF == DRUM_CHANNEL, sorted(said, key=itemgetter(0, 1, 2)))
        if len({change[3] for change in changes}) == 1 and _comes_first(events, number & 0xF, changes[0]):
            plays[number] = changes[0][3]
        elif changes:
            unsettled[number] = [(0, -1, 0, int(plays[number])), *changes]
    found = plays[channel]
    if unsettled:
        of_these = np.isin(channel, list(unsettled)).nonzero()[0]
        found[of_these] = _playing(unsettled, events, rows[of_these], track[of_these], channel[of_these])
    return found


def _comes_first(events: Events, channel: int, change: tuple[int, int, int, int]) -> bool:
    """Whether a change of program at the beginning comes before every note of the channel."""
    tick, track, row, _ = change
    status = events.status[events.begins[track] : row]
    return tick == 0 and not (status == (0x90 | channel)).any()


def _playing(
    unsettled: dict[int, list[tuple[int, int, int, int]]],
    events: Events,
    rows: np.ndarray,
    track: np.ndarray,
    channel: np.ndarray,
) -> np.ndarray:
    """What plays notes of channels that change; arguments as of ``instruments``."""
    changes = [(number, *change) for number, said in sorted(unsettled.items()) for change in said]  # each in its order
    number, tick, of_track, of_row, plays = np.array(changes, np.int64).T
    since, now = number << _TICK_BITS | tick, channel << _TICK_BITS | events.tick[rows]
    at = np.searchsorted(since, now, "right") - 1
    while True:
        later = (since[at] == now) & (of_track[at] == track) & (of_row[at] > rows)
        if not later.any():
            break
        at -= later
    # The last change in the note's own track, if it is as late as that of any track.
    order = np.lexsort((of_row, number & 0xF, of_track))
    places = (of_track[order] << 4 | number[order] & 0xF) << _ROW_BITS | of_row[order]
    own = np.searchsorted(places, (track << 4 | channel & 0xF) << _ROW_BITS | rows, "right") - 1
    mine = order[np.maximum(own, 0)]
    as_late = (own >= 0) & (of_track[mine] == track) & (number[mine] == channel) & (since[mine] == since[at])
    return plays[np.where(as_late, mine, at)]


def _said(events: Events, bus: np.ndarray) -> dict[int, list[tuple[int, int, int, str, int]]]:
    """What is said of each channel, in an order that a stable sort by the first three makes that of the file: (tick, track, twice
    the number of the event that follows, what, value); of a controller that is twice its own number and one."""
    said: dict[int, list[tuple[int, int, int, str, int]]] = {}
    for track, row, tick, event in events.others:
        kind = event[0]
        if kind >> 4 == 0xC:
            said.setdefault(int(bus[track]) << 4 | kind & 0xF, []).append((tick, track, 2 * row, "program", event[1]))
        elif kind == 0xF0:
            part = _drum_part(event)
            if part is not None:
                said.setdefault(int(bus[track]) << 4 | part[0], []).append((tick, track, 2 * row, "drums", part[1]))
    for row in events.controllers(BANK).tolist():
        track = int(np.searchsorted(events.begins, row, "right")) - 1
        number = int(bus[track]) << 4 | int(events.status[row]) & 0xF
        said.setdefault(number, []).append((int(events.tick[row]), track, 2 * row + 1, "bank", int(events.second[row])))
    return said


def _followed(is_drum_part: bool, said: Sequence[tuple[int, int, int, str, int]]) -> list[tuple[int, int, int, int]]:
    """What a channel plays as its changes are followed in order: (tick, track, number of the event that follows, what plays)."""
    program = bank = 0
    is_drum, changes = is_drum_part, []
    for tick, track, row, what, value in said:
        match what:
            case "bank":  # it counts from the next change of program on
                bank = value
                continue
            case "program":
                program = value
                is_drum = bank in DRUM_BANKS or (is_drum_part and bank != MELODIC_BANK)
            case _:
                is_drum = is_drum_part = value > 0
        changes.append((tick, track, row // 2, program | DRUM_BIT * is_drum))
    return changes


def _drum_part(message: bytes) -> tuple[int, int] | None:
    """A system exclusive message that makes a part drums or an instrument: its channel from 0, and the number of the drum map."""
    body = message[2:]  # its length is one byte, as it is short
    if len(body) == 10 and body[0] == 0x41 and body[2:5] == b"\x42\x12\x40" and body[5] >> 4 == 1 and body[6] == 0x15:
        part = body[5] & 0xF
        return (9 if part == 0 else part - 1 if part < 10 else part), body[7]
    if len(body) == 8 and body[0] == 0x43 and body[1] >> 4 == 1 and body[2:4] == b"\x4c\x08" and body[5] == 0x07:
        return body[4] & 0xF, body[6]
    return None


@dataclass(frozen=True)
class Pedals:
    """When sustain pedals are down.

    Attributes:
        at: ``channel << 44 | tick`` of each movement of a pedal, sorted, int64 ``(p,)``.
        until: of each, the tick at which the pedal is up again; −1 where it goes up.
    """

    at: np.ndarray
    until: np.ndarray

    @classmethod
    def of(cls, events: Events, bus: np.ndarray, last: np.ndarray) -> Pedals | None:
        """The pedals of files; None if none is ever used.

        Args:
            bus: of each track the number of what has sixteen channels of its own.
            last: of each of these the tick at which its file ends, where a pedal that stays down comes up.
        """
        rows = events.controllers(PEDAL)
        if not len(rows):
            return None
        track = np.searchsorted(events.begins, rows, "right") - 1
        channel = bus[track] << 4 | events.status[rows] & 0xF
        at = channel << _TICK_BITS | events.tick[rows]
        order = np.argsort(at, kind="stable")
        at, down = at[order], events.second[rows][order] >= 64
        # From the last one backward: where the channel's pedal comes up next.
        n = len(at)
        up = np.where(down, n, np.arange(n))
        up = np.minimum.accumulate(up[::-1])[::-1]
        channel = at >> _TICK_BITS
        known = (up < n) & (channel[np.minimum(up, n - 1)] == channel)
        until = np.where(known, at[np.minimum(up, n - 1)] & ((1 << _TICK_BITS) - 1), last[channel >> 4])
        return cls(at, np.where(down, until, -1))

    def held(self, channel: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Ends of notes, int64, later where a pedal is down before them: what it went down at, the note's own tick, counts not."""
        at = np.searchsorted(self.at, channel << _TICK_BITS | end) - 1
        mine = (at >= 0) & (self.at[at] >> _TICK_BITS == channel)
        return np.where(mine, np.maximum(end, self.until[at]), end)
