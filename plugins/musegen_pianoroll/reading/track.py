"""One track of a MIDI file, from its first event to its last: sound events by stretches, others one by one, as players read them.

A damaged event costs that event, and what was wrong is counted. Where it is not clear where the next event begins, reading goes on
at the next place that looks like one.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from musegen_pianoroll.reading.errors import TooManyEvents

if TYPE_CHECKING:
    from musegen_pianoroll.reading.events import Found

__all__ = ["END_OF_TRACK", "IMPOSSIBLE_TIME", "MOST_LOST", "TrackReader", "quantity"]

_TIME, _STATUS, _DATA = rb"[\x80-\xff]{0,3}+[\x00-\x7f]", rb"[\x80-\xbf\xe0-\xef]", rb"[\x00-\x7f][\x00-\x7f]"
_STRETCH = rb"(?:" + _TIME + _STATUS + rb"?+" + _DATA + rb")*+"
GOING_ON = re.compile(_STRETCH)
"""A stretch after an event with two data bytes, whose status may run on."""
BEGUN = re.compile(_TIME + _STATUS + _DATA + _STRETCH)
"""A stretch whose first event has a status."""
ONE = re.compile(_TIME + rb"(" + _STATUS + rb"?+)" + _DATA)
LIKE_AN_EVENT = re.compile(rb"[\x00-\x7f](?:[\x80-\xbf\xe0-\xef][\x00-\x7f]{2}|[\xc0-\xdf][\x00-\x7f]|\xff[\x00-\x7f])")
_N_DATA = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}
_N_DATA_SYSTEM = {0xF1: 1, 0xF2: 2, 0xF3: 1}
_LONGEST = 1 << 40
"""Ticks; more than any piece may have, and few enough to be added up."""
END_OF_TRACK = 0x2F
IMPOSSIBLE_TIME = "an impossible time"
MOST_LOST = 8
"""How often reading may lose its way in a track; from then on, the track is taken for noise from the first such place on."""


class _Noise(Exception):
    """A track is no music any more."""


class TrackReader:
    """Reads one track; ``rest`` is what has passed since the last channel event with two data bytes."""

    def __init__(self, data: bytes, end: int, stops: bool, longest: int, found: Found) -> None:
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
