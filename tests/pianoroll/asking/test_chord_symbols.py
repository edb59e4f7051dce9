"""Chord symbols, as lead sheets have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musegen.errors import BadInput
from musegen_pianoroll.chord_symbols import QUALITIES, bars_of_chords, chord_of, key_of_text

C, D, E, F, G, A, B = 0, 2, 4, 5, 7, 9, 11


@pytest.mark.parametrize(
    ("symbol", "root", "classes"),
    [
        ("C", C, {C, E, G}),
        ("Am", A, {A, C, E}),
        ("F#m7b5", 6, {6, A, C, E}),
        ("Bb", 10, {10, D, F}),
        ("B♭maj7", 10, {10, D, F, A}),
        ("Ebm", 3, {3, 6, 10}),
        ("Cb", B, {B, 3, 6}),
        ("E#", F, {F, A, C}),
        ("Dsus4", D, {D, G, A}),
        ("G7", G, {G, B, D, F}),
        ("Caug", C, {C, E, 8}),
        ("Bdim7", B, {B, D, F, 8}),
        ("C/E", C, {C, E, G}),
        ("C/Bb", C, {C, E, G, 10}),
        ("A-7", A, {A, C, E, G}),
        ("N", -1, set()),
        ("N.C.", -1, set()),
    ],
)
def test_symbols(symbol: str, root: int, classes: set[int]) -> None:
    chord = chord_of(symbol)
    assert (chord.root, chord.classes) == (root, classes)
    assert chord.bits == sum(2**c for c in classes)


@given(st.sampled_from("CDEFGAB"), st.sampled_from(["", "#", "b"]), st.sampled_from(sorted(QUALITIES)))
def test_every_quality_on_every_root(letter: str, accidental: str, steps: tuple[int, ...]) -> None:
    root = chord_of(letter + accidental).root
    for name in QUALITIES[steps]:
        chord = chord_of(letter + accidental + name)
        assert chord.root == root
        assert chord.classes == {(root + step) % 12 for step in steps}


@pytest.mark.parametrize("symbol", ["H", "c", "Amm", "C/H", "", "7", "C(b5)", "Am F", "A" * 10_000])
def test_what_is_no_chord_is_refused(symbol: str) -> None:
    with pytest.raises(BadInput, match="is no chord: write a letter") as refused:
        chord_of(symbol)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    ("text", "roots"),
    [
        ("Am F", [[A] * 4, [F] * 4]),
        ("Am | F G", [[A] * 4, [F, F, G, G]]),
        ("| Am F | C |", [[A, A, F, F], [C] * 4]),
        ("Am % | . G", [[A] * 4, [A, A, G, G]]),
        ("C F G | C", [[C, C, F, G], [C] * 4]),
        ("C N", [[C] * 4, [-1] * 4]),
        ("C D E F |G", [[C, D, E, F], [G] * 4]),
    ],
)
def test_bars(text: str, roots: list[list[int]]) -> None:
    assert [[chord.root for chord in bar] for bar in bars_of_chords(text, 4)] == roots


@given(st.integers(1, 7), st.integers(1, 7))
def test_the_chords_of_a_bar_share_its_beats(beats: int, n: int) -> None:
    text = "| " + " ".join("CDEFGAB"[:n]) + " |"
    if n > beats:
        with pytest.raises(BadInput, match=f"has a bar of {n} chords, and a bar has {beats} beats"):
            bars_of_chords(text, beats)
        return
    (bar,) = bars_of_chords(text, beats)
    counts = [[chord.root for chord in bar].count(root) for root in (C, D, E, F, G, A, B)[:n]]
    assert sum(counts) == beats
    assert max(counts) - min(counts) <= 1
    assert [chord.root for chord in bar] == sorted((chord.root for chord in bar), key=[C, D, E, F, G, A, B].index)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "holds no chord"), ("%", "repeats a chord"), ("Am | | F", "bar of 0 chords"), ("Am X", '"X" is no chord')],
)
def test_progressions_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        bars_of_chords(text, 4)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("C", (C, "major")),
        ("Am", (A, "minor")),
        ("a minor", (A, "minor")),
        ("F# minor", (6, "minor")),
        ("Eb major", (3, "major")),
        ("Bbm", (10, "minor")),
        (" G maj", (G, "major")),
    ],
)
def test_keys(text: str, key: tuple[int, str]) -> None:
    assert key_of_text(text) == key


@pytest.mark.parametrize("text", ["H", "C dorian", "", "Cm7", "123"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is no key: write it like"):
        key_of_text(text)
