"""MIDI files event by event: what was read is written again as it was, and new parts stand beside it.

A standard MIDI file is a header and tracks; a track is events, each with the ticks since the one before. A new part has a track
and a channel of its own. Where the sixteen channels do not suffice, it goes to a second port (meta event 0x21), which has sixteen
more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from musegen.files import write_atomically
from musegen_pianoroll.reading.meta import METRE, PORT, TEMPO, TRACK_NAME
from musegen_pianoroll.reading.track import END_OF_TRACK, quantity
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.velocities import VELOCITY

__all__ = [
    "DRUM_CHANNEL",
    "Event",
    "MidiFile",
    "Part",
    "metre_event",
    "midi_of",
    "notes_of",
    "tempo_event",
    "to_pretty_midi",
    "velocities_of",
    "write_midi",
]

DRUM_CHANNEL = 9
MOST_PORTS = 128
TICKS_PER_BEAT = 480

Event = tuple[int, bytes]
"""A tick, and the bytes of an event, with its status."""


def notes_of(roll: np.ndarray) -> np.ndarray:
    """Notes of a roll as int64 ``(n, 4)`` rows of track, pitch, start step, end step, sorted in that order.

    Args:
        roll: bool ``(tracks, 2, steps, 128)``, planes frame and onset. A frame that rises without an onset begins a note too.
    """
    frame, onset = roll[:, 0].transpose(0, 2, 1), roll[:, 1].transpose(0, 2, 1)  # (tracks, 128, steps)
    frame = frame | onset
    before = np.concatenate([np.zeros_like(frame[..., :1]), frame[..., :-1]], -1)
    begins = onset | (frame & ~before)
    # A note ends where its frame stops or where the next one begins; each start has exactly one such end after it.
    ends = np.concatenate([before, frame[..., -1:]], -1) & ~np.concatenate(
        [frame & ~begins, np.zeros_like(frame[..., :1])], -1
    )
    track, pitch, start = np.nonzero(begins)
    end = np.nonzero(ends)[2]
    return np.stack([track, pitch, start, end], 1).astype(np.int64)


def velocities_of(notes: np.ndarray, velocities: np.ndarray | None, unknown: int = VELOCITY) -> np.ndarray:
    """The velocity of each of some notes ``(n, 4)``, as of ``notes_of``, int64 ``(n,)``.

    Args:
        velocities: of notes that begin, uint8 ``(tracks, steps, 128)``; None, and where 0: ``unknown``.
    """
    if velocities is None:
        return np.full(len(notes), unknown)
    track, pitch, start, _ = notes.T
    found = velocities[track, start, pitch].astype(np.int64)
    return np.where(found > 0, found, unknown)


@dataclass(frozen=True)
class Part:
    """A track of new notes.

    Args:
        name: of the track.
        program: General MIDI, from 0.
        is_drum: a drum kit.
        notes: int64 ``(n, 3)``: start tick, end tick, pitch.
        begins: tick at which the instrument is set.
        velocity: of all notes, or of each ``(n,)``.
    """

    name: str
    program: int
    is_drum: bool
    notes: np.ndarray
    begins: int = 0
    velocity: int | np.ndarray = VELOCITY


@dataclass(frozen=True)
class MidiFile:
    """A file as its events.

    Args:
        division: of the header, as it is: ticks per quarter note, or frames.
        tracks: events of each, in order, without the end of the track.
        ends: tick of the end of each track.
        kind: 0 or 1.

    >>> import numpy as np
    >>> from musegen_pianoroll.writing.midi import MidiFile, Part
    >>> file = MidiFile.new(480, 1920, tempo_bpm=120, metre=(4, 4))
    >>> file = file.beside([Part("Piano", 0, False, np.array([[0, 480, 60]]))])
    >>> len(file.tracks), len(file.content())
    (2, 76)
    """

    division: int
    tracks: Sequence[Sequence[Event]]
    ends: Sequence[int]
    kind: int = 1

    @classmethod
    def new(cls, ticks_per_beat: int, end: int, tempo_bpm: float, metre: tuple[int, int]) -> Self:
        """A file of one track, which says tempo and metre and lasts to a tick."""
        return cls(ticks_per_beat, [[(0, tempo_event(tempo_bpm)), (0, metre_event(*metre))]], [end])

    def beside(self, parts: Sequence[Part], first: Iterable[Event] = (), end: int = 0) -> Self:
        """This file with new parts, each on a track and a channel of its own.

        Args:
            first: events for the first track, after all of its own at their ticks: tempos, metres.
            end: tick at which the new parts end; the end of the file if that comes later.
        """
        channels = _Channels(self.tracks)
        own = [sorted([*self.tracks[0], *first], key=lambda event: event[0]), *self.tracks[1:]]
        new = [_track(part, *channels.take(part.is_drum)) for part in parts]
        ends = [*self.ends, *(max(end, *self.ends) for _ in new)]
        if not new:
            ends[0] = max(end, ends[0])
        return type(self)(self.division, [*own, *new], ends, self.kind if len(own) + len(new) == 1 else 1)

    def content(self) -> bytes:
        """The bytes of the file."""
        chunks = [b"MThd", struct.pack(">IHHH", 6, self.kind, len(self.tracks), self.division)]
        for events, end in zip(self.tracks, self.ends, strict=True):
            body, now = [], 0
            for tick, event in [*events, (max(end, events[-1][0] if events else 0), bytes([0xFF, END_OF_TRACK, 0]))]:
                body += [quantity(tick - now), event]
                now = tick
            chunk = b"".join(body)
            chunks += [b"MTrk", struct.pack(">I", len(chunk)), chunk]
        return b"".join(chunks)


@dataclass
class _Channels:
    """Which channels of which ports are free."""

    tracks: Sequence[Sequence[Event]]
    used: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        for events in self.tracks:
            port = 0
            for _, event in events:
                if event[0] == 0xFF and event[1] == PORT:
                    port = event[3]
                elif event[0] < 0xF0:
                    self.used.add((port, event[0] & 0xF))

    def take(self, is_drum: bool) -> tuple[int, int]:
        """A free port and channel."""
        for port in range(MOST_PORTS):
            for channel in [DRUM_CHANNEL] if is_drum else [c for c in range(16) if c != DRUM_CHANNEL]:
                if (port, channel) not in self.used:
                    self.used.add((port, channel))
                    return port, channel
        raise ValueError("more parts than channels of 128 ports")


def _track(part: Part, port: int, channel: int) -> list[Event]:
    """Events of a new track; at one tick notes end before others begin."""
    events: list[Event] = [(0, text_event(TRACK_NAME, part.name))]
    if port:
        events.append((0, bytes([0xFF, PORT, 1, port])))
    events.append((part.begins, bytes([0xC0 | channel, part.program])))
    start, end, pitch = part.notes.T.tolist()
    velocity = np.broadcast_to(part.velocity, len(start)).tolist()
    on = [(tick, 1, bytes([0x90 | channel, p, v])) for tick, p, v in zip(start, pitch, velocity, strict=True)]
    off = [(tick, 0, bytes([0x80 | channel, p, 0])) for tick, p in zip(end, pitch, strict=True)]
    return events + [(tick, event) for tick, _, event in sorted(on + off)]


def text_event(kind: int, text: str) -> bytes:
    content = text.encode()
    return bytes([0xFF, kind]) + quantity(len(content)) + content


def tempo_event(bpm: float) -> bytes:
    """A change of tempo."""
    return bytes([0xFF, TEMPO, 3]) + min(max(round(6e7 / bpm), 1), 0xFFFFFF).to_bytes(3, "big")


def metre_event(numerator: int, denominator: int) -> bytes:
    """A change of metre; the metronome clicks on beats, which are of three eighths where these are grouped so."""
    compound = denominator >= 8 and numerator % 3 == 0
    clocks = 24 * 4 // denominator * (3 if compound else 1)
    return bytes([0xFF, METRE, 4, numerator, denominator.bit_length() - 1, clocks, 8])


def midi_of(
    roll: np.ndarray,
    tracks: Sequence[StoreTrack],
    *,
    steps_per_beat: int,
    tempo_bpm: float = 120.0,
    metre: tuple[int, int] = (4, 4),
    changes: Sequence[tuple[int, int, int]] = (),
    velocities: np.ndarray | None = None,
) -> MidiFile:
    """A roll as a MIDI file, exact on the grid and as long as the roll: a track for tempo and metre, and one for each track.

    Args:
        roll: bool ``(tracks, 2, steps, 128)``.
        tracks: names, programs, drums.
        steps_per_beat: steps per quarter note.
        changes: of the metre, as (step, numerator, denominator).
        velocities: of notes, as of ``velocities_of``.
    """
    per_step = max(1, TICKS_PER_BEAT // steps_per_beat)
    notes, end = notes_of(roll), roll.shape[2] * per_step
    parts = []
    for i, track in enumerate(tracks):
        own = notes[notes[:, 0] == i]
        ticks = np.stack([own[:, 2] * per_step, own[:, 3] * per_step, own[:, 1]], 1)
        loud = velocities_of(own, velocities)
        parts.append(Part(track.name, track.program, track.is_drum, ticks, velocity=loud))
    later = [(step * per_step, metre_event(*changed)) for step, *changed in changes]
    return MidiFile.new(per_step * steps_per_beat, end, tempo_bpm, metre).beside(parts, later, end)


def to_pretty_midi(
    roll: np.ndarray,
    tracks: Sequence[StoreTrack],
    *,
    steps_per_beat: int,
    tempo_bpm: float = 120.0,
    metre: tuple[int, int] = (4, 4),
    changes: Sequence[tuple[int, int, int]] = (),
    velocities: np.ndarray | None = None,
) -> Any:
    """A roll as a ``pretty_midi.PrettyMIDI``, exact on the grid; arguments as of ``midi_of``."""
    import pretty_midi

    per_step = max(1, TICKS_PER_BEAT // steps_per_beat)
    midi = pretty_midi.PrettyMIDI(resolution=per_step * steps_per_beat, initial_tempo=tempo_bpm)
    midi.time_signature_changes.append(pretty_midi.TimeSignature(*metre, 0))
    for track in tracks:
        midi.instruments.append(pretty_midi.Instrument(track.program, track.is_drum, track.name))
    step_s = 60 / tempo_bpm / steps_per_beat
    for step, *changed in changes:
        midi.time_signature_changes.append(pretty_midi.TimeSignature(*changed, step * step_s))
    notes = notes_of(roll)
    loud = velocities_of(notes, velocities).tolist()
    for (track, pitch, start, end), velocity in zip(notes.tolist(), loud, strict=True):
        midi.instruments[track].notes.append(pretty_midi.Note(velocity, pitch, start * step_s, end * step_s))
    return midi


def write_midi(roll: np.ndarray, path: Path, tracks: Sequence[StoreTrack], **grid: Any) -> None:
    """Write a roll as a MIDI file, whole or not at all; arguments as of ``midi_of``."""
    write_atomically(path, midi_of(roll, tracks, **grid).content())
