"""Data sets place themselves: streaming of what does not fit, mapped files, data sets of a plugin's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musegen.contracts.dataset import Batch, Dataset, generator_for
from musegen.data.arrays import ArrayDataset, View
from musegen.data.batches import Batches
from musegen.data.rows import RowDataset, Source
from musegen.data.streaming import Streamed, automatic_memory
from musegen.errors import BadInput

CPU, META, BF16 = torch.device("cpu"), torch.device("meta"), torch.bfloat16


def noisy(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + torch.rand(x.shape, generator=generator)


def array(n: int, seed: int = 0, **options: object) -> ArrayDataset:
    """n examples of 6 numbers of 2 bytes, labelled by number."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-(2**15), 2**15, (n, 2, 3), generator=generator, dtype=torch.int16)
    return ArrayDataset(x, torch.arange(n), **{"transform": noisy, "scale": 2.0**15} | options)  # type: ignore[arg-type]


class Excerpts(RowDataset):
    """What a plugin might bring: overlapping excerpts of one recording of 16 bits, each as loud as chance has it."""

    def __init__(self, recording: Tensor, begin: Tensor, n: int) -> None:
        self.recording, self.begin, self.n = recording, begin, n
        self.label = begin % 2
        self.scale = torch.tensor(2.0**15)

    def source(self) -> Source:
        return Source(self.recording, self.begin, self.n)

    def make(self, rows: Tensor, first: Tensor, generator: torch.Generator) -> Tensor:
        loudness = torch.rand(len(first), 1, generator=generator, device=first.device)
        return loudness * self.taken(rows, first) / self.scale


def excerpts(n: int, seed: int = 0) -> Excerpts:
    generator = torch.Generator().manual_seed(seed)
    recording = torch.randint(-(2**15), 2**15, (400,), generator=generator, dtype=torch.int16)
    return Excerpts(recording, torch.randint(0, 380, (n,), generator=generator), 20)


class Melodies(Dataset):
    """What a plugin might bring: a list of melodies, of which a batch shows a beginning, with chance, as zeros and ones."""

    binary = True

    def __init__(self, melodies: list[list[int]]) -> None:
        self.melodies = melodies
        self.label = torch.tensor([len(melody) % 2 for melody in melodies])

    def __len__(self) -> int:
        return len(self.melodies)

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        x = torch.zeros(len(index), 4, 12)
        for i, number in enumerate(index.numpy()):  # numpy: indices are wanted on the host
            x[i, range(4), self.melodies[number][:4]] = 1
        x *= torch.rand(len(x), 4, 1, generator=generator) < 0.9
        return Batch(x, index, self.label[index])


def melodies(n: int, seed: int = 0) -> Melodies:
    rng = np.random.default_rng(seed)
    return Melodies([rng.integers(0, 12, rng.integers(4, 9)).tolist() for _ in range(n)])


ROW_SETS: dict[str, Callable[[int, int], RowDataset]] = {"array": array, "excerpts": excerpts}
SETS: dict[str, Callable[[int, int], Dataset]] = {**ROW_SETS, "melodies": melodies}


def assert_same(found: Batch, wanted: Batch) -> None:
    assert torch.equal(found.x, wanted.x)
    assert torch.equal(found.index, wanted.index)
    assert torch.equal(found.label, wanted.label)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ROW_SETS)
@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 90), memory=st.integers(1, 1500), batch_size=st.integers(1, 25), seed=st.integers(0, 5))
def test_streamed_examples_come_once_an_epoch_with_their_own_values(
    name: str, n: int, memory: int, batch_size: int, seed: int
) -> None:
    whole = ROW_SETS[name](n, seed)
    example = 12 if name == "array" else 40  # bytes
    try:
        placed = whole.placed(CPU, memory)
    except BadInput:
        assert memory < 2 * example
        return
    assert isinstance(placed, Streamed) == (whole.n_bytes > memory)
    batches, seen = Batches(placed, batch_size, seed, CPU), []
    for step in range(-(-3 * n // batch_size)):
        batch = batches[step]
        assert_same(batch, whole.gather(batch.index, generator_for(CPU, seed, 1, step)))
        seen += batch.index.tolist()
    for epoch in range(3):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))
    if isinstance(placed, Streamed):
        assert placed._buffer is None or placed._buffer.nbytes <= memory
        assert placed._buffer is None or placed._buffer.dtype == torch.int16


@pytest.mark.parametrize("name", SETS)
@settings(deadline=None, max_examples=20)
@given(step=st.integers(0, 40), seed=st.integers(0, 3), before=st.lists(st.integers(0, 40), max_size=5))
def test_a_step_is_the_same_whatever_was_asked_before(name: str, step: int, seed: int, before: list[int]) -> None:
    one, other = (Batches(SETS[name](50, seed).placed(CPU, 200), 7, seed, CPU) for _ in range(2))
    for s in before:
        one[s]
    assert_same(one[step], other[step])


@pytest.mark.parametrize("name", SETS)
def test_examples_in_no_order_and_for_validation_are_the_same(name: str) -> None:
    whole = SETS[name](50, 0)
    placed = whole.placed(CPU, 200)
    batches = Batches(placed, 8, 0, CPU)
    index, x = torch.randperm(50), batches[3].x
    assert_same(placed.gather(index, generator_for(CPU, 0)), whole.gather(index, generator_for(CPU, 0)))
    assert torch.equal(batches[3].x, x)
    for found, wanted in zip(batches.once(), Batches(whole, 8, 0, CPU).once(), strict=True):
        assert_same(found, wanted)


def test_batches_in_order_never_read_the_rows_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn lies on the device, and the next pool is copied ahead of need, across epochs too."""
    streamed = array(200).placed(CPU, 480)
    assert isinstance(streamed, Streamed)
    batches = Batches(streamed, 10, 0, CPU)
    assert len(streamed._occupied) > 2 * streamed.pool_shards
    sources, asked_for, ahead = [], [], []
    batch, start, load_ahead = streamed._maker.batch, streamed._start, streamed._load_ahead

    def started_ahead(shard: Tensor) -> None:
        n = len(asked_for)
        load_ahead(shard)
        ahead.extend(asked_for[n:])
        del asked_for[n:]

    monkeypatch.setattr(streamed._maker, "batch", lambda rows, *a: sources.append(rows) or batch(rows, *a))
    monkeypatch.setattr(streamed, "_start", lambda pool, half: asked_for.append(pool) or start(pool, half))
    monkeypatch.setattr(streamed, "_load_ahead", started_ahead)
    for step in range(60):
        batches[step]
    assert all(source is streamed._buffer for source in sources)
    assert len(asked_for) == 1  # the very first pool is the only one that was waited for from its beginning
    assert len(ahead) == pytest.approx(3 * -(-len(streamed._occupied) // streamed.pool_shards), abs=1)


def test_processes_gather_their_own_rows_of_the_same_batches() -> None:
    """Each has a stream of its own, of the same pools."""
    whole = array(90, transform=None)
    one, other = (Batches(whole.placed(CPU, 300), 8, 0, CPU) for _ in range(2))
    for step in range(30):
        batches = Batches(whole.placed(CPU, 300), 8, 0, CPU)
        parts = one.rows(step, lambda index: index[:4]), other.rows(step, lambda index: index[4:])
        assert torch.equal(torch.cat([part.x for part in parts]), batches[step].x)
        assert torch.equal(torch.cat([part.index for part in parts]), batches[step].index)


def test_pools_differ_between_epochs_and_mix_the_rows() -> None:
    streamed = array(4000).placed(CPU, 14_400)
    first, second = (streamed.order(0, 0, epoch)[:600] for epoch in range(2))
    assert set(first.tolist()) != set(second.tolist())
    assert float(first.double().std()) > 600  # of 1155 for rows from anywhere


def test_an_order_is_a_function_of_its_key_and_the_memory_alone() -> None:
    one, other = (array(100).placed(CPU, 240) for _ in range(2))
    torch.rand(3)
    one.order(0, 0, 5)
    assert torch.equal(one.order(0, 0, 1), other.order(0, 0, 1))
    assert not torch.equal(one.order(0, 0, 1), other.order(1, 0, 1))
    assert not torch.equal(one.order(0, 0, 1), array(100).placed(CPU, 480).order(0, 0, 1))
    # What fits has the order that it has without a limit.
    assert torch.equal(array(100).placed(CPU, 1200).order(0, 0, 1), array(100).order(0, 0, 1))


def test_too_little_memory_is_said() -> None:
    with pytest.raises(BadInput, match="device_memory is too small for two examples of 40 bytes"):
        excerpts(10).placed(CPU, 79)
    assert len(excerpts(10).placed(CPU, 80)) == 10


def test_an_error_while_copying_reaches_who_asked() -> None:
    streamed = array(50).placed(CPU, 200)
    assert isinstance(streamed, Streamed)
    batches = Batches(streamed, 4, 0, CPU)
    batches[0]
    assert streamed._buffer is not None
    streamed._buffer = streamed._buffer[:, :1, :2]  # no longer fits
    with pytest.raises(RuntimeError, match="must match"):
        [batches[step] for step in range(12)]


# Files that are mapped into memory


def mapped_by_numpy(file: Path, n: int) -> Tensor:
    np.lib.format.open_memmap(file, "w+", np.uint8, (n, 4096)).flush()
    return torch.from_numpy(np.load(file, mmap_mode="r+"))


def mapped_by_torch(file: Path, n: int) -> Tensor:
    return torch.from_file(str(file), shared=True, size=n * 4096, dtype=torch.uint8).view(n, 4096)


def held(file: Path) -> int:
    """Bytes of a mapped file that this process has in memory."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    at = [i for i, line in enumerate(lines) if line.endswith(str(file))]
    assert at
    return 1024 * sum(int(next(l for l in lines[i:] if l.startswith("Rss:")).split()[1]) for i in at)


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="what is in memory is read from Linux's /proc")
@pytest.mark.parametrize("mapped", [mapped_by_numpy, mapped_by_torch])
@pytest.mark.parametrize("memory", [None, 1 << 20])
def test_a_mapped_file_is_read_where_batches_are(
    mapped: Callable[[Path, int], Tensor], memory: int | None, tmp_path: Path
) -> None:
    n = 1 << 18  # 1 GB, of which the disk holds nothing
    x = mapped(tmp_path / "x", n)
    x[1000:1010, 0] = torch.arange(10, dtype=torch.uint8)
    placed = ArrayDataset(x, scale=1).placed(CPU, memory)
    found = placed.gather(torch.arange(1000, 1010), generator_for(CPU, 0)).x
    assert found[:, 0].tolist() == list(range(10))
    batches = Batches(placed, 16, 0, CPU)
    for step in range(4):
        assert batches[step].x.shape == (16, 4096)
    assert held(tmp_path / "x") < 64 << 20


# Data sets of a plugin's own


@pytest.mark.parametrize("name", SETS)
def test_placing_leaves_the_original_alone(name: str) -> None:
    whole = SETS[name](20, 0)
    before = dict(vars(whole))
    for device, memory in ((META, None), (CPU, None), (CPU, 100)):
        placed = whole.placed(device, memory, BF16)
        if device == CPU:
            again = placed.placed(CPU).gather(torch.arange(20), generator_for(CPU, 0))
            assert_same(again, whole.gather(torch.arange(20), generator_for(CPU, 0)))
            assert again.x.dtype == torch.float32
        assert vars(whole).keys() == before.keys()
        assert all(value is before[key] for key, value in vars(whole).items())


def test_every_tensor_goes_to_the_device_and_rows_as_one_copy() -> None:
    whole = excerpts(20)
    other = Excerpts(whole.recording, whole.begin[:3], 20)
    placed, smaller = whole.placed(META), other.placed(META)
    assert isinstance(placed, Excerpts)
    assert isinstance(smaller, Excerpts)
    assert {t.device for t in (placed.recording, placed.begin, placed.label, placed.scale)} == {META}
    assert placed.index_device == META
    assert placed.recording is smaller.recording
    streamed = whole.placed(META, 200)
    assert isinstance(streamed, Streamed)
    assert streamed.index_device == CPU
    assert {t.device for t in (streamed.rows, streamed.first)} == {CPU}
    assert {t.device for t in (streamed._maker.label, streamed._maker.scale)} == {META}  # type: ignore[attr-defined]


def test_what_would_not_be_placed_is_told() -> None:
    class Sliced(Excerpts):
        def source(self) -> Source:
            return Source(self.recording[1:], self.begin, self.n)

    whole = excerpts(20)
    for memory in (None, 200):
        with pytest.raises(TypeError, match=r"Sliced.source must return tensors that are attributes"):
            Sliced(whole.recording, whole.begin, 20).placed(CPU, memory)


def test_a_data_set_without_rows_is_made_on_the_host() -> None:
    whole = melodies(20)
    single, half = whole.placed(CPU), whole.placed(CPU, None, BF16)
    index = torch.arange(20)
    assert single.n_bytes == half.n_bytes == 0
    assert half.gather(index, generator_for(CPU, 0)).x.dtype == BF16
    assert_same(half.gather(index, generator_for(CPU, 0)).float(), single.gather(index, generator_for(CPU, 0)))
    on_device = whole.placed(META)
    assert on_device.index_device == CPU
    batch = on_device.gather(index, generator_for(CPU, 0))
    assert {t.device for t in (batch.x, batch.index, batch.label)} == {META}  # type: ignore[union-attr]


def test_a_data_set_has_an_order_of_its_own() -> None:
    class InOrder(Melodies):
        def order(self, *key: int) -> Tensor:
            return torch.arange(len(self)).roll(key[-1])

    dataset = InOrder(melodies(10).melodies)
    for placed in (dataset, dataset.placed(CPU, None, BF16)):
        batches = Batches(placed, 4, 0, CPU)
        assert torch.cat([batches.index(step) for step in range(5)]).tolist() == [*range(10), 9, *range(9)]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("memory", [None, 200])
def test_views_place_what_they_are_views_of(name: str, memory: int | None) -> None:
    whole = SETS[name](50, 0)
    view = View(whole, torch.arange(3, 48, 4), labelled=False)
    placed = view.placed(CPU, memory, BF16)
    assert view.n_bytes == whole.n_bytes
    assert len(placed) == len(view)
    index = torch.tensor([4, 0, 9])
    found, wanted = (dataset.gather(index, generator_for(CPU, 0)) for dataset in (placed, view))
    assert found.label is None
    assert torch.equal(found.x.float(), wanted.x)
    assert torch.equal(found.index, wanted.index)
    assert (found.x.dtype == BF16) == whole.binary
    assert torch.equal(placed.order(0, 0), View(whole, torch.arange(12)).order(0, 0))


def test_memory_is_limited_where_data_take_more_than_half_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        total_memory = 2000

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    cuda = torch.device("cuda")
    small, large = array(83), array(84)  # 996 and 1008 bytes
    assert automatic_memory([small, melodies(5)], cuda) is None
    assert automatic_memory([small, large], cuda) == 1000 / 1e9
    assert automatic_memory([View(large)], cuda) == 1000 / 1e9
    assert automatic_memory([large], CPU) is None


@pytest.mark.gpu
@pytest.mark.parametrize("name", SETS)
def test_batches_are_made_on_a_cuda_device(name: str) -> None:
    """Through pinned memory, and a stream of its own, for whole epochs."""
    cuda, whole = torch.device("cuda"), SETS[name](500, 0)
    if name == "array":
        whole = array(500, transform=None)  # a generator on the host gives other numbers
    for memory in (None, 400):
        batches = Batches(whole.placed(cuda, memory, BF16), 16, 0, cuda)
        for step in range(100):
            batch = batches[step]
            assert {t.device.type for t in (batch.x, batch.index, batch.label)} == {"cuda"}  # type: ignore[union-attr]
            if name == "array":
                assert torch.equal(batch.x.cpu(), whole.gather(batch.index.cpu(), generator_for(CPU, 0)).x)
