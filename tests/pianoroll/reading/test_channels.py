"""What channels play, whichever tracks their events are in: programs, drum kits, pedals, and notes that nothing ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_files import END, chunk, header, midi, quantity
from readers import HERE, read_score

from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.midi import read_scores
from musegen_pianoroll.reading.names import decode_name, names_drums
from musegen_pianoroll.reading.score import Score

Event = tuple[int, bytes]


def events(*some: Event, end: int | None = None, kind: bytes = b"MTrk") -> bytes:
    """A track chunk of events at ticks; at one tick they stay in order."""
    content, now = b"", 0
    for tick, event in sorted(some, key=lambda event: event[0]):
        content += quantity(tick - now) + event
        now = tick
    return chunk(kind, content + quantity((now if end is None else end) - now) + b"\xff\x2f\x00")


def on(tick: int, pitch: int = 60, channel: int = 0) -> Event:
    return tick, bytes([0x90 | channel, pitch, 64])


def off(tick: int, pitch: int = 60, channel: int = 0) -> Event:
    return tick, bytes([0x80 | channel, pitch, 0])


def program(tick: int, number: int, channel: int = 0) -> Event:
    return tick, bytes([0xC0 | channel, number])


def control(tick: int, number: int, value: int, channel: int = 0) -> Event:
    return tick, bytes([0xB0 | channel, number, value])


def system(tick: int, message: str) -> Event:
    content = bytes.fromhex(message)
    return tick, b"\xf0" + quantity(len(content)) + content


def note(tick: int, channel: int = 0, pitch: int = 60, length: int = 10) -> list[Event]:
    return [on(tick, pitch, channel), off(tick + length, pitch, channel)]


def played(data: bytes) -> list[tuple[int, int, bool]]:
    """Of every note its tick, what plays it, and whether that is drums."""
    score = read_score(data)
    return sorted((start, t.program, t.is_drum) for t in score.tracks for start in t.notes[:, 0].tolist())


def test_programs_set_in_another_track_count_in_order_of_ticks() -> None:
    conductor = events(program(0, 33), program(100, 40), program(200, 50, 1))
    notes = events(*note(0), *note(100), *note(150), *note(300, 1))
    assert played(midi([conductor, notes])) == [(0, 33, False), (100, 40, False), (150, 40, False), (300, 50, False)]
    # In whatever track they stand, also a later one.
    assert played(midi([notes, conductor])) == played(midi([conductor, notes]))


def test_a_program_counts_in_its_own_track_from_its_place_on() -> None:
    data = midi([events(program(0, 5), *note(0), *note(20), program(30, 7), *note(30))])
    assert played(data) == [(0, 5, False), (20, 5, False), (30, 7, False)]
    late = midi([events(on(0), program(0, 7), off(10), *note(20))])
    assert played(late) == [(0, 0, False), (20, 7, False)]


def test_tracks_that_share_a_channel_keep_programs_set_at_once() -> None:
    data = midi([events(program(0, 5), *note(0), *note(20)), events(program(0, 70), *note(0), *note(30))])
    assert played(data) == [(0, 5, False), (0, 70, False), (20, 5, False), (30, 70, False)]
    then = midi([events(program(0, 5), *note(0), *note(20)), events(program(0, 70), *note(0), program(15, 9))])
    assert played(then) == [(0, 5, False), (0, 70, False), (20, 9, False)]


def test_ports_have_channels_of_their_own() -> None:
    first = events(program(0, 5), *note(0))
    second = events((0, b"\xff\x21\x01\x01"), *note(0), program(20, 70), *note(20))
    assert played(midi([first, second])) == [(0, 0, False), (0, 5, False), (20, 70, False)]


@pytest.mark.parametrize(
    ("setting", "channel", "drums"),
    [
        ([], 9, True),
        ([], 10, False),
        ([control(0, 0, 127, 10), program(0, 0, 10)], 10, True),  # XG
        ([control(0, 0, 126, 10), program(0, 0, 10)], 10, True),  # XG, effects
        ([control(0, 0, 120, 10), program(0, 0, 10)], 10, True),  # GM2
        ([control(0, 0, 120, 10)], 10, False),  # a bank without a program changes nothing
        ([control(0, 0, 121, 9), program(0, 3, 9)], 9, False),  # GM2: melody on channel 10
        ([control(0, 0, 0, 9), program(0, 3, 9)], 9, True),
        ([control(0, 0, 127, 10), program(0, 0, 10), control(0, 0, 0, 10), program(0, 0, 10)], 10, False),
        ([system(0, "41104212401a150100f7")], 10, True),  # GS: use for rhythm, part 11
        ([system(0, "41104212401a150200f7")], 10, True),  # the second map
        ([system(0, "41104212401f150100f7")], 15, True),
        ([system(0, "411042124011150100f7")], 0, True),
        ([system(0, "411042124010150000f7")], 9, False),  # block 0 is part 10
        ([system(0, "43104c08050701f7")], 5, True),  # XG part mode
        ([system(0, "43104c08090700f7")], 9, False),
        ([system(0, "7e7f0901f7")], 10, False),  # GM on
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_drums_wherever_they_are(setting: list[Event], channel: int, drums: bool, elsewhere: bool) -> None:
    notes = note(5, channel, 36)
    tracks = [events(*setting), events(*notes)] if elsewhere else [events(*setting, *notes)]
    assert [is_drum for _, _, is_drum in played(midi(tracks))] == [drums]


@pytest.mark.parametrize(
    ("name", "number", "drums"),
    [
        ("Drums", 0, True),
        ("DRUM KIT", 0, True),
        ("Percussion", 0, True),
        ("Schlagzeug", 0, True),
        ("Steel Drums", 114, False),
        ("Taiko Drum", 116, False),
        ("Eardrum", 0, False),
        ("Hydrumatic", 0, False),
        ("Piano", 0, False),
    ],
)
def test_names_of_drums(name: str, number: int, drums: bool) -> None:
    assert names_drums(name, number) == drums
    title = name.encode()
    data = midi([events((0, b"\xff\x03" + quantity(len(title)) + title), program(0, number), *note(0))])
    assert played(data) == [(0, number, drums)]


def test_a_title_names_no_track() -> None:
    title = events((0, b"\xff\x03\x05Drums"), *note(0), *note(0, 3, 62))
    assert [t.name for t in read_score(header(1, kind=0) + title).tracks] == ["", ""]
    assert [t.name for t in read_score(header(1, kind=1) + title).tracks] == ["Drums", "Drums"]
    instrument = events((0, b"\xff\x04\x04Harp"), *note(0))
    assert [t.name for t in read_score(midi([instrument])).tracks] == ["Harp"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Flöte".encode(), "Flöte"),
        ("Flöte".encode("latin-1"), "Flöte"),
        ("ベース".encode("shift_jis"), "ベース"),
        ("ピアノ左手 L".encode("shift_jis"), "ピアノ左手 L"),
        ("Don’t stop".encode("cp1252"), "Don’t stop"),
        ("Guitare électrique".encode("latin-1"), "Guitare électrique"),
        ("Ärger über Öl".encode("latin-1"), "Ärger über Öl"),
        ("Flo\u0308te".encode(), "Flöte"),
        (b"Bass\0\0", "Bass"),
        (b"", ""),
        (b"\xff\xfe", "ÿþ"),
    ],
)
def test_names_in_the_encodings_of_others(content: bytes, text: str) -> None:
    assert decode_name(content) == text


# Ends


def spans(*some: Event, end: int | None = None, pedal: Any = "piano") -> list[tuple[int, int]]:
    return sorted(
        (a, b) for t in read_score(midi([events(*some, end=end)]), pedal).tracks for a, b, _ in t.notes.tolist()
    )


def test_notes_without_an_end_sound_to_the_end_of_the_track() -> None:
    assert spans(on(10), on(20, 64), off(30, 64), end=100) == [(10, 100), (20, 30)]
    assert spans(on(10)) == [(10, 10)]


def test_off_and_on_at_one_tick_in_either_order() -> None:
    chain = [(0, 10), (10, 20), (20, 30)]
    assert spans(on(0), off(10), on(10), off(20), on(20), off(30)) == chain
    assert spans(on(0), on(10), off(10), on(20), off(20), off(30)) == chain
    # The off of a note of no length stands before its on: it sounds until the pitch is let go.
    assert spans(off(0), on(0), on(10), off(20), end=90) == [(0, 20), (10, 20)]


def test_a_waiting_note_is_ended_by_the_next_end_and_idle_ends_mean_nothing() -> None:
    assert spans(off(0), on(10), on(20), off(30), off(40), off(50), on(60), off(60)) == [(10, 30), (20, 40), (60, 60)]
    assert spans(on(0), on(5), on(6), off(8), end=99) == [(0, 8), (5, 8), (6, 8)]
    assert spans(on(0), off(8), on(9), end=99) == [(0, 8), (9, 99)]


def test_pedals_hold_notes() -> None:
    down, up = control(5, 64, 127), control(50, 64, 0)
    assert spans(on(0), down, off(10), up, on(60), off(70)) == [(0, 50), (60, 70)]
    assert spans(on(0), down, off(10), up, on(60), off(70), pedal="off") == [(0, 10), (60, 70)]
    assert spans(on(0), down, off(10), end=80) == [(0, 80)]  # it never comes up
    assert spans(on(0), off(5), down, up) == [(0, 5)]  # let go as the pedal went down
    assert spans(on(0), control(5, 64, 63), off(10), up) == [(0, 10)]  # not half down
    # Up and down again at once: what sounds stops, what follows is held.
    again = [control(50, 64, 0), control(50, 64, 127)]
    assert spans(on(0), down, off(10), *again, on(50, 64), off(55, 64), control(90, 64, 0)) == [(0, 50), (50, 90)]


@pytest.mark.parametrize(
    ("number", "pedal", "held"), [(0, "piano", 1), (7, "piano", 1), (8, "piano", 0), (8, "all", 1)]
)
def test_whose_notes_pedals_hold(number: int, pedal: Any, held: bool) -> None:
    some = [program(0, number), on(0), control(5, 64, 127), off(10), control(50, 64, 0)]
    assert spans(*some, pedal=pedal) == [(0, 50 if held else 10)]


def test_a_pedal_in_another_track_counts_and_that_of_another_channel_does_not() -> None:
    notes = events(on(0), off(10), on(0, 60, 1), off(10, 60, 1), end=99)
    pedal = events(control(5, 64, 127), control(50, 64, 0), end=99)
    found = {t.channel: t.notes[0, 1] for t in read_score(midi([pedal, notes])).tracks}
    assert found == {0: 50, 1: 10}


# A slow reader


@st.composite
def playing(draw: st.DrawFn) -> list[Event]:
    """A track of few voices, so that notes of one pitch overlap, end twice, never or at once, and programs change under them."""
    now, found = 0, []
    for _ in range(draw(st.integers(0, 30))):
        now += draw(st.sampled_from([0, 0, 1, 5, 100, 300, 20_000]))
        channel, pitch = draw(st.sampled_from([0, 9])), draw(st.sampled_from([60, 61]))
        found.append(
            draw(
                st.sampled_from(
                    [
                        on,
                        on,
                        on,
                        off,
                        off,
                        lambda t, p, c: program(t, p - 60, c),
                        lambda t, p, c: control(t, 64, 127 * (p - 60), c),
                    ]
                )
            )(now, pitch, channel)
        )
    return found


def slowly(tracks: list[list[Event]]) -> list[tuple[int, int, int, int, int]]:
    """Notes as (track, channel, start, end, program), by the rules, one by one."""
    ends = [max([0, *(tick for tick, _ in events)]) for events in tracks]
    notes = []
    for number, some in enumerate(tracks):
        waiting: dict[tuple[int, int], list[list[Any]]] = {}
        mine: list[list[Any]] = []
        for at, (tick, event) in enumerate(some):
            kind, channel = event[0] & 0xF0, event[0] & 0xF
            queue = waiting.setdefault((channel, event[1]), []) if kind in (0x80, 0x90) else []
            if kind == 0x90:
                note = [number, channel, tick, None, at]
                queue.append(note)
                mine.append(note)
            elif kind == 0x80 and queue:
                queue.pop(0)[3] = tick
        for (channel, pitch), queue in waiting.items():
            for note in queue:
                later = [
                    tick
                    for at, (tick, event) in enumerate(some)
                    if event[0] == 0x80 | channel and event[1] == pitch and at > note[4]
                ]
                note[3] = later[-1] if later else ends[number]
        notes += mine
    return sorted(
        (n, channel, start, end, _program(tracks, n, channel, start, at)) for n, channel, start, end, at in notes
    )


def _program(tracks: list[list[Event]], own: int, channel: int, start: int, at: int) -> int:
    """The last change no later than the note; of those at one tick that of its own track, and then the last."""
    best = (-1, False, -1, -1, 0)
    for number, some in enumerate(tracks):
        for place, (tick, event) in enumerate(some):
            if event[0] == 0xC0 | channel and tick <= start and not (number == own and place > at):
                best = max(best, (tick, number == own, number, place, event[1]))
    return best[-1]


@settings(deadline=None, max_examples=200)
@given(st.lists(playing(), min_size=1, max_size=3))
def test_notes_are_those_of_a_slow_reader(tracks: list[list[Event]]) -> None:
    score = read_score(midi([events(*some) for some in tracks], 20_000), pedal="off")
    found = sorted(
        (t.number - 1, t.channel, start, end, t.program) for t in score.tracks for start, end, _ in t.notes.tolist()
    )
    assert found == slowly(tracks)


# Several files together


def contents(score: Score) -> Any:
    tracks = [(t.name, t.program, t.is_drum, t.number, t.channel, sorted(t.notes.tolist())) for t in score.tracks]
    return score.ticks_per_beat, score.tempos, score.time_signatures, tracks, score.end, score.mended


def alone(data: bytes) -> Any:
    try:
        return contents(read_score(data))
    except MidiError as error:
        return error.reason


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.lists(playing(), max_size=3), st.sampled_from([1, 96, 480, 0x7FFF])), max_size=4))
def test_files_read_together_are_the_files_alone(songs: list[tuple[list[list[Event]], int]]) -> None:
    files = [midi([events(*some) for some in tracks] or [chunk(b"MTrk", END)], division) for tracks, division in songs]
    expected = [alone(data) for data in files]
    if all(isinstance(found, tuple) for found in expected):
        assert [contents(score) for score in read_scores([(HERE, data) for data in files])] == expected
    else:  # ticks of a short beat soon are too many
        with pytest.raises(MidiError):
            read_scores([(HERE, data) for data in files])
