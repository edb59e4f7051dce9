"""Events of MIDI files: what mido reads of sound files is what we read, and what is damaged costs what it is in."""

from __future__ import annotations

import midi_files
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_files import END, chunk, header, midi, piece, quantity, track
from readers import HERE, Event, events_by_mido, read_score

from musegen.data.bundled import bundled
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.track import MOST_LOST
from musegen_pianoroll.reading.whole import read_whole
from musegen_pianoroll.writing.midi import MidiFile


def by_us(data: bytes) -> list[list[Event]]:
    return [list(events) for events in read_whole(data, HERE).tracks]


@st.composite
def tracks(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """A sound track chunk, with running status, long times and events of all kinds; and its events."""
    content, status, now = b"", 0, 0
    events: list[Event] = []
    for _ in range(draw(st.integers(0, 40))):
        delta = draw(st.sampled_from([0, 0, 1, 127, 128, 5000, 16384, 2**21, 2**28 - 1]))
        kind = draw(st.sampled_from([0x80, 0x90, 0x90, 0x90, 0xA3, 0xB1, 0xCF, 0xD2, 0xE5, 0xF0, 0xFF]))
        now += delta
        content += quantity(delta)
        if kind >= 0xF0:
            text = bytes(draw(st.lists(st.integers(0, 127), max_size=200)))
            event = bytes([kind]) + (b"\x01" if kind == 0xFF else b"") + quantity(len(text)) + text
            status = status if kind == 0xFF else 0  # mido has no running status after a system exclusive event
            content += event
        else:
            data = bytes(draw(st.integers(0, 127)) for _ in range(1 if 0xC0 <= kind < 0xE0 else 2))
            event = bytes([kind]) + data
            content += data if kind == status and draw(st.booleans()) else event
            status = kind
        events.append((now, event))
    return chunk(b"MTrk", content + END), events


@settings(deadline=None, max_examples=150)
@given(st.lists(tracks(), min_size=1, max_size=3))
def test_sound_tracks_are_read_event_by_event(content: list[tuple[bytes, list[Event]]]) -> None:
    data = midi([chunk for chunk, _ in content], 0x7FFF)
    found = read_whole(data, HERE)
    assert [list(events) for events in found.tracks] == [events for _, events in content]
    assert found.ends == [events[-1][0] if events else 0 for _, events in content]
    again = MidiFile(found.division, found.tracks, found.ends, found.kind).content()
    assert by_us(again) == by_us(data)


@pytest.mark.parametrize("name", ["freedoom", "chorales"])
def test_real_files_are_read_as_mido_reads_them(name: str) -> None:
    for path in sorted(bundled(name).glob("*.mid")):
        found = by_us(path.read_bytes())
        for ours, theirs in zip(found, events_by_mido(path.read_bytes()), strict=True):
            # mido gives the content of a system exclusive event without its length.
            assert [event for event in ours if event[1][0] != 0xF0] == [e for e in theirs if e[1][0] != 0xF0], path


@settings(deadline=None, max_examples=200)
@given(st.one_of(midi_files.structured(), midi_files.mutated([piece(2), piece(1, 96)])))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """And what is read can be written, and read by others as it was by us."""
    try:
        found = read_whole(data, HERE)
    except MidiError as error:
        assert error.path == HERE
        assert error.reason
        assert "\n" not in error.reason
        return
    again = MidiFile(found.division, found.tracks, found.ends, found.kind).content()
    assert by_us(again) == [list(events) for events in found.tracks]


MELODY = [(i * 480, (i + 1) * 480, 60 + i % 5) for i in range(32)]
SOUND = track(MELODY)
BODY = SOUND[8:]


def with_body(body: bytes, size: int | None = None) -> bytes:
    return header(1) + b"MTrk" + (len(body) if size is None else size).to_bytes(4, "big") + body


def note_at(n: int) -> int:
    """Byte of the status of the n-th note-on in the body."""
    return [i for i, byte in enumerate(BODY) if byte == 0x90][n]


MENDED: dict[str, tuple[bytes, int, tuple[str, ...]]] = {
    # what is wrong: the file, how many notes players play, and what is said
    "a byte in front": (b"x" + midi([SOUND]), 32, ("1 bytes before its header",)),
    "RIFF": (b"RIFF\0\0\0\0RMIDdata\0\0\0\0" + midi([SOUND]), 32, ()),
    "MacBinary": (bytes(128) + midi([SOUND]), 32, ()),
    "a longer header": (chunk(b"MThd", b"\0\1\0\1\1\xe0more") + SOUND, 32, ()),
    "too many tracks promised": (header(3) + SOUND, 32, ("1 tracks where its header promises 3",)),
    "too few tracks promised": (header(1) + SOUND + SOUND, 64, ("2 tracks where its header promises 1",)),
    "an unknown chunk": (header(1) + chunk(b"XFIH", b"abcd") + SOUND, 32, ()),
    "type 7": (header(1, kind=7) + SOUND, 32, ("type 7, which does not exist, read as type 1",)),
    "type 2 with one track": (header(1, kind=2) + SOUND, 32, ()),
    "garbage behind": (midi([SOUND]) + bytes(50), 32, ()),
    "the length is too long": (
        with_body(BODY, len(BODY) + 5),
        32,
        ("a track of the wrong length",),
    ),
    "the length of the first of two is too long": (
        header(2) + b"MTrk" + (len(BODY) + 5).to_bytes(4, "big") + BODY + SOUND,
        64,
        ("a track of the wrong length",),
    ),
    "the length is too short": (
        header(2) + b"MTrk" + (len(BODY) - 40).to_bytes(4, "big") + BODY + SOUND,
        64,
        ("a track of the wrong length",),
    ),
    "no end of track": (with_body(BODY[:-4]), 32, ("a track without an end",)),
    "cut in an event": (
        midi([SOUND])[:-6],
        32,
        ("a track of the wrong length", "a track that is cut short", "a track without an end"),
    ),
    "a velocity of 200": (
        with_body(BODY[: note_at(3) + 2] + b"\xc8" + BODY[note_at(3) + 3 :]),
        32,
        ("a damaged event",),
    ),
    "a pitch of 200": (with_body(BODY[: note_at(3) + 1] + b"\xc8" + BODY[note_at(3) + 2 :]), 31, ("a damaged event",)),
    "a clock": (with_body(b"\x00\xf8" + BODY), 32, ("an event that files must not have",)),
    "a song position": (with_body(b"\x00\xf2\x01\x02" + BODY), 32, ("an event that files must not have",)),
    "a time of five bytes": (
        with_body(b"\x80\x80\x80\x80" + BODY),
        32,
        ("a time or length of more than four bytes",),
    ),
    "data before any status": (with_body(b"\x00\x3c\x40" + BODY), 32, ("data without an event",)),
    "a key of 18 sharps": (with_body(b"\x00\xff\x59\x02\x12\x01" + BODY), 32, ("an impossible key signature",)),
    "a metre of 0/4": (with_body(b"\x00\xff\x58\x04\x00\x02\x18\x08" + BODY), 32, ("an impossible time signature",)),
    "a metre of one byte": (with_body(b"\x00\xff\x58\x01\x04" + BODY), 32, ("an impossible time signature",)),
    "a metre of two bytes": (with_body(b"\x00\xff\x58\x02\x03\x02" + BODY), 32, ()),
    "a tempo of two bytes": (with_body(b"\x00\xff\x51\x02\x07\xa1" + BODY), 32, ("an impossible tempo",)),
    "a tempo of nothing": (with_body(b"\x00\xff\x51\x03\x00\x00\x00" + BODY), 32, ("an impossible tempo",)),
    # 2²⁸ ticks at one tick per beat: a few bytes that ask a parser for terabytes.
    "a time of 500 years": (
        header(1, division=1) + chunk(b"MTrk", quantity(2**28 - 1) + b"\x90\x3c\x40" + b"\x00\x80\x3c\x00" + END),
        1,
        ("an impossible time",),
    ),
    "a text after 500 years": (
        header(1, division=1) + chunk(b"MTrk", quantity(2**28 - 1) + b"\xff\x01\x00" + BODY),
        32,
        ("an impossible time",),
    ),
    "frames": (
        header(1, division=0xE728) + SOUND,
        32,
        ("time in frames instead of beats, read at 120 beats per minute",),
    ),
}


@pytest.mark.parametrize("what", MENDED)
def test_what_players_play_is_read_and_what_was_mended_is_said(what: str) -> None:
    data, n_notes, said = MENDED[what]
    score = read_score(data)
    assert sum(len(t.notes) for t in score.tracks) == n_notes
    assert score.mended == said
    # What is written again is sound for everybody.
    found = read_whole(data, HERE)
    again = MidiFile(found.division, found.tracks, found.ends, found.kind).content()
    if what not in ("a clock", "frames"):
        assert sum(event[1][0] == 0x90 and event[1][2] > 0 for t in events_by_mido(again) for event in t) == n_notes


def test_the_metre_of_two_bytes_and_the_frames() -> None:
    assert read_score(MENDED["a metre of two bytes"][0]).time_signatures == [(0, 3, 4)]
    frames = read_score(MENDED["frames"][0])
    assert frames.ticks_per_beat == 25 * 40 / 2  # 25 frames of 40 ticks in a second, which is two beats
    assert frames.tempos == []


REFUSED = {
    "is empty": b"",
    "is no MIDI file": b"RIFF" + bytes(40),
    "ends inside its header": b"MThd\0\0\0\6\0\1",
    "has no tracks": header(0),
    "type 2": header(2, kind=2) + track([]) + track([]),
    "no ticks per beat": header(1, division=0) + track([]),
    "longer than 50,000 beats": header(1, division=1)
    + chunk(b"MTrk", quantity(50_000) + b"\x90\x3c\x40" + quantity(1) + b"\x90\x3c\x40" + END),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_refused_and_why(reason: str) -> None:
    with pytest.raises(MidiError, match=reason):
        read_score(REFUSED[reason])


def test_sizes_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musegen_pianoroll.reading.midi.NOTE_CAP", 10)
    with pytest.raises(MidiError, match="more than 10 notes"):
        read_score(midi([track([(i, i + 1, 60) for i in range(11)])]))
    monkeypatch.setattr("musegen_pianoroll.reading.midi.EVENT_CAP", 20)
    for events in (b"\x01\xb0\x07\x40" * 21, b"\x01\xc0\x07" * 21):
        with pytest.raises(MidiError, match="more than 20 events"):
            read_score(midi([chunk(b"MTrk", events + END)]))
    monkeypatch.setattr("musegen_pianoroll.reading.layout.SIZE_CAP_BYTES", 1 << 20)
    with pytest.raises(MidiError, match="larger than 1 MB"):
        read_score(bytes((1 << 20) + 1))


def test_noise_at_the_end_of_a_track_is_left_out() -> None:
    noise = b"\x00\xf4" * (MOST_LOST + 1)
    score = read_score(midi([chunk(b"MTrk", BODY[:-4] + noise + END), SOUND]))
    assert score.mended == ("noise at the end of a track",)
    assert [len(t.notes) for t in score.tracks] == [32, 32]
    few = read_score(midi([chunk(b"MTrk", b"\x00\xf4" * MOST_LOST + BODY)]))
    assert few.mended == (f"an event that files must not have ({MOST_LOST} times)",)
    assert [len(t.notes) for t in few.tracks] == [32]


def test_a_damaged_event_under_running_status_keeps_the_status() -> None:
    """The status stands before the stretch; it is found though nobody noted it."""
    events = b"\x00\x91\x3c\x40" + b"\x01\x3d\x40" * 5 + b"\x01\x3e\xff" + b"\x01\x3f\x40"
    found = by_us(midi([chunk(b"MTrk", events + END)]))[0]
    assert [event for _, event in found] == [b"\x91\x3c\x40", *[b"\x91\x3d\x40"] * 5, b"\x91\x3e\x7f", b"\x91\x3f\x40"]


def test_the_status_of_an_event_that_was_lost_runs_on() -> None:
    lost = b"\x00\xb1\xff\x40"
    found = by_us(midi([chunk(b"MTrk", b"\x00\x92\x3c\x40" + lost + b"\x01\x07\x50" + b"\x01\x08\x51" + END)]))[0]
    assert [event for _, event in found] == [b"\x92\x3c\x40", b"\xb1\x07\x50", b"\xb1\x08\x51"]
    first = by_us(midi([chunk(b"MTrk", lost + b"\x01\x07\x50" + b"\x01\x08\x51" + END)]))[0]
    assert first == [(1, b"\xb1\x07\x50"), (2, b"\xb1\x08\x51")]


def test_a_status_runs_on_over_texts_and_system_exclusive_events() -> None:
    events = b"\x00\x90\x3c\x40" + b"\x01\xff\x05\x02la" + b"\x01\x3d\x40" + b"\x01\xf0\x02\x01\xf7" + b"\x01\x3e\x40"
    events += b"\x01\xc0\x05" + b"\x01\x06" + b"\x01\x90\x40\x40"
    found = by_us(midi([chunk(b"MTrk", events + END)]))[0]
    assert found == [
        (0, b"\x90\x3c\x40"),
        (1, b"\xff\x05\x02la"),
        (2, b"\x90\x3d\x40"),
        (3, b"\xf0\x02\x01\xf7"),
        (4, b"\x90\x3e\x40"),
        (5, b"\xc0\x05"),
        (6, b"\xc0\x06"),
        (7, b"\x90\x40\x40"),
    ]


SMALL = [
    "4d546864000000060001000127604d54726b0000001400f707524e3e597b7df703913d4b808000813d46",
    "4d546864000000060001000100304d54726b0000001100f7066c2d2e1a77f700913c0400813c74",
    "4d546864000000060001000100024d54726b0000000f00f704047f19f703923d2800923d00",
    "4d546864000000060001000100074d54726b0000001703f70c535221770e696e544d224cf700903e4b00803e46",
    "4d546864000000060001000127604d54726b0000001003923c5400f7054007114bf77b823c21",
    "4d546864000000060001000103c04d54726b0000000f834df703340cf700903e3300803e53",
    "4d546864000000060001000100034d54726b0000001000903d7c5af705535c132ef700903d00",
]
"""Small files on which decoders differ: an escape, running status after a system exclusive event, a track without an end."""


@pytest.mark.parametrize("data", SMALL)
def test_small_files_on_which_decoders_differ(data: str) -> None:
    """mido's notes are right: here, how many begin, and where."""
    expected = [
        (tick, event[1])
        for events in events_by_mido(bytes.fromhex(data))
        for tick, event in events
        if event[0] & 0xF0 == 0x90 and event[2]
    ]
    found = [tuple(note[[0, 2]].tolist()) for t in read_score(bytes.fromhex(data)).tracks for note in t.notes]
    assert sorted(found) == sorted(expected)


BETWEEN = {
    "system exclusive": b"\xf0\x03\x01\x02\xf7",
    "an escape": b"\xf7\x02\x01\x02",
    "a text": b"\xff\x01\x02hi",
    "a song position": b"\xf2\x01\x02",
    "a clock": b"\xf8",
}


@pytest.mark.parametrize("event", BETWEEN)
def test_the_status_of_the_channel_runs_on_after(event: str) -> None:
    """Notes without a status of their own, after an event that has none for them."""
    events = b"\x00\x91\x3c\x40\x00" + BETWEEN[event] + b"\x10\x3c\x00\x00\x3e\x30" + END
    (track,) = read_whole(midi([chunk(b"MTrk", events)]), HERE).tracks
    assert [e for e in track if e[1][0] >> 4 == 9] == [
        *((0, b"\x91\x3c\x40"), (16, b"\x91\x3c\x00"), (16, b"\x91\x3e\x30"))
    ]
