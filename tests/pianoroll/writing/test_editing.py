"""Notes edited by hand: the file has exactly these notes, and every other event of it stays; voices are heard one by one."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import musegen
from musegen.data.bundled import bundled
from musegen.errors import BadInput
from musegen_pianoroll import Pianoroll
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.writing.midi import MidiFile, Part

END = 1920
NOTES = st.tuples(
    st.integers(0, 1), st.integers(0, END - 1), st.integers(1, 300), st.integers(60, 63), st.integers(1, 127)
)


def placed(notes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Notes of (voice, start, length, pitch, velocity) that do not overlap: each ends where the next one begins."""
    found = []
    for voice, pitch in {(n[0], n[3]) for n in notes}:
        own = {n[1]: n for n in notes if (n[0], n[3]) == (voice, pitch)}
        starts = [*sorted(own), END]
        for start, after in pairwise(starts):
            found.append((voice, start, min(start + own[start][2], after), pitch, own[start][4]))
    return sorted(found)


def file_with(notes: list[tuple[int, ...]]) -> Pianoroll:
    """Two voices, with other events between their notes."""
    parts = []
    for voice in range(2):
        rows = np.array([n[1:] for n in notes if n[0] == voice], np.int64).reshape(-1, 4)
        parts.append(Part(f"Voice {voice}", 40 * voice, False, rows[:, :3], velocity=rows[:, 3]))
    midi = MidiFile.new(480, END, 100, (4, 4)).beside(parts, end=END)
    tracks = [list(events) for events in midi.tracks]
    tracks[1] = sorted([*tracks[1], (480, bytes([0xB0, 7, 90])), (960, bytes([0xE0, 0, 70]))], key=lambda e: e[0])
    roll = np.zeros((2, 2, 16, 128), bool)
    return Pianoroll(roll, [StoreTrack("a"), StoreTrack("b")], 4, 100, midi=MidiFile(480, tracks, midi.ends))


def others(piece: Pianoroll) -> list[list[tuple[int, bytes]]]:
    assert piece.midi is not None
    return [[e for e in events if not 0x80 <= e[1][0] < 0xA0] for events in piece.midi.tracks]


@settings(max_examples=50)
@given(before=st.lists(NOTES, max_size=12), after=st.lists(NOTES, max_size=12))
def test_the_file_has_exactly_these_notes(before: list[tuple[int, ...]], after: list[tuple[int, ...]]) -> None:
    old, new = placed(before), placed(after)
    piece = file_with(old)
    known = [tuple(note) for note in piece.score().notes]
    assert sorted(known) == old
    edited = piece.edited([n for n in known if n not in new], [n for n in new if n not in known])
    if not any(voice == n[0] and pitch == n[3] for n in new if n not in known for voice, *_, pitch, _ in known):
        assert sorted(edited.score().notes) == sorted(set(new))
    else:  # what stays may end where what is added begins
        assert sorted(n[:2] + n[3:4] for n in edited.score().notes) == sorted(n[:2] + n[3:4] for n in new)
    assert others(edited) == others(piece)
    back = edited.edited(edited.score().notes, old)
    assert sorted(back.score().notes) == old
    assert others(back) == others(piece)


def test_voices_that_are_not_edited_keep_every_byte() -> None:
    model = musegen.load("chorale", device="cpu")
    x, writer = model.read_given(bundled("chorales") / "bwv253.mid")
    (hymn,) = writer.pieces(x[None])
    score = hymn.score()  # type: ignore[attr-defined]
    note = score.notes[0]
    moved = [note[0], note[1], note[2], note[3] + 2, note[4]]
    edited = hymn.edited([note], [moved])
    changed = Counter(map(tuple, edited.score().notes))  # type: ignore[union-attr]
    assert changed - Counter(map(tuple, score.notes)) == Counter([tuple(moved)])
    assert sum(a != b for a, b in zip(hymn.midi.tracks, edited.midi.tracks, strict=True)) == 1  # type: ignore[attr-defined]
    assert [v.name for v in score.voices] == ["Soprano", "Alto", "Tenor", "Bass"]
    assert score.bars[1] == 4 * score.ticks_per_beat
    assert edited.score().bars == score.bars  # type: ignore[union-attr]


def test_notes_that_overlap_end_where_the_next_begins() -> None:
    piece = file_with([(0, 0, 480, 60, 90), (1, 0, 480, 60, 90)])
    edited = piece.edited([], [[0, 240, 960, 60, 80]])
    assert sorted(edited.score().notes) == [(0, 0, 240, 60, 90), (0, 240, 960, 60, 80), (1, 0, 480, 60, 90)]
    again = edited.edited([], [[0, 240, 480, 60, 70]])
    assert (0, 240, 480, 60, 70) in again.score().notes
    assert len(again.score().notes) == 3
    assert again.notes.tolist() == [[0, 60, 0, 2], [0, 60, 2, 4], [1, 60, 0, 4]]


@pytest.mark.parametrize(
    ("remove", "add", "said"),
    [
        ([[0, 0, 480, 61, 90]], [], "has no note"),
        ([[0, 0, 480, 60, 90]] * 2, [], "has no note"),
        ([], [[2, 0, 480, 60, 90]], "no voice 2"),
        ([], [[-1, 0, 480, 60, 90]], "no voice -1"),
        ([], [[0, 480, 480, 60, 90]], "begins before it ends"),
        ([], [[0, 0, END + 1, 60, 90]], "within 0 to 1920"),
        ([], [[0, 0, 480, 128, 90]], "pitches go from"),
        ([], [[0, 0, 480, 60, 0]], "velocities from 1"),
    ],
)
def test_notes_that_cannot_be_are_refused(remove: list[list[int]], add: list[list[int]], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        file_with([(0, 0, 480, 60, 90)]).edited(remove, add)


def test_voices_and_times_together_are_the_piece() -> None:
    model = musegen.load("band", device="cpu")
    (piece,) = model.pieces(model.sample(1, 3, n_steps=2 * model.domain.spec.bar))
    whole, rate_hz = piece.audio()
    total = np.zeros((2, whole.shape[1] + 10 * rate_hz), np.float32)
    for first_s in (0.0, 1.3, 2.6):  # within the bars
        for voice in range(len(piece.score().voices)):
            clip, rate = piece.stem(voice, first_s, first_s + 1.3 if first_s < 2 else 100)
            assert rate == rate_hz
            first = round(first_s * rate_hz)
            total[:, first : first + clip.shape[1]] += clip
    own, heard = total[:, : whole.shape[1]], whole
    peak = max(float(np.abs(own).max()), 10 ** (-1 / 20))
    np.testing.assert_allclose(own * (10 ** (-1 / 20) / peak), heard, atol=2e-3)
    assert np.abs(heard).max() > 0.1
    with pytest.raises(BadInput, match="no voice"):
        piece.stem(99, 0, 1)


def test_an_edited_piece_is_saved_as_it_is(tmp_path: Path) -> None:
    edited = file_with([(0, 0, 480, 60, 90)]).edited([[0, 0, 480, 60, 90]], [[1, 960, 1200, 64, 33]])
    assert edited.midi is not None
    assert edited.save(tmp_path / "a.mid").read_bytes() == edited.midi.content()
    assert edited.figure().layers[0].name == "Voice 1"
    assert edited.bars == [0]


def test_a_note_ends_before_the_next_of_its_pitch_begins() -> None:
    """Many players end the new note otherwise."""
    edited = file_with([]).edited([], [[0, 0, 480, 60, 90], [0, 480, 960, 60, 80]])
    assert edited.midi is not None
    kinds = [event[0] & 0xF0 for tick, event in edited.midi.tracks[1] if tick == 480]
    assert kinds == [0x80, 0xB0, 0x90]
