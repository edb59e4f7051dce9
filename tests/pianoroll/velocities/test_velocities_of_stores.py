"""Velocities in stores: every note has the level that its file says, and nothing else changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mido
import numpy as np
import pytest
import torch
from commands import Result, bad
from hypothesis import given, settings
from hypothesis import strategies as st

from musegen.errors import BadInput
from musegen_pianoroll.reading.build import build_store
from musegen_pianoroll.reading.options import Reading
from musegen_pianoroll.reading.piece import read_piece
from musegen_pianoroll.reading.quantise import _separate, from_keys, pack_notes, to_keys
from musegen_pianoroll.reading.roles import choose
from musegen_pianoroll.reading.score import Score, ScoreTrack
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.merge import merge_stores
from musegen_pianoroll.store.planes import mapped_planes
from musegen_pianoroll.store.store import Store
from musegen_pianoroll.store.velocities import THRESHOLDS, VELOCITY, level_of, loudness, typical
from musegen_pianoroll.writing.pianoroll import Pianoroll

Run = Callable[..., Result]
TRACKS = {"Drums": {"drums": True}, "Piano": {"programs": ["0-7"]}}
NOTES = st.lists(  # track, pitch, first step, steps, velocity
    st.tuples(st.integers(0, 1), st.integers(30, 40), st.integers(0, 30), st.integers(1, 9), st.integers(1, 127)),
    min_size=1,
    max_size=30,
)


def write(path: Path, notes: list[tuple[int, int, int, int, int]]) -> Path:
    """Notes of two tracks as a MIDI file, at four steps to a beat; each on a track of its own, so that none ends another."""
    file = mido.MidiFile(ticks_per_beat=480)
    for track, pitch, first, n, velocity in notes:
        events = mido.MidiTrack()
        channel = 9 if track == 0 else 0
        events.append(mido.Message("note_on", channel=channel, note=pitch, velocity=velocity, time=120 * first))
        events.append(mido.Message("note_off", channel=channel, note=pitch, time=120 * n))
        file.tracks.append(events)
    file.save(path)
    return path


def levels_of(planes: np.ndarray) -> np.ndarray:
    """Levels ``(steps, tracks, 128)`` of packed planes, which stand as on a thermometer."""
    cells = np.unpackbits(planes, axis=-1, bitorder="little").astype(bool)
    onset, above = cells[:, :, 1:2], cells[:, :, 2:]
    assert not (above & ~onset).any()  # only where a note begins
    assert not (above[:, :, 1:] & ~above[:, :, :-1]).any()
    return above.sum(2)


@settings(max_examples=8, deadline=None)
@given(notes=NOTES)
def test_every_note_has_its_level_and_notes_are_as_without(
    notes: list[tuple[int, int, int, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("velocities") / "a.mid", notes)
    plain, known = read_piece(path, Reading(TRACKS))
    planes, with_velocities = read_piece(path, Reading(TRACKS, velocities=True))
    assert planes.shape[2] == 5
    np.testing.assert_array_equal(planes[:, :, :2], plain)
    loud = with_velocities.pop("loudness")
    assert known == with_velocities | {"content": known["content"]}
    expected = np.zeros((len(planes), 2, 128), np.int64)
    longest: dict[tuple[int, int, int], tuple[int, int]] = {}
    for (
        track,
        pitch,
        first,
        n,
        velocity,
    ) in notes:  # of notes that begin together the longest stays, and then the loudest
        rank = (1 if track == 0 else n, int(np.searchsorted(THRESHOLDS, velocity)))
        longest[track, pitch, first] = max(longest.get((track, pitch, first), (0, 0)), rank)
    for (track, pitch, first), (_, level) in longest.items():
        expected[first, track, pitch] = level
    np.testing.assert_array_equal(levels_of(planes), expected)
    for track in (0, 1):
        own = [velocity for other, *_, velocity in notes if other == track]
        assert sum(loud[track][:4]) == len(own)
        assert sum(loud[track][4:]) == sum(own)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 15), st.integers(0, 127), st.integers(0, 2**22), st.integers(1, 2**22), st.integers(0, 3)
        ),
        max_size=9,
    )
)
def test_keys_hold_levels_and_sort_the_loudest_first(rows: list[tuple[int, int, int, int, int]]) -> None:
    table = np.array([(t, p, s, s + d, level) for t, p, s, d, level in rows], np.int64).reshape(-1, 5)
    keys = to_keys(table)
    np.testing.assert_array_equal(from_keys(keys, True), table)
    wanted = sorted(table.tolist(), key=lambda row: (*row[:3], -row[3], -row[4]))
    assert from_keys(np.sort(keys), True).tolist() == wanted
    np.testing.assert_array_equal(keys >> 2, to_keys(table[:, :4]))


@settings(deadline=None)
@given(NOTES, st.integers(1, 50))
def test_planes_of_levels_in_blocks_are_the_planes(notes: list[tuple[int, int, int, int, int]], block: int) -> None:
    table = np.array([(t, p, s, s + n, velocity % 4) for t, p, s, n, velocity in notes], np.int64)
    table = from_keys(_separate(to_keys(table), 2), True)
    whole = pack_notes(table, 60, 2)
    blocks = [pack_notes(table, min(block, 60 - first), 2, first) for first in range(0, 60, block)]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    np.testing.assert_array_equal(whole[:, :, :2], pack_notes(table[:, :4], 60, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("songs")
    for i in range(6):
        notes = [
            (int(t), int(p), int(s), 2, int(v)) for t, p, s, v in rng.integers([0, 30, 0, 1], [2, 60, 60, 128], (40, 4))
        ]
        write(folder / f"{i}.mid", notes)
    shutil.copy(folder / "0.mid", folder / "again.mid")  # whose velocities are not counted twice
    return folder


def files_of(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir()}


def test_shards_merged_are_the_store_and_notes_are_those_without_velocities(folder: Path, tmp_path: Path) -> None:
    build_store(folder, tmp_path / "whole", tracks=TRACKS, velocities=True, workers=1)
    for i in (1, 2, 3):
        build_store(folder, tmp_path / str(i), tracks=TRACKS, velocities=True, workers=1, shard=(i, 3))
    merge_stores([tmp_path / str(i) for i in (1, 2, 3)], tmp_path / "merged")
    assert files_of(tmp_path / "merged") == files_of(tmp_path / "whole")
    build_store(folder, tmp_path / "plain", tracks=TRACKS, workers=1)
    store, plain = Store.open(tmp_path / "whole"), Store.open(tmp_path / "plain")
    store.verify()
    assert store.has_velocities
    assert not plain.has_velocities
    assert store.summary() == plain.summary()
    assert torch.equal(mapped_planes(store, 2, tmp_path / "cache"), torch.from_numpy(plain.planes))
    assert torch.equal(mapped_planes(store, 5, tmp_path / "cache"), torch.from_numpy(store.planes))
    one = mapped_planes(store, 1, tmp_path / "cache"), mapped_planes(plain, 1, tmp_path / "other")
    assert torch.equal(*one)
    with pytest.raises(BadInput, match="differ in velocities: build them with the same options"):
        merge_stores([tmp_path / "whole", tmp_path / "plain"], tmp_path / "both")


def test_a_store_without_velocities_says_nothing_of_them(folder: Path, tmp_path: Path) -> None:
    build_store(folder, tmp_path / "plain", tracks=TRACKS, workers=1)
    index = json.loads((tmp_path / "plain" / "store.json").read_text())
    assert "planes_per_track" not in index
    assert "loudness" not in index["pieces"][0]


@pytest.mark.parametrize(
    "change",
    [
        {"planes_per_track": 4},
        {"planes_per_track": 2},
        {"planes_per_track": "5"},
        {"loudness": None},
        {"loudness": [[0] * 8]},
        {"loudness": [[0] * 8, [0] * 7]},
        {"loudness": [[0] * 8, [*[0] * 7, -1]]},
        {"loudness": [[0] * 8, [*[0] * 7, "many"]]},
    ],
)
def test_damaged_velocities_are_refused(folder: Path, tmp_path: Path, change: dict[str, object]) -> None:
    build_store(folder, tmp_path / "store", tracks=TRACKS, velocities=True, workers=1)
    file = tmp_path / "store" / "store.json"
    index = json.loads(file.read_text())
    (index if "planes_per_track" in change else index["pieces"][0]).update(change)
    file.write_text(json.dumps(index))
    with pytest.raises(BadInput, match="Build it again"):
        Store.open(tmp_path / "store")


def test_the_command_builds_with_velocities_and_info_says_so(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tracks.yaml").write_text(json.dumps(TRACKS))
    tracks = ("--tracks", tmp_path / "tracks.yaml")
    assert run("data", "build", "pianoroll", folder, *tracks, "--velocities", "--out", tmp_path / "store").code == 0
    assert Store.open(tmp_path / "store").has_velocities
    assert "in four levels" in run("data", "info", tmp_path / "store").out
    assert run("data", "build", "pianoroll", folder, *tracks, "--out", tmp_path / "plain").code == 0
    assert "in four levels" not in run("data", "info", tmp_path / "plain").out
    command = ("train", "rnn_nade", "pianoroll", tmp_path / "plain", "--out", tmp_path / "run", "--steps", 1)
    refused = run(*command, "--set", "velocities=True", "--set", "given=any")
    bad(refused, "has no velocities", "data build --velocities")


def test_a_line_out_of_a_part_keeps_its_velocities() -> None:
    chords = np.array([[480 * i, 480 * i + 480, pitch] for i in range(4) for pitch in (48, 60 + i)])
    part = ScoreTrack("Tune", 0, False, chords, 1, velocity=np.arange(10, 18))
    choice = choose(Score(480, [], [], [part]), "voices", ["Soprano"], track=1)
    ((_, table),) = choice.notes
    assert table[:, 2:].tolist() == [[60, 11], [61, 13], [62, 15], [63, 17]]


def test_levels_have_the_mean_velocity_of_their_notes() -> None:
    velocity, track = np.array([10, 20, 64, 90, 91]), np.array([0, 0, 0, 1, 1])
    sums = loudness(velocity, track, 3).tolist()
    assert sums == [[2, 1, 0, 0, 30, 64, 0, 0], [0, 0, 2, 0, 0, 0, 181, 0], [0] * 8]
    found = typical([sums, sums], 3)
    assert found == [[15, 64, 90, 104], [15, 64, 90, 104], [15, 64, 90, 104]]
    assert typical([loudness(np.array([40, 100]), np.array([0, 1]), 2)], 2) == [[40, 72, 88, 100]] * 2
    levels = np.arange(4)
    assert level_of(np.array(typical([], 1)[0])).tolist() == levels.tolist()


def test_lakh_pianorolls_tell_velocities_too(tmp_path: Path) -> None:
    roll = np.zeros((2, 2, 16, 128), bool)
    velocities = np.zeros((2, 16, 128), np.uint8)
    for track, pitch, first, last, velocity in [
        (0, 36, 0, 1, 100),
        (1, 60, 0, 4, 30),
        (1, 60, 4, 5, 70),
        (1, 60, 5, 9, 90),
    ]:
        roll[track, 0, first:last, pitch] = roll[track, 1, first, pitch] = True
        velocities[track, first, pitch] = velocity
    tracks = [StoreTrack("Drums", 0, True), StoreTrack("Piano")]
    Pianoroll(roll, tracks, 4, velocities=velocities).save(tmp_path / "a.npz")
    planes, _ = read_piece(tmp_path / "a.npz", Reading(TRACKS, velocities=True))
    found = levels_of(planes)
    assert [int(found[step, track, pitch]) for track, step, pitch in [(0, 0, 36), (1, 0, 60), (1, 4, 60), (1, 5, 60)]] == [
        3, 0, 1, 2,
    ]  # fmt: skip
    Pianoroll(roll, tracks, 4).save(tmp_path / "b.npz")  # which tells none
    planes, _ = read_piece(tmp_path / "b.npz", Reading(TRACKS, velocities=True))
    on = np.unpackbits(planes[:, :, 1], axis=-1, bitorder="little") > 0
    assert (levels_of(planes)[on] == level_of(np.array(VELOCITY))).all()
