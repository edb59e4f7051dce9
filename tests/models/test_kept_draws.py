"""The models that ship still draw what they drew when these files were kept: the same notes, and the same sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Result

from musegen.data.bundled import bundled

KEPT = Path(__file__).parent / "kept"


ALONE = ("--tracks", "Soprano", "--replace")


def notes(path: Path) -> list[tuple[Any, ...]]:
    """Every note of a MIDI file by its track, and the tempo."""
    import pretty_midi

    midi = pretty_midi.PrettyMIDI(str(path))
    tempo = float(midi.get_tempo_changes()[1][0])  # in whole microseconds per beat, up or down
    found: list[tuple[Any, ...]] = [("tempo", round(tempo, 2))]
    for track in midi.instruments:
        own = (track.name, track.program)
        found += [
            (*own, note.pitch, round(note.start * tempo / 60, 3), round(note.end * tempo / 60, 3))
            for note in track.notes
        ]
    return found


@pytest.mark.parametrize(
    ("name", "command", "written"),
    [
        ("band", ["generate", "band", "-n", 2, "--seed", 3, "--bars", 4], "sample_000.mid"),
        ("chorale", ["generate", "chorale", "-n", 2, "--seed", 3, "--bars", 4], "sample_000.mid"),
        ("pop", ["generate", "pop", "-n", 2, "--seed", 3, "--bars", 4, "--chords", "Am F C G"], "sample_000.mid"),
        (
            "harmony",
            [*("accompany", "chorale", bundled("chorales") / "bwv253.mid"), *ALONE, "-n", 1, "--seed", 3],
            "bwv253_accompanied_000.mid",
        ),
    ],
)
def test_music(name: str, command: list[object], written: str, run: Callable[..., Result]) -> None:
    result = run(*command, "--audio", "none", "--out", "out")
    assert result.code == 0, result.err
    found, kept = notes(Path("out") / written), notes(KEPT / f"{name}.mid")
    assert len(kept) > 30
    assert found == kept


def test_sound(run: Callable[..., Result]) -> None:
    import soundfile

    assert run("generate", "notes", "-n", 2, "--seed", 3, "--label", 2, "--out", "out").code == 0
    (found, rate_hz), (kept, kept_rate_hz) = (
        soundfile.read(path) for path in (Path("out/sample_000.wav"), KEPT / "notes.wav")
    )
    assert (rate_hz, found.shape) == (kept_rate_hz, kept.shape)
    # Sums are rounded otherwise on other processors, and Griffin-Lim carries that on.
    assert np.corrcoef(found, kept)[0, 1] > 0.999
    assert abs(np.abs(kept).max() - np.abs(found).max()) < 0.01
