"""Reading the events of a MIDI file, and showing that they are sound, without a Python loop over them.

Events follow one another: where one begins is known only from the one before. But a channel event with two data bytes
(notes, controllers, pitch bend: nearly all events of nearly all files) has exactly three bytes below 0x80, with running status
and without: the last byte of its time, and its data. The other bytes of a time and the status byte are high. So in a stretch of
such events, counting low bytes in threes says what each high byte is: with 3n low bytes before it, it belongs to a time;
with 3n + 1 it is a status byte; with 3n + 2 it has no business there. A stretch ends at the first high byte that does not fit:
a system event or an event with one data byte, which are few and are read one by one. The low bytes of all stretches, in threes,
are then a table of events, and the high bytes say what is to be added to it.

``read_events`` never accepts what the walk in ``midi`` would refuse. It gives up where the caps come near and where
there are too many stretches; the caller then walks event by event, and finds what is wrong, if anything is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Events", "read_events"]

_N_DATA = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}
_HIGH = bytes(range(0x80, 0x100))
_TURN, _NO_STATUS, _FOURTH = 3, 4, 8
_OUTSIDE = -(1 << 30)  # more than any number of low bytes
# What ``_kinds`` says of a high byte → whether it does not fit, by the low bytes before its stretch, modulo 3.
_UNFIT = [
    bytes(
        turn == 2 or (turn == 1 and kind & _NO_STATUS > 0) or (turn == 0 and kind & _FOURTH > 0)
        for kind in range(256)
        for turn in [((kind & _TURN) - phase) % 3]
    )
    for phase in range(3)
]


@dataclass(frozen=True)
class Events:
    """The events of a file, or of several.

    Attributes:
        begins: of each track, the number of its first channel event with two data bytes; their number in all follows.
        status, first, second: status and data bytes of these events, uint8 ``(n,)``; status of running status, too.
        tick: of each, from the beginning of its track, int64 ``(n,)``.
        programs: program changes as (track, number of the channel event that follows, channel, program).
        metas: meta events as (track, tick, type, content).
    """

    begins: list[int]
    status: np.ndarray
    first: np.ndarray
    second: np.ndarray
    tick: np.ndarray
    programs: list[tuple[int, int, int, int]]
    metas: list[tuple[int, int, int, bytes]]


def read_events(
    data: bytes, tracks: Sequence[tuple[int, int]], max_ticks: Sequence[int], max_events: int
) -> Events | None:
    """The events of every track, if all are shown to be sound.

    Args:
        data: a file, or several one after the other: small arrays cost more to call than to compute.
        tracks: (first byte, byte after the last) of each, in order.
        max_ticks: how long each may be.
        max_events: how many there may be, of all kinds.
    """
    highs = _Highs(data)
    found = _Found(budget=64 + len(data) // 32)
    for track, (at, end) in enumerate(tracks):
        if not _read_track(track, at, end, highs, found):
            return None
    if found.row + found.n_others > max_events:
        return None
    return _events(highs, found, np.array(max_ticks, np.int64))


class _Highs:
    """The high bytes of files, and what the low ones before each of them say.

    Attributes:
        place: of each high byte, in ``data``, ``(H,)``.
        n_lows: low bytes before each, int32 ``(H,)``; ``lows_before`` the same for quick access to one.
        value: of each, uint8 ``(H,)``.
        lows: the low bytes.
    """

    def __init__(self, data: bytes) -> None:
        raw = np.frombuffer(data, np.uint8)
        places = (raw > 0x7F).nonzero()[0]
        self.data = data
        self.n_lows = places.astype(np.int32) - np.arange(len(places), dtype=np.int32)
        self.value = raw[places]
        self.place, self.lows_before = places.data, self.n_lows.data
        self.lows = data.translate(None, _HIGH)
        self._kinds = _kinds(self.n_lows, self.value)
        self._unfit: list[bytes | None] = [None] * 3  # by phase, made when needed

    def stretch(self, at: int) -> tuple[int, int, int] | None:
        """The stretch that begins at byte ``at``: its events, its first high byte, and the one after its last.

        None if it does not end: then not even the track does.
        """
        first = bisect_left(self.place, at)
        low = at - first
        phase = low % 3
        fits = self._unfit[phase] = self._unfit[phase] or self._kinds.translate(_UNFIT[phase])
        last = fits.find(1, first)
        if last < 0:
            return None
        n = (self.lows_before[last] - low) // 3
        return n, first, bisect_left(self.lows_before, low + 3 * n, first, last) if n else first


@dataclass
class _Found:
    """What was found so far, from the first track on.

    Attributes:
        budget: events that may still be read one by one.
        row: channel events with two data bytes; n_others: all others.
        begins: ``row`` at the beginning of each track.
        rests_at_end: of each track: what passes after its last channel event.
        threes: of stretches: last byte of the time, data.
        edges, shifts: high bytes at which stretches begin and end; from low bytes before to three times those of events.
        rests: events, and what passed between them and the events before.
        programs, metas: as of ``Events``, but of metas the event that follows, and what passed since the one before.
    """

    budget: int
    row: int = 0
    n_others: int = 0
    begins: list[int] = field(default_factory=list)
    rests_at_end: list[int] = field(default_factory=list)
    threes: list[bytes] = field(default_factory=list)
    edges: list[int] = field(default_factory=lambda: [0])
    shifts: list[int] = field(default_factory=lambda: [_OUTSIDE])
    rests: list[tuple[int, int]] = field(default_factory=list)
    programs: list[tuple[int, int, int, int]] = field(default_factory=list)
    metas: list[tuple[int, int, int, int, bytes]] = field(default_factory=list)

    def add(self, n: int, first: int, after: int, low: int, rest: int, lows: bytes) -> None:
        """A stretch of n events, from high byte ``first`` and low byte ``low`` on, ``rest`` ticks after what was before."""
        if rest:
            self.rests.append((self.row, rest))
        self.edges += first, after
        self.shifts += 3 * self.row - low, _OUTSIDE
        self.threes.append(lows[low : low + 3 * n])
        self.row += n


def _read_track(track: int, at: int, end: int, highs: _Highs, found: _Found) -> bool:
    """Find the events of a track; whether all are sound, and few enough had to be read one by one."""
    data = highs.data
    found.begins.append(found.row)
    running = n_data = rest = (
        0  # the running status, how many data bytes it has, and ticks since the last channel event
    )
    while at < end:
        n, start = 0, at
        following = data[at + 1] if at + 1 < end else 0xFF
        if (n_data == 2 and following != 0xFF) or data[at] < 0x80 <= following < 0xC0:
            stretch = highs.stretch(at)
            if stretch is None:
                return False
            n, first, after = stretch
            if n:
                at = start - first + 3 * n + after
                if at > end:
                    return False
                running, n_data = 0x80, 2  # of some status: whoever needs to know which has one of its own
        if not n:
            event = _event(data, at, end, running)
            found.budget -= 1
            if event is None or found.budget < 0:
                return False
            delta, content, at, kind, meta = event
            if kind < 0xF0:
                running, n_data = kind, _N_DATA[kind >> 4]
            if kind >= 0xF0 or n_data == 1:
                found.n_others, rest = found.n_others + 1, rest + delta
                if kind >> 4 == 0xC:
                    found.programs.append((track, found.row, kind & 0xF, data[content]))
                elif meta == 0x2F:
                    break
                elif kind == 0xFF:
                    found.metas.append((track, found.row, rest, meta, data[content:at]))
                elif kind >= 0xF0:  # a system exclusive event ends a running status: parsers differ where it goes on
                    running = n_data = 0
                continue
            n, first = 1, bisect_left(highs.place, start)
            after = bisect_left(highs.place, at, first)
        found.add(n, first, after, start - first, rest, highs.lows)
        rest = 0
    found.rests_at_end.append(rest)
    return True


def _events(highs: _Highs, found: _Found, max_ticks: np.ndarray) -> Events | None:
    """The table of all events; None if a track is too long."""
    n, begins = found.row, [*found.begins, found.row]
    # (H,): three times the number of its event, more by 0 for a byte of its time, by 1 for its status; negative: of no event
    shifts = np.repeat(np.array(found.shifts, np.int32), np.diff([*found.edges, len(highs.value)]))
    role = highs.n_lows + shifts
    event_of = role // 3
    turn = role - 3 * event_of
    turn[role < 0] = 2
    table = np.frombuffer(b"".join(found.threes), np.uint8).reshape(-1, 3)
    passed = np.zeros(n + 1, np.int64)  # ticks before each event, and all, as if tracks followed one another
    np.cumsum(_deltas(table[:, 0], highs.value, event_of, turn, found.rests), out=passed[1:])
    at_begin = passed[begins]
    if (at_begin[1:] - at_begin[:-1] + found.rests_at_end > max_ticks).any():
        return None
    has_status = (turn == 1).nonzero()[0]
    status = highs.value[has_status]
    if len(status) < n:
        status_from = event_of[has_status]  # the first of a track has one, so no status runs on into the next
        status = np.repeat(status, np.diff(status_from, append=n))
    metas = found.metas
    meta_ticks = passed[[i for _, i, *_ in metas]] - at_begin[[t for t, *_ in metas]] if metas else passed[:0]
    return Events(
        begins,
        status,
        table[:, 1],
        table[:, 2],
        passed[1:] - np.repeat(at_begin[:-1], np.diff(begins)),
        found.programs,
        [
            (t, tick + after, kind, text)
            for tick, (t, _, after, kind, text) in zip(meta_ticks.tolist(), metas, strict=True)
        ],
    )


def _kinds(n_lows: np.ndarray, value: np.ndarray) -> bytes:
    """Per high byte: low bytes before it, modulo 3, and whether it cannot be a status, or not be a byte of a time."""
    kind = (n_lows - 3 * (n_lows // 3)).astype(np.uint8)  # many times as fast as n_lows % 3
    no_status = (value >= 0xC0) & (value & 0xF0 != 0xE0)
    no_status[1:] |= n_lows[1:] == n_lows[:-1]
    kind += no_status * np.uint8(_NO_STATUS)
    kind[3:] += (n_lows[3:] == n_lows[:-3]) * np.uint8(_FOURTH)
    return kind.tobytes()


def _deltas(
    last: np.ndarray, value: np.ndarray, event_of: np.ndarray, turn: np.ndarray, rests: list[tuple[int, int]]
) -> np.ndarray:
    """The ticks before each event, int64: the last byte of its time, the others, which are high, and what passed before."""
    deltas = last.astype(np.int64)
    of_time = (turn == 0).nonzero()[0]
    event = event_of[of_time]
    digits = (value[of_time] & 0x7F).astype(np.int64) << 7
    for i in (1, 2):  # followed by i high bytes of the same time
        more = (event[i:] == event[:-i]).nonzero()[0]
        if not len(more):
            break
        digits[more] <<= 7
    np.add.at(deltas, event, digits)
    for i, passed in rests:
        deltas[i] += passed
    return deltas


def _event(data: bytes, at: int, end: int, running: int) -> tuple[int, int, int, int, int] | None:
    """The event at ``at``: its time, where its content begins and ends, its status, its type if meta; None if unsound."""
    if at + 1 < end and data[at] < 0x80:
        delta, at = data[at], at + 1
    else:
        read = _quantity(data, at, end)
        if read is None or read[1] >= end:
            return None
        delta, at = read
    status = data[at]
    if status < 0xF0:
        if status >= 0x80:
            at += 1
        else:
            status = running
        n_data = _N_DATA.get(status >> 4, 0)
        sound = 0 < n_data <= end - at and data[at] < 0x80 and data[at + n_data - 1] < 0x80
        return (delta, at, at + n_data, status, -1) if sound else None
    if status not in (0xF0, 0xF7, 0xFF):
        return None
    meta, at = (data[at + 1], at + 2) if status == 0xFF and at + 1 < end else (-1, at + 1)
    if at < end and data[at] < 0x80:
        length, at = data[at], at + 1
    else:
        read = _quantity(data, at, end)
        if read is None:
            return None
        length, at = read
    if at + length > end:
        return None
    if meta == 0x58 and (length < 2 or data[at] == 0 or data[at + 1] > 6):
        return None
    if meta == 0x51 and length != 3:
        return None
    return delta, at, at + length, status, meta


def _quantity(data: bytes, at: int, end: int) -> tuple[int, int] | None:
    """A variable-length quantity of at most four bytes and where it ends."""
    value = 0
    for i in range(at, min(at + 4, end)):
        value = value << 7 | data[i] & 0x7F
        if data[i] < 0x80:
            return value, i + 1
    return None
