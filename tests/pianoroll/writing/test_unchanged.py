"""What goes in comes out: every event of a given file, at its tick, and new notes on tracks of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
import torch
from commands import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_files import chunk, header, midi, quantity
from readers import Event, events_by_mido

from musegen.data.bundled import bundled
from musegen.errors import BadInput
from musegen_pianoroll import given_files
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.domain import PianorollDomain
from musegen_pianoroll.reading import worker
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.options import Reading
from musegen_pianoroll.writing.midi import MidiFile, Part

pytestmark = pytest.mark.filterwarnings("ignore::musegen.errors.MusegenWarning")


def events_of(content: bytes | mido.MidiFile) -> list[list[Event]]:
    return events_by_mido(content, clip=True)


def channels_of(tracks: list[list[Event]]) -> set[tuple[int, int]]:
    """Ports and channels that have notes."""
    found = set()
    for events in tracks:
        port = next((event[3] for _, event in events if event[:3] == b"\xff\x21\x01"), 0)
        found |= {(port, event[0] & 0xF) for _, event in events if event[0] & 0xF0 == 0x90}
    return found


@pytest.fixture
def read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in this process: hundreds of them in a few seconds."""

    def read(path: Path, reading: Reading, with_sources: bool, *_: int) -> tuple[np.ndarray, dict[str, Any]]:
        ((piece, known, sources),) = worker.interpret([(path, worker.load(path))], reading, with_sources)
        known |= sources | {"segments": piece.grid.segments, "n_odd": piece.grid.n_odd, "tempos": piece.tempos}
        known |= {"n_notes": piece.n_notes, "off_grid": piece.off_grid, "mended": piece.grid.mended}
        return piece.planes, known

    monkeypatch.setattr(given_files, "read_piece", read)


def begins_of(tracks: list[list[Event]]) -> list[int]:
    """Ticks at which notes begin."""
    return [tick for events in tracks for tick, event in events if event[0] & 0xF0 == 0x90 and event[2]]


def samples_like(x: torch.Tensor, n_rows: int) -> torch.Tensor:
    """What a model might write: a few notes anywhere."""
    rng = torch.Generator().manual_seed(0)
    return (torch.rand(1, x.shape[0], n_rows, x.shape[2], generator=rng) < 0.01).float()


def check(path: Path, domain: PianorollDomain, keep: Any) -> list[list[Event]]:
    """Every event of a file comes back when a model writes beside it or goes on from it; the tracks that are new."""
    x, writer = domain.read_given(path, keep)
    (piece,) = writer.pieces(samples_like(x, x.shape[1] if keep == "given" else x.shape[1] + domain.config.bar_steps))
    assert piece.midi is not None
    file = mido.MidiFile(path, clip=True)
    before, after = events_of(file), events_of(piece.midi.content())
    assert file.ticks_per_beat == piece.midi.division
    new = after[len(before) :]
    assert new, "the model wrote nothing"
    assert not Counter(before[0]) - Counter(after[0])
    more = Counter(after[0]) - Counter(before[0])
    assert all(event[:2] == b"\xff\x58" for _, event in more)  # that of the model, where the piece ends in another
    assert after[1 : len(before)] == before[1:]
    assert not channels_of(new) & channels_of(before)
    if keep == "all":
        assert min(begins_of(new)) > max(begins_of(before))
    return new


def metre_of(path: Path, tracks: str) -> str:
    """The metre of most of a file."""
    ((piece, _, _),) = worker.interpret([(path, worker.load(path))], Reading(tracks))
    steps: Counter[str] = Counter()
    for _, bars, numerator, denominator in piece.grid.segments:
        steps[f"{numerator}/{denominator}"] += bars * numerator * 16 // denominator
    return steps.most_common(1)[0][0]


@pytest.mark.usefixtures("read_here")
@pytest.mark.parametrize(
    ("name", "tracks"), [("freedoom", "band"), pytest.param("chorales", "voices", marks=pytest.mark.slow)]
)
def test_every_event_of_every_bundled_file_comes_back(name: str, tracks: str) -> None:
    paths = sorted(bundled(name).glob("*.mid"))
    assert len(paths) > 60
    for path in paths:
        config = PianorollConfig(bars=1, tracks=tracks, metre=metre_of(path, tracks))
        check(path, PianorollDomain(config), "all")


UNREADABLE = {
    "muspy/empty.mid": "has no notes",
    "muspy/multiple-copyrights.mid": "has no notes",
    "muspy/negative-ticks-per-beat.mid": "has no tracks",
    "muspy/ticks-per-beat-480.mid": "has no tracks",
    "muspy/type2.mid": "has no tracks",
    "muspy/zero-ticks-per-beat.mid": "has no tracks",
    "symusic/empty.mid": "has no notes",
}
"""Files of others of which nothing can be heard."""


@pytest.mark.usefixtures("read_here")
@pytest.mark.parametrize("name", ["midi_tricky", pytest.param("pop909", marks=pytest.mark.slow)])
def test_every_event_of_files_of_others_comes_back(shared_data: Path, name: str) -> None:
    every = {"Music": {"programs": ["0-127"]}, "Drums": {"drums": True}}
    refused = {}
    for path in sorted((shared_data / name).rglob("*.mid")):
        try:
            config = PianorollConfig(bars=1, tracks=every, metre=metre_of(path, every))  # type: ignore[arg-type]
        except MidiError as error:
            refused[path.relative_to(shared_data / name).as_posix()] = error.reason
            continue
        try:
            mido.MidiFile(path, clip=True)
        except (OSError, EOFError, ValueError, IndexError):
            continue  # damaged: what players play of it comes back, but mido cannot say so
        check(path, PianorollDomain(config), "all")
    assert refused.keys() == (UNREADABLE.keys() if name == "midi_tricky" else set())
    assert all(UNREADABLE[file] in reason for file, reason in refused.items())


# A file with everything


def track(*some: Event, end: int) -> bytes:
    content, now = b"", 0
    for tick, event in sorted(some, key=lambda event: event[0]):
        content += quantity(tick - now) + event
        now = tick
    return chunk(b"MTrk", content + quantity(end - now) + b"\xff\x2f\x00")


def test_a_piece_without_the_model_s_tracks_is_refused_by_their_names(tmp_path: Path) -> None:
    drums = track((0, b"\x99\x24\x40"), (480, b"\x89\x24\x00"), end=1920)
    (tmp_path / "drums.mid").write_bytes(midi([drums]))
    domain = PianorollDomain(PianorollConfig(bars=1, tracks="voices"))
    with pytest.raises(
        MidiError, match=r"these tracks: Soprano, Alto, Tenor, Bass\. Use a piece that has some, or a model"
    ):
        domain.read_given(tmp_path / "drums.mid", "all")


def everything(division: int = 384) -> bytes:
    """A pickup, a 2/4 bar in the middle, 30 tempos, lyrics, pedals, bends, aftertouch, velocities, a note off the grid; the
    last bar is not whole."""
    beat = division
    metres = [(0, 1), (beat, 4), (9 * beat, 2), (11 * beat, 4)]
    conductor: list[Event] = [(tick, bytes([0xFF, 0x58, 4, n, 2, 24, 8])) for tick, n in metres]
    conductor += [(i * beat // 2, b"\xff\x51\x03" + (500_000 + 1000 * i).to_bytes(3, "big")) for i in range(30)]
    conductor += [(0, b"\xff\x03\x04Song"), (0, b"\xff\x02\x01c"), (5, b"\xff\x06\x05Verse")]
    conductor += [(0, b"\xff\x59\x02\xfd\x00")]
    keys: list[Event] = [(0, b"\xff\x03\x06Fl\xf6te "), (0, b"\xc2\x49"), (7, b"\xe2\x00\x50"), (9, b"\xd2\x40")]
    keys += [(3, b"\xb2\x40\x7f"), (4 * beat, b"\xb2\x40\x00"), (6, b"\xa2\x3c\x11"), (8, b"\xf0\x03\x7d\x01\xf7")]
    for i in range(18):
        at = i * beat + (beat // 7 if i == 5 else 0)
        keys += [(at, bytes([0x92, 60 + i % 7, 20 + 5 * i])), (at + beat - 1, bytes([0x82, 60 + i % 7, i]))]
        keys.append((at, b"\xff\x05\x02la"))
    drums = [
        event for i in range(18) for event in ((i * beat, b"\x99\x24\x50"), (i * beat + beat // 4, b"\x99\x24\x00"))
    ]
    return midi([track(*conductor, end=18 * beat), track(*keys, end=18 * beat), track(*drums, end=18 * beat)], division)


@pytest.mark.usefixtures("read_here")
@pytest.mark.parametrize("division", [384, 96, 1024, 4, 480])
@pytest.mark.parametrize("keep", ["all", "given"])
def test_a_file_with_everything_comes_back(tmp_path: Path, keep: str, division: int) -> None:
    (tmp_path / "a.mid").write_bytes(everything(division))
    config = PianorollConfig(bars=1, given=["Drums"], lowest_pitch=36)
    new = check(tmp_path / "a.mid", PianorollDomain(config), keep)
    # Three bars of 4/4 are whole, and the fourth is filled up: new notes stand in them, or after them.
    bars = (
        [(1 * division, 9 * division), (11 * division, 19 * division)]
        if keep == "given"
        else [(19 * division, 23 * division)]
    )
    assert all(any(first <= tick < last for first, last in bars) for tick in begins_of(new))


@pytest.mark.usefixtures("read_here")
def test_what_the_model_does_not_see_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(everything())
    domain = PianorollDomain(PianorollConfig(bars=1, tracks={"Beat": {"drums": True}}, lowest_pitch=36))
    with pytest.warns(match="the model does not see") as said:
        domain.read_given(tmp_path / "a.mid", "all")
    (text,) = (str(one.message) for one in said)
    assert "2 of 6 bars, which are not of 4/4" in text  # the pickup, and that of 2/4
    assert "18 notes of 1 track, for which it has no part" in text
    assert text.endswith("What the file holds is written as it is.")
    domain = PianorollDomain(PianorollConfig(bars=1, lowest_pitch=36))
    with pytest.warns(match="where 1 notes begin, which is off its grid of 4 steps per beat"):
        domain.read_given(tmp_path / "a.mid", "all")


@pytest.mark.usefixtures("read_here")
def test_what_the_model_writes_anew_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(everything())
    domain = PianorollDomain(PianorollConfig(bars=1, given=["Drums"], lowest_pitch=36))
    with pytest.warns(match="its own notes for Strings stay beside those of the model"):
        domain.read_given(tmp_path / "a.mid", "given")
    x, writer = domain.read_given(tmp_path / "a.mid", "given only")
    (piece,) = writer.pieces(samples_like(x, x.shape[1]))
    assert piece.midi is not None
    before, after = events_of(everything()), events_of(piece.midi.content())
    assert (after[0], after[1]) == (before[0], before[2])  # the flute is gone, the drums are not
    of_drums = PianorollDomain(PianorollConfig(bars=1, given=["Strings"], lowest_pitch=36))
    x, writer = of_drums.read_given(tmp_path / "a.mid", "given only")
    (piece,) = writer.pieces(samples_like(x, x.shape[1]))
    assert piece.midi is not None
    assert events_of(piece.midi.content())[:2] == before[:2]


@pytest.mark.usefixtures("read_here")
def test_a_file_of_one_track_keeps_its_events(tmp_path: Path) -> None:
    tracks = events_of(everything())
    one = track(*(event for events in tracks for event in events if event[1][0] != 0xF0), end=18 * 384)
    (tmp_path / "a.mid").write_bytes(header(1, 384, kind=0) + one)
    check(tmp_path / "a.mid", PianorollDomain(PianorollConfig(bars=1, lowest_pitch=36)), "all")


def test_on_the_command_line(run: Callable[..., Result], tmp_path: Path) -> None:
    """Continued, accompanied, and given to generate: every event is there, and new ones are, too."""
    path = tmp_path / "a.mid"
    path.write_bytes(everything())
    assert run("continue", "chorale", path, "-n", 1, "--bars", 1, "--out", "a", "--audio", "none").code == 0
    assert run("accompany", "chorale", path, "--tracks", "Soprano", "-n", 1, "--out", "b", "--audio", "none").code == 0
    assert run("generate", "chorale", "--given", path, "-n", 1, "--out", "c", "--audio", "none").code == 0
    before = events_of(path.read_bytes())
    for name in ("a/a_continued_000", "b/a_accompanied_000", "c/sample_000"):
        after = events_of(Path(f"{name}.mid").read_bytes())
        assert after[: len(before)] == before
        assert channels_of(after[len(before) :])
    result = run("continue", "chorale", path, "--file-metre", "7/8", "--out", "d")
    assert result.code == 2
    assert "no bar of 4/4" in result.err
    assert "use --file-metre 4/4." in result.err
    refused = run("generate", "chorale", "--given", path, "--bars", 3, "--out", "e")
    assert (refused.code, "do not go together" in refused.err) == (2, True)


# New parts


@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2)), max_size=20),
    st.lists(st.booleans(), min_size=1, max_size=40),
)
@settings(max_examples=100)
def test_no_two_parts_share_a_channel(used: list[tuple[int, int]], drums: list[bool]) -> None:
    """Where sixteen channels do not suffice, parts go to other ports; drums stay on the tenth channel."""
    own = [[(0, bytes([0xFF, 0x21, 1, port])), (0, bytes([0x90 | channel, 60, 1]))] for channel, port in used]
    file = MidiFile(480, own or [[]], [0] * max(len(own), 1))
    notes = np.array([[0, 10, 60]])
    parts = [Part(f"{i}", i, is_drum, notes) for i, is_drum in enumerate(drums)]
    after = events_of(file.beside(parts).content())
    new = [channels_of([events]) for events in after[len(file.tracks) :]]
    places = [place for (place,) in new]
    assert len(set(places)) == len(places)
    assert not set(places) & {(port, channel) for channel, port in used}
    assert [channel == 9 for _, channel in places] == drums


def test_sixteen_melodic_tracks_come_back_as_sixteen_instruments(tmp_path: Path) -> None:
    mapping = {f"T{i:02d}": {"programs": [f"{8 * i}-{8 * i + 7}"], "program": 8 * i} for i in range(16)}
    domain = PianorollDomain(PianorollConfig(bars=1, tracks=mapping, lowest_pitch=48, highest_pitch=71))
    samples = torch.zeros(1, 32, 16, 24)
    for i in range(16):
        samples[0, 2 * i : 2 * i + 2, i, i] = 1
    (piece,) = domain.pieces(samples)
    piece.save(tmp_path / "a.mid")
    again = domain.read(tmp_path / "a.mid")
    assert torch.equal(again, samples)
    programs = [e[1] for track in events_of((tmp_path / "a.mid").read_bytes()) for _, e in track if e[0] & 0xF0 == 0xC0]
    assert programs == [8 * i for i in range(16)]


def test_own_output_reads_back_to_the_same_length(tmp_path: Path) -> None:
    """The last bar rests."""
    domain = PianorollDomain(PianorollConfig(bars=4, lowest_pitch=48, highest_pitch=71))
    samples = torch.zeros(1, 10, 64, 24)
    samples[0, 2:4, 3, 5] = 1
    domain.pieces(samples)[0].save(tmp_path / "a.mid")
    assert torch.equal(domain.read(tmp_path / "a.mid"), samples)


@pytest.mark.usefixtures("read_here")
def test_the_sound_follows_the_files_own_tempos_and_velocities(tmp_path: Path) -> None:
    """Two notes, the second at a tenth of the tempo: where the sound begins, and how loud it is."""
    slow = (480, b"\xff\x51\x03" + (5_000_000).to_bytes(3, "big"))
    notes = [(0, b"\x90\x3c\x7f"), (10, b"\x80\x3c\x00"), (960, b"\x90\x3c\x20"), (970, b"\x80\x3c\x00")]
    (tmp_path / "a.mid").write_bytes(midi([track(slow, *notes, end=1920)]))
    _, writer = PianorollDomain(PianorollConfig(bars=1)).read_given(tmp_path / "a.mid", "all")
    (piece,) = writer.pieces(torch.zeros(1, 10, 32, 84))
    sound, rate_hz = piece.audio()
    level = np.abs(sound).max(0)
    first, second = level[: 3 * rate_hz].max(), level[3 * rate_hz :].max()
    assert 0 < second < 0.5 * first
    begins = 3 * rate_hz + np.flatnonzero(level[3 * rate_hz :] > 0.3 * second)[0]
    assert begins / rate_hz == pytest.approx(0.5 + 5, abs=0.05)
    assert piece.seconds == pytest.approx(0.5 + 7 * 5)  # a given bar and a new one


@pytest.mark.usefixtures("read_here")
def test_a_lakh_pianoroll_is_given_back_with_its_tempos(tmp_path: Path) -> None:
    import pypianoroll

    roll = np.zeros((96 * 3, 128), np.uint8)
    roll[::24, 60] = 80
    tempo = np.repeat([90.0, 60.0, 75.0], 96)[:, None]
    pypianoroll.Multitrack(resolution=24, tempo=tempo, tracks=[pypianoroll.StandardTrack("a", 4, False, roll)]).save(
        tmp_path / "a.npz"
    )
    _, writer = PianorollDomain(PianorollConfig(bars=1)).read_given(tmp_path / "a.npz", "all")
    (piece,) = writer.pieces(torch.zeros(1, 10, 64, 84))
    assert piece.midi is not None
    events = [event for events in events_of(piece.midi.content()) for event in events]
    tempos = [(tick, int.from_bytes(e[3:], "big")) for tick, e in events if e[:2] == b"\xff\x51"]
    assert tempos == [(0, round(6e7 / 90)), (1920, round(6e7 / 60)), (3840, round(6e7 / 75))]
    assert [tick for tick, e in events if e[0] & 0xF0 == 0x90] == list(range(0, 3 * 1920, 480))


def test_a_melody_can_be_named_and_a_wrong_name_is_refused(run: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    path.write_bytes(everything())
    options = ["-n", 1, "--tracks", "Soprano", "--audio", "none", "--overwrite"]
    assert run("accompany", "chorale", path, "--track", "2", "--out", "a", *options).code == 0
    assert run("accompany", "chorale", path, "--track", "flöte", "--out", "a", *options).code == 0
    result = run("accompany", "chorale", path, "--track", "7", "--out", "a", *options)
    assert result.code == 2
    assert "2 Flöte (18 notes)" in result.err
    with pytest.raises(BadInput, match='There is no track "9"'):
        PianorollDomain(PianorollConfig(tracks="voices", given=["Soprano"], track="9")).read_given(path, "given")
