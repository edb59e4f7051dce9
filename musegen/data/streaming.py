"""Examples of which a part is on the device at a time, because all of them do not fit.

The rows of a ``RowDataset`` are cut into shards, ranges of rows. A pool is a random choice of as many shards as fill half of the
memory given; an epoch goes through all pools, one after the other, and within a pool through its examples in random order. While
the examples of one pool are drawn, a thread copies the next one into the other half: through pinned memory and a stream of its
own on CUDA. The order of an epoch is a function of its key and of the memory given alone, so every example is seen exactly
once, and step s is the same whatever was asked before.

What is not on the device is read from where the rows are, row by row (validation, calibration, the first look at a step in the
middle of an epoch when two pools are missing): where an example is read from decides how long it takes, never what it is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from musegen.contracts.dataset import Batch, Dataset, generator_for
from musegen.errors import BadInput

if TYPE_CHECKING:
    from musegen.data.rows import RowDataset

__all__ = ["AUTO_SHARE", "Streamed", "automatic_memory"]

AUTO_SHARE = 0.5
"""Share of a CUDA device's memory that a data set takes before it is streamed."""
SHARD_BYTES = 1 << 25
SHARDS_PER_POOL = 8
"""At least so many, so that a pool mixes parts of the rows that lie far apart."""


def automatic_memory(datasets: Iterable[Dataset], device: torch.device) -> float | None:
    """The ``device_memory`` of a new run that was told none, in GB; None: no limit.

    On CUDA it is half of the device's memory, so that the other half is left to the networks, but only where one of the data sets
    takes more than that. On a CPU the data lie in the host's memory anyway, or are mapped from a file. The order of an epoch
    depends on this number, so it is looked up once and recorded with the run: resumed on another device, the run keeps its order.
    """
    if device.type != "cuda":
        return None
    limit = AUTO_SHARE * torch.cuda.get_device_properties(device).total_memory
    return limit / 1e9 if any(dataset.n_bytes > limit for dataset in datasets) else None


class Streamed(Dataset):
    """A ``RowDataset`` of which a part is on the device at a time; indices are wanted on the host.

    Args:
        whole: rows in the host's memory, or mapped from a file.
        device: where batches are made.
        memory: bytes of the device for rows.
        dtype: of batches whose cells are 0 or 1.

    Raises:
        BadInput: two examples do not fit.
    """

    def __init__(self, whole: RowDataset, device: torch.device, memory: int, dtype: torch.dtype) -> None:
        self.whole, self.device, self.memory = whole, device, memory
        self.rows, self.first, self.n_rows = whole.source()
        self._maker = whole.moved(device, dtype, with_source=False)
        self.label, self.binary = self._maker.label, whole.binary
        row = self.rows[:1].nbytes
        overlap = self.n_rows - 1
        room = memory // (2 * row)  # rows in half of the memory
        self.shard_rows = min(max(SHARD_BYTES // row, self.n_rows), room // SHARDS_PER_POOL - overlap)
        if self.shard_rows < self.n_rows:  # few long shards, rather than mostly overlap
            self.shard_rows = min(self.n_rows, room - overlap)
        if self.shard_rows < 1:
            raise BadInput(f"device_memory is too small for two examples of {row * self.n_rows} bytes each: raise it.")
        self._slot_rows = self.shard_rows + overlap
        shard = self._first_rows(torch.arange(len(whole))) // self.shard_rows
        self._occupied = shard.unique()
        self.pool_shards = min(room // self._slot_rows, len(self._occupied))
        self._buffer: Tensor | None = None  # two pools; made when it is needed
        n_shards = int(shard.max()) + 1 if len(shard) else 0
        self._slot = torch.full((n_shards,), -1)  # where in the buffer a shard lies
        self._pool_of: Tensor | None = None  # in the order of the epoch
        self._pools: list[Tensor] = []
        self._load: _Load | None = None

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def n_bytes(self) -> int:
        return self.whole.n_bytes

    def placed(self, device: torch.device, memory: int | None = None, dtype: torch.dtype = torch.float32) -> Dataset:
        return self.whole.placed(device, memory, dtype)

    def _first_rows(self, index: Tensor) -> Tensor:
        return index if self.first is None else self.first[index]

    def order(self, *key: int) -> Tensor:
        pools, generator = self._pools_of(*key)
        following, _ = self._pools_of(*key[:-1], key[-1] + 1)
        self._pools = [*pools, *following[:1]]
        self._pool_of = torch.zeros(len(self._slot), dtype=torch.int64)
        for i, pool in enumerate(pools):
            self._pool_of[pool] = i
        random = torch.randperm(len(self), generator=generator)
        pool_of = self._pool_of[self._first_rows(random) // self.shard_rows]
        return random[pool_of.argsort(stable=True)]

    def _pools_of(self, *key: int) -> tuple[list[Tensor], torch.Generator]:
        generator = generator_for(torch.device("cpu"), *key)
        shards = self._occupied[torch.randperm(len(self._occupied), generator=generator)]
        return list(shards.split(max(1, self.pool_shards))), generator

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        first = self._first_rows(index)
        shard = first // self.shard_rows
        self._make_resident(shard)
        slot = self._slot[shard]
        if self._buffer is not None and bool((slot >= 0).all()):
            rows, here = self._buffer, slot * self._slot_rows + first % self.shard_rows
        else:
            rows = self.whole.taken(self.rows, first).flatten(0, 1).to(self.device)
            here = self.n_rows * torch.arange(len(first))
        here, index = (positions.to(self.device, non_blocking=True) for positions in (here, index))
        batch = self._maker.batch(rows, here, index, generator)
        self._load_ahead(shard)  # behind this batch, which may be of the half that is filled next
        return batch

    def _make_resident(self, shard: Tensor) -> None:
        """Bring in the pool that a batch needs, if it is one."""
        if self._pool_of is None:
            return
        if self._load is not None and not self._load.is_alive():
            self._adopt()
        missing = shard[self._slot[shard] < 0]
        if not len(missing):
            return
        if self._load is not None:
            self._adopt()  # most often just what is missing
            missing = shard[self._slot[shard] < 0]
        pools = self._pool_of[missing].unique()
        halves = {int(half) for half in (self._slot[shard] // self.pool_shards).unique() if half >= 0}
        if len(pools) == 1 and len(halves) < 2:
            self._start(self._pools[int(pools)], 1 - halves.pop() if halves else 0)
            self._adopt()

    def _load_ahead(self, shard: Tensor) -> None:
        """Start to copy the pool after that of the last example; they come in order, so nobody needs the one before any more."""
        if self._pool_of is None or self._load is not None or self._slot[shard[-1]] < 0:
            return
        following = self._pools[int(self._pool_of[shard[-1]]) + 1]
        half = 1 - int(self._slot[shard[-1]]) // self.pool_shards
        if bool((self._slot[following] < 0).any()):
            self._start(following, half)

    def _start(self, pool: Tensor, half: int) -> None:
        if self._buffer is None:
            shape = (2 * self.pool_shards * self._slot_rows, *self.rows.shape[1:])
            self._buffer = torch.zeros(shape, dtype=self.rows.dtype, device=self.device)
        first = half * self.pool_shards
        self._slot[(self._slot >= first) & (self._slot < first + self.pool_shards)] = -1
        self._load = _Load(self.rows, self._buffer, pool, first, self.shard_rows, self._slot_rows)
        self._load.start()

    def _adopt(self) -> None:
        assert self._load is not None
        load, self._load = self._load, None
        load.finish()
        self._slot[load.pool] = load.first_slot + torch.arange(len(load.pool))


class _Load(threading.Thread):
    """Copies the shards of a pool into consecutive slots of the buffer.

    On CUDA: file → pinned memory → device, in two turns, on a stream that first waits for whatever still reads the buffer.
    """

    def __init__(
        self, rows: Tensor, buffer: Tensor, pool: Tensor, first_slot: int, shard_rows: int, slot_rows: int
    ) -> None:
        super().__init__(name="musegen-load")
        self.rows, self.buffer, self.pool, self.first_slot = rows, buffer, pool, first_slot
        self.shard_rows, self.slot_rows = shard_rows, slot_rows
        self.error: BaseException | None = None
        self.side = torch.cuda.Stream(buffer.device) if buffer.is_cuda else None
        if self.side is not None:
            self.side.wait_stream(torch.cuda.current_stream(buffer.device))

    def run(self) -> None:
        try:
            if self.side is None:
                for part, target in self.parts():
                    target.copy_(part)
            else:
                self.through_pinned_memory(self.side)
        except BaseException as error:  # raised where the pool is wanted
            self.error = error

    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs of a shard's rows and their place; none any more once the program ends."""
        for slot, shard in enumerate(self.pool.tolist(), self.first_slot):
            if not threading.main_thread().is_alive():
                return
            part = self.rows[shard * self.shard_rows :][: self.slot_rows]
            yield part, self.buffer[slot * self.slot_rows :][: len(part)]

    def through_pinned_memory(self, side: torch.cuda.Stream) -> None:
        shape = (self.slot_rows, *self.rows.shape[1:])
        staging = [torch.empty(shape, dtype=self.rows.dtype, pin_memory=True) for _ in range(2)]
        copied = [torch.cuda.Event() for _ in range(2)]
        with torch.cuda.stream(side):
            for i, (part, target) in enumerate(self.parts()):
                stage = staging[i % 2][: len(part)]
                copied[i % 2].synchronize()
                stage.copy_(part)
                target.copy_(stage, non_blocking=True)
                copied[i % 2].record(side)
            side.synchronize()

    def finish(self) -> None:
        """Wait until everything is there."""
        self.join()
        if self.error is not None:
            raise self.error
