"""Sheet music: MusicXML and ABC, by music21, an optional dependency.

music21 is imported here, in the process that reads, and only for files that need it. It is given text and trees, never the name of
a file: its own way of opening files keeps pickles of what it has read.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from musegen_pianoroll.limits import SIZE_CAP_BYTES
from musegen_pianoroll.reading.abc_tunes import tune_score, tunes
from musegen_pianoroll.reading.bars import joined, score_of
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.musicxml import safe_tree, sheet_of, unpacked_mxl
from musegen_pianoroll.reading.score import Score
from musegen_pianoroll.reading.sheets import bars_of, part_of

__all__ = ["read_abc", "read_musicxml", "read_mxl"]


def read_mxl(data: bytes, path: Path) -> Score:
    """Compressed MusicXML as a score.

    Raises:
        MidiError: the file cannot be used.
    """
    with _reading(data, path):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            content = unpacked_mxl(archive, path)
        return _musicxml(content, path)


def read_musicxml(data: bytes, path: Path) -> Score:
    """MusicXML as a score.

    Raises:
        MidiError: the file cannot be used.
    """
    with _reading(data, path):
        return _musicxml(data, path)


def read_abc(data: bytes, path: Path) -> Score:
    """The tunes of an ABC file as a score, one after the other; no bars reach from one into the next.

    Raises:
        MidiError: none of its tunes can be read.
    """
    with _reading(data, path):
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        found, failed = [], []
        for number, tune in tunes(text):
            try:
                found.append(tune_score(tune, path))
            except MemoryError:
                raise
            except Exception as error:  # whatever the library makes of it
                failed.append(f"{number} ({error.reason})" if isinstance(error, MidiError) else str(number))
        if not found:
            raise MidiError(
                path, f"holds no tune that can be read: {failed[0]}" if failed else "holds no tune: X: begins one"
            )
        score = joined(found)
    if not failed:
        return score
    lost = f"{len(failed)} of {len(found) + len(failed)} tunes cannot be read, the first is X:{failed[0]}"
    return replace(score, mended=(*score.mended, lost))


@contextlib.contextmanager
def _reading(data: bytes, path: Path) -> Iterator[None]:
    """See that the library is there and the file no larger than is read; whatever is raised is a fault of the file."""
    try:
        import music21  # noqa: F401
    except ImportError:
        raise MidiError(path, "needs the extra notation: pip install 'musegen[notation]'") from None
    if len(data) > SIZE_CAP_BYTES:
        raise MidiError(path, f"is larger than {SIZE_CAP_BYTES >> 20} MB")
    try:
        yield
    except (MidiError, MemoryError):
        raise
    except Exception:  # zipfile and the library raise whatever a damaged file leads them to
        raise MidiError(path, "cannot be parsed") from None


def _musicxml(data: bytes, path: Path) -> Score:
    from music21.musicxml.xmlToM21 import MusicXMLImporter

    sheet = sheet_of(safe_tree(data, path), _drum_named, path)
    importer = MusicXMLImporter()
    importer.xmlRootToScore(sheet.root, importer.stream)
    parts = list(importer.stream.parts)
    # The library names a part after its instrument, and a staff of one that has several after the part in the file.
    owners = [
        str(part.id).rpartition("-Staff")[0] or str(getattr(part.getInstrument(), "partId", None)) for part in parts
    ]
    about = [
        part_of(part, sheet.programs.get(owner), owner in sheet.drums)
        for part, owner in zip(parts, owners, strict=True)
    ]
    read = score_of(bars_of(parts), sheet.bars, about, path)
    if not sheet.n_unknown:
        return read
    lost = f"unpitched notes that name no drum of General MIDI were left out: {sheet.n_unknown:,}"
    return replace(read, mended=(lost,))


def _drum_named(name: str) -> int | None:
    """The pitch of General MIDI that a drum of a name has."""
    from music21 import exceptions21, instrument

    try:
        found = getattr(instrument.fromString(name), "percMapPitch", None)
    except exceptions21.Music21Exception:
        return None
    return found if isinstance(found, int) else None
