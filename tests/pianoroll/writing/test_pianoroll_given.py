"""Pieces that a user gives: moved into a model's range, continued, accompanied, and given back note for note."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Result, bad
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_files import midi, piece, track
from torch import Tensor

import musegen
from musegen.contracts.family import build
from musegen.contracts.piece import save
from musegen.errors import BadInput, MusegenWarning
from musegen.families.conditional_gan import ConditionalGAN, ConditionalGANConfig
from musegen.families.rnn_nade import RNNNADE, RNNNADEConfig
from musegen.models.model import Model
from musegen_pianoroll.config import PianorollConfig, PianorollWriting
from musegen_pianoroll.domain import PianorollDomain
from musegen_pianoroll.reading.roles import program_number
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.rooms import Rooms
from musegen_pianoroll.writing.beside import GivenPiece
from musegen_pianoroll.writing.given import into_range, moved_pitches
from musegen_pianoroll.writing.midi import MidiFile, notes_of

QUICK = ["--steps", "2", "--batch-size", "4", "--validate-every", "0", "--sample-every", "0", "--quiet"]
BEAT = 480

# Octaves


@given(
    st.lists(st.integers(0, 127), min_size=1, max_size=40),
    st.integers(0, 127),
    st.integers(0, 127),
)
@settings(max_examples=300)
def test_notes_move_by_octaves_and_most_of_them_together(pitches: list[int], a: int, b: int) -> None:
    low, high = min(a, b), max(a, b)
    counts = np.bincount(pitches, minlength=128)
    octaves, target = moved_pitches(counts, low, high)
    for pitch in pitches:
        if target[pitch] >= 0:
            assert low <= target[pitch] <= high
            assert (target[pitch] - pitch) % 12 == 0
        else:  # only where the range has no note of that name
            assert all((p - pitch) % 12 for p in range(low, high + 1))

    def kept(k: int) -> int:
        return sum(low <= pitch + 12 * k <= high for pitch in pitches)

    assert all((kept(octaves), -abs(octaves)) >= (kept(k), -abs(k)) for k in range(-11, 12))
    for pitch in pitches:  # what the move brings into the range is not folded as well
        if low <= pitch + 12 * octaves <= high:
            assert target[pitch] == pitch + 12 * octaves
    if kept(0) == len(pitches):
        assert octaves == 0
        assert all(target[pitch] == pitch for pitch in pitches)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 7), st.integers(1, 4), st.integers(0, 127)), max_size=12),
    st.integers(0, 100),
    st.integers(11, 60),
)
def test_rolls_move_note_by_note(notes: list[tuple[int, int, int, int]], low: int, span: int) -> None:
    """Against cells moved one at a time; drums stay."""
    high = min(127, low + span)
    tracks = [StoreTrack("Drums", 0, True), StoreTrack("Piano")]
    roll = np.zeros((12, 2, 2, 128), bool)
    for t, start, length, pitch in notes:
        roll[start : start + length, t, 0, pitch] = True
        roll[start, t, 1, pitch] = True
    planes = np.packbits(roll, axis=-1, bitorder="little")
    moved, said = into_range(planes, tracks, low, high)
    found = np.unpackbits(moved, axis=-1, bitorder="little").astype(bool)
    np.testing.assert_array_equal(found[:, 0], roll[:, 0])
    _, target = moved_pitches(roll[:, 1, 1].sum(0), low, high)
    wanted = np.zeros_like(roll[:, 1])
    for step, plane, pitch in np.argwhere(roll[:, 1]):
        if target[pitch] >= 0:
            wanted[step, plane, target[pitch]] = True
    sounding = np.flatnonzero(roll[:, 1].any((0, 1)))
    inside = bool(np.all((sounding >= low) & (sounding <= high)))
    np.testing.assert_array_equal(found[:, 1], roll[:, 1] if inside else wanted)
    drums = np.argwhere(roll[:, 0, 1])[:, 1]
    n_lost = int(((drums < low) | (drums > high)).sum())
    lost = [f"{n_lost} note{'s' * (n_lost > 1)} of Drums left out"] if n_lost else []
    assert [one for one in said if "Drums" in one] == lost
    assert (len(said) == len(lost)) == inside


@given(
    st.lists(st.integers(0, 127), min_size=1, max_size=40),
    st.tuples(st.integers(20, 60), st.integers(72, 110)),
    st.tuples(st.integers(20, 110), st.integers(12, 40)),
)
@settings(max_examples=300)
def test_a_track_moves_into_its_own_range_as_a_whole(
    pitches: list[int], model: tuple[int, int], own: tuple[int, int]
) -> None:
    """Against every possible move; single notes move on only where the model cannot have them."""
    (low, high), (first, span) = model, own
    last = first + span
    counts = np.bincount(pitches, minlength=128)
    octaves, target = moved_pitches(counts, low, high, (first, last))

    def kept(k: int) -> tuple[int, int]:
        both = [p + 12 * k for p in pitches if low <= p + 12 * k <= high]
        return sum(first <= p <= last for p in both), len(both)

    assert all((kept(octaves), -abs(octaves)) >= (kept(k), -abs(k)) for k in range(-11, 12))
    for pitch in pitches:
        moved = pitch + 12 * octaves
        assert low <= target[pitch] <= high
        assert (target[pitch] - pitch) % 12 == 0
        if low <= moved <= high:
            assert target[pitch] == moved


def test_a_wide_melody_keeps_its_shape() -> None:
    """Two octaves and a half, for a voice that has an octave and a half."""
    pitches = np.array([40, 52, 64, 70, 64, 52])
    octaves, target = moved_pitches(np.bincount(pitches, minlength=128), 31, 96, (60, 78))
    assert octaves == 1
    assert np.diff(target[pitches]).tolist() == np.diff(pitches).tolist()


def test_own_ranges_move_what_the_model_could_have_and_drums_never() -> None:
    tracks = [
        StoreTrack("Soprano", 19, lowest=60, highest=81),
        StoreTrack("Bass", 19, lowest=36, highest=64),
        StoreTrack("Organ", 19),
        StoreTrack("Drums", 0, True, lowest=60, highest=64),
    ]
    roll = np.zeros((4, 4, 2, 128), bool)
    for t in range(4):
        roll[range(4), t, :, [36, 38, 40, 41]] = True
    moved, said = into_range(np.packbits(roll, axis=-1, bitorder="little"), tracks, 31, 86)
    found = np.unpackbits(moved, axis=-1, bitorder="little")[:, :, 1].argmax(-1)
    assert found.T.tolist() == [[60, 62, 64, 65], *[[36, 38, 40, 41]] * 3]
    assert said == ["Soprano up 2 octaves"]
    low, said = into_range(np.packbits(roll, axis=-1, bitorder="little"), tracks, 86, 98)  # no range that both have
    assert np.unpackbits(low, axis=-1, bitorder="little")[:, 0, 1].argmax(-1).tolist() == [96, 86, 88, 89]
    assert said[:2] == ["Soprano up 4 octaves", "1 note of Soprano by octaves more"]


def test_a_low_melody_is_sung_by_the_soprano(tmp_path: Path) -> None:
    """The model could have it where it is: voices have their own ranges, known from the data or not."""
    tune = [36, 38, 40, 41, 43, 41, 40, 38]
    (tmp_path / "a.mid").write_bytes(midi([track([(i * BEAT, (i + 1) * BEAT, p) for i, p in enumerate(tune)], 0, 42)]))
    domain = PianorollDomain(PianorollConfig(bars=2, tracks="voices", lowest_pitch=31, highest_pitch=86))
    with pytest.warns(MusegenWarning, match="G1 to D6: Soprano up 2 octaves") as caught:
        x, writer = domain.read_given(tmp_path / "a.mid", "all")
    assert len(caught) == 1
    assert notes_of(domain.rolls(x[None])[0].numpy())[:, [0, 1]].tolist() == [[0, p + 24] for p in sorted(tune)]
    assert sorted(notes_of(writer.rolls(x[None])[0].numpy())[:, 1].tolist()) == sorted(tune)


def test_the_data_say_which_range_a_track_has(tmp_path: Path) -> None:
    """Old configs and stores do not; a store's index is as it was."""
    from musegen_pianoroll.reading.build import build_store

    songs = tmp_path / "songs"
    songs.mkdir()
    for i in range(3):
        (songs / f"{i}.mid").write_bytes(piece(4, transpose=2 * i))
    build_store(songs, tmp_path / "store")
    index = json.loads((tmp_path / "store" / "store.json").read_bytes())
    assert index["tracks"][3] == {"name": "Bass", "program": 32, "is_drum": False}
    domain, _ = PianorollDomain.open(PianorollConfig(bars=1), tmp_path / "store", tmp_path / "cache")
    ranges = {one.name: (one.lowest, one.highest) for one in domain.tracks}
    nothing = (None, None)
    assert ranges == {
        "Drums": nothing,
        "Piano": (60, 71),
        "Guitar": nothing,
        "Bass": (36, 44),
        "Strings": nothing,
    }
    assert domain.config.track_list[0] == {"name": "Drums", "program": 0, "is_drum": True}
    assert domain.config.track_list[3] == {"name": "Bass", "program": 32, "is_drum": False, "lowest": 36, "highest": 44}
    del index["tally"]  # of a store from before it was counted
    (tmp_path / "store" / "store.json").write_text(json.dumps(index))
    old, _ = PianorollDomain.open(PianorollConfig(bars=1), tmp_path / "store", tmp_path / "cache")
    assert old.config.track_list == index["tracks"]
    assert old.tracks == domain.tracks


def test_what_was_moved_is_said_once(tmp_path: Path) -> None:
    melody = [(i * BEAT, (i + 1) * BEAT, p) for i, p in enumerate([40, 42, 44, 70])]
    (tmp_path / "low.mid").write_bytes(midi([track(melody, 0, 0), track([(0, 9, 20)], 9)]))
    domain = PianorollDomain(PianorollConfig(bars=1, lowest_pitch=60, highest_pitch=83))
    with pytest.warns(MusegenWarning, match="C4 to B5: Piano up 2 octaves, 1 note of Piano by octaves more") as caught:
        x = domain.read(tmp_path / "low.mid")
    assert len(caught) == 1
    assert notes_of(domain.rolls(x)[0].numpy())[:, 1].tolist() == [64, 66, 68, 82]  # the drum is out of range
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PianorollDomain(PianorollConfig(bars=1, lowest_pitch=12)).read(tmp_path / "low.mid")
    with pytest.warns(MusegenWarning, match="C1 to B7: 1 note of Drums left out"):
        PianorollDomain(PianorollConfig(bars=1)).read(tmp_path / "low.mid")


# A piece in whole


def test_all_whole_bars_of_the_metre_are_read(tmp_path: Path) -> None:
    """Five bars of 4/4, three of 3/4, two of 4/4: seven bars, however long the model's window is."""
    import pretty_midi

    song = pretty_midi.PrettyMIDI(initial_tempo=120.0)
    song.time_signature_changes = [
        pretty_midi.TimeSignature(*metre, 0.5 * beat) for metre, beat in (((4, 4), 0), ((3, 4), 20), ((4, 4), 29))
    ]
    song.instruments.append(pretty_midi.Instrument(0))
    song.instruments[0].notes = [pretty_midi.Note(80, 40 + b, 0.5 * b, 0.5 * b + 0.5) for b in range(37)]
    song.write(str(tmp_path / "a.mid"))
    for n_bars in (1, 3, 4):
        x, _ = PianorollDomain(PianorollConfig(bars=n_bars)).read_given(tmp_path / "a.mid", "all")
        assert x.shape[1] == 7 * 16
        assert x[3].nonzero()[:, 1].tolist() == [b + 16 for b in (*range(20), *range(29, 37))]
    with pytest.raises(BadInput, match="no bar of 5/4"):
        PianorollDomain(PianorollConfig(metre="5/4")).read_given(tmp_path / "a.mid", "all")


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=30)
def test_kept_notes_stand_as_they_were_and_new_ones_begin_anew(seed: int, cut: bool) -> None:
    rng = np.random.default_rng(seed)
    old, new = (torch.from_numpy(rng.random((n, 2, 2, 6, 128)) < 0.02) for n in (1, 3))
    past = old[0]
    planes = np.packbits(past.permute(2, 0, 1, 3).numpy(), axis=-1, bitorder="little")
    midi = MidiFile.new(480, 0, 120, (4, 4))
    rooms = Rooms(((1, 4),), 1)
    kept = GivenPiece(midi, 480, planes, [[0, 6, 1, 4]], [[0, 120]], rooms, "none" if cut else "all", np.ones(2, bool))
    past = kept.roll
    samples = torch.cat([torch.zeros(3, 2, 2, 6, 128, dtype=torch.bool), new], 3)
    found = kept.with_own(kept.placed(samples, torch.zeros(12, dtype=torch.bool)))
    if not cut:
        assert torch.equal(found[:, :, :, :6], past.expand(3, -1, -1, -1, -1))
        old_notes = notes_of(past.numpy())
        for roll in found:
            notes = notes_of(roll.numpy())
            np.testing.assert_array_equal(notes[notes[:, 2] < 6], old_notes)  # none longer or shorter than it was
    assert torch.equal(found[:, :, 0, -6:], new[:, :, 0])
    assert torch.equal(found[:, :, 1, -5:], new[:, :, 1, 1:])


def continuing(**options: Any) -> Model:
    """An untrained model that continues, with a few notes per step."""
    torch.manual_seed(0)
    domain = PianorollDomain(PianorollConfig(**{"bars": 1, "lowest_pitch": 48, "highest_pitch": 71, **options}))
    family = build(RNNNADE, RNNNADEConfig(units=4, hidden=4, features=0), domain)
    torch.nn.init.constant_(family.network.step_bias.bias, -3.0)
    return Model(family, domain, {})


def given_past(**options: Any) -> Model:
    """An untrained network that is given all bars but the last."""
    torch.manual_seed(0)
    settings = {"bars": 3, "given": ["past"], "networks": "mlp", "widths": [8], "lowest_pitch": 48, "highest_pitch": 71}
    domain = PianorollDomain(PianorollConfig(**{**settings, **options}))  # type: ignore[arg-type]
    return Model(build(ConditionalGAN, ConditionalGANConfig(latent_dim=4, condition="given"), domain), domain, {})


def accompanist(given: list[str], **options: Any) -> Model:
    torch.manual_seed(0)
    settings = {"bars": 2, "given": given, "networks": "mlp", "widths": [8], "lowest_pitch": 48, "highest_pitch": 71}
    domain = PianorollDomain(PianorollConfig(**{**settings, **options}))  # type: ignore[arg-type]
    family = build(ConditionalGAN, ConditionalGANConfig(latent_dim=4, condition="given"), domain)
    return Model(family, domain, {})


def listening(given: list[str], **options: Any) -> Model:
    """An untrained RNN-NADE that hears the whole of the given tracks."""
    return continuing(bars=2, given=given, **options)


def band(n_bars: int = 5) -> bytes:
    """Every track of a band; the bass lies below the models' range, drums too."""
    ticks = range(0, 4 * n_bars * BEAT, BEAT)
    drums = [(t, t + 30, 36) for t in ticks]
    bass = [(t, t + BEAT, 28 + i % 5) for i, t in enumerate(ticks)]
    chords = [(t, t + 2 * BEAT, p) for t in ticks[::2] for p in (60, 64, 67 + t // BEAT % 3)]
    return midi([track(drums, 9), track(bass, 1, 35), track(chords, 0, 4)])


def file_notes(path: Path, tracks: Any = "band") -> np.ndarray:
    """Notes of a file on a grid of all pitches."""
    domain = PianorollDomain(PianorollConfig(bars=1, lowest_pitch=0, highest_pitch=127, tracks=tracks))
    return domain.read_given(path, "all")[1].given.roll.numpy()


@pytest.mark.parametrize("make", [continuing, given_past])
@pytest.mark.filterwarnings("ignore::musegen.errors.MusegenWarning")
def test_the_given_bars_come_back_and_new_ones_follow(make: Callable[..., Model], tmp_path: Path) -> None:
    """Note for note, at their own pitches, tempo and programs."""
    (tmp_path / "a.mid").write_bytes(band())
    model = make()
    x, writer = model.read_given(tmp_path / "a.mid")
    assert x.shape == (10, 80, 24)
    new = model.continue_(x, 3 * 16, n=2, seed=1)
    assert new.shape == (2, 10, 48, 24)
    whole = torch.cat([x.expand(2, *x.shape), new], 2)
    for path in save(writer.pieces(whole), tmp_path, ["a0", "a1"]):
        roll, old = file_notes(path), file_notes(tmp_path / "a.mid")
        before, after = notes_of(old), notes_of(roll)
        np.testing.assert_array_equal(after[after[:, 2] < 80], before)
        assert after[:, 2].max() >= 80
        import pretty_midi

        programs = {i.name: i.program for i in pretty_midi.PrettyMIDI(str(path)).instruments}
        assert (programs["Bass"], programs["Piano"]) == (35, 4)
    _, cutting = model.read_given(tmp_path / "a.mid", "none")
    rolls = cutting.rolls(whole)  # type: ignore[attr-defined]
    assert rolls.shape[3] == 48
    assert torch.equal(rolls, writer.rolls(whole)[:, :, :, 80:])  # type: ignore[attr-defined]
    assert torch.equal(model.continue_(x, 48, n=2, seed=1), new)
    assert not torch.equal(model.continue_(x, 48, n=2, seed=2), new)


def test_a_model_given_the_past_goes_on_from_what_it_wrote() -> None:
    """Every window is given the bars just before it, as notes; so a second call from there does the same."""
    model = given_past()
    seen: list[Tensor] = []
    family: Any = model.family
    sample = family.sample

    def spy(n: int, *, given: Tensor) -> Tensor:
        seen.append(given)
        return sample(n, given=given)

    family.sample = spy
    past = torch.zeros(10, 48, 24)
    past[:, ::4, 3] = 1
    new = model.continue_(past, 40, n=2)
    assert new.shape == (2, 10, 40, 24)
    assert len(seen) == 3
    assert torch.equal(seen[0][:, :, :32], past[:, 16:].expand(2, -1, -1, -1))
    written = model.domain.discretise(torch.cat([past.expand(2, *past.shape)[:, :, 32:], new[:, :, :16]], 2))
    assert torch.equal(seen[1][:, :, 16:32], written[:, :, 16:])
    assert set(seen[2].unique().tolist()) <= {0.0, 1.0}
    with pytest.raises(BadInput, match="needs 32 or more"):
        model.continue_(past[:, :16], 16)


@pytest.mark.parametrize("make", [continuing, given_past])
def test_samples_longer_and_shorter_than_the_window(make: Callable[..., Model]) -> None:
    model = make()
    rows = model.domain.spec.shape[1]
    long = model.sample(3, seed=4, n_steps=rows + 40)
    assert long.shape == (3, 10, rows + 40, 24)
    assert long[:, :, rows:].any()
    assert torch.equal(model.sample(3, seed=4, n_steps=rows), model.sample(3, seed=4))
    if make is given_past:
        assert torch.equal(long[:, :, :rows], model.sample(3, seed=4))
        assert torch.equal(model.sample(3, seed=4, n_steps=16), model.sample(3, seed=4)[:, :, :16])
    with pytest.raises(BadInput, match="continue or accompany"):
        model.sample(1, given=long[0, :, :rows], n_steps=rows + 16)


@pytest.mark.filterwarnings("ignore::musegen.errors.MusegenWarning")
@pytest.mark.parametrize("make", [accompanist, listening])
@pytest.mark.parametrize("planes", ["frame+onset", "frame"])
def test_given_tracks_come_back_and_the_others_depend_on_them(
    planes: str, make: Callable[..., Model], tmp_path: Path
) -> None:
    """Five bars with a window of two: the bass, moved for the model, is written at its own pitches."""
    (tmp_path / "a.mid").write_bytes(band())
    model = make(["Bass", "Drums"], planes=planes)
    x, writer = model.read_given(tmp_path / "a.mid", "given")
    assert x.shape[1] == 80
    samples = model.accompany(x, n=3, seed=1)
    assert samples.shape == (3, *x.shape)
    old = file_notes(tmp_path / "a.mid")
    for path in save(writer.pieces(samples), tmp_path, ["a0", "a1", "a2"]):
        roll = file_notes(path)
        for t in (0, 3):
            mine = roll[t][:, : old.shape[2]]
            np.testing.assert_array_equal(notes_of(mine[None]), notes_of(old[t][None]))
            assert not roll[t][:, old.shape[2] :].any()
    per_track = x.shape[0] // 5
    bass, piano = (slice(per_track * t, per_track * (t + 1)) for t in (3, 1))
    assert torch.equal(samples[:, bass], x[bass].expand(3, -1, -1, -1))
    other = x.clone()
    other[bass] = other[bass].roll(2, dims=2)  # another bass
    assert not torch.equal(model.accompany(other, n=3, seed=1)[:, piano], samples[:, piano])
    other = x.clone()
    other[piano] = 0  # what is not given does not matter
    assert torch.equal(model.accompany(other, n=3, seed=1), samples)


def test_a_family_that_continues_hears_the_whole_piece() -> None:
    """What is given in the third window changes the end of the second; window by window it could not."""
    model = listening(["Bass", "Drums"], planes="frame")
    for parameter in model.family.parameters():  # fresh weights are so small that hardly a draw depends on them
        torch.nn.init.normal_(parameter, std=0.4)
    x = torch.zeros(5, 96, 24)
    later = x.clone()
    later[3, 64:] = 1
    a, b = model.accompany(x, n=8, seed=2), model.accompany(later, n=8, seed=2)
    assert a.shape == (8, 5, 96, 24)
    assert a[:, :3].any()
    assert not torch.equal(a[:, :3, 48:64], b[:, :3, 48:64])


def test_who_cannot_accompany_and_what_cannot_be_accompanied(tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(piece(2))
    with pytest.raises(
        BadInput, match=r"no notes for Strings, .* it has notes for Drums, Piano, Bass\. Its tracks are 1 "
    ):
        accompanist(["Strings"]).read_given(tmp_path / "a.mid", "given")
    for model in (continuing(), Model(continuing().family, continuing().domain, {})):
        with pytest.raises(BadInput, match="was not trained to be given"):
            model.accompany(torch.zeros(model.domain.spec.shape))
    model = given_past()
    with pytest.raises(BadInput, match="not a set of whole tracks"):
        model.accompany(torch.zeros(model.domain.spec.shape))
    with pytest.raises(BadInput, match='"conditional_gan" cannot continue; these can: rnn_nade'):
        accompanist(["Bass"]).continue_(torch.zeros(10, 32, 24), 16)


# How music is written


def test_tempo_programs_and_thresholds() -> None:
    calibrated = PianorollWriting(threshold=[0.1, 0.2, 0.3, 0.4, 0.5], gate=[0.6] * 5)
    domain = PianorollDomain(PianorollConfig(bars=1, tempo_bpm=110.0), calibrated)
    other = domain.written_with(
        {"tempo": "90", "programs": {"Piano": "Church Organ", "Bass": 33}, "threshold": {"Bass": "0.05"}}
    )
    assert (domain.writer.tempo_bpm, other.writer.tempo_bpm) == (110.0, 90.0)
    assert [t.program for t in other.tracks] == [0, 19, 24, 33, 48]
    assert other.writing.threshold == pytest.approx([0.1, 0.2, 0.3, 0.05, 0.5])
    assert other.writing.gate == pytest.approx([0.6, 0.6, 0.6, 0.05, 0.6])
    assert domain.written_with({}).writing == calibrated
    x = torch.rand(4, *domain.spec.shape) / 2  # no gate opens
    assert not domain.rolls(x)[:, 3].any()
    alone = PianorollDomain(domain.config, PianorollWriting(threshold=0.3))
    assert torch.equal(domain.written_with({"threshold": 0.3}).rolls(x), alone.rolls(x))
    assert torch.equal(other.rolls(x)[:, :3], domain.rolls(x)[:, :3])
    assert other.rolls(x)[:, 3].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tempo": "fast"}, "tempo"),
        ({"tempo": 0}, "tempo"),
        ({"programs": {"Pinao": 3}}, 'Did you mean "Piano"'),
        ({"programs": {"Piano": 128}}, "0 to 127"),
        ({"programs": {"Piano": "church organ 2"}}, 'Did you mean "church organ"'),
        ({"threshold": 1.5}, "0 to 1"),
        ({"threshold": {"Piano": "low"}}, "threshold"),
        ({"threshold": {"Flute": 0.3}}, 'no track "Flute"'),
        ({"volume": 3}, "volume"),
    ],
)
def test_writing_options_that_are_invalid(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        PianorollDomain(PianorollConfig()).written_with(options)


def test_programs_by_number_and_name() -> None:
    assert [program_number(p) for p in (0, "127", "church organ", " Slap Bass 1 ")] == [0, 127, 19, 36]


def test_samples_as_they_would_be_read_again(tmp_path: Path) -> None:
    for planes in ("frame+onset", "frame"):
        domain = PianorollDomain(PianorollConfig(bars=2, planes=planes))  # type: ignore[arg-type]
        x = (torch.rand(3, *domain.spec.shape, generator=torch.Generator().manual_seed(1)) < 0.02).float()
        paths = save(domain.pieces(x), tmp_path, ["a", "b", "c"])
        assert torch.equal(torch.cat([domain.read(path)[:1] for path in paths]), domain.discretise(x))


# As a user meets it


@pytest.mark.filterwarnings("default::musegen.errors.MusegenWarning")
def test_continuing_on_the_command_line(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(band(3))
    songs = tmp_path / "songs"
    songs.mkdir()
    for i in range(4):
        (songs / f"{i}.mid").write_bytes(piece(6, transpose=i))
    small = ["--set", "bars=2", "--set", "lowest_pitch=36", "--set", "highest_pitch=83"]
    tiny = ["--set", "units=8", "--set", "hidden=8", "--set", "features=0"]
    assert run("train", "rnn_nade", "pianoroll", songs, "--out", "nade", *QUICK, *small, *tiny).code == 0
    result = run("continue", "nade", "a.mid", "--bars", 3, "-n", 2, "--out", "more", "--audio", "ogg", "--tempo", 90)
    assert result.code == 0, result.err
    assert result.err == "a.mid: moved into the model's range, C2 to B5: Bass up 1 octave.\n"
    names = sorted(p.name for p in Path("more").iterdir())
    pieces = [f"a_continued_00{i}.{suffix}" for i in range(2) for suffix in ("mid", "ogg")]
    assert names == [*pieces, "album.json", "index.html", "picture.png"]
    before, after = (notes_of(file_notes(Path(p))) for p in ("a.mid", "more/a_continued_001.mid"))
    np.testing.assert_array_equal(after[after[:, 2] < 48], before)
    assert after[:, 2].max() >= 48
    import pretty_midi

    at, tempos = pretty_midi.PrettyMIDI("more/a_continued_001.mid").get_tempo_changes()
    assert at.tolist() == [0, 6]  # what was given keeps its own
    assert tempos == pytest.approx([120, 90], rel=1e-4)
    assert run("continue", "nade", "a.mid", "--bars", 1, "--only-new", "--out", "new", "--audio", "none").code == 0
    new = PianorollDomain(PianorollConfig(bars=1)).read(Path("new/a_continued_000.mid"))
    assert len(new) <= 1

    assert run("generate", "nade", "--bars", 5, "-n", 1, "--out", "long", "--audio", "none").code == 0
    bad(run("continue", "nade", "nothing.mid"), "nothing.mid does not exist")
    bad(run("continue", "nade", "a.mid", "--bars", 0), "--bars 0")
    bad(run("continue", "nade", "a.mid", "-n", 0), "-n 0")
    bad(run("accompany", "nade", "a.mid"), "was not trained to be given", "condition=given")

    mlp = ["--set", "networks=mlp", "--set", "widths=[8]", "--set", "latent_dim=4"]
    assert run("train", "vae", "pianoroll", songs, "--out", "vae", *QUICK, *small, *mlp).code == 0
    bad(run("continue", "vae", "a.mid"), "cannot continue", "rnn_nade")
    bad(run("generate", "vae", "--bars", 5), "cannot continue", "rnn_nade")
    assert run("generate", "vae", "--bars", 1, "-n", 1, "--out", "short", "--audio", "none").code == 0
    options = ["--tempo", 77, "--programs", "Piano=Church Organ,Bass=33", "--threshold", "Piano=0.2,Bass=0.3"]
    assert run("generate", "vae", "-n", 1, "--out", "played", "--audio", "none", *options).code == 0
    played = pretty_midi.PrettyMIDI("played/sample_000.mid")
    programs = {i.name: i.program for i in played.instruments}
    assert (programs["Piano"], programs["Bass"]) == (19, 33)
    assert played.get_tempo_changes()[1][0] == pytest.approx(77, rel=1e-4)
    bad(run("generate", "vae", "--programs", "Piano"), "--programs", "Piano=5,Bass=33")
    bad(run("generate", "vae", "--tempo", "-1"), "tempo", "greater than 0")

    # The ends of an interpolation are the reconstructions of the two pieces, byte for byte.
    for command in (["interpolate", "--steps", 3, "--out", "between"], ["reconstruct", "--out", "again"]):
        assert run(command[0], "vae", songs / "0.mid", songs / "3.mid", *command[1:], "--audio", "none").code == 0
    for end, name in (("step_00", "0"), ("step_02", "3")):
        assert Path(f"between/{end}.mid").read_bytes() == Path(f"again/{name}.mid").read_bytes()


def test_accompanying_on_the_command_line(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(piece(5))
    songs = tmp_path / "songs"
    songs.mkdir()
    for i in range(4):
        (songs / f"{i}.mid").write_bytes(piece(6, transpose=i))
    options = ["--set", "bars=2", "--set", "condition=given", "--set", "given=[Piano, Drums]", "--set", "channels=4"]
    assert run("train", "conditional_gan", "pianoroll", songs, "--out", "gan", *QUICK, *options).code == 0
    assert run("export", "gan", "gan.safetensors").code == 0
    result = run("accompany", "gan.safetensors", "a.mid", "-n", 2, "--out", "with", "--tracks", "Drums, Piano")
    assert result.code == 0
    assert result.err.splitlines() == [
        "a.mid: Piano is track 3 (Acoustic Grand Piano); Drums is track 1 (drums); left out: 2 (Electric Bass (finger)).",
        "a.mid: its own notes for Bass stay beside those of the model. To leave them out, accompany with --replace (in Python, "
        'read_given with keep="given only").',
    ]
    assert {"a_accompanied_000.mid", "a_accompanied_001.wav", "picture.png"} <= {p.name for p in Path("with").iterdir()}
    before, after = (file_notes(Path(p)) for p in ("a.mid", "with/a_accompanied_001.mid"))
    for t in (0, 1):
        np.testing.assert_array_equal(after[t], before[t])
    bad(run("accompany", "gan", "a.mid", "--tracks", "Bass"), "--tracks Bass", "Piano,Drums")
    bad(run("accompany", "gan", "b.mid"), "b.mid does not exist")
    (tmp_path / "b.mid").write_bytes(midi([track([(0, BEAT, 60)], 0, 0)]))
    bad(run("accompany", "gan", "b.mid"), "no notes for Drums", "it has notes for Piano")
    bad(run("continue", "gan", "a.mid"), "cannot continue", "rnn_nade")


def test_other_domains_say_that_they_have_no_bars(run: Callable[..., Result]) -> None:
    assert run("train", "vae", "toy", "--out", "toy", *QUICK, "--set", "latent_dim=2").code == 0
    np.save("x.npy", np.zeros((1, 1, 4, 4), np.float32))
    bad(run("generate", "toy", "--bars", 2), '"toy" have no bars')
    bad(run("continue", "toy", "x.npy"), "cannot continue")
    bad(run("accompany", "toy", "x.npy"), "was not trained to be given")
    bad(run("generate", "toy", "--tempo", 90), 'model toy has no option "tempo"')


# Models that ship


def test_a_model_that_ships(run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies in the folder, with what its card says first, under its name in every command."""
    import musegen.data.bundled as bundled

    assert run("models").code == 0
    monkeypatch.setattr(bundled, "_PACKAGE", tmp_path / "musegen")
    assert run("models").out == "No models ship with this musegen.\n"
    bad(run("generate", "banda"), "There is no model banda", "a model that ships")
    songs, shelf = tmp_path / "songs", tmp_path / "musegen" / "_data" / "models"
    songs.mkdir()
    shelf.mkdir(parents=True)
    for i in range(4):
        (songs / f"{i}.mid").write_bytes(piece(6, transpose=i))
    small = ["--set", "bars=2", "--set", "networks=mlp", "--set", "widths=[8]", "--set", "latent_dim=4"]
    assert run("train", "vae", "pianoroll", songs, "--out", "run", *QUICK, *small).code == 0
    assert run("export", "run", shelf / "little-band.safetensors").code == 0
    (shelf / "little-band.md").write_text("# Two bars of a small band\n\nLicence …\n")
    (shelf / "README.md").write_text("# Models\n")
    (row,) = json.loads(run("models", "--json").out)
    assert (row["model"], row["family"], row["domain"]) == ("little-band", "vae", "pianoroll")
    assert row["what"] == "Two bars of a small band"
    assert row["MB"] > 0
    assert "Two bars of a small band" in run("models").out
    assert run("generate", "little-band", "-n", 1, "--out", "a", "--audio", "none").code == 0
    assert run("generate", "run", "-n", 1, "--out", "b", "--audio", "none").code == 0
    assert Path("a/sample_000.mid").read_bytes() == Path("b/sample_000.mid").read_bytes()
    bad(run("generate", "litle-band"), 'Did you mean "little-band"')
    model: Any = musegen.load("little-band")
    # Tempo, tracks and what was calibrated travel with the file.
    config = musegen.load("run").domain.config
    assert model.domain.config == config
    assert model.domain.writing == musegen.load("run").domain.writing
    assert model.domain.writing.gate
    assert config.tempo_bpm == 120.0
    bad(run("evaluate", "little-band", "-n", 8), "--data")
    found = json.loads(run("evaluate", "little-band", "-n", 8, "-k", 1, "--data", songs, "--json").out)
    assert found == json.loads(run("evaluate", "run", "-n", 8, "-k", 1, "--json").out)
    (tmp_path / "little-band").mkdir()  # a folder that holds no run does not hide a model
    assert run("generate", "little-band", "-n", 1, "--out", "c", "--audio", "none").code == 0
    (tmp_path / "run").rename(tmp_path / "little-band" / "run")
    (tmp_path / "little-band").rename(tmp_path / "x")
    (tmp_path / "x" / "run").rename(tmp_path / "little-band")  # a run goes before a name
    assert musegen.load("little-band").run is not None
    (shelf / "torn.safetensors").write_bytes(b"torn")
    bad(run("models"), "torn.safetensors is damaged")
