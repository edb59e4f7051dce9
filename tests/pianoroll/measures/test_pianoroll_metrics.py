"""Measures of bars by hand, and against pypianoroll, muspy and pretty_midi where these are right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musegen.evaluation.distributions import Counts, Numbers
from musegen_pianoroll.measures.bars import NOTE_LENGTHS, Bars, measures, tonal_centroid
from musegen_pianoroll.measures.musegan_table import musegan_compatible, musegan_measures, musegan_tonal_distance
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.writing.midi import write_midi

Note = tuple[int, int, int, int]
TRACKS = [StoreTrack("Drums", 0, True), StoreTrack("Piano"), StoreTrack("Bass", 32)]
DRUMS, PIANO, BASS = range(3)


def rolls(notes: list[Note], n_steps: int = 32, n_tracks: int = 3) -> Tensor:
    """One sample from (track, pitch, start, end)."""
    found = torch.zeros(1, n_tracks, 2, n_steps, 128, dtype=torch.bool)
    for track, pitch, start, end in sorted(notes, key=lambda note: note[2]):
        found[0, track, 0, start:end, pitch] = True
        found[0, track, 1, start, pitch] = True
    return found


@st.composite
def random_rolls(draw: st.DrawFn, n_steps: int = 32) -> Tensor:
    """Two samples of three tracks, notes of one step or more, drums one step long."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    onset = torch.rand(2, 3, n_steps, 128, generator=generator) < draw(st.sampled_from([0.001, 0.01, 0.03]))
    held = torch.rand(2, 3, n_steps, 128, generator=generator) < 0.6
    frame = onset.clone()
    for step in range(1, n_steps):
        frame[:, 1:, step] |= frame[:, 1:, step - 1] & held[:, 1:, step]
    return torch.stack([frame, onset], 2)


def values(x: Tensor) -> list[float]:
    return [round(float(v), 6) for v in x.flatten()]


# By hand


def test_notes_classes_range_and_polyphony() -> None:
    """Bar 1: a C major triad for half a bar, then a C above it; bar 2: silence."""
    bars = Bars(rolls([(PIANO, 60, 0, 8), (PIANO, 64, 0, 8), (PIANO, 67, 0, 8), (PIANO, 72, 8, 12)]), 16)
    assert values(bars.notes[:, PIANO]) == [4, 0]
    assert bars.empty[0, PIANO].tolist() == [False, True]
    for found, wanted in ((bars.pitch_classes(), 3), (bars.pitch_range(), 12), (bars.polyphony(), 8 / 12)):
        first, second = found[0, PIANO].tolist()
        assert first == pytest.approx(wanted)
        assert math.isnan(second)


@pytest.mark.parametrize(("bar_steps", "short"), [(96, 2), (48, 1), (192, 5)])
def test_long_notes_scale_with_the_resolution(bar_steps: int, short: int) -> None:
    """3/96 of a bar is enough, one step less is not; a note over the bar line keeps its whole length."""
    notes = [(PIANO, 60, 0, short), (PIANO, 61, 0, short + 1), (PIANO, 62, bar_steps - 1, bar_steps + 9)]
    found = Bars(rolls(notes, 2 * bar_steps), bar_steps).long_notes()[0, PIANO].tolist()
    assert found[0] == pytest.approx(2 / 3)
    assert math.isnan(found[1])  # no note begins there


def test_drums_on_the_grid() -> None:
    """24 steps per beat: eighths are 12 steps apart, sixteenths 6."""
    found = measures(Bars(rolls([(DRUMS, 36, s, s + 1) for s in (0, 12, 18, 25)], 96), 96), TRACKS, 24)
    for name, share in (("drums on eighths", 0.5), ("drums on sixteenths", 0.75)):
        numbers = found[f"{name}/Drums"]
        assert isinstance(numbers, Numbers)
        assert values(numbers.values) == [share]
    assert "drums on eighths/Piano" not in found
    assert "drums on sixteenths/Drums" not in measures(Bars(rolls([]), 16), TRACKS, 4)  # every step is one


def test_tonal_centroids_are_hartes() -> None:
    """A single C lies where all angles are 0; a fifth is 2 sin(π/12)… apart on the circle of fifths."""
    centroid = tonal_centroid(torch.eye(12))
    torch.testing.assert_close(centroid[0], torch.tensor([0, 1, 0, 1, 0, 0.5], dtype=torch.float64))
    # Distance of two classes l apart, from the chords of the three circles.
    for l in range(12):
        chord = [2 * r * math.sin(l * step * math.pi / 2) for r, step in ((1, 7 / 6), (1, 3 / 2), (0.5, 2 / 3))]
        assert float((centroid[0] - centroid[l]).norm()) == pytest.approx(math.hypot(*chord))
    # Transposing both tracks by the same interval changes nothing.
    a, b = torch.rand(2, 12)
    distance = (tonal_centroid(a) - tonal_centroid(b)).norm()
    for shift in range(12):
        moved = (tonal_centroid(a.roll(shift)) - tonal_centroid(b.roll(shift))).norm()
        assert float(moved) == pytest.approx(float(distance))
    assert tonal_centroid(torch.zeros(12)).isnan().all()


def test_tonal_distance_of_tracks() -> None:
    """The same classes in other octaves are at distance 0; without both tracks there is no distance."""
    bars = Bars(rolls([(PIANO, 60, 0, 8), (BASS, 36, 4, 12), (PIANO, 60, 16, 20)]), 16)
    found = bars.tonal_distance(PIANO, BASS)[0].tolist()
    assert found[0] == pytest.approx(0, abs=1e-9)
    assert math.isnan(found[1])


@pytest.mark.parametrize("root", range(12))
def test_in_scale(root: int) -> None:
    """Seven notes of a scale and one outside, in any key; drums have no say."""
    scale = [(PIANO, 60 + root + step, i, i + 1) for i, step in enumerate((0, 2, 4, 5, 7, 9, 11, 10))]
    drums = [(DRUMS, pitch, 0, 1) for pitch in range(35, 60)]
    assert values(Bars(rolls(scale + drums), 16).in_scale([PIANO, BASS])) == [0.875]
    assert math.isnan(float(Bars(rolls(drums), 16).in_scale([PIANO, BASS])))


@pytest.mark.parametrize(
    ("pitches", "consonant"),
    [
        ([48, 64, 67, 72], True),  # C major, the root doubled
        ([52, 60, 67], True),  # its first inversion
        ([57, 60, 64], True),  # A minor
        ([55, 59, 62, 65], True),  # G7
        ([59, 62, 65], False),  # B diminished
        ([60, 64, 68], False),  # C augmented
        ([60, 67], False),  # a fifth alone
        ([60, 61, 62], False),
    ],
)
def test_consonant_chords(pitches: list[int], consonant: bool) -> None:
    for shift in range(12):
        notes = [(PIANO if i % 2 else BASS, p + shift, 0, 4) for i, p in enumerate(pitches)]
        found = Bars(rolls([*notes, (PIANO, 60, 8, 12)]), 16).consonance([PIANO, BASS])[0].tolist()
        assert found[0] == (0.5 if consonant else 0)  # the lone note sounds as long
        assert math.isnan(found[1])


def test_note_lengths_in_succession() -> None:
    """A quarter, an eighth and a quarter at 4 steps per beat; the bass does not follow the piano."""
    notes = [(PIANO, 60, 0, 4), (PIANO, 62, 4, 6), (PIANO, 64, 8, 12), (BASS, 40, 0, 16)]
    found = Bars(rolls(notes), 16).note_length_transitions(4)
    quarter, eighth = NOTE_LENGTHS.index(1), NOTE_LENGTHS.index(1 / 2)
    assert found[PIANO, quarter, eighth] == found[PIANO, eighth, quarter] == 1
    assert found.sum() == 2
    # Two samples do not follow one another either.
    assert Bars(rolls(notes[:3]).repeat(2, 1, 1, 1, 1), 16).note_length_transitions(4).sum() == 4


def test_pitch_classes_in_succession() -> None:
    """C ends where E and G begin; after a rest nothing follows."""
    notes = [(PIANO, 60, 0, 4), (PIANO, 64, 4, 8), (PIANO, 67, 4, 8), (PIANO, 72, 9, 12)]
    found = Bars(rolls(notes), 16).pitch_class_transitions()[PIANO]
    assert found[0, 4] == found[0, 7] == 1
    assert found.sum() == 2


def test_every_measure_has_its_tracks_and_bins() -> None:
    found = measures(Bars(rolls([(PIANO, 60, 0, 4), (BASS, 40, 0, 8)]).repeat(4, 1, 1, 1, 1), 16), TRACKS, 4)
    assert "tonal distance/Piano–Bass" in found
    assert not any(name.startswith(("pitch", "polyphony", "in scale/Drums")) and "Drums" in name for name in found)
    for name, measure in found.items():
        assert measure.counts.sum() > 0 or "succession" in name or "Drums" in name or "chords" in name, name
        if isinstance(measure, Numbers):
            defined = measure.defined
            assert ((defined >= measure.edges[0]) & (defined <= measure.edges[-1])).all(), name
        else:
            assert isinstance(measure, Counts)


@settings(deadline=None, max_examples=20)
@given(random_rolls())
def test_the_whole_band_transposed_has_the_same_measures(x: Tensor) -> None:
    """Only counts of pitch classes in succession know the key."""
    x[..., 100:] = False
    moved = x.clone()
    moved[:, 1:] = x[:, 1:].roll(7, -1)
    before, after = (measures(Bars(r, 16), TRACKS, 4) for r in (x, moved))
    for name, measure in before.items():
        if not name.startswith("pitch classes in succession"):
            torch.testing.assert_close(measure.counts, after[name].counts)


# Against others


@settings(deadline=None, max_examples=25)
@given(random_rolls())
def test_against_pypianoroll(x: Tensor) -> None:
    """Its pitch range is right; so is its polyphonic rate, per step of the roll and with "> 1" for two pitches or more."""
    import pypianoroll

    bars = Bars(x, 32)
    for n in range(2):
        for track in (PIANO, BASS):
            roll = bars.frame[n, track, 0].numpy()
            span = bars.pitch_range()[n, track, 0]
            np.testing.assert_equal(float(span), float(pypianoroll.pitch_range(roll)))
            share = float(bars.polyphony()[n, track, 0]) * float(bars.sounding[n, track].double().mean())
            if roll.any():
                assert share == pytest.approx(pypianoroll.polyphonic_rate(roll, 1))


@settings(deadline=None, max_examples=15)
@given(random_rolls())
def test_against_muspy(x: Tensor) -> None:
    muspy = pytest.importorskip("muspy")
    bars = Bars(x, 16)
    for n in range(2):
        notes = bars.note_table[bars.note_table[:, 0] == n].tolist()
        piano = [note for note in notes if note[1] == PIANO]
        music = _muspy(muspy, piano)
        one_bar = Bars(x[n : n + 1, PIANO : PIANO + 1], 32)
        np.testing.assert_allclose(float(one_bar.pitch_range()), muspy.pitch_range(music) if piano else math.nan)
        np.testing.assert_allclose(
            float(one_bar.pitch_classes()), muspy.n_pitch_classes_used(music) if piano else math.nan
        )
        np.testing.assert_allclose(float(one_bar.in_scale([0])), muspy.scale_consistency(music) if piano else math.nan)


def _muspy(muspy: Any, notes: list[list[int]]) -> Any:
    track = muspy.Track(notes=[muspy.Note(time=s, pitch=p, duration=e - s) for _, _, p, s, e in notes])
    return muspy.Music(resolution=4, tracks=[track])


def test_pitch_class_transitions_are_pretty_midis(tmp_path: Any) -> None:
    import pretty_midi

    generator = torch.Generator().manual_seed(1)
    onset = torch.rand(1, 1, 64, 128, generator=generator) < 0.02
    frame = onset | (torch.nn.functional.pad(onset, (0, 0, 1, 0))[:, :, :-1])  # one or two steps long
    x = torch.stack([frame, onset], 2)
    write_midi(x[0].numpy(), tmp_path / "x.mid", [StoreTrack("Piano")], steps_per_beat=4, tempo_bpm=120)
    midi = pretty_midi.PrettyMIDI(str(tmp_path / "x.mid"))
    wanted = midi.instruments[0].get_pitch_class_transition_matrix(time_thresh=0.01)
    assert wanted.sum() > 20
    np.testing.assert_allclose(Bars(x, 16).pitch_class_transitions()[0], wanted)


# MuseGAN's own


def slow_musegan(bar: np.ndarray) -> dict[str, float]:
    """One bar ``(96, 84)`` by the definitions of the public code, note by note."""
    notes = []
    for pitch in range(84):
        step = 0
        while step < 96:
            if bar[step, pitch]:
                end = step
                while end < 96 and bar[end, pitch]:
                    end += 1
                notes.append((pitch, step, end))
                step = end
            step += 1
    if not notes:
        return {"EB": 1.0} | dict.fromkeys(("UPC", "QN", "PP", "DP"), math.nan)
    weight = {0: 1.0, 1: 0.3, 5: 0.3}
    return {
        "EB": 0.0,
        "UPC": len({pitch // 7 for pitch, _, _ in notes}),
        "QN": np.mean([end - start >= 2 for _, start, end in notes]),
        "PP": np.mean(bar.sum(1) >= 2),
        "DP": max(np.mean([weight.get((start - shift) % 6, 0) for _, start, _ in notes]) for shift in range(6)),
    }


@settings(deadline=None, max_examples=25)
@given(random_rolls(n_steps=96))
def test_musegan_compatible(x: Tensor) -> None:
    frame = x[:, :, 0, :, 24:108]
    found = musegan_compatible(frame)
    for n in range(2):
        for track in range(3):
            wanted = slow_musegan(frame[n, track].numpy())
            for name, value in wanted.items():
                np.testing.assert_allclose(float(found[name][n, track]), value, atol=1e-12, err_msg=name)


def test_musegan_tells_neighbours_from_octaves_wrongly() -> None:
    """Three neighbouring semitones are one of its classes and three Cs are three; rightly it is the other way round."""
    neighbours = rolls([(PIANO, p, 0, 24) for p in (60, 61, 62)], 96)
    octaves = rolls([(PIANO, p, 0, 24) for p in (48, 60, 72)], 96)
    for x, theirs, right in ((neighbours, 1, 3), (octaves, 3, 1)):
        assert musegan_compatible(x[:, :, 0, :, 24:108])["UPC"][0, PIANO] == theirs
        assert Bars(x, 96).pitch_classes()[0, PIANO, 0] == right


def test_musegan_tonal_distance_needs_every_beat() -> None:
    both = [(track, 60, 24 * beat, 24 * beat + 3) for track in (PIANO, BASS) for beat in range(4)]
    whole, part = (rolls(notes, 96)[:, :, 0, :, 24:108] for notes in (both, both[:-1]))
    assert float(musegan_tonal_distance(whole[:, PIANO], whole[:, BASS])) == pytest.approx(0, abs=1e-9)
    assert math.isnan(float(musegan_tonal_distance(part[:, PIANO], part[:, BASS])))
    found = musegan_measures(rolls(both, 192), TRACKS)
    assert {"MuseGAN EB/Drums", "MuseGAN DP/Drums", "MuseGAN UPC/Piano", "MuseGAN TD/Piano–Bass"} <= set(found)
    assert "MuseGAN UPC/Drums" not in found
    with pytest.raises(ValueError, match="96 steps and 84 pitches"):
        musegan_compatible(torch.zeros(1, 1, 16, 84, dtype=torch.bool))
