"""Velocities in models: read, learnt, drawn, written and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pretty_midi
import pytest
import torch
from commands import Result, bad
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import musegen
from musegen.contracts.missing import missing_rows
from musegen.errors import BadInput
from musegen.evaluation.distributions import compare
from musegen.testing import checks
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.domain import PianorollDomain
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.velocities import TYPICAL, level_of
from musegen_pianoroll.writing.midi import notes_of
from musegen_pianoroll.writing.pianoroll import Pianoroll

Run = Callable[..., Result]
OPTIONS: dict[str, Any] = {
    "velocities": True,
    "given": ["any"],
    "tracks": {"Drums": {"drums": True}, "Piano": {"programs": ["0-7"]}},
}
LOUD = [[50, 70, 90, 110], [40, 75, 81, 99]]
KNOWN = [
    {"name": "Drums", "program": 0, "is_drum": True, "velocities": LOUD[0]},
    {"name": "Piano", "program": 0, "is_drum": False, "velocities": LOUD[1]},
]
ONSETS = {0: 1, 1: 3}  # of the tracks, without a plan
FIRST = 4


def domain(**options: Any) -> PianorollDomain:
    return PianorollDomain(PianorollConfig(**(OPTIONS | {"bars": 2, "track_list": KNOWN} | options)))


CHECKS = ["spec", "synthetic", "metrics", "baselines", "streaming", "files", "writing options"]
"""Those that need no network of the domain's."""


@pytest.mark.parametrize("name", CHECKS)
def test_conformance(name: str) -> None:
    (check,) = (check for check in checks(domain(track_list=[])) if str(check) == name)
    check()


@st.composite
def rolls(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two bars of drums and a piano, and the velocities of their notes."""
    roll, velocities = np.zeros((2, 2, 32, 128), bool), np.zeros((2, 32, 128), np.uint8)
    for _ in range(draw(st.integers(1, 12))):
        track, pitch, first = draw(st.integers(0, 1)), draw(st.integers(30, 99)), draw(st.integers(0, 31))
        last = first + 1 if track == 0 else min(32, first + draw(st.integers(1, 9)))
        if not roll[track, 0, first:last, pitch].any():
            roll[track, 0, first:last, pitch] = roll[track, 1, first, pitch] = True
            velocities[track, first, pitch] = draw(st.integers(1, 127))
    return roll, velocities


def written(midi: Path) -> dict[tuple[bool, int, int], int]:
    """Velocities of a file's notes by track, pitch and step."""
    song = pretty_midi.PrettyMIDI(str(midi))
    return {
        (track.is_drum, note.pitch, round(note.start / 0.125)): note.velocity
        for track in song.instruments
        for note in track.notes
    }


@settings(max_examples=8, deadline=None)
@given(piece=rolls(), plan=st.booleans())
def test_from_a_file_to_cells_to_a_file(
    piece: tuple[np.ndarray, np.ndarray], plan: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Notes come back, each as loud as notes of its level are in the data."""
    roll, velocities = piece
    folder = tmp_path_factory.mktemp("velocities")
    tracks = [StoreTrack("Drums", 0, True), StoreTrack("Piano")]
    path = Pianoroll(roll, tracks, 4, velocities=velocities).save(folder / "a.mid")
    ours = domain(plan="chords" if plan else "none")
    (x,) = ours.read(path)
    assert x.shape == ours.spec.shape
    (found,) = ours.pieces(x[None])
    assert notes_of(found.roll).tolist() == notes_of(roll).tolist()
    track, step, pitch = velocities.nonzero()
    level = level_of(velocities[track, step, pitch])
    wanted = np.array(LOUD)[track, level]
    assert found.velocities is not None
    np.testing.assert_array_equal(found.velocities[track, step, pitch], wanted)
    for midi in (found.save(folder / "b.mid"), folder / "c.mid"):
        if not midi.exists():
            found.to_pretty_midi().write(str(midi))
        heard = written(midi)
        assert heard == {(t == 0, p, s): v for t, p, s, v in zip(track, pitch, step, wanted, strict=True)}
    (again,) = ours.read(folder / "b.mid")
    assert torch.equal(again, x)
    assert torch.equal(ours.discretise(x[None])[0], x)


def test_bars_that_lack_rows_keep_velocities_and_have_none_there(tmp_path: Path) -> None:
    roll, velocities = np.zeros((2, 2, 24, 128), bool), np.zeros((2, 24, 128), np.uint8)
    for step, velocity in ((0, 30), (11, 66), (12, 85), (23, 120)):
        roll[1, :, step, 60] = True
        velocities[1, step, 60] = velocity
    tracks = [StoreTrack("Drums", 0, True), StoreTrack("Piano")]
    path = Pianoroll(roll, tracks, 4, metre=(3, 4), velocities=velocities).save(tmp_path / "waltz.mid")
    ours = domain(metre="4/4,3/4")
    (x,) = ours.read(path)
    gone = missing_rows(x)
    assert gone.nonzero()[:, 0].tolist() == [*range(12, 16), *range(28, 32)]
    (found,) = ours.pieces(x[None])
    assert found.metre == (3, 4)
    assert found.velocities is not None
    assert found.velocities[1, [0, 11, 12, 23], 60].tolist() == LOUD[1]
    assert torch.equal(ours.discretise(x[None])[0], x)
    assert ours.measures(x[None])["level/Piano"].counts.tolist() == [1, 1, 1, 1]


def test_louder_notes_are_louder_and_joined_pieces_keep_their_velocities() -> None:
    roll = np.zeros((1, 2, 8, 128), bool)
    roll[0, :, 0, 60] = True
    quiet, loud, unknown = (
        Pianoroll(roll, [StoreTrack("Piano")], 4, velocities=None if v is None else roll[:, 1].astype(np.uint8) * v)
        for v in (30, 110, None)
    )
    levels = [float(np.abs(piece.audio()[0]).max()) for piece in (quiet, unknown, loud)]
    assert levels[0] < 0.5 * levels[1] < levels[2]
    joined = quiet.then(unknown, loud)
    assert joined.velocities is not None
    assert joined.velocities[0, [0, 8, 16], 60].tolist() == [30, 0, 110]
    assert unknown.then(unknown).velocities is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"planes": "frame"}, "planes=frame\\+onset"),
        ({"given": []}, "needs given=any"),
        ({"given": ["Piano"]}, "needs given=any"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        domain(**options).spec  # noqa: B018


@pytest.mark.parametrize("velocities", [[1, 2, 3], [0, 1, 2, 3], [1, 2, 3, 128], "loud"])
def test_impossible_velocities_of_a_model_are_refused(velocities: Any) -> None:
    with pytest.raises(BadInput, match="track_list is invalid"):
        domain(track_list=[KNOWN[0], KNOWN[1] | {"velocities": velocities}])


def song(path: Path, seed: int) -> Path:
    """Eight bars in which beats are loud and all else is quiet."""
    rng = np.random.default_rng(seed)
    file = mido.MidiFile(ticks_per_beat=480)
    for channel in (9, 0):
        events = mido.MidiTrack()
        for step in range(0, 128, 2):
            pitch = int(rng.integers(36, 40) if channel == 9 else rng.integers(60, 72))
            loud = 100 if step % 4 == 0 else 50
            events.append(mido.Message("note_on", channel=channel, note=pitch, velocity=loud, time=120))
            events.append(mido.Message("note_off", channel=channel, note=pitch, time=120))
        file.tracks.append(events)
    file.tracks[0][0].time = file.tracks[1][0].time = 0
    file.save(path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of such songs."""
    folder = tmp_path_factory.mktemp("songs")
    (folder / "midi").mkdir()
    for i in range(10):
        song(folder / "midi" / f"{i}.mid", i)
    musegen.train(
        "rnn_nade",
        "pianoroll",
        data=folder / "midi",
        out=folder / "run",
        steps=120,
        batch_size=16,
        learning_rate=0.01,
        device="cpu",
        **OPTIONS,
        bars=2,
        units=24,
        hidden=12,
        features=8,
        interval=6,
        lags=[1],
        dropout=0.0,
    )
    return folder / "run"


def velocities_of_beats(pieces: Sequence[Any]) -> tuple[list[int], list[int]]:
    """Velocities of notes on beats, and of others."""
    found: tuple[list[int], list[int]] = ([], [])
    for piece in pieces:
        for track, step, pitch in zip(*piece.roll[:, 1].nonzero(), strict=True):
            found[int(step % 4 != 0)].append(int(piece.velocities[track, step, pitch]))
    return found


def test_a_model_writes_what_it_learnt(trained: Path) -> None:
    model = musegen.load(trained)
    assert [track["velocities"][0::3] for track in model.config["track_list"]] == [[50, 100]] * 2
    on, off = velocities_of_beats(model.pieces(model.sample(8, seed=1)))
    assert np.mean(np.array(on) == 100) > 0.8
    assert np.mean(np.array(off) == 50) > 0.8


def test_new_notes_beside_a_given_piece_are_as_loud_as_the_model_says(trained: Path, tmp_path: Path) -> None:
    model, given = musegen.load(trained), song(tmp_path / "given.mid", 99)
    old = written(given)
    whole, writer = model.read_given(given)
    (piece,) = writer.pieces(torch.cat([whole, model.continue_(whole, 32, seed=1)[0]], 1)[None])
    new = written(piece.save(tmp_path / "continued.mid"))
    assert {key: v for key, v in new.items() if key[2] < 128} == old
    assert {v for key, v in new.items() if key[2] >= 128} == {50, 100}
    x, mask, writer = model.read_region(given, ["Piano"], (3, 4))
    assert torch.equal(x[mask], whole[mask])
    drawn = model.fill(x, mask, seed=2)
    assert torch.equal(drawn[0][mask], x[mask])
    (piece,) = writer.pieces(drawn)
    new = written(piece.save(tmp_path / "filled.mid"))
    inside = {key for key in new if not key[0] and 32 <= key[2] < 64}
    assert {key: v for key, v in new.items() if key not in inside} == {
        key: v for key, v in old.items() if key[0] or not 32 <= key[2] < 64
    }
    assert len(inside) > 4
    assert {new[key] for key in inside} <= {50, 100}


def test_measures_compare_levels_and_baselines_have_some(trained: Path) -> None:
    model = musegen.load(trained)
    data = model.data()
    assert data is not None
    real = model.examples(16, "train")
    assert real is not None
    found = compare(model.domain.measures(model.sample(16)), model.domain.measures(real.x))
    assert found["level/Piano/reference"] == pytest.approx(1.5)  # half of the notes have level 0, half level 3
    assert found["level/Piano/overlap"] > 0.85
    assert compare(model.domain.measures(real.x), model.domain.measures(real.x))["level/Drums/overlap"] == 1
    for x in model.domain.baselines(data.splits["train"], 4, 0).values():
        assert x.shape == (4, *model.domain.spec.shape)
        assert thermometer(x)
    plain = PianorollDomain(PianorollConfig())
    assert not any(
        "level" in name
        for name in plain.measures(plain.synthetic(4).splits["train"].gather(torch.arange(2), torch.Generator()).x)
    )


def thermometer(x: Tensor) -> bool:
    planes = x[:, FIRST:].unflatten(1, (2, 3))
    onset = torch.stack([x[:, channel] for channel in ONSETS.values()], 1)
    return bool((planes[:, :, 1:] <= planes[:, :, :-1]).all() and (planes[:, :, 0] <= onset).all())


def test_a_model_is_the_same_once_it_is_saved(trained: Path, tmp_path: Path) -> None:
    model = musegen.load(trained)
    model.save(tmp_path / "model.safetensors")
    again = musegen.load(tmp_path / "model.safetensors")
    assert torch.equal(again.sample(2, seed=3), model.sample(2, seed=3))
    x = again.sample(4, seed=3)
    assert thermometer(x)
    assert torch.equal(x[:2], again.sample(2, seed=3))
    few = again.accompany(x[0], 1, tracks=["Piano"])
    of_piano = [part == 1 for part in model.domain.spec.part_of]
    assert torch.equal(few[0][of_piano], x[0][of_piano])
    form = again.sample(1, n_steps=64, form="AA")
    assert thermometer(form)


def test_only_families_that_write_velocities_take_them(run: Run, trained: Path, tmp_path: Path) -> None:
    data = trained.parent / "midi"
    refused = run(
        "train",
        "vae",
        "pianoroll",
        data,
        "--out",
        tmp_path / "run",
        "--steps",
        1,
        "--set",
        "velocities=True",
        "--set",
        "given=any",
    )
    bad(refused, "velocities=True is for rnn_nade")


def test_typical_velocities_are_of_their_levels() -> None:
    assert level_of(np.array(TYPICAL)).tolist() == [0, 1, 2, 3]
