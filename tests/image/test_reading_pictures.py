"""Folders of other people's pictures: kinds of files, levels, classes, splits, memory; bad files are left out and counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Result
from PIL import Image, features

from musegen.contracts.domain import Data
from musegen.data.batches import Batches
from musegen.errors import BadInput
from musegen_image import reading
from musegen_image.domain import ImageConfig, ImageDomain
from musegen_image.reading import Pictures, as_sample, read_pictures

CPU = torch.device("cpu")


def save(path: Path, mode: str, size: tuple[int, int], colour: Any) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.new(mode, size, colour).save(path)


def from_values(path: Path, values: Any) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(values).save(path)


def read(folder: Path, size: int = 16, **more: Any) -> Pictures:
    return read_pictures(sorted(folder.iterdir()), size, **more)


def opened(folder: Path, **options: Any) -> tuple[ImageDomain, Data]:
    return ImageDomain.open(ImageConfig(**{"size": 8, **options}), folder, folder)


def levels_of(data: Data) -> list[float]:
    """The mean level of every picture of training, ascending."""
    return sorted(round(float(x.mean()), 4) for x in next(Batches(data.splits["train"], 99, 0, CPU).once()).x)


# Kinds of files


def test_pictures_of_any_size_and_mode(tmp_path: Path) -> None:
    save(tmp_path / "a.png", "L", (50, 20), 200)
    save(tmp_path / "b.jpg", "RGB", (9, 9), (10, 200, 30))
    save(tmp_path / "c.png", "RGBA", (30, 60), (255, 0, 0, 0))  # wholly transparent: white
    save(tmp_path / "d.png", "1", (16, 16), 1)
    save(tmp_path / "e.gif", "P", (16, 16), 0)
    save(tmp_path / "f.png", "I;16", (16, 16), 65535)
    save(tmp_path / "g.webp", "RGB", (16, 16), (0, 0, 255))
    save(tmp_path / "h.tif", "CMYK", (16, 16), (0, 0, 0, 0))
    (tmp_path / "i.png").write_bytes(b"this is no picture")
    (tmp_path / "j.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    found = read(tmp_path)
    assert found.images.shape == (8, 3, 16, 16)
    assert [(Path(path).name, reason) for path, reason in found.left_out] == [
        ("i.png", "damaged"),
        ("j.png", "damaged"),
    ]
    assert found.read == list(range(8))
    middle = found.images[:, :, 8, 8].astype(int)
    wanted = [(200,) * 3, (10, 200, 30), (255,) * 3, (255,) * 3, None, (255,) * 3, (0, 0, 255), (255,) * 3]
    for got, want in zip(middle, wanted, strict=True):
        assert want is None or np.abs(got - want).max() <= 4
    assert read(tmp_path, mode="grey").images.shape == (8, 1, 16, 16)


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        ("jfif", "JPEG"),
        ("jpe", "JPEG"),
        ("avif", "AVIF"),
        ("jp2", "JPEG2000"),
        ("ppm", "PPM"),
        ("pgm", "PPM"),
        ("tga", "TGA"),
        ("bmp", "BMP"),
        ("TIFF", "TIFF"),
    ],
)
def test_other_kinds_of_files(suffix: str, kind: str, tmp_path: Path) -> None:
    codec = reading.CODECS.get(f".{suffix}")
    if codec and not features.check(codec):
        pytest.skip(f"this Pillow has no {codec}")
    Image.new("L" if suffix == "pgm" else "RGB", (20, 20), 120 if suffix == "pgm" else (120, 120, 120)).save(
        tmp_path / f"a.{suffix}", kind
    )
    (image,) = read_pictures([tmp_path / f"a.{suffix}"], 16).images
    assert image.shape == (1, 16, 16)
    assert np.abs(image.astype(int) - 120).max() <= 2


def test_a_codec_that_this_pillow_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.avif").write_bytes(b"whatever it is")
    save(tmp_path / "b.png", "L", (9, 9), 3)
    monkeypatch.setattr(features, "check", lambda name: name != "avif")
    assert read(tmp_path).left_out == [(str(tmp_path / "a.avif"), ".avif, which this Pillow cannot read")]


def test_what_a_file_is_called_does_not_start_other_readers(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    save(tmp_path / "b.png", "L", (9, 9), 3)
    assert [reason for _, reason in read(tmp_path).left_out] == ["damaged"]


def test_cropping_covers_and_keeps_the_middle(tmp_path: Path) -> None:
    wide = Image.new("L", (90, 30), 0)
    wide.paste(255, (30, 0, 60, 30))  # the middle third
    wide.save(tmp_path / "a.png")
    assert read(tmp_path, 30).images.min() == 255


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("L", (20, 20), 0)
    image.paste(255, (0, 0, 20, 10))  # bright top
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "a.jpg", exif=exif)
    (turned,) = read(tmp_path, 20).images[:, 0]
    assert turned[2].mean() < 20 < 235 < turned[17].mean()


@pytest.mark.parametrize("mode", ["grey", "rgb"])
def test_large_jpegs_are_decoded_smaller_and_look_the_same(mode: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((1280, 960), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=95)
    smooth.save(tmp_path / "b.png")
    jpeg, png = read(tmp_path, 32, mode=mode).images.astype(int)
    assert np.abs(jpeg - png).mean() < 2


def test_pictures_that_cannot_be_used_at_all(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        opened(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="holds no pictures"):
        opened(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(BadInput, match="None of the 1 pictures"):
        opened(tmp_path)
    with pytest.raises(BadInput, match="is a file"):
        opened(tmp_path / "a.png")


def test_more_than_the_memory_holds_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", "L", (9, 9), 3)
    with pytest.raises(BadInput, match="1 pictures of size=1000000000 take 1000000000 GB"):
        read(tmp_path, 10**9)


def test_the_first_of_several_pictures_in_a_file_counts(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (16, 16), (200, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 200))
    for name, kind in (("a.jpg", "MPO"), ("b.tif", "TIFF"), ("c.webp", "WEBP"), ("d.png", "PNG")):
        options = {"lossless": True} if kind == "WEBP" else {}
        first.copy().save(tmp_path / name, kind, save_all=True, append_images=[second.copy()], **options)
    found = read(tmp_path)
    assert found.left_out == []
    assert np.abs(found.images[:, :, 8, 8].astype(int) - [200, 0, 0]).max() <= 3


def test_a_decompression_bomb_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musegen_image.reading.PIXEL_CAP", 100)
    save(tmp_path / "a.png", "L", (11, 10), 3)
    save(tmp_path / "b.png", "L", (10, 10), 3)
    with pytest.raises(BadInput, match="11 × 10 pixels, more than 100: make it smaller"):
        as_sample(tmp_path / "a.png", 8, 1, None)
    assert read(tmp_path, 8).left_out == [(str(tmp_path / "a.png"), "with more than 100 pixels")]
    assert Image.MAX_IMAGE_PIXELS is not None


# Levels


def test_sixteen_bits_have_one_scale_whatever_a_picture_holds(tmp_path: Path) -> None:
    for i, level in enumerate((65535, 32768, 255, 100, 0)):  # scaled by its own maximum, a darker one would be brighter
        from_values(tmp_path / f"{i}.png", np.full((16, 16), level, np.uint16))
    found = read(tmp_path)
    assert found.images[:, 0, 8, 8].tolist() == [255, 128, 1, 0, 0]
    assert found.remarks == []


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_of_either_byte_order(order: str, tmp_path: Path) -> None:
    values = np.full((16, 16), 0x8000, f"{order}u2")
    picture = Image.frombuffer("I;16" if order == "<" else "I;16B", (16, 16), values.tobytes(), "raw")
    picture.save(tmp_path / "a.tif")
    assert read(tmp_path).images[0, 0, 8, 8] == 128


def test_floats_from_0_to_1_are_used_as_they_are(tmp_path: Path) -> None:
    for i, level in enumerate((1.0, 0.5, 0.0)):
        from_values(tmp_path / f"{i}.tif", np.full((16, 16), level, np.float32))
    found = read(tmp_path)
    assert found.images[:, 0, 8, 8].tolist() == [255, 128, 0]
    assert (found.levels, found.remarks) == (None, [])
    assert float(as_sample(tmp_path / "1.tif", 16, 1, None).mean()) == pytest.approx(0.5, abs=1 / 255)


def test_other_floats_share_one_scale_and_the_model_keeps_it(tmp_path: Path) -> None:
    for i, level in enumerate((-3.0, 2.0, 7.0)):
        from_values(tmp_path / f"{i}.tif", np.full((16, 16), level, np.float32))
    save(tmp_path / "3.png", "L", (16, 16), 51)  # its levels are its own
    domain, data = opened(tmp_path, binarisation="none")
    assert domain.config.levels == [-3, 7]
    pictures = np.concatenate([data.splits[s].x for s in ("train", "valid", "test")])  # type: ignore[attr-defined]
    assert sorted(pictures[:, 0, 4, 4].tolist()) == [0, 51, 128, 255]
    assert "-3 is black and 7 is white in the 3 pictures of floats or 32-bit integers" in data.remarks
    assert float(domain.read(tmp_path / "1.tif").mean()) == pytest.approx(0.5, abs=1 / 255)
    with pytest.raises(BadInput, match="values from 7 to 7, and 0 is black and 1 is white"):
        ImageDomain(ImageConfig(size=8)).read(tmp_path / "2.tif")


@pytest.mark.parametrize(
    ("values", "wanted", "levels"),
    [
        ((0, 128, 255), [0, 128, 255], (0, 255)),  # bytes saved as integers
        ((0, 255, 65535), [0, 1, 255], None),  # 16 bits, as PGM files have them
        ((0, 1 << 30, 2_000_000_000), [0, 137, 255], (0, 2e9)),
    ],
)
def test_integers_of_32_bits(values: tuple[int, ...], wanted: list[int], levels: Any, tmp_path: Path) -> None:
    for i, level in enumerate(values):
        from_values(tmp_path / f"{i}.tif", np.full((16, 16), level, np.int32))
    found = read(tmp_path)
    assert found.images[:, 0, 8, 8].tolist() == wanted
    assert found.levels == levels


def test_levels_may_be_given(tmp_path: Path) -> None:
    from_values(tmp_path / "a.tif", np.full((16, 16), 50.0, np.float32))
    domain, data = opened(tmp_path, binarisation="none", levels=[0, 100])
    assert levels_of(data) == [pytest.approx(0.5, abs=1 / 255)]
    assert domain.config.levels == [0, 100]
    for bad in ([1.0], [2.0, 1.0], [0.0, 0.0]):
        with pytest.raises(BadInput, match="use two numbers, black and white"):
            ImageConfig(levels=bad)


def test_floats_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    from_values(tmp_path / "a.tif", np.full((16, 16), np.nan, np.float32))
    from_values(tmp_path / "b.tif", np.full((16, 16), 0.5, np.float32))
    assert read(tmp_path).left_out == [(str(tmp_path / "a.tif"), "with values that are no numbers")]


# Colour


def test_colour_is_seen_and_not_binarised(tmp_path: Path) -> None:
    for i in range(20):
        save(tmp_path / f"{i:02d}.png", "RGB", (16, 16), (100 + i, 150, 200))
    domain, data = opened(tmp_path)
    assert domain.spec.shape == (3, 8, 8)
    assert (domain.spec.likelihood.name, domain.config.binarisation) == ("gaussian", "none")
    x = next(Batches(data.splits["train"], 16, 0, CPU).once()).x
    torch.testing.assert_close(x[:, 1:], torch.tensor([150 / 255, 200 / 255])[:, None, None].expand(16, 2, 8, 8))
    torch.testing.assert_close(domain.read(tmp_path / "00.png")[0, :, 0, 0], torch.tensor([100, 150, 200]) / 255)
    dynamic, _ = opened(tmp_path, binarisation="dynamic")
    assert dynamic.spec.likelihood.name == "bernoulli"


def test_one_picture_with_colour_makes_all_coloured(tmp_path: Path) -> None:
    for i in range(9):
        save(tmp_path / f"{i}.png", "L", (16, 16), 10 * i)
    save(tmp_path / "x.png", "RGB", (16, 16), (250, 0, 0))
    found = read(tmp_path)
    assert found.images.shape == (10, 3, 16, 16)
    assert found.images[:, :, 0, 0].tolist() == [*([10 * i] * 3 for i in range(9)), [250, 0, 0]]


def test_grey_pictures_are_binarised_as_digits_are(picture_folder: Path) -> None:
    domain, data = ImageDomain.open(ImageConfig(size=12), picture_folder, Path())
    assert (domain.spec.shape, domain.spec.classes) == ((1, 12, 12), ("disc", "square"))
    assert (domain.config.binarisation, domain.spec.likelihood.name) == ("dynamic", "bernoulli")
    batch = next(Batches(data.splits["train"], 8, 0, CPU).once())
    assert batch.label is not None
    sizes = {split: data.splits[split].label.bincount().tolist() for split in ("train", "valid", "test")}  # type: ignore[union-attr]
    assert sizes == {"train": [24, 24], "valid": [3, 3], "test": [3, 3]}


@pytest.mark.parametrize("kind", ["grey jpeg", "mixed", "floats"])
def test_what_a_run_has_resolved_reads_the_same_again(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(12):
        small = rng.integers(0, 256, (9, 9), np.uint8)
        large = np.asarray(Image.fromarray(small).resize((300, 200), Image.Resampling.BICUBIC))
        match kind:
            case "grey jpeg":
                Image.fromarray(np.repeat(large[..., None], 3, 2)).save(tmp_path / f"{i}.jpg")
            case "floats":
                from_values(tmp_path / f"{i}.tif", large.astype(np.float32) - 50)
            case _:
                path = tmp_path / (f"{i}.png" if i % 2 else f"{i}.jpg")
                from_values(path, large if i % 3 else np.dstack([large, large[::-1], large]))
    domain, data = opened(tmp_path)
    assert domain.config.colour == ("rgb" if kind == "mixed" else "grey")
    again, same = ImageDomain.open(domain.config, tmp_path, tmp_path)
    assert (again.config, same.fingerprint) == (domain.config, data.fingerprint)


# Classes and splits


def test_folders_of_splits_with_classes_below(tmp_path: Path, run: Callable[..., Result]) -> None:
    for split, n in (("Train", 5), ("val", 2), ("TEST", 1)):
        for kind in ("cats", "dogs"):
            for i in range(n):
                save(tmp_path / "d" / split / kind / f"{i}.png", "L", (9, 9), i)
    save(tmp_path / "d/Train/cats/.thumbs/0.png", "L", (9, 9), 0)
    save(tmp_path / "d/Train/@eaDir/0.png", "L", (9, 9), 0)
    save(tmp_path / "d/Train/stray.png", "L", (9, 9), 0)
    (tmp_path / "d/Train/cats/bad.png").write_bytes(b"?")
    (tmp_path / "d/Train/cats/a.txt").write_text("?")
    (tmp_path / "d/b.txt").write_text("?")
    found = json.loads(run("data", "info", tmp_path / "d", "--json", "--set", "size=8").out)
    assert found["classes"] == {name: {"train": 5, "valid": 2, "test": 1} for name in ("cats", "dogs")}
    assert found["left_out"] == 4
    assert found["reasons"] == {".txt": 2, "damaged": 1, "outside the class folders": 1}
    assert found["remarks"] == ["the pictures are split by their folders"]
    trained = run("train", "vae", "image", tmp_path / "d", "--steps", 1, "--set", "size=8", "--out", "r")
    assert trained.code == 0, trained.err
    (line,) = [line for line in trained.err.splitlines() if line.startswith("left out")]
    assert line == "left out: 2 .txt, 1 damaged, 1 outside the class folders (see r/skipped.csv)"
    assert Path("r/skipped.csv").read_text().count("\n") == 5
    quiet = run("train", "vae", "image", tmp_path / "d", "--steps", 1, "--set", "size=8", "--out", "q", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")
    text = run("data", "info", tmp_path / "d", "--set", "size=8").out
    assert "The pictures are split by their folders." in text


def test_a_folder_instead_of_a_file_may_hold_other_things(tmp_path: Path, run: Callable[..., Result]) -> None:
    for i in range(6):
        save(tmp_path / f"d/{i % 2}/{i}.png", "L", (9, 9), 40 * i)
    assert run("train", "ae", "image", tmp_path / "d", "--steps", 1, "--set", "size=8", "--out", "r").code == 0
    for name in ("Thumbs.db", "notes.txt", ".hidden.png"):
        (tmp_path / "d/0" / name).write_text("no picture")
    done = run("arithmetic", "r", tmp_path / "d/0", tmp_path / "d/1", tmp_path / "d/1/1.png", "--out", "sum")
    assert done.code == 0, done.err
    (tmp_path / "none").mkdir()
    refused = run("arithmetic", "r", tmp_path / "none", tmp_path / "d", tmp_path / "d", "--out", "x")
    assert (refused.code, "holds no files that this model reads" in refused.err) == (2, True)


def test_many_classes_keep_their_numbers(tmp_path: Path) -> None:
    for i in range(300):
        save(tmp_path / f"{i:03d}" / "a.png", "L", (8, 8), i % 256)
    domain, data = opened(tmp_path, binarisation="none")
    train = data.splits["train"]
    assert (len(domain.spec.classes), len(train)) == (300, 300)
    batch = next(Batches(train, 300, 0, CPU).once())
    assert batch.label is not None
    assert torch.equal((batch.x[:, 0, 0, 0] * 255).round().long(), batch.label % 256)
    assert set(batch.label.tolist()) == set(range(300))


def test_a_class_that_training_never_sees_cannot_be_asked_for(tmp_path: Path, run: Callable[..., Result]) -> None:
    for kind in ("a", "b", "c"):
        for i in range(5):
            save(tmp_path / "d" / kind / f"{i}.png", "L", (9, 9), 20 * i)
    for path in (tmp_path / "d/c").iterdir():
        path.write_bytes(b"damaged")
    options = ["--steps", 1, "--set", "size=8", "--set", "networks=mlp", "--out", "r"]
    trained = run("train", "conditional_gan", "image", tmp_path / "d", *options)
    assert trained.code == 0, trained.err
    assert "no classes, because training has nothing of them: c" in trained.err
    asked = run("generate", "r", "--label", "c", "--out", "x")
    assert (asked.code, 'There is no class "c"' in asked.err) == (2, True)
    assert run("generate", "r", "--label", "b", "-n", 1, "--out", "y").code == 0


def test_second_data_need_the_same_classes(tmp_path: Path) -> None:
    for folder, kinds in (("one", "ab"), ("two", "bc")):
        for kind in kinds:
            for i in range(4):
                save(tmp_path / folder / kind / f"{i}.png", "L", (9, 9), i)
    with pytest.raises(BadInput, match="has the classes b, c"):
        opened(tmp_path / "one", target=str(tmp_path / "two"))


# Memory


def test_memory_is_little_more_than_what_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(1000):
        from_values(tmp_path / f"{i}.png", rng.integers(0, 256, (64, 64), np.uint8))
    code = """
import sys
from pathlib import Path
from musegen_image.domain import ImageConfig, ImageDomain

def status(name):
    return 1024 * next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(name))

folder = Path(sys.argv[1])
ImageDomain.open(ImageConfig(size=64), folder / "one", folder)
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
_, data = ImageDomain.open(ImageConfig(size=64), folder / "all", folder)
print((status("VmHWM") - before) / sum(d.n_bytes for d in data.splits.values()))
"""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this system does not tell a process's largest memory")
    (tmp_path / "all").mkdir()
    (tmp_path / "one").mkdir()
    for path in tmp_path.glob("*.png"):
        path.rename(tmp_path / "all" / path.name)
    (tmp_path / "one/0.png").write_bytes((tmp_path / "all/0.png").read_bytes())
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 3.5  # 4 MB are kept: threads, stacks and the like are a part of the rest


def test_reading_leaves_warnings_alone(tmp_path: Path) -> None:
    save(tmp_path / "a.png", "L", (9, 9), 3)
    before = list(warnings.filters)
    read(tmp_path)
    assert warnings.filters == before
