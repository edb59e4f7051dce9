"""From files of strangers to packed planes: exact on the grid, and no file does harm."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import re
import sys
import time
import zipfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import midi_files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from midi_files import header, midi, piece, track
from readers import HERE, notes_by_role, read_file

from musegen.data.bundled import bundled
from musegen.errors import BadInput
from musegen_pianoroll.reading import crew, worker
from musegen_pianoroll.reading.build import build_store
from musegen_pianoroll.reading.errors import MidiError
from musegen_pianoroll.reading.folder import find_files
from musegen_pianoroll.reading.options import Reading
from musegen_pianoroll.reading.piece import read_by, read_piece
from musegen_pianoroll.reading.quantise import Quantised, off_grid, quantise, tempo_map, to_steps
from musegen_pianoroll.reading.roles import track_specs
from musegen_pianoroll.reading.score import Score
from musegen_pianoroll.reading.worker import AT
from musegen_pianoroll.store.store import Store


def unpack(planes: np.ndarray) -> np.ndarray:
    """Packed ``(steps, tracks, 2, 16)`` → bool ``(steps, tracks, 2, 128)``."""
    return np.unpackbits(planes, axis=-1, bitorder="little").astype(bool)


# Damage


REFUSED = {
    "is no MIDI file": b"RIFF" + bytes(40),
    "ends inside its header": b"MThd\0\0\0\6\0\1",
    "no ticks per beat": header(1, division=0) + track([]),
    "type 2": header(2, kind=2) + track([]) + track([]),
}


def read_through_a_worker(tmp_path: Path, n: int, inputs: st.SearchStrategy[bytes]) -> Counter[str]:
    """What became of n damaged files, read in a worker, as in a build."""
    worker, path = crew.Worker(Reading(), tmp_path), tmp_path / "x.mid"
    reasons: Counter[str] = Counter()

    @settings(max_examples=n, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(inputs)
    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read_by(worker, path)
            reasons["read"] += 1
        except MidiError as error:
            reasons[error.reason] += 1
            assert "took longer" not in error.reason  # whatever is in a file, it takes no time

    try:
        read()
    finally:
        worker.close()
    return reasons


def test_damaged_files_cost_themselves_alone(tmp_path: Path) -> None:
    reasons = read_through_a_worker(tmp_path, 300, midi_files.mutated([piece(2), piece(1, 96)]))
    assert reasons["read"] > 100  # what is damaged costs itself, and not the file
    assert reasons["crashed the reader"] == 0


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(st.sampled_from([*REFUSED, "sound", "sound", "sound", "silent"]), min_size=1, max_size=20))
def test_files_of_a_part_do_not_touch_one_another(tmp_path: Path, kinds: list[str]) -> None:
    """Entries and notes of a part, read together and one by one."""
    contents = [
        piece(1, 96 + 24 * i, i) if kind == "sound" else midi([track([])]) if kind == "silent" else REFUSED[kind]
        for i, kind in enumerate(kinds)
    ]
    paths = [tmp_path / f"{i}.mid" for i in range(len(kinds))]
    for path, data in zip(paths, contents, strict=True):
        path.write_bytes(data)
    found = []
    for alone in (False, True):
        part = tmp_path / f"part-{alone}"
        request = {"read": [str(path) for path in paths], "refused": {}, "alone": alone, "part": str(part)}
        worker.read_part(request | {"reading": asdict(Reading()), "sources": False}, lambda *_: None)
        found.append((Path(f"{part}.json").read_bytes(), Path(f"{part}.notes").read_bytes()))
    assert found[0] == found[1]
    for kind, entry in zip(kinds, json.loads(found[0][0]), strict=True):
        if kind == "sound":
            assert entry["n_keys"] > 0
        else:
            assert re.search("no notes" if kind == "silent" else kind, entry["reason"])


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_ten_thousand_damaged_files(tmp_path: Path) -> None:
    originals = [p.read_bytes() for p in sorted(bundled("freedoom").glob("*.mid"))[:4]] + [piece(2)]
    reasons = read_through_a_worker(tmp_path, 10_000, st.one_of(midi_files.structured(), midi_files.mutated(originals)))
    print(dict(reasons.most_common()))
    assert reasons["read"] > 1000
    assert reasons["crashed the reader"] == 0


# The grid


@st.composite
def scores(draw: st.DrawFn) -> tuple[int, int, list[list[tuple[int, int, int]]]]:
    """Steps per beat, ticks per step, and notes of two tracks on the grid (start, end, pitch in steps)."""
    steps_per_beat = draw(st.sampled_from([1, 2, 3, 4, 6, 8, 12, 24]))
    note = st.tuples(st.integers(0, 30), st.integers(1, 9), st.integers(0, 127)).map(
        lambda n: (n[0], n[0] + n[1], n[2])
    )
    return steps_per_beat, draw(st.integers(1, 20)), [draw(st.lists(note, min_size=1, max_size=14)) for _ in range(2)]


def slow_planes(notes: list[tuple[int, int, int]], n_steps: int, drums: bool) -> np.ndarray:
    """The rules of ``quantise``, note by note."""
    planes = np.zeros((n_steps, 2, 128), bool)
    for pitch in {p for _, _, p in notes}:
        starts = sorted({s for s, _, p in notes if p == pitch})
        for i, start in enumerate(starts):
            end = start + 1 if drums else max(e for s, e, p in notes if p == pitch and s == start)
            end = min(end, starts[i + 1]) if i + 1 < len(starts) else end
            planes[start:end, 0, pitch] = True
            planes[start, 1, pitch] = True
    return planes


@settings(deadline=None, max_examples=150)
@given(scores())
def test_notes_on_the_grid_are_exact(score: tuple[int, int, list[list[tuple[int, int, int]]]]) -> None:
    steps_per_beat, ticks_per_step, tracks = score
    arrays = [np.array([(s * ticks_per_step, e * ticks_per_step, p) for s, e, p in notes]) for notes in tracks]
    song = Score(ticks_per_step * steps_per_beat, [], [], [])
    (found,) = quantise([(HERE, song, list(enumerate(arrays)))], [False, True], Reading(steps_per_beat=steps_per_beat))
    planes = unpack(found.planes)
    for t, (notes, is_drum) in enumerate(zip(tracks, (False, True), strict=True)):
        np.testing.assert_array_equal(planes[:, t], slow_planes(notes, len(planes), is_drum))
    assert found.n_notes == [len({(s, p) for s, _, p in notes}) for notes in tracks]
    bar = 4 * steps_per_beat
    assert len(planes) % bar == 0
    assert found.grid.segments == [[0, len(planes) // bar, 4, 4]]


@given(st.integers(0, 10**6), st.integers(1, 96), st.integers(1, 960))
def test_rounding_is_to_the_nearest_step_halves_up(tick: int, steps: int, ticks_per_beat: int) -> None:
    from fractions import Fraction
    from math import floor

    exact = Fraction(tick * steps, ticks_per_beat)
    assert int(to_steps(np.array(tick), steps, ticks_per_beat)) == floor(exact + Fraction(1, 2))


def grid(
    changes: list[tuple[int, int, int]], length: int, end: int = 0, ticks_per_beat: int = 48, **options: Any
) -> Quantised:
    """A piece of one note of so many ticks."""
    song = Score(ticks_per_beat, [], changes, [], end)
    (found,) = quantise([(HERE, song, [(0, np.array([[0, length, 60]]))])], [False], Reading(**options))
    return found


def test_metres_bars_and_changes_in_the_middle_of_a_bar() -> None:
    # 48 ticks per beat, 4 steps per beat: 3/4 from step 16 (bar 2) on, 6/8 from step 34, inside the second bar of 3/4.
    found = grid([(0, 4, 4), (48 * 4, 3, 4), (48 * 8 + 24, 6, 8)], 48 * 20).grid
    assert (found.segments, found.n_odd) == ([[0, 1, 4, 4], [16, 1, 3, 4], [34, 4, 6, 8]], 1)
    # A bar that is no whole number of steps belongs to no stretch, and is counted.
    assert grid([(0, 7, 8)], 48 * 20, steps_per_beat=1).grid.segments == []
    assert grid([(0, 7, 8)], 48 * 20, steps_per_beat=1).grid.n_odd == 6
    odd = grid([(0, 4, 4), (192, 13, 32), (192 + 78, 4, 4)], 192 * 3).grid
    assert (odd.segments, odd.n_odd) == ([[0, 1, 4, 4], [23, 2, 4, 4]], 1)
    with pytest.raises(MidiError, match="no notes for these tracks"):
        quantise([(HERE, Score(48, [], [], []), [])], [False], Reading())


def test_a_metre_said_again_is_no_change() -> None:
    said = [(48 * 4 * i, 4, 4) for i in range(16)]
    assert grid(said, 48 * 64).grid.segments == [[0, 16, 4, 4]]
    beats = [(48 * i, 1, 4) for i in range(64)]
    assert grid(beats, 48 * 64).grid.segments == [[0, 64, 1, 4]]
    # In the middle of a bar it begins a new one.
    assert grid([(0, 4, 4), (48 * 6, 4, 4)], 48 * 14).grid.segments == [[0, 1, 4, 4], [24, 2, 4, 4]]
    # Of several at one tick the last counts.
    assert grid([(0, 3, 4), (0, 4, 4)], 48 * 8).grid.segments == [[0, 2, 4, 4]]


def test_the_metre_of_a_file_can_be_set_aside() -> None:
    said = [(0, 3, 4), (48 * 3, 2, 4), (48 * 5, 7, 8)]
    assert grid(said, 48 * 16, file_metre="4/4").grid.segments == [[0, 4, 4, 4]]
    with pytest.raises(BadInput, match='file_metre="four" is no time signature'):
        Reading(file_metre="four")


def test_a_piece_ends_where_its_file_does() -> None:
    assert grid([], 48 * 12, end=48 * 16).grid.segments == [[0, 4, 4, 4]]
    assert grid([], 48 * 12, end=48 * 16 + 1).grid.n_steps == 64  # less than half a step is no bar
    assert grid([], 48 * 17, end=48 * 16).grid.n_steps == 80
    # Files go on for hours that nobody hears.
    long = grid([], 48 * 8, end=48 * 4 * 1000).grid
    assert (long.segments, long.mended) == ([[0, 2, 4, 4]], ("a rest of 998 bars at the end, which is left out",))
    assert grid([], 48 * 8, end=48 * 4 * 18).grid.segments == [[0, 18, 4, 4]]


def test_tempo_maps() -> None:
    def tempos(*changes: tuple[int, float]) -> list[list[float]]:
        return tempo_map(Score(48, list(changes), [], []), 4)

    assert tempos() == [[0, 120.0]]
    assert tempos((0, 100.0), (96, 90.0)) == [[0, 100.0], [8, 90.0]]
    assert tempos((96, 60.0)) == [[0, 120.0], [8, 60.0]]  # 120 until the first, says the standard
    assert tempos((0, 70.0), (0, 80.0), (0, 90.0)) == [[0, 90.0]]
    assert tempos((0, 90.0), (48, 90.0)) == [[0, 90.0]]
    assert tempos((0, 90.0), (48, 1e-300), (96, 6e7)) == [[0, 90.0]]


def test_onsets_off_the_grid_are_counted() -> None:
    def off(*ticks: int) -> list[int]:
        return off_grid(np.array(ticks), 480)

    assert off(0, 120, 240, 360, 480) == [0, 2, 0, 0]  # sixteenths: at 6 steps two of them lie between
    assert off(0, 160, 320) == [2, 0, 2, 0]  # triplets
    # At 4 steps per beat a step is 120 ticks: 24 are a fifth.
    assert off(24)[0] == 0
    assert off(25)[0] == 1
    assert off(480 * 1000 - 24, 480 * 1000 - 25)[0] == 1


# Roles


def test_band_roles_follow_lpd_5() -> None:
    programs = {0: 1, 7: 1, 24: 2, 31: 2, 32: 3, 39: 3, 8: 4, 48: 4, 40: 4, 127: 4}
    data = midi([track([(0, 10, 60 + i)], 0, program) for i, program in enumerate(programs)] + [track([(0, 9, 36)], 9)])
    notes, seen = notes_by_role(data, "band")
    for i, role in enumerate(programs.values()):
        assert 60 + i in notes[role][:, 2]
    assert notes[0][:, 2].tolist() == [36]
    assert seen[1] == [0, 7]


def test_voices_follow_the_order_of_sounding_tracks() -> None:
    data = midi([track([]), *(track([(0, 10, 72 - 5 * i)]) for i in range(5))])
    notes, _ = notes_by_role(data, "voices")
    assert [n[:, 2].tolist() for n in notes] == [[72], [67], [62], [57]]


def test_a_mapping_of_ones_own() -> None:
    mapping = {
        "Beat": {"drums": True},
        "Lead": {"programs": ["80-87", 73], "program": 81},
        "Choir": {"names": ["choir", "voice"]},
    }
    assert [(t.name, t.program, t.is_drum) for t in track_specs(mapping)] == [
        ("Beat", 0, True),
        ("Lead", 81, False),
        ("Choir", 0, False),
    ]
    data = midi(
        [
            track([(0, 10, 60)], 0, 83),
            track([(0, 10, 61)], 1, 73),
            track([(0, 10, 62)], 2, 80, name="Boys CHOIR"),  # the name is the user's explicit word
            track([(0, 10, 63)], 3, 5),
            track([(0, 10, 36)], 9),
        ]
    )
    notes, _ = notes_by_role(data, mapping)
    assert [sorted(n[:, 2].tolist()) for n in notes] == [[36], [60, 61], [62]]


@pytest.mark.parametrize(
    ("tracks", "message"),
    [
        ("bend", 'Did you mean "band"'),
        ({}, "0 entries"),
        ({f"t{i}": {} for i in range(17)}, "17 entries"),
        ({"a": 3}, "must be a mapping"),
        ({"a": {"program": 200}}, "0 to 127"),
        ({"a": {"programs": ["x"]}}, "numbers or ranges"),
        ({"a": {"programs": [300]}}, "outside 0 to 127"),
        ({"a": {"progams": [3]}}, 'Did you mean "programs"'),
    ],
)
def test_bad_mappings_are_refused(tracks: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        track_specs(tracks)


# Building


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    songs = tmp_path / "songs"
    (songs / "deep" / "er").mkdir(parents=True)
    for i in range(5):
        (songs / "deep" / f"{i}.mid").write_bytes(piece(4, transpose=i))
    (songs / "deep" / "er" / "x.MIDI").write_bytes(piece(4, transpose=7))
    return songs


def test_a_store_holds_the_pieces_and_says_what_was_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.mid").write_bytes(b"MThd")
    (folder / "copy.mid").write_bytes(piece(4, transpose=2))
    (folder / ".hidden.mid").write_bytes(b"")
    (folder / "notes.txt").write_text("not music")
    report = build_store(folder, tmp_path / "store", workers=2)
    store = Store.open(tmp_path / "store")
    assert report.n_read == len(store.pieces) == 6
    assert [p.source for p in store.pieces][:2] == ["copy.mid", "deep/0.mid"]
    assert store.skipped() == [("broken.mid", "ends inside its header"), ("deep/2.mid", "same as copy.mid")]
    assert store.skipped() == report.skipped
    for stored in store.pieces:
        planes, known = read_piece(folder / stored.source, Reading())
        np.testing.assert_array_equal(store.planes[stored.first_step : stored.first_step + stored.n_steps], planes)
        assert (stored.segments, stored.tempo_bpm) == (known["segments"], known["tempo_bpm"])
    assert Counter(p.split for p in store.pieces) == {"train": 4, "valid": 1, "test": 1}


def test_the_number_of_workers_does_not_change_the_store(folder: Path, tmp_path: Path) -> None:
    contents = []
    for workers in (1, 3):
        out = tmp_path / f"store{workers}"
        build_store(folder, out, workers=workers)
        contents.append({p.name: p.read_bytes() for p in out.iterdir()})
    assert contents[0] == contents[1]


def test_a_split_is_by_piece_and_does_not_depend_on_names(folder: Path, tmp_path: Path) -> None:
    build_store(folder, tmp_path / "one")
    for i, path in enumerate(sorted(folder.rglob("*.mid"))):
        path.rename(folder / f"z{9 - i}.mid")
    build_store(folder, tmp_path / "two")
    split = [{p.sha256: p.split for p in Store.open(tmp_path / name).pieces} for name in ("one", "two")]
    assert split[0] == split[1]


CRASHING = """
import sys, time
import musegen_pianoroll.reading.worker as worker
real = worker.interpret
def interpret(files, *rest):
    names = " ".join(path.name for path, _ in files)
    if "crash" in names:
        import os; os.kill(os.getpid(), 11)
    if "hang" in names:
        time.sleep(3600)
    if "print" in names:
        import os; os.write(1, b"noise from a parser"); print("more noise")
    if "huge" in names:
        raise MemoryError
    return real(files, *rest)
worker.interpret = interpret
worker.main()
"""


def test_a_crash_or_a_hang_costs_one_file(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "WORKER", CRASHING)
    monkeypatch.setattr(crew, "TIMEOUT_S", 3.0)
    for i, name in enumerate(("crash", "hang", "huge", "print")):
        (folder / "deep" / f"1{name}.mid").write_bytes(piece(4, transpose=8 + i))
    report = build_store(folder, tmp_path / "store", workers=1)
    assert report.skipped == [
        ("deep/1crash.mid", "crashed the reader"),
        ("deep/1hang.mid", "took longer than 3 s to read"),
        ("deep/1huge.mid", "needs too much memory"),
    ]
    assert report.n_read == 7  # what was printed did not disturb the answer


def test_a_process_that_starts_slowly_is_waited_for(tmp_path: Path) -> None:
    worker = crew.Worker(Reading(), tmp_path)
    ended: list[bool] = []
    worker.process = SimpleNamespace(kill=lambda: ended.append(True))  # type: ignore[assignment]
    for at, late in (((0, 0), False), ((0, 1), True)):
        worker.progress.write_bytes(AT.pack(*at))
        worker.since = time.monotonic()
        worker.look()
        worker.since -= 10 * crew.TIMEOUT_S
        worker.look()
        assert (worker.late, bool(ended)) == (late, late)


WATCHED = """
import os, sys
def watch(event, arguments, log=os.open({log!r}, os.O_WRONLY | os.O_APPEND)):
    if event == "open" and str(arguments[0]).endswith(".mid"):
        os.write(log, os.fsencode(arguments[0]) + b"\\n")
sys.addaudithook(watch)
import musegen_pianoroll.reading.worker as worker
worker.main()
"""


def test_no_file_of_a_thousand_is_opened_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    songs, log = tmp_path / "songs", tmp_path / "log"
    songs.mkdir()
    log.write_text("")
    for i in range(1000):
        (songs / f"{i:04d}.mid").write_bytes(midi([track([(0, 480, 1 + i % 100), (480, 960, 1 + i // 100)])]))
    monkeypatch.setattr(crew, "WORKER", WATCHED.format(log=str(log)))
    opened_here: list[str] = []
    watching = True

    def watch(event: str, arguments: Any) -> None:
        if watching and event == "open" and str(arguments[0]).endswith(".mid"):
            opened_here.append(str(arguments[0]))

    sys.addaudithook(watch)
    report = build_store(songs, tmp_path / "store", workers=2)
    watching = False
    assert report.n_read == 1000
    opened = Counter(log.read_text().splitlines() + opened_here)
    assert len(opened) == 1000
    assert set(opened.values()) == {1}


def test_nothing_usable_leaves_nothing_behind(tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    songs.mkdir()
    with pytest.raises(BadInput, match="holds no MIDI files"):
        build_store(songs, tmp_path / "store")
    (songs / "a.mid").write_bytes(b"MThd")
    with pytest.raises(BadInput, match=r"None of the 1 files .* can be used: a.mid ends inside its header"):
        build_store(songs, tmp_path / "store")
    with pytest.raises(BadInput, match="does not exist"):
        build_store(tmp_path / "nowhere", tmp_path / "store")
    assert [p.name for p in tmp_path.iterdir()] == ["songs"]


def test_folders_without_permission_and_links_in_circles(folder: Path) -> None:
    (folder / "loop").symlink_to(folder)
    assert len(find_files(folder)[1]) == 6
    closed = folder / "closed"
    closed.mkdir()
    closed.chmod(0)
    try:
        assert len(find_files(folder)[1]) == 6
    finally:
        closed.chmod(0o700)


def test_an_unreadable_name_survives(tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    songs.mkdir()
    name = os.fsencode(songs) + b"/caf\xe9.mid"
    with open(name, "wb") as file:
        file.write(piece(4))
    report = build_store(songs, tmp_path / "store")
    assert report.n_read == 1
    assert os.fsencode(Store.open(tmp_path / "store").pieces[0].source) == b"caf\xe9.mid"


@pytest.mark.slow
def test_odd_and_malformed_files_of_others(shared_data: Path, tmp_path: Path) -> None:
    report = build_store(shared_data / "midi_tricky", tmp_path / "store")
    assert report.n_read > 0
    assert report.n_skipped > 0
    assert all(reason for _, reason in report.skipped)


# Lakh pianorolls


def test_lpd_files_of_pypianoroll(tmp_path: Path) -> None:
    import pypianoroll

    roll = np.zeros((96, 128), np.uint8)
    roll[0:24, 60] = 80
    roll[24:48, 60] = 100  # the same key again, louder: a note of its own
    roll[48:60, 64] = 64
    drums = np.zeros((96, 128), bool)
    drums[[0, 24, 48], 36] = True
    pypianoroll.Multitrack(
        resolution=24,
        tempo=np.full((96, 1), 90.0),
        tracks=[
            pypianoroll.StandardTrack("Keys", 3, False, roll),
            pypianoroll.BinaryTrack("Drums", 0, True, drums),
        ],
    ).save(tmp_path / "song.npz")
    piece_, known = read_file(tmp_path / "song.npz", "band", 4)
    planes = unpack(piece_.planes)
    assert known["programs"][1] == [3]
    assert piece_.tempos == [[0, 90.0]]
    assert np.argwhere(planes[:, 1, 1]).tolist() == [[0, 60], [4, 60], [8, 64]]
    assert planes[:8, 1, 0, 60].all()
    assert planes[8:10, 1, 0, 64].all()
    assert not planes[10:, 1, 0].any()
    assert np.argwhere(planes[:, 0, 1]).tolist() == [[0, 36], [4, 36], [8, 36]]


def lpd(info: Any, arrays: dict[str, np.ndarray | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("info.json", json.dumps(info))
        for name, array in arrays.items():
            content = io.BytesIO()
            if isinstance(array, bytes):
                content.write(array)
            else:
                np.save(content, array, allow_pickle=True)
            archive.writestr(f"{name}.npy", content.getvalue())
    return out.getvalue()


def sparse(**changes: Any) -> dict[str, np.ndarray | bytes]:
    parts: dict[str, Any] = {
        "data": np.array([80, 80], np.uint8),
        "indices": np.array([0, 1]),
        "indptr": np.array([0] * 61 + [2] * 68),
        "shape": np.array([96, 128]),
    }
    return {f"pianoroll_0_csc_{name}": value for name, value in (parts | changes).items()}


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("owned-by-a-pickle",)


INFO = {"beat_resolution": 24, "0": {"program": 0, "name": "a", "is_drum": False}}


def test_a_sound_matrix_by_hand(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(lpd(INFO, sparse()))
    piece_, _ = read_file(tmp_path / "a.npz", "band", 24)
    assert np.argwhere(unpack(piece_.planes)[:, 1, 0]).tolist() == [[0, 60], [1, 60]]


HOSTILE_LPD = {
    "no zip": b"PK\3\4 nothing",
    "no info": b"",
    "info of the wrong kind": lpd([1, 2], {}),
    "resolution of zero": lpd(INFO | {"beat_resolution": 0}, sparse()),
    "a terabyte": lpd(INFO, sparse(shape=np.array([2**40, 128]))),
    "rows outside": lpd(INFO, sparse(indices=np.array([0, 5000]))),
    "negative rows": lpd(INFO, sparse(indices=np.array([0, -5]))),
    "pointers backwards": lpd(INFO, sparse(indptr=np.array([0, 2, 1] + [2] * 126))),
    "too few pointers": lpd(INFO, sparse(indptr=np.array([0, 2]))),
    "unequal lengths": lpd(INFO, sparse(data=np.array([80], np.uint8))),
    "objects": lpd(INFO, sparse(data=np.array([Evil(), Evil()], object))),
    "pickle": lpd(INFO, sparse(data=pickle.dumps(Evil()))),
    "lying header": lpd(
        INFO,
        sparse(
            data=b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999,), }"
            + b" " * 50
            + b"\n"
        ),
    ),
    "three numbers of a shape": lpd(INFO, sparse(shape=np.array([96, 128, 3]))),
    "shape of text": lpd(INFO, sparse(shape=np.array(["96", "x"]))),
}


@pytest.mark.parametrize("kind", HOSTILE_LPD)
def test_hostile_lpd_files_are_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npz").write_bytes(HOSTILE_LPD[kind])
    with pytest.raises(MidiError):
        read_file(tmp_path / "a.npz", "band", 4)
    assert not (tmp_path / "owned-by-a-pickle").exists()


@settings(max_examples=150, deadline=None)
@given(midi_files.mutated([lpd(INFO, sparse())]))
def test_damaged_lpd_files_read_or_raise_midi_error(data: bytes) -> None:
    from musegen_pianoroll.reading.lpd import read_lpd

    with contextlib.suppress(MidiError):
        read_lpd(data, Path("a.npz"))
