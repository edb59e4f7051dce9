"""Bars of metres, and how many of them a store uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musegen_pianoroll.reading.quantise import _separate, from_keys, to_keys
from musegen_pianoroll.store.format import Piece, StoreTrack, fits
from musegen_pianoroll.store.metres import is_part
from musegen_pianoroll.store.rooms import Rooms
from musegen_pianoroll.store.store import Store
from musegen_pianoroll.store.writer import StoreWriter

OF_FOUR = [(1, 1), (1, 2), (2, 2), (1, 4), (2, 4), (4, 4), (2, 8), (4, 8), (8, 8), (16, 16), (8, 16)]
NOT_OF_FOUR = [(3, 4), (6, 8), (4, 2), (5, 4), (3, 8), (12, 16), (1, 8), (4, 16)]


@pytest.mark.parametrize("bar", OF_FOUR)
def test_bars_that_are_parts_of_four_quarters(bar: tuple[int, int]) -> None:
    assert is_part(*bar, (4, 4))


@pytest.mark.parametrize("bar", NOT_OF_FOUR)
def test_bars_that_are_not(bar: tuple[int, int]) -> None:
    assert not is_part(*bar, (4, 4))


def test_parts_of_other_metres() -> None:
    assert is_part(4, 2, (4, 2))
    assert is_part(1, 4, (3, 4))
    assert is_part(3, 8, (6, 8))
    for bar, metre in (((3, 4), (6, 8)), ((2, 8), (6, 8)), ((2, 4), (3, 4)), ((4, 4), (4, 2))):
        assert is_part(*bar, metre) == (bar == (4, 4) and metre == (4, 2))


def piece(**changes: object) -> dict[str, object]:
    plain = {
        "source": "a.mid",
        "sha256": "0" * 64,
        "split": "train",
        "tempo_bpm": 100.0,
        "n_notes": [0],
        "programs": [[0]],
    }
    return plain | {"segments": [[0, 5, 4, 4]]} | changes


def test_bars_that_are_used_too_few_in_a_row_and_of_other_metres(tmp_path: Path) -> None:
    pieces = [
        (80, [[0, 5, 4, 4]]),
        (48, [[0, 3, 4, 4]]),
        (60, [[0, 4, 3, 4], [48, 1, 3, 4]]),
        (124, [[0, 4, 4, 4], [64, 1, 3, 4], [76, 3, 4, 4]]),
    ]
    with StoreWriter(tmp_path / "s", [StoreTrack("Piano")], 4) as writer:
        for n_steps, segments in pieces:
            writer.add(np.zeros((n_steps, 1, 2, 16), np.uint8), piece(segments=segments))
        writer.finish()
    store = Store.open(tmp_path / "s")
    use = store.use_of_bars(4, Rooms(((4, 4),), 4))
    assert (use.used, use.short, use.other, use.all) == (9, 6, 6, 21)
    assert store.other_metres(Rooms(((4, 4),), 4)) == {"3/4": 6}
    assert store.other_metres(Rooms(((3, 4),), 4)) == {"4/4": 15}


@pytest.mark.parametrize(
    "changes",
    [
        {"tempo_bpm": 0.0},
        {"tempo_bpm": float("nan")},
        {"tempo_bpm": float("inf")},
        {"segments": [[0, 6, 4, 4]]},
        {"segments": [[1, 5, 4, 4]]},
        {"segments": [[-1, 1, 4, 4]]},
        {"segments": [[0, -1, 4, 4]]},
        {"segments": [[0, 1, 1, 64]]},
        {"segments": [[0, 1, 4, 0]]},
        {"segments": [[0, 1, 0, 4]]},
    ],
    ids=str,
)
def test_what_no_store_could_be_opened_with_is_not_written(tmp_path: Path, changes: dict[str, object]) -> None:
    """One check for both ends."""
    placed = Piece(first_step=0, n_steps=80, **piece(**changes))  # type: ignore[arg-type]
    assert not fits(placed, 80, 4)
    assert fits(Piece(first_step=0, n_steps=80, **piece()), 80, 4)  # type: ignore[arg-type]
    assert not fits(Piece(first_step=1, n_steps=80, **piece()), 80, 4)  # type: ignore[arg-type]
    assert not fits(Piece(first_step=-1, n_steps=80, **piece()), 80, 4)  # type: ignore[arg-type]
    with StoreWriter(tmp_path / "s", [StoreTrack("Piano")], 4) as writer, pytest.raises(ValueError, match="no store"):
        writer.add(np.zeros((80, 1, 2, 16), np.uint8), piece(**changes))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(60, 62), st.integers(0, 12), st.integers(1, 9)), max_size=12))
def test_notes_end_where_their_pitch_begins_again(notes: list[tuple[int, int, int, int]]) -> None:
    table = np.array([(track, pitch, start, start + length) for track, pitch, start, length in notes], np.int64)
    found = from_keys(_separate(to_keys(table.reshape(-1, 4)))).tolist()
    expected = []
    for track, pitch in sorted({row[:2] for row in notes}):
        starts = sorted({start for t, p, start, _ in notes if (t, p) == (track, pitch)})
        for start, following in zip(starts, [*starts[1:], 10**6], strict=True):
            longest = max(length for t, p, s, length in notes if (t, p, s) == (track, pitch, start))
            expected.append([track, pitch, start, min(start + longest, following)])
    assert sorted(found) == sorted(expected)
