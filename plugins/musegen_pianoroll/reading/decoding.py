"""From the events of a MIDI file to notes, by the rules that the symusic parser follows, without a Python loop over notes.

Within a track, a note-on of a channel and pitch waits for its end; a note-off, or a note-on of velocity 0, ends the one that
has waited longest, and means nothing if none waits. Notes that nothing ends are left out. A track of the score
is what one track of the file plays on one channel with one program, that of the moment at which a note begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import numpy as np

from musegen_pianoroll.reading.events import Events
from musegen_pianoroll.reading.score import Score, ScoreTrack

__all__ = ["decode"]

DRUM_CHANNEL = 9
# A note event as one int64, from the highest bit: track, 4 bits of channel, 7 of pitch, 24 of its number among the events, 7 of the
# program. Sorted, they are in order of voice, then as in the file.
_NUMBER_AT, _NUMBER_BITS = 7, 24  # files of up to 16 MB, together
_PITCH_AT = _NUMBER_AT + _NUMBER_BITS
_CHANNEL_AT = _PITCH_AT + 7


def decode(events: Events, files: Sequence[tuple[int, int]]) -> list[Score]:
    """The scores of files, from their events.

    Args:
        files: ticks per beat and number of tracks of each.
    """
    scores = [Score(ticks_per_beat, [], [], []) for ticks_per_beat, _ in files]
    of_track = [score for score, (_, n_tracks) in zip(scores, files, strict=True) for _ in range(n_tracks)]
    names = {}
    for track, tick, kind, content in events.metas:
        if kind == 0x03:
            names[track] = content.decode(errors="ignore")
        elif kind == 0x51 and any(content):
            of_track[track].tempos.append((tick, 6e7 / int.from_bytes(content, "big")))
        elif kind == 0x58:
            of_track[track].time_signatures.append((tick, content[0], 1 << content[1]))
    on, off = _pair(*_note_keys(events))
    for part, notes in _parts(on, off, events.tick):
        track, is_drum = part >> 11, part >> 7 & 0xF == DRUM_CHANNEL
        of_track[track].tracks.append(ScoreTrack(names.get(track, ""), part & 0x7F, is_drum, notes))
    for score in scores:
        score.tempos.sort(key=itemgetter(0))
        score.time_signatures.sort(key=itemgetter(0))
    return scores


def _note_keys(events: Events) -> tuple[np.ndarray, np.ndarray]:
    """Note-ons and note-offs as integers, int64, sorted."""
    if not len(events.tick):
        return events.tick, events.tick
    # Programs stay what they are from one change to the next: track and first event of each such time.
    times = sorted({*enumerate(events.begins[:-1]), *((track, event) for track, event, _, _ in events.programs)})
    programs = np.zeros((len(times), 16), np.int64)
    nth = {time: i for i, time in enumerate(times)}
    last = {track: i for i, (track, _) in enumerate(times)}
    for track, event, channel, program in events.programs:
        programs[nth[track, event] : last[track] + 1, channel] = program
    channels = np.array([track << 4 for track, _ in times])[:, None] | np.arange(16)
    known = (channels << _CHANNEL_AT | programs).reshape(-1)
    lengths = [end - begin for (_, begin), (_, end) in zip(times, [*times[1:], (0, len(events.tick))], strict=True)]
    keys = known[np.repeat(np.arange(0, 16 * len(times), 16), lengths) + (events.status & 0xF)]
    keys |= events.first.astype(np.int64) << _PITCH_AT
    keys |= np.arange(0, len(keys) << _NUMBER_AT, 1 << _NUMBER_AT)
    kind = events.status >> 4
    is_off = (kind == 0x8) | (kind == 0x9) & (events.second == 0)
    on, off = keys[((kind == 0x9) & ~is_off).nonzero()[0]], keys[is_off.nonzero()[0]]
    on.sort()
    off.sort()
    return on, off


def _pair(on: np.ndarray, off: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted note-ons and note-offs to the beginnings and the ends of notes, in order of the latter."""
    if len(on) == len(off) and ((off > on) & (on >> _PITCH_AT == off >> _PITCH_AT)).all():
        return on, off  # the k-th end of a voice comes after its k-th beginning: no end is idle, nothing waits in vain
    # The notes that wait in a voice are a queue. Its length goes up and down by one and stops at zero: an end at length zero is
    # idle. Without the stop, such an end is one at which the length falls below all that it has been in the voice.
    keys = np.concatenate([on, off])
    order = np.argsort(keys)
    keys, is_on = keys[order], order < len(on)
    begins = np.diff(keys >> _PITCH_AT, prepend=-1) > 0
    length = np.cumsum(2 * is_on - 1 - (len(keys) + 1) * begins)  # every voice begins deeper than any before it
    lowest = np.minimum.accumulate(length - is_on)  # before an on, after an off
    off = keys[~is_on & (np.diff(lowest, prepend=1) == 0)]
    # The k-th end of a voice ends its k-th note.
    voice = off >> _PITCH_AT
    nth = np.arange(len(off)) - np.searchsorted(voice, voice)
    return on[np.searchsorted(on >> _PITCH_AT, voice) + nth], off


def _parts(on: np.ndarray, off: np.ndarray, ticks: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Notes int64 ``(n, 3)`` by (track, channel, program), as one integer of the bits of these.

    Args:
        ticks: of all events.
    """
    if not len(off):
        return []
    part = off >> _CHANNEL_AT << _NUMBER_AT | on & 0x7F
    bounds = [0, *((part[1:] != part[:-1]).nonzero()[0] + 1).tolist(), len(part)]
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
