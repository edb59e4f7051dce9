"""Which track of a stranger's file plays which role, and which one is the melody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_files import midi, track
from readers import notes_by_role, read_score

from musegen.data.bundled import bundled
from musegen.errors import BadInput
from musegen_pianoroll.reading.melody import Line, melody, top_line
from musegen_pianoroll.reading.part_names import is_click, melody_rank, voices_named
from musegen_pianoroll.reading.roles import Choice, assign, choose, model_tracks
from musegen_pianoroll.reading.score import Score, ScoreTrack

BEAT = 480
BAR = 4 * BEAT
TUNE = [72, 74, 76, 77, 79, 77, 76, 74] * 4  # eight bars
Notes = list[tuple[int, int, int]]


def line(pitches: Sequence[int], start: int = 0, length: int = BEAT, sounds: float = 1.0) -> Notes:
    """One note after the other."""
    return [(start + i * length, start + i * length + round(sounds * length), p) for i, p in enumerate(pitches)]


def chords(n_bars: int = 8, pitches: Sequence[int] = (48, 52, 55), up: Sequence[int] = (0,)) -> Notes:
    """A chord a bar; moved up by each of some semitones in turn."""
    return [(b * BAR, (b + 1) * BAR, p + up[b % len(up)]) for b in range(n_bars) for p in pitches]


CLICK: Notes = [(b * BEAT, b * BEAT + 60, 37) for b in range(32)]
BASS = line([36, 43, 41, 43] * 8)
CHORDS = chords(up=(0, 5, 7, 0))


def track_of(name: str, notes: Notes, program: int = 0, is_drum: bool = False) -> ScoreTrack:
    return ScoreTrack(name, program, is_drum, np.array(notes, np.int64).reshape(-1, 3))


def score_of(*tracks: ScoreTrack) -> Score:
    """Tracks numbered as in a file whose first track has no notes."""
    return Score(BEAT, [], [], [replace(one, number=i) for i, one in enumerate(tracks, 2)])


def sung(found: Choice, role: int = 0) -> Notes:
    """The notes of a role, in order of their beginnings."""
    notes = [tuple(note) for r, part in found.notes if r == role for note in part.tolist()]
    return sorted(notes)


def melody_of(*tracks: ScoreTrack) -> str:
    """The name of the part that is given to a model that writes voices to a melody."""
    (part,) = choose(score_of(*tracks), "voices", ["Soprano"]).chosen["Soprano"]
    return part.name


# The melody


TUNE_PARTS = {
    "alone": [],
    "beside a click on the drum channel": [track_of("Click", CLICK, is_drum=True)],
    "beside a click that is a piano": [track_of("Metronome", CLICK)],
    "beside chords": [track_of("Chords", CHORDS, 24)],
    "beside a click and chords": [track_of("Click", CLICK, is_drum=True), track_of("Chords", CHORDS, 24)],
    "beside two sorts of chords": [track_of("Guitar", CHORDS, 24), track_of("Organ", chords(up=(12, 17)), 16)],
    "beside a whole band": [
        track_of("Drums", CLICK, is_drum=True),
        track_of("Bass", BASS, 33),
        track_of("Rhythm", CHORDS, 24),
        track_of("Strings", chords(up=(12,)), 48),
    ],
}


@pytest.mark.parametrize("named", ["Melody", "Vocals", "Track 7", ""])
@pytest.mark.parametrize("others", TUNE_PARTS)
def test_the_melody_is_found_wherever_it_stands(others: str, named: str) -> None:
    parts = [track_of(named, line(TUNE), 73), *TUNE_PARTS[others]]
    for order in permutations(parts):
        found = choose(score_of(*order), "voices", ["Soprano"])
        assert sung(found) == line(TUNE)
        assert len(found.left_out) == len(order) - 1


def test_what_was_chosen_is_said() -> None:
    parts = [track_of("Click", CLICK, is_drum=True), track_of("Chords", CHORDS), track_of("Melody", line(TUNE))]
    score = score_of(*parts)
    assert choose(score, "voices", ["Soprano"]).said == "The melody is track 4, Melody; left out: 2 Click, 3 Chords"
    assert choose(score_of(parts[2]), "voices", ["Soprano"]).said == "The melody is track 2, Melody"
    unnamed = score_of(track_of("", line(TUNE), 73), track_of("", CLICK, is_drum=True))
    assert choose(unnamed, "voices", ["Soprano"]).said == "The melody is track 2 (Flute); left out: 3 (drums)"
    assert choose(score_of(track_of("x", [])), "voices").said == ""
    band = [track_of("Flute", line(TUNE), 73), track_of("Violin", line(TUNE), 40), track_of("Guitar", CHORDS, 25)]
    assert choose(score_of(*band), "band", ["Strings"]).said == (
        "Strings is tracks 2 Flute and 3 Violin; left out: 4 Guitar"
    )


def test_a_line_of_high_ornaments_is_not_the_melody() -> None:
    ornaments = line([91, 93, 95, 96] * 2, start=2 * BAR, length=BEAT // 2)
    assert melody_of(track_of("Bells", ornaments, 9), track_of("Flute", line(TUNE), 73)) == "Flute"
    arpeggio = line([84, 88, 91, 96] * 32, length=BEAT // 4)
    assert melody_of(track_of("Harp", arpeggio, 46), track_of("Flute", line(TUNE), 73)) == "Flute"
    long_notes = line([84, 86, 88], length=2 * BAR + BAR // 2)
    assert melody_of(track_of("Synth", long_notes, 50), track_of("Flute", line(TUNE), 73)) == "Flute"
    drone = line([96] * 32)
    assert melody_of(track_of("Harp", drone, 46), track_of("Flute", line(TUNE), 73)) == "Flute"


HIGHER = {
    "sounds in three bars of eight": line([91, 93, 95, 96] * 3, start=2 * BAR),
    "trills on two notes": line([88, 89] * 32, length=BEAT // 2),
    "leaps more than it steps": line([84, 91, 79, 88, 90] * 6),
    "has chords a third of the time": line([p + 7 for p in TUNE])
    + [(b * BEAT, b * BEAT + BEAT, p) for b in range(0, 32, 3) for p in (64, 67)],
}


@pytest.mark.parametrize("what", HIGHER)
def test_what_lies_higher_and_sings_less_is_not_the_melody(what: str) -> None:
    higher, tune = track_of("", HIGHER[what], 8), track_of("Flute", line(TUNE), 73)
    assert melody_of(higher, tune) == melody_of(tune, higher) == "Flute"
    assert melody_of(tune, track_of("", line([p + 12 for p in TUNE[::-1]]), 123)) == "Flute"  # birds


def test_where_nothing_sings_it_is_the_top_line_of_a_hymn() -> None:
    """Four notes on every beat, as one plays it from a hymn book; a few bells in two bars are not it."""
    hymn = [(b * BEAT, (b + 1) * BEAT, p - down) for b, p in enumerate(TUNE) for down in (0, 5, 8, 24)]
    bells = track_of("Bells", line([91, 93, 95, 96] * 2, length=BEAT // 2), 9)
    found = choose(score_of(bells, track_of("Organ", hymn, 19)), "voices", ["Soprano"])
    assert sung(found) == line(TUNE)


def test_of_lines_that_sing_the_highest_is_the_melody() -> None:
    low = line([p - 12 for p in TUNE[1:] + TUNE[:1]])
    assert melody_of(track_of("Cello", low, 42), track_of("Flute", line(TUNE), 73)) == "Flute"
    assert melody_of(track_of("Flute", line(TUNE), 73), track_of("Cello", low, 42)) == "Flute"
    thirds = line([p - 3 for p in TUNE])  # a second voice in thirds below, which comes first in the file
    assert melody_of(track_of("2", thirds), track_of("1", line(TUNE))) == "1"


@pytest.mark.parametrize("octaves", [-1, 1, 2])
def test_a_doubled_melody_is_the_one_that_a_soprano_sings(octaves: int) -> None:
    """Its double lies outside her range with some of its notes."""
    double = track_of("Piccolo", line([p + 12 * octaves for p in TUNE[:28]]), 72)
    tune = track_of("Flute", line(TUNE), 73)
    for parts in ((tune, double), (double, tune)):
        assert melody_of(*parts, track_of("Guitar", CHORDS, 24)) == "Flute"


def test_a_melody_may_rest() -> None:
    rests = line(TUNE[:16]) + line(TUNE[16:], start=12 * BAR)
    organ = track_of("Organ", chords(16, up=(12, 17, 19)), 16)
    assert melody_of(organ, track_of("Oboe", rests, 68), track_of("Tuba", line([36, 38, 40, 41] * 16), 58)) == "Oboe"


def test_a_lead_with_a_few_chords_is_the_melody_and_its_top_line_is_sung() -> None:
    below = [(b * BAR, b * BAR + BEAT, p) for b in (1, 5, 6) for p in (64, 67)]
    found = choose(score_of(track_of("Pad", CHORDS, 89), track_of("", line(TUNE) + below, 80)), "voices", ["Soprano"])
    assert sung(found) == line(TUNE)
    assert found.said == (
        "The melody is the top line of track 3 (Lead 1 (square)), without 6 lower notes; left out: 2 Pad"
    )


def test_two_hands_in_two_tracks() -> None:
    right, left = track_of("Piano right", line(TUNE)), track_of("Piano left", chords())
    assert melody_of(left, right) == melody_of(right, left) == "Piano right"
    unnamed = track_of("Piano", line([p - 24 for p in TUNE], length=BEAT)), track_of("Klavier", line(TUNE))
    assert melody_of(*unnamed) == "Klavier"


def test_a_file_of_twelve_tracks() -> None:
    names = ["Brass", "Strings", "Pad", "Choir", "Piano", "Guitar", "Organ", "Harp", "Horns", "Synth"]
    parts = [track_of(name, chords(up=(i, i + 5)), 8 * i) for i, name in enumerate(names)]
    parts += [track_of("Fretless", BASS, 35), track_of("Sax", line(TUNE), 65)]
    for _ in range(12):
        parts = [*parts[1:], parts[0]]
        assert melody_of(*parts) == "Sax"


@pytest.mark.parametrize(
    "parts",
    [
        [track_of("Click", CLICK, is_drum=True)],
        [track_of("Click", CLICK)],
        [track_of("Piano", line([60] * 32))],
        [track_of("Chords", CHORDS)],
        [track_of("", CHORDS), track_of("", BASS)],
        [track_of("", BASS, 33), track_of("", CLICK, is_drum=True)],
        [track_of("Left hand", line(TUNE))],
        [track_of("Metronome", line([77, 76, 76, 76] * 8, sounds=0.1)), track_of("Guitar", CHORDS, 24)],
        [],
    ],
)
def test_a_file_without_a_melody_says_so_and_the_way_out(parts: list[ScoreTrack]) -> None:
    with pytest.raises(
        BadInput,
        match=r"^Nothing in this file can be the melody: it has .*track=3 \(on the command line --track 3\)\.$",
    ):
        choose(score_of(*parts), "voices", ["Soprano"])
    for i, one in enumerate(parts, 2):  # and the way out is one
        found = choose(score_of(*parts), "voices", ["Soprano"], track=i)
        assert max(pitch for _, _, pitch in sung(found)) == one.notes[:, 2].max()


def test_what_a_file_without_a_melody_has_is_listed() -> None:
    parts = [track_of("Click", CLICK, is_drum=True), track_of("Chords", [(0, BAR, 60)]), track_of("", BASS, 33)]
    listed = r"it has 2 Click \(drums, 32 notes\), 3 Chords \(1 note\), 4 \(Electric Bass \(finger\), 32 notes\)\."
    with pytest.raises(BadInput, match=listed):
        choose(score_of(*parts), "voices", ["Soprano"])


def test_a_part_alone_is_meant_whatever_plays_it() -> None:
    for program in (33, 42, 123):
        assert sung(choose(score_of(track_of("", BASS, program)), "voices", ["Soprano"])) == BASS


def test_an_alto_alone_is_harmonised() -> None:
    """Who gives nothing else wants it; in data it stays the alto."""
    score = score_of(track_of("Alto", line(TUNE)), track_of("Bass", BASS))
    assert choose(score, "voices", ["Soprano"]).said.startswith("The melody is track 2, Alto;")
    notes, _ = assign(score, "voices")
    assert [role for role, _ in notes] == [1, 3]


def test_a_melody_that_changes_its_instrument_is_one() -> None:
    changes = [
        ScoreTrack("", 73, False, np.array(line(TUNE[:16])), 2),
        ScoreTrack("", 40, False, np.array(line(TUNE[16:], start=4 * BAR)), 2),
        ScoreTrack("", 24, False, np.array(CHORDS), 3),
    ]
    found = choose(Score(BEAT, [], [], changes), "voices", ["Soprano"])
    assert sung(found) == line(TUNE)
    assert found.programs == [[40, 73], [], [], []]  # the guitar is no alto
    assert found.said == "The melody is track 2 (Flute, Violin); left out: 3 (Acoustic Guitar (nylon))"
    # What plays at the same time in a file of one track is several parts.
    together = [replace(one, number=1) for one in (changes[2], track_of("", line(TUNE), 73))]
    found = choose(Score(BEAT, [], [], together), "voices", ["Soprano"])
    assert sung(found) == line(TUNE)
    assert [part.program for part in found.left_out] == [24]


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 900), st.integers(0, 127)), min_size=1, max_size=40))
@settings(max_examples=200)
def test_whatever_the_notes_are_something_is_said_of_the_line(rows: Notes) -> None:
    notes = np.array([(start, start + length, pitch) for start, length, pitch in rows], np.int64)
    part = Line(notes, BEAT, (int(notes[:, 0].min()), int(notes[:, 1].max())))
    for share in (part.alone, part.coverage, part.stepwise):
        assert 0 <= share <= 1
    assert np.isfinite(part.score)
    assert melody([part]) in (0, None)
    top = part.top
    assert len(top) >= 1
    assert top[:, 2].max() == notes[:, 2].max()
    before = {(start, pitch): end for start, end, pitch in sorted(notes.tolist())}
    for start, end, pitch in top.tolist():
        assert end <= before[start, pitch]
    # One at a time: only where two begin at one tick could they sound together, and then one is not in the line.
    assert (top[1:, 0] > top[:-1, 0]).all()
    assert (top[1:, 0] >= top[:-1, 1]).all()


def test_data_keep_the_order_of_their_files_where_it_may_be_right() -> None:
    """Two violins that cross, the second a little higher: who gives such a file gives the higher one."""
    first, second = track_of("Violin I", line(TUNE), 40), track_of("Violin II", line([p + 3 for p in TUNE]), 40)
    score = score_of(first, second, track_of("Continuo", BASS, 6))
    assert {role: parts[0].name for role, parts in choose(score, "voices").chosen.items()} == {
        "Soprano": "Violin I",
        "Alto": "Violin II",
        "Tenor": "Continuo",
    }
    assert melody_of(*score.tracks) == "Violin II"
    # Chords before the melody are no such order.
    score = score_of(track_of("Guitar", CHORDS, 24), first)
    assert choose(score, "voices").chosen["Soprano"][0].name == "Violin I"


# The top line


def test_the_top_line_of_two_hands() -> None:
    bass = [(b * BAR, (b + 1) * BAR, p) for b in range(8) for p in (36, 43)]
    found = choose(score_of(track_of("Piano", line(TUNE) + bass)), "voices", ["Soprano"])
    assert sung(found) == line(TUNE)
    assert found.said == "The melody is the top line of track 2, Piano, without 16 lower notes"
    # A store keeps the part as it is, and so does a file that is not given as one voice.
    score = score_of(track_of("Piano", line(TUNE) + bass))
    for notes in (assign(score, "voices")[0], choose(score, "voices").notes):
        assert len(notes[0][1]) == 48


@pytest.mark.parametrize("sounds", [0.5, 1.0, 1.2, 4.0])
def test_a_line_is_its_own_top_line_however_its_notes_overlap(sounds: float) -> None:
    top = top_line(np.array(line(TUNE, sounds=sounds)), BEAT)
    assert [tuple(note) for note in top.tolist()][:-1] == line(TUNE, sounds=min(sounds, 1.0))[:-1]
    assert top[:, 2].tolist() == TUNE


def test_the_top_line_of_two_hands_under_a_pedal() -> None:
    """Everything sounds to the end of its bar."""
    rows = line(TUNE) + [(b * BAR + i * BEAT, 0, p) for b in range(8) for i, p in enumerate((36, 48, 52, 55))]
    rows = [(start, (start // BAR + 1) * BAR, pitch) for start, _, pitch in rows]
    assert top_line(np.array(rows), BEAT)[:, 2].tolist() == TUNE


def test_a_left_hand_does_not_fill_the_rests_of_the_right() -> None:
    tune = [note for note in line(TUNE) if note[0] // BAR != 3]
    left = line([48, 52, 55, 52] * 16, length=BEAT // 2)
    assert top_line(np.array(left + tune), BEAT)[:, 2].tolist() == [pitch for _, _, pitch in tune]


def test_broken_and_uneven_chords_have_the_line_of_their_highest_notes() -> None:
    rows = [
        (b * BEAT + late, (b + 1) * BEAT, p - down)
        for b, p in enumerate(TUNE)
        for late, down in ((0, 8), (9, 0), (14, 5))
    ]
    assert top_line(np.array(rows), BEAT)[:, 2].tolist() == TUNE


def test_the_bass_is_given_as_a_bottom_line() -> None:
    octaves = BASS + [(start, end, pitch + 12) for start, end, pitch in BASS]
    found = choose(score_of(track_of("Sopran", line(TUNE)), track_of("Bass", octaves)), "voices", ["Bass"])
    assert sung(found, 3) == BASS
    assert found.said == "Bass is the bottom line of track 3, Bass, without 32 higher notes; left out: 2 Sopran"


# Voices


@pytest.mark.parametrize(
    "names",
    [
        ["Soprano", "Alto", "Tenor", "Bass"],
        ["S", "A", "T", "B"],
        ["S.", "A.", "T.", "B."],
        ["Sopran", "Alt", "Tenor", "Bass"],
        ["SOPRAN", "ALT", "TENOR", "BAß"],
        ["Sopran 1", "Alt 1", "Tenor 1", "Bass 1"],
        ["Soprane", "Alti", "Tenori", "Bassi"],
        ["Soprano", "Contralto", "Ténor", "Basse"],
        ["Discant", "Altus", "Tenor", "Bassus"],
        ["Soprani (Chor)", "Alti (Chor)", "Tenöre Chor Tenor", "Bässe Bass"],
        ["сопрано", "альт", "тенор", "бас"],
        ["ソプラノ", "アルト", "テノール", "バス"],
        ["Melody", "Alto", "Tenor", "Bass"],
        ["Lead vocal", "Alto", "Tenor", "Bass"],
    ],
)
def test_a_choir_by_its_names_in_any_order(names: list[str]) -> None:
    """Also with an organ that doubles it and stands first, and whatever the voices sing."""
    parts = [track_of(name, line([60 + i, 62 + i, 64 + i])) for i, name in enumerate(names)]
    organ = track_of("Organ", chords(3, (60, 72, 76)), 19)
    for order in permutations(parts):
        for others in ([], [organ]):
            found = choose(score_of(*others, *order), "voices")
            assert [(r, n[0, 2]) for r, n in sorted(found.notes, key=lambda e: e[0])] == [(i, 60 + i) for i in range(4)]
            assert [part.name for part in found.left_out] == [part.name for part in others]


def test_instruments_are_no_singers() -> None:
    assert voices_named(["Soprano Sax", "Alto Flute", "Tenor Trombone", "Bass Guitar", "Bass Drum"]) == [None] * 5
    assert voices_named(["A", "B", "C"]) == [None] * 3
    assert voices_named(["A", "Flute"]) == [None] * 2
    assert voices_named(["T", "B"]) == [2, 3]
    assert voices_named(["Clarinet in A", "Alternative take", "Basset horn", "Bassoon", "Tenderly", ""]) == [None] * 6
    assert voices_named(["SA", "TB", "Tb."]) == [0, 2, 2]
    assert voices_named(["Tb.", "Sax"]) == [None, None]


def test_names_of_the_melody() -> None:
    sure = [
        "Melody",
        "MELODIE",
        "mélodie",
        "Lead Vocal",
        "LeadVocals",
        "lead_vox",
        "Tune",
        "Melody (flute)",
        "メロディー",
    ]
    assert [melody_rank(name) for name in sure] == [1] * len(sure)
    assert [melody_rank(name) for name in ("Voice", "Vocals 1", "Gesang", "Vox", "Singer", "Voz")] == [2] * 6
    assert [melody_rank(name) for name in ("Lead", "Synth Lead", "Unchained Melody", "Theme")] == [3] * 4
    not_it = ["Backing Vocals", "Voice Oohs", "Synth Voice", "Choir", "Lead Guitar", "Harmony vocals", "Counter melody"]
    assert [melody_rank(name) for name in not_it] == [0] * len(not_it)
    assert [melody_rank(name) for name in ("Voicemail", "Untuned", "Leader", "Melodyne", "Piano", "")] == [0] * 6


def test_clicks_by_name() -> None:
    assert all(is_click(name) for name in ("Click", "click track", "ClickTrack", "Metronom", "Count-in", "COUNT OFF"))
    assert not any(is_click(name) for name in ("Clicky bass", "Counter", "Account in", "Count Basie", "Metro", ""))


def test_a_title_is_no_name_of_the_melody() -> None:
    title = track_of("Unchained Melody", CHORDS, 24)
    assert melody_of(title, track_of("Flute", line(TUNE), 73)) == "Flute"
    assert melody_of(track_of("Vocals", line([60, 62, 64, 65] * 8)), track_of("Theme", line(TUNE))) == "Vocals"


def test_of_several_so_named_the_one_that_sings() -> None:
    one_pitch = track_of("Vocals", line([84] * 32))
    assert melody_of(one_pitch, track_of("Flute", line(TUNE), 73)) == "Flute"
    pads = track_of("Voice", CHORDS, 53)
    assert melody_of(pads, track_of("Voice", line(TUNE), 53), track_of("Piano", line([84, 86, 88, 89] * 8))) == "Voice"
    found = choose(score_of(pads, track_of("Voice", line(TUNE), 53)), "voices", ["Soprano"])
    assert sung(found) == line(TUNE)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["Sopran I", "Sopran II", "Alt", "Bass"], [0, 1, 2, 3]),
        (["Tenor 1", "Tenor 2", "Bass 1", "Bass 2"], [0, 1, 2, 3]),
        (["Sopran I", "Sopran II", "Alt", "Tenor", "Bass"], [0, None, 1, 2, 3]),
        (["Soprano", "Alto", "Baritone"], [0, 1, 3]),
        (["Soprano", "Alto", "Tenor", "Baritone", "Bass"], [0, 1, 2, None, 3]),
        (["Violin I", "Violin II", "Viola", "Cello"], [0, 1, 2, 3]),
        (["Violin I", "Violin II", "Cello"], [0, 1, 2]),
        (["Melody", "Guitar", "Bass"], [0, 1, 3]),
        (["Flute", "Synth Choir", "BassSoft", "BassHard", "Bass 3", "Bass 4"], [0, 1, None, None, None, 3]),
    ],
)
def test_which_voices_data_have(names: list[str], wanted: list[int | None]) -> None:
    """High to low, each a fourth below the one before."""
    parts = [track_of(name, line([p - 5 * i for p in TUNE])) for i, name in enumerate(names)]
    found = choose(score_of(*parts), "voices")
    roles = {part.name: ("Soprano", "Alto", "Tenor", "Bass").index(role) for role, (part,) in found.chosen.items()}
    assert [roles.get(name) for name in names] == wanted


def test_four_parts_without_names_are_voices_in_order_unless_they_begin_with_the_bass() -> None:
    high_to_low = [track_of("", line([p - 5 * i for p in TUNE])) for i in range(4)]
    crossing = [high_to_low[1], high_to_low[0], *high_to_low[2:]]
    for parts, wanted in (
        (high_to_low, [72, 67, 62, 57]),
        (high_to_low[::-1], [72, 67, 62, 57]),
        (crossing, [67, 72, 62, 57]),
    ):
        notes, _ = assign(score_of(*parts), "voices")
        assert [part[0, 2] for _, part in sorted(notes, key=lambda entry: entry[0])] == wanted
    assert [len(seen) for seen in choose(score_of(*high_to_low), "voices", ["Soprano"]).programs] == [1, 1, 1, 1]
    first = choose(score_of(*crossing), "voices", ["Soprano"])  # whoever gives four voices gives them in order, too
    assert sung(first) == line([p - 5 for p in TUNE])
    click = track_of("Click", line([77, 76, 76, 76] * 8, sounds=0.1))
    assert [role for role, _ in assign(score_of(click, *high_to_low), "voices")[0]] == [0, 1, 2, 3]
    three = [high_to_low[i] for i in (3, 1, 0)]
    assert [part[0, 2] for _, part in sorted(assign(score_of(*three), "voices")[0], key=lambda e: e[0])] == [72, 67, 57]


def test_four_parts_that_begin_with_chords() -> None:
    harp = track_of("", line([76, 79, 84, 79] * 32, length=BEAT // 4), 46)
    low = [track_of("", line([p - down for p in TUNE])) for down in (5, 10, 15)]
    assert sung(choose(score_of(harp, *low), "voices", ["Soprano"])) == line([p - 5 for p in TUNE])
    guitar, organ = track_of("", chords(pitches=(64, 67, 72)), 24), track_of("", chords(up=(5, 0)), 16)
    tune = track_of("", line(TUNE), 73)
    assert sung(choose(score_of(guitar, tune, organ, track_of("", BASS, 33)), "voices", ["Soprano"])) == line(TUNE)


def test_the_chorales_are_read_by_name_and_by_order(tmp_path: Any) -> None:
    """Note for note in order, backwards, and without their names."""
    for path in sorted(bundled("chorales").glob("*.mid"))[::12]:
        score = read_score(path.read_bytes())
        wanted = [(role, one.notes.tolist()) for role, one in enumerate(score.tracks)]
        unnamed = [replace(one, name="") for one in score.tracks]
        for tracks in (score.tracks, score.tracks[::-1], unnamed, unnamed[::-1]):
            notes, _ = assign(replace(score, tracks=tracks), "voices")
            assert sorted((role, part.tolist()) for role, part in notes) == wanted, path.name
        found = choose(score, "voices", ["Soprano"])
        assert sorted(map(tuple, score.tracks[0].notes.tolist())) == sung(found)


# A track of one's own choice


def some_parts() -> Score:
    drums = track_of("Click", CLICK, is_drum=True)
    return score_of(drums, track_of("Chords", CHORDS), track_of("Flöte", line(TUNE), 73), track_of("Oboe 2", BASS, 68))


@pytest.mark.parametrize(
    ("chosen", "number"),
    [
        (5, 5),
        ("5", 5),
        ("Flöte", 4),
        ("flo\u0308TE", 4),
        ("oboe", 5),
        ("OBOE 2", 5),
        (3, 3),
        ("Click", 2),
        (" Chords ", 3),
    ],
)
def test_a_track_is_chosen_by_name_or_number(chosen: str | int, number: int) -> None:
    found = choose(some_parts(), "voices", ["Soprano"], chosen)
    (part,) = found.chosen["Soprano"]
    assert part.number == number
    assert number not in [one.number for one in found.left_out]
    assert len(found.left_out) == 3
    notes, _ = assign(some_parts(), "voices", ["Soprano"], chosen)
    assert [role for role, _ in notes] == [0]  # and the others are no voices


@pytest.mark.parametrize("chosen", [1, 9, "9", "Horn", "", "o", -1, "4.0"])
def test_a_track_that_is_not_there(chosen: str | int) -> None:
    with pytest.raises(BadInput) as caught:
        choose(some_parts(), "voices", ["Soprano"], chosen)
    assert str(caught.value) == (
        f'There is no track "{chosen}": the file has 2 Click (drums, 32 notes), 3 Chords (24 notes), 4 Flöte (32 notes), '
        "5 Oboe 2 (32 notes). Use the number or the name of one of them."
    )


def test_a_chosen_track_plays_one_role_alone() -> None:
    flute, guitar, bass = track_of("Flute", line(TUNE), 73), track_of("Guitar", CHORDS, 25), track_of("Bass", BASS, 33)
    found = choose(score_of(flute, guitar, bass), "band", ["Guitar", "Bass"], "flute")
    assert {role: [part.name for part in parts] for role, parts in found.chosen.items()} == {
        "Guitar": ["Flute"],
        "Bass": ["Bass"],
    }
    assert [part.name for part in found.left_out] == ["Guitar"]
    found = choose(score_of(track_of("Soprano", BASS), flute), "voices", ["Soprano"], 3)
    assert sung(found) == line(TUNE)
    found = choose(
        score_of(track_of("Soprano", BASS), track_of("Alto", line(TUNE))), "voices", ["Soprano", "Alto"], "Alto"
    )
    assert found.said == "The melody is track 3, Alto; left out: 2 Soprano"
    mapping = {"Beat": {"drums": True}, "Lead": {"programs": [80]}}
    assert sung(choose(score_of(flute), mapping, track=2), 1) == line(TUNE)  # the first role that is no drums


def test_a_chosen_track_of_several_parts_gives_its_melody() -> None:
    parts = [ScoreTrack("", 24, False, np.array(CHORDS), 1), ScoreTrack("", 73, False, np.array(line(TUNE)), 1)]
    parts.append(ScoreTrack("", 0, True, np.array(CLICK), 1))
    assert sung(choose(Score(BEAT, [], [], parts), "voices", ["Soprano"], 1)) == line(TUNE)


# Mappings and bands


def test_names_of_a_mapping_of_ones_own() -> None:
    """Of any case, in either of Unicode's forms, and before drums and programs; a single name needs no list."""
    mapping = {
        "Flute": {"names": ["flöte"], "programs": [0]},
        "Low": {"names": ["ベース", "STRASSE"]},
        "Kick": {"names": "kick", "drums": False},
        "Beat": {"drums": True, "names": None},
    }
    parts = [
        track_of("Flo\u0308te", [(0, 1, 60)], 73),
        track_of("FLÖTE 2", [(0, 1, 61)], 73),
        track_of("ヘ\u3099ース", [(0, 1, 62)], 33),
        track_of("Straße", [(0, 1, 63)], 33),
        track_of("Kick drum", [(0, 1, 36)], is_drum=True),
        track_of("Snare", [(0, 1, 38)], is_drum=True),
        track_of("k", [(0, 1, 64)], 5),
    ]
    found = choose(score_of(*parts), mapping)
    assert [sorted(note[2] for note in sung(found, role)) for role in range(4)] == [[60, 61], [62, 63], [36], [38]]
    assert [part.name for part in found.left_out] == ["k"]


def test_several_instruments_play_one_role_of_a_band() -> None:
    parts = [("Flute", 73), ("Trumpet", 56), ("Violin", 40), ("Lead", 30), ("Acoustic", 25)]
    data = midi([track([(0, 10, 60 + i)], i, program, name) for i, (name, program) in enumerate(parts)])
    notes, programs = notes_by_role(data, "band")
    assert [part[:, 2].tolist() for part in notes] == [[], [], [63, 64], [], [60, 61, 62]]
    assert programs == [[], [], [25, 30], [], [40, 56, 73]]


# Ranges


def test_voices_have_the_ranges_of_the_chorales() -> None:
    """As the bundled files have them, where a model does not know its own."""
    lowest, highest = [127] * 4, [0] * 4
    for path in bundled("chorales").glob("*.mid"):
        for i, one in enumerate(read_score(path.read_bytes()).tracks):
            lowest[i] = min(lowest[i], int(one.notes[:, 2].min()))
            highest[i] = max(highest[i], int(one.notes[:, 2].max()))
    old = [{"name": name, "program": 19, "is_drum": False} for name in ("Soprano", "Alto", "Tenor", "Bass")]
    for tracks in (model_tracks("voices", []), model_tracks("voices", old)):
        assert [(one.lowest, one.highest) for one in tracks] == list(zip(lowest, highest, strict=True))
    known = [{**one, "lowest": 60, "highest": 72} for one in old]
    assert [(one.lowest, one.highest) for one in model_tracks("voices", known)] == [(60, 72)] * 4
    assert all(one.lowest is None for one in model_tracks({"Bass": {"programs": [33]}}, old[3:]))
