"""Thousands of damaged files: each is read or refused, quickly, as mido reads it, and alike alone and beside others."""

from __future__ import annotations

import midi_fuzz
import pytest

N, FULL_N = 1000, 5000
FULL = range(1, 21)
"""Seeds of the full run: 100,000 files."""


@pytest.mark.parametrize(
    ("seed", "n"), [(0, N), *(pytest.param(seed, FULL_N, marks=pytest.mark.slow) for seed in FULL)]
)
def test_damaged_files(seed: int, n: int) -> None:
    found = midi_fuzz.fuzz(seed, n)  # anything but MidiError would come out here
    print({name: len(value) if isinstance(value, list) else value for name, value in vars(found).items()})
    assert [data.hex() for data in found.different[:3]] == []
    assert [data.hex() for data in found.beside[:3]] == []
    assert found.read + found.refused == n
    assert found.compared > n // 5
    assert found.worst_s < 1
    assert found.grown_mb < 512
