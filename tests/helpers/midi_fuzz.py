"""Damaged MIDI files by the thousand: what we read of them, what mido reads, and whether a file reads the same beside others."""

from __future__ import annotations

import io
import random
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import mido
import numpy as np
from midi_files import END, chunk, header, midi, piece, quantity, track
from readers import HERE

from musegen.data.bundled import bundled
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.midi import read_scores
from musegen_pianoroll.reading.score import Score
from musegen_pianoroll.reading.whole import read_whole

TOGETHER = 8
LENGTHS = (
    *("a track of the wrong length", "a header of the wrong length", "bytes before its header"),
    "where its header promises",
)
"""What is said where we read more of a file than mido, which believes what its header and its chunks say of their lengths."""
TIMES = ("an impossible time",)
"""What is said where a time longer than the longest piece is taken for damage."""
FOR_WIRES = {
    *("quarter_frame", "songpos", "song_select", "tune_request"),
    *("clock", "start", "continue", "stop", "active_sensing", "reset"),
}
"""Messages for cables, which files must not hold. Where data without a status follow one, mido repeats it as if it were a running
status, which MIDI does not know of such messages; we go on with that of the channel before it."""
MOST_TRACKS = 32767
"""More tracks are a negative number to mido."""
Note = tuple[int, int, int, int, int]
"""Tick, whether it is a note-on, channel, pitch, velocity."""


@dataclass
class Figures:
    """What came of it.

    Attributes:
        inputs, read, refused: files; a refusal is a MidiError.
        compared: files that mido reads, too, but for what is known to differ.
        different: files of which mido reads other notes.
        beside: files that read otherwise beside others.
        worst_s: the longest that a file took, of the processor's time.
        grown_mb: by how much the most memory that the process ever held grew.
    """

    inputs: int = 0
    read: int = 0
    refused: int = 0
    compared: int = 0
    different: list[bytes] = field(default_factory=list)
    beside: list[bytes] = field(default_factory=list)
    worst_s: float = 0.0
    grown_mb: float = 0.0


def originals() -> list[list[bytes]]:
    """Sound files to be damaged, each as its header and its tracks: with running status, controllers, texts, tempos, changes of
    program, pitch bends and system exclusive events."""
    rng, busy = (
        random.Random(4),
        b"\x00\xff\x51\x03\x07\xa1\x20\x00\xff\x58\x04\x03\x02\x18\x08\x00\xff\x59\x02\xfe\x00",
    )
    for i in range(40):
        pitch = bytes([48 + rng.randrange(24)])
        busy += b"\x00\xb0\x40\x7f" * (i % 9 == 0) + b"\x00\xc0" + bytes([i]) + b"\x05\xe0\x00" + bytes([i])
        busy += b"\x00\x90" + pitch + b"\x50" + quantity(rng.randrange(400)) + pitch + b"\x00"  # running status
        busy += b"\x00\xff\x05\x02la" * (i % 5 == 0) + b"\x00\xf0\x05\x7e\x7f\x09\x01\xf7" * (i == 20)
        busy += b"\x00\x00\x10" * (i % 7 == 0 and i != 20)
    sound = [piece(2), piece(1, 96), midi([chunk(b"MTrk", busy + END)]), header(1, kind=0) + track([(0, 9, 60)])]
    sound += [path.read_bytes() for path in sorted(bundled("chorales").glob("*.mid"))[:6]]
    return [list(_parts(data)) for data in sound]


def _parts(data: bytes) -> Iterator[bytes]:
    """The header of a file, and the bodies of its tracks."""
    yield data[:14]
    at = 14
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "big")
        yield data[at + 8 : at + 8 + size]
        at += 8 + size


def damaged(rng: random.Random, parts: list[bytes]) -> bytes:
    """A file with a few bytes changed, cut, doubled or inserted; in most, chunks have the lengths that they say they have."""
    head, *tracks = parts
    if rng.random() < 0.25:
        return _damage(rng, head + b"".join(chunk(b"MTrk", body) for body in tracks), 4)
    which = rng.randrange(len(tracks))
    body = _damage(rng, tracks[which], rng.choice([1, 1, 2, 4]))
    return head + b"".join(chunk(b"MTrk", body if i == which else other) for i, other in enumerate(tracks))


def _damage(rng: random.Random, data: bytes, most: int) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, most)):
        at, n = rng.randrange(len(changed) + 1), rng.randint(1, 12)
        match rng.choice(["change", "bit", "cut", "double", "insert", "status", "end"]):
            case "change":
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case "bit" if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case "cut":
                del changed[at : at + n]
            case "double":
                changed[at:at] = changed[at : at + n]
            case "insert":
                changed[at:at] = rng.randbytes(n)
            case "status":
                changed[at:at] = bytes([rng.randrange(4), rng.choice([0x80, 0x90, 0xC3, 0xE1, 0xF0, 0xF2, 0xF8, 0xFF])])
            case "end" if rng.random() < 0.2:
                del changed[at:]
    return bytes(changed)


def notes_by_mido(data: bytes) -> list[list[Note]] | None:
    """Notes of each track; None where mido fails, or where something stands in the file that it is known to read otherwise."""
    if int.from_bytes(data[10:12], "big") > MOST_TRACKS:
        return None
    try:
        tracks = mido.MidiFile(file=io.BytesIO(data)).tracks
    except Exception:  # whatever a parser does to a damaged file
        return None
    # Data without a status after a system exclusive event are another one to mido; MIDI knows no running status of them.
    n_exclusive = sum(message.type == "sysex" for messages in tracks for message in messages)
    if n_exclusive > data.count(0xF0) + data.count(0xF7):
        return None
    found = []
    for messages in tracks:
        now, notes = 0, []
        for message in messages:
            if message.type == "unknown_meta" or message.type in FOR_WIRES:  # mido leaves out the time of the former
                return None
            now += message.time
            if message.type in ("note_on", "note_off"):
                notes.append((now, int(message.type == "note_on"), message.channel, message.note, message.velocity))
        found.append(notes)
    return found


def notes_by_us(data: bytes) -> list[list[Note]]:
    return [
        [(tick, int(e[0] >= 0x90), e[0] & 0xF, e[1], e[2]) for tick, e in events if 0x80 <= e[0] < 0xA0]
        for events in read_whole(data, HERE).tracks
    ]


def same_score(a: Score, b: Score) -> bool:
    """Whether two readings of a file are equal in all that a score says."""
    if replace(a, tracks=[]) != replace(b, tracks=[]) or len(a.tracks) != len(b.tracks):
        return False
    return all(
        (x.name, x.program, x.is_drum, x.number, x.channel) == (y.name, y.program, y.is_drum, y.number, y.channel)
        and np.array_equal(x.notes, y.notes)
        for x, y in zip(a.tracks, b.tracks, strict=True)
    )


def fuzz(seed: int, n: int) -> Figures:
    """Read n damaged files, alone and beside others.

    Raises:
        Exception: reading one of them raised something other than MidiError.
    """
    rng, sound, figures, waiting = random.Random(seed), originals(), Figures(n), []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(n):
        data = damaged(rng, rng.choice(sound))
        began = time.process_time()
        try:
            (score,) = read_scores([(HERE, data)])
        except MidiError:
            figures.refused += 1
            continue
        finally:
            figures.worst_s = max(figures.worst_s, time.process_time() - began)
        figures.read += 1
        waiting.append((data, score))
        if len(waiting) == TOGETHER:
            for (one, alone), beside in zip(waiting, read_scores([(HERE, d) for d, _ in waiting]), strict=True):
                if not same_score(alone, beside):
                    figures.beside.append(one)
            waiting.clear()
        if not any(what in said for said in score.mended for what in LENGTHS + TIMES):
            _compare(data, figures)
    figures.grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return figures


def _compare(data: bytes, figures: Figures) -> None:
    theirs = notes_by_mido(data)
    if theirs is not None:
        figures.compared += 1
        if notes_by_us(data) != theirs:
            figures.different.append(data)
