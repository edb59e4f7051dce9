"""Every command that writes pieces leaves a page of the folder; ``musegen album`` makes one of several."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Result, bad
from html_pages import articles, links, names, parsed, texts
from midi_files import piece

from musegen.album import record
from musegen.cli.typed import running, typed

SHORT = ["-n", 2, "--bars", 1]


def files_of_pages(folder: Path) -> list[str]:
    found = links(parsed((folder / "index.html").read_text("utf-8")))
    assert all((folder / name).is_file() for name in found)
    return found


def test_what_a_page_of_music_has(run: Callable[..., Result], tmp_path: Path) -> None:
    made = run("generate", "chorale", *SHORT, "--seed", 7, "--out", "Bach & <sons>", "--audio", "ogg")
    assert made.code == 0, made.err
    folder = tmp_path / "Bach & <sons>"
    assert made.out.splitlines()[-1] == "Bach & <sons>/index.html"
    root = parsed((folder / "index.html").read_text("utf-8"))
    assert [h.text for h in root.iter("h1")] == ["Bach & <sons>"]
    assert names(folder) == ["sample_000", "sample_001"]
    first = articles(folder)[0]
    assert links(first) == ["sample_000.ogg", "sample_000.mid", "sample_000.ogg"]
    assert texts(first)[-2:] == [
        "Seed 7",
        "musegen generate chorale -n 2 --bars 1 --seed 7 --out 'Bach & <sons>' --audio ogg",
    ]
    assert [texts(label)[0] for label in first.iter("label")] == ["Soprano", "Alto", "Tenor", "Bass"]
    assert len([e for e in first.iter() if e.get("data-layer")]) == 4
    assert len((folder / "index.html").read_bytes()) < 40_000


def test_the_page_has_all_of_the_folder(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(piece(2))
    assert run("generate", "chorale", *SHORT, "--audio", "none").code == 0
    assert names(tmp_path / "out") == ["sample_000", "sample_001"]
    assert [*articles(tmp_path / "out")[0].iter("audio")] == []
    bad(run("continue", "band", "a.mid", *SHORT), "picture.png exists")
    assert run("continue", "band", "a.mid", "-n", 1, "--bars", 1, "--overwrite").code == 0
    assert names(tmp_path / "out") == ["a_continued_000", "sample_000", "sample_001"]
    files_of_pages(tmp_path / "out")
    assert run("generate", "chorale", "-n", 1, "--bars", 1, "--seed", 5, "--audio", "none", "--overwrite").code == 0
    assert names(tmp_path / "out") == ["sample_000", "a_continued_000", "sample_001"]
    assert "Seed 5" in texts(articles(tmp_path / "out")[0])
    files_of_pages(tmp_path / "out")


def test_somebody_elses_page_is_left_alone(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("index.html", "album.json"):
        (tmp_path / "out" / name).write_text("mine")
        bad(run("generate", "chorale", *SHORT), f"{name} exists", "--overwrite")
        (tmp_path / "out" / name).unlink()
    assert not list((tmp_path / "out").iterdir())


def test_pictures_and_samples_of_any_other_kind(
    run: Callable[..., Result], tmp_path: Path, picture_folder: Path
) -> None:
    quick = ["--steps", 1, "--batch-size", 4, "--validate-every", 0, "--sample-every", 0, "--quiet"]
    assert run("train", "vae", "toy", "--out", "toys", *quick).code == 0
    assert run("generate", "toys", "-n", 2).code == 0
    first = articles(tmp_path / "out")[0]
    assert links(first) == ["sample_000.npy"]
    assert [e.get("src", "")[:15] for e in first.iter("img")] == ["data:image/png;"]
    assert run("train", "vae", "image", picture_folder, "--out", "shapes", *quick, "--set", "size=8").code == 0
    assert run("generate", "shapes", "-n", 2, "--out", "pictures").code == 0
    assert links(articles(tmp_path / "pictures")[1]) == ["sample_001.png"] * 2


@pytest.fixture
def folders(tmp_path: Path, run: Callable[..., Result]) -> Path:
    """Two folders with two pieces each."""
    for seed, folder in enumerate(("ideas", "slower")):
        assert run("generate", "chorale", *SHORT, "--seed", seed, "--out", folder, "--audio", "ogg").code == 0
    return tmp_path


def test_an_album_of_all_and_of_chosen_pieces(folders: Path, run: Callable[..., Result]) -> None:
    made = run("album", "ideas", "slower", "--out", "all", "--title", "All <of> it")
    assert made.code == 0, made.err
    assert names(folders / "all") == ["01 sample_000", "02 sample_001", "03 sample_000", "04 sample_001"]
    assert [h.text for h in parsed((folders / "all/index.html").read_text()).iter("h1")] == ["All <of> it"]
    assert texts(articles(folders / "all")[2])[-2] == "Seed 1"
    assert (folders / "all/03 sample_000.mid").read_bytes() == (folders / "slower/sample_000.mid").read_bytes()
    assert made.out.splitlines()[-1] == "all/index.html"

    keep = ["--keep", "slower/sample_001=Morning & evening", "--keep", "ideas/sample_000"]
    assert run("album", "ideas", "slower", *keep, "--out", "few").code == 0
    assert sorted(p.name for p in (folders / "few").iterdir()) == [
        "01 Morning & evening.mid",
        "01 Morning & evening.ogg",
        "02 sample_000.mid",
        "02 sample_000.ogg",
        "album.json",
        "index.html",
    ]
    assert files_of_pages(folders / "few")[:2] == ["01 Morning & evening.ogg", "01 Morning & evening.mid"]

    # An album is a folder to choose from as well, and numbers are not piled up.
    bad(run("album", "few", "--keep", "02 sample_000", "--out", "few"), "exists", "--overwrite")
    assert run("album", "few", "--keep", "02 sample_000", "--out", "few", "--overwrite").code == 0
    assert names(folders / "few") == ["01 sample_000"]
    assert not (folders / "few/01 Morning & evening.mid").exists()


def test_what_an_album_cannot_be_made_of(folders: Path, run: Callable[..., Result]) -> None:
    (folders / "empty").mkdir()
    bad(run("album", "--out", "x"), "nothing to put into the album")
    bad(run("album", "empty", "--out", "x"), "empty is no folder that musegen wrote pieces to")
    bad(run("album", "none", "--out", "x"), "none is no folder")
    bad(run("album", "ideas", "--keep", "sample_01", "--out", "x"), 'Did you mean "sample_001"?')
    bad(
        run("album", "ideas", "slower", "--keep", "sample_001", "--out", "x"), "several folders: write ideas/sample_001"
    )
    bad(run("album", "ideas", "--keep", "sample_001=a/b", "--out", "x"), "cannot be the name of a file")
    bad(run("album", "ideas", "--keep", f"sample_001={300 * 'x'}", "--out", "x"), "cannot be copied")
    before = {p.name: p.read_bytes() for p in (folders / "slower").iterdir()}
    bad(run("album", "ideas", "--out", "slower", "--overwrite"), "slower is no album")
    assert {p.name: p.read_bytes() for p in (folders / "slower").iterdir()} == before
    assert not (folders / "x").exists()
    for path in (folders / "ideas").glob("sample_*"):
        path.unlink()
    bad(run("album", "ideas", "--out", "x"), "No files are left")


def test_a_sample_without_its_sound_goes_into_an_album(folders: Path, run: Callable[..., Result]) -> None:
    (folders / "ideas/sample_000.ogg").unlink()
    assert run("album", "ideas", "--out", "x").code == 0
    assert [len([*article.iter("audio")]) for article in articles(folders / "x")] == [0, 1]
    files_of_pages(folders / "x")


def test_a_name_that_is_no_text(run: Callable[..., Result], tmp_path: Path) -> None:
    given = os.fsdecode(b"caf\xe9 #1?.mid")
    (tmp_path / given).write_bytes(piece(2))
    assert run("continue", "band", given, "-n", 1, "--bars", 1, "--audio", "ogg").code == 0
    files_of_pages(tmp_path / "out")
    assert names(tmp_path / "out") == ["caf\\udce9 #1?_continued_000"]
    assert run("generate", "chorale", *SHORT, "--overwrite", "--audio", "none").code == 0
    assert len(names(tmp_path / "out")) == 3
    files_of_pages(tmp_path / "out")
    assert record.read(tmp_path / "out") is not None


def test_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell takes it, and without the name of the user's home, which the shell had put there."""
    monkeypatch.setenv("HOME", "/home/anna")
    with running(
        ["continue", "band", "/home/anna/my songs/a.mid", "--out=~/x", "/home/annabel/b", "it's", "/home/anna/"]
    ):
        assert typed() == """musegen continue band ~/'my songs/a.mid' '--out=~/x' /home/annabel/b 'it'"'"'s' ~/"""
    assert typed() == ""
