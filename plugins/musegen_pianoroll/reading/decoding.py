"""From the events of MIDI files to notes, without a Python loop over them.

Within a track, a note-on of a channel and pitch waits for its end; a note-off, or a note-on of velocity 0, ends the one that
has waited longest, and means nothing if none waits. A note that is still waiting in the end stops with the last note-off of its
channel and pitch, if that comes after it, and otherwise with its track. A track of the score is what one track of the file plays on
one channel with one program, that of the moment at which a note begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

import numpy as np

from musegen_pianoroll.reading.channels import DRUM_BIT, Pedals, instruments
from musegen_pianoroll.reading.events import Events
from musegen_pianoroll.reading.layout import Layout
from musegen_pianoroll.reading.meta import INSTRUMENT_NAME, KEY, METRE, PORT, TEMPO, TRACK_NAME, content_of, sound_meta
from musegen_pianoroll.reading.names import decode_name, names_drums
from musegen_pianoroll.reading.options import Pedal
from musegen_pianoroll.reading.score import Score, ScoreTrack

__all__ = ["decode"]

_MEANING = {TEMPO: "tempo", METRE: "time signature", KEY: "key signature", TRACK_NAME: "name", INSTRUMENT_NAME: "name"}
PIANOS = 8
"""Programs below it are pianos."""
# A note event as one int64, from the highest bit: track, 4 bits of channel, 7 of pitch, 24 of its number among the events, 8 of
# what plays it. Sorted, they are in order of voice (track, channel and pitch), then as in the file.
_NUMBER_AT, _NUMBER_BITS = 8, 24  # files of up to 16 MB, together
_PITCH_AT = _NUMBER_AT + _NUMBER_BITS
_CHANNEL_AT = _PITCH_AT + 7
_NUMBERS = (1 << _NUMBER_BITS) - 1


def decode(
    events: Events, layouts: Sequence[Layout], pedal: Pedal = "piano", with_velocity: bool = False
) -> list[Score]:
    """The scores of files, from the events of all their tracks.

    Args:
        pedal: whose notes sound for as long as the sustain pedal is down.
    """
    owner = np.repeat(np.arange(len(layouts)), [len(layout.tracks) for layout in layouts])
    first_track = np.searchsorted(owner, np.arange(len(layouts))).tolist()
    ends = np.array(events.ends, np.int64)
    last = np.maximum.reduceat(ends, first_track)
    faults = [Counter(layout.mended) for layout in layouts]
    for number, found in enumerate(events.mended):
        faults[owner[number]].update(found)
    tempos, metres, names = _read_texts(events, owner.tolist(), layouts, faults)
    scores = [
        Score(layout.ticks_per_beat, tempos[i], metres[i], [], int(last[i]), tuple(_in_words(faults[i])))
        for i, layout in enumerate(layouts)
    ]
    bus = _buses(events, owner)
    on, off = _pair(*_note_keys(events, bus))
    notes = np.empty((3 + with_velocity, len(on)), np.int64)  # columns lie together, which is how they are used
    rows = on >> _NUMBER_AT & _NUMBERS
    notes[0] = events.tick[rows]
    if with_velocity:
        notes[3] = events.second[rows]
    track = on >> _CHANNEL_AT + 4
    notes[1] = np.where(off < 0, ends[track], events.tick[off])
    notes[2] = on >> _PITCH_AT & 0x7F
    if pedal != "off" and len(on):
        pedals = Pedals.of(events, bus, last[owner[np.unique(bus, return_index=True)[1]]])
        _hold(notes, on, bus[track] << 4 | on >> _CHANNEL_AT & 0xF, pedals, pedal)
    for part, of_part in _parts(on, notes):
        at, program, is_drum = part >> 12, part & 0x7F, bool(part & DRUM_BIT)
        name = names.get(at, "")
        scores[owner[at]].tracks.append(
            ScoreTrack(
                name,
                program,
                is_drum or names_drums(name, program),
                of_part[:, :3],
                at - first_track[owner[at]] + 1,
                part >> _NUMBER_AT & 0xF,
                of_part[:, 3] if with_velocity else None,
            )
        )
    return scores


def _in_words(faults: Counter[str]) -> list[str]:
    """What was wrong with a file, each kind once."""
    return [what if n == 1 else f"{what} ({n:,} times)" for what, n in faults.items()]


Tempos = list[list[tuple[int, float]]]
Metres = list[list[tuple[int, int, int]]]


def _read_texts(
    events: Events, owner: Sequence[int], layouts: Sequence[Layout], faults: Sequence[Counter[str]]
) -> tuple[Tempos, Metres, dict[int, str]]:
    """Tempos and metres of each file in order, and names of tracks by their number; what makes no sense is counted."""
    tempos: Tempos = [[] for _ in layouts]
    metres: Metres = [[] for _ in layouts]
    names: dict[int, str] = {}
    for track, _, tick, event in events.others:
        if event[0] != 0xFF or event[1] not in _MEANING:
            continue
        i, kind, sound = owner[track], event[1], sound_meta(event)
        content = content_of(sound) if sound else b""
        if not sound or (kind == TEMPO and not any(content)) or (kind == METRE and (not content[0] or content[1] > 6)):
            faults[i][f"an impossible {_MEANING[kind]}"] += 1
        elif kind == TEMPO:
            if not layouts[i].in_frames:
                tempos[i].append((tick, 6e7 / int.from_bytes(content, "big")))
        elif kind == METRE:
            metres[i].append((tick, content[0], 1 << content[1]))
        elif kind != KEY and layouts[i].kind and (kind == TRACK_NAME or track not in names):
            names[track] = decode_name(
                content
            )  # that of the instrument only where there is no other; a title names no track
    for of_tempo, of_metre in zip(tempos, metres, strict=True):  # stable: of several at one tick the last one counts
        of_tempo.sort(key=itemgetter(0))
        of_metre.sort(key=itemgetter(0))
    return tempos, metres, names


def _buses(events: Events, owner: np.ndarray) -> np.ndarray:
    """Numbers of what has sixteen channels of its own, of each track: a port of a file."""
    port = np.zeros(len(owner), np.int64)
    for track, _, _, event in events.others:
        if event[0] == 0xFF and event[1] == PORT and (sound := sound_meta(event)):
            port[track] = sound[3]
    return np.unique(owner << 8 | port, return_inverse=True)[1].reshape(-1) if port.any() else owner


def _note_keys(events: Events, bus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Note-ons and note-offs as integers, int64, sorted."""
    is_on = (events.kind == 0x90) & (events.second > 0)
    on, off = is_on.nonzero()[0], ((events.kind <= 0x90) & ~is_on).nonzero()[0]
    of_track = np.repeat(np.arange(len(bus)), np.diff(events.begins))

    def keys(rows: np.ndarray) -> np.ndarray:
        part, pitch = of_track[rows] << 4 | events.status[rows] & 0xF, events.first[rows]
        order = _by_voice(part, pitch, 16 * len(bus))
        found = (part << 7 | pitch) << _PITCH_AT | rows << _NUMBER_AT
        return found[order]

    on_keys, off_keys = keys(on), keys(off)
    on = on_keys >> _NUMBER_AT & _NUMBERS
    if len(on):
        track = of_track[on]
        on_keys |= instruments(events, bus, on, track, bus[track] << 4 | events.status[on] & 0xF)
    return on_keys, off_keys


def _by_voice(part: np.ndarray, pitch: np.ndarray, n_parts: int) -> np.ndarray:
    """The order of events by voice, and for each as they are: numbers of 16 bits sort several times as fast as others."""
    used = np.zeros(n_parts, np.int64)
    used[part] = 1
    voice = (np.cumsum(used) - 1)[part] << 7 | pitch
    return np.argsort(voice.astype(np.uint16) if used.sum() <= 1 << 9 else voice, kind="stable")


def _pair(on: np.ndarray, off: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Beginnings of notes, as they are, and of each the number of the event that ends it; −1 for the end of the track."""
    if len(on) == len(off) and ((off > on) & (on >> _PITCH_AT == off >> _PITCH_AT)).all():
        return on, off >> _NUMBER_AT & _NUMBERS  # the k-th end of a voice comes after its k-th beginning
    # The notes that wait in a voice are a queue. Its length goes up and down by one and stops at zero: an end at length zero is
    # idle. Without the stop, such an end is one at which the length falls below all that it has been in the voice.
    keys = np.concatenate([on, off])
    order = np.argsort(keys)
    keys, is_on = keys[order], order < len(on)
    begins = np.diff(keys >> _PITCH_AT, prepend=-1) > 0
    length = np.cumsum(2 * is_on - 1 - (len(keys) + 1) * begins)  # every voice begins deeper than any before it
    lowest = np.minimum.accumulate(length - is_on)  # before an on, after an off
    used = keys[~is_on & (np.diff(lowest, prepend=1) == 0)]
    # The k-th end of a voice ends its k-th note.
    voice = used >> _PITCH_AT
    nth = np.arange(len(used)) - np.searchsorted(voice, voice)
    ends = np.full(len(on), -1, np.int64)
    ends[np.searchsorted(on >> _PITCH_AT, voice) + nth] = used >> _NUMBER_AT & _NUMBERS
    waiting = (ends < 0).nonzero()[0]
    if len(waiting) and len(off):
        last = off[np.searchsorted(off >> _PITCH_AT, on[waiting] >> _PITCH_AT, "right") - 1]  # of its voice
        comes_after = (last >> _PITCH_AT == on[waiting] >> _PITCH_AT) & (last > on[waiting])
        ends[waiting[comes_after]] = last[comes_after] >> _NUMBER_AT & _NUMBERS
    return on, ends


def _hold(notes: np.ndarray, on: np.ndarray, channel: np.ndarray, pedals: Pedals | None, pedal: Pedal) -> None:
    """Let notes sound for as long as the pedal of their channel is down."""
    if pedals is None:
        return
    plays = on & (2 * DRUM_BIT - 1)
    held = ((plays < PIANOS) if pedal == "piano" else plays < DRUM_BIT).nonzero()[0]
    notes[1, held] = pedals.held(channel[held], notes[1, held])


def _parts(on: np.ndarray, notes: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Notes int64 ``(n, …)`` by (track, channel, what plays), as one integer of the bits of these."""
    if not len(on):
        return []
    part = on >> _CHANNEL_AT << _NUMBER_AT | on & (2 * DRUM_BIT - 1)
    bounds = [0, *((part[1:] != part[:-1]).nonzero()[0] + 1).tolist(), len(part)]
    which = part[bounds[:-1]].tolist()
    if sorted(set(which)) != which:  # a channel that changes its program
        order = np.argsort(part, kind="stable")
        return _parts(on[order], notes[:, order])
    return [(w, notes.T[begin:end]) for w, begin, end in zip(which, bounds, bounds[1:], strict=False)]
