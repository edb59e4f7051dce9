"""Files appear whole or not at all, under temporary names that nobody can guess."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from musegen.errors import BadInput
from musegen.files import remove_leftovers, temporary_path, write_atomically, write_file


def test_a_file_is_written_as_the_umask_says_and_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    before = os.umask(0o027)
    try:
        write_atomically(path, b"one")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"one"
    assert path.stat().st_mode & 0o777 == 0o640
    with path.open("rb") as still_open:
        write_atomically(path, b"two")
        assert still_open.read() == b"one"
    assert path.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    elif call == "replace":
        monkeypatch.setattr(Path, "replace", full)
    else:
        monkeypatch.setattr(os, "open", full)
    with pytest.raises(BadInput, match=r"a\.txt cannot be written: No space left on device\."):
        write_file(path, b"after")
    monkeypatch.undo()
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_temporary_names_cannot_be_guessed_and_are_never_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {temporary_path(tmp_path / "a").name for _ in range(100)}
    assert len(names) == 100
    assert all(len(os.fsencode(temporary_path(Path("é" * 127)).name)) < 255 for _ in range(3))
    # Even if somebody guesses one: what stands there, and what it points to, is not written to.
    monkeypatch.setattr(os, "urandom", bytes)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    temporary_path(tmp_path / "a").symlink_to(victim)
    with pytest.raises(BadInput, match="a cannot be written: File exists"):
        write_file(tmp_path / "a", b"evil")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "a").exists()


def test_what_a_killed_process_left_is_removed_once_nobody_can_be_writing_it(tmp_path: Path) -> None:
    old, young, other = (temporary_path(tmp_path / name) for name in ("a.txt", "a.txt", "b.txt"))
    mine = tmp_path / ".a.txt.mine.tmp"
    for path in (old, young, other, mine):
        path.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    os.utime(mine, (0, 0))
    write_atomically(tmp_path / "a.txt", b"whole")
    assert set(tmp_path.iterdir()) == {tmp_path / "a.txt", young, other, mine}
    temporary_path(tmp_path / "folder").mkdir()
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {tmp_path / "a.txt", mine}
    remove_leftovers(tmp_path / "nowhere")  # nothing to do


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", Path("."), Path("/")):
        with pytest.raises(BadInput, match="is a folder: name a file"):
            write_file(path, b"")
    assert list(tmp_path.rglob("*")) == [tmp_path / "folder"]
