"""Chords, keys and cadences of hand-made bars, whose right values a musician can read off."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import mido
import pytest
import torch
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musegen_pianoroll.measures.bars import Bars
from musegen_pianoroll.measures.chords import FULL, KINDS, best_path, chord_name, find_chords, full_chords
from musegen_pianoroll.measures.heard import Harmony
from musegen_pianoroll.measures.keys import find_keys

Block = tuple[int, list[int]]
"""Beats, and pitches that sound."""
C, F, G, AM, DM, G7 = (
    [48, 64, 67, 72],
    [53, 65, 69, 72],
    [55, 62, 67, 71],
    [57, 60, 64, 69],
    [50, 62, 65, 69],
    [55, 59, 62, 65],
)
SCALES = {"major": [0, 2, 4, 5, 7, 9, 11], "minor": [0, 2, 3, 5, 7, 8, 11]}


def frames(blocks: list[Block], per_beat: int = 4, up: int = 0) -> Tensor:
    """Sounding pitches, int ``(1, steps, 128)``."""
    found = torch.zeros(1, per_beat * sum(beats for beats, _ in blocks), 128, dtype=torch.int32)
    at = 0
    for beats, pitches in blocks:
        found[0, at : at + beats * per_beat, [pitch + up for pitch in pitches]] = 1
        at += beats * per_beat
    return found


def harmony(blocks: list[Block], up: int = 0) -> Harmony:
    """Of bars of 4/4 in one track."""
    frame = frames(blocks, up=up).bool()
    onset = frame & ~torch.cat([torch.zeros_like(frame[:, :1]), frame[:, :-1]], 1)
    return Harmony(Bars(torch.stack([frame, onset], 1)[:, None], 16), [0], 4)


def names(blocks: list[Block], up: int = 0) -> list[str]:
    return [chord_name(chord) for chord in find_chords(frames(blocks, up=up), 4, 4)[0].tolist()]


@pytest.mark.parametrize("kind", FULL)
@pytest.mark.parametrize("root", range(12))
def test_full_chords_in_every_position(kind: str, root: int) -> None:
    chroma = torch.zeros(12, dtype=torch.bool)
    chroma[[(root + step) % 12 for step in FULL[kind]]] = True
    assert list(FULL)[int(full_chords(chroma))] == kind
    fewer = chroma.clone()
    fewer[root] = False
    left = int(full_chords(fewer))
    # A seventh chord without its root may be another chord, and a triad without it is none.
    assert left == -1 if len(FULL[kind]) == 3 else list(FULL)[left] in ("minor", "major") or left == -1


def test_what_is_no_full_chord() -> None:
    for pitches in ([], [0], [0, 7], [0, 4], [0, 2, 7], [0, 5, 7], [0, 4, 8], [0, 3, 6], [0, 1, 2, 3], list(range(12))):
        chroma = torch.zeros(12, dtype=torch.bool)
        chroma[pitches] = True
        assert int(full_chords(chroma)) == -1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inversion", [0, 1, 2])
def test_triads_are_found_in_every_key(kind: str, inversion: int) -> None:
    """An augmented triad has no root that can be heard, so its root is that of its lowest note."""
    steps = [KINDS[kind][(inversion + i) % 3] + 12 * ((inversion + i) // 3) for i in range(3)]
    for root in range(12):
        (chord,) = set(find_chords(frames([(8, [48 + root + step for step in steps])]), 4, 4)[0].tolist())
        expected = (root + steps[0]) % 12 if kind == "aug" else root
        assert (list(KINDS)[chord // 12], chord % 12) == (kind, expected)


@pytest.mark.parametrize("up", [0, 5, 11])
def test_blocks_arpeggios_passing_notes_and_rests(up: int) -> None:
    moved = lambda found: [chord_name((12 if name[-1] == "m" else 0) + (ROOTS[name] + up) % 12) for name in found]  # noqa: E731
    blocks = [(4, C), (4, AM), (4, F), (4, G)]
    assert names(blocks, up) == moved(["C"] * 4 + ["Am"] * 4 + ["F"] * 4 + ["G"] * 4)
    broken = [(1, [pitch]) for chord in ([48, 64, 67, 64], [57, 60, 64, 60], [53, 57, 60, 57]) for pitch in chord]
    assert names(broken, up) == moved(["C"] * 4 + ["Am"] * 4 + ["F"] * 4)
    passing = [(1, [48, 64, 67]), (1, [48, 62, 67]), (1, [48, 64, 67]), (1, [48, 65, 67]), (4, G)]
    assert names(passing, up) == moved(["C"] * 4 + ["G"] * 4)
    rests = [(2, []), (2, C), (4, []), (4, F)]
    assert names(rests, up) == ["N"] * 2 + moved(["C"] * 6 + ["F"] * 4)
    assert names([(4, [])]) == ["N"] * 4


ROOTS = {"C": 0, "Am": 9, "F": 5, "G": 7}


def test_changes_root_motion_and_chords_on_beats() -> None:
    h = harmony([(4, C), (2, F), (2, G), (4, C), (4, [60])])
    assert h.changes().tolist() == [3]
    assert {int(i): int(n) for i, n in enumerate(h.root_motion()) if n} == {
        5: 2,
        2: 1,
    }  # up a fourth twice, a second once
    kinds, sounding = h.on_beats()
    assert (kinds >= 0).sum(2).tolist() == [[4, 4, 4, 0]]
    assert bool(sounding.all())


@pytest.mark.parametrize("mode", SCALES)
@pytest.mark.parametrize("tonic", range(12))
def test_the_key_of_a_cadence(mode: str, tonic: int) -> None:
    third = 4 if mode == "major" else 3
    blocks = [(4, [48, 52 - 4 + third, 55]), (4, [53, 53 + third, 60]), (4, [55, 59, 62]), (4, [48, 48 + third, 55])]
    h = harmony(blocks, up=tonic)
    assert h.key.tolist() == [tonic + (0 if mode == "major" else 12)]
    assert h.keys.tolist() == [[tonic + (0 if mode == "major" else 12)] * 4]
    assert float(h.fit) > 0.7


def test_a_modulation_is_found_within_two_bars_and_a_cadence_is_none() -> None:
    def scale(tonic: int) -> Tensor:
        chroma = torch.zeros(12)
        chroma[[(tonic + step) % 12 for step in SCALES["major"]]] = 1
        chroma[[tonic % 12, (tonic + 4) % 12, (tonic + 7) % 12]] = 3
        return chroma

    bars = torch.stack([scale(0)] * 8 + [scale(4)] * 8)[None]
    keys = find_keys(bars)[0].tolist()
    changes = [i for i in range(1, 16) if keys[i] != keys[i - 1]]
    assert len(changes) == 1
    assert 6 <= changes[0] <= 10
    assert (keys[0], keys[-1]) == (0, 4)


@pytest.mark.parametrize(
    ("last", "home", "authentic"),
    [
        ([G, C], 1, 1),
        ([G7, C], 1, 1),
        ([F, C], 1, 0),  # plagal
        ([G, AM], 0, 0),  # deceptive
        ([C, G], 0, 0),  # a half cadence
        ([[59, 62, 65, 71], C], 1, 1),  # from the leading note
    ],
)
@pytest.mark.parametrize("up", [0, 7])
def test_endings(last: list[list[int]], home: int, authentic: int, up: int) -> None:
    """After a bar each of C, F and G that set the key."""
    h = harmony([(4, C), (4, F), (4, G), (4, C), (4, DM), *((4, chord) for chord in last)], up)
    ends_at_home, cadence = h.ending()
    assert (ends_at_home.tolist(), cadence.tolist()) == ([home], [authentic])


def test_an_ending_in_major_of_a_minor_key_is_at_home() -> None:
    minor = [(4, [45, 60, 64]), (4, [50, 57, 65]), (4, [45, 60, 64]), (2, [50, 57, 65]), (2, [52, 59, 68])]
    for third in (60, 61):
        home, authentic = harmony([*minor, (4, [45, third, 64])]).ending()
        assert (home.tolist(), authentic.tolist()) == ([1], [1])


def test_silence_has_neither_chords_nor_a_key() -> None:
    h = harmony([(8, [])])
    assert h.chords.tolist() == [[-1] * 8]
    assert h.changes().tolist() == [0]
    assert all(bool(x.isnan().all()) for x in (h.fit, *h.ending()))


@given(data=st.data(), length=st.integers(1, 5), states=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_the_best_path_is_the_best_of_all_paths(data: st.DataObject, length: int, states: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores, costs = torch.randn(2, length, states, generator=generator), torch.rand(2, length, generator=generator)

    def worth(i: int, path: tuple[int, ...]) -> float:
        total = sum(float(scores[i, t, state]) for t, state in enumerate(path))
        return total - sum(float(costs[i, t]) for t in range(1, length) if path[t] != path[t - 1])

    found = best_path(scores, costs)
    for i in range(2):
        best = max(worth(i, path) for path in itertools.product(range(states), repeat=length))
        assert worth(i, tuple(found[i].tolist())) == pytest.approx(best, abs=1e-5)


def annotated(path: Path) -> list[tuple[int, int] | None]:
    """Root and mode (0 major, 1 minor) of each beat of a song of POP909; None where the annotation is neither."""
    pitch = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
    modes = {"maj": 0, "maj7": 0, "7": 0, "maj6": 0, "min": 1, "min7": 1, "min6": 1, "minmaj7": 1}
    found: list[tuple[int, int] | None] = []
    for first, last, name in json.loads(path.read_text()):
        root, _, rest = name.partition(":")
        mode = modes.get(rest.partition("/")[0])
        found += [None] * (round(last) - len(found))
        for beat in range(max(0, round(first)), round(last)):
            if mode is not None:
                found[beat] = (pitch[root[0]] + root.count("#") - root.count("b")) % 12, mode
    return found


def test_chords_of_annotated_songs() -> None:
    """At least four of five beats: root and mode."""
    folder = SHARED / "pop909"
    if not folder.is_dir():
        pytest.skip(f"no songs in {folder}")
    right = total = 0
    for path in sorted(folder.glob("*.mid"))[::40]:
        truth = annotated(path.with_suffix("").with_suffix(".chords.json"))
        frame = torch.zeros(1, 4 * len(truth), 128, dtype=torch.int32)
        song = mido.MidiFile(path)
        for track in song.tracks:
            now, begun = 0, {}
            for message in track:
                now += message.time
                if message.type in ("note_on", "note_off"):
                    if message.note in begun:
                        first = round(4 * begun.pop(message.note) / song.ticks_per_beat)
                        last = max(first + 1, round(4 * now / song.ticks_per_beat))
                        frame[0, first:last, message.note] += 1
                    if message.type == "note_on" and message.velocity:
                        begun[message.note] = now
        chords = find_chords(frame, 4, 4)[0].tolist()
        known = [(chord, beat) for chord, beat in zip(chords, truth, strict=True) if beat is not None]
        right += sum((chord % 12, chord // 12) == beat for chord, beat in known)
        total += len(known)
    print(f"{right} of {total} beats")
    assert right >= 0.8 * total
