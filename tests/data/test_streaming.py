"""Streaming of a corpus that does not fit: every window once, and the values of a corpus that does fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musegen.data.arrays import View
from musegen.data.batches import Batches, generator_for
from musegen.data.streaming import StreamedWindows, on_device
from musegen.errors import BadInput
from musegen.running.training import resume, train
from musegen_pianoroll.store.store import Store
from musegen_pianoroll.store.windows import WindowDataset

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
    whole = windows(n, total, n_steps, seed, range(0))
    try:
        streamed = StreamedWindows(whole, CPU, 2 * ROW * room)
    except BadInput:
        assert room < n_steps
        return
    batches, seen = Batches(streamed, batch_size, seed, CPU), []
    for step in range(-(-3 * n // batch_size)):
        batch = batches[step]
        expected = whole.gather(batch.index, generator_for(CPU, 0))
        assert torch.equal(batch.x, expected.x)
        assert torch.equal(batch.label, expected.label)  # type: ignore[arg-type]
        seen += batch.index.tolist()
    assert streamed._buffer is None or streamed._buffer.numel() <= 2 * ROW * room
    for epoch in range(3):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))


@settings(deadline=None, max_examples=30)
@given(step=st.integers(0, 40), seed=st.integers(0, 3), before=st.lists(st.integers(0, 40), max_size=5))
def test_a_step_is_the_same_whatever_was_asked_before(step: int, seed: int, before: list[int]) -> None:
    one, other = (Batches(StreamedWindows(windows(50, 400, 8, seed), CPU, ROW * 150), 7, seed, CPU) for _ in range(2))
    for s in before:
        one[s]
    assert torch.equal(one[step].index, other[step].index)
    assert torch.equal(one[step].x, other[step].x)


def test_batches_in_order_never_read_the_store_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn lies on the device, and the next pool is copied ahead of need, across epochs too."""
    streamed = StreamedWindows(windows(200, 2000, 8, 0), CPU, ROW * 800)
    batches = Batches(streamed, 10, 0, CPU)
    assert len(streamed._occupied) > 2 * streamed.pool_shards
    from musegen.data import streaming

    sources, asked_for, ahead = [], [], []
    gather, start, load_ahead = streaming.gather_windows, streamed._start, streamed._load_ahead

    def started_ahead(shard: torch.Tensor) -> None:
        n = len(asked_for)
        load_ahead(shard)
        ahead.extend(asked_for[n:])
        del asked_for[n:]

    monkeypatch.setattr(streaming, "gather_windows", lambda planes, *a: sources.append(planes) or gather(planes, *a))
    monkeypatch.setattr(streamed, "_start", lambda pool, half: asked_for.append(pool) or start(pool, half))
    monkeypatch.setattr(streamed, "_load_ahead", started_ahead)
    for step in range(60):
        batches[step]
    assert all(source is streamed._buffer for source in sources)
    assert len(asked_for) == 1  # the very first pool is the only one that was waited for from its beginning
    assert len(ahead) == pytest.approx(3 * -(-len(streamed._occupied) // streamed.pool_shards), abs=1)


def test_pools_differ_between_epochs_and_mix_the_corpus() -> None:
    streamed = StreamedWindows(windows(400, 4000, 4, 0), CPU, ROW * 1200)
    first, second = (streamed.order(0, 0, epoch)[:80] for epoch in range(2))
    assert set(first.tolist()) != set(second.tolist())
    starts = streamed.windows.starts[first]
    assert float(starts.double().std()) > 600  # of 1155 for starts from anywhere


def test_scattered_indices_come_from_the_store() -> None:
    whole = windows(50, 1000, 8, 0, range(0))
    streamed = StreamedWindows(whole, CPU, ROW * 100)
    index = torch.randperm(50)
    assert torch.equal(streamed.gather(index, generator_for(CPU, 0)).x, whole.gather(index, generator_for(CPU, 0)).x)
    batches = Batches(streamed, 8, 0, CPU)
    x = batches[3].x
    streamed.gather(index, generator_for(CPU, 0))
    assert torch.equal(batches[3].x, x)
    assert torch.equal(torch.cat([b.index for b in batches.once()]), torch.arange(50))


def test_streams_only_what_does_not_fit() -> None:
    whole = windows(10, 100, 8, 0)
    assert isinstance(on_device(whole, CPU, None), WindowDataset)
    assert isinstance(on_device(whole, CPU, 100 * ROW / 1e9), WindowDataset)
    assert isinstance(on_device(whole, CPU, 99 * ROW / 1e9), StreamedWindows)
    view = on_device(View(whole, torch.tensor([1, 5])), CPU, 99 * ROW / 1e9)
    assert len(view) == 2
    assert torch.equal(
        view.gather(torch.tensor([1]), generator_for(CPU, 0)).x,
        whole.gather(torch.tensor([5]), generator_for(CPU, 0)).x,
    )


def test_too_little_memory_is_said() -> None:
    with pytest.raises(BadInput, match="device_memory is too small"):
        StreamedWindows(windows(10, 100, 8, 0), CPU, 2 * 8 * ROW - 1)


def test_an_error_while_copying_reaches_who_asked() -> None:
    streamed = StreamedWindows(windows(50, 1000, 8, 0), CPU, ROW * 100)
    batches = Batches(streamed, 4, 0, CPU)
    batches[0]
    assert streamed._buffer is not None
    streamed._buffer = streamed._buffer[:, :1]  # no longer fits
    with pytest.raises(RuntimeError, match="broadcast"):
        [batches[step] for step in range(12)]


def test_splits_share_one_copy_on_the_device() -> None:
    whole = windows(10, 100, 8, 0)
    other = replace(whole, starts=whole.starts[:3])
    meta = torch.device("meta")
    train_planes, valid_planes = (dataset.to(meta).planes for dataset in (whole, other))
    assert train_planes is valid_planes
    assert whole.to(CPU).planes is whole.planes


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
