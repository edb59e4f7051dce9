"""Reads one file per request in a process of its own, because a compiled parser may crash on a malformed file.

Run as ``python -m musegen_pianoroll.worker``: a request is one line of JSON on standard input; the answer is one line of
JSON on standard output, followed by the planes as raw bytes. Nothing is pickled, and nothing heavy is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from musegen.errors import MidiError
from musegen_pianoroll.lpd import read_lpd
from musegen_pianoroll.midi import SIZE_CAP_BYTES, read_score
from musegen_pianoroll.quantise import Quantised, quantise
from musegen_pianoroll.roles import assign, track_specs

MEMORY_CAP_BYTES = 4 << 30


def read_file(path: Path, tracks: str | dict[str, Any], steps_per_beat: int) -> tuple[Quantised, dict[str, Any]]:
    """Open and read a file exactly once, and put it on the grid.

    Returns:
        The piece, and what is known of it: ``sha256`` and ``programs``.

    Raises:
        MidiError: it cannot be used.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_CAP_BYTES + 1)
    except OSError as error:
        raise MidiError(path, f"cannot be opened: {error.strerror}") from None
    score = read_lpd(data, path) if path.suffix.lower() == ".npz" else read_score(data, path)
    notes, programs = assign(score, tracks)
    drums = [track.is_drum for track in track_specs(tracks)]
    piece = quantise(notes, drums, score.ticks_per_beat, steps_per_beat, score.time_signatures, score.tempos, path)
    return piece, {"sha256": hashlib.sha256(data).hexdigest(), "programs": programs}


def answer(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """One request, answered: header and planes."""
    try:
        piece, known = read_file(Path(request["path"]), request["tracks"], request["steps_per_beat"])
    except MidiError as error:
        return {"reason": error.reason, "size": 0}, b""
    except MemoryError:
        return {"reason": "needs too much memory", "size": 0}, b""
    content = piece.planes.tobytes()
    tempo = piece.tempos[0][1] if piece.tempos else 120.0
    header = {
        "size": len(content),
        "n_steps": len(piece.planes),
        "piece": known
        | {"tempo_bpm": tempo, "tempos": piece.tempos, "segments": piece.segments, "n_notes": piece.n_notes},
    }
    return header, content


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
        header, content = answer(json.loads(line))
        out.write(json.dumps(header).encode() + b"\n" + content)
        out.flush()


if __name__ == "__main__":
    main()
