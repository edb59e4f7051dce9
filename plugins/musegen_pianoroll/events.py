"""Showing that the events of a MIDI file are sound, without a Python loop over them.

Events follow one another: where one begins is known only from the one before. But a channel event with two data bytes
(notes, controllers, pitch bend: nearly all events of nearly all files) has exactly three bytes below 0x80, with running status
and without: the last byte of its time, and its data. The other bytes of a time and the status byte are high. So in a stretch of
such events, counting low bytes in threes says what each high byte is: with 3n low bytes before it, it belongs to a time;
with 3n + 1 it is a status byte; with 3n + 2 it has no business there. A stretch ends at the first high byte that does not fit:
a system event or an event with one data byte, which are few and are read one by one.

``shown_sound`` never accepts what ``midi.check_midi_bytes`` would refuse. It gives up where the caps come near and where
there are too many stretches; the caller then walks event by event, and finds what is wrong, if anything is.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

__all__ = ["shown_sound"]

_N_DATA = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}


def shown_sound(data: bytes, tracks: list[tuple[int, int]], max_ticks: int, max_notes: int) -> bool:
    """Whether every event of every track is shown to be sound.

    Args:
        data: the file.
        tracks: (first byte, byte after the last) of each, in order.
        max_ticks: no track may be longer.
        max_notes: the file may not have more.
    """
    raw = np.frombuffer(data, np.uint8)
    highs = np.flatnonzero(raw > 0x7F)  # (H,): places of the bytes from 0x80 up
    n_lows = highs - np.arange(len(highs))  # (H,): low bytes before each
    value = raw[highs]
    unfit = _unfit(n_lows, value)
    place, lows_before = highs.data, n_lows.data
    phases = np.full(len(highs), 3, np.uint8)  # of the stretch that each belongs to; 3: of none
    budget, ticks, n_events = 64 + len(data) // 32, 0, 0
    for at, end in tracks:
        n_data = 0  # of the running status
        while at < end:
            if n_data == 2 and at + 1 < end and data[at + 1] != 0xFF:
                first = bisect_left(place, at)
                low = at - first
                last = unfit[low % 3].find(1, first)
                if last < 0:
                    return False  # not even an end of the track
                n = (lows_before[last] - low) // 3
                if n:
                    after = bisect_left(lows_before, low + 3 * n, first, last)
                    phases[first:after] = low % 3
                    at = low + 3 * n + after
                    n_events += n
                    ticks += 0x7F * n  # at most, for the last bytes of times
            event = _event(data, at, end, n_data)
            budget -= 1
            if event is None or budget < 0:
                return False
            delta, at, n_data, is_last = event
            ticks, n_events = ticks + delta, n_events + 1
            if is_last:
                break
    return (
        n_events <= max_notes and ticks + _more_ticks(n_lows, value, phases) <= max_ticks
    )  # of all tracks, so of each


def _unfit(n_lows: np.ndarray, value: np.ndarray) -> list[bytes]:
    """Per phase of a stretch (low bytes before it, modulo 3) and high byte: 1 if the byte does not fit in."""
    turn = n_lows % 3
    repeated, fourth = np.zeros((2, len(n_lows)), bool)
    repeated[1:] = n_lows[1:] == n_lows[:-1]
    fourth[3:] = n_lows[3:] == n_lows[:-3]
    no_status = (value >= 0xC0) & (value & 0xF0 != 0xE0) | repeated
    kinds = [turn == i for i in range(3)]
    return [(kinds[phase - 1] | kinds[phase - 2] & no_status | kinds[phase] & fourth).tobytes() for phase in range(3)]


def _more_ticks(n_lows: np.ndarray, value: np.ndarray, phases: np.ndarray) -> int:
    """What the high bytes of times in stretches add up to."""
    of_time = np.flatnonzero(n_lows % 3 == phases)
    digits = value[of_time].astype(np.int64) & 0x7F
    n_lows = n_lows[of_time]
    total = int(digits.sum()) << 7
    for i in (1, 2):  # followed by i high bytes of the same time
        more = np.flatnonzero(n_lows[i:] == n_lows[:-i])
        if not len(more):
            break
        total += (int(digits[more].sum()) << 7 * (i + 1)) - (int(digits[more].sum()) << 7 * i)
    return total


def _event(data: bytes, at: int, end: int, n_data: int) -> tuple[int, int, int, bool] | None:
    """The event at ``at``: its time, where it ends, data bytes of the running status, whether it is the last; None if unsound."""
    read = _quantity(data, at, end)
    if read is None or read[1] >= end:
        return None
    delta, at = read
    status = data[at]
    if status < 0xF0:
        if status >= 0x80:
            n_data, at = _N_DATA[status >> 4], at + 1
        sound = 0 < n_data <= end - at and data[at] < 0x80 and data[at + n_data - 1] < 0x80
        return (delta, at + n_data, n_data, False) if sound else None
    if status not in (0xF0, 0xF7, 0xFF):
        return None
    meta, at = (data[at + 1], at + 2) if status == 0xFF and at + 1 < end else (-1, at + 1)
    read = _quantity(data, at, end)
    if read is None or read[0] + read[1] > end:
        return None
    length, at = read
    if meta == 0x58 and (length < 2 or data[at] == 0 or data[at + 1] > 6):
        return None
    if meta == 0x51 and length != 3:
        return None
    return delta, at + length, n_data, meta == 0x2F


def _quantity(data: bytes, at: int, end: int) -> tuple[int, int] | None:
    """A variable-length quantity of at most four bytes and where it ends."""
    if at < end and data[at] < 0x80:
        return data[at], at + 1
    value = 0
    for i in range(at, min(at + 4, end)):
        value = value << 7 | data[i] & 0x7F
        if data[i] < 0x80:
            return value, i + 1
    return None
