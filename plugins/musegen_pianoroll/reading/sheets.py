"""From music21's parts, measures and notes to bars."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from musegen_pianoroll.reading.bars import TICKS_PER_BEAT, Bar, Part

__all__ = ["bars_of", "part_of"]


def bars_of(parts: Sequence[Any]) -> list[Bar]:
    """The bars of music21's parts, at sounding pitch, without grace notes."""
    from music21 import stream

    bars: list[Bar] = []
    for number, part in enumerate(parts):
        shift = _transposition(part, 0)
        for i, measure in enumerate(part.getElementsByClass(stream.Measure) or [part]):
            if i == len(bars):
                bars.append(Bar())
            shift = _transposition(measure, shift)
            _add_measure(bars[i], measure, number, shift)
    return bars


def part_of(part: Any, program: int | None, is_drum: bool) -> Part:
    """What a part is.

    Args:
        program: as the file gives it; None: that of its instrument, or else of its name, or else 0, piano.
    """
    from music21 import exceptions21, instrument

    name = " ".join((part.partName or "").split())
    if program is None:
        program = getattr(part.getInstrument(), "midiProgram", None)
    if program is None:
        with contextlib.suppress(exceptions21.Music21Exception):
            program = instrument.fromString(name).midiProgram
    return Part(name, program or 0, is_drum)


def _transposition(stream: Any, before: int) -> int:
    """Semitones from written to sounding pitch, of the last instrument that begins in a part or measure."""
    from music21 import instrument

    for one in stream.getElementsByClass(instrument.Instrument):
        before = round(one.transposition.semitones) if one.transposition is not None else 0
    return before


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
            at = max(_ticks(begin + element.offset), 0)
            if isinstance(element, tempo.MetronomeMark):
                bpm = element.getQuarterBPM()
                if bpm is not None and 1 <= bpm <= 10_000:
                    bar.tempos.append((at, float(bpm)))
            if element.duration.isGrace or not isinstance(element, note.GeneralNote):
                continue
            length = max(_ticks(element.quarterLength), 0)
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
