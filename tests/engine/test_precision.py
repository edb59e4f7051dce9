"""Batches in bfloat16: what is 0 or 1 stays what it was, and no family sees a difference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from configurations import ON_TOYS, configured
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import musegen
from musegen.contracts.dataset import Batch, Dataset
from musegen.contracts.family import build
from musegen.data.arrays import ArrayDataset, View
from musegen.data.batches import Batches
from musegen.data.streaming import Streamed
from musegen.engine.config import Precision
from musegen.engine.engine import Engine
from musegen.engine.precision import computing
from musegen.running.config import RunConfig
from musegen.running.placement import auxiliary_dataset
from musegen.running.resolved import resolve
from musegen_pianoroll.store.windows import WindowDataset

CPU, BF16 = torch.device("cpu"), torch.bfloat16


def binarised(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.bernoulli(x, generator=generator)


def windows() -> WindowDataset:
    planes = torch.randint(0, 256, (400, 3, 2, 16), dtype=torch.uint8)
    fixed = torch.tensor([True, False, False])
    return WindowDataset(planes, torch.arange(0, 380, 7), 16, (21, 109), fixed, range(-5, 7))


BINARY: dict[str, Callable[[], Dataset]] = {
    "zeros and ones": lambda: ArrayDataset(torch.randint(0, 2, (50, 3, 4), dtype=torch.uint8), scale=1, binary=True),
    "drawn": lambda: ArrayDataset(
        torch.randint(0, 256, (50, 3, 4), dtype=torch.uint8), transform=binarised, binary=True
    ),
    "some of them": lambda: View(
        ArrayDataset(torch.randint(0, 2, (60, 3), dtype=torch.uint8), scale=1, binary=True), torch.arange(5, 55)
    ),
    "windows": windows,
}


@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**20), step=st.integers(0, 20), streamed=st.booleans())
def test_the_same_values_in_either_type(name: str, seed: int, step: int, streamed: bool) -> None:
    torch.manual_seed(seed)
    dataset = BINARY[name]()
    memory = dataset.n_bytes // 2 if streamed else None
    single, half = (Batches(dataset.placed(CPU, memory, dtype), 8, seed, CPU)[step] for dtype in (torch.float32, BF16))
    assert (single.x.dtype, half.x.dtype) == (torch.float32, BF16)
    assert torch.equal(single.x, half.x.float())
    assert torch.equal(single.x, half.float().x)
    assert half.float().x.dtype == torch.float32
    if streamed and name != "some of them":
        assert isinstance(dataset.placed(CPU, memory, BF16), Streamed)


def test_grey_levels_keep_their_digits() -> None:
    """1/255 of white is not a number of 8 binary digits: such pictures are not rounded."""
    grey = ArrayDataset(torch.arange(256, dtype=torch.uint8)[:, None])
    batch = Batches(grey.placed(CPU, None, BF16), 256, 0, CPU)[0]
    assert batch.x.dtype == torch.float32
    assert torch.equal(batch.x[:, 0], batch.index / 255)


@pytest.mark.parametrize(
    ("options", "binary"),
    [
        ({}, {"train": True, "target": True}),
        ({"binarisation": "none"}, {"train": False, "target": False}),
        ({"binarisation": "threshold"}, {"train": True, "target": True}),
        # What comes as zeros and ones stays so; a target is not binarised with it.
        ({"binarisation": "static"}, {"train": True, "target": False}),
    ],
)
def test_pictures_that_say_they_are_binary_are(options: dict[str, Any], binary: dict[str, bool]) -> None:
    from musegen_image.domain import ImageConfig, ImageDomain

    static = options.get("binarisation") == "static"
    images = torch.randint(0, 2 if static else 256, (20, 1, 28, 28), dtype=torch.uint8) * (255 if static else 1)
    grey = torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8)
    config = ImageConfig(target="background", **options)
    data = ImageDomain._data(config, {"train": (images.numpy(), None), "target": (grey.numpy(), None)}, "made up")
    for split, expected in binary.items():
        x = Batches(data.splits[split].placed(CPU, None, BF16), 20, 0, CPU)[0].x
        assert (x.dtype == BF16) == expected
        values = set(x.unique().tolist())
        assert (values <= {0.0, 1.0}) == expected


@pytest.mark.parametrize(
    ("precision", "device", "dtype", "products"),
    [
        ("float32", "cuda", torch.float32, "highest"),
        ("tf32", "cuda", torch.float32, "high"),
        ("bf16", "cuda", BF16, "highest"),
        ("tf32", "cpu", torch.float32, "highest"),
        ("bf16", "cpu", torch.float32, "highest"),
    ],
)
def test_what_a_device_computes_in(precision: Precision, device: str, dtype: torch.dtype, products: str) -> None:
    """On a CPU everything is float32; and behind the last step everything is as it was."""
    within, of_batches = computing(precision, torch.device(device))
    assert of_batches == dtype
    if precision == "bf16" and device == "cuda" and not torch.cuda.is_available():
        assert isinstance(within, torch.autocast)
        return
    for _ in range(2):
        with within:
            with within:
                assert torch.get_float32_matmul_precision() == products
            assert torch.get_float32_matmul_precision() == products
        assert torch.get_float32_matmul_precision() == "highest"


def some_steps(key: str, dtype: torch.dtype) -> dict[str, float]:
    """Metrics of three steps and an evaluation, under the autocast of a CPU."""
    name, options = configured(key, "toy")
    resolved = resolve(name, "toy", options)
    opened, data = resolved.domain.open(resolved.domain_config, None, Path("unused"))
    torch.manual_seed(0)
    family = build(resolved.family, resolved.family_config, opened)
    engine = Engine(family, RunConfig(batch_size=8, device="cpu"))
    engine._autocast = torch.autocast("cpu", BF16)
    wanted = resolved.family.auxiliary(resolved.family_config, opened.spec)
    auxiliary = {n: auxiliary_dataset(resolved, data, want).placed(CPU, None, dtype) for n, want in wanted.items()}
    train = data.splits["train"].placed(CPU, None, dtype)
    batches = Batches(train, 8 * family.minibatches, 0, CPU, auxiliary)
    family.prepare(batches[0].float())
    for step in range(3):
        batch: Batch = batches[step]
        assert {b.x.dtype for b in (batch, *batch.auxiliary.values())} == {dtype}
        engine.step([batch])
    return engine.collect() | engine.evaluate([batches[5]])


@pytest.mark.parametrize("key", ON_TOYS)
def test_every_family_learns_the_same(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first layer gets what autocast would have made of the batch, and a likelihood computes in float32."""
    monkeypatch.setattr(toy, "ArrayDataset", lambda *args, **kwargs: ArrayDataset(*args, **kwargs, binary=True))
    assert some_steps(key, BF16) == some_steps(key, torch.float32)


def test_a_run_in_bf16_makes_batches_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first look at the data to samples and thresholds, as on a CUDA device."""
    made = Engine.__init__

    def as_on_cuda(self: Engine, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        self._autocast, self.batch_dtype = torch.autocast("cpu", BF16), BF16

    monkeypatch.setattr(Engine, "__init__", as_on_cuda)
    options: dict[str, Any] = {"steps": 2, "validate_every": 1, "sample_every": 1, "samples": 2, "batch_size": 4}
    options |= {"device": "cpu", "quiet": True, "bars": 1, "validate_examples": 8}
    for family, own in {
        "ae": {},
        "gan": {"loss": "wasserstein-gp", "networks": "musegan-composer", "channels": 8},
        "rnn_nade": {"given": ["Bass"], "units": 8, "hidden": 8, "features": 8},
    }.items():
        run = musegen.train(family, "pianoroll", out=tmp_path / family, **options, **own)
        assert run.metrics()
