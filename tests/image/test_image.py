"""The image domain: files of any kind in, exact values out, bad files refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from musegen.contracts import piece
from musegen.contracts.domain import Decoder, Discriminator, Encoder
from musegen.data.batches import Batches
from musegen.data.bundled import bundled
from musegen.errors import BadInput
from musegen.networks.dcgan import halvings
from musegen_image.data import (
    N_VALID,
    binarise,
    read_idx,
    read_mnist,
    read_static_binarised,
)
from musegen_image.domain import ImageConfig, ImageDomain
from musegen_image.metrics import compare
from musegen_image.pictures import grid, to_uint8

CPU = torch.device("cpu")


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


# idx


@settings(deadline=None)
@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=3), zipped=st.booleans())
def test_idx_round_trip(shape: list[int], zipped: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = tmp_path_factory.mktemp("idx") / ("x.gz" if zipped else "x")
    path.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    np.testing.assert_array_equal(read_idx(path), array)


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_idx_files_are_refused_by_name(tmp_path: Path, zipped: bool) -> None:
    whole = idx(np.zeros((3, 4), np.uint8))
    path = tmp_path / ("x.gz" if zipped else "x")
    cases = {
        "truncated": whole[:-1],
        "longer than its header says": whole + b"x",
        "no idx file": b"\x89PNG",
        "truncated: 6": whole[:6],
        ("claims 1,099,511,627,788 bytes" if zipped else "truncated: 12 bytes instead of 1099511627788"): bytes(
            [0, 0, 8, 2]
        )
        + struct.pack(">2I", 1 << 20, 1 << 20),
    }
    for message, content in cases.items():
        path.write_bytes(gzip.compress(content) if zipped else content)
        with pytest.raises(BadInput, match=message) as caught:
            read_idx(path)
        assert str(path) in str(caught.value)
    path.write_bytes(b"")
    with pytest.raises(BadInput):
        read_idx(path)
    if zipped:
        path.write_bytes(gzip.compress(whole)[:-9])
        with pytest.raises(BadInput, match="damaged"):
            read_idx(path)


def test_a_gzip_bomb_is_not_inflated(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((2, 2), np.uint8)) + bytes(200 << 20), 9))
    tracemalloc.start()
    with pytest.raises(BadInput, match="longer than its header"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


def test_mnist_is_mnist() -> None:
    splits = read_mnist(bundled("mnist"))
    assert {k: (len(x), len(y)) for k, (x, y) in splits.items()} == {
        "train": (50_000, 50_000),
        "valid": (10_000, 10_000),
        "test": (10_000, 10_000),
    }
    labels = np.concatenate([splits["train"][1], splits["valid"][1]])
    # Counts of the digits 0 to 9 in the training set, as LeCun's page has them.
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert splits["train"][1][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    pixels = np.concatenate([splits["train"][0], splits["valid"][0]])
    assert pixels.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert N_VALID == 10_000


@pytest.mark.parametrize(("n", "n_train"), [(1, 1), (6, 5), (9_000, 7_500), (30_000, 25_000), (72_000, 62_000)])
def test_small_sets_of_digits_train_on_most_of_them(tmp_path: Path, n: int, n_train: int) -> None:
    for part, count in (("train", n), ("t10k", 2)):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((count, 28, 28), np.uint8)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.zeros(count, np.uint8)))
    splits = read_mnist(tmp_path)
    assert {name: len(images) for name, (images, _) in splits.items()} == {
        "train": n_train,
        "valid": n - n_train,
        "test": 2,
    }


def test_a_changed_file_of_mnist_is_noticed(tmp_path: Path) -> None:
    for file in bundled("mnist").iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx(np.zeros(10_000, np.uint8))))
    with pytest.raises(BadInput, match=r"t10k-labels.* is damaged: its checksum"):
        read_mnist(tmp_path)
    labels.unlink()
    with pytest.raises(BadInput, match="has no t10k-labels"):
        read_mnist(tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    labels.write_bytes(gzip.compress(idx(np.zeros(3, np.uint8))))
    with pytest.raises(BadInput, match="do not belong together"):
        read_mnist(tmp_path)


# Static binarisation


def test_static_binarisation_from_text_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = {split: rng.integers(0, 2, (n, 784), np.uint8) for split, n in (("train", 5), ("valid", 2), ("test", 2))}
    for split, x in rows.items():
        text = "\n".join(" ".join(str(v) for v in row) for row in x)
        (tmp_path / f"binarized_mnist_{split}.amat").write_text(text + "\n")
    domain, data = ImageDomain.open(ImageConfig(binarisation="static"), tmp_path, tmp_path)
    batch = next(Batches(data.splits["train"], 5, 0, CPU).once())
    np.testing.assert_array_equal(batch.x.numpy().reshape(5, 784), rows["train"])
    assert domain.spec.shape == (1, 28, 28)
    (tmp_path / "binarized_mnist_test.amat").write_text("0 1 2")
    with pytest.raises(BadInput, match="no binarised MNIST"):
        read_static_binarised(tmp_path)
    (tmp_path / "binarized_mnist_test.amat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(BadInput, match="damaged"):
        read_static_binarised(tmp_path)
    with pytest.raises(BadInput, match="needs DATA"):
        ImageDomain.open(ImageConfig(binarisation="static"), None, tmp_path)


@pytest.mark.slow
def test_larochelles_files(shared_data: Path) -> None:
    splits = read_static_binarised(shared_data / "binarized_mnist")
    assert {k: len(x) for k, x in splits.items()} == {"train": 50_000, "valid": 10_000, "test": 10_000}


# Binarisation


@pytest.mark.parametrize("how", ["none", "threshold", "dynamic"])
def test_binarisation(how: Any) -> None:
    domain, data = ImageDomain.open(ImageConfig(binarisation=how), None, Path())
    batches = Batches(data.splits["train"], 500, 0, CPU)
    raw = torch.from_numpy(read_mnist(bundled("mnist"))["train"][0][:500, None].copy()).float() / 255
    x = next(batches.once()).x
    if how == "none":
        torch.testing.assert_close(x, raw)
        assert domain.spec.likelihood.name == "gaussian"
        return
    assert ((x == 0) | (x == 1)).all()
    assert domain.spec.likelihood.name == "bernoulli"
    if how == "threshold":
        torch.testing.assert_close(x, (raw > 0.5).float())
    else:
        assert float((x - raw).mean().abs()) < 0.003
        assert x[raw == 0].sum() == 0
        assert x[raw == 1].all()


@pytest.mark.parametrize(("likelihood", "name"), [("softmax", "categorical"), ("logistic_mixture", "logistic_mixture")])
def test_likelihoods_of_levels_leave_levels_as_they_are(likelihood: Any, name: str) -> None:
    domain, data = ImageDomain.open(ImageConfig(likelihood=likelihood), None, Path())
    x = 255 * next(Batches(data.splits["valid"], 500, 0, CPU).once()).x
    assert (domain.spec.likelihood.name, domain.config.binarisation) == (name, "none")
    assert len(x.round().unique()) > 100
    with pytest.raises(BadInput, match="use binarisation=none"):
        ImageConfig(likelihood=likelihood, binarisation="dynamic")


def test_binarise_draws_from_its_generator_alone() -> None:
    x = torch.full((1000,), 0.3)
    one, other = (binarise(x, "dynamic", torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, other)


# Networks and files


@pytest.mark.parametrize("size", [4, 8, 12, 28, 32, 64])
@pytest.mark.parametrize("colour", ["grey", "rgb"])
@pytest.mark.parametrize(("networks", "dense"), [("mlp", 0), ("dcgan", 0), ("dcgan", 7)])
def test_networks_fit(networks: Any, dense: int, size: int, colour: Any) -> None:
    if networks == "dcgan" and size == 4:
        pytest.skip("too small to halve")
    for binarisation in ("none", "threshold"):
        config = ImageConfig(
            networks=networks,
            widths=[8, 5],
            channels=2,
            dense=dense,
            size=size,
            colour=colour,
            binarisation=binarisation,  # type: ignore[arg-type]
        )
        domain = ImageDomain(config)
        x, z = torch.rand(3, *domain.spec.shape), torch.randn(3, 6)
        encoder = domain.network(Encoder())
        assert encoder(x).shape == (3, encoder.n_features)
        assert not dense or encoder.n_features == dense
        params = domain.network(Decoder(6))(z)
        assert params.shape == (3, *domain.spec.params_shape)
        assert domain.spec.likelihood.log_prob(params, x.round()).shape == (3,)
        for norm in ("batch", "spectral", "none"):
            discriminator = domain.network(Discriminator(norm))  # type: ignore[arg-type]
            features, logit = discriminator(x)
            assert (features.shape, logit.shape) == ((3, discriminator.n_features), (3,))


def test_norms_are_what_they_are_called() -> None:
    domain = ImageDomain(ImageConfig(networks="dcgan", channels=4))
    by_norm = {norm: domain.network(Discriminator(norm)) for norm in ("batch", "spectral", "none")}  # type: ignore[arg-type]
    has_batch = {n: any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules()) for n, net in by_norm.items()}
    assert has_batch == {"batch": True, "spectral": False, "none": False}
    spectral = by_norm["spectral"].train()
    for _ in range(30):
        spectral(torch.rand(2, 1, 28, 28))
    for name, module in spectral.named_modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):  # every layer, the last one too
            assert torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05), name


def test_sizes_that_do_not_halve_name_one_that_does() -> None:
    with pytest.raises(BadInput, match=r"size=30 does not fit .* use size=(28|32)"):
        ImageDomain(ImageConfig(networks="dcgan", size=30)).network(Encoder())
    assert [halvings(s) for s in (8, 28, 32, 64)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 32}, "size=28"), ({"colour": "rgb"}, "grey"), ({"widths": [0]}, "widths")],
)
def test_options_that_do_not_fit_mnist(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        ImageDomain.open(ImageConfig(**options), None, Path())


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_written_pictures_read_back(tmp_path: Path, colour: Any) -> None:
    domain = ImageDomain(ImageConfig(size=12, colour=colour, binarisation="none"))
    x = torch.rand(3, *domain.spec.shape)
    paths = piece.save(domain.pieces(x), tmp_path, ["a", "b", "c"])
    assert [p.name for p in paths] == ["a.png", "b.png", "c.png"]
    assert Image.open(paths[0]).mode == ("L" if colour == "grey" else "RGB")
    back = torch.cat([domain.read(path) for path in paths])
    torch.testing.assert_close(back, x, atol=0.5 / 255 + 1e-6, rtol=0)
    (tmp_path / "x.png").write_bytes(b"?")
    with pytest.raises(BadInput, match="no picture"):
        domain.read(tmp_path / "x.png")


def test_grids_hold_every_picture_in_order() -> None:
    x = torch.arange(5)[:, None, None, None].expand(5, 1, 4, 4) / 5
    sheet = np.asarray(grid(x, columns=3, pad=1))
    zoom = 56 // 4
    for i in range(5):
        row, column = divmod(i, 3)
        y, x0 = zoom * (1 + 5 * row + 2), zoom * (1 + 5 * column + 2)
        assert sheet[y, x0, 0] == round(255 * i / 5)
    assert to_uint8(torch.tensor([[[[float("nan"), -1.0, 2.0]]]])).tolist() == [[[[0] * 3, [0] * 3, [255] * 3]]]


def test_comparison_notices_collapse() -> None:
    x = torch.rand(50, 1, 8, 8)
    found = compare(x[:1].expand(50, -1, -1, -1), x)
    assert found["diversity_samples"] == 0
    assert found["diversity_reference"] > 1
    same = compare(x, x)
    assert same["pixel_mean_distance"] == 0
    assert same["mean_samples"] == same["mean_reference"]


def test_synthetic_pictures() -> None:
    domain = ImageDomain(ImageConfig(size=8, classes=["a", "b"]))
    data = domain.synthetic(20)
    batch = next(Batches(data.splits["train"], 20, 0, CPU).once())
    assert batch.x.shape == (20, 1, 8, 8)
    assert batch.label is not None
    assert set(batch.label.tolist()) == {0, 1}
    assert data.fingerprint == domain.synthetic(20).fingerprint != domain.synthetic(20, 1).fingerprint


# Second data sets


@pytest.mark.parametrize("target", ["inverted", "background", "optical-digits"])
def test_second_data_sets_of_digits(target: str) -> None:
    if target == "optical-digits":
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    domain, data = ImageDomain.open(ImageConfig(binarisation="none", target=target), None, Path())
    source, second = (Batches(data.splits[s], 300, 0, CPU) for s in ("train", "target"))
    x, y = next(source.once()), next(second.once())
    assert y.x.shape[1:] == domain.spec.shape
    assert float(y.x.min()) >= 0
    assert float(y.x.max()) <= 1
    assert y.label is not None
    assert set(y.label.tolist()) == set(range(10))
    if target == "inverted":
        torch.testing.assert_close(y.x, 1 - x.x)
    elif target == "background":
        again = second[0].x[second[0].index.argsort()]
        assert not torch.equal(again[: len(y.x)], y.x)  # drawn anew at every visit
        assert 0.2 < float(y.x.mean()) < 0.8
    else:
        assert [len(data.splits[s]) for s in ("target", "target_valid", "target_test")] == [1200, 300, 297]
        # Enlarged to MNIST's frame: nothing in the margin, and about as much ink in the middle.
        assert float(y.x[..., :4, :].max()) == 0
        assert float(y.x.mean()) == pytest.approx(float(x.x.mean()), abs=0.1)


def test_usps_by_hand(tmp_path: Path) -> None:
    rows = np.full((20, 257), -1.0)
    rows[:, 0] = np.arange(20) % 10
    rows[:, 1 + 16 * 8 : 1 + 16 * 9] = 1.0  # a bright line in row 8 of 16
    for part in ("train", "test"):
        text = "\n".join(" ".join(f"{v:.4f}" for v in row) for row in rows)
        (tmp_path / f"zip.{part}.gz").write_bytes(gzip.compress(text.encode()))
    _, data = ImageDomain.open(ImageConfig(binarisation="none", target=str(tmp_path)), None, Path())
    assert [len(data.splits[s]) for s in ("target", "target_valid", "target_test")] == [18, 2, 20]
    batch = data.splits["target"].gather(torch.arange(3), torch.Generator())
    assert batch.label is not None
    assert batch.label.tolist() == [0, 1, 2]
    bright = batch.x[0, 0].mean(1)
    assert int(bright.argmax()) in (14, 15)  # 4 + 20 · 8.5 / 16
    (tmp_path / "zip.test.gz").write_bytes(gzip.compress(b"1 2 3\n"))
    with pytest.raises(BadInput, match="no USPS file"):
        ImageDomain.open(ImageConfig(target=str(tmp_path)), None, Path())


@pytest.mark.slow
def test_usps(shared_data: Path) -> None:
    _, data = ImageDomain.open(ImageConfig(target=str(shared_data / "usps")), None, Path())
    assert len(data.splits["target"]) + len(data.splits["target_valid"]) == 7291
    assert len(data.splits["target_test"]) == 2007


def test_a_folder_of_pictures_as_second_data_set(picture_folder: Path) -> None:
    _, data = ImageDomain.open(ImageConfig(size=12, target=str(picture_folder)), picture_folder, Path())
    assert len(data.splits["target"]) == len(data.splits["train"])
    with pytest.raises(BadInput, match="make them equal"):
        ImageDomain.open(ImageConfig(size=12, target=str(bundled("mnist"))), picture_folder, Path())
    with pytest.raises(BadInput, match="does not exist"):
        ImageDomain.open(ImageConfig(size=12, target="nowhere"), picture_folder, Path())
