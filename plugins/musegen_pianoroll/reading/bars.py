"""Bars as they are written, in all parts, and the score of playing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from musegen_pianoroll.limits import BEAT_CAP, NOTE_CAP
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.score import Score, ScoreTrack
from musegen_pianoroll.reading.unfolding import BarMarks, playing_order

__all__ = ["TICKS_PER_BEAT", "Bar", "Part", "joined", "score_of"]

TICKS_PER_BEAT = 10_080
"""Divides by 32, 9, 5 and 7: triplets, quintuplets and septuplets are exact."""
DEFAULT_BPM = 120.0


@dataclass
class Bar:
    """A bar as written, in all parts.

    Attributes:
        length: in ticks, of the longest part.
        metre: the time signature that begins here.
        tempos: (tick in the bar, beats per minute).
        notes: per part: tick in the bar, length, pitch, whether it is tied to the note before, and to the next.
    """

    length: int = 0
    metre: tuple[int, int] | None = None
    tempos: list[tuple[int, float]] = field(default_factory=list)
    notes: dict[int, list[tuple[int, int, int, bool, bool]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A part: its name, General MIDI program, and whether it is drums."""

    name: str
    program: int = 0
    is_drum: bool = False


def score_of(bars: Sequence[Bar], marks: Sequence[BarMarks], parts: Sequence[Part], path: Path) -> Score:
    """The score of bars as they are played: repeats unfolded, tied notes one note.

    Args:
        marks: what stands at each bar.

    Raises:
        MidiError: it is too long, or has too many notes.
    """
    _fill_empty(bars)
    most = BEAT_CAP * 16  # bars of a sixty-fourth note
    order = playing_order([*marks, *(BarMarks() for _ in bars[len(marks) :])][: len(bars)], most)
    starts = np.cumsum([0, *(bars[i].length for i in order)]).tolist()
    if starts[-1] > BEAT_CAP * TICKS_PER_BEAT or len(order) == most:
        raise MidiError(path, f"is longer than {BEAT_CAP:,} beats")
    if sum(len(notes) for i in order for notes in bars[i].notes.values()) > NOTE_CAP:
        raise MidiError(path, f"has more than {NOTE_CAP:,} notes")
    tracks = []
    for number, part in enumerate(parts):
        rows = [
            (start + at, length, pitch, tied, on)
            for i, start in zip(order, starts, strict=False)
            for at, length, pitch, tied, on in bars[i].notes.get(number, ())
        ]
        tracks.append(ScoreTrack(part.name, part.program & 0x7F, part.is_drum, _tied(rows), number + 1))
    return Score(TICKS_PER_BEAT, _tempos(bars, order, starts), _metres(bars, order, starts), tracks, starts[-1])


def joined(scores: Sequence[Score]) -> Score:
    """Scores one after the other, each a section of its own, a beat after the last bar of the one before.

    Parts of the same name, program and number become one track.
    """
    tempos: list[tuple[int, float]] = []
    signatures: list[tuple[int, int, int]] = []
    tracks: dict[tuple[str, int, bool, int], list[np.ndarray]] = {}
    start, end, sections = 0, 0, []
    for score in scores:
        sections.append(start)
        tempos += [(start + tick, bpm) for tick, bpm in score.tempos if not tempos or tick or tempos[-1][1] != bpm]
        signatures += [(start + tick, n, d) for tick, n, d in score.time_signatures]
        for track in score.tracks:
            key = (track.name, track.program, track.is_drum, track.number)
            tracks.setdefault(key, []).append(track.notes + np.array([start, start, 0]))
        tick, n, d = score.time_signatures[-1]
        bar = 4 * n * TICKS_PER_BEAT // d
        end = start + score.end
        start += tick + -(-(score.end - tick) // bar) * bar + TICKS_PER_BEAT
    return Score(
        TICKS_PER_BEAT,
        tempos,
        signatures,
        [ScoreTrack(*key[:3], np.concatenate(notes), key[3]) for key, notes in tracks.items()],
        end,
        tuple(dict.fromkeys(said for score in scores for said in score.mended)),
        tuple(sections),
    )


def _fill_empty(bars: Sequence[Bar]) -> None:
    """Give bars without notes and rests the length of their metre."""
    metre = (4, 4)
    for bar in bars:
        metre = bar.metre or metre
        bar.length = bar.length or 4 * metre[0] * TICKS_PER_BEAT // metre[1]


def _tied(rows: list[tuple[int, int, int, bool, bool]]) -> np.ndarray:
    """Notes int64 ``(n, 3)``; those tied to the one before of the same pitch, and begun where it ends, prolong it."""
    notes: list[list[int]] = []
    open_at: dict[int, tuple[int, list[int]]] = {}  # by pitch, a note that is tied to what begins at a tick
    for start, length, pitch, tied, on in sorted(rows):
        begun = open_at.pop(pitch, None)
        if tied and begun is not None and begun[0] == start:
            note = begun[1]
            note[1] = start + length
        else:
            if begun is not None and begun[0] > start:
                open_at[pitch] = begun  # of another voice
            note = [start, start + length, pitch]
            notes.append(note)
        if on:
            open_at[pitch] = (start + length, note)
    return np.array(notes, np.int64).reshape(-1, 3)


def _metres(bars: Sequence[Bar], order: Sequence[int], starts: Sequence[int]) -> list[tuple[int, int, int]]:
    """Time signatures as bars are played: a bar that is not filled, such as a pickup, has a metre of its own.

    Two neighbours that fill one bar, as around a repeat sign in the middle of it, are one. Where bar lines are missing, bars are
    counted.
    """
    written: list[tuple[int, int]] = []
    metre = (4, 4)
    for bar in bars:
        metre = bar.metre or metre
        written.append(metre)
    found: list[tuple[int, int, int]] = []
    at = 0
    while at < len(order):
        metre, length, n = written[order[at]], bars[order[at]].length, 1
        whole = 4 * metre[0] * TICKS_PER_BEAT // metre[1]
        if at and at + 1 < len(order) and length < whole == length + bars[order[at + 1]].length:
            n = 2
        elif length % whole and length < 2 * whole and at + 1 < len(order):
            metre = _own_metre(length) or metre
        if not found or found[-1][1:] != metre or _is_off(found[-1], starts[at]):
            found.append((starts[at], *metre))
        at += n
    return found or [(0, 4, 4)]


def _own_metre(length: int) -> tuple[int, int] | None:
    for denominator in (4, 8, 16, 32):
        numerator, rest = divmod(length * denominator, 4 * TICKS_PER_BEAT)
        if not rest and 0 < numerator < 256:
            return numerator, denominator
    return None


def _is_off(signature: tuple[int, int, int], tick: int) -> bool:
    """Whether a bar that begins at a tick is none of those that a time signature gives."""
    begin, numerator, denominator = signature
    return (tick - begin) % (4 * numerator * TICKS_PER_BEAT // denominator) != 0


def _tempos(bars: Sequence[Bar], order: Sequence[int], starts: Sequence[int]) -> list[tuple[int, float]]:
    """Changes of tempo, each at its place every time that it is played."""
    found: list[tuple[int, float]] = []
    for i, start in zip(order, starts, strict=False):
        for at, bpm in sorted(bars[i].tempos):
            if not found or found[-1][1] != bpm:
                found.append((start + at, bpm))
    if not found or found[0][0] > 0:
        found.insert(0, (0, DEFAULT_BPM))
    return found
