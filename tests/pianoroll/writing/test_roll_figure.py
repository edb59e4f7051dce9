"""The drawing of a roll in a page holds every note of every track, where it sounds."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from musegen.contracts.figure import Layer
from musegen_pianoroll import Pianoroll
from musegen_pianoroll.reading.roles import BAND, VOICES
from musegen_pianoroll.writing.figure import MOST_MARKS, UNITS
from musegen_pianoroll.writing.midi import midi_of, tempo_event


def drawn(layer: Layer, highest: int) -> list[tuple[float, float, float]]:
    """Pitch, first step and the one after the last of each line of a layer."""
    x, y, found = 0.0, 0.0, []
    for command, numbers in re.findall(r"([MmhV])([^A-Za-z]*)", layer.path):
        values = [float(n) for n in re.findall(r"-?[0-9.]+", numbers)]
        if command == "M":
            x, y = values
        elif command == "m":
            x, y = x + values[0], y + values[1]
        else:
            found.append((highest - y - 0.5, x / UNITS, (x + values[0] + 1) / UNITS))
            x += values[0]
    return sorted(found)


@given(frame=arrays.arrays(bool, (2, 12, 128), elements=st.booleans(), fill=st.just(False)))
def test_every_note_is_a_line(frame: np.ndarray) -> None:
    roll = np.stack([frame, np.zeros_like(frame)], 1)
    piece = Pianoroll(roll, VOICES[:2], 4, 100.0, (3, 4))
    figure = piece.figure()
    assert figure.width == 12 * UNITS
    pitches = piece.notes[:, 1]
    highest = (int(pitches.max()) // 12 + 1) * 12 if len(pitches) else 72
    highest = min(highest, 128)
    found = {layer.name: drawn(layer, highest) for layer in figure.layers}
    wanted = {
        track.name: sorted(map(tuple, piece.notes[piece.notes[:, 0] == i, 1:].tolist()))
        for i, track in enumerate(VOICES[:2])
    }
    assert found == {name: notes for name, notes in wanted.items() if notes}
    assert figure.times == [(0, 0), (figure.width, piece.seconds)]


def test_what_is_repeated_is_drawn_twice() -> None:
    roll = np.zeros((1, 2, 8, 128), bool)
    roll[0, 0, 0:4, 60] = roll[0, 1, [0, 2], 60] = True
    (layer,) = Pianoroll(roll, BAND[1:2], 4).figure().layers
    assert drawn(layer, 72) == [(60, 0, 2), (60, 2, 4)]


def test_silence_has_a_drawing_too() -> None:
    figure = Pianoroll(np.zeros((5, 2, 32, 128), bool), BAND, 4).figure()
    assert (figure.layers, figure.about) == ([], "2 bars of 4/4, 0 notes")


@pytest.mark.parametrize(("bars", "marks"), [(1, ["1"]), (8, list("12345678")), (20, ["1", "5", "9", "13", "17"])])
def test_bars_are_numbered_as_far_as_there_is_room(bars: int, marks: list[str]) -> None:
    figure = Pianoroll(np.zeros((5, 2, 16 * bars, 128), bool), BAND, 4).figure()
    assert [text for _, text in figure.marks] == marks
    assert len(marks) <= MOST_MARKS
    assert [x for x, _ in figure.marks] == [16 * UNITS * (int(text) - 1) for text in marks]


def test_the_line_follows_the_tempos_of_a_file() -> None:
    """As pretty_midi counts time."""
    import pretty_midi

    roll = np.zeros((1, 2, 48, 128), bool)
    roll[0, 0, :, 60] = True
    file = midi_of(roll, BAND[1:2], steps_per_beat=4, tempo_bpm=120)
    tempos = [(480 * 4, tempo_event(60)), (480 * 8, tempo_event(240)), (480 * 90, tempo_event(50))]
    file = replace(file, tracks=[[*file.tracks[0], *tempos], *file.tracks[1:]])
    figure = Pianoroll(roll, BAND[1:2], 4, 120.0, midi=file).figure()
    assert figure.times == [(0, 0), (16 * UNITS, 2.0), (32 * UNITS, 6.0), (48 * UNITS, 7.0)]
    known = pretty_midi.PrettyMIDI(io.BytesIO(file.content()))
    for x, seconds in figure.times:
        assert known.tick_to_time(round(x / UNITS * 120)) == pytest.approx(seconds)
