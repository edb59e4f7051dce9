"""The fused batching kernel against the torch path: in Triton's interpreter on a CPU, compiled on CUDA."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before triton is imported; nothing else uses Triton on a CPU
triton = pytest.importorskip("triton", reason="Triton is not installed, so its kernel cannot be run")

import triton.language as tl  # noqa: E402

from musegen.errors import MusegenWarning  # noqa: E402
from musegen_pianoroll.config import PianorollConfig  # noqa: E402
from musegen_pianoroll.opening import fixed_entries  # noqa: E402
from musegen_pianoroll.store import windows as packed  # noqa: E402
from musegen_pianoroll.store.format import StoreTrack  # noqa: E402
from musegen_pianoroll.store.kernels import first_cell, gather_windows_fused  # noqa: E402
from musegen_pianoroll.store.planes import in_channels  # noqa: E402
from musegen_pianoroll.store.windows import gather_windows, gather_windows_torch  # noqa: E402

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking, which takes minutes in the interpreter."""
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.uint8)


@settings(deadline=None, max_examples=20, phases=PHASES)
@given(data=st.data())
def test_kernel_equals_the_torch_path_bit_for_bit(data: st.DataObject) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10_000)))
    n_tracks, n_planes = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 2, 5]))
    n_steps, n_windows = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 3))
    low = data.draw(st.integers(0, 127))
    high = data.draw(st.integers(low + 1, 128))
    dtype = data.draw(st.sampled_from(DTYPES))
    block = data.draw(st.sampled_from([64, 1024]))

    def draw(low: int, high: int, n: tuple[int, ...]) -> torch.Tensor:
        return torch.randint(low, high, n, generator=generator)

    planes = draw(0, 256, (100, n_tracks, n_planes, 16)).to(torch.uint8)
    starts = draw(0, 100 - n_steps + 1, (n_windows,))
    starts[-1] = 100 - n_steps  # the last window ends with the store
    transpose = draw(-130, 131, (n_windows,)) if data.draw(st.booleans()) else None
    fixed = draw(0, 2, (n_tracks,)).bool()
    arguments = [x if x is None else x.to(DEVICE) for x in (planes, starts, transpose, fixed)]
    planes, starts, transpose, fixed = arguments  # type: ignore[assignment]
    expected = gather_windows_torch(planes, starts, n_steps, (low, high), transpose, fixed, dtype)
    found = gather_windows_fused(planes, starts, n_steps, (low, high), transpose, fixed, dtype, block)
    assert found.dtype == expected.dtype == dtype
    assert found.is_contiguous()
    assert expected.is_contiguous()
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pitch_range", [(24, 108), (0, 128), (21, 31), (20, 23)])  # groups of 4, 8, 2 and 1 cells
def test_every_transposition(pitch_range: tuple[int, int], dtype: torch.dtype) -> None:
    transpose = torch.tensor([-130, -100, -24, *range(-6, 7), 24, 100, 130], device=DEVICE)
    planes = torch.randint(0, 256, (300, 1, 1, 16), dtype=torch.uint8).to(DEVICE)
    arguments = (
        planes,
        torch.arange(len(transpose), device=DEVICE),
        1,
        pitch_range,
        transpose,
        transpose[:1] > 0,
        dtype,
    )
    assert torch.equal(gather_windows_fused(*arguments, block=64), gather_windows_torch(*arguments))


def test_levels_are_unpacked_as_channels_of_their_own() -> None:
    """A plan, notes and levels, each plane an entry: what moves in pitch is what moves of whole tracks."""
    generator = torch.Generator().manual_seed(0)
    planes = torch.randint(0, 256, (60, 2, 5, 16), generator=generator, dtype=torch.uint8).to(DEVICE)
    plan = torch.randint(0, 256, (60, 1, 2, 16), generator=generator, dtype=torch.uint8).to(DEVICE)
    config = PianorollConfig(velocities=True, plan="chords")
    fixed = fixed_entries(config, [StoreTrack("Drums", is_drum=True), StoreTrack("Piano")]).to(DEVICE)
    starts, transpose = (torch.tensor(numbers, device=DEVICE) for numbers in ([0, 17, 44], [3, 0, -5]))
    arguments = (starts, 16, (24, 108), transpose)
    found = gather_windows_fused(in_channels(planes, plan), *arguments, fixed)
    assert torch.equal(found, gather_windows_torch(in_channels(planes, plan), *arguments, fixed))
    drums, piano = gather_windows_torch(planes, *arguments, fixed[[2, 4]]).split(5, 1)
    moved = gather_windows_torch(plan, *arguments, fixed[:1])
    assert torch.equal(found, torch.cat([moved, drums[:, :2], piano[:, :2], drums[:, 2:], piano[:, 2:]], 1))


def test_reads_beyond_two_gigabytes(tmp_path: Path) -> None:
    """Windows on both sides of byte 2³¹ of a sparse store."""
    row = 2 * 2 * 16
    n_rows = 2**31 // row + 200
    planes = torch.from_file(str(tmp_path / "sparse"), shared=True, size=n_rows * row, dtype=torch.uint8)
    planes = planes.view(n_rows, 2, 2, 16)
    planes[-400:] = torch.randint(0, 256, (400, 2, 2, 16), dtype=torch.uint8)
    planes = planes.to(DEVICE)
    starts = torch.tensor([n_rows - 400, n_rows - 205, n_rows - 10], device=DEVICE)
    fixed = torch.tensor([True, False], device=DEVICE)
    transpose = torch.tensor([3, -2, 0], device=DEVICE)
    arguments = (planes, starts, 10, (24, 108), transpose, fixed)
    found = gather_windows_fused(*arguments)
    assert torch.equal(found, gather_windows_torch(*arguments))
    assert (found.flatten(1).mean(1) > 0.3).all()


@triton.jit
def _first_cells(index, n_cells: tl.constexpr, out):
    i = tl.program_id(0)
    tl.store(out + i, first_cell(tl.load(index + i), n_cells))


def test_plane_addresses_beyond_two_thousand_million_cells() -> None:
    index = torch.tensor([0, 1, 266_305, 2**31 - 1], dtype=torch.int32, device=DEVICE)
    out = torch.empty(4, dtype=torch.int64, device=DEVICE)
    _first_cells[(4,)](index, 192 * 84, out)
    assert out.tolist() == [i * 192 * 84 for i in index.tolist()]


def test_says_what_it_cannot_address() -> None:
    fixed, starts = torch.zeros(1, dtype=torch.bool, device=DEVICE), torch.zeros(1, dtype=torch.int64, device=DEVICE)
    planes = torch.zeros(10, 1, 2, 16, dtype=torch.uint8, device=DEVICE)
    with pytest.raises(ValueError, match="contiguous"):
        gather_windows_fused(planes[:, :, :1], starts, 4, (0, 128), None, fixed)
    with pytest.raises(ValueError, match=r"not as torch\.float64"):
        gather_windows_fused(planes, starts, 4, (0, 128), None, fixed, torch.float64)
    with pytest.raises(ValueError, match="too large"):
        gather_windows_fused(planes, starts, 2**27, (0, 128), None, fixed)


def test_no_windows_are_no_launch() -> None:
    planes = torch.zeros(10, 1, 1, 16, dtype=torch.uint8, device=DEVICE)
    none, fixed = (
        torch.zeros(0, dtype=torch.int64, device=DEVICE),
        torch.zeros(1, dtype=torch.bool, device=DEVICE),
    )
    assert gather_windows_fused(planes, none, 4, (24, 108), None, fixed).shape == (0, 1, 4, 84)


def test_without_triton_one_warning_and_the_torch_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "musegen_pianoroll.store.kernels", None)  # importing it raises ImportError
    packed._fused.cache_clear()
    try:
        with pytest.warns(MusegenWarning, match="Triton is not installed"):
            assert packed._fused() is None
        assert packed._fused() is None  # and silent from now on
    finally:
        packed._fused.cache_clear()


def test_batching_on_a_cpu_does_not_ask_for_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_fused", lambda: pytest.fail("Triton was asked for"))
    planes, fixed = torch.zeros(9, 1, 1, 16, dtype=torch.uint8), torch.tensor([False])
    assert gather_windows(planes, torch.tensor([1]), 4, (0, 128), None, fixed).shape == (1, 1, 4, 128)


@pytest.mark.gpu
def test_batching_on_cuda_runs_the_kernel() -> None:
    planes = torch.randint(0, 256, (50, 2, 2, 16), dtype=torch.uint8)
    starts, transpose, fixed = torch.tensor([0, 30]), torch.tensor([1, -1]), torch.tensor([True, False])
    expected = gather_windows(planes, starts, 16, (24, 108), transpose, fixed)
    found = gather_windows(planes.cuda(), starts.cuda(), 16, (24, 108), transpose.cuda(), fixed.cuda())
    assert packed._fused() is not None
    assert torch.equal(found.cpu(), expected)
