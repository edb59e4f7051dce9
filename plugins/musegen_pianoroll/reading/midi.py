"""Reading MIDI files of strangers: what players play of them is read, and what is damaged costs what it is in.

``layout`` finds the tracks, ``events`` their events, and ``decoding`` makes notes of these. No compiled parser sees the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from musegen_pianoroll.limits import BEAT_CAP, EVENT_CAP, NOTE_CAP
from musegen_pianoroll.reading.decoding import decode
from musegen_pianoroll.reading.errors import MidiError, TooManyEvents
from musegen_pianoroll.reading.events import read_events
from musegen_pianoroll.reading.layout import layout
from musegen_pianoroll.reading.options import Pedal
from musegen_pianoroll.reading.score import Score

__all__ = ["read_scores"]


def read_scores(
    files: Sequence[tuple[Path, bytes]], pedal: Pedal = "piano", with_velocity: bool = False
) -> list[Score]:
    """Read MIDI files. Those that are read together do not touch one another: that is only faster.

    Args:
        files: paths, for messages, and contents; 16 MB in all, or one file.
        pedal: whose notes sound for as long as the sustain pedal is down.
        with_velocity: of notes, too.

    Raises:
        MidiError: one of the files cannot be used. Others may have faults, too.
    """
    layouts = [layout(data, path) for path, data in files]
    tracks = [
        (data, *track, BEAT_CAP * found.ticks_per_beat)
        for (_, data), found in zip(files, layouts, strict=True)
        for track in found.tracks
    ]
    try:
        events = read_events(tracks, EVENT_CAP)
    except TooManyEvents:
        if len(files) == 1:
            raise MidiError(files[0][0], f"has more than {EVENT_CAP:,} events") from None
        return [score for file in files for score in read_scores([file], pedal, with_velocity)]
    scores = decode(events, layouts, pedal, with_velocity)
    for (path, _), score in zip(files, scores, strict=True):
        if max((int(track.notes[:, 0].max()) for track in score.tracks), default=0) > BEAT_CAP * score.ticks_per_beat:
            raise MidiError(path, f"is longer than {BEAT_CAP:,} beats")
        if sum(len(track.notes) for track in score.tracks) > NOTE_CAP:
            raise MidiError(path, f"has more than {NOTE_CAP:,} notes")
    return scores
