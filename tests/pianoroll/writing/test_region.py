"""A region of a piece is written anew: outside of it every event is what it was, and nothing of the model's stands there."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import mido
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from readers import events_by_mido

from musegen.data.bundled import bundled
from musegen.errors import BadInput
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.domain import PianorollDomain

pytestmark = pytest.mark.filterwarnings("ignore::musegen.errors.MusegenWarning")

TRACKS = {"Lead": {"names": ["lead"]}, "Bass": {"names": ["bass"]}}
TPB = 480
BAR = 4 * TPB


def domain(**options: Any) -> PianorollDomain:
    defaults: dict[str, Any] = {"bars": 2, "tracks": TRACKS, "given": ["any"]}
    return PianorollDomain(PianorollConfig(**(defaults | options)))


def write(path: Path, tracks: dict[str, list[tuple[int, int, int]]]) -> mido.MidiFile:
    """Notes (tick, length, pitch) of named tracks, each on its channel, with pedals and lyrics."""
    file = mido.MidiFile(ticks_per_beat=TPB)
    for channel, (name, notes) in enumerate(tracks.items()):
        events = [
            (0, mido.MetaMessage("track_name", name=name)),
            (7, mido.Message("control_change", channel=channel, control=64)),
        ]
        events += [(BAR + 5, mido.MetaMessage("lyrics", text="la"))]
        for tick, length, pitch in notes:
            events.append((tick, mido.Message("note_on", channel=channel, note=pitch, velocity=33 + pitch % 60)))
            events.append((tick + length, mido.Message("note_off", channel=channel, note=pitch, velocity=11)))
        track, now = mido.MidiTrack(), 0
        for tick, message in sorted(events, key=lambda event: (event[0], event[1].type == "note_on")):
            track.append(message.copy(time=tick - now))
            now = tick
        track.append(mido.MetaMessage("end_of_track", time=6 * BAR - now))
        file.tracks.append(track)
    file.save(path)
    return file


LINES = {
    "lead": [(i * TPB, TPB // 2, 60 + i % 12) for i in range(24)],
    "bass": [(i * BAR // 2, BAR // 2, 36 + i) for i in range(12)],
}


def test_notes_of_the_region_are_gone_and_the_models_stand_there(tmp_path: Path) -> None:
    before = write(tmp_path / "a.mid", LINES)
    made = domain()
    x, mask, writer = made.read_region(tmp_path / "a.mid", ["Bass"], (3, 4))
    assert x.shape[1] == mask.shape[1] == 6 * 16
    expected = torch.ones(4, 96, dtype=torch.bool)
    expected[2:, 32:64] = False
    assert torch.equal(mask, expected)
    assert not x[2:, 32:64].any()
    samples = torch.zeros(1, *x.shape)
    samples[0] = x * mask[..., None]
    samples[0, 2:4, :, 40 - 24] = 1  # the model wants a note at every step, everywhere
    (piece,) = writer.pieces(samples)
    after = events_by_mido(piece.midi.content(), clip=True)
    found = events_by_mido(mido.MidiFile(tmp_path / "a.mid"), clip=True)
    assert after[0] == found[0]
    gone = Counter(found[1]) - Counter(after[1])
    assert not Counter(after[1]) - Counter(found[1])
    assert sorted(gone) == sorted(
        event for event in found[1] if event[1][0] & 0xE0 == 0x80 and event[1][1] in range(36 + 4, 36 + 8)
    )
    (new,) = after[2:]
    begins = [tick for tick, event in new if event[0] & 0xF0 == 0x90]
    ends = [tick for tick, event in new if event[0] & 0xF0 == 0x80]
    assert (len(begins), min(begins), max(ends)) == (32, 2 * BAR, 4 * BAR)
    assert before.ticks_per_beat == piece.midi.division


def test_new_notes_are_played_by_the_instrument_that_the_track_has(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mid", LINES)
    file.tracks[1].insert(0, mido.Message("program_change", channel=1, program=38))
    file.save(tmp_path / "a.mid")
    x, _, writer = domain().read_region(tmp_path / "a.mid", ["Bass"], (3, 4))
    samples = torch.zeros(1, *x.shape)
    samples[0, 2:4, 40, 20] = 1
    (piece,) = writer.pieces(samples)
    new = mido.MidiFile(file=BytesIO(piece.midi.content())).tracks[-1]
    assert [message.program for message in new if message.type == "program_change"] == [38]


def test_what_is_held_across_the_borders_stays_what_it_was(tmp_path: Path) -> None:
    """A note from before the region sounds into it; one that begins in it and sounds beyond it goes, beyond it as well."""
    write(
        tmp_path / "a.mid",
        {"lead": [(0, BAR, 70)], "bass": [(BAR, 2 * BAR, 40), (3 * BAR - TPB, 2 * BAR, 45), (5 * BAR, TPB, 50)]},
    )
    x, _, writer = domain().read_region(tmp_path / "a.mid", ["Bass"], (3, 3))
    bass = x[2]
    assert bass[16:48, 40 - 24].all()
    assert not bass[:, 45 - 24].any()
    samples = x[None].clone()
    samples[0, 2, 32:48, 40 - 24] = 1  # the model goes on with the note that is held, which is the piece's own
    (piece,) = writer.pieces(samples)
    notes = [
        event
        for events in events_by_mido(piece.midi.content(), clip=True)[1:2]
        for event in events
        if event[1][0] & 0xF0 == 0x90
    ]
    assert [event[1][1] for event in notes] == [40, 50]
    assert len(events_by_mido(piece.midi.content(), clip=True)) == 2  # the model wrote no note


@given(
    first=st.integers(1, 6),
    n=st.integers(0, 5),
    names=st.sampled_from([["Lead"], ["Bass"], None]),
    seed=st.integers(0, 9),
)
@settings(max_examples=8, deadline=None)
def test_outside_the_region_nothing_changes(
    first: int, n: int, names: list[str] | None, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the model wants to write."""
    path, last = tmp_path_factory.mktemp("region") / "a.mid", min(first + n, 6)
    write(path, LINES)
    x, mask, writer = domain(plan="chords").read_region(path, names, (first, last))
    generator = torch.Generator().manual_seed(seed)
    (piece,) = writer.pieces((torch.rand(1, *x.shape, generator=generator) < 0.05).float())
    found, after = events_by_mido(mido.MidiFile(path), clip=True), events_by_mido(piece.midi.content(), clip=True)
    begin, end = (first - 1) * BAR, last * BAR
    for name, own, now in zip(("Lead", "Bass"), found, after, strict=False):
        gone = Counter(own) - Counter(now)
        assert not Counter(now) - Counter(own)
        if names is not None and name not in names:
            assert not gone
        assert all(event[0] & 0xE0 == 0x80 for _, event in gone)
        begun = [tick for tick, event in own if event[0] & 0xF0 == 0x90]
        left = [tick for tick, event in now if event[0] & 0xF0 == 0x90]
        inside = [tick for tick in begun if begin <= tick < end]
        assert left == [tick for tick in begun if tick not in inside or (names is not None and name not in names)]
    for events in after[2:]:
        ticks = [tick for tick, event in events if event[0] & 0xE0 == 0x80]
        assert all(begin <= tick <= end for tick in ticks)
    free = ~mask[2:]
    assert free[:, 16 * (first - 1) : 16 * last].any()
    assert not free[:, : 16 * (first - 1)].any()
    assert not free[:, 16 * last :].any()
    assert torch.equal(
        mask[:2], mask[2:].all(0).expand(2, -1)
    )  # chords are drawn where something is that may play them


def test_bars_and_tracks_that_are_not_there_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.mid", LINES)
    for names, bars, message in (
        (["Flute"], (1, 2), 'There is no track "Flute" in this model'),
        (["Bass"], (5, 9), "bars=5-9 is invalid: .* has bars 1 to 6 of 4/4"),
        (["Bass"], (0, 2), "bars=0-2 is invalid"),
        (["Bass"], (4, 3), "bars=4-3 is invalid"),
    ):
        with pytest.raises(BadInput, match=message):
            domain().read_region(tmp_path / "a.mid", names, bars)


def test_real_files_keep_everything_else() -> None:
    """Drums and bass of two bars, in ten pieces of game music."""
    made = domain(tracks="band", bars=2)
    for path in sorted(bundled("freedoom").glob("*.mid"))[:10]:
        try:
            x, _, writer = made.read_region(path, ["Drums", "Bass"], (2, 3))
        except BadInput:
            continue  # another metre
        (piece,) = writer.pieces((torch.rand(1, *x.shape, generator=torch.Generator().manual_seed(0)) < 0.02).float())
        file = mido.MidiFile(path, clip=True)
        before, after = events_by_mido(file, clip=True), events_by_mido(piece.midi.content(), clip=True)
        counts: Counter[Any] = Counter(event for events in before for event in events)
        rest: Counter[Any] = Counter(event for events in after[: len(before)] for event in events)
        assert not rest - counts
        assert all(event[0] & 0xE0 == 0x80 for _, event in counts - rest)


def test_the_order_of_tracks_is_that_of_the_data(tmp_path: Path) -> None:
    """Model files of earlier versions hold a mapping sorted by name."""
    write(tmp_path / "a.mid", LINES)
    known = [{"name": "Lead", "program": 0, "is_drum": False}, {"name": "Bass", "program": 0, "is_drum": False}]
    x, _, _ = domain(tracks=dict(sorted(TRACKS.items())), track_list=known).read_region(tmp_path / "a.mid", [], (1, 1))
    assert x[0, 0, 60 - 24] == 1
    assert x[2, 0, 36 - 24] == 1
