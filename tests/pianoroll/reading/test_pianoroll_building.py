"""Building large stores: fast ways give what slow ways give, and parts, shards and interruptions leave no trace in the store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_files import midi, piece, track

from musegen.errors import BadInput
from musegen.folders import Claim
from musegen.reporting import listening
from musegen_pianoroll.reading import crew, parts
from musegen_pianoroll.reading.build import build_store
from musegen_pianoroll.reading.crew import Stopped
from musegen_pianoroll.reading.quantise import from_keys, pack_notes, to_keys
from musegen_pianoroll.store.merge import merge_stores
from musegen_pianoroll.store.store import Store

Run = Callable[..., object]
# Notes as integers, planes in blocks


@given(
    st.lists(
        st.tuples(st.integers(0, 15), st.integers(0, 127), st.integers(0, 2**22), st.integers(1, 2**22)), max_size=9
    )
)
def test_keys_hold_notes_and_sort_them(rows: list[tuple[int, int, int, int]]) -> None:
    table = np.array([(t, p, s, s + d) for t, p, s, d in rows], np.int64).reshape(-1, 4)
    keys = to_keys(table)
    np.testing.assert_array_equal(from_keys(keys), table)
    assert from_keys(np.sort(keys)).tolist() == sorted(table.tolist(), key=lambda r: (*r[:3], -r[3]))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 127), st.integers(0, 40), st.integers(1, 30)), max_size=20),
    st.integers(1, 50),
)
def test_planes_in_blocks_are_the_planes(rows: list[tuple[int, int, int, int]], block: int) -> None:
    from musegen_pianoroll.reading.quantise import _separate

    table = np.array([(t, p, s, s + d) for t, p, s, d in rows], np.int64).reshape(-1, 4)
    table = from_keys(_separate(to_keys(table)))
    expected = np.zeros((80, 2, 2, 128), bool)
    for t, p, s, e in table:
        expected[s:e, t, 0, p] = True
        expected[s, t, 1, p] = True
    whole = pack_notes(table, 80, 2)
    np.testing.assert_array_equal(np.unpackbits(whole, axis=-1, bitorder="little").astype(bool), expected)
    blocks = [pack_notes(table, min(block, 80 - first), 2, first) for first in range(0, 80, block)]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


# Parts, shards, interruptions


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_FILES", 2)


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Eleven files: doubles far apart, a broken one, names that are hard to write down."""
    folder = tmp_path / "songs"
    (folder / "a b").mkdir(parents=True)
    for i, name in enumerate(
        ["b.mid", "a b/x.mid", "a.mid", 'c, "d".mid', "e\r\nf.mid", os.fsdecode(b"g\xe9.mid"), "same as b.mid", "z.mid"]
    ):
        (folder / name).write_bytes(piece(2 + i % 3, transpose=i))
    (folder / "y.mid").write_bytes(piece(2 + 2 % 3, transpose=2))
    (folder / "aa.mid").write_bytes(piece(2 + 2 % 3, transpose=2))
    (folder / "broken.mid").write_bytes(b"MThd")
    return folder


def contents(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir()}


# With 12, one is empty and one holds nothing that can be used.
@pytest.mark.parametrize("n", [3, pytest.param(12, marks=pytest.mark.slow)])
def test_shards_merged_are_one_build(n: int, songs: Path, tmp_path: Path) -> None:
    build_store(songs, tmp_path / "one", workers=2)
    shards = [tmp_path / f"shard{i}" for i in range(1, n + 1)]
    for i, shard in enumerate(shards, 1):
        build_store(songs, shard, workers=1, shard=(i, n))
    assert merge_stores(shards[::-1], tmp_path / "all") == (8, 3)
    assert contents(tmp_path / "all") == contents(tmp_path / "one")
    reasons = dict(Store.open(tmp_path / "one").skipped())
    assert reasons == {"broken.mid": "ends inside its header", "aa.mid": "same as a.mid", "y.mid": "same as a.mid"}


def test_what_does_not_belong_together_is_not_merged(songs: Path, tmp_path: Path, run: Run) -> None:
    for i in (1, 2):
        build_store(songs, tmp_path / f"s{i}", workers=1, shard=(i, 2))
    build_store(songs, tmp_path / "fine", workers=1, steps_per_beat=8)
    one, two = tmp_path / "s1", tmp_path / "s2"
    for stores, message in (
        ([], "name the stores"),
        ([one], "Shard 2/2 is missing"),
        ([one, two, two], "3 stores for 2 shards"),
        ([one, tmp_path / "fine"], "differ in steps_per_beat"),
        ([one, tmp_path / "none"], "There is no store"),
    ):
        with pytest.raises(BadInput, match=message):
            merge_stores(stores, tmp_path / "out")
    (songs / "new.mid").write_bytes(piece(3))
    build_store(songs, tmp_path / "later", workers=1, shard=(2, 2))
    with pytest.raises(BadInput, match="not shards of one folder"):
        merge_stores([one, tmp_path / "later"], tmp_path / "out")
    with pytest.raises(BadInput, match="Shard 3/2 does not exist"):
        build_store(songs, tmp_path / "out", shard=(3, 2))
    assert not (tmp_path / "out").exists()


KILLED = """
import os, sys
from pathlib import Path
from musegen_pianoroll.reading import build, parts
parts.PART_FILES = 2
from musegen.reporting import listening
def progress(what, done, total, unit):
    if what == "Reading" and done >= 4: os.kill(os.getpid(), 9)
with listening(progress):
    build.build_store(Path(sys.argv[1]), Path(sys.argv[2]), workers=1)
"""
LOGGED = """
import os, sys
def watch(event, arguments, log=os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)):
    if event == "open" and str(arguments[0]).endswith(".mid"):
        os.write(log, os.fsencode(arguments[0]) + b"\\0")
sys.addaudithook(watch)
import musegen_pianoroll.reading.worker as worker
worker.main()
"""


@pytest.mark.parametrize("how", ["kill -9", "Ctrl-C"])
def test_an_interrupted_build_goes_on_where_it_was(
    how: str, songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_store(songs, tmp_path / "one", workers=1)
    out, log = tmp_path / "two", tmp_path / "log"

    def interrupt(what: str, done: int, total: int, unit: str) -> None:
        if what == "Reading" and done >= 4:
            raise KeyboardInterrupt

    if how == "Ctrl-C":
        with pytest.raises(KeyboardInterrupt), listening(interrupt):
            build_store(songs, out, workers=1)
    else:
        killed = subprocess.run([sys.executable, "-c", KILLED, songs, out], check=False)
        assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    kept = 2 * len(list((tmp_path / "two.building").glob("*.json")))
    assert kept >= 4
    monkeypatch.setattr(crew, "WORKER", LOGGED.format(log=str(log)))
    build_store(songs, out, workers=2)
    assert log.read_bytes().count(b"\0") == 11 - min(kept, 11)
    assert contents(out) == contents(tmp_path / "one")
    assert not (tmp_path / "two.building").exists()


def test_changed_files_and_options_are_read_anew(songs: Path, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int, unit: str) -> None:
        if what == "Reading" and done == total:
            raise KeyboardInterrupt

    for _ in range(2):  # everything is read, nothing is written
        with pytest.raises(KeyboardInterrupt), listening(interrupt):
            build_store(songs, tmp_path / "two", workers=1)
    (songs / "a.mid").write_bytes(piece(5, transpose=9))
    damaged = sorted((tmp_path / "two.building").glob("*.json"))[0]
    damaged.write_text("[{")
    build_store(songs, tmp_path / "two", workers=1)
    build_store(songs, tmp_path / "one", workers=1)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    with pytest.raises(KeyboardInterrupt), listening(interrupt):
        build_store(songs, tmp_path / "three", workers=1)
    build_store(songs, tmp_path / "three", workers=1, steps_per_beat=12)
    assert Store.open(tmp_path / "three").steps_per_beat == 12
    build_store(songs, tmp_path / "one", workers=1, steps_per_beat=12, overwrite=True)
    assert contents(tmp_path / "three") == contents(tmp_path / "one")


def test_a_part_whose_notes_changed_is_not_written(songs: Path, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int, unit: str) -> None:
        if what == "Reading" and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listening(interrupt):
        build_store(songs, tmp_path / "two", workers=1)
    notes = max((tmp_path / "two.building").glob("*.notes"), key=lambda path: path.stat().st_size)
    content = bytearray(notes.read_bytes())
    content[len(content) // 4] ^= 1
    notes.write_bytes(content)
    with pytest.raises(BadInput, match="build again"):
        build_store(songs, tmp_path / "two", workers=1)
    build_store(songs, tmp_path / "two", workers=1)
    build_store(songs, tmp_path / "one", workers=1)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_two_processes_do_not_build_the_same_store(songs: Path, tmp_path: Path) -> None:
    busy = rf"The store .*two is being written by process {os.getpid()} on \S+: wait until it is done, or stop it"
    with Claim(tmp_path / "two.building", "another"), pytest.raises(BadInput, match=busy):
        build_store(songs, tmp_path / "two")


def test_a_reader_stopped_from_outside_is_no_fault_of_the_file(
    songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = "import sys, os; sys.stdin.readline(); os.kill(os.getpid(), 15)"
    monkeypatch.setattr(crew, "WORKER", stopped)
    with pytest.raises(Stopped, match="the same command goes on"):
        build_store(songs, tmp_path / "two", workers=1)
    assert not list((tmp_path / "two.building").glob("*.json"))


def test_a_crash_among_others_costs_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "songs"
    folder.mkdir()
    for i in range(9):
        (folder / f"{i}{'crash' * (i in (1, 2, 7))}.mid").write_bytes(midi([track([(0, 480, 40 + i)])]))
    crashing = """
import os, musegen_pianoroll.reading.worker as worker
real = worker.interpret
def interpret(files, *rest):
    if any("crash" in path.name for path, _ in files): os.kill(os.getpid(), 11)
    return real(files, *rest)
worker.interpret = interpret
worker.main()
"""
    monkeypatch.setattr(crew, "WORKER", crashing)
    monkeypatch.setattr(parts, "PART_FILES", 5)
    report = build_store(folder, tmp_path / "store", workers=2)
    assert report.skipped == [(f"{i}crash.mid", "crashed the reader") for i in (1, 2, 7)]
    assert [p.source for p in Store.open(tmp_path / "store").pieces] == [f"{i}.mid" for i in (0, 3, 4, 5, 6, 8)]


def test_the_commands(songs: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for i in (1, 2):
        assert (
            run("data", "build", "pianoroll", songs, "--out", f"s{i}", "--shard", f"{i}/2", "--workers", "1").code == 0
        )
    merged = run("data", "merge", "s1", "s2", "--out", "all")
    assert (merged.code, merged.out) == (0, "8 pieces in all; 3 files left out.\n")
    assert run("data", "merge", "s1", "s2", "--out", "all").code == 2
    refused = run("data", "build", "pianoroll", songs, "--out", "x", "--shard", "one")
    assert refused.code == 2
    assert "write 1/4" in refused.err
    assert json.loads((tmp_path / "s1" / "store.json").read_bytes())["shard"]["of"] == 2
