"""Bars of several metres in one grid: where their steps stand, and which rows they lack."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musegen_pianoroll.store.metres import bars_in
from musegen_pianoroll.store.rooms import MISSING, Rooms

METRES = ((4, 4), (3, 4), (6, 8), (2, 4))


def segments_of(parts: list[tuple[int, int, int]], steps_per_beat: int) -> list[list[int]]:
    """Stretches of (bars, numerator, denominator) that follow one another."""
    found, step = [], 0
    for n, numerator, denominator in parts:
        found.append([step, n, numerator, denominator])
        step += n * numerator * 4 * steps_per_beat // denominator
    return found


def slowly(parts: list[tuple[int, int, int]], rooms: Rooms) -> list[list[int]]:
    """Runs of rows, bar by bar; metres that are none of the rooms' end a run."""
    runs: list[list[int]] = [[]]
    step = 0
    for n, numerator, denominator in parts:
        length = numerator * 4 * rooms.steps_per_beat // denominator
        for _ in range(n):
            if (numerator, denominator) in rooms.metres:
                row = [MISSING] * rooms.size
                for i in range(length):
                    halves = (numerator, denominator) == (6, 8)
                    place = i // (length // 2) * (rooms.size // 2) + i % (length // 2) if halves else i
                    row[place] = step + i
                runs[-1] += row
            elif runs[-1]:
                runs.append([])
            step += length
    return [run for run in runs if run]


@given(
    parts=st.lists(st.tuples(st.integers(1, 5), st.sampled_from([4, 3, 2, 7]), st.just(4)), min_size=1, max_size=6),
    sixes=st.lists(st.integers(0, 5), max_size=2),
    steps_per_beat=st.sampled_from([2, 4, 12]),
)
def test_every_bar_stands_in_its_room(parts: list[tuple[int, int, int]], sixes: list[int], steps_per_beat: int) -> None:
    for i in sixes:
        parts.insert(i, (2, 6, 8))
    rooms = Rooms(METRES, steps_per_beat)
    segments = segments_of(parts, steps_per_beat)
    assert [run.tolist() for run in rooms.runs(segments)] == slowly(parts, rooms)
    assert rooms.others(segments) == sum(n for n, numerator, _ in parts if numerator == 7)
    assert [sum(s.n_bars for s in group) * rooms.size for group in rooms.stretches(segments)] == [
        len(run) for run in rooms.runs(segments)
    ]


@given(
    parts=st.lists(
        st.tuples(st.integers(1, 9), st.sampled_from([(4, 4), (2, 4), (1, 4), (3, 4), (5, 4)])), min_size=1, max_size=6
    )
)
def test_one_metre_is_as_before(parts: list[tuple[int, tuple[int, int]]]) -> None:
    """With one metre nothing is missing, and bars are those of ``bars_in``, parts of bars joined."""
    segments = segments_of([(n, *metre) for n, metre in parts], 4)
    rooms, (runs, others) = Rooms(((4, 4),), 4), bars_in(segments, (4, 4), 4)
    found = np.concatenate([np.zeros(0, np.int64), *rooms.runs(segments)])
    expected = [first + i for first, n in runs for i in range(16 * n)]
    assert (found.tolist(), rooms.others(segments)) == (expected, others)


@pytest.mark.parametrize("steps_per_beat", [2, 4, 6, 12, 24])
def test_metres_are_told_apart_by_what_they_lack(steps_per_beat: int) -> None:
    rooms = Rooms(METRES, steps_per_beat)
    assert rooms.size == 4 * steps_per_beat
    for metre in METRES:
        assert rooms.metre_of(rooms.missing(metre)) == metre
        assert (~rooms.missing(metre)).sum() == metre[0] * 4 * steps_per_beat // metre[1]


def test_a_room_that_is_too_short_for_half_notes() -> None:
    """6/8 beside 3/4 alone: no room for its beats at half notes, so they stand one after the other."""
    assert Rooms(((3, 4), (6, 8)), 4).layout((6, 8)).tolist() == list(range(12))
    assert Rooms(((4, 4), (6, 8)), 1).layout((6, 8)).tolist() == [0, 1, 2]  # a dotted beat is no whole number of steps
    assert Rooms(((4, 4),), 4).name == "4/4"
    assert Rooms(METRES, 4).name == "4/4, 3/4, 6/8 or 2/4"
