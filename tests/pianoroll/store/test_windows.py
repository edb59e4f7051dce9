"""Windows of a packed store, against a slow numpy reference; streamed, against a store that fits."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musegen.contracts.dataset import generator_for
from musegen.data.arrays import View
from musegen.data.batches import Batches
from musegen.data.streaming import Streamed
from musegen.errors import BadInput
from musegen.running.training import resume, train
from musegen_pianoroll.store.store import Store
from musegen_pianoroll.store.windows import WindowDataset, gather_windows, unpack_pitches

CPU = torch.device("cpu")
ROW = 2 * 2 * 16
"""Bytes of a step."""


def windows(n: int, total: int, n_steps: int, seed: int, transpositions: range = range(-3, 4)) -> WindowDataset:
    """n windows, starting anywhere and in any order, labelled by number."""
    generator = torch.Generator().manual_seed(seed)
    planes = torch.randint(0, 256, (total, 2, 2, 16), generator=generator).to(torch.uint8)
    starts = torch.randint(0, total - n_steps + 1, (n,), generator=generator)
    fixed = torch.tensor([True, False])
    return WindowDataset(planes, starts, n_steps, (24, 40), fixed, transpositions, torch.arange(n))


def test_bit_order_is_little_endian() -> None:
    """Pitch p is bit p % 8 of byte p // 8."""
    packed = torch.zeros(16, dtype=torch.uint8)
    packed[60 // 8] = 1 << (60 % 8)
    assert unpack_pitches(packed).nonzero().flatten().tolist() == [60]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_windows_match_a_slow_reference(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    n_tracks, n_planes = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 2))
    low = data.draw(st.integers(0, 127))
    high = data.draw(st.integers(low + 1, 128))
    length = data.draw(st.integers(1, 12))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16, torch.uint8]))
    rolls = rng.random((40, n_tracks, n_planes, 128)) < 0.2
    starts = rng.integers(0, 40 - length + 1, data.draw(st.integers(1, 6)))
    fixed = rng.random(n_tracks) < 0.5
    shifts = rng.integers(-130, 131, len(starts)) if data.draw(st.booleans()) else None

    expected = np.zeros((len(starts), n_tracks * n_planes, length, high - low), np.float32)
    for b, start in enumerate(starts):
        for t in range(n_tracks):
            shift = 0 if shifts is None or fixed[t] else int(shifts[b])
            for p in range(n_planes):
                for pitch in range(low, high):
                    if 0 <= pitch - shift < 128:
                        expected[b, t * n_planes + p, :, pitch - low] = rolls[
                            start : start + length, t, p, pitch - shift
                        ]

    planes = torch.from_numpy(np.packbits(rolls, axis=-1, bitorder="little"))
    found = gather_windows(
        planes,
        torch.from_numpy(starts),
        length,
        (low, high),
        None if shifts is None else torch.from_numpy(shifts),
        torch.from_numpy(fixed),
        dtype,
    )
    assert found.dtype == dtype
    assert found.is_contiguous()
    np.testing.assert_array_equal(found.float().numpy(), expected)


def test_transposition_is_drawn_from_the_choices_and_spares_drums() -> None:
    rolls = np.zeros((64, 2, 1, 128), bool)
    rolls[:, :, 0, 60] = True
    planes = torch.from_numpy(np.packbits(rolls, axis=-1, bitorder="little"))
    dataset = WindowDataset(planes, torch.arange(0, 60), 4, (0, 128), torch.tensor([True, False]), (-1, 0, 1))
    x = dataset.gather(torch.arange(60), torch.Generator().manual_seed(0)).x
    assert set(x[:, 0].nonzero()[:, 2].tolist()) == {60}
    assert set(x[:, 1].nonzero()[:, 2].tolist()) == {59, 60, 61}
    assert torch.equal(x, dataset.gather(torch.arange(60), torch.Generator().manual_seed(0)).x)


# Streamed


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 60),
    total=st.integers(20, 300),
    n_steps=st.integers(1, 20),
    room=st.integers(2, 400),
    batch_size=st.integers(1, 25),
    seed=st.integers(0, 5),
)
def test_every_window_once_an_epoch_with_its_own_values(
    n: int, total: int, n_steps: int, room: int, batch_size: int, seed: int
) -> None:
    whole = windows(n, total, n_steps, seed)
    try:
        streamed = Streamed(whole, CPU, 2 * ROW * room, torch.float32)
    except BadInput:
        assert room < n_steps
        return
    batches, seen = Batches(streamed, batch_size, seed, CPU), []
    for step in range(-(-3 * n // batch_size)):
        batch = batches[step]
        expected = whole.gather(batch.index, generator_for(CPU, seed, 1, step))  # transposed alike
        assert torch.equal(batch.x, expected.x)
        assert torch.equal(batch.label, expected.label)  # type: ignore[arg-type]
        seen += batch.index.tolist()
    assert streamed._buffer is None or streamed._buffer.numel() <= 2 * ROW * room
    for epoch in range(3):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))


@pytest.mark.parametrize(
    ("n", "total", "n_steps", "memory", "dtype", "recorded"),
    [
        (60, 500, 8, None, torch.float32, "b281b6da93de220e"),
        (60, 500, 8, 150 * ROW, torch.float32, "2e8257a2103e8050"),
        (60, 500, 8, 60 * ROW, torch.bfloat16, "56a1b5186bd1f22f"),
        (40, 300, 20, 50 * ROW, torch.float32, "9ffb7933cdafeb84"),  # few long shards
    ],
)
def test_order_and_values_are_what_they_always_were(
    n: int, total: int, n_steps: int, memory: int | None, dtype: torch.dtype, recorded: str
) -> None:
    """A run that began with an older musegen goes on with the batches that it would have had: these are recorded."""
    batches = Batches(windows(n, total, n_steps, 1).placed(CPU, memory, dtype), 7, 5, CPU)
    digest = hashlib.sha256()
    for step in [*range(20), 30, 31, 12]:
        batch = batches[step]
        for tensor in (batch.x.to(torch.uint8), batch.index, batch.label):
            digest.update(tensor.numpy().tobytes())  # type: ignore[union-attr]
    assert digest.hexdigest()[:16] == recorded


def test_streams_only_what_does_not_fit() -> None:
    whole = windows(10, 100, 8, 0)
    assert isinstance(whole.placed(CPU), WindowDataset)
    assert isinstance(whole.placed(CPU, 100 * ROW), WindowDataset)
    assert isinstance(whole.placed(CPU, 99 * ROW), Streamed)
    view = View(whole, torch.tensor([1, 5])).placed(CPU, 99 * ROW)
    assert len(view) == 2
    assert torch.equal(
        view.gather(torch.tensor([1]), generator_for(CPU, 0)).x,
        whole.gather(torch.tensor([5]), generator_for(CPU, 0)).x,
    )


def test_splits_share_one_copy_on_the_device() -> None:
    whole = windows(10, 100, 8, 0)
    other = replace(whole, starts=whole.starts[:3])
    placed = [dataset.placed(torch.device("meta")) for dataset in (whole, other)]
    assert placed[0].planes is placed[1].planes  # type: ignore[attr-defined]
    assert whole.placed(CPU).planes is whole.planes  # type: ignore[attr-defined]


def test_a_streamed_run_resumes_exactly(tmp_path: Path, band_store: Path) -> None:
    options = {"networks": "mlp", "widths": [8], "latent_dim": 2, "bars": 1, "batch_size": 16, "device_memory": 1e-3}
    options |= {"transpose": 2, "sample_every": 0, "validate_every": 0, "quiet": True, "data": band_store}
    one = train("ae", "pianoroll", out=tmp_path / "one", steps=30, **options)
    other = train("ae", "pianoroll", out=tmp_path / "other", steps=17, **options)
    assert other.config().run.device_memory == 1e-3
    assert Store.open(band_store).planes.nbytes > 1e6  # so it was streamed
    resume(tmp_path / "other", steps=30, quiet=True)
    weights = [next((run.path / "checkpoints").glob("*30*/weights.safetensors")).read_bytes() for run in (one, other)]
    assert weights[0] == weights[1]
