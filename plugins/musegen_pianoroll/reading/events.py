"""Reading the events of MIDI tracks: fast where they are sound, and as players read them where they are not.

Nearly all events of nearly all tracks are channel events with two data bytes: notes, controllers, pitch bend. A regular expression
finds the longest stretch of them at once. What lies between two stretches (a program change, a text, something damaged) is read by
itself in Python. All stretches of all tracks, joined, are then turned into a table without a loop: such an event has exactly
three bytes below 0x80, the last byte of its time and its data, so the low bytes in threes are the table; and a high byte belongs
to a time if 3n low bytes stand before it, and is a status if 3n + 1 do.

A damaged event costs that event, and what was wrong is counted. Where it is not clear where the next event begins, reading goes on
at the next place that looks like one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

__all__ = ["Events", "TooManyEvents", "read_events"]

_TIME, _STATUS, _DATA = rb"[\x80-\xff]{0,3}+[\x00-\x7f]", rb"[\x80-\xbf\xe0-\xef]", rb"[\x00-\x7f][\x00-\x7f]"
_STRETCH = rb"(?:" + _TIME + _STATUS + rb"?+" + _DATA + rb")*+"
GOING_ON = re.compile(_STRETCH)
"""A stretch after an event with two data bytes, whose status may run on."""
BEGUN = re.compile(_TIME + _STATUS + _DATA + _STRETCH)
"""A stretch whose first event has a status."""
ONE = re.compile(_TIME + rb"(" + _STATUS + rb"?+)" + _DATA)
LIKE_AN_EVENT = re.compile(rb"[\x00-\x7f](?:[\x80-\xbf\xe0-\xef][\x00-\x7f]{2}|[\xc0-\xdf][\x00-\x7f]|\xff[\x00-\x7f])")
_HIGH = bytes(range(0x80, 0x100))
_N_DATA = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}
_N_DATA_SYSTEM = {0xF1: 1, 0xF2: 2, 0xF3: 1}
_LONGEST = 1 << 40
"""Ticks; more than any piece may have, and few enough to be added up."""
END_OF_TRACK = 0x2F
IMPOSSIBLE_TIME = "an impossible time"
MOST_LOST = 8
"""How often reading may lose its way in a track; from then on, the track is taken for noise from the first such place on."""


class TooManyEvents(Exception):
    """The tracks hold more events than may be read."""


class _Noise(Exception):
    """A track is no music any more."""


@dataclass(frozen=True)
class Events:
    """The events of tracks.

    Attributes:
        begins: of each track, the number of its first channel event with two data bytes; their number in all follows.
        status, first, second: status and data bytes of these events, uint8 ``(n,)``; status of running status, too.
        tick: of each, from the beginning of its track, int64 ``(n,)``.
        others: all other events as (track, number of the channel event that follows, tick, bytes without the time).
        ends: tick of the end of each track, or of its last event if that comes later.
        mended: of each track, what was wrong with it, and how often.
    """

    begins: list[int]
    status: np.ndarray
    first: np.ndarray
    second: np.ndarray
    tick: np.ndarray
    others: list[tuple[int, int, int, bytes]]
    ends: list[int]
    mended: list[Counter[str]]

    @cached_property
    def kind(self) -> np.ndarray:
        """Status without the channel, uint8 ``(n,)``."""
        return self.status & 0xF0

    def controllers(self, number: int) -> np.ndarray:
        """Which events are movements of a controller."""
        return self._controllers[self.first[self._controllers] == number]

    @cached_property
    def _controllers(self) -> np.ndarray:
        return (self.kind == 0xB0).nonzero()[0]


def read_events(tracks: Sequence[tuple[bytes, int, int, bool, int]], most: int) -> Events:
    """The events of every track.

    Args:
        tracks: for each the bytes of its file, its first byte there, the one after its last, whether to stop at its end-of-track
            event, and the most ticks that may pass between two events: more are an error, and none pass. Many tracks at once cost
            little more than one, because calling numpy takes as long as the work itself.
        most: events that may be read.

    Raises:
        TooManyEvents: there are more.
    """
    found = _Found(most)
    for data, at, end, stops, longest in tracks:
        found.begin(longest)
        _Track(data, end, stops, longest, found).read(at)
    return found.events()


@dataclass
class _Found:
    """What was found so far.

    Attributes:
        stretches: bytes of channel events with two data bytes; ``size`` bytes in all.
        rests: (bytes before, ticks): what passed between the event that begins there and the one before, in other events.
        others: (track, bytes before, ticks since the channel event before, event).
        begins, ends, longest: of each track, bytes before; ticks after its last channel event; the most between two events.
    """

    budget: int
    size: int = 0
    stretches: list[bytes] = field(default_factory=list)
    rests: list[tuple[int, int]] = field(default_factory=list)
    others: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    longest: list[int] = field(default_factory=list)
    mended: list[Counter[str]] = field(default_factory=list)

    def begin(self, longest: int) -> None:
        self.begins.append(self.size)
        self.longest.append(longest)
        self.mended.append(Counter())

    def add(self, stretch: bytes, rest: int) -> None:
        if rest:
            self.rests.append((self.size, rest))
        self.stretches.append(stretch)
        self.size += len(stretch)

    def add_other(self, rest: int, event: bytes) -> None:
        self.others.append((len(self.begins) - 1, self.size, rest, event))
        if len(self.others) > self.budget:
            raise TooManyEvents

    def place(self) -> tuple[int, int, int, int]:
        """Where all that was found so far ends; ``back_to`` forgets what came later."""
        return self.size, len(self.stretches), len(self.rests), len(self.others)

    def back_to(self, place: tuple[int, int, int, int]) -> None:
        self.size, n_stretches, n_rests, n_others = place
        del self.stretches[n_stretches:], self.rests[n_rests:], self.others[n_others:]

    def events(self) -> Events:
        """The table of all events."""
        data = b"".join(self.stretches)
        joined = np.frombuffer(data, np.uint8)
        table = np.frombuffer(data.translate(None, _HIGH), np.uint8).reshape(-1, 3)
        n = len(table)
        if n > self.budget:
            raise TooManyEvents
        high_at = (joined > 0x7F).nonzero()[0]
        high = joined[high_at]
        lows_before = high_at - np.arange(len(high_at))
        event = lows_before // 3
        turn = lows_before - 3 * event

        def rows(offsets: list[int]) -> np.ndarray:
            """Events that begin before these bytes."""
            at = np.array(offsets, np.int64)
            return (at - np.searchsorted(high_at, at)) // 3

        begins = rows([*self.begins, self.size])
        is_status = turn.nonzero()[0]  # of a byte of a time it is 0
        status = high[is_status]
        if len(status) < n:  # the first event of a track has one, so no status runs on into the next track
            status = np.repeat(status, np.diff(event[is_status], append=n))
        passed = np.zeros(n + 1, np.int64)  # ticks before each event, and all, as if tracks followed one another
        delta = passed[1:]
        delta[:] = table[:, 0]
        in_time = (turn == 0).nonzero()[0]
        _add_digits(delta, event[in_time], high[in_time])
        if n and delta.max() > min(self.longest):
            self._shorten(delta, begins)
        if self.rests:
            where, ticks = zip(*self.rests, strict=True)
            np.add.at(delta, rows(list(where)), np.array(ticks, np.int64))
        np.cumsum(delta, out=delta)
        at_begin = passed[begins]
        others: list[tuple[int, int, int, bytes]] = []
        if self.others:
            row = rows([before for _, before, _, _ in self.others])
            at = passed[row] - at_begin[[track for track, _, _, _ in self.others]]
            others = [
                (track, i, tick + rest, event)
                for i, tick, (track, _, rest, event) in zip(row.tolist(), at.tolist(), self.others, strict=True)
            ]
        return Events(
            begins.tolist(),
            status,
            table[:, 1],
            table[:, 2],
            delta - np.repeat(at_begin[:-1], np.diff(begins)),
            others,
            (at_begin[1:] - at_begin[:-1] + np.array(self.ends, np.int64)).tolist(),
            self.mended,
        )

    def _shorten(self, delta: np.ndarray, begins: np.ndarray) -> None:
        """Let no time pass where more would than may."""
        for track, longest in enumerate(self.longest):
            mine = delta[begins[track] : begins[track + 1]]
            if n := int(np.count_nonzero(mine > longest)):
                self.mended[track][IMPOSSIBLE_TIME] += n
                mine[mine > longest] = 0


def _add_digits(delta: np.ndarray, event: np.ndarray, high: np.ndarray) -> None:
    """Add to the times the digits that high bytes hold, each by its place."""
    digits = (high & 0x7F).astype(np.int64) << 7
    for i in (1, 2):  # followed by i high bytes of the same time
        more = (event[i:] == event[:-i]).nonzero()[0]
        if not len(more):
            break
        digits[more] <<= 7
    np.add.at(delta, event, digits)


class _Track:
    """Reads one track; ``rest`` is what has passed since the last channel event with two data bytes."""

    def __init__(self, data: bytes, end: int, stops: bool, longest: int, found: _Found) -> None:
        self.data, self.end, self.stops, self.longest, self.found = data, end, stops, longest, found
        self.rest = 0
        self.running, self.n_data = 0, 0  # the status that runs on, and how many data bytes its events have
        self.goes_on = (
            False  # whether it is that of the last stretch, which has two, so that another may begin without one
        )
        self.since: list[tuple[int, int]] = []  # stretches after the event whose status that is
        self.ended = False
        self.lost = 0
        self.sound: tuple[tuple[int, int, int, int], int] | None = None  # what was found before reading lost its way

    def read(self, at: int) -> None:
        try:
            self._read_events(at)
        except _Noise:
            assert self.sound is not None
            place, self.rest = self.sound
            self.found.back_to(place)
            self.found.mended[-1] = Counter({"noise at the end of a track": 1})
        else:
            if not self.ended:
                self._mend("a track without an end")
        self.found.ends.append(self.rest)

    def _read_events(self, at: int) -> None:
        data, end = self.data, self.end
        while at < end:
            match = (GOING_ON if self.goes_on else BEGUN).match(data, at, end)
            if match is not None and match.end() > at:
                self.found.add(match[0], self.rest)
                self.rest, self.ended, self.n_data, self.goes_on = 0, False, 2, True
                self.since.append((at, match.end()))
                at = match.end()
            plain = self._read_plain(at)
            if plain == at < end:
                plain = self._read_one(at)
                if self.ended and self.stops:
                    break
            at = plain

    def _mend(self, what: str) -> None:
        self.found.mended[-1][what] += 1

    def _lose(self, what: str) -> None:
        """Count a fault after which it is not sure where the next event begins."""
        self._mend(what)
        self.lost += 1
        if self.sound is None:
            self.sound = self.found.place(), self.rest
        if self.lost > MOST_LOST:
            raise _Noise

    def _quantity(self, at: int) -> tuple[int, int]:
        """A time or length, and where it ends; −1 if the track ends before."""
        value, first = 0, at
        while at < self.end:
            byte = self.data[at]
            value = min(value << 7 | byte & 0x7F, _LONGEST)
            at += 1
            if byte < 0x80:
                if at - first > 4:
                    self._lose("a time or length of more than four bytes")
                return value, at
        return -1, at

    def _read_plain(self, at: int) -> int:
        """Read meta events and events with one data byte that follow one another in short times, as nearly all of them do: a short
        way through ``_read_one``; where they end."""
        data, end, found, track = self.data, self.end, self.found, len(self.found.begins) - 1
        while at + 4 <= end and data[at] < 0x80:
            status, second = data[at + 1], data[at + 2]
            if status == 0xFF and second != END_OF_TRACK and data[at + 3] < 0x80:
                stop = at + 4 + data[at + 3]
                if stop > end:
                    break
            elif 0xC0 <= status < 0xE0 and second < 0x80:
                stop = at + 3
                self.running, self.n_data, self.goes_on = status, 1, False
                self.since.clear()
            else:
                break
            self.rest += data[at]
            self.ended = False
            found.others.append((track, found.size, self.rest, data[at + 1 : stop]))
            at = stop
        if len(found.others) > found.budget:
            raise TooManyEvents
        return at

    def _read_one(self, at: int) -> int:
        """Read what is no sound channel event with two data bytes; where it ends."""
        delta, at = self._quantity(at)
        if delta < 0 or at >= self.end:
            if delta > 0 or not self.ended:
                self._mend("a track that is cut short")
            return self.end
        if delta > self.longest:
            self._mend(IMPOSSIBLE_TIME)
            delta = 0
        self.rest += delta
        self.ended = False
        status = self.data[at]
        if status < 0x80:
            if not self.n_data:
                self._lose("data without an event")
                return self._resume(at)
            return self._channel(at, self._status_running())
        if status < 0xF0:
            return self._channel(at + 1, status)
        if status in (0xF0, 0xF7, 0xFF):
            return self._system(at, status)
        at += 1
        if status >= 0xF8:  # of a clock, for instance, which ticks often; readers pass over it
            self._mend("an event that files must not have")
            self.found.add_other(self.rest, bytes([status]))
            return at
        self._lose("an event that files must not have")
        for _ in range(_N_DATA_SYSTEM.get(status, 0)):
            at += at < self.end and self.data[at] < 0x80
        return at

    def _status_running(self) -> int:
        """The status of the event before; stretches are looked through only here, where something is damaged."""
        while self.since:
            at, stop = self.since.pop()
            found = 0
            while at < stop:
                match = ONE.match(self.data, at, stop)
                assert match is not None
                found = match[1][0] if match[1] else found
                at = match.end()
            if found:
                self.running = found
                self.since.clear()
        return self.running

    def _channel(self, at: int, status: int) -> int:
        """A channel event, whose data begin at ``at``."""
        n_data = _N_DATA[status >> 4]
        if at + n_data > self.end:
            self._mend("a track that is cut short")
            return self.end
        self.running, self.n_data, self.goes_on = status, n_data, False
        self.since.clear()
        data = self.data[at : at + n_data]
        if max(data) > 0x7F:
            self._mend("a damaged event")
        if data[0] < 0x80:
            if n_data == 1:
                self.found.add_other(self.rest, bytes([status, data[0]]))
            else:
                self.found.add(bytes([0, status, data[0], min(data[1], 0x7F)]), self.rest)
                self.rest, self.goes_on = 0, True
        return at + n_data

    def _system(self, at: int, status: int) -> int:
        """A meta or system exclusive event. A status runs on after it, as players have it."""
        begin, head = at, 2 if status == 0xFF else 1
        length, at = self._quantity(at + head)
        if length < 0 or at + length > self.end:
            self._mend("a track that is cut short")
            return self._resume(begin + 1)
        kind = self.data[begin + 1] if status == 0xFF else -1
        if kind == END_OF_TRACK:
            self.ended = True
        else:
            content = self.data[begin : begin + head] + quantity(length) + self.data[at : at + length]
            self.found.add_other(self.rest, content)
        return at + length

    def _resume(self, at: int) -> int:
        """The next place that looks like an event with its time."""
        match = LIKE_AN_EVENT.search(self.data, at, self.end)
        return self.end if match is None else match.start()


def quantity(value: int) -> bytes:
    """A number as a variable-length quantity."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))
