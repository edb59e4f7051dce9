"""Folders of other people's files: what is read, classes, and splits."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musegen.data.folders import Divided, Files, divide, find_files
from musegen.data.splits import split_indices
from musegen.errors import BadInput
from musegen.walking import walk


def made(folder: Path, names: Iterable[str]) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def found(folder: Path, labelled: bool = True) -> Files:
    return find_files(folder, (".x",), "things", labelled)


def classes_of(files: Files) -> dict[str, list[str]]:
    """Names of the files of each class."""
    if files.label is None:
        return {}
    return {
        c: [p.name for p, k in zip(files.paths, files.label, strict=True) if k == i]
        for i, c in enumerate(files.classes)
    }


def all_of(files: Files) -> Divided:
    return divide(files, range(len(files.paths)))


def reasons(files: Files, folder: Path) -> dict[str, str]:
    return {Path(path).relative_to(folder).as_posix(): reason for path, reason in files.left_out}


# Which files


def test_what_machines_leave_behind_is_not_there(tmp_path: Path) -> None:
    left = ".hidden/1.x @eaDir/2.x __MACOSX/3.x a/._4.x .5.x a/Thumbs.db a/.DS_Store $RECYCLE.BIN/6.x a/desktop.ini"
    files = found(made(tmp_path, [*left.split(), "a/1.x", "a/2.X", "b/3.x", "b/notes.txt", "b/README"]))
    assert classes_of(files) == {"a": ["1.x", "2.X"], "b": ["3.x"]}
    assert reasons(files, tmp_path) == {"b/notes.txt": ".txt", "b/README": "without a suffix"}


def test_a_folder_that_is_itself_hidden_is_read(tmp_path: Path) -> None:
    assert len(found(made(tmp_path / ".cache", ["1.x"])).paths) == 1


def test_links_are_followed_and_each_target_is_read_once(tmp_path: Path) -> None:
    folder = made(tmp_path / "data", ["a/1.x", "a/deep/2.x", "c/9.x"])
    outside = made(tmp_path / "pool", ["3.x", "4.x", "sub/5.x"])
    (folder / "b").symlink_to(outside)
    (folder / "a/again.x").symlink_to(folder / "a/1.x")
    (folder / "a/3.x").symlink_to(outside / "3.x")
    (folder / "a/loop").symlink_to(folder / "a")
    (folder / "a/up").symlink_to("../..")
    (folder / "gone.x").symlink_to("nowhere")
    (folder / "b2").symlink_to(outside)
    files = found(folder)
    assert classes_of(files) == {"a": ["1.x", "3.x", "2.x"], "b": ["4.x", "5.x"], "c": ["9.x"]}
    assert reasons(files, folder) == {
        "a/again.x": "linked to what is read already",
        "a/loop": "linked to what is read already",
        "a/up": "linked to a folder above",
        "gone.x": "linked to nothing",
        "b2": "linked to what is read already",
        "b/3.x": "linked to what is read already",
    }


def test_links_in_a_circle_outside_end(tmp_path: Path) -> None:
    folder, outside = made(tmp_path / "data", ["1.x"]), made(tmp_path / "pool/in", ["2.x"])
    (folder / "pool").symlink_to(outside)
    (outside / "back").symlink_to(outside)
    (outside / "home").symlink_to(folder)
    (folder / "self").symlink_to("self")  # a link to itself
    assert [path.name for path in found(folder).paths] == ["1.x", "2.x"]


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(made(tmp_path, ["1.x"]) / "pipe.x")
    (tmp_path / "zero.x").symlink_to("/dev/zero")
    (tmp_path / "folder.x").mkdir()
    files = found(tmp_path)
    assert [path.name for path in files.paths] == ["1.x"]
    assert reasons(files, tmp_path) == {"pipe.x": "not a regular file", "zero.x": "not a regular file"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_may_not_be_read(tmp_path: Path) -> None:
    closed = made(tmp_path, ["1.x", "closed/2.x"]) / "closed"
    closed.chmod(0)
    try:
        assert reasons(found(tmp_path), tmp_path) == {"closed": "that cannot be opened"}
        with pytest.raises(BadInput, match="cannot be read: permission denied"):
            walk(closed, (".x",))
    finally:
        closed.chmod(0o700)


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    try:
        made(tmp_path, [os.fsdecode(b"caf\xe9/1.x"), "b/2.x"])
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    files = found(tmp_path)
    assert files.classes == ["b", "caf\ufffd"]
    assert all(name.encode() for name in files.classes)


# Classes


@pytest.mark.parametrize("around", ["", "data/", "data/images/all/"])
def test_folders_around_the_classes_change_nothing(around: str, tmp_path: Path) -> None:
    files = found(made(tmp_path, [f"{around}{c}/{i}.x" for c in "ab" for i in range(3)]))
    assert classes_of(files) == {"a": ["0.x", "1.x", "2.x"], "b": ["0.x", "1.x", "2.x"]}
    assert files.left_out == []


def test_stray_files_do_not_turn_classes_off(tmp_path: Path) -> None:
    names = [*(f"w/{c}/{i}.x" for c in "ab" for i in range(3)), "cover.x", "w/cover.x", "w/a/deep/4.x"]
    files = found(made(tmp_path, names))
    assert classes_of(files) == {"a": ["0.x", "1.x", "2.x", "4.x"], "b": ["0.x", "1.x", "2.x"]}
    assert reasons(files, tmp_path) == dict.fromkeys(("cover.x", "w/cover.x"), "outside the class folders")


def test_where_most_files_are_stray_there_are_no_classes(tmp_path: Path) -> None:
    files = found(made(tmp_path, [*(f"{i}.x" for i in range(9)), "old/1.x", "older/2.x"]))
    assert (files.classes, files.label, len(files.paths), files.left_out) == ([], None, 11, [])
    assert files.remarks == ["no classes: 9 of 11 things lie outside the subfolders"]


def test_one_folder_is_no_class(tmp_path: Path) -> None:
    files = found(made(tmp_path, ["only/1.x", "only/2.x", "3.x"]))
    assert (files.classes, files.label, len(files.paths)) == ([], None, 3)
    assert found(made(tmp_path / "more", ["a/1.x", "b/2.x"]), labelled=False).label is None


def test_a_name_is_the_same_class_in_every_unicode_form(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    files = found(made(tmp_path, [f"{composed}/1.x", f"{apart}/2.x", "z/3.x"]))
    assert classes_of(files) == {composed: ["1.x", "2.x"], "z": ["3.x"]}
    alone = found(made(tmp_path / "alone", [f"{apart}/2.x", "z/3.x"]))
    assert alone.classes == [composed, "z"]


def test_more_classes_than_a_byte_counts(tmp_path: Path) -> None:
    files = found(made(tmp_path, [f"{i:03d}/1.x" for i in range(700)]))
    assert files.label is not None
    assert files.label.tolist() == list(range(700))


def test_a_class_without_training_examples_is_none(tmp_path: Path) -> None:
    files = found(made(tmp_path, [f"{c}/{i}.x" for c in "abc" for i in range(4)]))
    divided = divide(files, [i for i, path in enumerate(files.paths) if path.parent.name != "b"])  # all of b damaged
    assert divided.classes == ["a", "c"]
    assert divided.label is not None
    assert divided.label.tolist() == [0] * 4 + [1] * 4
    assert divided.remarks == ["no classes, because training has nothing of them: b"]
    one = divide(files, [0, 1])
    assert (one.classes, one.label) == ([], None)


# Splits that folders are


@pytest.mark.parametrize("names", ["train valid test", "Training VALIDATION Testing", "TRAIN val test"])
def test_folders_above_the_classes_are_the_splits(names: str, tmp_path: Path) -> None:
    train, valid, test = names.split()
    sizes = {train: 4, valid: 2, test: 3}
    files = found(made(tmp_path, [f"w/{s}/in/{c}/{i}.x" for s, n in sizes.items() for c in "ab" for i in range(n)]))
    divided = all_of(files)
    assert divided.classes == ["a", "b"]
    assert {s: len(index) for s, index in divided.index.items()} == {"train": 8, "valid": 4, "test": 6}
    for split, name in zip(("train", "valid", "test"), (train, valid, test), strict=True):
        assert all(name in files.paths[i].parts for i in divided.index[split])
    assert divided.remarks == ["the things are split by their folders"]


def test_splits_without_classes_and_beside_other_folders(tmp_path: Path) -> None:
    files = found(made(tmp_path, ["train/1.x", "train/2.x", "val/3.x", "test/4.x", "more/5.x", "6.x"]))
    divided = all_of(files)
    assert divided.label is None
    assert {s: [files.paths[i].name for i in index] for s, index in divided.index.items()} == {
        "train": ["1.x", "2.x"],
        "valid": ["3.x"],
        "test": ["4.x"],
    }
    assert reasons(files, tmp_path) == dict.fromkeys(("more/5.x", "6.x"), "outside the folders of the splits")


def test_classes_are_those_of_training(tmp_path: Path) -> None:
    names = [
        *(f"train/{c}/{i}.x" for c in "ab" for i in range(3)),
        "test/a/1.x",
        "test/z/1.x",
        "test/stray.x",
        "val/a/1.x",
    ]
    files = found(made(tmp_path, names))
    assert all_of(files).classes == ["a", "b"]
    assert reasons(files, tmp_path) == {
        "test/z/1.x": "of a class with nothing for training",
        "test/stray.x": "outside the class folders",
    }


def test_validation_is_taken_from_training_where_it_has_no_folder(tmp_path: Path) -> None:
    files = found(made(tmp_path, [*(f"train/{c}/{i}.x" for c in "ab" for i in range(20)), "test/a/1.x", "test/b/1.x"]))
    divided = all_of(files)
    assert {s: len(index) for s, index in divided.index.items()} == {"train": 36, "valid": 4, "test": 2}
    assert divided.label is not None
    assert np.bincount(divided.label[divided.index["valid"]]).tolist() == [2, 2]
    assert "no folder is for validation: 4 of the 40 things for training are held out for it" in divided.remarks


def test_splits_below_the_classes(tmp_path: Path) -> None:
    files = found(
        made(tmp_path, [f"{c}/{s}/{i}.x" for c in "ab" for s, n in (("train", 3), ("test", 1)) for i in range(n)])
    )
    divided = all_of(files)
    assert divided.classes == ["a", "b"]
    assert [files.paths[i].parts[-2] for i in divided.index["test"]] == ["test", "test"]


@pytest.mark.parametrize(
    "names", [["train/1.x", "bus/2.x"], ["train/1.x", "car/2.x", "bus/3.x"], ["test/1.x", "b/2.x"]]
)
def test_a_class_may_be_called_as_a_split_is(names: list[str], tmp_path: Path) -> None:
    files = found(made(tmp_path, names))
    assert files.split is None
    assert set(files.classes) == {name.split("/")[0] for name in names}


def test_a_lone_folder_of_training_is_split(tmp_path: Path) -> None:
    divided = all_of(found(made(tmp_path, [f"train/{c}/{i}.x" for c in "ab" for i in range(10)])))
    assert divided.classes == ["a", "b"]
    assert {s: len(index) for s, index in divided.index.items()} == {"train": 16, "valid": 2, "test": 2}


def test_nothing_for_training_is_refused(tmp_path: Path) -> None:
    files = found(made(tmp_path, ["train/1.x", "test/2.x"]))
    with pytest.raises(BadInput, match="None of the things for training can be read"):
        divide(files, [0])


# Splits that are made


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0.5, 200)), max_size=120), st.integers(0, 5))
def test_splits_are_a_partition_and_every_class_is_trained_on(files: list[tuple[int, float]], seed: int) -> None:
    label, weight = np.array([c for c, _ in files], np.int64), np.array([w for _, w in files])
    parts = split_indices(len(files), label, weight, seed)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(files)))
    assert set(label[parts["train"]]) == set(label)
    held = {name: weight[index].sum() for name, index in parts.items()}
    heaviest = weight.max(initial=0)
    assert max(held["valid"], held["test"]) <= 0.1 * weight.sum() + heaviest


@given(st.integers(0, 300), st.integers(0, 5))
def test_shares_of_equal_files(n: int, seed: int) -> None:
    sizes = {name: len(index) for name, index in split_indices(n, seed=seed).items()}
    assert sum(sizes.values()) == n
    if n >= 4:
        assert sizes["valid"] == sizes["test"] == max(1, int(0.1 * n + 0.5))


@pytest.mark.parametrize(
    ("weight", "wanted"),
    [
        ([120, 2, 2], (120, 2, 2)),
        ([60, 60, 2], (120, 2, 0)),
        ([5], (5, 0, 0)),
        ([5, 5], (10, 0, 0)),
        ([1, 1, 1], (2, 1, 0)),
        ([1, 1, 1, 1], (2, 1, 1)),
        ([100] * 10, (800, 100, 100)),
        ([1000, *[10] * 20], (1000, 100, 100)),
        ([10] * 100 + [1] * 100, (880, 110, 110)),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_shares_of_what_files_hold(weight: list[int], wanted: tuple[int, ...], seed: int) -> None:
    parts = split_indices(len(weight), weight=weight, seed=seed)
    held = tuple(sum(weight[i] for i in parts[name]) for name in ("train", "valid", "test"))
    assert held == pytest.approx(wanted, abs=10)
    assert held[0] == max(held)
    assert len(weight) != 3 or held == wanted


def test_every_class_is_held_out_alike(tmp_path: Path) -> None:
    label = np.repeat([0, 1, 2], [400, 100, 40])
    parts = split_indices(len(label), label)
    counts = {name: np.bincount(label[index], minlength=3).tolist() for name, index in parts.items()}
    assert counts == {"train": [320, 80, 32], "valid": [40, 10, 4], "test": [40, 10, 4]}
    few = np.repeat(np.arange(100), 3)  # three of each: shares of a class are less than one file
    counts = {name: np.bincount(few[index], minlength=100) for name, index in split_indices(300, few).items()}
    assert counts["train"].min() >= 1
    assert abs(counts["valid"].sum() - 30) <= 2
    assert abs(counts["test"].sum() - 30) <= 2


def test_a_heavy_file_of_one_class_takes_nothing_from_the_next() -> None:
    label, weight = np.repeat([0, 1], [1, 10]), [1000.0, *[10.0] * 10]
    parts = split_indices(11, label, weight)
    assert {name: len(index) for name, index in parts.items()} == {"train": 9, "valid": 1, "test": 1}


def test_the_seed_decides() -> None:
    one, again, other = (split_indices(50, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["train"], other["train"])


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (1, ["1 thing: it is for training"]),
        (2, ["2 things: all are for training, nothing is held out"]),
        (3, ["3 things: 2 for training, 1 for validation, 0 for test"]),
        (4, []),
    ],
)
def test_few_files_are_spoken_of(n: int, said: list[str], tmp_path: Path) -> None:
    assert all_of(found(made(tmp_path, [f"{i}.x" for i in range(n)]))).remarks == said
