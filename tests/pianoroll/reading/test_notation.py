"""Sheet music: what is written is played, and files of strangers do no harm."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import midi_files
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import read_file

from musegen_pianoroll.reading.bars import TICKS_PER_BEAT
from musegen_pianoroll.reading.build import build_store
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.notation import read_abc, read_musicxml, read_mxl
from musegen_pianoroll.reading.score import Score
from musegen_pianoroll.reading.unfolding import BarMarks, playing_order
from musegen_pianoroll.store.store import Store

HERE = Path("score.musicxml")


@pytest.fixture
def library() -> None:
    pytest.importorskip("music21", reason="needs the extra notation: pip install 'musegen[notation]'")


# The order of bars


def marks(text: str) -> list[BarMarks]:
    """Bars from a line such as ``|: 1 :| F``: signs before and after the letter "o" of each bar."""
    bars: list[BarMarks] = []
    start = False
    ending: frozenset[int] = frozenset()
    for word in text.split():
        if word == "|:":
            start = True
        elif word.startswith("["):
            ending = frozenset(int(n) for n in word[1:].split(","))
        elif word == "]":
            ending = frozenset()
        elif word == "o":
            bars.append(BarMarks(start=start, endings=ending))
            start = False
        elif word.startswith(":|"):
            bars[-1].times = int(word[2:] or 2)
        elif word in ("capo", "sign"):
            bars[-1].jump = "segno" if word == "sign" else word
        else:
            setattr(bars[-1], word, True)
    return bars


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("o o o", "0 1 2"),
        ("o o :| o", "0 1 0 1 2"),
        ("o |: o o :| o", "0 1 2 1 2 3"),
        ("o :| o :| o", "0 0 1 1 2"),
        ("o :|3 o", "0 0 0 1"),
        ("|: o [1 o :| [2 o ] o", "0 1 0 2 3"),
        ("|: o [1 o o :| [2 o o ] o :| o", "0 1 2 0 3 4 5 5 6"),
        ("|: o [1,2 o :| [3 o ] o", "0 1 0 1 0 2 3"),
        ("|: o [1 o :| ] o", "0 1 0 2"),
        ("o o fine o capo", "0 1 2 0 1"),
        ("o o segno o fine o sign o", "0 1 2 3 1 2"),
        ("o o to_coda o capo o coda o", "0 1 2 0 1 3 4"),
        ("|: o [1 o :| [2 o ] o capo", "0 1 0 2 3 0 2 3"),  # after the jump without repeats
        ("o :| |: o :|", "0 0 1 1"),
        ("o fine o", "0 1"),
        ("|: o |: o :| o :|", "0 1 1 2 2"),
    ],
)
def test_bars_are_played_as_musicians_do(text: str, order: str) -> None:
    assert playing_order(marks(text), 100) == [int(i) for i in order.split()]


bar_marks = st.builds(
    BarMarks,
    start=st.booleans(),
    times=st.sampled_from([0, 0, 2, 3, 99]),
    endings=st.frozensets(st.integers(1, 4), max_size=2),
    jump=st.sampled_from(["", "", "", "capo", "segno"]),
    segno=st.booleans(),
    to_coda=st.booleans(),
    coda=st.booleans(),
    fine=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(bar_marks, max_size=12))
def test_every_order_ends(bars: list[BarMarks]) -> None:
    order = playing_order(bars, 100_000)
    assert len(order) <= 2 * 99 * len(bars) + len(bars)
    assert set(order) <= set(range(len(bars)))


# MusicXML


def note(pitch: str = "C4", length: int = 2, inner: str = "", tie: str = "", chord: bool = False) -> str:
    """A note of ``length`` eighths; ``pitch`` "" is a rest; "tie" is start, stop or both."""
    alter = {"#": 1, "b": -1}.get(pitch[1:2], 0)
    what = (
        f"<pitch><step>{pitch[0]}</step><alter>{alter}</alter><octave>{pitch[-1]}</octave></pitch>"
        if pitch
        else "<rest/>"
    )
    ties = "".join(f'<tie type="{one}"/>' for one in tie.split())
    return f"<note>{'<chord/>' if chord else ''}{what}<duration>{length}</duration>{ties}{inner}</note>"


def score(*parts: str, about: str | None = None, before: str = "") -> bytes:
    """A score of parts that are texts of measures."""
    names = about or "".join(
        f'<score-part id="P{i}"><part-name>Part {i}</part-name></score-part>' for i in range(len(parts))
    )
    music = "".join(f'<part id="P{i}">{part}</part>' for i, part in enumerate(parts))
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{before}<score-partwise version="4.0">'
        f"<part-list>{names}</part-list>{music}</score-partwise>"
    ).encode()


def measures(*contents: str, time: str = "4/4", more: str = "") -> str:
    """Measures, the first with divisions of an eighth and a time signature."""
    beats, kind = time.split("/")
    metre = f"<time><beats>{beats}</beats><beat-type>{kind}</beat-type></time>"
    first = f"<attributes><divisions>2</divisions>{more}{metre}</attributes>"
    return "".join(
        f'<measure number="{i}">{first if not i else ""}{content}</measure>' for i, content in enumerate(contents)
    )


def rows(found: Score, track: int = 0) -> list[tuple[float, float, int]]:
    """Notes of a track in quarter notes."""
    return [(a / TICKS_PER_BEAT, b / TICKS_PER_BEAT, p) for a, b, p in found.tracks[track].notes.tolist()]


def metres(found: Score) -> list[tuple[float, int, int]]:
    return [(tick / TICKS_PER_BEAT, n, d) for tick, n, d in found.time_signatures]


def read(content: bytes) -> Score:
    return read_musicxml(content, HERE)


@pytest.mark.usefixtures("library")
def test_notes_chords_and_voices() -> None:
    first = note("C4") + note("E4", chord=True) + note("F#4", 1) + note("Bb3", 1) + note("", 2) + note("G4", 2)
    second = f"<backup><duration>8</duration></backup>{note('C3', 8, '<voice>2</voice>')}"
    found = read(score(measures(first + second, note("A4", 8))))
    assert sorted(rows(found)) == [
        (0, 1, 60), (0, 1, 64), (0, 4, 48), (1, 1.5, 66), (1.5, 2, 58), (3, 4, 67), (4, 8, 69),
    ]  # fmt: skip
    assert (found.end, metres(found)) == (8 * TICKS_PER_BEAT, [(0, 4, 4)])
    assert (found.tracks[0].name, found.tracks[0].number, found.tracks[0].is_drum) == ("Part 0", 1, False)


@pytest.mark.usefixtures("library")
def test_tied_notes_are_one_note_and_triplets_are_exact() -> None:
    third = "<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes></time-modification>"
    tied = note("C4", 8, tie="start") + "</measure><measure>" + note("C4", 8, tie="stop start")
    music = measures(tied, note("C4", 2, tie="stop") + note("C4", 6), note("D4", 8))
    assert rows(read(score(music))) == [(0, 9, 60), (9, 12, 60), (12, 16, 62)]
    triplet = "".join(note(pitch, 1, third) for pitch in ("C4", "D4", "E4"))
    music = measures(triplet + note("C4", 9)).replace("<divisions>2", "<divisions>3")
    assert rows(read(score(music)))[:3] == [(0, 1 / 3, 60), (1 / 3, 2 / 3, 62), (2 / 3, 1, 64)]


@pytest.mark.usefixtures("library")
def test_repeats_and_endings_are_unfolded() -> None:
    def line(text: str, where: str) -> str:
        return f'<barline location="{where}">{text}</barline>'

    forward, backward = '<repeat direction="forward"/>', '<repeat direction="backward"/>'
    bars = [
        line(forward, "left") + note("C4", 8),
        line('<ending number="1" type="start"/>', "left")
        + note("D4", 8)
        + line('<ending number="1" type="stop"/>' + backward, "right"),
        line('<ending number="2" type="start"/>', "left")
        + note("E4", 8)
        + line('<ending number="2" type="discontinue"/>', "right"),
        note("F4", 8) + "<direction><direction-type><words>D.C. al Fine</words></direction-type></direction>",
    ]
    bars[2] += "<direction><direction-type><words>Fine</words></direction-type></direction>"
    assert [pitch for *_, pitch in rows(read(score(measures(*bars))))] == [60, 62, 60, 64, 65, 60, 64]


@pytest.mark.usefixtures("library")
def test_metres_and_pickups() -> None:
    three = "<attributes><time><beats>3</beats><beat-type>4</beat-type></time></attributes>"
    found = read(score(measures(note("G4", 2), note("C4", 8), note("C4", 8), three + note("D4", 6), note("D4", 6))))
    assert metres(found) == [(0, 1, 4), (1, 4, 4), (9, 3, 4)]
    six = read(score(measures(note("C4", 6), note("C4", 6), time="6/8")))
    assert metres(six) == [(0, 6, 8)]
    in_two = [note("C4", 8), note("D4", 6), note("E4", 2), note("F4", 8)]  # a bar in two halves, around a repeat sign
    assert metres(read(score(measures(*in_two)))) == [(0, 4, 4)]


@pytest.mark.usefixtures("library")
def test_tempos_at_their_places() -> None:
    def mark(unit: str, number: int) -> str:
        metronome = f"<metronome><beat-unit>{unit}</beat-unit><per-minute>{number}</per-minute></metronome>"
        return f"<direction><direction-type>{metronome}</direction-type></direction>"

    found = read(score(measures(mark("quarter", 90) + note("C4", 8), note("C4", 4) + mark("half", 60) + note("C4", 4))))
    assert [(tick / TICKS_PER_BEAT, bpm) for tick, bpm in found.tempos] == [(0, 90), (6, 120)]
    assert read(score(measures(note("C4", 8)))).tempos == [(0, 120)]


@pytest.mark.usefixtures("library")
def test_transposing_instruments_sound_where_they_sound() -> None:
    clarinet = "<transpose><diatonic>-1</diatonic><chromatic>-2</chromatic></transpose>"
    bass = "<transpose><diatonic>0</diatonic><chromatic>0</chromatic><octave-change>-1</octave-change></transpose>"
    music = score(measures(note("C4", 8), more=clarinet), measures(note("C4", 8), more=bass), measures(note("C4", 8)))
    assert [rows(read(music), i)[0][2] for i in range(3)] == [58, 48, 60]


ABOUT = """
<score-part id="P0"><part-name>Violin</part-name><score-instrument id="I0"><instrument-name>Violin</instrument-name>
</score-instrument><midi-instrument id="I0"><midi-channel>1</midi-channel><midi-program>41</midi-program></midi-instrument>
</score-part><score-part id="P1"><part-name>Drumset</part-name>
<score-instrument id="K"><instrument-name>Acoustic Bass Drum</instrument-name></score-instrument>
<score-instrument id="S"><instrument-name>Snare</instrument-name></score-instrument>
<score-instrument id="N"><instrument-name>Something</instrument-name></score-instrument>
<midi-instrument id="K"><midi-channel>10</midi-channel><midi-unpitched>36</midi-unpitched></midi-instrument>
<midi-instrument id="S"><midi-channel>10</midi-channel><midi-unpitched>39</midi-unpitched></midi-instrument></score-part>
<score-part id="P2"><part-name>Snare Drum</part-name></score-part>
<score-part id="P3"><part-name>Viola</part-name></score-part>
"""


def hit(name: str = "", length: int = 4) -> str:
    instrument = f'<instrument id="{name}"/>' if name else ""
    where = "<unpitched><display-step>F</display-step><display-octave>4</display-octave></unpitched>"
    return f"<note>{where}<duration>{length}</duration>{instrument}</note>"


@pytest.mark.usefixtures("library")
def test_parts_have_their_names_and_programs_and_drums_their_pitches() -> None:
    kit = measures(hit("K", 2) + hit("S", 2) + hit("N"))
    found = read(score(measures(note("C4", 8)), kit, measures(hit() + hit()), measures(note("C4", 8)), about=ABOUT))
    assert [(t.name, t.is_drum, t.number) for t in found.tracks] == [
        ("Violin", False, 1), ("Drumset", True, 2), ("Snare Drum", True, 3), ("Viola", False, 4),
    ]  # fmt: skip
    assert [found.tracks[i].program for i in (0, 3)] == [40, 41]  # by number, and by name
    assert rows(found, 1) == [(0, 1, 35), (1, 2, 38)]
    assert rows(found, 2) == [(0, 2, 38), (2, 4, 38)]
    assert found.mended == ("unpitched notes that name no drum of General MIDI were left out: 1",)


@pytest.mark.usefixtures("library")
def test_each_staff_of_a_part_is_a_track() -> None:
    upper, lower = note("C5", 8, "<staff>1</staff>"), note("C3", 8, "<voice>5</voice><staff>2</staff>")
    both = measures(f"{upper}<backup><duration>8</duration></backup>{lower}", more="<staves>2</staves>")
    about = ABOUT.replace("Violin", "Harp").replace("41<", "47<").split("</score-part>")[0] + "</score-part>"
    found = read(score(both, about=about))
    assert [(t.name, t.program, t.number) for t in found.tracks] == [("Harp", 46, 1), ("Harp", 46, 2)]
    assert [rows(found, i) for i in range(2)] == [[(0, 4, 72)], [(0, 4, 48)]]


@pytest.mark.usefixtures("library")
def test_grace_notes_cues_and_chord_symbols_are_not_played() -> None:
    grace = "<note><grace/><pitch><step>D</step><octave>5</octave></pitch></note>"
    cue = note("A4", 4, "").replace("<note>", "<note><cue/>")
    harmony = "<harmony><root><root-step>C</root-step></root><kind>major</kind></harmony>"
    found = read(score(measures(harmony + grace + note("C4", 4) + cue, note("E4", 8))))
    assert rows(found) == [(0, 2, 60), (4, 8, 64)]


@pytest.mark.usefixtures("library")
def test_utf_16_and_a_doctype_are_read() -> None:
    doctype = '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" "http://no.invalid/partwise.dtd">'
    plain = score(measures(note("C4", 8)), before=doctype).decode()
    for content in (plain.encode(), plain.replace("UTF-8", "UTF-16").encode("utf-16")):
        assert rows(read(content)) == [(0, 4, 60)]


@pytest.mark.usefixtures("library")
def test_scores_ordered_by_time_are_put_in_order() -> None:
    parts = [measures(note("C4", 8), note("D4", 8)), measures(note("E4", 8), note("F4", 8))]
    by_parts = read(score(*parts))
    columns = zip(*(part.replace("<measure", "\n<measure").split("\n")[1:] for part in parts), strict=True)
    text = ""
    for i, column in enumerate(columns):
        inner = (one.partition(">")[2].removesuffix("</measure>") for one in column)
        text += (
            f'<measure number="{i}">'
            + "".join(f'<part id="P{k}">{x}</part>' for k, x in enumerate(inner))
            + "</measure>"
        )
    head = score(*parts).decode().partition("<part id")[0].replace("score-partwise", "score-timewise")
    by_time = read(f"{head}{text}</score-timewise>".encode())
    assert [rows(by_time, i) for i in range(2)] == [rows(by_parts, i) for i in range(2)] == [
        [(0, 4, 60), (4, 8, 62)], [(0, 4, 64), (4, 8, 65)],
    ]  # fmt: skip


def mxl(name: str, content: bytes, container: str | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        if container is not None:
            rootfile = f'<container><rootfiles><rootfile full-path="{container}"/></rootfiles></container>'
            archive.writestr("META-INF/container.xml", rootfile)
        archive.writestr("other.xml", b"<no/>") if container else None
        archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("container", ["music/a.xml", None])
def test_compressed_scores(container: str | None) -> None:
    content = mxl("music/a.xml", score(measures(note("C4", 8))), container)
    assert rows(read_mxl(content, Path("a.mxl"))) == [(0, 4, 60)]


LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
REFUSED: dict[str, tuple[Any, bytes]] = {
    "declares XML entities": (read_musicxml, score("", before=LAUGHS)),
    "declares XML entities,": (read_musicxml, score("", before=OUTSIDE)),
    "nested more than 100 levels": (read_musicxml, b"<a>" * 200_000),
    "is no XML, or a damaged file": (read_musicxml, score("")[:-5]),
    "is no XML": (read_musicxml, b""),
    "no MusicXML: it is a <annotation>": (read_musicxml, b"<annotation/>"),
    "larger than 16 MB": (read_musicxml, bytes((16 << 20) + 1)),
    "holds more than 32 MB in a.xml": (read_mxl, mxl("a.xml", bytes(33 << 20))),
    "holds more than 1 MB in META-INF": (read_mxl, mxl("META-INF/container.xml", bytes(2 << 20))),
    "holds no score": (read_mxl, mxl("a.png", b"")),
    "cannot be parsed": (read_mxl, b"PK\3\4"),
    "declares XML entities, which": (read_mxl, mxl("a.xml", score("", before=LAUGHS))),
    "longer than 50,000 beats": (read_musicxml, score(measures(note("C4", 2 * 50_001)))),
    "holds no tune: X: begins one": (read_abc, b"hello"),
    "holds no tune that can be read: 1 \\(has no notes\\)": (read_abc, b"X:1\nK:C\n"),
    "&, which is not read": (read_abc, b"X:1\nK:C\nabc&def|\n"),
}


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("reason", REFUSED)
def test_files_that_are_refused(reason: str) -> None:
    reader, content = REFUSED[reason]
    with pytest.raises(MidiError, match=reason):
        reader(content, HERE)


@pytest.mark.usefixtures("library")
@settings(max_examples=60, deadline=None)
@given(midi_files.mutated([score(measures(note("C4", 4) + note("E4", 4), note("D4", 8)))]))
def test_damaged_scores_read_or_raise_midi_error(content: bytes) -> None:
    with contextlib.suppress(MidiError):
        read(content)


numbers = st.integers(-9, 40)
inner_parts = st.one_of(
    st.builds(note, st.sampled_from(["C4", "Bb0", "F#9", ""]), numbers, tie=st.sampled_from(["", "start", "stop"])),
    st.builds("<{0}><duration>{1}</duration></{0}>".format, st.sampled_from(["backup", "forward"]), numbers),
    st.builds("<attributes><divisions>{}</divisions></attributes>".format, numbers),
    st.builds(
        "<attributes><time><beats>{}</beats><beat-type>{}</beat-type></time></attributes>".format, numbers, numbers
    ),
    st.builds('<sound tempo="{}"/>'.format, numbers),
    st.builds('<barline><repeat direction="backward" times="{}"/></barline>'.format, numbers),
)


@pytest.mark.usefixtures("library")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(inner_parts, max_size=5).map("".join), min_size=1, max_size=4))
def test_scores_that_make_no_sense_are_put_on_the_grid_or_refused(tmp_path: Path, contents: list[str]) -> None:
    path = tmp_path / "score.musicxml"
    path.write_bytes(score(measures(note("C4", 2), *contents)))
    with contextlib.suppress(MidiError):
        piece, _ = read_file(path, "band", 4)
        assert piece.n_notes[1] >= 1
        assert piece.planes.any()


# ABC


def abc(text: str) -> Score:
    return read_abc(text.encode(), Path("a.abc"))


def pitches(found: Score, track: int = 0) -> list[int]:
    return [pitch for *_, pitch in rows(found, track)]


@pytest.mark.usefixtures("library")
def test_a_tune() -> None:
    found = abc('X:1\nT:Tune\nM:3/4\nL:1/8\nQ:1/4=90\nK:G\n"G"G2|:FA B>c (3ded|{a}f6-|f2 [Bd]4-:|[Bd]2 z4|]\n')
    assert found.tempos == [(0, 90.0)]
    assert metres(found) == [(0, 1, 4), (1, 3, 4)]
    third = 1 / 3
    one_pass = [
        (1, 1.5, 66), (1.5, 2, 69), (2, 2.75, 71), (2.75, 3, 72),
        (3, 3 + third, 74), (3 + third, 3 + 2 * third, 76), (3 + 2 * third, 4, 74),
        (4, 8, 78),
    ]  # fmt: skip
    assert rows(found)[:9] == [(0, 1, 67), *[(pytest.approx(a), pytest.approx(b), p) for a, b, p in one_pass]]
    assert rows(found)[9:11] == [(8, 10, 71), (8, 10, 74)]
    assert rows(found)[-2:] == [(17, 20, 71), (17, 20, 74)]  # tied over the bar line after the second pass
    assert found.end == 22 * TICKS_PER_BEAT


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("music", "heard"),
    [
        ("=FF f^f|F", "65 65 77 78 66"),  # accidentals hold for the bar, in all octaves
        ("|:A|1 B B:|2 c c|d|]", "69 71 71 69 73 73 74"),
        ("|:A[1 B:|[2 c]|", "69 71 69 73"),
        ("|:A|1,2 B:|3 c|]", "69 71 69 71 69 73"),
        ("A:: B:|c", "69 69 71 71 73"),
        ("A:|\nB:|", "69 69 71 71"),
        ("A|B!fine!|c!D.C.!|", "69 71 73 69 71"),
        ('"^text"A!trill!B TcHd', "69 71 73 74"),
        ("A B|\nw: la |2 la\nw: la\nc|", "69 71 73"),
        ("A %|: B\n|c|", "69 73"),
        ("[ACE]A", "61 64 69 69"),
    ],
)
def test_music_in_d_major(music: str, heard: str) -> None:
    found = abc(f"X:1\nM:none\nL:1/4\nK:D\n{music}\n")
    assert sorted_chords(found) == [int(pitch) for pitch in heard.split()]


def sorted_chords(found: Score) -> list[int]:
    return [pitch for *_, pitch in sorted(rows(found))]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    "body",
    [
        "[V:1] c d e f|\n[V:2] C, D, E, F,|\n[V:1] g4|\n[V:2] G,4|",
        "V:1\nc d e f|g4|\nV:2\nC, D, E, F,|G,4|",
    ],
)
def test_voices_are_tracks(body: str) -> None:
    header = 'X:1\nM:4/4\nL:1/4\n%%MIDI program 73\nV:1 name="Flute"\nV:2 name="Cello"\n%%MIDI program 42\nK:C\n'
    found = abc(header + body + "\n")
    assert [(t.name, t.program, t.number) for t in found.tracks] == [("Flute", 73, 1), ("Cello", 42, 2)]
    assert pitches(found) == [72, 74, 76, 77, 79]
    assert rows(found, 1) == [(0, 1, 48), (1, 2, 50), (2, 3, 52), (3, 4, 53), (4, 8, 55)]


@pytest.mark.usefixtures("library")
def test_rests_of_whole_bars_and_drums() -> None:
    found = abc("X:1\nM:3/4\nL:1/4\nK:C clef=perc\nc3|Z2|x2 c|\n")
    assert rows(found) == [(0, 3, 72), (11, 12, 72)]
    assert found.tracks[0].is_drum


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("metre", "eighths"), [("", 1), ("M:none\n", 1), ("M:C\n", 1), ("M:3/4\n", 1), ("M:2/4\n", 0.5)]
)
def test_notes_without_a_length(metre: str, eighths: float) -> None:
    assert rows(abc(f"X:1\n{metre}K:C\nC2D|\n")) == [(0, eighths, 60), (eighths, 1.5 * eighths, 62)]


@pytest.mark.usefixtures("library")
def test_free_text_is_no_music() -> None:
    text = "%%begintext\nabc\n%%endtext\n"
    found = abc(f"abc\n\nX:1\nT:a b c\nP:AAB\nK:C\n{text}CD|% E\nw: a b c\nE\n\nA bad cabbage|\n")
    assert pitches(found) == [60, 62, 64]
    assert found.mended == ("the order of parts (P:) is not followed: each is played once, where it stands",)


BOOK = """%abc
M:4/4
L:1/4

X:1
K:C
C D E F|G4|

X:2
M:6/8
L:1/8
K:F
C|F2G A3|B6|

X:3
K:C
c d e f&g|

X:4
T:no notes
K:C
"""


@pytest.mark.usefixtures("library")
def test_a_book_of_tunes_is_read_tune_by_tune() -> None:
    found = abc(BOOK)
    assert metres(found) == [(0, 4, 4), (9, 1, 8), (9.5, 6, 8)]
    assert found.sections == (0, 9 * TICKS_PER_BEAT)
    assert found.end == 15.5 * TICKS_PER_BEAT
    assert rows(found) == [
        (0, 1, 60), (1, 2, 62), (2, 3, 64), (3, 4, 65), (4, 8, 67),
        (9, 9.5, 60), (9.5, 10.5, 65), (10.5, 11, 67), (11, 12.5, 69), (12.5, 15.5, 70),
    ]  # fmt: skip
    (said,) = found.mended
    assert said.startswith("2 of 4 tunes cannot be read, the first is X:3 (lays voices over each other")


@pytest.mark.usefixtures("library")
def test_no_window_reaches_from_one_tune_into_the_next(tmp_path: Path) -> None:
    (tmp_path / "tunes").mkdir()
    tunes = "".join(f"X:{i}\nM:4/4\nL:1/4\nK:C\nC D E F|G4|A4|\n\n" for i in range(3))
    (tmp_path / "tunes" / "book.abc").write_text(tunes)
    (tmp_path / "tunes" / "score.xml").write_bytes(score(measures(note("C4", 8), note("D4", 8))))
    (tmp_path / "tunes" / "bomb.xml").write_bytes(score("", before=LAUGHS))
    report = build_store(tmp_path / "tunes", tmp_path / "store", workers=1)
    assert [name for name, _ in report.skipped] == ["bomb.xml"]
    book, sheet = Store.open(tmp_path / "store").pieces
    assert book.segments == [[0, 3, 4, 4], [52, 3, 4, 4], [104, 3, 4, 4]]
    assert (sheet.segments, sheet.n_notes) == ([[0, 2, 4, 4]], [0, 2, 0, 0, 0])


any_tune = st.text("ABab[]|:123,'^=_/z-(){}XVMLKQ \n").map(lambda text: f"X:1\nK:C\n{text}".encode())


@pytest.mark.usefixtures("library")
@settings(max_examples=100, deadline=None)
@given(st.one_of(midi_files.mutated([BOOK.encode()]), any_tune))
def test_any_text_reads_or_raises_midi_error(content: bytes) -> None:
    with contextlib.suppress(MidiError):
        read_abc(content, Path("a.abc"))


# Without the library


def test_without_the_library_a_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "music21", None)
    for reader in (read_musicxml, read_mxl, read_abc):
        with pytest.raises(MidiError, match=r"needs the extra notation: pip install 'musegen\[notation\]'"):
            reader(b"", HERE)


def test_nothing_imports_the_library_but_files_that_need_it(tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(midi_files.piece(4))
    code = """
import sys
from pathlib import Path
from musegen_pianoroll.reading.build import build_store
build_store(Path("a.mid"), Path("store"), workers=1)
from readers import read_file
assert read_file(Path("a.mid"), "band", 4)
assert "music21" not in sys.modules
"""
    here = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=here)
