"""Reading the events of MIDI tracks: fast where they are sound, and as players read them where they are not.

Nearly all events of nearly all tracks are channel events with two data bytes: notes, controllers, pitch bend. A regular expression
finds the longest stretch of them at once. What lies between two stretches (a program change, a text, something damaged) is read
by itself in Python (``track``). All stretches of all tracks, joined, are then turned into a table without a loop: such an event
has exactly three bytes below 0x80, the last byte of its time and its data, so the low bytes in threes are the table; and a high
byte belongs to a time if 3n low bytes stand before it, and is a status if 3n + 1 do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from musegen_pianoroll.reading.errors import TooManyEvents
from musegen_pianoroll.reading.track import IMPOSSIBLE_TIME, TrackReader

__all__ = ["Events", "Found", "read_events"]

_HIGH = bytes(range(0x80, 0x100))


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
    found = Found(most)
    for data, at, end, stops, longest in tracks:
        found.begin(longest)
        TrackReader(data, end, stops, longest, found).read(at)
    return found.events()


@dataclass
class Found:
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
