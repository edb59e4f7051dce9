"""What a folder holds: which files are read, which are counted, and which are passed over."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import midi_files
import pytest

from musegen.errors import BadInput
from musegen_pianoroll.domain import PianorollDomain
from musegen_pianoroll.reading.build import build_store
from musegen_pianoroll.reading.folder import find_files, unread_suffixes, unread_summary

READ = ["a.mid", "b.MIDI", "c.Kar", "d.rmi", "e.smf", "f.npz", "g.npy", "h.musicxml", "i.xml", "j.mxl", "k.abc"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files that are read, files that are not, and what systems leave behind."""
    songs = tmp_path / "songs"
    for name in [
        *READ, "sub/l.mid", "x.txt", "y.TXT", "sub/z.pdf", "README", "w.tar.gz",
        "._a.mid", ".hidden.mid", ".git/m.mid", "@eaDir/a.mid", "sub/__MACOSX/._l.mid", "sub/__MACOSX/n.mid", ".DS_Store",
    ]:  # fmt: skip
        (songs / name).parent.mkdir(parents=True, exist_ok=True)
        (songs / name).write_bytes(b"")
    return songs


def test_every_kind_that_is_read_is_found_and_nothing_hidden(folder: Path) -> None:
    assert find_files(folder) == (folder, [*READ, "sub/l.mid"])
    assert all(Path(name).suffix.lower() in PianorollDomain.suffixes for name in READ)


def test_what_is_not_read_is_counted_by_suffix(folder: Path) -> None:
    counts = unread_suffixes(folder)
    assert counts == Counter({".txt": 2, ".pdf": 1, "": 1, ".gz": 1})
    assert unread_summary(counts) == "Not read: 2 .txt, 1 without suffix, 1 .gz, 1 .pdf"
    assert unread_summary(Counter()) == ""
    assert unread_suffixes(folder / "a.mid") == Counter()


def test_linked_folders_are_followed_once(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far.mid").write_bytes(b"")
    (elsewhere / "notes.txt").write_bytes(b"")
    for name in ("first", "second"):
        (folder / name).symlink_to(elsewhere)
    (folder / "aaa").symlink_to(folder / "sub")  # a folder within goes by its own name
    (folder / "up").symlink_to(tmp_path)
    (elsewhere / "back").symlink_to(folder)
    (folder / "circle.mid").symlink_to(folder / "circle.mid")
    (folder / "linked.mid").symlink_to(elsewhere / "far.mid")
    assert find_files(folder)[1] == sorted([*READ, "circle.mid", "first/far.mid", "linked.mid", "sub/l.mid"])
    assert unread_suffixes(folder)[".txt"] == 3


def test_a_folder_without_music_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(
        BadInput, match=r"holds no MIDI files and no others that are read: .*ABC\. Not read: 1 \.txt\.$"
    ):
        find_files(tmp_path)
    with pytest.raises(BadInput, match=r"a\.txt is no folder, no store, and no file of a kind that is read: give"):
        find_files(tmp_path / "a.txt")
    with pytest.raises(BadInput, match="does not exist"):
        find_files(tmp_path / "nowhere")


def test_midi_files_of_other_suffixes_are_built(tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    songs.mkdir()
    for i, suffix in enumerate((".mid", ".kar", ".smf", ".MIDI")):
        (songs / f"a{suffix}").write_bytes(midi_files.piece(i + 1))
    assert build_store(songs, tmp_path / "store", workers=1).n_read == 4
