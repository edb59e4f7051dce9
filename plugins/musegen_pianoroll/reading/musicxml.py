"""MusicXML of strangers, before a library sees it: entities are refused, and what the library does not read is prepared for it.

Two things are read here, because music21 10 does not: which drum an unpitched note is (it knows one instrument per part), and
in which order bars are played (where repeats are not well formed, it raises).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.parsers import expat

from musegen_pianoroll.limits import XML_CAP_BYTES, XML_LEVELS
from musegen_pianoroll.reading.arrays import member
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.unfolding import BarMarks

__all__ = ["Sheet", "safe_tree", "sheet_of", "unpacked_mxl"]

NOT_NEEDED = {
    "beam", "credit", "defaults", "dynamics", "figured-bass", "harmony", "listening", "lyric", "play", "print", "stem",
}  # fmt: skip
"""Elements without effect on notes or time: the library takes half as long without them."""
_SCALE = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_WORDS = (
    ("jump", "capo", re.compile(r"\bd\.? ?c\b|da capo", re.IGNORECASE)),
    ("jump", "segno", re.compile(r"\bd\.? ?s\b|dal segno", re.IGNORECASE)),
    ("to_coda", True, re.compile(r"to coda", re.IGNORECASE)),
    ("fine", True, re.compile(r"\s*fine\W*$", re.IGNORECASE)),
)


@dataclass
class Sheet:
    """A score ready for the library.

    Attributes:
        root: ``score-partwise``, changed: drums have the pitches of General MIDI, cues are rests.
        bars: what stands at each bar, in any part.
        programs: General MIDI program by part, where the file says it.
        drums: parts that are drums.
        n_unknown: unpitched notes of which it is not known which drum they are; they are rests.
    """

    root: Element
    bars: list[BarMarks]
    programs: dict[str, int] = field(default_factory=dict)
    drums: set[str] = field(default_factory=set)
    n_unknown: int = 0


def unpacked_mxl(archive: zipfile.ZipFile, path: Path) -> bytes:
    """The score in a compressed file: what its container names, or the first that looks like one.

    Raises:
        MidiError: there is none, or it is too large.
    """
    names = archive.namelist()
    if "META-INF/container.xml" in names:
        container = safe_tree(member(archive, "META-INF/container.xml", path, 1 << 20), path)
        for file in container.iter():
            if _local(file.tag) == "rootfile" and file.get("full-path") in names:
                return member(archive, str(file.get("full-path")), path, XML_CAP_BYTES)
    for name in names:
        if name.lower().endswith((".musicxml", ".xml")) and not name.startswith("META-INF/"):
            return member(archive, name, path, XML_CAP_BYTES)
    raise MidiError(path, "holds no score")


def safe_tree(data: bytes, path: Path) -> Element:
    """The tree of an XML file.

    Raises:
        MidiError: it is no XML, declares entities, which may unfold to any size or name other files, or is nested too deeply.
    """
    level = 0

    def entity(*_: object) -> None:
        raise MidiError(path, "declares XML entities, which are not read because they can fill the memory")

    def begin(*_: object) -> None:
        nonlocal level
        level += 1
        if level > XML_LEVELS:
            raise MidiError(path, f"is XML nested more than {XML_LEVELS} levels deep")

    def end(_: str) -> None:
        nonlocal level
        level -= 1

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = entity
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    try:
        parser.Parse(data, True)
        return ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise MidiError(path, f"is no XML, or a damaged file ({error})") from None


def sheet_of(root: Element, drum_named: Callable[[str], int | None], path: Path) -> Sheet:
    """Prepare a score; changes its tree.

    Args:
        drum_named: the MIDI pitch of an instrument's name; None if it is no drum.

    Raises:
        MidiError: it is no score in parts.
    """
    if root.tag == "score-timewise":
        root = _by_parts(root)
    if root.tag != "score-partwise":
        raise MidiError(path, f"is XML, but no MusicXML: it is a <{_local(root.tag)[:40]}>")
    for parent in list(root.iter()):
        if any(child.tag in NOT_NEEDED for child in parent):
            parent[:] = [child for child in parent if child.tag not in NOT_NEEDED]
    sheet = Sheet(root, [])
    described = {part.get("id", ""): part for part in root.iterfind("part-list/score-part")}
    for part in root.iterfind("part"):
        identity = part.get("id", "")
        if identity in described:
            _prepare_part(part, described[identity], sheet, drum_named)
        _mark_bars(part, sheet.bars)
    codas = [bar for bar in sheet.bars if bar.coda]
    if len(codas) > 1 and not any(bar.to_coda for bar in sheet.bars):
        codas[0].to_coda, codas[0].coda = True, False  # two signs: from the first to the second
    return sheet


def _by_parts(root: Element) -> Element:
    """A score whose measures hold parts as one whose parts hold measures."""
    parts: dict[str, Element] = {}
    for measure in root.iterfind("measure"):
        for part in measure.iterfind("part"):
            whole = parts.setdefault(part.get("id", ""), Element("part", part.attrib))
            one = ElementTree.SubElement(whole, "measure", measure.attrib)
            one.extend(part)
    ordered = Element("score-partwise", root.attrib)
    ordered.extend([*(child for child in root if child.tag != "measure"), *parts.values()])
    return ordered


def _prepare_part(part: Element, about: Element, sheet: Sheet, drum_named: Callable[[str], int | None]) -> None:
    """Note the part's instrument; give its drums the pitches of General MIDI; make rests of its cues."""
    identity = part.get("id", "")
    instruments = {one.get("id", ""): one for one in about.iterfind("midi-instrument")}
    programs = [
        program for one in instruments.values() if (program := _number(one, "midi-program", 1, 128)) is not None
    ]
    if programs:
        sheet.programs[identity] = programs[0] - 1
    if any(_number(one, "midi-channel", 1, 16) == 10 for one in instruments.values()):
        sheet.drums.add(identity)
    pitches: dict[str, int | None] = {}
    for one in about.iterfind("score-instrument"):
        name = one.get("id", "")
        sounds = _number(instruments[name], "midi-unpitched", 1, 128) if name in instruments else None
        pitches[name] = sounds - 1 if sounds is not None else drum_named(one.findtext("instrument-name") or "")
    only = next(iter(pitches.values())) if len(pitches) == 1 else drum_named(about.findtext("part-name") or "")
    for note in part.iter("note"):
        unpitched = note.find("unpitched")
        if note.find("cue") is not None:
            _silence(note)
        elif unpitched is not None:
            sheet.drums.add(identity)
            named = note.find("instrument")
            pitch = pitches.get(named.get("id", ""), only) if named is not None else only
            if pitch is None:
                sheet.n_unknown += 1
                _silence(note)
            else:
                note[list(note).index(unpitched)] = _pitch(pitch)


def _silence(note: Element) -> None:
    """Make a rest of a note, or, of one more note of a chord, nothing."""
    for child in list(note):
        if child.tag in ("cue", "pitch", "unpitched", "tie", "notations"):
            note.remove(child)
    if note.find("chord") is not None:
        note.clear()
        note.tag = "ignored"
    elif note.find("rest") is None and note.find("grace") is None:
        note.insert(0, Element("rest"))
    elif note.find("grace") is not None:
        note.tag = "ignored"


def _pitch(number: int) -> Element:
    name = _SCALE[number % 12]
    pitch = Element("pitch")
    for tag, text in (("step", name[0]), ("alter", str(len(name) - 1)), ("octave", str(number // 12 - 1))):
        ElementTree.SubElement(pitch, tag).text = text
    return pitch


def _mark_bars(part: Element, bars: list[BarMarks]) -> None:
    """Add what stands at the bars of a part to what is known of them."""
    ending: frozenset[int] = frozenset()
    for i, measure in enumerate(part.iterfind("measure")):
        if i == len(bars):
            bars.append(BarMarks())
        bar, ends = bars[i], False
        for line in measure.iterfind("barline"):
            for repeat in line.iterfind("repeat"):
                if repeat.get("direction") == "forward":
                    bar.start = True
                elif repeat.get("direction") == "backward":
                    times = repeat.get("times", "")
                    bar.times = max(bar.times, int(times) if re.fullmatch("[0-9]{1,2}", times) else 2)
            for one in line.iterfind("ending"):
                if one.get("type") == "start":
                    ending = frozenset(int(n) for n in re.findall("[0-9]{1,2}", one.get("number", "")) if int(n))
                else:
                    ends = True
        bar.endings |= ending
        if ends:
            ending = frozenset()
        _mark_jumps(measure, bar)


def _mark_jumps(measure: Element, bar: BarMarks) -> None:
    for sound in measure.iter("sound"):
        if sound.get("dacapo") == "yes":
            bar.jump = "capo"
        if sound.get("dalsegno"):
            bar.jump = "segno"
        bar.segno |= sound.get("segno") is not None
        bar.coda |= sound.get("coda") is not None
        bar.to_coda |= sound.get("tocoda") is not None
        bar.fine |= sound.get("fine") is not None
    for direction in measure.iterfind("direction/direction-type"):
        bar.segno |= direction.find("segno") is not None
        bar.coda |= direction.find("coda") is not None and not bar.to_coda
        for words in direction.iterfind("words"):
            for name, value, pattern in _WORDS:
                if pattern.search(words.text or ""):
                    setattr(bar, name, value)


def _number(parent: Element, tag: str, low: int, high: int) -> int | None:
    text = (parent.findtext(tag) or "").strip()
    return int(text) if re.fullmatch("[0-9]{1,3}", text) and low <= int(text) <= high else None


def _local(tag: object) -> str:
    """A tag's name without its namespace."""
    return str(tag).rpartition("}")[2]
