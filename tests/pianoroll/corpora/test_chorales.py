"""The chorales as a user gets them: from the scores that come with music21, or from its archive; the files of the repository."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Result, bad

from musegen.data.bundled import bundled
from musegen.data.downloads import digest_of_files
from musegen.errors import MusegenWarning
from musegen_pianoroll.corpora import chorales

music21 = pytest.importorskip("music21", reason="the extra notation is not installed")

Run = Callable[..., Result]
SCORES = Path(music21.__file__).parent / "corpus" / "bach"
SOME = ["bwv253.mxl", "bwv10.7.mxl", "bwv36.4-2.mxl", "bwv279.mxl", "bwv1.6.mxl"]
"""A plain one, one of a metre of three, one off the grid, one that is the same as another, and one with instruments."""
KEPT = ["bwv10.7.mid", "bwv253.mid", "bwv36.4-2.mid"]


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.mid"))}


def kept() -> dict[str, bytes]:
    return {name: (bundled("chorales") / name).read_bytes() for name in KEPT}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive that looks like music21's, with five scores, and the only one that is taken for whole."""
    files = {name: (SCORES / name).read_bytes() for name in SOME}
    (tmp_path / "web").mkdir()
    path = tmp_path / "web" / "music21.zip"
    with zipfile.ZipFile(path, "w") as out:
        for name, content in files.items():
            out.writestr(f"music21-{chorales.COMMIT}/music21/corpus/bach/{name}", content)
        out.writestr(f"music21-{chorales.COMMIT}/music21/corpus/bach/krn/bwv1.krn", b"all rights reserved")
        out.writestr(f"music21-{chorales.COMMIT}/music21/corpus/mozart/k1.mxl", b"no chorale")
    monkeypatch.setattr(chorales, "SCORES_SHA256", digest_of_files(files))
    monkeypatch.setattr(chorales, "SHA256", digest_of_files(kept()))
    monkeypatch.setattr(chorales, "URL", path.as_uri())
    return path


def test_what_is_made_is_what_lies_in_the_repository() -> None:
    assert digest_of_files(written(bundled("chorales"))) == chorales.SHA256
    assert digest_of_files(chorales._scores(SCORES)) == chorales.SCORES_SHA256


def test_other_scores_than_the_installed_ones_are_downloaded(run: Run, archive: Path, tmp_path: Path) -> None:
    """The corpus of the installation holds others than are wanted here, and so the archive is fetched."""
    result = run("data", "get", "chorales", "--out", tmp_path / "out")
    assert result.code == 0, result.err
    assert "3 chorales in" in result.out
    assert "1 not for soprano, alto, tenor and bass alone, 1 the same music as another" in result.out
    assert written(tmp_path / "out") == kept()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*KEPT, "SOURCE.md"}
    assert "commercially" in (tmp_path / "out" / "SOURCE.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "web"]


def test_an_archive_or_a_folder_that_is_there_already(
    run: Run, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chorales, "URL", "http://127.0.0.1:9/none.zip")
    assert run("data", "get", "chorales", "--archive", archive, "--out", tmp_path / "a").code == 0
    with zipfile.ZipFile(archive) as source:
        source.extractall(tmp_path / "unpacked")
    (checkout,) = (tmp_path / "unpacked").iterdir()
    for name, folder in (("b", checkout), ("c", checkout / "music21"), ("d", checkout / "music21/corpus/bach")):
        assert run("data", "get", "chorales", "--archive", folder, "--out", tmp_path / name).code == 0
        assert written(tmp_path / name) == kept()


def test_what_is_not_as_it_was_checked_is_refused(
    run: Run, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr(f"music21-{chorales.COMMIT}/music21/corpus/bach/bwv9.9.mxl", b"PK")
    bad(run("data", "get", "chorales", "--out", tmp_path / "a"), "does not hold the scores", "or some differ")
    bad(run("data", "get", "chorales", "--archive", tmp_path / "no", "--out", tmp_path / "a"), "does not exist")
    monkeypatch.setattr(chorales, "URL", "http://127.0.0.1:9/none.zip")
    bad(run("data", "get", "chorales", "--out", tmp_path / "a"), "cannot be reached", "--archive")
    monkeypatch.setattr(chorales, "find_spec", lambda name: None)
    bad(run("data", "get", "chorales", "--out", tmp_path / "a"), "pip install 'musegen[notation]'")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web"]


def test_files_that_come_out_otherwise_are_written_and_it_is_said(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chorales, "SHA256", "0" * 64)
    with pytest.warns(MusegenWarning, match="differ from those that musegen's models learnt from"):
        n, _ = chorales.get_chorales(tmp_path / "a", archive)
    assert n == len(written(tmp_path / "a")) == len(KEPT)


@pytest.mark.slow
def test_all_of_them_are_made_of_the_installed_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chorales, "URL", "http://127.0.0.1:9/none.zip")
    with warnings.catch_warnings():
        warnings.simplefilter("error", MusegenWarning)
        n, left_out = chorales.get_chorales(tmp_path / "out")
    assert (n, sum(left_out.values())) == (351, 59)
    assert written(tmp_path / "out") == written(bundled("chorales"))
