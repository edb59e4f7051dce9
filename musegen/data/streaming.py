"""Windows of a corpus larger than device memory.

The store is cut into shards, ranges of steps. A pool is a random choice of as many shards as fill half of the memory given;
an epoch goes through all pools, one after the other, and within a pool through its windows in random order. While the
windows of one pool are drawn, a thread copies the next one into the other half: through pinned memory and a stream of its
own on CUDA. The order of an epoch is a function of its key and of the memory given alone, so every window is seen exactly
once, and step s is the same whatever was asked before.

What is not on the device is read from the store itself (validation, calibration, the first look at a step in the middle of
an epoch when two pools are missing): where a window is read from decides how long it takes, never what it is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from musegen.contracts.dataset import Batch, Dataset
from musegen.data.arrays import ArrayDataset, View
from musegen.data.batches import generator_for
from musegen.errors import BadInput
from musegen_pianoroll.store.windows import WindowDataset, gather_windows

__all__ = ["AUTO_SHARE", "StreamedWindows", "memory_to_stream", "on_device"]

AUTO_SHARE = 0.5
"""Share of a CUDA device's memory that data take before they are streamed."""
SHARD_BYTES = 1 << 25
SHARDS_PER_POOL = 8
"""At least so many, so that a pool mixes parts of the corpus that lie far apart."""


def memory_to_stream(dataset: Dataset, device: torch.device) -> float | None:
    """Gigabytes that the data may take on a device when nobody says so; None: they fit, or lie in the host's memory anyway."""
    if device.type != "cuda" or not isinstance(dataset, WindowDataset):
        return None
    limit = AUTO_SHARE * torch.cuda.get_device_properties(device).total_memory
    return limit / 1e9 if dataset.planes.numel() > limit else None


def on_device(
    dataset: Dataset, device: torch.device, gigabytes: float | None, dtype: torch.dtype = torch.float32
) -> Dataset:
    """The data set on a device: all of it, or streamed when its planes take more than ``gigabytes``.

    Args:
        dtype: of batches, where their cells are 0 or 1; what needs more digits than ``dtype`` has comes in float32.
    """
    if isinstance(dataset, View):
        chosen = None if dataset.chosen is None else dataset.chosen.to(device)
        return replace(dataset, dataset=on_device(dataset.dataset, device, gigabytes, dtype), chosen=chosen)
    if isinstance(dataset, (ArrayDataset, WindowDataset)):
        dataset = dataset.in_type(dtype)
    if gigabytes is not None and isinstance(dataset, WindowDataset) and dataset.planes.numel() > 1e9 * gigabytes:
        return StreamedWindows(dataset, device, int(1e9 * gigabytes))
    return dataset.to(device)


class StreamedWindows:
    """A ``WindowDataset`` of which a part is on the device at a time; indices are wanted on the host.

    Args:
        windows: planes in the host's memory, or mapped from a file.
        device: where batches are made.
        n_bytes: device memory for planes.

    Raises:
        BadInput: two windows do not fit.
    """

    def __init__(self, windows: WindowDataset, device: torch.device, n_bytes: int) -> None:
        self.windows, self.device, self.n_bytes = windows, device, n_bytes
        self.label = None if windows.label is None else windows.label.to(device)
        self._fixed = windows.fixed.to(device)
        row = windows.planes[:1].numel()  # bytes of a step
        overlap = windows.n_steps - 1
        room = n_bytes // (2 * row)  # steps in half of the memory
        self.shard_steps = min(max(SHARD_BYTES // row, windows.n_steps), room // SHARDS_PER_POOL - overlap)
        if self.shard_steps < windows.n_steps:  # few long shards, rather than mostly overlap
            self.shard_steps = min(windows.n_steps, room - overlap)
        if self.shard_steps < 1:
            raise BadInput(
                f"device_memory is too small for two windows of {windows.n_steps} steps, {2 * row * windows.n_steps} bytes: "
                "raise it."
            )
        self._slot_steps = self.shard_steps + overlap
        self.pool_shards = room // self._slot_steps
        shard = windows.starts // self.shard_steps
        self._occupied = shard.unique()
        self.pool_shards = min(self.pool_shards, len(self._occupied))
        self._buffer: Tensor | None = None  # two pools; made when it is needed
        n_shards = int(shard.max()) + 1 if len(shard) else 0
        self._slot = torch.full((n_shards,), -1)  # where in the buffer a shard lies
        self._pool_of: Tensor | None = None  # in the order of the epoch
        self._pools: list[Tensor] = []
        self._load: _Load | None = None

    def __len__(self) -> int:
        return len(self.windows)

    def to(self, device: torch.device) -> Self:
        return self if device == self.device else type(self)(self.windows, device, self.n_bytes)

    def order(self, *key: int) -> Tensor:
        """All windows, in the order of the epoch ``key[-1]``: ``(N,)`` int64, on the host."""
        pools, generator = self._pools_of(*key)
        following, _ = self._pools_of(*key[:-1], key[-1] + 1)
        self._pools = [*pools, *following[:1]]
        self._pool_of = torch.zeros(len(self._slot), dtype=torch.int64)
        for i, pool in enumerate(pools):
            self._pool_of[pool] = i
        random = torch.randperm(len(self), generator=generator)
        pool_of = self._pool_of[self.windows.starts[random] // self.shard_steps]
        return random[pool_of.argsort(stable=True)]

    def _pools_of(self, *key: int) -> tuple[list[Tensor], torch.Generator]:
        generator = generator_for(torch.device("cpu"), *key)
        shards = self._occupied[torch.randperm(len(self._occupied), generator=generator)]
        return list(shards.split(max(1, self.pool_shards))), generator

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        w = self.windows
        shift = w.draw_transpositions(len(index), generator, self.device)
        starts = w.starts[index.cpu()]
        shard = starts // self.shard_steps
        self._make_resident(shard)
        slot = self._slot[shard]
        if self._buffer is not None and bool((slot >= 0).all()):
            here = (slot * self._slot_steps + starts % self.shard_steps).to(self.device, non_blocking=True)
            x = gather_windows(self._buffer, here, w.n_steps, w.pitch_range, shift, self._fixed, w.dtype)
        else:
            shift = None if shift is None else shift.cpu()
            x = gather_windows(w.planes, starts, w.n_steps, w.pitch_range, shift, w.fixed, w.dtype).to(self.device)
        self._load_ahead(shard)
        index = index.to(self.device, non_blocking=True)
        return Batch(x, index, None if self.label is None else self.label[index])

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
        """Start to copy the pool after that of the last window; windows come in order, so nobody needs the one before any more."""
        if self._pool_of is None or self._load is not None or self._slot[shard[-1]] < 0:
            return
        following = self._pools[int(self._pool_of[shard[-1]]) + 1]
        half = 1 - int(self._slot[shard[-1]]) // self.pool_shards
        if bool((self._slot[following] < 0).any()):
            self._start(following, half)

    def _start(self, pool: Tensor, half: int) -> None:
        if self._buffer is None:
            shape = (2 * self.pool_shards * self._slot_steps, *self.windows.planes.shape[1:])
            self._buffer = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        first = half * self.pool_shards
        self._slot[(self._slot >= first) & (self._slot < first + self.pool_shards)] = -1
        self._load = _Load(self.windows.planes, self._buffer, pool, first, self.shard_steps, self._slot_steps)
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
        self, planes: Tensor, buffer: Tensor, pool: Tensor, first_slot: int, shard_steps: int, slot_steps: int
    ) -> None:
        super().__init__(name="musegen-load")
        self.planes, self.buffer, self.pool, self.first_slot = planes, buffer, pool, first_slot
        self.shard_steps, self.slot_steps = shard_steps, slot_steps
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
        """Pairs of a shard's planes and their place; none any more once the program ends."""
        for slot, shard in enumerate(self.pool.tolist(), self.first_slot):
            if not threading.main_thread().is_alive():
                return
            part = self.planes[shard * self.shard_steps :][: self.slot_steps]
            yield part, self.buffer[slot * self.slot_steps :][: len(part)]

    def through_pinned_memory(self, side: torch.cuda.Stream) -> None:
        shape = (self.slot_steps, *self.planes.shape[1:])
        staging = [torch.empty(shape, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
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
