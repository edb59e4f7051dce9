"""Folders: one process writes at a time, and what appears meanwhile is never lost."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from musegen import folders
from musegen.errors import BadInput
from musegen.folders import LOCK, Claim, NewFolder


def make(path: Path, content: str, overwrite: bool = False) -> NewFolder:
    """A new folder of one file, not yet committed."""
    new = NewFolder(path, "sign", "thing", overwrite)
    new.__enter__()
    (new.temporary / "sign").write_text(content)
    return new


@contextlib.contextmanager
def made(path: Path, content: str, overwrite: bool = False) -> Iterator[NewFolder]:
    new = make(path, content, overwrite)
    try:
        yield new
    finally:
        new.__exit__()


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(params=["swap", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How an older folder is replaced: as here, and as where the system has no call for it."""
    if request.param == "two renames":
        monkeypatch.setattr(folders, "_swapped", lambda *_: False)
    return str(request.param)


def test_what_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    appear: list[Callable[[Path], object]] = [
        lambda path: path.write_text("a file"),
        lambda path: (path.mkdir(), (path / "thesis.txt").write_text("x")),
        lambda path: (path.mkdir(), (path / "sign").write_text("another thing")),
        lambda path: path.symlink_to(tmp_path),
        lambda path: path.symlink_to(tmp_path / "nowhere"),
    ]
    for overwrite in (False, True):
        for i, something in enumerate(appear):
            path = tmp_path / f"{i}{overwrite}" / "out"
            new = make(path, "mine", overwrite)
            something(path)
            before = path.readlink() if path.is_symlink() else path.read_text() if path.is_file() else contents(path)
            with pytest.raises(BadInput, match=r"out has appeared while this thing was being made, and is left alone"):
                new.commit()
            new.__exit__()
            after = path.readlink() if path.is_symlink() else path.read_text() if path.is_file() else contents(path)
            assert after == before
            assert [p.name for p in path.parent.iterdir()] == ["out"]


def test_an_empty_folder_may_be_there_and_may_appear(tmp_path: Path) -> None:
    for late in (False, True):
        path = tmp_path / str(late)
        if not late:
            path.mkdir()
        new = make(path, "mine")
        if late:
            path.mkdir()
        new.commit()
        new.__exit__()
        assert contents(path) == {"sign": "mine"}


def test_a_link_to_an_empty_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with made(tmp_path / "link", "mine") as new:
        assert new.commit() == tmp_path / "real"
    assert contents(tmp_path / "link") == {"sign": "mine"}


def test_an_older_one_is_replaced_where_that_is_wanted(tmp_path: Path, way: str) -> None:
    path = tmp_path / "out"
    for content in ("first", "second"):
        new = make(path, content, overwrite=True)
        new.commit()
        with pytest.raises(BadInput, match=rf"The thing .*out is being written by process {os.getpid()} on \S+: wait"):
            NewFolder(path, "sign", "thing", overwrite=True).__enter__()
        new.__exit__()
        assert contents(path) == {"sign": content}
        assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_another_one_in_the_place_of_the_older_is_left_alone(tmp_path: Path, way: str) -> None:
    path = tmp_path / "out"
    with made(path, "older") as new:
        new.commit()
    new = make(path, "mine", overwrite=True)
    path.rename(tmp_path / "moved")
    path.mkdir()
    (path / "sign").write_text("another")
    with pytest.raises(BadInput, match="has appeared"):
        new.commit()
    new.__exit__()
    assert contents(path) == {"sign": "another"}
    assert contents(tmp_path / "moved")["sign"] == "older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["moved", "out"]


def test_the_older_one_may_go_meanwhile(tmp_path: Path, way: str) -> None:
    path = tmp_path / "out"
    with made(path, "older") as new:
        new.commit()
    with made(path, "mine", overwrite=True) as new:
        path.rename(tmp_path / "moved")
        new.commit()
    assert contents(path) == {"sign": "mine"}
    assert contents(tmp_path / "moved")["sign"] == "older"


def test_what_is_no_such_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("x")
    with pytest.raises(BadInput, match="is no thing of musegen, so overwrite=True leaves it alone"):
        NewFolder(tmp_path / "thesis", "sign", "thing", overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="file is a file: name a new folder with out=FOLDER"):
        NewFolder(tmp_path / "file", "sign", "thing", overwrite=True)


HOLD = """
import sys, time
from pathlib import Path
from musegen.folders import NewFolder
new = NewFolder(sys.argv[1], "sign", "thing")
new.__enter__()
(new.temporary / "sign").write_text("killed")
(new.temporary / "data").mkdir()
if sys.argv[2] == "named":
    new.commit()
print("held", file=sys.stderr, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("when", ["unnamed", "named"])
def test_a_second_process_is_refused_and_a_killed_one_holds_nobody_up(
    tmp_path: Path, popen: Callable[..., object], when: str
) -> None:
    path = tmp_path / "out"
    process = popen([sys.executable, "-c", HOLD, str(path), when])
    assert process.stderr.readline() == "held\n"  # type: ignore[attr-defined]
    named = when == "named"
    busy = rf"The thing .* is being written by process {process.pid} on \S+: wait until it is done, or stop it\.$"  # type: ignore[attr-defined]
    with pytest.raises(BadInput, match=busy):
        NewFolder(path, "sign", "thing", overwrite=named).__enter__()
    process.kill()  # type: ignore[attr-defined]
    process.wait()  # type: ignore[attr-defined]
    assert list(tmp_path.glob("**/" + LOCK))  # it is there still, and nobody has it
    with made(path, "mine", overwrite=named) as new:
        assert sorted(p.name for p in new.temporary.iterdir()) == [LOCK, "sign"]
        new.commit()
    assert contents(path) == {"sign": "mine"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_lock_that_is_no_file_is_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    for name, plant in {"link": lambda p: p.symlink_to(tmp_path / "precious"), "pipe": os.mkfifo}.items():
        folder = tmp_path / name
        folder.mkdir()
        plant(folder / LOCK)
        with pytest.raises(BadInput), Claim(folder, "it"):
            pass
    assert (tmp_path / "precious").read_text() == "x"


def test_a_claimed_folder_may_go_or_be_moved(tmp_path: Path) -> None:
    """And the lock of whoever has that name by then is left to him."""
    folder = tmp_path / "a"
    with Claim(folder, "it"):
        folder.rename(tmp_path / "b")
        with pytest.raises(BadInput, match="being written"), Claim(tmp_path / "b", "it"):
            pass
        other = Claim(folder, "another")
        other.__enter__()
    assert (folder / LOCK).exists()
    other.__exit__()
    assert list(folder.iterdir()) == []
