"""Reads files in a process of its own, because a compiled parser may crash on a malformed file.

Run as ``python -m musegen_pianoroll.reading.worker``: a request is one line of JSON on standard input. Its answer is one empty line
on standard output; what was found is in files, so that nothing large goes through a pipe. The number of the file at hand,
and how many are read together with it, stand in a file of eight bytes, from which the parent knows which one was fatal, if it was
alone; if not, it asks for all of them one by one. Nothing is pickled, and nothing heavy is imported.

    {"progress": file, "read": [paths], "alone": whether one by one, "refused": {index: reason}, "reading": {options},
     "sources": whether to say what tracks they have, "part": path}
        writes PATH.notes, the keys (``quantise.to_keys``) of all pieces, and when all is done PATH.json, one entry per file
    {"progress": file, "pack": path, "pieces": [[first key, keys, steps, byte, content, segments], …], "n_tracks": …,
     "n_planes": …, "steps_per_beat": …, "planes": file}
        writes the planes of a part's pieces to their places
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from musegen.errors import OUTSIDE, BadInput
from musegen.files import regular
from musegen_pianoroll.limits import READER_CAP_BYTES, SIZE_CAP_BYTES
from musegen_pianoroll.reading.errors import FAULT_OUTSIDE, MidiError
from musegen_pianoroll.reading.formats import MIDI_SUFFIXES, other_reader
from musegen_pianoroll.reading.midi import read_scores
from musegen_pianoroll.reading.options import Reading
from musegen_pianoroll.reading.quantise import Quantised, from_keys, pack_notes, quantise
from musegen_pianoroll.reading.roles import Choice, assign, choose, track_specs
from musegen_pianoroll.reading.score import Score
from musegen_pianoroll.store.format import PACKED
from musegen_pianoroll.store.tally import Tally
from musegen_pianoroll.store.velocities import NOTE_PLANES

TOGETHER, TOGETHER_BYTES = 8, 1 << 18
"""Files that are read together: with more, arrays outgrow the processor's cache."""
AT = struct.Struct("<II")
"""Progress: the number of the first file at hand, and how many are."""
BLOCK_STEPS = 1 << 16
"""Steps of a long piece that are packed at once."""


Pieces = list[tuple[Quantised, dict[str, Any], dict[str, Any]]]
"""Pieces, what is known of each, and the tracks of its file."""


def load(path: Path) -> bytes:
    """What is in a file, which is opened exactly once.

    Raises:
        MidiError: it cannot be read.
    """
    try:
        with open(regular(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            return file.read(min(size, SIZE_CAP_BYTES) + 1)  # not the cap at once: a buffer of that size is slow to get
    except OSError as error:
        raise MidiError(path, f"cannot be opened: {error.strerror}") from None


def interpret(files: Sequence[tuple[Path, bytes]], reading: Reading, with_sources: bool = False) -> Pieces:
    """Put files on the grid; ``with_sources``: and say what tracks they have.

    Args:
        files: paths, and what is in them: MIDI files, or one file of another kind.

    Raises:
        MidiError: one of them cannot be used.
    """
    reader = other_reader(files[0][0])
    if reader is not None:
        scores = [reader(data, path) for path, data in files]
    else:
        scores = read_scores(files, reading.pedal, reading.velocities)
    if with_sources:
        choices = [_chosen(score, reading, path) for score, (path, _) in zip(scores, files, strict=True)]
        assigned = [(choice.notes, choice.programs) for choice in choices]
    else:
        assigned = [assign(score, reading.tracks) for score in scores]
    pieces = quantise(
        [(path, score, notes) for (path, _), score, (notes, _) in zip(files, scores, assigned, strict=True)],
        [track.is_drum for track in track_specs(reading.tracks)],
        reading,
    )
    return [
        (
            piece,
            {"sha256": hashlib.sha256(data).hexdigest(), "programs": programs},
            _sources(scores[i], choices[i]) if with_sources else {},
        )
        for i, (piece, (_, data), (_, programs)) in enumerate(zip(pieces, files, assigned, strict=True))
    ]


def _chosen(score: Score, reading: Reading, path: Path) -> Choice:
    try:
        return choose(score, reading.tracks, reading.given, reading.track)
    except BadInput as error:
        raise MidiError(path, str(error)) from None


def _sources(score: Score, choice: Choice) -> dict[str, Any]:
    """The tracks of a file, whose notes they are, and what is to be said of that."""
    roles = {(track.number, track.channel, track.program): role for role, track in choice.played}
    tracks = [
        {
            "number": track.number,
            "channel": track.channel,
            "name": track.name,
            "n_notes": len(track.notes),
            "role": roles.get((track.number, track.channel, track.program)),
        }
        for track in score.tracks
    ]
    return {"sources": tracks, "chosen": choice.said}


class PartReader:
    """Reads some files into a part of a store: a few together where all are well, and each alone where one is not.

    Args:
        request: see above.
        at: told which file is at hand, and how many with it.
    """

    def __init__(self, request: dict[str, Any], at: Callable[[int, int], None]) -> None:
        self.paths = [Path(path) for path in request["read"]]
        self.refused, self.at = request["refused"], at
        self.most = 1 if request["alone"] else TOGETHER
        self.reading, self.with_sources = Reading(**request["reading"]), request["sources"]
        self.entries: list[dict[str, Any]] = [{} for _ in self.paths]

    def read(self, part: str) -> None:
        """Write the part; memory for a few files."""
        with open(f"{part}.notes", "wb") as notes:
            batch: list[tuple[int, bytes]] = []
            size = 0
            for i, path in enumerate(self.paths):
                if str(i) in self.refused:
                    self.entries[i] = {"reason": self.refused[str(i)]}
                    continue
                self.at(i, 1)
                try:
                    data = load(path)
                except MidiError as error:
                    self.entries[i] = {"reason": error.reason}
                    continue
                alone = path.suffix.lower() not in MIDI_SUFFIXES
                if batch and (alone or len(batch) == self.most or size + len(data) > TOGETHER_BYTES):
                    self._write(batch, notes)
                    batch, size = [], 0
                batch.append((i, data))
                size += TOGETHER_BYTES if alone else len(data)
            if batch:
                self._write(batch, notes)
        self.at(len(self.paths), 1)
        unfinished = Path(f"{part}.json.{os.getpid()}")
        unfinished.write_text(json.dumps(self.entries))
        unfinished.replace(f"{part}.json")

    def _write(self, batch: Sequence[tuple[int, bytes]], notes: BinaryIO) -> None:
        """Interpret files and write their notes; where that fails, those of each half."""
        first = batch[0][0]
        self.at(first, len(batch))
        try:
            pieces = interpret([(self.paths[i], data) for i, data in batch], self.reading, self.with_sources)
        except (MidiError, MemoryError) as error:
            if len(batch) == 1:
                self.entries[first] = {
                    "reason": error.reason if isinstance(error, MidiError) else "needs too much memory"
                }
                return
            half = len(batch) // 2
            self._write(batch[:half], notes)
            self._write(batch[half:], notes)
            return
        for (i, _), (piece, known, sources) in zip(batch, pieces, strict=True):
            notes.write(piece.keys.data)
            known["tempo_bpm"] = piece.tempos[0][1]
            known |= {"tempos": piece.tempos, "segments": piece.grid.segments, "n_odd": piece.grid.n_odd}
            known |= {"n_notes": piece.n_notes, "off_grid": piece.off_grid, "mended": piece.grid.mended}
            known |= sources | ({} if piece.loudness is None else {"loudness": piece.loudness})
            known["content"] = hashlib.sha256(piece.keys.data).hexdigest()
            self.entries[i] = {"n_keys": len(piece.keys), "n_steps": piece.grid.n_steps, "piece": known}


def read_part(request: dict[str, Any], at: Callable[[int, int], None]) -> None:
    """Read some files into a part of a store."""
    PartReader(request, at).read(request["part"])


def pack_part(request: dict[str, Any], at: Callable[[int, int], None]) -> None:
    """Write the planes of a part's pieces to their places, and what was counted in them beside the part.

    Raises:
        ValueError: the part is damaged.
    """
    n_tracks, n_planes = request["n_tracks"], request["n_planes"]
    tally = Tally(n_tracks)
    with open(f"{request['pack']}.notes", "rb") as notes, open(request["planes"], "r+b") as planes:
        for i, (first, n_keys, n_steps, place, content, segments) in enumerate(request["pieces"]):
            at(i, 1)
            notes.seek(8 * first)
            raw = notes.read(8 * n_keys)
            if hashlib.sha256(raw).hexdigest() != content:
                raise ValueError("damaged part")
            table = from_keys(np.frombuffer(raw, np.int64), n_planes > NOTE_PLANES)
            planes.seek(place)
            for step in range(0, n_steps, BLOCK_STEPS):
                block = pack_notes(table, min(BLOCK_STEPS, n_steps - step), n_tracks, step)
                planes.write(block.data)
            if n_steps > BLOCK_STEPS:
                planes.flush()
                block = np.memmap(planes.name, np.uint8, "r", place, (n_steps, n_tracks, n_planes, PACKED))
            tally.add(block, segments, request["steps_per_beat"])
    Path(f"{request['pack']}.tally").write_text(json.dumps(tally.as_json()))


def main() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (READER_CAP_BYTES, READER_CAP_BYTES))
    except (ImportError, ValueError, OSError):
        pass  # no such limit on this system; the caps on sizes still hold
    # The parser may print; only answers belong on standard output.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        with open(request["progress"], "r+b") as progress, mmap.mmap(progress.fileno(), 8) as place:

            def at(i: int, n: int, place: mmap.mmap = place) -> None:
                place[:] = AT.pack(i, n)

            try:
                (read_part if "read" in request else pack_part)(request, at)
            except OSError as error:
                if error.errno not in OUTSIDE:
                    raise
                os._exit(FAULT_OUTSIDE)  # at once: buffers that cannot be written would only fail again
        out.write(b"\n")
        out.flush()


if __name__ == "__main__":
    main()
