"""Arrays of any shape: what their cells are, files, pieces, and every check of a domain."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Result
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image
from torch import Tensor

import musegen
from musegen.arrays import reading
from musegen.arrays.config import ArrayConfig
from musegen.arrays.domain import ArrayDomain
from musegen.contracts.domain import Data
from musegen.data.held import held
from musegen.errors import BadInput
from musegen.probability.likelihood import Bernoulli, Categorical, Gaussian
from musegen.testing import Check, checks

CONFIGS: dict[str, ArrayConfig] = {
    "vector": ArrayConfig(shape=[7], cells="real", centre=3.0, spread=20.0),
    "signals": ArrayConfig(shape=[2, 40], cells="real", networks="conv", channels=4, classes=["a", "b"]),
    "matrix": ArrayConfig(shape=[9, 6], cells="categorical", levels=5, networks="conv", channels=4, given=[0, 0, 4]),
    "volume": ArrayConfig(shape=[6, 5, 7], axes=3, networks="conv", channels=4, cells="binary", classes=["a", "b"]),
    "tensor": ArrayConfig(shape=[2, 3, 2, 4], cells="binary", widths=[16]),
    "names": ArrayConfig(shape=[6], cells="categorical", levels=4, ordered=False, widths=[16]),
}


@pytest.mark.parametrize(
    "check",
    [check for config in CONFIGS.values() for check in checks(ArrayDomain(config))],
    ids=str,
)
def test_conformance(check: Check) -> None:
    check()


def opened(x: Any, **options: Any) -> tuple[ArrayDomain, Data]:
    return ArrayDomain.hold(ArrayConfig(**options), held({"train": x}))


def seen(data: Data) -> Tensor:
    train = data.splits["train"]
    return train.gather(torch.arange(len(train)), torch.Generator()).x


@given(
    npst.arrays(
        np.float32, npst.array_shapes(min_dims=2, max_dims=4, max_side=6), elements=st.floats(-1e4, 1e4, width=32)
    )
)
def test_real_cells_are_standardised_and_brought_back(x: np.ndarray) -> None:
    domain, data = opened(x, cells="real")
    inside = seen(data)
    if x.std() > 1e-3:
        assert abs(float(inside.double().mean())) < 1e-2
        assert abs(float(inside.double().std(correction=0)) - 1) < 1e-2
    # Rounding of the largest, in single precision and in units of the spread.
    assert np.allclose(domain.values(inside), x, atol=1e-5 * max(1.0, float(np.abs(x).max())))


@given(npst.arrays(np.int64, npst.array_shapes(min_dims=2, max_dims=4, max_side=6), elements=st.integers(0, 30)))
def test_categorical_cells_are_brought_back_exactly(x: np.ndarray) -> None:
    x.flat[0] = 2  # not binary
    domain, data = opened(x)
    assert domain.spec.likelihood == Categorical(int(x.max()) + 1)
    assert np.array_equal(domain.values(seen(data)), x)
    assert torch.equal(domain.discretise(seen(data)), seen(data))


@pytest.mark.parametrize(
    ("x", "options", "likelihood"),
    [
        (torch.tensor([[0, 1, 1]]), {}, Bernoulli()),
        (torch.tensor([[True, False]]), {}, Bernoulli()),
        (torch.tensor([[0.0, 1.0]]), {}, Bernoulli()),
        (torch.tensor([[0.0, 0.5]]), {}, Gaussian()),
        (torch.tensor([[0.0, 0.5]]), {"cells": "binary"}, Bernoulli()),
        (torch.tensor([[0, 5]]), {}, Categorical(6)),
        (torch.tensor([[0, 5]]), {"levels": 9}, Categorical(9)),
        (torch.tensor([[0, 5]]), {"ordered": False}, Categorical(6, ordered=False)),
        (torch.tensor([[0.0, 5.0]]), {}, Gaussian()),
        (torch.tensor([[0.0, 5.0]]), {"cells": "categorical"}, Categorical(6)),
        (torch.tensor([[0, 64]]), {}, Gaussian()),
        (torch.tensor([[-1, 1]]), {}, Gaussian()),
        (torch.tensor([[0, 1]]), {"cells": "real"}, Gaussian()),
        (torch.tensor([[0, 1]]), {"cells": "categorical"}, Categorical(2)),
    ],
)
def test_what_cells_are(x: Tensor, options: dict[str, Any], likelihood: object) -> None:
    assert opened(x, **options)[0].spec.likelihood == likelihood


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.tensor([[0.0, 2.0]]), {"cells": "binary"}, "cells go from 0 to 2: scale them"),
        (torch.tensor([[0.0, 1.5]]), {"cells": "categorical"}, "whole numbers from 0 to"),
        (torch.tensor([[0, 5]]), {"cells": "categorical", "levels": 4}, "whole numbers from 0 to 3"),
        (torch.zeros(1, 3, 4), {"given": [1, 2, 9]}, r"given=\[1, 2, 9\] does not fit samples of shape \(3, 4\)"),
        (torch.zeros(1, 3, 4), {"axes": 3}, "axes=3 does not fit"),
    ],
)
def test_options_that_do_not_fit_the_data(x: Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        opened(x, **options)


@pytest.mark.parametrize(
    ("shape", "axes", "rank"),
    [([9], 0, 1), ([2, 9], 0, 1), ([9, 9], 0, 2), ([3, 9, 9], 0, 2), ([9, 9, 9], 0, 3), ([64, 9], 1, 1)],
)
def test_axes_of_convolutions(shape: list[int], axes: int, rank: int) -> None:
    assert ArrayConfig(shape=shape, axes=axes).rank == rank


def test_more_axes_than_convolutions_have() -> None:
    domain = ArrayDomain(ArrayConfig(shape=[5, 5, 5, 5], networks="conv"))
    with pytest.raises(BadInput, match="three axes at most"):
        _ = domain.config.rank


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_files_say_what_memory_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (30, 5)), np.array(["low", "high", "low"] * 10)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    _, wanted = ArrayDomain.hold(ArrayConfig(), held((x, y)))
    sources = {
        tmp_path / "x.npy": str(tmp_path / "y.npy"),
        write(tmp_path / "both.npz", x=x, y=y): "y",
        write(tmp_path / "named.npz", images=x, kind=y): "kind",
        write(tmp_path / "compressed.npz", x=x): "y.npy",
    }
    for path, labels in sources.items():
        domain, data = ArrayDomain.open(ArrayConfig(labels=labels), path, tmp_path)
        assert domain.spec.classes == ("high", "low")
        assert torch.equal(seen(data), seen(wanted))
        assert data.fingerprint == wanted.fingerprint
        assert torch.equal(data.splits["train"].label, wanted.splits["train"].label)
    split = write(tmp_path / "splits.npz", x_train=x[:20], y_train=y[:20], x_valid=x[20:], y_valid=y[20:])
    _, data = ArrayDomain.open(ArrayConfig(), split, tmp_path)
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 20, "valid": 10}
    assert torch.equal(seen(data), torch.from_numpy(x[:20] / 3).float())


def test_an_npy_file_is_mapped_and_never_written_to(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    before = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").chmod(0o444)
    array = reading.read_array(tmp_path / "x.npy")
    assert isinstance(array, np.memmap)
    array[0] = 7
    assert (tmp_path / "x.npy").read_bytes() == before


class Hidden:
    """What a pickle would run."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("unpickled",))


def damaged(tmp_path: Path) -> dict[str, str]:
    objects = np.array([[Hidden()]], dtype=object)
    np.save(tmp_path / "objects.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "objects.npz", x=objects)
    np.save(tmp_path / "whole.npy", np.zeros((40, 10)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:1000])
    np.savez(tmp_path / "whole.npz", x=np.zeros((40, 10)))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:1000])
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "many.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 8)})
    with zipfile.ZipFile(tmp_path / "claims.npz", "w") as file:
        file.writestr("x.npy", header.getvalue() + bytes(64))
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as file:
        file.writestr("x.npy", header.getvalue().replace(str(1 << 40).encode(), b"1000000      ") + bytes(64))
    return {
        "objects.npy": "no array of numbers",
        "objects.npz": "no array of numbers",
        "cut.npy": "no array of numbers",
        "cut.npz": "no .npz file",
        "empty.npy": "no array of numbers",
        "text.npz": "no .npz file",
        "many.npz": r"has no array x \(a, b\)",
        "claims.npz": "claims .* bytes, more than",
        "short.npz": "shorter than it claims",
        "nowhere.npy": "cannot be read",
        "x.csv": "no .npy file",
    }


def test_damaged_and_dangerous_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    for name, message in damaged(tmp_path).items():
        with pytest.raises(BadInput, match=message) as caught:
            ArrayDomain.open(ArrayConfig(), tmp_path / name, tmp_path)
        assert "\n" not in str(caught.value)


@given(st.binary(max_size=200), st.sampled_from([".npy", ".npz"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str) -> None:
    path = tmp_path_factory.mktemp("any") / f"x{suffix}"
    path.write_bytes((b"\x93NUMPY\x01\x00" if suffix == ".npy" else b"PK\x03\x04") + content)
    with pytest.raises(BadInput):
        ArrayDomain.open(ArrayConfig(), path, path.parent)


@pytest.mark.parametrize("key", CONFIGS)
def test_pieces_save_and_are_read_again(key: str, tmp_path: Path) -> None:
    domain = ArrayDomain(CONFIGS[key])
    x = domain.synthetic(4).splits["train"].gather(torch.arange(4), torch.Generator()).x
    for i, piece in enumerate(domain.pieces(x)):
        path = piece.save(tmp_path / f"{i}.npy")
        assert torch.allclose(domain.read(path)[0], x[i], atol=1e-5)
        assert min(piece.picture().size) > 8
        flat = sum(side > 1 for side in domain.spec.shape) <= 2 <= len(domain.spec.shape)
        if flat:
            assert Image.open(piece.save(tmp_path / f"{i}.png")).size == piece.picture().size
        else:
            with pytest.raises(BadInput, match="is no picture"):
                piece.save(tmp_path / f"{i}.png")
    with pytest.raises(BadInput, match=r"saved as \.npy files"):
        domain.pieces(x)[0].save(tmp_path / "x.mid")


def test_expected_values_are_written_if_wanted() -> None:
    domain = ArrayDomain(CONFIGS["tensor"])
    x = torch.full((1, 2, 3, 2, 4), 0.3)
    assert domain.pieces(x)[0].array.dtype == np.uint8
    assert np.allclose(domain.written_with({"rounded": False}).pieces(x)[0].array, 0.3)


def test_on_the_command_line(run: Callable[..., Result], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez("waves.npz", x=np.sin(rng.random((40, 1)) * 6 + np.arange(24) / 3), y=rng.integers(0, 2, 40))
    assert run("data", "info", "waves.npz", "--domain", "array").code == 0
    options = ["--steps", 2, "--batch-size", 4, "--set", "networks=conv", "--set", "channels=4", "--samples", 2]
    result = run("train", "vae", "array", "waves.npz", "--out", "run", *options)
    assert result.code == 0, result.err
    assert "cells are real, from" in result.err
    assert run("generate", "run", "-n", 2, "--out", "new").code == 0
    x = np.load("new/sample_000.npy")
    assert x.shape == (24,)
    assert run("reconstruct", "run", "new/sample_000.npy", "--out", "again").code == 0
    assert run("evaluate", "run", "-n", 4, "-k", 1).code == 0
    bad = run("train", "vae", "array", "--out", "other")
    assert (bad.code, "has no data of its own" in bad.err) == (2, True)


def test_a_streamed_array_is_what_a_placed_one_is() -> None:
    x = torch.randn(300, 11)
    _, data = ArrayDomain.hold(ArrayConfig(), held(x))
    train = data.splits["train"]
    streamed = train.placed(torch.device("cpu"), memory=x.nbytes // 3)
    assert type(streamed) is not type(train)
    index = torch.arange(len(train)).flip(0)
    a, b = (dataset.gather(index, torch.Generator()) for dataset in (train, streamed))
    assert torch.equal(a.x, b.x)
    assert sorted(streamed.order(0, 1).tolist()) == sorted(index.tolist())


def test_conditional_samples_of_arrays(tmp_path: Path) -> None:
    x = torch.randn(60, 6)
    options = {"steps": 2, "batch_size": 8, "validate_every": 0, "sample_every": 0, "quiet": True, "widths": [8]}
    run = musegen.train("conditional_gan", "array", data=(x, ["up", "down"] * 30), out=tmp_path / "run", **options)
    model = musegen.load(run.path)
    assert model.sample(3, label="down").shape == (3, 6)
    assert model.domain.spec.classes == ("down", "up")
