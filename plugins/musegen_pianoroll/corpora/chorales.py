"""Bach's four-voice chorales (J. S. Bach, 1685-1750) as MIDI files, from the scores of music21's corpus, one track per voice.

The encodings of these scores have no licence of their own: their encoders permitted music21 to distribute them, some for uses that
are not commercial alone (``data/chorales/README.md``). So musegen's packages hold none; who uses them fetches them from where
they are distributed.

Kept: pitches, durations (ties merged), metre and its changes, key with its mode, tempo where there is one.
Left out: text, fermatas, grace notes, dynamics. Repeats stay as written, once.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musegen.data.downloads import digest_of_files, downloaded, files_in
from musegen.errors import BadInput, MusegenWarning
from musegen.files import write_file
from musegen.folders import NewFolder
from musegen.reporting import report
from musegen_pianoroll.limits import SIZE_CAP_BYTES

if TYPE_CHECKING:
    import mido

__all__ = ["URL", "get_chorales"]

COMMIT = "ec17c230f76f0dd1ddbd9108188cffa8989f043c"
URL = f"https://github.com/cuthbertLab/music21/archive/{COMMIT}.zip"
SCORES_SHA256 = "35c37fb1046183d1d4f608fd0a70e1108eed28efef0099e09edf33d68adfce20"
"""Of the scores, see ``digest_of_files``."""
SHA256 = "aa182081cb8206f1fed1538eb1eb2701f8d59e38000b4e0c57c6a5688b5fd3a9"
"""Of the MIDI files that music21 10.5.1 and mido 1.3.3 make of them."""
MOST_BYTES = 400 << 20
"""Of the archive, which holds all of music21."""
USED = re.compile(r"(?:(?:music21/)?corpus/)?(?:bach/)?(bwv[^/]*\.(?:mxl|xml))")
NAME = "SOURCE.md"
SOURCE = """\
# Bach's four-voice chorales

Made by `musegen data get chorales` from the corpus of music21. The music is in the public domain. The encodings come without a
licence of their own: the corpus says that its pieces are distributed with the permission of their encoders, that encodings may be
under copyright, and that some may not be used commercially. Most scores carry the name of their encoder, Margaret Greentree
(jsbchorales.net, 2003-2004), "used by permission". If you want to use them commercially, ask first.
"""
VOICES = ("Soprano", "Alto", "Tenor", "Bass")
TICKS = 120
"""Per quarter note: 120 divides by 8 and by 3, and MIDI writes a time below 128 ticks in one byte."""
DEFAULT_TEMPO = 80.0
"""Quarter notes per minute."""
REPEATS = frozenset({"bwv177.4", "bwv18.5-w", "bwv279", "bwv398", "bwv414"})
"""Scores of which at least 90 % of the notes are those of another one (``bwv117.4``, ``bwv18.5-lz``, ``bwv158.4``, ``bwv197.7-a``,
``bwv253``), transposed or not: data that are to be split into training and test must not hold both. No pair of what is kept has
more than 82 % in common."""
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


def get_chorales(out: Path, source: Path | None = None) -> tuple[int, Counter[str]]:
    """Write the chorales into a new folder, a MIDI file each, with a note of where they are from, ``SOURCE.md``.

    Args:
        source: the scores: music21's archive or a folder with its files. None: the corpus of the music21 that is installed, where
            it holds them; otherwise the archive is downloaded.

    Returns:
        How many were written, and how many were left out, by reason.

    Raises:
        BadInput: ``out`` exists; music21 is not installed; the scores cannot be had, or are not those that were checked.
    """
    package = find_spec("music21")
    if package is None or package.origin is None:
        raise BadInput("The chorales are read by music21: pip install 'musegen[notation]'.")
    with NewFolder(out, NAME, "corpus") as new:
        if source is not None:
            scores = _checked(source)
        else:
            found = _scores(Path(package.origin).parent / "corpus" / "bach")
            scores = found if digest_of_files(found) == SCORES_SHA256 else _fetched(new.temporary)
        files, left_out = _converted(scores, new.temporary)
        if digest_of_files(files) != SHA256:
            warnings.warn(
                "The chorales differ from those that musegen's models learnt from, because this music21 or mido reads or writes "
                "them in another way: pip install music21==10.5.1 mido==1.3.3 gives the same.",
                MusegenWarning,
                stacklevel=2,
            )
        for name, content in files.items():
            write_file(new.temporary / name, content)
        write_file(new.temporary / NAME, SOURCE.encode())
        new.commit()
    return len(files), left_out


def _scores(source: Path) -> dict[str, bytes]:
    """The scores in an archive or a folder, by the names of their files; none where there is no such folder.

    Three of them exist a second time in Humdrum's format, with all rights reserved: those are not read.
    """
    if not source.exists():
        return {}
    matches = ((USED.fullmatch(name), content) for name, content in files_in(source, SIZE_CAP_BYTES))
    return {match[1]: content for match, content in matches if match}


def _checked(source: Path) -> dict[str, bytes]:
    if not source.exists():
        raise BadInput(f"{source} does not exist: give the archive, or a folder with its files.")
    found = _scores(source)
    if digest_of_files(found) != SCORES_SHA256:
        raise BadInput(
            f"{source} does not hold the scores that were checked ({len(found)} of 410 are there, or some differ): use {URL}."
        )
    return found


def _fetched(folder: Path) -> dict[str, bytes]:
    way_out = f"Download {URL} by other means, and name the file with --archive."
    with downloaded(URL, folder, MOST_BYTES, way_out) as archive:
        return _checked(archive)


def _converted(scores: Mapping[str, bytes], folder: Path) -> tuple[dict[str, bytes], Counter[str]]:
    """The files, and how many scores were left out, by reason.

    Args:
        folder: where the library may read a score from.
    """
    from music21 import converter

    files: dict[str, bytes] = {}
    left_out: Counter[str] = Counter()
    for i, name in enumerate(sorted(scores)):
        path = folder / name
        stem = path.stem
        try:
            if stem in REPEATS:
                raise LeftOutError("the same music as another")
            path.write_bytes(scores[name])
            # Neither reads nor writes pickles of scores that the library keeps.
            files[f"{stem}.mid"] = content_of(read_chorale(converter.parse(path, forceSource=True, storePickle=False)))
        except LeftOutError as reason:
            left_out[str(reason)] += 1
        finally:
            path.unlink(missing_ok=True)
        report("Converting", i + 1, len(scores), "scores")
    return files, left_out


def in_ticks(quarters: float) -> int:
    """Convert a time in quarter notes, which must fall on a tick."""
    ticks = quarters * TICKS
    if ticks != int(ticks):
        raise LeftOutError("a time that is no whole number of ticks")
    return int(ticks)


def read_chorale(score: Any) -> Chorale:
    """Read a score, or raise ``LeftOutError``. A pickup bar is filled up with rests at its start."""
    from music21 import meter, stream

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


def read_voice(part: Any, shift: int) -> Iterator[Note]:
    """Yield the notes of a voice, ties merged, ``shift`` ticks later than written."""
    for note in part.stripTies().flatten().notes:
        if note.duration.isGrace:
            continue
        start = in_ticks(note.offset) + shift
        yield start, start + in_ticks(note.duration.quarterLength), note.pitch.midi


def read_key(part: Any) -> str:
    """Read the key of a part as MIDI writes it."""
    from music21 import key

    signature = part.recurse().getElementsByClass(key.Key).first()
    if signature is None or signature.mode not in ("major", "minor"):
        raise LeftOutError("no key with a mode")
    return signature.tonic.name.replace("-", "b") + ("m" if signature.mode == "minor" else "")


def read_tempo(score: Any) -> float:
    """Read the tempo; most scores have none. What a score plays at is not always printed in it."""
    from music21 import tempo

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


def content_of(chorale: Chorale) -> bytes:
    """A file of just four tracks: the first voice's also carries tempo, key and metre."""
    import mido

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
    content = io.BytesIO()
    file.save(file=content)
    return content.getvalue()


def track(events: list[tuple[int, mido.Message]]) -> mido.MidiTrack:
    """Order events by time and give each its distance from the one before."""

    def order(event: tuple[int, mido.Message]) -> tuple[int, bool]:
        tick, message = event
        # A note ends before the next one starts, which may have the same pitch.
        return tick, message.type == "note_on" and message.velocity > 0

    import mido

    result, now = mido.MidiTrack(), 0
    for tick, message in sorted(events, key=order):
        result.append(message.copy(time=tick - now))
        now = tick
    return result
