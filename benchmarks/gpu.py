"""For a machine with a GPU: is the batching kernel right, how close is it to the memory's limit, how fast does training go.

    python benchmarks/gpu.py [--out benchmarks/results/h200.json] [--minutes 7.5]
    TRITON_INTERPRET=1 python benchmarks/gpu.py --small        # the script itself, on a CPU

Correctness comes first: the kernel against the torch path over random shapes, offsets, transpositions and types, and across
2³¹ cells. If they differ, the script says where and exits 1. What is measured after that, each part on its own (one that fails is
reported in the result and the others go on; a part that no time is left for is said to be left out):

* ``bandwidth``: bytes per second of ``fill_`` and ``copy_`` over 4 GB: the limit that batching is held against.
* ``batching``: the kernel at batches of 64 to 4096 windows of 5 tracks × 192 steps × 84 pitches, transposed; time on the device
  (from a replayed CUDA graph) and per call, and bytes written per second as a share of ``fill_``'s.
* ``tiles``: the same at one batch size over groups per program and warps.
* ``rivals``: what one would use instead. On the device, dense uint8 of all 128 pitches (cropping after a transposition needs
  those outside the range): ``index_select``, one ``roll`` per batch (cheaper than one per window), crop, transpose, cast. The same
  without transposition and cropped beforehand. From the host, ``DataLoader`` over dense arrays with workers and pinned memory.
* ``musegan`` and ``rnn_nade``: training, see ``gpu_training.py`` beside this file. ``pays`` says which setting of MuseGAN to use.

Needs torch, numpy, pluggy and safetensors (and Triton) alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import gpu_training
import numpy as np
import torch
from torch import Tensor

from musegen_pianoroll.store.windows import WindowDataset, gather_windows_torch

N_TRACKS, RANGE, STEPS = 5, (24, 108), 192
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "uint8": torch.uint8}


class Different(Exception):
    """The kernel's values are not the torch path's."""


def random_planes(n_steps: int, n_tracks: int, n_planes: int, device: torch.device) -> Tensor:
    """Packed planes of which about one cell in eight sounds."""
    bits = [torch.randint(0, 256, (n_steps, n_tracks, n_planes, 16), device=device) for _ in range(3)]
    return (bits[0] & bits[1] & bits[2]).to(torch.uint8)


class Machine:
    """Where and how long: the device, its clock, and when to stop."""

    def __init__(self, device: torch.device, small: bool, minutes: float) -> None:
        self.device, self.small, self.cuda = device, small, device.type == "cuda"
        self.stop_at = time.monotonic() + 60 * minutes

    @property
    def seconds_left(self) -> float:
        return self.stop_at - time.monotonic()

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def per_call(self, call: Callable[[], Any], seconds: float = 0.3) -> float:
        """Median seconds of one call, each waited for together with its neighbours: rounds of several calls."""
        call()
        self.wait()
        start = time.perf_counter()
        call()
        self.wait()
        seconds = 0.0 if self.small else seconds
        n = max(1, min(200, int(seconds / 5 / max(time.perf_counter() - start, 1e-6))))
        rounds = []
        for _ in range(1 if self.small else 5):
            start = time.perf_counter()
            for _ in range(n):
                call()
            self.wait()
            rounds.append((time.perf_counter() - start) / n)
        return statistics.median(rounds)

    def on_device(self, calls: list[Callable[[], Any]], replays: int = 20) -> float:
        """Median seconds on the device of one of ``calls``, captured together as a graph: no launch gaps of the host."""
        if not self.cuda:
            return statistics.median(self.per_call(call) for call in calls)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for call in calls:
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for call in calls:
                call()
        times = []
        for _ in range(replays):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3 / len(calls))
        return statistics.median(times)


def check(machine: Machine) -> dict[str, Any]:
    """Random cases of every parameter; the first difference ends the script."""
    from musegen_pianoroll.store.kernels import gather_windows_fused

    rng, device = np.random.default_rng(0), machine.device
    # A shape is compiled, which takes the better part of a second; what is drawn for it takes none.
    n_shapes, n_draws = (12, 1) if machine.small else (60, 5)
    for case in range(n_shapes):
        n_tracks, n_planes = int(rng.integers(1, 4 if machine.small else 8)), int(rng.integers(1, 3))
        low = int(rng.integers(0, 128))
        high = RANGE[1] if case % 3 == 0 and low < RANGE[1] else int(rng.integers(low + 1, 129))
        n_steps = int(rng.integers(1, 16 if machine.small else 400))
        dtype = list(DTYPES.values())[case % 3]
        for _ in range(n_draws):
            n_windows = int(rng.integers(1, 3 if machine.small else 70))
            planes = random_planes(n_steps + 500, n_tracks, n_planes, device)
            starts = torch.from_numpy(rng.integers(0, 501, n_windows)).to(device)
            transpose = torch.from_numpy(rng.integers(-130, 131, n_windows)).to(device) if case % 4 else None
            fixed = torch.from_numpy(rng.random(n_tracks) < 0.4).to(device)
            arguments = (planes, starts, n_steps, (low, high), transpose, fixed, dtype)
            if not torch.equal(gather_windows_fused(*arguments), gather_windows_torch(*arguments)):
                raise Different(
                    f"shape {case}: {n_windows} windows, {n_tracks} × {n_planes}, {n_steps} steps, {low}–{high}, {dtype}"
                )
    result: dict[str, Any] = {"shapes": n_shapes, "draws_of_each": n_draws, "equal": True}
    if machine.cuda and not machine.small:  # across 2³¹ cells, and planes across 2³¹ bytes
        planes = random_planes(1_000, N_TRACKS, 2, device).repeat(14_000, 1, 1, 1)
        starts = torch.randint(0, len(planes) - STEPS, (14_000,), device=device)
        fixed = torch.zeros(N_TRACKS, dtype=torch.bool, device=device)
        found = gather_windows_fused(planes, starts, STEPS, RANGE, None, fixed, torch.uint8)
        for part in (slice(0, 50), slice(-50, None)):
            if not torch.equal(
                found[part], gather_windows_torch(planes, starts[part], STEPS, RANGE, None, fixed, torch.uint8)
            ):
                raise Different("an output of more than 2³¹ cells")
        result |= {"largest_output_cells": found.numel(), "largest_planes_bytes": planes.numel()}
    return result


def bandwidth(machine: Machine) -> dict[str, Any]:
    n_bytes = 1 << (20 if machine.small else 32)
    x = torch.empty(n_bytes, dtype=torch.uint8, device=machine.device)
    fill = n_bytes / machine.on_device([lambda: x.fill_(1)])
    half = n_bytes // 2
    copy = n_bytes / machine.on_device([lambda: x[:half].copy_(x[half:])])  # reads half, writes half
    return {"fill_GB_s": fill / 1e9, "copy_read_and_write_GB_s": copy / 1e9}


def corpus(machine: Machine, n_planes: int = 1) -> tuple[Tensor, Tensor]:
    """Packed planes larger than the cache of any GPU (480 MB), and the drums."""
    planes = random_planes(2_000 if machine.small else 6_000_000, N_TRACKS, n_planes, machine.device)
    return planes, torch.arange(N_TRACKS, device=machine.device) == 0


def batching(
    machine: Machine, limit_GB_s: float, sizes: list[int], tiles: list[tuple[int, int]] | None = None
) -> list[dict]:
    from musegen_pianoroll.store.kernels import BLOCK, N_WARPS, gather_windows_fused

    planes, fixed = corpus(machine)
    n_steps = 4 if machine.small else STEPS
    rows = []
    for size in sizes:
        # Fresh starts for each call of a graph, so that neither windows nor outputs are found in the cache.
        draws = [
            (
                torch.randint(0, len(planes) - n_steps, (size,), device=machine.device),
                torch.randint(-6, 7, (size,), device=machine.device),
            )
            for _ in range(4)
        ]
        for name, dtype in DTYPES.items() if tiles is None else [("bfloat16", torch.bfloat16)]:
            for block, n_warps in tiles or [(BLOCK, N_WARPS)]:

                def call(starts: Tensor, shift: Tensor, dtype=dtype, block=block, n_warps=n_warps) -> Tensor:
                    return gather_windows_fused(planes, starts, n_steps, RANGE, shift, fixed, dtype, block, n_warps)

                out = call(*draws[0])
                n_bytes = out.numel() * out.element_size()
                del out
                calls = [lambda draw=draw: call(*draw) for draw in draws[: 1 if machine.small else None]]  # type: ignore[misc]
                seconds = machine.on_device(calls)
                rows.append(
                    {
                        "batch": size,
                        "dtype": name,
                        "block": block,
                        "warps": n_warps,
                        "device_us": 1e6 * seconds,
                        "call_us": 1e6 * machine.per_call(calls[0]),
                        "written_GB_s": n_bytes / seconds / 1e9,
                        "share_of_fill": n_bytes / seconds / 1e9 / limit_GB_s,
                    }
                )
    return rows


class HostWindows(torch.utils.data.Dataset):
    """What one writes with ``DataLoader``: a slice of a dense array per item."""

    def __init__(self, dense: np.ndarray, starts: np.ndarray, n_steps: int) -> None:
        self.dense, self.starts, self.n_steps = dense, starts, n_steps

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: int) -> np.ndarray:
        start = self.starts[i]
        window = np.roll(self.dense[start : start + self.n_steps], i % 13 - 6, -1)[..., slice(*RANGE)]
        return window.transpose(1, 0, 2).astype(np.float32)


def rivals(machine: Machine) -> dict[str, Any]:
    from musegen_pianoroll.store.kernels import gather_windows_fused

    device, size, n_steps = machine.device, (2 if machine.small else 1024), (4 if machine.small else STEPS)
    planes, fixed = corpus(machine)
    planes = planes[:1_500_000]  # dense, they take 0.96 GB
    dense = ((planes[..., None] >> torch.arange(8, device=device)) & 1).to(torch.uint8).view(len(planes), N_TRACKS, 128)
    cropped = dense[..., slice(*RANGE)].contiguous()
    starts = torch.randint(0, len(planes) - n_steps, (size,), device=device)
    shift = torch.randint(-6, 7, (size,), device=device)
    within = torch.arange(n_steps, device=device)
    dtype = torch.bfloat16

    def select(source: Tensor) -> Tensor:
        return source.index_select(0, (starts[:, None] + within).flatten()).view(size, n_steps, N_TRACKS, -1)

    def cast(x: Tensor) -> Tensor:
        return x.transpose(1, 2).to(dtype, memory_format=torch.contiguous_format)

    sides: dict[str, Callable[[], Tensor]] = {
        "packed, transposed per window": lambda: gather_windows_fused(
            planes, starts, n_steps, RANGE, shift, fixed, dtype
        ),
        "packed": lambda: gather_windows_fused(planes, starts, n_steps, RANGE, None, fixed, dtype),
        "packed, without Triton": lambda: gather_windows_torch(planes, starts, n_steps, RANGE, shift, fixed, dtype),
        "dense, index_select + roll + crop + cast": lambda: cast(select(dense).roll(3, -1)[..., slice(*RANGE)]),
        "dense, index_select + crop + cast": lambda: cast(select(dense)[..., slice(*RANGE)]),
        "dense of 84 pitches, index_select + cast": lambda: cast(select(cropped)),
    }
    seconds = {name: machine.on_device([call]) for name, call in sides.items()}
    mine = seconds["packed, transposed per window"]
    result: dict[str, Any] = {
        "batch": size,
        "device_us": {name: 1e6 * s for name, s in seconds.items()},
        "times_ours": {name: s / mine for name, s in seconds.items()},
        "bytes_per_step": {
            "packed": planes[0].numel(),
            "dense": dense[0].numel(),
            "dense of 84 pitches": cropped[0].numel(),
        },
    }

    n_workers = 0 if machine.small else min(8, os.cpu_count() or 1)
    rng = np.random.default_rng(0)
    host = HostWindows(
        dense[:200_000].cpu().numpy(), rng.integers(0, min(200_000, len(dense)) - n_steps, 40 * size), n_steps
    )
    loader = torch.utils.data.DataLoader(host, size, shuffle=True, num_workers=n_workers, pin_memory=machine.cuda)
    start, n = 0.0, 0
    for i, batch in enumerate(loader):
        batch.to(device, non_blocking=True).to(dtype)
        if i == 2:  # workers are up
            machine.wait()
            start = time.perf_counter()
        n = i - 2
        if n >= 3 and (machine.small or time.perf_counter() - start > 5):
            break
    machine.wait()
    per_batch = (time.perf_counter() - start) / n
    result["data_loader"] = {"workers": n_workers, "us": 1e6 * per_batch, "times_ours": per_batch / mine}
    return result


def windows(machine: Machine, n_steps: int, n_planes: int) -> WindowDataset:
    planes, fixed = corpus(machine, n_planes)
    planes = planes[:1_000_000]
    starts = torch.arange(0, len(planes) - n_steps, n_steps, device=machine.device)
    return WindowDataset(planes, starts, n_steps, RANGE, fixed, range(-6, 7))


def attempt(machine: Machine, least_seconds: float, call: Callable[[], Any]) -> Any:
    """A part's result, or why there is none."""
    if machine.seconds_left < least_seconds:
        return {"left_out": f"less than {least_seconds:.0f} s were left"}
    start = time.monotonic()
    try:
        return call()
    except Different:
        raise
    except Exception as error:
        return {
            "error": f"{type(error).__name__}: {str(error)[:500]}",
            "where": traceback.format_exc()[-700:].replace(str(Path.cwd()), "."),
        }
    finally:
        print(f"{time.monotonic() - start:6.1f} s, {machine.seconds_left:5.0f} s left", file=sys.stderr, flush=True)
        if machine.cuda:
            torch.cuda.empty_cache()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "h200.json")
    parser.add_argument("--minutes", type=float, default=7.5, help="parts that no time is left for are left out")
    parser.add_argument(
        "--small", action="store_true", help="tiny sizes, also on a CPU: a test of this script, not of speed"
    )
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and not arguments.small:
        print("There is no CUDA device: use a machine that has one, or --small to test the script.", file=sys.stderr)
        return 2
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    machine = Machine(device, arguments.small, arguments.minutes)
    try:
        import triton

        triton_version = triton.__version__
    except ImportError:
        triton_version = None
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name(device) if machine.cuda else platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "triton": triton_version,
            "numpy": np.__version__,
        },
        "system": platform.system(),
        "small": arguments.small,
        "paper_steps": gpu_training.PAPER_STEPS,
    }
    code = 0
    try:
        result["check"] = attempt(machine, 0, lambda: check(machine))
        code = 0 if result["check"].get("equal") else 1
        result["bandwidth"] = attempt(machine, 0, lambda: bandwidth(machine))
        limit = result["bandwidth"].get("fill_GB_s", float("nan"))
        sizes = [2] if machine.small else [64, 256, 1024, 4096]
        tiles = [(128, 2)] if machine.small else [(b, w) for b in (256, 512, 1024, 2048) for w in (2, 4, 8)]
        result["batching"] = attempt(machine, 30, lambda: batching(machine, limit, sizes))
        result["rivals"] = attempt(machine, 30, lambda: rivals(machine))

        def of(n_steps: int, n_planes: int) -> WindowDataset:
            torch.manual_seed(2)  # the same music for every setting
            return windows(machine, n_steps, n_planes)

        result["musegan"], losses = [], {}  # type: ignore[var-annotated]
        for setting in gpu_training.SETTINGS:
            # What compiles takes a minute or two before its first step.
            row = attempt(
                machine,
                30 if setting.compile == "none" else 90,
                lambda s=setting: gpu_training.musegan(machine, s, of, losses),
            )  # type: ignore[misc]
            result["musegan"].append(setting.named | row)
        result["pays"] = gpu_training.pays(result["musegan"])
        print(result["pays"], file=sys.stderr, flush=True)
        result["rnn_nade"] = [
            attempt(machine, 20, lambda p=p: gpu_training.rnn_nade(machine, p, of))  # type: ignore[misc]
            for p in ("float32", "bf16")
        ]
        result["tiles"] = attempt(machine, 30, lambda: batching(machine, limit, [2 if machine.small else 1024], tiles))
    except Different as error:
        result["check"] = {"equal": False, "where": str(error)}
        print(f"The kernel differs from the torch path: {error}", file=sys.stderr)
        code = 1
    result["seconds"] = 60 * arguments.minutes - machine.seconds_left
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return code


if __name__ == "__main__":
    sys.exit(main())
