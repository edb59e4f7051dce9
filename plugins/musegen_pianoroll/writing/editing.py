"""Notes of a MIDI file that are taken out and added by hand; every other event stays as it is.

A voice is what one track of the file plays on one channel. The notes of voices that are edited are written anew: at a tick, notes
end first, then come all other events, then notes begin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from musegen.contracts.score import Note, Score, Voice
from musegen.errors import BadInput
from musegen_pianoroll.limits import NOTE_CAP
from musegen_pianoroll.reading.meta import TRACK_NAME, content_of
from musegen_pianoroll.reading.midi import read_scores
from musegen_pianoroll.reading.names import decode_name
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.writing.midi import DRUM_CHANNEL, Event, MidiFile
from musegen_pianoroll.writing.picture import COLOURS

__all__ = ["FileVoice", "FileVoices", "edited", "roll_of", "score_of", "voices_of"]


class FileVoice(NamedTuple):
    """A voice: number of its track, from 1, and its channel; its name, its first program, whether that is a drum kit."""

    number: int
    channel: int
    name: str
    program: int
    is_drum: bool


@dataclass(frozen=True)
class FileVoices:
    """What a file plays.

    Args:
        voices: also those without notes, so that some can be added.
        notes: as of ``Score``.
        ticks_per_beat: of its time.
    """

    voices: Sequence[FileVoice]
    notes: list[tuple[int, int, int, int, int]]
    ticks_per_beat: int

    def voice(self, i: int) -> FileVoice:
        """One of the voices.

        Raises:
            BadInput: there is none of this number.
        """
        if not 0 <= i < len(self.voices):
            raise BadInput(f"There is no voice {i}: the piece has {len(self.voices)}, numbered from 0.")
        return self.voices[i]


def voices_of(midi: MidiFile) -> FileVoices:
    """The voices of a file and their notes as they stand there, whatever pedals do."""
    (score,) = read_scores([(Path("piece.mid"), midi.content())], pedal="off", with_velocity=True)
    found: dict[tuple[int, int], FileVoice] = {}
    for track in score.tracks:
        key = track.number, track.channel
        found.setdefault(key, FileVoice(*key, track.name, track.program, track.is_drum))
    for number, events in enumerate(midi.tracks, 1):
        for _, event in events:
            if 0xC0 <= event[0] < 0xD0 and (number, event[0] & 0xF) not in found:
                channel = event[0] & 0xF
                voice = FileVoice(number, channel, _name(events), event[1], channel == DRUM_CHANNEL)
                found[number, channel] = voice
    order = {key: i for i, key in enumerate(sorted(found))}
    notes = sorted(
        (order[track.number, track.channel], start, end, pitch, velocity)
        for track in score.tracks
        for start, end, pitch, velocity in track.table.tolist()
    )
    notes.sort(key=lambda note: note[1])
    return FileVoices([found[key] for key in order], notes, score.ticks_per_beat)


def score_of(
    known: FileVoices, end: int, steps_per_beat: int, bars: Sequence[int], times: Sequence[tuple[float, float]]
) -> Score:
    """What a file plays, and the grid that a model sees it on.

    Args:
        end: tick at which the piece ends.
        bars: the first step of each bar.
        times: steps and when they are heard, in seconds.
    """
    per_step = known.ticks_per_beat / steps_per_beat
    voices = [
        Voice(voice.name or f"Track {voice.number}", COLOURS[i % len(COLOURS)], voice.is_drum)
        for i, voice in enumerate(known.voices)
    ]
    return Score(
        known.ticks_per_beat,
        per_step,
        end,
        [round(step * per_step) for step in bars],
        [(step * per_step, second) for step, second in times],
        voices,
        known.notes,
    )


def roll_of(known: FileVoices, steps_per_beat: int, n_steps: int) -> tuple[np.ndarray, list[StoreTrack]]:
    """What a file plays as a grid can hold it: bool ``(voices, 2, steps, 128)``, frame and onset; and the tracks of it."""
    roll, per_step = np.zeros((len(known.voices), 2, n_steps, 128), bool), known.ticks_per_beat / steps_per_beat
    for i, *ticks, pitch, _ in known.notes:
        first, last = (round(tick / per_step) for tick in ticks)
        roll[i, 0, first : max(last, first + 1), pitch] = True
        roll[i, 1, first : first + 1, pitch] = True
    return roll, [StoreTrack(voice.name, voice.program, voice.is_drum) for voice in known.voices]


def _name(events: Sequence[Event]) -> str:
    names = (decode_name(content_of(event)) for _, event in events if event[:2] == bytes([0xFF, TRACK_NAME]))
    return next(names, "")


def edited(midi: MidiFile, remove: Sequence[Note], add: Sequence[Note], end: int) -> MidiFile:
    """The file with other notes, as of ``Piece.edited``.

    Args:
        end: tick at which the piece ends.

    Raises:
        BadInput: there are no such notes, or there cannot be such.
    """
    known = voices_of(midi)
    for note in add:
        known.voice(note[0])
        _check(note, end)
    left: Counter[tuple[int, ...]] = Counter(note[:4] for note in known.notes)
    left.subtract(tuple(note[:4]) for note in remove)
    gone = next((note for note, n in left.items() if n < 0), None)
    if gone is not None:
        raise BadInput(f"The piece has no note {list(gone)} that could be removed: use notes of its score.")
    if len(known.notes) + len(add) > NOTE_CAP:
        raise BadInput(f"A piece may have {NOTE_CAP:,} notes: add fewer.")
    touched = {note[0] for note in [*remove, *add]}
    kept: dict[int, list[Note]] = {i: [] for i in touched}
    for note in known.notes:
        if note[0] in touched and left[note[:4]] > 0:
            left[note[:4]] -= 1
            kept[note[0]].append(note)
    tracks, ends = [list(events) for events in midi.tracks], list(midi.ends)
    for i in sorted(touched):
        voice, added = known.voices[i], [note for note in add if note[0] == i]
        tracks[voice.number - 1] = _rewritten(tracks[voice.number - 1], voice.channel, _placed(kept[i], added))
        ends[voice.number - 1] = max([ends[voice.number - 1], *(note[2] for note in added)])
    return replace(midi, tracks=tracks, ends=ends)


def _check(note: Note, end: int) -> None:
    _, first, last, pitch, velocity = note
    if not 0 <= first < last <= end:
        raise BadInput(f"The note {list(note)} cannot be: it begins before it ends, within 0 to {end} ticks.")
    if not (0 <= pitch <= 127 and 1 <= velocity <= 127):
        raise BadInput(f"The note {list(note)} cannot be: pitches go from 0 to 127, velocities from 1 to 127.")


def _placed(kept: Sequence[Note], added: Sequence[Note]) -> list[Note]:
    """Notes of one voice; of those pitches that something is added to, each ends where the next one begins."""
    busy = {note[3] for note in added}
    found = [note for note in kept if note[3] not in busy]
    for pitch in busy:
        by_start = {note[1]: note for note in [*kept, *added] if note[3] == pitch}
        own = [by_start[start] for start in sorted(by_start)]
        found += [(v, first, min(last, after[1]), p, loud) for (v, first, last, p, loud), after in pairwise(own)]
        found.append(own[-1])
    return found


def _rewritten(events: Sequence[Event], channel: int, notes: Sequence[Note]) -> list[Event]:
    """Events of a track with these notes in the place of all that it plays on a channel."""
    ordered = [
        (tick, 1, event) for tick, event in events if not (0x80 <= event[0] < 0xA0 and event[0] & 0xF == channel)
    ]
    for _, first, last, pitch, velocity in notes:
        ordered.append((first, 2, bytes([0x90 | channel, pitch, velocity])))
        # The end of a note without length comes after its beginning.
        ordered.append((last, 3 if last == first else 0, bytes([0x80 | channel, pitch, 0])))
    ordered.sort(key=lambda event: event[:2])  # stable: other events stay in their order
    return [(tick, event) for tick, _, event in ordered]
