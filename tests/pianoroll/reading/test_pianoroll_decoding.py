"""Notes decoded from events at once are those that symusic finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_files import END, chunk, midi, quantity, track
from readers import HERE, read_score

from musegen.data.bundled import bundled
from musegen_pianoroll.reading import midi as midi_module
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.midi import check_files, read_scores
from musegen_pianoroll.reading.score import Score


def contents(score: Score) -> Any:
    """What is in a score, with notes in an order of their own; tracks without notes have no say."""
    tracks = [(t.name, t.program, t.is_drum, sorted(t.notes.tolist())) for t in score.tracks if len(t.notes)]
    return score.ticks_per_beat, score.tempos, score.time_signatures, tracks


def both(data: bytes) -> tuple[Any, Any]:
    """What is decoded, and what symusic makes of the file."""
    assert check_files([(HERE, data)])[1] is not None
    return contents(read_score(data)), contents(midi_module._parse(data, HERE))


@pytest.mark.parametrize("name", ["freedoom", "chorales"])
def test_real_files_decode_as_symusic_parses_them(name: str) -> None:
    for path in sorted(bundled(name).glob("*.mid")):
        decoded, parsed = both(path.read_bytes())
        assert decoded == parsed, path


def test_odd_files_of_others_decode_as_symusic_parses_them(shared_data: Path) -> None:
    n_decoded = 0
    for path in sorted((shared_data / "midi_tricky").rglob("*.mid")):
        try:
            _, events = check_files([(path, path.read_bytes())])
            parsed = midi_module._parse(path.read_bytes(), path)
        except MidiError:
            continue
        if events is not None:
            assert contents(read_score(path.read_bytes())) == contents(parsed), path
            n_decoded += 1
    assert n_decoded > 5


@st.composite
def playing(draw: st.DrawFn) -> bytes:
    """A track of few voices, so that notes of one pitch overlap, end twice, never or at once, and programs change under them."""
    content, status = b"", 0
    channels = draw(st.sampled_from([[0], [9, 3], list(range(16))]))
    for _ in range(draw(st.integers(0, 30))):
        content += quantity(draw(st.sampled_from([0, 0, 1, 5, 100, 127, 128, 300, 20_000, 2_100_000])))
        kind = draw(st.sampled_from([0x80, 0x90, 0x90, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0, 0xFF, 0xFF]))
        if kind == 0xFF:
            meta = draw(st.sampled_from([b"\x51\x03", b"\x58\x04", b"\x03", b"\x05\x02hi"]))
            content += b"\xff" + meta
            if meta == b"\x51\x03":
                content += draw(st.integers(0, 2**24 - 1)).to_bytes(3, "big")
            elif meta == b"\x58\x04":
                content += bytes([draw(st.integers(1, 12)), draw(st.integers(0, 6)), 24, 8])
            elif meta == b"\x03":
                name = draw(st.sampled_from(["", "Bass", "Hör zu", "弦楽器"])).encode()
                content += quantity(len(name)) + name
            continue
        if kind == 0xF0:
            content, status = content + b"\xf0\x03\x01\x02\xf7", 0
            continue
        kind |= draw(st.sampled_from(channels))
        if kind != status or draw(st.booleans()):
            content += bytes([kind])
        status = kind
        content += bytes([draw(st.sampled_from([60, 60, 61]))])
        if not 0xC0 <= kind < 0xE0:
            content += bytes([draw(st.sampled_from([0, 1, 64, 127]))])
    return chunk(b"MTrk", content + END + draw(st.sampled_from([b"", b"\x00\x90\x3c\x40"])))


@settings(max_examples=120, deadline=None)
@given(st.lists(playing(), max_size=2))
def test_any_sound_file_decodes_as_symusic_parses_it(tracks: list[bytes]) -> None:
    decoded, parsed = both(midi(tracks, 0x7FFF))
    assert decoded == parsed


def test_a_waiting_note_is_ended_by_the_next_end_and_idle_ends_mean_nothing() -> None:
    on, off = b"\x90\x3c\x40", b"\x80\x3c\x00"
    events = b"\x00" + off + b"\x0a" + on + b"\x0a" + on + b"\x0a" + off + b"\x0a" + off + b"\x0a" + off
    events += b"\x0a" + on + b"\x00" + off + b"\x0a" + on  # one without length, one without end
    (read,) = read_score(midi([chunk(b"MTrk", events + END)])).tracks
    assert read.notes.tolist() == [[10, 30, 60], [20, 40, 60], [60, 60, 60]]


def test_an_escape_is_passed_over() -> None:
    """F7, a length, and any bytes, says the standard; symusic 0.5.9 reads on at the wrong byte."""
    events = b"\x05\x90\x3c\x40" + b"\x05\xf7\x03\x90\x3d\x40" + b"\x05\x80\x3c\x00"
    (read,) = read_score(midi([chunk(b"MTrk", events + END)])).tracks
    assert read.notes.tolist() == [[5, 15, 60]]


def test_symusic_is_not_imported_for_ordinary_files() -> None:
    program = (
        "import sys, musegen_pianoroll.reading.worker as w; from pathlib import Path\n"
        "p = Path(sys.argv[1]); w.interpret([(p, w.load(p))], 'band', 4)\n"
        "print(sorted({'symusic', 'torch', 'zipfile', 'importlib.metadata'} & set(sys.modules)))"
    )
    path = sorted(bundled("freedoom").glob("*.mid"))[0]
    said = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_files_that_are_walked_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = midi([track([(0, 480, 60), (480, 960, 64)], 0, 33, "Bass")])
    decoded = contents(read_score(data))
    monkeypatch.setattr(midi_module, "read_events", lambda *_: None)
    monkeypatch.setattr(midi_module, "decode", None)
    assert contents(read_score(data)) == decoded


# Several files together


def alone(data: bytes) -> Any:
    """A file's contents, or what is wrong with it."""
    try:
        return contents(read_score(data))
    except MidiError as error:
        return error.reason


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(st.lists(playing(), max_size=3), st.sampled_from([1, 96, 480, 0x7FFF])), max_size=4))
def test_files_read_together_are_the_files_alone(songs: list[tuple[list[bytes], int]]) -> None:
    files = [midi(tracks, division) for tracks, division in songs]
    expected = [alone(data) for data in files]
    if all(isinstance(found, tuple) for found in expected):
        assert [contents(score) for score in read_scores([(HERE, data) for data in files])] == expected
    else:  # ticks of a short beat soon are too many
        with pytest.raises(MidiError):
            read_scores([(HERE, data) for data in files])


@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_file_has_its_own_length(place: int) -> None:
    """What one file may be long is too long for another with longer beats."""
    long = b"\x00\x90\x3c\x40" + quantity(50_001 * 96) + b"\x80\x3c\x00"
    files = [midi([chunk(b"MTrk", long + END)], 480) for _ in range(3)]
    assert len(read_scores([(HERE, data) for data in files])) == 3
    files[place] = midi([chunk(b"MTrk", long + END)], 96)
    with pytest.raises(MidiError, match="longer than 50,000 beats"):
        read_scores([(HERE, data) for data in files])


def test_a_file_that_is_walked_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[int] = []

    def counted(events: Any, files: Any, real: Any = midi_module.decode) -> Any:
        together.append(len(files))
        return real(events, files)

    monkeypatch.setattr(midi_module, "decode", counted)
    files = [midi([track([(0, 480, 60 + i)], name=f"part {i}")]) for i in range(8)]
    # Channel pressure on every beat: more events with one data byte than are read one by one.
    files[5] = midi([chunk(b"MTrk", b"\x00\x90\x3c\x40" + b"\x05\xd0\x01" * 200 + b"\x05\x80\x3c\x00" + END)])
    assert midi_module.check_files([(HERE, files[5])])[1] is None
    found = [contents(score) for score in read_scores([(HERE, data) for data in files])]
    assert together == [4, 1, 2]  # and one by the parser
    assert found == [contents(read_score(data)) for data in files]
