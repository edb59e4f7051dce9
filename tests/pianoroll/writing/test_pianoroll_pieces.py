"""What is written opens elsewhere and says the same: MIDI, Lakh pianorolls, pictures, and pieces in a notebook."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import ImageColor

from musegen.errors import BadInput
from musegen_pianoroll import Pianoroll
from musegen_pianoroll.domain import PianorollConfig, PianorollDomain
from musegen_pianoroll.reading.roles import BAND, VOICES
from musegen_pianoroll.store.format import StoreTrack, pitch_name
from musegen_pianoroll.writing.midi import notes_of
from musegen_pianoroll.writing.picture import COLOURS

Note = tuple[int, int, int, int]
NOTES: list[Note] = [
    (0, 36, 0, 1),
    (0, 42, 6, 7),
    (1, 60, 0, 6),
    (2, 64, 2, 4),
    (2, 64, 4, 8),
    (3, 40, 6, 24),
    (4, 67, 23, 24),
]
"""Track, pitch, first step, and the one after the last; two bars of 6/8 at four steps per beat."""


def roll_of(notes: list[Note], n_tracks: int = 5, n_steps: int = 24) -> np.ndarray:
    roll = np.zeros((n_tracks, 2, n_steps, 128), bool)
    for track, pitch, start, end in notes:
        roll[track, 0, start:end, pitch] = True
        roll[track, 1, start, pitch] = True
    return roll


@pytest.fixture
def piece() -> Pianoroll:
    return Pianoroll(roll_of(NOTES), BAND, 4, 96.0, (6, 8))


# MIDI, as three libraries read it


def in_pretty_midi(path: Path) -> dict[str, Any]:
    import pretty_midi

    midi = pretty_midi.PrettyMIDI(str(path))
    step_s = 60 / 96 / 4
    return {
        "tracks": [(i.name, i.program, i.is_drum) for i in midi.instruments],
        "metre": [(m.numerator, m.denominator, m.time) for m in midi.time_signature_changes],
        "tempo": midi.get_tempo_changes()[1].tolist(),
        "notes": sorted(
            (t, n.pitch, round(n.start / step_s, 3), round(n.end / step_s, 3))
            for t, i in enumerate(midi.instruments)
            for n in i.notes
        ),
    }


def in_symusic(path: Path) -> dict[str, Any]:
    from symusic import Score

    score = Score(path)
    step = score.ticks_per_quarter / 4
    return {
        "tracks": [(t.name, t.program, t.is_drum) for t in score.tracks],
        "metre": [(m.numerator, m.denominator, m.time) for m in score.time_signatures],
        "tempo": [t.qpm for t in score.tempos],
        "notes": sorted(
            (t, n.pitch, n.start / step, n.end / step) for t, track in enumerate(score.tracks) for n in track.notes
        ),
    }


def in_music21(path: Path) -> dict[str, Any]:
    music21 = pytest.importorskip("music21")
    score = music21.converter.parse(path, quantizePost=False).stripTies()  # it cuts notes at bar lines
    tracks, notes = [], []
    for i, part in enumerate(score.parts):
        # One instrument from the track's name, and after it one from the program; percussion has the channel alone.
        instrument = list(part.flatten().getElementsByClass("Instrument"))[-1]
        tracks.append((part.partName, instrument.midiProgram, instrument.midiChannel == 9))
        for note in part.flatten().notes:
            start, length = 4 * float(note.getOffsetInHierarchy(part)), 4 * float(note.quarterLength)
            pitches = [p.midi for p in note.pitches] if note.isNote else [note.storedInstrument.percMapPitch]
            notes += [(i, pitch, start, start + length) for pitch in pitches]
    flat = score.flatten()
    metre = {(m.numerator, m.denominator, float(m.offset)) for m in flat.getElementsByClass("TimeSignature")}
    tempo = {round(float(m.number), 3) for m in flat.getElementsByClass("MetronomeMark")}
    return {"tracks": tracks, "metre": sorted(metre), "tempo": sorted(tempo), "notes": sorted(notes)}


@pytest.mark.parametrize("read", [in_pretty_midi, in_symusic, in_music21])
def test_midi_opens_elsewhere(read: Any, piece: Pianoroll, tmp_path: Path) -> None:
    """Names, programs, drums, metre, tempo, and every note, the repeated one included."""
    found = read(piece.save(tmp_path / "x.mid"))
    assert found["tracks"] == [(t.name, t.program, t.is_drum) for t in BAND]
    assert found["metre"] == [(6, 8, 0)]
    assert found["tempo"] == pytest.approx([96.0], rel=1e-4)
    assert found["notes"] == pytest.approx(np.array(sorted(NOTES)), abs=1e-3)


def test_drums_are_on_channel_10_and_nobody_else_is(tmp_path: Path) -> None:
    """By the bytes: sixteen pitched tracks' worth of channels step over number 10 (9 counted from 0)."""
    tracks = [StoreTrack("Kit", 0, True), *(StoreTrack(f"T{i}", i) for i in range(11))]
    notes = [(t, 40 + t, 0, 4) for t in range(len(tracks))]
    content = Pianoroll(roll_of(notes, len(tracks)), tracks, 4).save(tmp_path / "x.mid").read_bytes()
    on = re.findall(rb"([\x90-\x9f])([\x28-\x3f])\x5a", content)  # note on, pitch 40 to 63, velocity 90
    channel = {pitch[0]: status[0] & 15 for status, pitch in on}
    assert channel[40] == 9
    assert 9 not in {channel[40 + t] for t in range(1, len(tracks))}
    assert len(channel) == len(tracks)


# Lakh pianorolls


def test_a_lakh_pianoroll_opens_in_pypianoroll_and_here(tmp_path: Path) -> None:
    """In pypianoroll repeats stay apart by a rest, so that repeated notes shrink by a step; read back, nothing changes."""
    import pypianoroll

    four = Pianoroll(roll_of(NOTES, n_steps=32), BAND, 4, 96.0)
    path = four.save(tmp_path / "x.npz")
    multitrack = pypianoroll.load(path)
    assert [(t.name, t.program, t.is_drum) for t in multitrack.tracks] == [(t.name, t.program, t.is_drum) for t in BAND]
    assert multitrack.resolution == 4
    assert multitrack.downbeat.nonzero()[0].tolist() == [0, 16]
    shortened = [(2, 64, 2, 3) if note == (2, 64, 2, 4) else note for note in NOTES]
    for track in range(5):
        np.testing.assert_array_equal(multitrack.tracks[track].pianoroll, roll_of(shortened, n_steps=32)[track, 0])
    domain = PianorollDomain(PianorollConfig(bars=2))
    read = domain.rolls(domain.read(path)).numpy()[0]
    assert notes_of(read).tolist() == sorted(map(list, NOTES))
    assert multitrack.tempo.ravel().tolist() == [96.0] * 32


# Pieces


def test_a_piece_shows_and_plays_itself_in_a_notebook(piece: Pianoroll) -> None:
    html = piece._repr_html_()
    (sound,) = (base64.b64decode(part) for part in re.findall(r'<audio [^>]*base64,([^"]+)"', html))
    clip, _ = soundfile.read(io.BytesIO(sound))
    assert len(clip) / 44_100 >= piece.seconds - 1
    assert np.abs(clip).max() > 0.05
    assert "2 bars of 6/8, 7 notes, C2 to G4" in html
    assert re.findall(r"</i>(\w+)</label>", html) == ["Drums", "Piano", "Guitar", "Bass", "Strings"]
    assert repr(piece) == "Pianoroll(2 bars of 6/8, 7 notes, Drums, Piano, Guitar, Bass, Strings)"


def test_pieces_of_a_model_and_one_after_the_other() -> None:
    domain = PianorollDomain(PianorollConfig(bars=1, tracks="voices", tempo_bpm=80.0))
    x = torch.zeros(2, *domain.spec.shape)
    x[0, :2, 0:4, 40] = x[1, 2:4, 4:8, 30] = 1
    x[:, 1::2, 1:4] = x[1, 3, 5:8] = 0  # one onset each
    first, second = domain.pieces(x)
    assert first.tracks == list(VOICES)
    assert first.seconds == pytest.approx(3.0)
    assert first.notes.tolist() == [[0, 64, 0, 4]]
    both = first.then(second)
    assert both.notes.tolist() == [[0, 64, 0, 4], [1, 54, 20, 24]]
    assert both.seconds == pytest.approx(6.0)


@pytest.mark.parametrize("suffix", ["mid", "npz", "png", "wav", "mp3"])
def test_a_piece_saves_itself(piece: Pianoroll, suffix: str, tmp_path: Path) -> None:
    assert piece.save(tmp_path / f"x.{suffix}").stat().st_size > 100
    with pytest.raises(BadInput, match="cannot be written"):
        piece.save(tmp_path / "no" / f"x.{suffix}")


def test_what_does_not_fit_is_refused(piece: Pianoroll, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\.txt.*use one of \.mid"):
        piece.save(tmp_path / "x.txt")
    with pytest.raises(BadInput, match="not \\(4, 2, 24, 128\\)"):
        Pianoroll(roll_of([], 4), BAND, 4)


# Pictures


def test_a_picture_has_every_note_where_it_belongs() -> None:
    """Each cell's colour: its track's where a note begins, a lighter one where it is held, none elsewhere; lines at bars."""
    notes: list[Note] = [(0, 36, 0, 1), (1, 60, 4, 8), (3, 40, 17, 30)]
    piece = Pianoroll(roll_of(notes, n_steps=32), BAND, 4, pitch_range=(24, 72))
    pixels = np.asarray(piece.picture(width=640)).astype(int)  # cells of 20 × 4 pixels from (34, 34)
    at = lambda step, pitch: pixels[34 + (71 - pitch) * 4 + 2, 34 + step * 20 + 10]  # noqa: E731
    covered = {(s, p) for _, p, start, end in notes for s in range(start, end)}
    for track, pitch, start, end in notes:
        strong = np.array(ImageColor.getrgb(COLOURS[track]))
        np.testing.assert_array_equal(at(start, pitch), strong)
        for step in range(start + 1, end):
            np.testing.assert_allclose(at(step, pitch), 0.55 * strong + 0.45 * 255, atol=1)
    for step in range(32):
        for pitch in range(24, 72):
            assert (step, pitch) in covered or at(step, pitch).min() >= 240
    bar, beat, nothing = (pixels[34 + 2, 34 + step * 20].max() for step in (16, 20, 21))
    assert bar < 150 < beat < 240 < nothing


def test_names_of_pitches() -> None:
    assert [pitch_name(p) for p in (60, 21, 127, 0, 61)] == ["C4", "A0", "G9", "C-1", "C♯4"]
