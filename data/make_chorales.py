"""Make ``data/chorales``: Bach's four-voice chorales as MIDI files, one track per voice.

The scores come from the corpus inside music21. These versions give these files, byte for byte:

    pip install music21==10.5.1 mido==1.3.3
    python data/make_chorales.py

Kept: pitches, durations (ties merged), metre and its changes, key with its mode, tempo where there is one.
Left out: text, fermatas, grace notes, dynamics. Repeats stay as written, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import mido
from checksums import write_checksums
from music21 import converter, corpus, key, meter, stream, tempo

TARGET = Path(__file__).parent / "chorales"
VOICES = ("Soprano", "Alto", "Tenor", "Bass")
#: Ticks per quarter note: 120 divides by 8 and by 3, and MIDI writes a time below 128 ticks in one byte.
TICKS = 120
DEFAULT_TEMPO = 80.0  # quarter notes per minute
#: Scores of which at least 90 % of the notes are those of another one, transposed or not: data that are to be
#: split into training and test must not hold both. No pair of what is kept has more than 82 % in common.
REPEATS = {
    "bwv177.4": "bwv117.4",
    "bwv18.5-w": "bwv18.5-lz",
    "bwv279": "bwv158.4",
    "bwv398": "bwv197.7-a",
    "bwv414": "bwv253",
}
CHURCH_ORGAN = 19
VELOCITY = 80

Note = tuple[int, int, int]  # onset and end in ticks, MIDI pitch


class LeftOutError(Exception):
    """Why a score of the corpus does not become a file."""


@dataclass(frozen=True)
class Metre:
    """A metre from a tick on."""

    tick: int
    numerator: int
    denominator: int

    @property
    def bar(self) -> int:
        """Ticks per bar."""
        return 4 * TICKS * self.numerator // self.denominator


@dataclass(frozen=True)
class Chorale:
    """What a file holds, in ticks from the first bar line.

    Args:
        voices: notes of soprano, alto, tenor and bass, in order of onset.
        metres: the first one from tick 0 on.
        key: as MIDI writes it: ``Bb``, ``F#m``.
        tempo: quarter notes per minute.
        end: the last bar line.
    """

    voices: tuple[tuple[Note, ...], ...]
    metres: tuple[Metre, ...]
    key: str
    tempo: float
    end: int

    @property
    def bars(self) -> int:
        """Number of whole bars, the padded first one included."""
        limits = [*(metre.tick for metre in self.metres), self.end]
        return sum((b - a) // metre.bar for metre, (a, b) in zip(self.metres, pairwise(limits), strict=True))


def scores() -> Iterator[Path]:
    """Scores of Bach in the corpus, sorted by name.

    Three of them exist a second time in Humdrum's format, with all rights reserved: those are not read.
    """
    paths = (Path(path) for path in corpus.getComposer("bach"))
    chosen = (path for path in paths if path.name.startswith("bwv") and path.suffix in (".mxl", ".xml"))
    yield from sorted(chosen, key=lambda path: path.stem)


def in_ticks(quarters: float) -> int:
    """Convert a time in quarter notes, which must fall on a tick."""
    ticks = quarters * TICKS
    if ticks != int(ticks):
        raise LeftOutError("a time that is no whole number of ticks")
    return int(ticks)


def read_chorale(score: stream.Score) -> Chorale:
    """Read a score, or raise ``LeftOutError``. A pickup bar is filled up with rests at its start."""
    parts = list(score.parts)
    if tuple(part.partName for part in parts) != VOICES:
        raise LeftOutError("not for soprano, alto, tenor and bass alone")
    measures = [
        (in_ticks(measure.offset), in_ticks(measure.offset + measure.duration.quarterLength))
        for measure in parts[0].getElementsByClass(stream.Measure)
    ]
    signatures = list(parts[0].recurse().getElementsByClass(meter.TimeSignature))
    first_bar = in_ticks(signatures[0].barDuration.quarterLength)
    pickup = measures[0][1] - measures[0][0]
    shift = first_bar - pickup if pickup < first_bar else 0

    metres = tuple(
        Metre(in_ticks(s.getOffsetInHierarchy(parts[0])) + shift * (i > 0), s.numerator, s.denominator)
        for i, s in enumerate(signatures)
    )
    measures = [(start + shift, end + shift) for start, end in measures]
    return Chorale(
        voices=tuple(tuple(read_voice(part, shift)) for part in parts),
        metres=metres,
        key=read_key(parts[0]),
        tempo=read_tempo(score),
        end=last_bar_line(measures, metres),
    )


def read_voice(part: stream.Part, shift: int) -> Iterator[Note]:
    """Yield the notes of a voice, ties merged, ``shift`` ticks later than written."""
    for note in part.stripTies().flatten().notes:
        if note.duration.isGrace:
            continue
        start = in_ticks(note.offset) + shift
        yield start, start + in_ticks(note.duration.quarterLength), note.pitch.midi


def read_key(part: stream.Part) -> str:
    """Read the key of a part as MIDI writes it."""
    signature = part.recurse().getElementsByClass(key.Key).first()
    if signature is None or signature.mode not in ("major", "minor"):
        raise LeftOutError("no key with a mode")
    return signature.tonic.name.replace("-", "b") + ("m" if signature.mode == "minor" else "")


def read_tempo(score: stream.Score) -> float:
    """Read the tempo; most scores have none. What a score plays at is not always printed in it."""
    mark = score.recurse().getElementsByClass(tempo.MetronomeMark).first()
    sounding = (mark.number or mark.numberSounding) if mark is not None else None
    return float(sounding or DEFAULT_TEMPO)


def last_bar_line(measures: list[tuple[int, int]], metres: tuple[Metre, ...]) -> int:
    """Return the bar line that closes the last bar, having checked that the metre gives all the others.

    A bar may be written in two parts, before and after a repeat sign, but no part may cross a bar line.
    """
    for before, after in pairwise(metres):
        if (after.tick - before.tick) % before.bar:
            raise LeftOutError("bars that do not add up")
    for start, end in measures:
        metre = next(metre for metre in reversed(metres) if metre.tick <= start)
        if (start - metre.tick) % metre.bar + end - start > metre.bar:
            raise LeftOutError("bars that do not add up")
    last = measures[-1][1]
    return last + (metres[-1].tick - last) % metres[-1].bar


def write_midi(chorale: Chorale, path: Path) -> None:
    """Write a file of just four tracks: the first voice's also carries tempo, key and metre."""
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    signs = [
        (0, mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(chorale.tempo))),
        (0, mido.MetaMessage("key_signature", key=chorale.key)),
        *(
            (m.tick, mido.MetaMessage("time_signature", numerator=m.numerator, denominator=m.denominator))
            for m in chorale.metres
        ),
    ]
    for channel, (name, notes) in enumerate(zip(VOICES, chorale.voices, strict=True)):
        events = [
            (0, mido.MetaMessage("track_name", name=name)),
            *(signs if channel == 0 else []),
            (0, mido.Message("program_change", channel=channel, program=CHURCH_ORGAN)),
        ]
        for start, end, pitch in notes:
            events.append((start, mido.Message("note_on", channel=channel, note=pitch, velocity=VELOCITY)))
            # The end of a note as a note of velocity 0: running status then saves a byte per event.
            events.append((end, mido.Message("note_on", channel=channel, note=pitch, velocity=0)))
        events.append((chorale.end, mido.MetaMessage("end_of_track")))
        file.tracks.append(track(events))
    file.save(path)


def track(events: list[tuple[int, mido.Message]]) -> mido.MidiTrack:
    """Order events by time and give each its distance from the one before."""

    def order(event: tuple[int, mido.Message]) -> tuple[int, bool]:
        tick, message = event
        # A note ends before the next one starts, which may have the same pitch.
        return tick, message.type == "note_on" and message.velocity > 0

    result, now = mido.MidiTrack(), 0
    for tick, message in sorted(events, key=order):
        result.append(message.copy(time=tick - now))
        now = tick
    return result


def main() -> None:
    """Write every chorale of the corpus that has four voices, once, and say what was left out."""
    TARGET.mkdir(exist_ok=True)
    for old in TARGET.glob("*.mid"):
        old.unlink()
    left_out: dict[str, str] = {}
    chorales: list[Chorale] = []
    for path in scores():
        try:
            if path.stem in REPEATS:
                raise LeftOutError("the same music as another")
            chorale = read_chorale(converter.parse(path))
        except LeftOutError as reason:
            left_out[path.stem] = str(reason)
            continue
        chorales.append(chorale)
        write_midi(chorale, TARGET / f"{path.stem}.mid")
    write_checksums(TARGET, "*.mid")

    for reason, count in Counter(left_out.values()).items():
        print(f"left out, {reason}: {count} ({', '.join(n for n, r in left_out.items() if r == reason)})")
    onsets = [start for chorale in chorales for voice in chorale.voices for start, _, _ in voice]
    print(f"{len(chorales)} files, {sum(chorale.bars for chorale in chorales)} bars, {len(onsets)} notes")
    print(f"{sum(start % (TICKS // 4) > 0 for start in onsets)} notes start off the grid of 1/4 beat")


if __name__ == "__main__":
    main()
