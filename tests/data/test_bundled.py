"""The data that ship: found in a checkout and in a wheel, whole, and what their cards say."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from symusic import Score

import musegen.data.bundled as module
from musegen.data.bundled import bundled, verify
from musegen.errors import BadInput

REPOSITORY = Path(module.__file__).parents[2]
NAMES = ["chorales", "freedoom", "mnist"]
VOICES = ["Soprano", "Alto", "Tenor", "Bass"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own whose one data set, the labels of MNIST's test set, may be damaged."""
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    labels = "t10k-labels-idx1-ubyte.gz"
    shutil.copy(bundled("mnist") / labels, folder)
    sums = (bundled("mnist") / "SHA256SUMS").read_text().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_text("".join(line for line in sums if labels in line))
    monkeypatch.setattr(module, "_PACKAGE", tmp_path / "musegen")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_what_ships_is_whole_and_has_a_card(name: str) -> None:
    verify(name)
    assert "licence" in (bundled(name) / "README.md").read_text(encoding="utf-8").lower()


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_listed(name: str) -> None:
    listed = {line.split(maxsplit=1)[1] for line in (bundled(name) / "SHA256SUMS").read_text().splitlines()}
    assert listed == {file.name for file in bundled(name).iterdir() if file.suffix in (".gz", ".mid")}


def test_an_intact_copy_passes(checkout: Path) -> None:
    assert bundled("mnist") == checkout
    verify("mnist")


def test_a_damaged_file_is_named(checkout: Path) -> None:
    (file,) = checkout.glob("*.gz")
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(BadInput, match=rf"{file.name} is damaged"):
        verify("mnist")


def test_a_missing_file_is_named(checkout: Path) -> None:
    (file,) = checkout.glob("*.gz")
    file.unlink()
    with pytest.raises(BadInput, match=rf"{file.name} is missing"):
        verify("mnist")


@pytest.mark.parametrize("content", [b"", b"half a li", b"\xff\xfe\n"])
def test_a_damaged_list_vouches_for_nothing(checkout: Path, content: bytes) -> None:
    (checkout / "SHA256SUMS").write_bytes(content)
    with pytest.raises(BadInput, match="SHA256SUMS is damaged"):
        verify("mnist")


def test_an_installed_package_looks_into_itself_first(checkout: Path, tmp_path: Path) -> None:
    installed = tmp_path / "musegen" / "_data" / "mnist"
    shutil.copytree(checkout, installed)
    assert bundled("mnist") == installed
    verify("mnist")


@pytest.mark.parametrize("name", ["mnits", "", "..", "no such data"])
def test_an_unknown_name_is_bad_input(name: str) -> None:
    with pytest.raises(BadInput, match="ships with musegen") as caught:
        bundled(name)
    assert "mnist" in str(caught.value)


@pytest.mark.usefixtures("checkout")
def test_the_suggestion_is_something_that_is_there() -> None:
    with pytest.raises(BadInput, match=r"Known: mnist\.$"):
        bundled("chorales")


@pytest.mark.parametrize(("part", "count"), [("train", 60_000), ("t10k", 10_000)])
def test_mnist_holds_what_its_headers_say(part: str, count: int) -> None:
    images = gzip.decompress((bundled("mnist") / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((bundled("mnist") / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    assert np.frombuffer(images, ">i4", 4).tolist() == [0x803, count, 28, 28]
    assert len(images) == 16 + count * 28 * 28
    assert np.frombuffer(labels, ">i4", 2).tolist() == [0x801, count]
    assert set(labels[8:]) == set(range(10))
    assert len(labels) == 8 + count


def test_chorales_are_four_voices_on_the_grid() -> None:
    files = sorted(bundled("chorales").glob("*.mid"))
    off_grid = 0
    for file in files:
        score = Score(file)
        sixteenth = score.ticks_per_quarter // 4
        assert [track.name for track in score.tracks] == VOICES, file.name
        for track in score.tracks:
            notes = sorted(track.notes, key=lambda note: note.time)
            assert all(a.end <= b.time for a, b in pairwise(notes)), f"{file.name}: {track.name} overlaps itself"
            off_grid += sum(note.time % sixteenth > 0 for note in notes)
    assert (len(files), off_grid) == (351, 5)


def test_freedoom_plays() -> None:
    files = sorted(bundled("freedoom").glob("*.mid"))
    assert len(files) == 66
    assert all(Score(file).note_num() > 0 for file in files)
    assert "Redistribution and use" in (bundled("freedoom") / "COPYRIGHT").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_wheel_carries_the_data_and_stays_small(tmp_path: Path) -> None:
    for tool in ("build", "hatchling", "hatch_vcs"):
        pytest.importorskip(tool)
    python = [sys.executable, "-m"]
    wheels, target = tmp_path / "wheels", tmp_path / "installed"
    build = [*python, "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(REPOSITORY)]
    subprocess.run(build, check=True, cwd=tmp_path)
    (wheel,) = wheels.glob("*.whl")
    assert wheel.stat().st_size <= 40 * 2**20
    subprocess.run([*python, "pip", "install", "--no-deps", "--target", target, wheel], check=True)
    code = "from musegen.data.bundled import bundled, verify; verify('mnist'); print(bundled('mnist'))"
    environment = {"PYTHONPATH": str(target)}
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(found.stdout.strip()) == target / "musegen" / "_data" / "mnist"
    assert not list(target.rglob("bwv*.mid"))
    code = "from musegen.data.bundled import bundled; bundled('chorales')"
    refused = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert "musegen data get" in refused.stderr
    code = (
        "import torch, musegen_image.classifier as c; print(c.__file__, c.confident_share(torch.zeros(1, 1, 28, 28)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.split() == [str(target / "musegen_image" / "classifier.py"), "0.0"]
