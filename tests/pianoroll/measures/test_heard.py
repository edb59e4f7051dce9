"""Voice leading, lines, form and baselines, with values that can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musegen.evaluation.distributions import Counts, Numbers
from musegen_pianoroll.measures.bars import Bars
from musegen_pianoroll.measures.baselines import markov_chain, random_pitches
from musegen_pianoroll.measures.form import groove, longest_notes, self_similarity, tunes
from musegen_pianoroll.measures.heard import heard
from musegen_pianoroll.measures.voices import (
    FIFTH,
    OCTAVE,
    crossings,
    moves,
    parallels,
    spacing,
    steps_of_lines,
    top_notes,
)
from musegen_pianoroll.store.format import StoreTrack

Note = tuple[int, int, int, int]
"""Track, pitch, first step, the one after the last."""
REST = -1


def rolls(notes: list[Note], n_steps: int, n_tracks: int) -> Tensor:
    found = torch.zeros(1, n_tracks, 2, n_steps, 128, dtype=torch.bool)
    for track, pitch, start, end in notes:
        found[0, track, 0, start:end, pitch] = True
        found[0, track, 1, start, pitch] = True
    return found


def voices(*lines: list[int]) -> Tensor:
    return torch.tensor(lines)[None]


@pytest.mark.parametrize(
    ("upper", "lower", "fifths", "octaves"),
    [
        ([67, 69], [60, 62], 1, 0),  # up together
        ([69, 67], [62, 60], 1, 0),  # down together
        ([67, 69, 71], [60, 62, 64], 2, 0),
        ([67, 74], [60, 55], 1, 0),  # a fifth to a twelfth, in contrary motion
        ([72, 74], [60, 62], 0, 1),
        ([60, 62], [60, 62], 0, 1),  # unisons
        ([84, 86], [60, 62], 0, 1),  # two octaves
        ([67, 67], [60, 60], 0, 0),  # nothing moves
        ([67, 67], [60, 55], 0, 0),  # one voice stays
        ([64, 69], [60, 62], 0, 0),  # hidden: another interval before
        ([67, 71], [60, 67], 0, 0),
        ([67, REST, 69], [60, REST, 62], 0, 0),  # a rest between
        ([66, 68], [60, 62], 0, 0),
    ],
    ids=str,
)
def test_parallels(upper: list[int], lower: list[int], fifths: int, octaves: int) -> None:
    higher = [[pitch + 5 if pitch >= 0 else REST for pitch in line] for line in (upper, lower)]
    for top in (voices(upper, lower), voices(lower, upper), voices(*higher)):
        assert parallels(top, FIFTH).tolist() == [fifths]
        assert parallels(top, OCTAVE).tolist() == [octaves]


def test_parallels_of_all_pairs_and_moves() -> None:
    """Soprano and bass in octaves, alto in fifths to the bass: so a fourth below the soprano."""
    top = voices([72, 72, 74, 74, 74], [67, 67, 69, 69, REST], [60, 60, 62, 62, 60])
    assert parallels(top, OCTAVE).tolist() == [1]
    assert parallels(top, FIFTH).tolist() == [1]
    assert moves(top).tolist() == [[False, True, False, True]]


def test_crossing_voices_and_wide_spacing() -> None:
    """Counted where somebody moves; the lowest pair may be as far apart as it likes."""
    top = voices([72, 71, 64, 64, 76], [67, 67, 67, 66, 62], [60, 60, 60, 60, 36])
    assert crossings(top).tolist() == [2]
    assert spacing(top).tolist() == [1]


def test_the_highest_note_of_each_track() -> None:
    frame = rolls([(0, 60, 0, 3), (0, 64, 1, 2), (1, 0, 0, 1), (1, 127, 3, 4)], 4, 2)[:, :, 0]
    assert top_notes(frame).tolist() == [[[60, 64, 60, REST], [0, REST, REST, 127]]]


def test_steps_and_leaps_of_a_line() -> None:
    """C D E, a rest, E again, then a fifth, two octaves and a half step: intervals 2 2 7 24 1."""
    line = [(60, 0), (62, 2), (64, 4), (64, 8), (71, 10), (95, 12), (94, 14)]
    bars = Bars(rolls([(0, pitch, step, step + 2) for pitch, step in line], 16, 2), 16)
    frame, onset = bars.frame.flatten(2, 3), bars.onset.flatten(2, 3)
    small, wide = steps_of_lines(top_notes(frame), onset)
    assert small[0, 0] == pytest.approx(3 / 5)
    assert wide[0, 0] == pytest.approx(1 / 5)
    assert math.isnan(small[0, 1])


def test_what_repeats_after_some_bars() -> None:
    """Bars A B A B: nothing after one, all after two; B has one of its two notes in common with A."""
    a, b = [(0, 60, 0, 4), (0, 62, 4, 8)], [(0, 60, 0, 2), (0, 65, 8, 9)]
    notes = [(t, p, s + 16 * i, e + 16 * i) for i in range(4) for t, p, s, e in (a, b)[i % 2]]
    onset = Bars(rolls(notes, 64, 1), 16).onset
    assert self_similarity(onset, 1).tolist() == [[pytest.approx(1 / 3)] * 3]
    assert self_similarity(onset, 2).tolist() == [[1, 1]]
    assert self_similarity(onset, 8).shape == (1, 0)
    assert bool(self_similarity(torch.zeros_like(onset), 1).isnan().all())


@given(st.integers(0, 99))
@settings(max_examples=10)
def test_grooves_as_their_paper_writes_them(seed: int) -> None:
    """1 − 1/Q Σ XOR, over bars with notes (Wu & Yang 2020, eq. 2)."""
    rng = np.random.default_rng(seed)
    onset = rng.random((2, 3, 16, 128)) < 0.004
    found = groove(torch.from_numpy(onset))
    for i in range(2):
        for bar in range(2):
            one, other = onset[i, bar].any(1), onset[i, bar + 1].any(1)
            expected = 1 - np.mean(one ^ other) if one.any() and other.any() else math.nan
            assert float(found[i, bar]) == pytest.approx(expected, nan_ok=True)


def test_the_longest_note_goes_over_bar_lines() -> None:
    bars = Bars(rolls([(0, 60, 8, 72), (0, 64, 0, 16), (1, 50, 0, 4)], 80, 3), 16)
    found = longest_notes(bars.note_table, 1, 3, 16)
    assert found[0, :2].tolist() == [4, 0.25]
    assert math.isnan(found[0, 2])


def test_what_is_a_tune() -> None:
    tune = [(0, 60, 0, 4), (0, 62, 4, 8), (0, 64, 8, 16)]
    chords = [(1, pitch, step, step + 4) for step in (0, 4, 8) for pitch in (60, 64, 67)]
    pedal = [(2, 60, step, step + 2) for step in (0, 4, 8, 12)]
    few = [(3, 60, 0, 4), (3, 62, 4, 8)]
    bars = Bars(rolls([*tune, *chords, *pedal, *few], 16, 4), 16)
    assert tunes(bars.frame, bars.onset)[0, :, 0].tolist() == [True, False, False, False]


@pytest.mark.parametrize("bar_steps", [16, 12, 14, 6])
def test_every_measure_in_any_metre_and_of_silence(bar_steps: int) -> None:
    """And moved by a few semitones nothing changes but names of notes."""
    tracks = [StoreTrack("Drums", 0, True), StoreTrack("Piano"), StoreTrack("Bass", 32)]
    generator = torch.Generator().manual_seed(1)
    onset = torch.rand(3, 3, 4 * bar_steps, 128, generator=generator) < 0.01
    onset[..., :30] = onset[..., 100:] = False
    music = torch.stack([onset, onset], 2)
    found = heard(Bars(music, bar_steps), tracks, 4)
    moved = music.clone()
    moved[:, 1:] = music[:, 1:].roll(3, -1)
    again = heard(Bars(moved, bar_steps), tracks, 4)
    assert found.keys() == again.keys() == heard(Bars(torch.zeros_like(music), bar_steps), tracks, 4).keys()
    by_ear = ("root motion", "chord changes", "key", "tonic", "cadence")  # noise has many equally good chords
    for name, values in found.items():
        if any(word in name for word in by_ear):
            continue
        if isinstance(values, Numbers):
            torch.testing.assert_close(values.values, again[name].values, equal_nan=True)  # type: ignore[union-attr]
        else:
            assert torch.equal(values.table, again[name].table)  # type: ignore[union-attr]
    assert "crossing voices per 100 changes/all" not in found  # a band's tracks stand in no order
    alone = heard(Bars(music[:, :1, :, :bar_steps], bar_steps), tracks[:1], 4)
    assert list(alone) == ["drum consistency/Drums"]


def test_names_of_a_choirs_measures() -> None:
    found = heard(
        Bars(rolls([(0, 72, 0, 16), (1, 60, 0, 16)], 32, 2), 16), [StoreTrack("Soprano"), StoreTrack("Bass")], 4
    )
    assert {
        "parallel fifths per 100 changes/all",
        "wide spacing per 100 changes/all",
        "like 1 bars before/all",
    } <= found.keys()
    assert isinstance(found["root motion/all"], Counts)


def test_a_markov_chain_knows_which_steps_follow_one_another() -> None:
    """Every pair of steps was seen, but for where a chain began anew; and each as often as in the data."""
    generator = torch.Generator().manual_seed(0)
    follows = {0: [1, 1, 1, 2], 1: [0], 2: [0]}
    windows = torch.zeros(400, 1, 9, 3)
    for i in range(400):
        state = 0
        for step in range(9):
            windows[i, 0, step, state] = 1
            state = follows[state][int(torch.randint(len(follows[state]), (1,), generator=generator))]
    chain = markov_chain(windows.split(64), 500, generator)
    assert chain.shape == (500, 1, 9, 3)
    states = chain[:, 0].argmax(-1)
    assert bool((chain.sum(-1) == 1).all())
    pairs = torch.stack([states[:, :-1].flatten(), states[:, 1:].flatten()], 1)
    counts = torch.zeros(3, 3).index_put_((pairs[:, 0], pairs[:, 1]), torch.ones(len(pairs)), accumulate=True)
    assert {(a, b) for a, b in pairs.tolist()} == {(0, 1), (0, 2), (1, 0), (2, 0)}
    assert float(counts[0, 1] / counts[0].sum()) == pytest.approx(0.75, abs=0.03)
    assert states[:, 0].tolist() == [0] * 500


def test_a_chain_that_ends_begins_anew() -> None:
    windows = torch.eye(3).view(1, 1, 3, 3).repeat(2, 1, 1, 1)  # 0 1 2, and nothing follows 2
    chain = markov_chain(
        [torch.cat([windows, windows[:, :, :1] * 0], 2)[:, :, :3]], 4, torch.Generator().manual_seed(0)
    )
    assert chain[:, 0].argmax(-1).tolist() == [[0, 1, 2]] * 4


def test_random_pitches_keep_the_rhythm() -> None:
    generator = torch.Generator().manual_seed(0)
    notes = [(1, 40 + i % 30, 4 * (i % 16), 4 * (i % 16) + 1 + i % 4) for i in range(48)] + [
        (0, 36, s, s + 1) for s in range(0, 64, 8)
    ]
    music = rolls(notes, 64, 3)
    found = random_pitches(music, torch.tensor([True, False, False]), generator)
    assert torch.equal(found[:, 0], music[:, 0])
    assert torch.equal(found[:, 1, 1].any(-1), music[:, 1, 1].any(-1))
    used = found[0, 1].any(0).any(0).nonzero()[:, 0].tolist()
    assert min(used) >= 40
    assert max(used) <= 69
    assert not torch.equal(found[:, 1], music[:, 1])
    assert not found[:, 2].any()
    # Uniformly: of many notes of a range of four every pitch gets a quarter.
    many = rolls([(0, 60 + i % 4, i, i + 1) for i in range(4000)], 4000, 1)
    counts = random_pitches(many, torch.tensor([False]), generator)[0, 0, 1].sum(0)[60:64]
    assert counts.tolist() == pytest.approx([1000] * 4, abs=110)
