"""The packed store: windows against a slow reference, damage noticed, nothing half-written."""

from __future__ import annotations

import json
import random
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musegen.errors import BadInput
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.opening import find_store
from musegen_pianoroll.store.format import PLANES_AT, Piece, StoreTrack, fingerprint_of
from musegen_pianoroll.store.store import Store
from musegen_pianoroll.store.writer import StoreWriter

TRACKS = [StoreTrack("Drums", 0, True), StoreTrack("Lead", 81)]
Rolls = list[np.ndarray]


def write(
    path: Path, rolls: Rolls, segments: list[list[list[int]]] | None = None, splits: list[str] | None = None
) -> Rolls:
    """A store of pieces of bool ``(steps, 2, 2, 128)``."""
    with StoreWriter(path, TRACKS, 4) as writer:
        for i, roll in enumerate(rolls):
            writer.add(
                np.packbits(roll, axis=-1, bitorder="little"),
                {
                    "source": f"{i}.mid",
                    "sha256": f"{i:064x}",
                    "split": splits[i] if splits else "train",
                    "tempo_bpm": 100.0 + i,
                    "segments": segments[i] if segments else [[0, len(roll) // 16, 4, 4]],
                    "n_notes": [int(roll[:, t, 1].sum()) for t in range(2)],
                    "programs": [[0], [81]],
                },
            )
        writer.finish([("bad.mid", "is empty"), ('odd, "name".mid', "crashed\nthe reader")])
    return rolls


def some_rolls(n: int = 3, seed: int = 0) -> Rolls:
    rng = np.random.default_rng(seed)
    return [rng.random((16 * int(rng.integers(1, 6)), 2, 2, 128)) < 0.05 for _ in range(n)]


def test_round_trip(tmp_path: Path) -> None:
    rolls = write(tmp_path / "store", some_rolls())
    store = Store.open(tmp_path / "store")
    for piece, roll in zip(store.pieces, rolls, strict=True):
        planes = store.planes[piece.first_step : piece.first_step + piece.n_steps]
        np.testing.assert_array_equal(np.unpackbits(planes, axis=-1, bitorder="little"), roll)
    assert store.tracks == TRACKS
    assert store.skipped() == [("bad.mid", "is empty"), ('odd, "name".mid', "crashed\nthe reader")]
    assert store.tempo_range() == (100.0, 101.0, 102.0)
    from safetensors.numpy import load_file

    np.testing.assert_array_equal(load_file(tmp_path / "store" / "planes.safetensors")["planes"], store.planes)


def runs(segments: Sequence[Sequence[int]], metre: tuple[int, int]) -> list[tuple[int, int]]:
    """First step and bars of all stretches of a metre; such as follow one another are one."""
    found: list[tuple[int, int]] = []
    joins = False
    for first, bars, n, d in segments:
        if (n, d) == metre:
            if joins:
                begin, before = found.pop()
                found.append((begin, before + bars))
            else:
                found.append((first, bars))
        joins = (n, d) == metre
    return found


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_windows_match_a_slow_reference(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    metres = {(4, 4): 16, (3, 4): 12, (6, 8): 12}
    rolls, segments, splits = [], [], []
    for _ in range(data.draw(st.integers(1, 3))):
        at, own = data.draw(st.integers(0, 3)), []
        for _ in range(data.draw(st.integers(1, 3))):
            (n, d), bars = data.draw(st.sampled_from(list(metres))), data.draw(st.integers(1, 5))
            own.append([at, bars, n, d])
            at += bars * metres[n, d]
        segments.append(own)
        rolls.append(np.zeros((at, 2, 2, 128), bool))
        splits.append(data.draw(st.sampled_from(["train", "valid"])))
    path = tmp_path_factory.mktemp("store") / "s"
    write(path, rolls, segments, splits)
    store = Store.open(path)
    n_bars, metre, stride = (
        data.draw(st.integers(1, 4)),
        data.draw(st.sampled_from(list(metres))),
        data.draw(st.integers(1, 3)),
    )
    expected = [
        piece.first_step + first + bar * metres[metre]
        for piece in store.pieces
        for first, bars in runs(piece.segments, metre)
        if piece.split == "train"
        for bar in range(0, bars, stride)
        if bar + n_bars <= bars
    ]
    assert store.windows(n_bars, *metre, stride_bars=stride).tolist() == expected


def test_summary_counts_what_is_there(tmp_path: Path) -> None:
    """Two pieces of two bars; drums in the first bar of all, a held note in the second."""
    first, second = np.zeros((2, 32, 2, 2, 128), bool)
    first[0, 0, :, [36, 42]] = True
    first[20:24, 1, 0, 60] = True
    first[20, 1, 1, 60] = True
    second[31, 1, :, 61] = True
    write(tmp_path / "s", [first, second])
    drums, lead = Store.open(tmp_path / "s").summary()
    names = ("notes", "pitches", "empty bars %", "sounding %", "polyphonic %")
    assert tuple(drums[name] for name in names) == (2, "36 to 42", 75.0, 1.6, 100.0)
    assert tuple(lead[name] for name in names) == (2, "C4 to C♯4", 50.0, 7.8, 0.0)


def test_truncation_and_lying_headers_are_noticed(tmp_path: Path) -> None:
    write(tmp_path / "s", some_rolls())
    path = tmp_path / "s" / "planes.safetensors"
    original = path.read_bytes()
    size = struct.unpack("<Q", original[:8])[0]

    def lying(**changes: Any) -> bytes:
        header = json.loads(original[8 : 8 + size])
        header["planes"] |= changes
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + original[8 + size :]

    damaged = [original[:n] for n in (0, 4, 8, 20, size, len(original) - 1)]
    damaged += [original + b"x", struct.pack("<Q", 2**63) + original[8:], struct.pack("<Q", 3) + original[8:]]
    damaged += [lying(shape=[2**40, 2, 2, 16]), lying(dtype="F32"), lying(data_offsets=[8, 99]), lying(shape="x")]
    damaged += [struct.pack("<Q", 100_000) + b"[" * 100_000 + original[8 + size :]]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(BadInput, match="damaged"):
            Store.open(tmp_path / "s")
    path.unlink()
    with pytest.raises(BadInput, match="damaged"):
        Store.open(tmp_path / "s")


def test_an_index_of_a_stranger(tmp_path: Path) -> None:
    write(tmp_path / "s", some_rolls())
    path = tmp_path / "s" / "store.json"
    index = json.loads(path.read_bytes())
    piece = index["pieces"][0]
    wrong: list[Any] = [
        index | {"format": 2},
        index | {"tracks": 3},
        index | {"tracks": [{"nome": "x"}]},
        index | {"total_steps": index["total_steps"] + 1},
        index | {"total_steps": -1},
        index | {"steps_per_beat": 0},
        index | {"pieces": [piece | {"first_step": -5}]},
        index | {"pieces": [piece | {"n_steps": 10**9}]},
        index | {"pieces": [piece | {"segments": [[0, 10**9, 4, 4]]}]},
        index | {"pieces": [piece | {"segments": [[-64, 1, 4, 4]]}]},
        index | {"pieces": [piece | {"segments": [["a", "b"]]}]},
        index | {"pieces": [piece | {"segments": [[0, 1, 4, 0]]}]},
        {k: v for k, v in index.items() if k != "sha256"},
        [],
        "text",
    ]
    for content in wrong:
        path.write_text(json.dumps(content))
        with pytest.raises(BadInput) as caught:
            Store.open(tmp_path / "s")
        assert str(tmp_path / "s") in str(caught.value)
    rng = random.Random(0)
    original = json.dumps(index).encode()
    for _ in range(200):
        content = bytearray(original)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            store = Store.open(tmp_path / "s")
            starts = store.windows(1)
        except BadInput:
            continue
        assert ((starts >= 0) & (starts + 16 <= len(store.planes))).all()  # never outside the planes


def test_a_failed_build_leaves_the_older_store(tmp_path: Path) -> None:
    path = tmp_path / "s"
    write(path, some_rolls())
    before = {p.name: p.read_bytes() for p in path.iterdir()}
    with pytest.raises(BadInput, match="add overwrite=True"):
        StoreWriter(path, TRACKS, 4)

    def interrupted() -> None:
        with StoreWriter(path, TRACKS, 4, overwrite=True) as writer:
            piece = {"source": "a", "sha256": "b", "split": "train", "tempo_bpm": 1.0}
            writer.add(np.zeros((16, 2, 2, 16), np.uint8), piece)
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        interrupted()
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    with pytest.raises(BadInput, match="no store"):
        StoreWriter(other, TRACKS, 4, overwrite=True)
    with pytest.raises(ValueError, match="do not fit"), StoreWriter(tmp_path / "t", TRACKS, 4) as writer:
        writer.add(np.zeros((16, 3, 2, 16), np.uint8), {})


def test_no_store_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="There is no store"):
        Store.open(tmp_path)


def test_summary_is_the_same_whether_counted_then_or_now(tmp_path: Path) -> None:
    write(tmp_path / "s", some_rolls())
    then = Store.open(tmp_path / "s")
    assert then.tally is not None
    index = json.loads((tmp_path / "s" / "store.json").read_bytes())
    for damage in ({}, {"used": ["zz"]}, [1], {**index["tally"], "empty": [1]}, {**index["tally"], "n_bars": None}):
        (tmp_path / "s" / "store.json").write_text(json.dumps({**index, "tally": damage}))
        now = Store.open(tmp_path / "s")
        assert now.tally is None
        assert now.summary() == then.summary()


def test_a_hundred_gigabytes_open_at_once(tmp_path: Path) -> None:
    """Index, windows and summary need no plane; the file is sparse."""
    n_pieces, piece_steps = 1000, 16 * 100_000
    write(tmp_path / "s", some_rolls(1))
    index = json.loads((tmp_path / "s" / "store.json").read_bytes())
    piece = index["pieces"][0] | {"n_steps": piece_steps, "segments": [[0, 100, 4, 4]]}
    index["pieces"] = [piece | {"first_step": i * piece_steps} for i in range(n_pieces)]
    index["total_steps"] = n_pieces * piece_steps
    index["sha256"] = fingerprint_of(Piece(**piece) for piece in index["pieces"])
    (tmp_path / "s" / "store.json").write_text(json.dumps(index))
    shape = [index["total_steps"], 2, 2, 16]
    n_bytes = int(np.prod(shape))
    header = json.dumps({"planes": {"dtype": "U8", "shape": shape, "data_offsets": [0, n_bytes]}}).encode()
    with (tmp_path / "s" / "planes.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + n_bytes)
    start = time.process_time()
    store = Store.open(tmp_path / "s")
    assert store.planes.nbytes > 100e9
    assert len(store.summary()) == 2
    assert store.metres() == {"4/4": 100 * n_pieces}
    assert len(store.windows(4)) == 97 * n_pieces
    assert time.process_time() - start < 5


def test_planes_that_have_changed_are_noticed_before_anybody_trains_on_them(tmp_path: Path) -> None:
    """One bit of one note, anywhere: the size of the file is right, and so is its header."""
    write(tmp_path / "s", some_rolls(3))
    Store.open(tmp_path / "s").verify()
    file = tmp_path / "s" / "planes.safetensors"
    whole = bytearray(file.read_bytes())
    for place in (PLANES_AT, (PLANES_AT + len(whole)) // 2, len(whole) - 1):
        damaged = whole.copy()
        damaged[place] ^= 4
        file.write_bytes(damaged)
        store = Store.open(tmp_path / "s")
        with pytest.raises(BadInput, match="is damaged: its notes do not match their checksum"):
            store.verify()
        with pytest.raises(BadInput, match="do not match their checksum"):
            find_store(PianorollConfig(), tmp_path / "s", tmp_path / "cache")
    file.write_bytes(whole)
    find_store(PianorollConfig(), tmp_path / "s", tmp_path / "cache")


def test_a_store_without_a_checksum_of_its_planes_opens(tmp_path: Path) -> None:
    """Those of older versions have none."""
    write(tmp_path / "s", some_rolls(1))
    index = json.loads((tmp_path / "s" / "store.json").read_bytes())
    del index["planes_sha256"]
    (tmp_path / "s" / "store.json").write_text(json.dumps(index))
    Store.open(tmp_path / "s").verify()


def test_an_index_whose_pieces_have_changed_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "s", some_rolls(2))
    index = json.loads((tmp_path / "s" / "store.json").read_bytes())
    index["pieces"].pop()
    (tmp_path / "s" / "store.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match="its pieces are not those of its checksum"):
        Store.open(tmp_path / "s")


@pytest.mark.parametrize(
    "known",
    [
        {"name": "Bass", "pogram": 32},
        {"name": "Bass", "program": 128},
        {"name": "Bass", "program": "32"},
        {"name": "Bass", "is_drum": "no"},
        {"name": 7},
        {"name": "Bass", "lowest": -1},
        {},
        "Bass",
        None,
    ],
    ids=str,
)
def test_a_track_that_is_none_is_refused(known: Any) -> None:
    """In a store's index and in a run's configuration, which anybody may have edited."""
    with pytest.raises(TypeError):
        StoreTrack.from_json(known)
    with pytest.raises(BadInput, match="track_list is invalid"):
        PianorollConfig(track_list=[known])


def test_a_track_is_what_is_known_of_it() -> None:
    for track in (StoreTrack("Bass", 32), StoreTrack("Drums", is_drum=True), StoreTrack("Alto", 19, False, 50, 80)):
        again = StoreTrack.from_json(track.as_json())
        assert (again, again.lowest, again.highest) == (track, track.lowest, track.highest)
