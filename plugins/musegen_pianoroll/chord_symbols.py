"""Chord symbols as musicians write them: ``Am``, ``F#m7b5``, ``Bb/D``, one to a bar, or bars between strokes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from musegen.errors import BadInput, shown

__all__ = ["Chord", "bars_of_chords", "chord_of", "key_of_text", "pitch_class"]

LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1, "##": 2, "bb": -2}
QUALITIES = {
    (0, 4, 7): ("", "maj", "M", "major"),
    (0, 3, 7): ("m", "min", "-", "minor"),
    (0, 3, 6): ("dim", "o", "°"),
    (0, 4, 8): ("aug", "+"),
    (0, 7): ("5",),
    (0, 2, 7): ("sus2",),
    (0, 5, 7): ("sus4", "sus"),
    (0, 4, 7, 9): ("6",),
    (0, 3, 7, 9): ("m6", "min6"),
    (0, 4, 7, 10): ("7", "dom7"),
    (0, 4, 7, 11): ("maj7", "M7", "Δ", "Δ7"),
    (0, 3, 7, 10): ("m7", "min7", "-7"),
    (0, 3, 7, 11): ("mM7", "mmaj7", "mMaj7"),
    (0, 3, 6, 9): ("dim7", "o7", "°7"),
    (0, 3, 6, 10): ("m7b5", "ø", "ø7"),
    (0, 5, 7, 10): ("7sus4", "7sus"),
    (0, 2, 4, 7): ("add9", "add2"),
    (0, 2, 4, 7, 10): ("9",),
    (0, 2, 4, 7, 11): ("maj9", "M9"),
    (0, 2, 3, 7, 10): ("m9", "min9"),
}
STEPS = {name: steps for steps, names in QUALITIES.items() for name in names}
NONE = ("N", "NC", "N.C.")
AGAIN = ("%", ".")
SYMBOL = re.compile(r"([A-G])(##|bb|[#♯b♭]?)([^/]*)(?:/([A-G])([#♯b♭]?))?")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10, 11)}
"""Semitones above the tonic; minor with both sevenths."""


@dataclass(frozen=True)
class Chord:
    """Pitch classes from 0 (C); no classes and root −1: no chord."""

    classes: frozenset[int] = frozenset()
    root: int = -1

    @property
    def bits(self) -> int:
        return sum(1 << c for c in self.classes)


def pitch_class(letter: str, accidental: str) -> int:
    return (LETTERS[letter] + ACCIDENTALS[accidental]) % 12


def chord_of(symbol: str) -> Chord:
    """The chord that a symbol stands for; a bass note after a stroke is one of its notes.

    Raises:
        BadInput: it is none.

    >>> from musegen_pianoroll.chord_symbols import chord_of
    >>> chord = chord_of("Bbm7")
    >>> sorted(chord.classes), chord.root
    ([1, 5, 8, 10], 10)
    """
    if symbol in NONE:
        return Chord()
    match = SYMBOL.fullmatch(symbol)
    if match is None or match[3] not in STEPS:
        raise BadInput(
            f'"{shown(symbol)}" is no chord: write a letter from A to G, # or b, and {", ".join(STEPS)} or nothing, such as Am or '
            "F#m7b5; N for no chord."
        )
    root = pitch_class(match[1], match[2])
    classes = {(root + step) % 12 for step in STEPS[match[3]]}
    if match[4]:
        classes.add(pitch_class(match[4], match[5]))
    return Chord(frozenset(classes), root)


def bars_of_chords(text: str, beats: int) -> list[list[Chord]]:
    """The chord of every beat of every bar.

    A symbol is a bar; where there are strokes, what stands between two of them is a bar, whose beats its symbols share. ``%`` is
    what came before.

    Args:
        beats: of a bar.

    Raises:
        BadInput: a symbol is no chord, or a bar has more of them than beats.

    >>> from musegen_pianoroll.chord_symbols import bars_of_chords
    >>> [[chord.root for chord in bar] for bar in bars_of_chords("Am | F G", 4)]
    [[9, 9, 9, 9], [5, 5, 7, 7]]
    """
    bars = [part.split() for part in text.strip().strip("|").split("|")] if "|" in text else [[s] for s in text.split()]
    found: list[list[Chord]] = []
    last: Chord | None = None
    for symbols in bars:
        if not symbols or len(symbols) > beats:
            n = len(symbols)
            raise BadInput(
                f'chords="{shown(text)}" has a bar of {n} chords, and a bar has {beats} beats: use 1 to {beats}.'
            )
        bar: list[Chord] = []
        for i, symbol in enumerate(symbols):
            if symbol not in AGAIN:
                last = chord_of(symbol)
            elif last is None:
                raise BadInput(
                    f'chords="{shown(text)}" begins with {symbol}, which repeats a chord, and there is none before it.'
                )
            assert last is not None
            first, after = (-(-k * beats // len(symbols)) for k in (i, i + 1))  # the first ones last longer
            bar += [last] * (after - first)
        found.append(bar)
    if not found:
        raise BadInput(f'chords="{shown(text)}" holds no chord: write them like "Am F C G", one to a bar.')
    return found


def key_of_text(text: str) -> tuple[int, str]:
    """Tonic and mode of a key: ``C``, ``Am``, ``F# minor``, ``Eb major``.

    Raises:
        BadInput: it is none.
    """
    match = re.fullmatch(r"([A-Ga-g])(#|♯|b|♭)?\s*(major|minor|maj|min|m|)", text.strip())
    if match is None:
        raise BadInput(f'key="{shown(text)}" is no key: write it like C, Am, "F# minor" or "Eb major".')
    mode = {"": "major", "maj": "major", "m": "minor", "min": "minor"}.get(match[3], match[3])
    return pitch_class(match[1].upper(), match[2] or ""), mode
