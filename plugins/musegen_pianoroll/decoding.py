"""From the events of a MIDI file to notes, by the rules that the symusic parser follows, without a Python loop over notes.

Within a track, a note-on of a channel and pitch waits for its end; a note-off, or a note-on of velocity 0, ends the one that
has waited longest, and means nothing if none waits. Notes that nothing ends are left out. A track of the score
is what one track of the file plays on one channel with one program, that of the moment at which a note ends.
"""

from __future__ import annotations

import numpy as np

from musegen_pianoroll.events import Events
from musegen_pianoroll.score import Score, ScoreTrack

__all__ = ["decode"]

DRUM_CHANNEL = 9
# A note event as one int64, from the highest bit: track, 4 bits of channel, 7 of pitch, 24 of its number in the file, 1 if a note
# begins, 7 of the program. Sorted, they are in order of voice, then as in the file.
_PROGRAM_BITS, _NUMBER_BITS = 7, 24  # files of up to 16 MB
_ON = 1 << _PROGRAM_BITS
_NUMBER_AT = _PROGRAM_BITS + 1
_PITCH_AT = _NUMBER_AT + _NUMBER_BITS
_CHANNEL_AT = _PITCH_AT + 7


def decode(events: Events, ticks_per_beat: int) -> Score:
    """The score of a file, from its events."""
    names, tempos, metres = {}, [], []
    for track, tick, kind, content in events.metas:
        if kind == 0x03:
            names[track] = content.decode(errors="ignore")
        elif kind == 0x51 and any(content):
            tempos.append((tick, 6e7 / int.from_bytes(content, "big")))
        elif kind == 0x58:
            metres.append((tick, content[0], 1 << content[1]))
    rows = np.flatnonzero(events.status & 0xE0 == 0x80)  # note-on or note-off
    on, off = _pair(_note_keys(events, rows))
    tracks = [
        ScoreTrack(names.get(part >> 11, ""), part & 0x7F, part >> 7 & 0xF == DRUM_CHANNEL, notes)
        for part, notes in _parts(on, off, events.tick[rows])
    ]
    return Score(ticks_per_beat, sorted(tempos, key=lambda t: t[0]), sorted(metres, key=lambda m: m[0]), tracks)


def _note_keys(events: Events, rows: np.ndarray) -> np.ndarray:
    """Note-ons and note-offs as integers, int64 ``(n,)``, sorted.

    Args:
        rows: their numbers among the events.
    """
    status, velocity = events.status[rows], events.second[rows]
    # Programs stay what they are from one change to the next: (track, first event, program per channel) of each such time.
    times, programs = [], np.zeros(16, np.int64)
    changes = iter([*events.programs, (len(events.begins), 0, 0, 0)])
    track_of_change, row, channel, program = next(changes)
    for track, begin in enumerate(events.begins[:-1]):
        programs = np.zeros(16, np.int64)
        times.append((track, begin, programs))
        while track_of_change == track:
            if row > times[-1][1]:
                programs = programs.copy()
                times.append((track, row, programs))
            programs[channel] = program
            track_of_change, row, channel, program = next(changes)
    if not times:
        return np.zeros(0, np.int64)
    begins = np.searchsorted(rows, [begin for _, begin, _ in times])
    at = np.repeat(np.arange(0, 16 * len(times), 16), np.diff(begins, append=len(rows)))
    channels = np.array([track for track, _, _ in times])[:, None] << 4 | np.arange(16)
    known = (channels << _CHANNEL_AT | np.stack([programs for _, _, programs in times])).ravel()
    keys = known[at + (status & 0xF)]
    keys |= events.first[rows].astype(np.int64) << _PITCH_AT
    keys |= np.arange(0, len(rows) << _NUMBER_AT, 1 << _NUMBER_AT)
    keys |= ((status >= 0x90) & (velocity > 0)) * np.int64(_ON)
    keys.sort()
    return keys


def _pair(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted note events to the beginnings and the ends of notes, in the order of the latter."""
    if not len(keys) % 2:
        on, off = keys[0::2], keys[1::2]
        differ = on ^ off
        if (on & differ & _ON).all() and not (differ >> _PITCH_AT).any():  # every on is followed by its off
            return on, off
    # The notes that wait in a voice are a queue. Its length goes up and down by one and stops at zero: an end at length zero means
    # nothing. Without the stop, such an end is one at which the length falls below all that it has been in the voice.
    is_on = keys & _ON > 0
    voice = keys >> _PITCH_AT
    begins = np.diff(voice, prepend=-1) > 0
    length = np.cumsum(2 * is_on - 1 - (len(keys) + 1) * begins)  # every voice begins deeper than any before it
    lowest = np.minimum.accumulate(length - is_on)  # before an on, after an off
    idle = ~is_on & (np.diff(lowest, prepend=1) < 0)
    on, off = keys[is_on], keys[~is_on & ~idle]
    # The k-th end of a voice ends its k-th note.
    nth = np.arange(len(off)) - np.searchsorted(off >> _PITCH_AT, off >> _PITCH_AT)
    return on[np.searchsorted(on >> _PITCH_AT, off >> _PITCH_AT) + nth], off


def _parts(on: np.ndarray, off: np.ndarray, ticks: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Notes int64 ``(n, 3)`` by (track, channel, program), as one integer of the bits of these.

    Args:
        ticks: of the events, by their number.
    """
    if not len(off):
        return []
    part = off >> _CHANNEL_AT << _PROGRAM_BITS | off & (_ON - 1)
    bounds = [0, *(np.flatnonzero(part[1:] != part[:-1]) + 1).tolist(), len(part)]
    which = part[bounds[:-1]].tolist()
    if sorted(set(which)) != which:  # a channel that changes its program
        order = np.argsort(part, kind="stable")
        return _parts(on[order], off[order], ticks)
    numbers = (1 << _NUMBER_BITS) - 1
    notes = np.empty((3, len(part)), np.int64)  # columns lie together, which is how they are used
    notes[0] = ticks[on >> _NUMBER_AT & numbers]
    notes[1] = ticks[off >> _NUMBER_AT & numbers]
    notes[2] = off >> _PITCH_AT & 0x7F
    return [(w, notes.T[begin:end]) for w, begin, end in zip(which, bounds, bounds[1:], strict=False)]
