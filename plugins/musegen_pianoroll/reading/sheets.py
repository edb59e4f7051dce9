"""From music21's parts, measures and notes to a score in ticks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.midi import BEAT_CAP, NOTE_CAP
from musegen_pianoroll.reading.score import Score, ScoreTrack
from musegen_pianoroll.reading.unfolding import BarMarks, playing_order

__all__ = ["TICKS_PER_BEAT", "joined", "score_of"]

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


def score_of(
    parts: Sequence[Any], marks: Sequence[BarMarks], programs: Sequence[int | None], drums: Sequence[bool], path: Path
) -> Score:
    """The score of music21's parts, as it is played: repeats unfolded, tied notes one note, grace notes left out.

    Args:
        marks: what stands at each bar.
        programs, drums: per part; a program that is not known comes from the instrument's or part's name.

    Raises:
        MidiError: it is too long, or has too many notes.
    """
    from music21 import stream

    bars: list[Bar] = []
    for number, part in enumerate(parts):
        shift = _transposition(part, 0)
        for i, measure in enumerate(part.getElementsByClass(stream.Measure) or [part]):
            if i == len(bars):
                bars.append(Bar())
            shift = _transposition(measure, shift)
            _add_measure(bars[i], measure, number, shift)
    _fill_empty(bars)
    most = BEAT_CAP * 16  # bars of a sixteenth note
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
        name, program = " ".join((part.partName or "").split()), programs[number]
        if program is None:
            program = _program(part, name)
        tracks.append(ScoreTrack(name, program & 0x7F, drums[number], _tied(rows), number + 1))
    return Score(TICKS_PER_BEAT, _tempos(bars, order, starts), _metres(bars, order, starts), tracks, starts[-1])


def joined(scores: Sequence[Score]) -> Score:
    """Scores one after the other, each from a bar line on and with its time signature, so that no bars reach from one to the next.

    Parts of the same name, program and number become one track.
    """
    tempos: list[tuple[int, float]] = []
    signatures: list[tuple[int, int, int]] = []
    tracks: dict[tuple[str, int, bool, int], list[np.ndarray]] = {}
    start = 0
    for score in scores:
        tempos += [(start + tick, bpm) for tick, bpm in score.tempos if not tempos or tick or tempos[-1][1] != bpm]
        signatures += [(start + tick, n, d) for tick, n, d in score.time_signatures]
        for track in score.tracks:
            key = (track.name, track.program, track.is_drum, track.number)
            tracks.setdefault(key, []).append(track.notes + [start, start, 0])
        tick, n, d = score.time_signatures[-1]
        bar = 4 * n * TICKS_PER_BEAT // d
        start += tick + -(-(score.end - tick) // bar) * bar
    return Score(
        TICKS_PER_BEAT,
        tempos,
        signatures,
        [ScoreTrack(*key[:3], np.concatenate(notes), key[3]) for key, notes in tracks.items()],
        start,
        tuple(dict.fromkeys(said for score in scores for said in score.mended)),
    )


def _transposition(stream: Any, before: int) -> int:
    """Semitones from written to sounding pitch, of the last instrument that begins in a part or measure."""
    from music21 import instrument

    for one in stream.getElementsByClass(instrument.Instrument):
        before = round(one.transposition.semitones) if one.transposition is not None else 0
    return before


def _program(part: Any, name: str) -> int:
    """The General MIDI program of a part's instrument, or else of the part's name; 0, piano, if neither says one."""
    from music21 import exceptions21, instrument

    found = getattr(part.getInstrument(), "midiProgram", None)
    if found is None:
        try:
            found = instrument.fromString(name).midiProgram
        except exceptions21.Music21Exception:
            pass
    return found or 0


def _add_measure(bar: Bar, measure: Any, part: int, shift: int) -> None:
    """Add a part's measure to a bar, with its pitches shifted by semitones."""
    from music21 import harmony, meter, note, stream, tempo

    signature = next(iter(measure.getElementsByClass(meter.TimeSignature)), None)
    if signature is not None and bar.metre is None and signature.denominator in (1, 2, 4, 8, 16, 32, 64):
        bar.metre = (signature.numerator, signature.denominator)
    notes = bar.notes.setdefault(part, [])
    for voice, begin in [(measure, 0.0), *((v, v.offset) for v in measure.getElementsByClass(stream.Voice))]:
        for element in voice:
            if isinstance(element, stream.Stream):
                continue
            at = _ticks(begin + element.offset)
            if isinstance(element, tempo.MetronomeMark):
                bpm = element.getQuarterBPM()
                if bpm is not None and 1 <= bpm <= 10_000:
                    bar.tempos.append((at, float(bpm)))
            if element.duration.isGrace or not isinstance(element, note.GeneralNote):
                continue
            length = _ticks(element.quarterLength)
            bar.length = max(bar.length, at + length)
            if not isinstance(element, harmony.Harmony):
                notes += [
                    (at, length, pitch + shift, tie in ("stop", "continue"), tie in ("start", "continue"))
                    for pitch, tie in _sounds(element)
                    if 0 <= pitch + shift < 128
                ]


def _sounds(element: Any) -> Iterator[tuple[int, str]]:
    """MIDI pitches of a note, rest or chord, each with its tie."""
    for note in getattr(element, "notes", None) or [element]:
        pitch = getattr(note, "pitch", None)
        if pitch is not None:
            tie = note.tie or element.tie
            yield pitch.midi, tie.type if tie is not None else ""


def _ticks(quarters: Any) -> int:
    return round(quarters * TICKS_PER_BEAT)


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

    Two neighbours that fill one bar, as around a repeat sign in the middle of it, are one.
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
        elif length != whole and at + 1 < len(order):
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
