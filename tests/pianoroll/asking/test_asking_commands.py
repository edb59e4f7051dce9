"""Commands that fill in and ask, on a model that has hardly learnt: what they write is where it should be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import mido
import pytest
import torch
from commands import Result, bad

import musegen
from musegen.data.bundled import bundled
from musegen.errors import BadInput

Run = Callable[..., Result]
BARS = 8  # beats of two bars


def trained(folder: Path, name: str, **choices: object) -> Path:
    """A model of voices in eighths, with chords before notes, trained for a few steps."""
    options = {"tracks": "voices", "steps_per_beat": 2, "bars": 2, "plan": "chords", "transpose": 0}
    sizes = {"units": 16, "hidden": 8, "features": 10, "depth": 0, "lags": [1]}
    run = musegen.train(
        "rnn_nade", "pianoroll", data=bundled("chorales"), out=folder / "run", batch_size=8, sample_every=0, samples=1,
        validate_every=0, quiet=True, device="cpu", **options, **sizes, **choices,
    )  # fmt: skip
    musegen.load(run.path, checkpoint="last").save(folder / name)
    return folder / name


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Any part of it may be given."""
    return trained(tmp_path_factory.mktemp("any"), "any.safetensors", steps=30, given=["any"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It takes nothing: it writes all of a piece."""
    return trained(tmp_path_factory.mktemp("alone"), "alone.safetensors", steps=1)


@pytest.fixture
def piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(bundled("chorales") / "bwv253.mid", "hymn.mid")
    return Path("hymn.mid")


def notes(path: Path) -> dict[str, list[tuple[float, int]]]:
    """(beat, pitch) of every track that has notes; tracks of one name together."""
    found: dict[str, list[tuple[float, int]]] = {}
    file = mido.MidiFile(path)
    for track in file.tracks:
        now = 0
        for message in track:
            now += message.time
            if message.type == "note_on" and message.velocity:
                found.setdefault(track.name, []).append((now / file.ticks_per_beat, message.note))
    return found


SILENT = ("--audio", "none")


def test_infill(run: Run, model: Path, piece: Path) -> None:
    command = ("infill", model, piece, "--tracks", "Alto,Tenor", "--bars", "3-4", "-n", 2, "--out", "a", *SILENT)
    assert run(*command).code == 0
    before, after = notes(piece), notes(Path("a/hymn_infilled_001.mid"))
    for name, own in before.items():
        outside = [note for note in own if not BARS <= note[0] < 2 * BARS]
        if name in ("Alto", "Tenor"):
            assert [note for note in after[name] if not BARS <= note[0] < 2 * BARS] == outside
        else:
            assert after[name] == own
    assert run(*command, "--overwrite").code == 0
    again = notes(Path("a/hymn_infilled_001.mid"))
    assert again == after
    assert run("infill", model, piece, "--bars", "3", "-n", 3, "--best", 1, "--out", "b", *SILENT).code == 0
    assert [p.name for p in sorted(Path("b").glob("*.mid"))] == ["hymn_infilled_000.mid"]


def test_regenerate_writes_on_the_same_tracks(run: Run, model: Path, piece: Path) -> None:
    assert run("generate", model, "-n", 1, "--bars", 4, "--out", "a", *SILENT).code == 0
    own = Path("a/sample_000.mid")
    assert run("regenerate", model, own, "--tracks", "Bass", "--bars", "3-4", "-n", 2, "--out", "b", *SILENT).code == 0
    before, after = notes(own), notes(Path("b/sample_000_regenerated_000.mid"))
    assert len(mido.MidiFile("b/sample_000_regenerated_000.mid").tracks) == len(mido.MidiFile(own).tracks)
    for name, found in after.items():
        new = set(found) - set(before.get(name, []))
        assert not new or name == "Bass"
        assert all(beat >= BARS for beat, _ in new)
    assert {name: found for name, found in before.items() if name != "Bass"} == {
        name: found for name, found in after.items() if name != "Bass"
    }


def test_what_is_asked_for_reaches_the_notes(run: Run, model: Path, piece: Path) -> None:
    asked = ("--key", "Eb", "--ranges", "Bass=C2-G2", "--rules", "no_crossing,avoid_parallels", "--density", "Alto=low")
    assert run("generate", model, "-n", 4, "--bars", 4, *asked, "--out", "a", *SILENT).code == 0
    scale = {(3 + step) % 12 for step in (0, 2, 4, 5, 7, 9, 11)}
    for path in Path("a").glob("*.mid"):
        for name, found in notes(path).items():
            assert {pitch % 12 for _, pitch in found} <= scale
            assert name != "Bass" or all(36 <= pitch <= 43 for _, pitch in found)
    assert (
        run("generate", model, "-n", 1, "--bars", 4, "--form", "AA", "--variation", 0, "--out", "b", *SILENT).code == 0
    )
    for found in notes(Path("b/sample_000.mid")).values():  # the last bar of a section is always written anew
        first = {(beat, pitch) for beat, pitch in found if beat < BARS // 2}
        assert first == {(beat - BARS, pitch) for beat, pitch in found if BARS <= beat < 3 * BARS // 2}
    ends = [
        {(beat - first, pitch) for name, found in notes(Path("b/sample_000.mid")).items() for beat, pitch in found
         if first <= beat < first + BARS / 2}
        for first in (BARS / 2, 3 * BARS / 2)
    ]  # fmt: skip
    assert ends[0] != ends[1]
    for more in (["--chords", "C F | G C"], ["--repeat", "2"], ["--ending", "true"], ["--refine", "1", "--key", "C"]):
        assert run("generate", model, "-n", 1, "--bars", 4, *more, "--out", "c", "--overwrite", *SILENT).code == 0
    assert run("continue", model, piece, "--bars", 2, "-n", 1, "--chords", "C", "--out", "d", *SILENT).code == 0
    before, after = notes(piece), notes(Path("d/hymn_continued_000.mid"))
    assert all(set(own) <= set(after[name]) for name, own in before.items())


def test_any_tracks_are_accompanied(run: Run, model: Path, piece: Path) -> None:
    for tracks in ("Soprano", "Bass,Alto"):
        command = (
            "accompany",
            model,
            piece,
            "--tracks",
            tracks,
            "--replace",
            "-n",
            1,
            "--out",
            "a",
            "--overwrite",
            *SILENT,
        )
        assert run(*command).code == 0
        before, after = notes(piece), notes(Path("a/hymn_accompanied_000.mid"))
        for name in tracks.split(","):
            assert after[name] == before[name]


def test_the_likeliest_are_those_with_the_fewest_nats_per_note(model: Path) -> None:
    loaded = musegen.load(model)
    x = loaded.sample(6, seed=1)
    mask = torch.zeros(6, *x.shape[1:3], dtype=torch.bool)
    nats = -loaded.family.rest_log_prob(x, mask) / x.flatten(1).sum(1)
    best = loaded.likeliest(x, 2)
    assert torch.equal(best, x[nats.argsort()[:2]])
    with pytest.raises(BadInput, match="use fill, with a mask of what is given"):
        loaded.sample(1, given=x[0])
    silence = torch.cat([torch.zeros_like(x[:1]), x[:1]])
    assert torch.equal(loaded.likeliest(silence, 1), x[:1])


def test_what_cannot_be_done_is_refused(run: Run, model: Path, alone: Path, piece: Path) -> None:
    for bars in ("x", "3-x", "-3", "3-4-5", "", "9" * 50):
        bad(run("infill", model, piece, f"--bars={bars}", "--out", "a"), *([f"--bars {bars}"] if len(bars) < 9 else []))
    bad(run("generate", "notes", "--best", 1, "--out", "a"), "was not trained to be given any part")
    bad(run("generate", alone, "-n", 1, "--refine", 1, "--out", "a"), "refine needs a model that may be given any part")
    bad(run("infill", alone, piece, "--out", "a"), "was not trained to be given any part")
    bad(run("infill", model, piece, "--bars", "90-95", "--out", "a"), "has bars 1 to")
    bad(run("infill", model, piece, "--tracks", "Flute", "--out", "a"), 'no track "Flute"')
    bad(run("infill", model, piece, "-n", 2, "--best", 3, "--out", "a"), "--best 3 is invalid: only 2 are drawn")
    bad(run("generate", model, "--chords", "H", "--out", "a"), "is no chord")
    bad(run("generate", model, "--form", "AB", "--bars", 3, "--out", "a"), "use --bars 2")
    bad(run("accompany", model, piece, "--tracks", "Soprano,Alto,Tenor,Bass", "--out", "a"), "nothing is left to write")
    bad(run("infill", "notes", piece, "--out", "a"), "was not trained to be given any part")
    bad(run("generate", "notes", "--chords", "C", "--out", "a"), "no option", "chords")
    assert not Path("a").exists()
