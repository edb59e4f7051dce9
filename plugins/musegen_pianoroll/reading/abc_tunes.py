"""Tunes in ABC notation: music21 reads notes, lengths and keys of a voice; voices, bars, repeats and marks are read here.

music21's own translation to parts is not used: it takes voices named in brackets for one, loses ties of chords, and gives
endings one bar each. Source: the ABC standard, version 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from musegen_pianoroll.reading.bars import TICKS_PER_BEAT, Bar, Part, score_of
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.score import Score
from musegen_pianoroll.reading.unfolding import BarMarks

__all__ = ["tune_score", "tunes"]

_MARKS = {
    "fine": "fine", "segno": "segno", "coda": "coda", "dacoda": "to_coda", "d.c.": "capo", "dacapo": "capo",
    "d.c.alfine": "capo", "d.c.alcoda": "capo", "d.s.": "sign", "d.s.alfine": "sign", "d.s.alcoda": "sign",
}  # fmt: skip
_FIELD = re.compile(r"([A-Za-z]):(?![|:\]])(.*)")
_IN_BRACKETS = re.compile(r"\[([A-Za-z]):([^\]\n]*)\]")
_MUSICAL = "MLKQ"
"""Fields that change how notes are read; others say who wrote the tune, or what is sung to it."""


@dataclass
class Voice:
    """A voice of a tune: its lines, and what its fields say of it."""

    lines: list[str] = field(default_factory=list)
    name: str = ""
    program: int = 0
    is_drum: bool = False
    shift: int = 0


def tunes(text: str) -> Iterator[tuple[str, str]]:
    """The number and the text of each tune, with the fields that stand before the first and hold for all."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    begins = [match.start() for match in re.finditer(r"^X:", text, re.MULTILINE)]
    if not begins:
        return
    common = [line for line in text[: begins[0]].splitlines() if _FIELD.match(line)]
    for begin, end in zip(begins, [*begins[1:], len(text)], strict=True):
        first, *rest = text[begin:end].splitlines()
        yield first[2:].strip()[:20], "\n".join([first, *common, *rest])


def tune_score(tune: str, path: Path) -> Score:
    """One tune as it is played.

    Raises:
        MidiError: it has no notes, or uses what is not read.
    """
    bars: list[Bar] = []
    marks: list[BarMarks] = []
    parts = []
    for number, voice in enumerate(_voices(tune, path)):
        _add_voice(voice, number, bars, marks)
        parts.append(Part(voice.name, voice.program, voice.is_drum))
    if not any(notes for bar in bars for notes in bar.notes.values()):
        raise MidiError(path, "has no notes")
    score = score_of(bars, marks, parts, path)
    if re.search(r"^P:.*[A-Z].*[A-Z]", tune.partition("\nK:")[0], re.MULTILINE):
        return replace(score, mended=("the order of parts (P:) is not followed: each is played once, where it stands",))
    return score


def _voices(tune: str, path: Path) -> list[Voice]:
    """The voices of a tune, each with the header and its own lines, prepared for the library."""
    header: list[str] = []
    voices: dict[str, Voice] = {}
    current, in_header = "", True
    for line in _own_lines(tune):
        midi = re.match(r"%%MIDI\s+(program|channel|transpose)\s+(?:\d+\s+)?(-?\d+)", line)
        text = re.sub(r"(?<!\\)%.*", "", line).strip()
        # Fields in brackets become lines, and so does every change of voice.
        pieces = [f"{midi[1]}={midi[2]}"] if midi else _IN_BRACKETS.sub(r"\n\1:\2\n", text).split("\n")
        for piece in pieces:
            field_ = _FIELD.match(piece)
            if midi or (field_ and field_[1] == "V"):
                if field_:
                    current = (field_[2].split() or [""])[0]
                voice = voices.setdefault(current, Voice())
                _describe(voice, piece)
            elif field_ and field_[1] in _MUSICAL:
                if in_header:
                    header.append(piece)
                    in_header = field_[1] != "K"
                else:
                    voices.setdefault(current, Voice()).lines.append(piece)
            elif not field_ and not in_header and piece.strip():
                voices.setdefault(current, Voice()).lines.append(_prepared(piece, path))
    key = next((line for line in header if line.startswith("K")), "")
    if not any(line.startswith("L") for line in header):
        header.insert(0, _default_length(header))
    sounding = [voice for voice in voices.values() if any(not _FIELD.match(line) for line in voice.lines)]
    of_all = voices.get("", Voice())  # what stands before the first voice holds for all
    for voice in sounding:
        voice.program, voice.is_drum = voice.program or of_all.program, voice.is_drum or of_all.is_drum
        _describe(voice, key)
        voice.lines[:0] = header
    return sounding


def _default_length(header: list[str]) -> str:
    """The length of a note without a number, where a tune says none: a sixteenth in short bars, else an eighth."""
    metre = re.match(r"M:\s*(\d+)\s*/\s*(\d+)", next((line for line in header if line.startswith("M")), ""))
    return "L:1/16" if metre and 4 * int(metre[1]) < 3 * int(metre[2]) else "L:1/8"


def _own_lines(tune: str) -> Iterator[str]:
    """The lines of a tune: up to an empty one after its header, after which there is free text, and without blocks of text."""
    in_text = in_body = False
    for line in tune.splitlines():
        if line.startswith("%%begin"):
            in_text = True
        elif line.startswith("%%end"):
            in_text = False
        elif not in_text:
            if in_body and not line.strip():
                return
            in_body |= line.startswith("K:")
            yield line


def _describe(voice: Voice, text: str) -> None:
    """Take over what a field or a directive says of a voice."""
    if match := re.search(r'\b(?:name|nm)="([^"]*)"', text):
        voice.name = " ".join(match[1].split())
    if match := re.fullmatch(r"program=(\d+)", text):
        voice.program = min(int(match[1]), 127)
    if match := re.fullmatch(r"channel=(\d+)", text):
        voice.is_drum = int(match[1]) == 10
    if re.search(r"\bclef=perc", text):
        voice.is_drum = True
    for pattern, semitones in ((r"\boctave=(-?\d)\b", 12), (r"\btranspose=(-?\d{1,2})\b", 1)):
        if match := re.search(pattern, text):
            voice.shift += semitones * int(match[1])


def _prepared(line: str, path: Path) -> str:
    """A line of music of which only notes, rests, chords, lengths, tuplets, ties and bar lines are left.

    Endings, rests of whole bars and marks become lines with the field N, which the library passes on.

    Raises:
        MidiError: it has voices laid over each other, which are not read.
    """
    line = re.sub(r'"[^"]*"?|\{[^}]*\}?|\\', "", line)  # chord symbols, grace notes, continued lines
    line = re.sub(
        r"!([^!\s]*)!", lambda m: f"\nN:mark {_MARKS[m[1].lower()]}\n" if m[1].lower() in _MARKS else "", line
    )
    if "&" in line:
        raise MidiError(path, "lays voices over each other with &, which is not read")
    pieces = []
    for piece in line.split("\n"):
        if not piece.startswith("N:"):
            piece = re.sub(r"[H-WYh-wy.~$*`]|\((?!\d)|\)", "", piece)  # ornaments, spaces, slurs
            piece = re.sub("(?<=[A-Ga-gxz]):", " :", piece)  # the library takes "A:" for a field
            piece = re.sub(r"Z(\d*)|X(\d*)", lambda m: f"\nN:rest {m[1] or m[2] or 1}\n", piece).replace("x", "z")
            piece = re.sub(r"(\|?)\[?(?<=[|\[])\s?(\d+(?:[,-]\d+)*)", r"\1\nN:ending \2\n", piece)
        pieces.append(piece)
    return "\n".join(pieces)


def _add_voice(voice: Voice, part: int, bars: list[Bar], marks: list[BarMarks]) -> None:
    """Add the notes of a voice to the bars of a tune, and what stands at them."""
    from music21 import abcFormat

    handler = abcFormat.ABCHandler()
    handler.process("%abc-2.1\nX:1\n" + "\n".join(voice.lines) + "\n")  # as of version 2, accidentals hold for the bar
    place = _Place(bars, marks, part)
    for token in handler.tokens:
        if isinstance(token, abcFormat.ABCMetadata):
            place.field(token)
        elif isinstance(token, abcFormat.ABCBar):
            place.line(token.src)
        elif isinstance(token, abcFormat.ABCNote):
            length = token.quarterLength
            if token.activeTuplet:
                length *= token.activeTuplet.tupletMultiplier()
            place.note(_pitches(token, voice.shift), round(length * TICKS_PER_BEAT))


def _pitches(token: Any, shift: int) -> list[tuple[int, bool]]:
    """MIDI pitches of a note, chord or rest, each with whether it is tied to the next."""
    from music21 import pitch

    notes = getattr(token, "subTokens", None)
    if notes is None:
        notes, inner = [token], [False]
    else:
        inner = [found.endswith("-") for found in re.findall(r"[_^=]*[A-Ga-gz][,']*[\d/]*-?", token.src)]
    names = [
        (note.pitchName, tied) for note, tied in zip(notes, inner, strict=False) if getattr(note, "pitchName", None)
    ]
    on = token.tie in ("start", "continue")
    midi = [(pitch.Pitch(name).midi + shift, on or tied) for name, tied in names]
    return [(number, tied) for number, tied in midi if 0 <= number < 128]


class _Place:
    """Where a voice has come to, bar by bar."""

    def __init__(self, bars: list[Bar], marks: list[BarMarks], part: int) -> None:
        self.bars, self.marks, self.part = bars, marks, part
        self.i, self.at, self.ending = 0, 0, frozenset[int]()
        self.whole = 4 * TICKS_PER_BEAT

    @property
    def bar(self) -> Bar:
        while len(self.bars) <= self.i:
            self.bars.append(Bar())
        return self.bars[self.i]

    @property
    def mark(self) -> BarMarks:
        while len(self.marks) <= self.i:
            self.marks.append(BarMarks())
        return self.marks[self.i]

    def note(self, pitches: list[tuple[int, bool]], length: int) -> None:
        """Go on by a length, in which pitches sound."""
        self.mark.endings |= self.ending
        self.bar.notes.setdefault(self.part, []).extend((self.at, length, pitch, True, on) for pitch, on in pitches)
        self.at += length
        self.bar.length = max(self.bar.length, self.at)

    def line(self, source: str) -> None:
        """A bar line. Two without notes between them are one."""
        if ":" in source and "|" not in source and len(source) == 1:
            return  # a dotted line within a bar
        ends = source.startswith(":")
        if self.at:
            if ends:
                self.mark.times = 2
            self.i, self.at = self.i + 1, 0
        elif ends and self.i:
            self.marks[self.i - 1].times = 2
        if ends or source in ("||", "|]", "[|") or source.endswith(":"):
            self.ending = frozenset()
        if source.endswith(":"):
            self.mark.start = True

    def field(self, token: Any) -> None:
        """A metre, a tempo, or a mark of ``_prepared``."""
        if token.isMeter():
            found = token.getTimeSignatureObject()
            if found is not None:
                self.bar.metre = (found.numerator, found.denominator)
                self.whole = 4 * found.numerator * TICKS_PER_BEAT // found.denominator
        elif token.isTempo():
            mark = token.getMetronomeMarkObject()
            bpm = mark.getQuarterBPM() if mark is not None else None
            if bpm is not None and 1 <= bpm <= 10_000:
                self.bar.tempos.append((self.at, float(bpm)))
        elif token.tag == "N":
            self._marked(*token.data.split())

    def _marked(self, kind: str, value: str) -> None:
        if kind == "rest":
            for _ in range(min(int(value[:4]), 1000)):
                self.note([], self.whole)
                self.line("|")
        elif kind == "ending":
            if self.at:
                self.line("|")
            numbers = [int(number) for number in re.findall(r"\d{1,2}", value)]
            self.ending = frozenset(range(numbers[0], numbers[-1] + 1) if "-" in value else numbers)
        elif value in ("capo", "sign"):
            before = self.at == 0 and self.i > 0
            self.marks[self.i - before].jump = "segno" if value == "sign" else "capo"
        else:
            setattr(self.mark, value, True)
