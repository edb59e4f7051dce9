"""Reads files in a process of its own, because a compiled parser may crash on a malformed file.

Run as ``python -m musegen_pianoroll.worker``: a request is one line of JSON on standard input. Its answer is one empty line
on standard output; what was found is in files, so that nothing large goes through a pipe. The number of the file at hand
stands in a file of eight bytes, from which the parent knows which one was fatal. Nothing is pickled, and nothing heavy is imported.

    {"progress": file, "read": [paths], "refused": {index: reason}, "tracks": …, "steps_per_beat": …, "part": path}
        writes PATH.notes, the keys (``quantise.to_keys``) of all pieces, and when all is done PATH.json, one entry per file
    {"progress": file, "pack": path, "pieces": [[first key, keys, steps, byte, content, segments], …], "n_tracks": …,
     "steps_per_beat": …, "planes": file}
        writes the planes of a part's pieces to their places
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from musegen.data.store import PACKED, Tally
from musegen.errors import MidiError
from musegen_pianoroll.midi import SIZE_CAP_BYTES, read_score
from musegen_pianoroll.quantise import Quantised, from_keys, pack_notes, quantise
from musegen_pianoroll.roles import assign, track_specs

MEMORY_CAP_BYTES = 4 << 30
BLOCK_STEPS = 1 << 16
"""Steps of a long piece that are packed at once."""


def read_file(path: Path, tracks: str | dict[str, Any], steps_per_beat: int) -> tuple[Quantised, dict[str, Any]]:
    """Open and read a file exactly once, and put it on the grid.

    Returns:
        The piece, and what is known of it: ``sha256`` and ``programs``.

    Raises:
        MidiError: it cannot be used.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(min(size, SIZE_CAP_BYTES) + 1)  # not the cap at once: a buffer of that size is slow to get
    except OSError as error:
        raise MidiError(path, f"cannot be opened: {error.strerror}") from None
    if path.suffix.lower() == ".npz":
        from musegen_pianoroll.lpd import read_lpd  # and with it zipfile, which most folders have no use for

        score = read_lpd(data, path)
    else:
        score = read_score(data, path)
    notes, programs = assign(score, tracks)
    drums = [track.is_drum for track in track_specs(tracks)]
    piece = quantise(notes, drums, score.ticks_per_beat, steps_per_beat, score.time_signatures, score.tempos, path)
    return piece, {"sha256": hashlib.sha256(data).hexdigest(), "programs": programs}


def read_part(request: dict[str, Any], at: Callable[[int], None]) -> None:
    """Read some files, one after the other, into a part of a store; memory for one of them."""
    part, refused = Path(request["part"]), request["refused"]
    entries: list[dict[str, Any]] = []
    with open(f"{part}.notes", "wb") as notes:
        for i, path in enumerate(request["read"]):
            at(i)
            if str(i) in refused:
                entries.append({"reason": refused[str(i)]})
                continue
            try:
                piece, known = read_file(Path(path), request["tracks"], request["steps_per_beat"])
            except MidiError as error:
                entries.append({"reason": error.reason})
                continue
            except MemoryError:
                entries.append({"reason": "needs too much memory"})
                continue
            tempo = piece.tempos[0][1] if piece.tempos else 120.0
            notes.write(piece.keys.data)
            known |= {"tempo_bpm": tempo, "tempos": piece.tempos, "segments": piece.segments, "n_notes": piece.n_notes}
            known["content"] = hashlib.sha256(piece.keys.data).hexdigest()
            entries.append({"n_keys": len(piece.keys), "n_steps": piece.n_steps, "piece": known})
    at(len(entries))
    unfinished = Path(f"{part}.json.{os.getpid()}")
    unfinished.write_text(json.dumps(entries))
    unfinished.replace(f"{part}.json")


def pack_part(request: dict[str, Any], at: Callable[[int], None]) -> None:
    """Write the planes of a part's pieces to their places, and what was counted in them beside the part.

    Raises:
        ValueError: the part is damaged.
    """
    n_tracks = request["n_tracks"]
    tally = Tally(n_tracks)
    with open(f"{request['pack']}.notes", "rb") as notes, open(request["planes"], "r+b") as planes:
        for i, (first, n_keys, n_steps, place, content, segments) in enumerate(request["pieces"]):
            at(i)
            notes.seek(8 * first)
            raw = notes.read(8 * n_keys)
            if hashlib.sha256(raw).hexdigest() != content:
                raise ValueError("damaged part")
            table = from_keys(np.frombuffer(raw, np.int64))
            planes.seek(place)
            for step in range(0, n_steps, BLOCK_STEPS):
                block = pack_notes(table, min(BLOCK_STEPS, n_steps - step), n_tracks, step)
                planes.write(block.data)
            if n_steps > BLOCK_STEPS:
                planes.flush()
                block = np.memmap(planes.name, np.uint8, "r", place, (n_steps, n_tracks, 2, PACKED))
            tally.add(block, segments, request["steps_per_beat"])
    Path(f"{request['pack']}.tally").write_text(json.dumps(tally.as_json()))


def main() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_CAP_BYTES, MEMORY_CAP_BYTES))
    except (ImportError, ValueError, OSError):
        pass  # no such limit on this system; the caps on sizes still hold
    # The parser may print; only answers belong on standard output.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        with open(request["progress"], "r+b") as progress, mmap.mmap(progress.fileno(), 8) as place:

            def at(i: int, place: mmap.mmap = place) -> None:
                place[:] = i.to_bytes(8, "little")

            (read_part if "read" in request else pack_part)(request, at)
        out.write(b"\n")
        out.flush()


if __name__ == "__main__":
    main()
