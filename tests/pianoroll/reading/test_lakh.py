"""Lakh pianorolls and MuseGAN's training arrays: metre, tempo, length, and phrases apart from one another."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import midi_files
import numpy as np
import pypianoroll
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import read_file

from musegen.errors import BadInput
from musegen_pianoroll import Pianoroll
from musegen_pianoroll.reading import cutting
from musegen_pianoroll.reading.build import build_store
from musegen_pianoroll.reading.cutting import cut_array
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.lpd import read_npz
from musegen_pianoroll.reading.metres import metres_from_downbeats
from musegen_pianoroll.reading.score import Score
from musegen_pianoroll.reading.training_arrays import read_npy
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.store import Store

HERE = Path("a.npz")


def written(n_steps: int = 96, resolution: int = 24, **arrays: Any) -> bytes:
    """The bytes of a Lakh pianoroll: a note per quarter note, and arrays as they are given."""
    roll = np.zeros((n_steps, 128), np.uint8)
    for step in range(0, n_steps, resolution):
        roll[step : step + resolution - 1, 60] = 90
    content = io.BytesIO()
    pypianoroll.Multitrack(resolution=resolution, tracks=[pypianoroll.StandardTrack("Piano", 0, False, roll)]).save(
        content
    )
    with zipfile.ZipFile(content, "a") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.save(file, array)
    return content.getvalue()


def downbeats(n_steps: int, *steps: int) -> np.ndarray:
    """Per step whether a bar begins."""
    flags = np.zeros(n_steps, bool)
    flags[list(steps)] = True
    return flags


# Metre


@pytest.mark.parametrize(
    ("steps", "resolution", "metres"),
    [
        (range(0, 1152, 72), 24, [(0, 3, 4)]),
        (range(24, 792, 96), 24, [(0, 1, 4), (24, 4, 4)]),  # a pickup of one beat
        (range(0, 480, 60), 24, [(0, 5, 8)]),
        (range(0, 840, 42), 24, [(0, 7, 16)]),
        ([0, 96, 192, 264, 336], 24, [(0, 4, 4), (192, 3, 4)]),
        ([0, 16, 32, 44, 56, 72, 88], 4, [(0, 4, 4), (32, 3, 4), (56, 4, 4)]),
        ([0, 96, 192, 200, 296, 392], 24, [(0, 4, 4), (200, 4, 4)]),  # what is no bar belongs to none
        ([0], 24, [(0, 4, 4)]),
        ([24], 24, [(0, 1, 4), (24, 4, 4)]),
        ([7, 103, 199], 24, [(7, 4, 4)]),
        ([], 24, [(0, 4, 4)]),
    ],
)
@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, "column"])
def test_downbeats_give_bars(steps: Any, resolution: int, metres: Any, kind: Any) -> None:
    n_steps = 1200
    flags = downbeats(n_steps, *steps)
    flags = flags[:, None] if kind == "column" else flags.astype(kind)
    score = read_npz(written(n_steps, resolution, downbeat=flags), HERE)
    assert score.time_signatures == metres
    assert not score.mended


@pytest.mark.parametrize("flags", [np.ones(1200, bool), np.random.default_rng(0).random(1200) < 0.3])
def test_downbeats_that_make_no_bars_are_left_out_and_this_is_said(flags: np.ndarray) -> None:
    score = read_npz(written(1200, downbeat=flags), HERE)
    assert score.time_signatures == [(0, 4, 4)]
    assert score.mended == ("its downbeats make no bars, so 4/4 was taken",)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=60), st.integers(0, 200), st.integers(1, 48))
def test_any_downbeats_give_metres_in_order(gaps: list[int], first: int, resolution: int) -> None:
    ticks = first + np.cumsum([0, *gaps])
    metres = metres_from_downbeats(ticks, resolution)
    if metres is None:
        return
    assert len(metres) <= len(ticks) + 1
    assert all(n > 0 and d in (4, 8, 16) for _, n, d in metres)
    assert [t for t, *_ in metres] == sorted({t for t, *_ in metres})
    lengths = dict(zip(ticks.tolist(), gaps, strict=False))
    assert all(4 * n * resolution == d * lengths[t] for t, n, d in metres if t >= first and t in lengths)


# Tempo and length


@pytest.mark.parametrize("shape", [(96,), (96, 1)])
def test_the_whole_map_of_tempos_is_read(shape: tuple[int, ...]) -> None:
    tempo = np.repeat([90.0, 60.0, 60.0, 120.5], 24).reshape(shape)
    assert read_npz(written(tempo=tempo), HERE).tempos == [(0, 90.0), (24, 60.0), (72, 120.5)]


@pytest.mark.parametrize("bad", [1e-300, 0.0, -3.0, 0.5, 10_001.0, 1e300, np.inf, np.nan])
def test_impossible_tempos_are_left_out_and_this_is_said(bad: float, tmp_path: Path) -> None:
    tempo = np.full(96, 90.0)
    tempo[24:30] = bad
    score = read_npz(written(tempo=tempo), HERE)
    assert score.tempos == [(0, 90.0)]
    assert score.mended == ("tempos outside 1 to 10,000 beats per minute were left out, at 6 of 96 steps",)
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "a.npz").write_bytes(written(tempo=np.full(96, bad)))
    build_store(tmp_path / "songs", tmp_path / "store", workers=1)
    assert Store.open(tmp_path / "store").pieces[0].tempo_bpm == 120


def test_a_tempo_that_changes_all_the_time_is_read_once_per_beat() -> None:
    tempo = 100 + np.random.default_rng(0).random(24_000)
    score = read_npz(written(24_000, tempo=tempo), HERE)
    assert [tick for tick, _ in score.tempos] == list(range(0, 24_000, 24))
    assert score.tempos[7][1] == tempo[7 * 24]
    assert "one per beat" in score.mended[0]


def test_rests_at_the_end_belong_to_the_piece() -> None:
    assert read_npz(written(100), HERE).end == 100
    assert read_npz(written(100, downbeat=downbeats(192, 0, 96)), HERE).end == 192


# What musegen writes


METRES = [(4, 4), (3, 4), (6, 8), (12, 8), (2, 2), (5, 4), (7, 8)]


@st.composite
def pieces(draw: Any) -> Pianoroll:
    """Any piece: 1 to 3 tracks, 1 to 4 bars, notes that touch and notes of one step."""
    metre = draw(st.sampled_from(METRES))
    steps_per_beat = draw(st.sampled_from([2, 4, 6, 12, 24]))
    n_steps = draw(st.integers(1, 4)) * metre[0] * 4 * steps_per_beat // metre[1]
    tracks = draw(
        st.lists(st.builds(StoreTrack, st.text(max_size=5), st.integers(0, 127), st.booleans()), min_size=1, max_size=3)
    )
    roll = np.zeros((len(tracks), 2, n_steps, 128), bool)
    step = st.integers(0, n_steps - 1)
    for track, pitch, start, last in draw(
        st.lists(st.tuples(st.integers(0, len(tracks) - 1), st.integers(0, 127), step, step), max_size=20)
    ):
        roll[track, 0, start : last + 1, pitch] = True
        roll[track, 1, start, pitch] = start <= last
    roll[:, 1] &= roll[:, 0]
    return Pianoroll(roll, tracks, steps_per_beat, draw(st.floats(1, 10_000)), metre)


def notes_read(score: Score) -> list[list[int]]:
    """Rows of (track, pitch, start, end) of a score, sorted."""
    rows = [
        [track.number - 1, pitch, start, end] for track in score.tracks for start, end, pitch in track.notes.tolist()
    ]
    return sorted(rows)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces())
def test_a_piece_is_read_as_it_was_saved(tmp_path: Path, piece: Pianoroll) -> None:
    path = piece.save(tmp_path / "piece.npz")
    score = read_npz(path.read_bytes(), path)
    assert notes_read(score) == piece.notes.tolist()
    assert score.time_signatures == [(0, *piece.metre)]
    assert score.tempos == [(0, piece.tempo_bpm)]
    assert (score.ticks_per_beat, score.end, score.mended) == (piece.steps_per_beat, piece.roll.shape[2], ())
    assert [(t.name, t.program, t.is_drum) for t in score.tracks] == [
        (t.name, t.program, t.is_drum) for t in piece.tracks
    ]


def test_what_pypianoroll_saves_again_has_bars_of_the_same_length(tmp_path: Path) -> None:
    """6/8 and 3/4 have the same downbeats, and pypianoroll keeps nothing else: then it is 3/4."""
    roll = np.zeros((1, 2, 48, 128), bool)
    roll[0, :, ::12, 60] = True
    path = Pianoroll(roll, [StoreTrack("Piano")], 4, 90.0, (6, 8)).save(tmp_path / "a.npz")
    assert read_npz(path.read_bytes(), path).time_signatures == [(0, 6, 8)]
    pypianoroll.load(path).save(path)
    score = read_npz(path.read_bytes(), path)
    assert score.time_signatures == [(0, 3, 4)]
    assert notes_read(score) == [[0, 60, step, step + 1] for step in range(0, 48, 12)]


@pytest.mark.parametrize(
    "notes",
    [
        np.zeros((3, 3), int),
        np.array([[0, 128, 0, 1]]),
        np.array([[0, 60, -1, 1]]),
        np.array([[0, 60, 5, 5]]),
        np.array([[0, 60, 0, 2**40]]),
        np.array([[0.5, 60, 0, 1]]),
    ],
)
def test_a_table_of_notes_is_not_trusted(notes: np.ndarray) -> None:
    with pytest.raises(MidiError, match=r"damaged array notes\.npy"):
        read_npz(written(notes=notes), HERE)


# MuseGAN's training arrays


def phrases() -> np.ndarray:
    """Three phrases of four bars: (3, 4, 96, 84, 5)."""
    cells = np.zeros((3, 4, 96, 84, 5), bool)
    cells[:, :, ::24, 36, 1] = True  # a piano's C4 on every beat
    cells[1, :, :, 0, 3] = True  # a bass's C1 through all of the second phrase
    cells[1, 0, 0, 0, 3] = False
    cells[2, 0, 0, 0, 3] = True  # and at once in the third
    cells[0, 0, 0, 12, 0] = True  # a drum
    return cells


def npy(cells: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, cells)
    return content.getvalue()


def npz(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def sparse(cells: np.ndarray, **changes: Any) -> bytes:
    return npz(**({"shape": cells.shape, "nonzero": cells.nonzero()} | changes))


@pytest.mark.parametrize("form", ["npy", "columns first", "bytes", "npz"])
def test_phrases_are_read_as_music(form: str) -> None:
    cells = phrases()
    if form == "npz":
        score = read_npz(sparse(cells), HERE)
    else:
        kinds = {"npy": cells, "columns first": np.asfortranarray(cells), "bytes": cells.astype(np.uint8)}
        score = read_npy(npy(kinds[form]), Path("a.npy"))
    assert [(t.name, t.program, t.is_drum, t.number) for t in score.tracks] == [
        ("Drums", 0, True, 1),
        ("Piano", 0, False, 2),
        ("Guitar", 24, False, 3),
        ("Bass", 32, False, 4),
        ("Strings", 48, False, 5),
    ]
    drums, piano, guitar, bass, strings = (track.notes.tolist() for track in score.tracks)
    assert drums == [[0, 1, 36]]
    assert piano == [[24 * beat, 24 * beat + 1, 60] for beat in range(50) if beat not in (16, 33)]
    assert bass == [[409, 792, 24], [816, 817, 24]]  # a note ends with its phrase
    assert guitar == strings == []
    assert (score.ticks_per_beat, score.end) == (24, 3 * 384 + 2 * 24)
    assert score.tempos == [(0, 120.0)]
    assert score.sections == (0, 408, 816)
    assert score.time_signatures == [(0, 4, 4), (408, 4, 4), (816, 4, 4)]


@pytest.mark.parametrize("name", ["train_x.npy", "train_x_lpd_5_phr.npz"])
def test_no_window_reaches_from_one_phrase_into_the_next(name: str, tmp_path: Path) -> None:
    (tmp_path / "arrays").mkdir()
    (tmp_path / "arrays" / name).write_bytes(npy(phrases()) if name.endswith("npy") else sparse(phrases()))
    build_store(tmp_path / "arrays", tmp_path / "store", workers=1)
    store = Store.open(tmp_path / "store")
    assert store.pieces[0].segments == [[0, 4, 4, 4], [68, 4, 4, 4], [136, 4, 4, 4]]
    split = store.pieces[0].split
    assert store.windows(4, split=split).tolist() == [0, 68, 136]
    assert len(store.windows(2, split=split)) == 9
    assert store.pieces[0].n_notes == [1, 48, 0, 2, 0]


REFUSED = {
    "holds a \\(3, 2\\) of int64; of .npz": npz(a=np.zeros((3, 2), int)),
    "holds a \\(\\) of int64, b .* and 2 more; of": npz(**{name: np.array(1) for name in "abcdef"}),
    "holds arr_0 \\(1, 4, 96, 84, 5\\) of bool": npz(arr_0=np.zeros((1, 4, 96, 84, 5), bool)),
    "holds an array \\(3, 4, 96, 84\\); of": npz(shape=(3, 4, 96, 84), nonzero=np.zeros((4, 0), int)),
    "holds an array \\(3, 4, 96, 84, 8\\); of": npz(shape=(3, 4, 96, 84, 8), nonzero=np.zeros((5, 0), int)),
    "102,378 phrases, more than the 2,941": sparse(phrases(), shape=(102_378, 4, 96, 84, 5)),
    "more than the 0": sparse(phrases(), shape=(1, 2**40, 96, 84, 5)),
    "cells outside its array": sparse(phrases(), shape=(2, 4, 96, 84, 5)),
    "cells outside": sparse(phrases(), nonzero=np.full((5, 1), -1)),
    "damaged array nonzero": sparse(phrases(), nonzero=np.zeros((5, 2))),
    "damaged array nonzero.npy": sparse(phrases(), nonzero=np.zeros((4, 2), int)),
    "is no .npz file, or a damaged one": b"PK\3\4 nothing",
    "larger than 16 MB: if it is a training array, cut it": b"PK\3\4" + bytes(16 << 20),
    "no .npz file": npz(shape=np.array(["x"]), nonzero=np.zeros((5, 0), int)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_read_is_named(reason: str) -> None:
    with pytest.raises(MidiError, match=reason):
        read_npz(REFUSED[reason], HERE)


REFUSED_NPY = {
    "is an array \\(3, 2\\) of float64; of .npy files, MuseGAN's training arrays are read": npy(np.zeros((3, 2))),
    "is an array .* of float32": npy(np.zeros((1, 1, 4, 84, 5), np.float32)),
    "is no .npy file": b"\x93NUMPY nothing",
    "is no .npy file, or": b"",
    "larger than 16 MB": npy(phrases()) + bytes(16 << 20),
    "damaged array": npy(phrases())[:-1],
    "damaged array ": npy(phrases())[:128] + b"\1",
}


@pytest.mark.parametrize("reason", REFUSED_NPY)
def test_an_array_that_is_not_read_is_named(reason: str) -> None:
    with pytest.raises(MidiError, match=reason):
        read_npy(REFUSED_NPY[reason], Path("a.npy"))


@pytest.mark.parametrize("name", ["objects.npy", "objects.npz"])
def test_pickles_are_never_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, np.array([{}]), allow_pickle=True)
    else:
        np.savez(path, shape=np.array([{}], object), nonzero=np.array([{}], object), allow_pickle=True)
    with pytest.raises(MidiError, match=r"of object|damaged array"):
        read_file(path, "band", 4)


def test_a_claimed_size_costs_no_memory() -> None:
    header = b"{'descr': '|b1', 'fortran_order': False, 'shape': (9999999, 4, 96, 84, 5), }".ljust(117) + b"\n"
    tracemalloc.start()
    with pytest.raises(MidiError, match="damaged array"):
        read_npy(b"\x93NUMPY\x01\x00v\x00" + header + bytes(1000), Path("a.npy"))
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


@settings(max_examples=150, deadline=None)
@given(midi_files.mutated([sparse(phrases()), written(96, downbeat=downbeats(96, 0), tempo=np.full(96, 90.0))]))
def test_damaged_archives_read_or_raise_midi_error(data: bytes) -> None:
    with contextlib.suppress(MidiError):
        read_npz(data, HERE)


@settings(max_examples=150, deadline=None)
@given(midi_files.mutated([npy(np.ones((1, 1, 4, 84, 5), bool))]))
def test_damaged_arrays_read_or_raise_midi_error(data: bytes) -> None:
    with contextlib.suppress(MidiError):
        read_npy(data, Path("a.npy"))


# Large arrays, cut


@pytest.mark.parametrize("form", ["npy", "npz"])
@pytest.mark.parametrize("at_once", [1, 50, 1 << 20])
def test_a_cut_array_holds_the_same_phrases(
    form: str, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "CELLS_AT_ONCE", at_once)
    cells = np.zeros((7, 4, 96, 84, 5), bool)
    cells[np.arange(7), 1, 5, np.arange(7), 1] = True
    cells[3:5] = False  # phrases that are silent, one of them the only one of its file
    cells[0, :, ::8, 40, 3] = True
    source = tmp_path / f"train.{form}"
    source.write_bytes(npy(cells) if form == "npy" else sparse(cells))
    assert cut_array(source, tmp_path / "out", 2) == 4
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["0.npz", "2.npz", "4.npz", "6.npz"]
    with np.load(files[3]) as last:
        assert last["shape"].tolist() == [1, 4, 96, 84, 5]
    whole = read_npz(sparse(cells), HERE)
    parts = [(2 * i * 408, read_npz(file.read_bytes(), file)) for i, file in enumerate(files)]
    for track in range(5):
        together = np.concatenate([score.tracks[track].notes + np.array([start, start, 0]) for start, score in parts])
        assert sorted(together.tolist()) == sorted(whole.tracks[track].notes.tolist())
    with pytest.raises(BadInput, match="not empty"):
        cut_array(source, tmp_path / "out")


def test_what_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    unordered = np.array([[1, 0], [0, 0], [0, 0], [0, 0], [0, 0]])
    for i, (content, reason) in enumerate(
        [
            (npz(a=np.zeros(3)), "has no shape and nonzero"),
            (npz(shape=(3, 4), nonzero=np.zeros((5, 0), int)), r"holds an array \(3, 4\); MuseGAN's"),
            (sparse(phrases(), nonzero=unordered), "not in the order of its phrases"),
            (sparse(phrases(), nonzero=np.zeros((4, 2), int)), "damaged array nonzero"),
            (b"PK", "is damaged, or no file of arrays"),
        ]
    ):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(BadInput, match=reason):
            cut_array(tmp_path / "a.npz", tmp_path / f"out{i}")
    (tmp_path / "a.npz").write_bytes(sparse(phrases()))
    with pytest.raises(BadInput, match="--phrases 0 is invalid: use 1 to 2,941"):
        cut_array(tmp_path / "a.npz", tmp_path / "more", 0)
    with pytest.raises(BadInput, match="No such file"):
        cut_array(tmp_path / "nowhere.npz", tmp_path / "more")
