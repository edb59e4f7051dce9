"""Several processes, on one machine or many, that train one model: who they are, and what they agree on.

Every process has the whole model and a part of every batch (see ``musegen.probability.whole_batch``). After a player's backward
pass its gradients are averaged, so that all processes make the same move. This is not ``DistributedDataParallel``, which wraps one
module with one forward and one backward pass per step, and averages all of its gradients in hooks: here several players move in a
step, each with a loss that reaches into networks of others, and some parameters belong to two of them. What is averaged is
therefore decided where it is known, at each yield: the gradients of the player that moves, in flat buckets.

Weights, optimisers and random generators are the same everywhere, so the first process alone writes, and a checkpoint does not
know how many there were.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
from collections.abc import Iterable, Iterator
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from musegen.engine.config import EngineConfig
from musegen.engine.launch import LAUNCHER, MEETING
from musegen.errors import BadInput, MusegenError, ProcessLost
from musegen.probability.whole_batch import Part, watched

__all__ = ["ALONE", "Processes", "joined"]

TIMEOUT = timedelta(minutes=30)
"""How long to wait for a process that is connected and says nothing; one that ended is noticed at once."""
BUCKET_BYTES = 32 * 2**20
"""Gradients travel in pieces of this size: the next is packed while the last is under way."""


class Processes:
    """This process among those of the run.

    Args:
        rank, count: which of how many.
        control: group that small numbers on the CPU travel in; None in one process.
    """

    def __init__(self, rank: int = 0, count: int = 1, control: dist.ProcessGroup | None = None) -> None:
        self.rank, self.count, self.main = rank, count, rank == 0
        self._control = control
        self._flags: tuple[Tensor, dist.Work | None] | None = None
        launcher = os.environ.get(LAUNCHER)
        self._launcher = int(launcher) if launcher and launcher.isdigit() else None

    def part(self, batch_size: int) -> Part | None:
        """This process's part of a minibatch; None for all of it."""
        return Part(self.rank, self.count, batch_size // self.count) if self.count > 1 else None

    def share(self, n: int) -> range:
        """This process's numbers among 0 … n − 1: every ``count``-th; empty where there are fewer than processes."""
        return range(self.rank, n, self.count)

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the parameters' gradients by their means over the processes."""
        if self.count == 1:
            return
        under_way = []
        for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            with watched():
                under_way.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
        for bucket, flat, work in under_way:
            with watched():
                work.wait()
            parts = (flat / self.count).split([gradient.numel() for gradient in bucket])
            torch._foreach_copy_(bucket, [part.view_as(g) for part, g in zip(parts, bucket, strict=True)])

    def mean(self, values: Tensor) -> Tensor:
        """Means over the processes, element by element."""
        if self.count == 1:
            return values
        with watched():
            dist.all_reduce(values)
        return values / self.count

    def total(self, values: Tensor) -> Tensor:
        """Sums over the processes, element by element, of numbers on the CPU; added in one order, so the same to the last bit
        everywhere."""
        if self.count == 1:
            return values
        everybody = [torch.empty_like(values) for _ in range(self.count)]
        with watched():
            dist.all_gather(everybody, values, group=self._control)
        return torch.stack(everybody).sum(0)

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Everybody gets the first process's tensors, in place."""
        if self.count > 1:
            for tensor in tensors:
                with watched():
                    dist.broadcast(tensor, 0)

    def as_first(self, metrics: dict[str, float]) -> dict[str, float]:
        """The first process's metrics, so that what is decided by them is decided alike."""
        if self.count == 1:
            return metrics
        values = torch.tensor(list(metrics.values()), dtype=torch.float64)
        with watched():
            dist.broadcast(values, 0, group=self._control)
        return dict(zip(metrics, values.tolist(), strict=True))

    def agree(self, signal_number: int, *flags: int) -> list[int]:
        """What anybody has to say: a signal (0: none), and the largest of each of the other numbers.

        Several processes hear it one step later, the same step all of them: the answer travels during the next step.
        """
        if self.count == 1:
            return [signal_number, *flags]
        if self._launcher is not None and os.getppid() != self._launcher:
            signal_number = signal.SIGTERM  # whoever started us is gone: save and end
        heard = self.finish() or [0] * (1 + len(flags))
        said = torch.tensor([signal_number, *flags])
        with watched():
            self._flags = said, dist.all_reduce(said, dist.ReduceOp.MAX, group=self._control, async_op=True)
        return heard

    def finish(self) -> list[int]:
        """Wait for what is under way."""
        if self._flags is None:
            return []
        said, work = self._flags
        self._flags = None
        with watched():
            if work is not None:
                work.wait()
        return said.tolist()

    def largest(self, number: int) -> int:
        """The largest of everybody's numbers, heard at once: everybody waits for the last to ask."""
        if self.count == 1:
            return number
        said = torch.tensor(number)
        with watched():
            dist.all_reduce(said, dist.ReduceOp.MAX, group=self._control)
        return int(said)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A scope that all leave together: when it fails for one, it fails for all, and the first of those who know why says so."""
        problem: Exception | None = None
        try:
            yield
        except Exception as error:
            if self.count == 1 or isinstance(error, ProcessLost):
                raise
            problem = error
        if self.count == 1:
            return
        codes = [torch.zeros(1, dtype=torch.int32) for _ in range(self.count)]
        own = 0 if problem is None else problem.exit_code if isinstance(problem, MusegenError) else 1
        with watched():
            dist.all_gather(codes, torch.tensor([own], dtype=torch.int32), group=self._control)
        failed = [rank for rank, code in enumerate(codes) if int(code)]
        if problem is None and failed:
            problem = MusegenError(f"Process {failed[0]} could not go on.")
            problem.exit_code = int(codes[failed[0]])
        if problem is not None:
            if isinstance(problem, MusegenError):
                problem.reported_elsewhere = self.rank != failed[0]
            raise problem

    @contextlib.contextmanager
    def one_voice(self) -> Iterator[None]:
        """A scope for what happens to all processes alike: the first one tells."""
        try:
            yield
        except ProcessLost as error:
            error.reported_elsewhere = self._launcher is not None  # who started us saw it end
            raise
        except MusegenError as error:
            error.reported_elsewhere = error.reported_elsewhere or not self.main
            raise


ALONE = Processes()


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one type, in order, ``BUCKET_BYTES`` at a time or a little more."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and (gradient.dtype != bucket[0].dtype or sum(g.nbytes for g in bucket) >= BUCKET_BYTES):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


@contextlib.contextmanager
def joined(config: EngineConfig) -> Iterator[tuple[Processes, str]]:
    """The processes of a run, and this one's device; torchrun or ``engine.launch`` has started them and set the environment.

    Raises:
        BadInput: a batch, devices or compiled networks that cannot be shared; several processes that nobody has started.
        ProcessLost: another process does not come.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if count == 1:
        if config.processes > 1:
            raise BadInput(
                f"processes={config.processes} is for the command line: musegen train … --processes {config.processes}, "
                "or torchrun with a script that calls musegen.train."
            )
        yield ALONE, config.device
        return
    with Processes(rank, count).one_voice():
        device = _device(config.device)
        if config.batch_size % count or config.batch_size // count < 2:
            raise BadInput(
                f"A batch of {config.batch_size} examples cannot be shared evenly by {count} processes, two or more to each: "
                f"use batch_size={2 * count} or a larger multiple of {count}."
            )
        if config.compile != "none":
            raise BadInput(
                "Several processes draw random numbers, and take batch statistics, for the whole batch, which compiled networks "
                "do not know of: use compile=none, or train with one process."
            )
    processes = Processes(rank, count, _group("nccl" if device.startswith("cuda") else "gloo"))
    with processes.one_voice():
        yield processes, device


@functools.cache
def _group(backend: str) -> dist.ProcessGroup:
    """The group of all processes, made once: several runs of one program share it. Returns that of the CPU's tensors."""
    with watched():
        if MEETING in os.environ:
            rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            meeting = f"file://{os.environ[MEETING]}"
            dist.init_process_group(backend, meeting, TIMEOUT, world_size=count, rank=rank)
        else:
            dist.init_process_group(backend, timeout=TIMEOUT)
        control = dist.group.WORLD if backend == "gloo" else dist.new_group(backend="gloo", timeout=TIMEOUT)
    assert control is not None
    if backend == "nccl":  # gloo's connections end with the process, and after an error nobody must be waited for
        atexit.register(lambda: dist.destroy_process_group() if not ProcessLost.happened else None)
    return control


def _device(name: str) -> str:
    """The device of this one of several processes.

    Raises:
        BadInput: one device for all of them, or too few.
    """
    if name.startswith(("cuda:", "mps")):
        raise BadInput(f"device={name} is one device, and several processes need one each: use auto or cuda.")
    if name == "cpu" or not torch.cuda.is_available():
        return "cpu" if name == "auto" else name
    here, local = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    if max(here, local + 1) > torch.cuda.device_count():
        raise BadInput(
            f"{here} processes on this machine need a CUDA device each, and it has {torch.cuda.device_count()}: start fewer, "
            "or use device=cpu."
        )
    torch.cuda.set_device(local)
    return f"cuda:{local}"
