"""POP909 as a user gets it: downloaded, checked, and on its own beats; and whatever may go wrong on the way."""

from __future__ import annotations

import http.server
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import mido
import numpy as np
import pytest
from commands import Result, bad
from pop_songs import BEATS, archive, beats_of, song

from musegen.data import downloads
from musegen.errors import BadInput
from musegen_pianoroll.corpora import pop909
from musegen_pianoroll.reading.midi import read_scores

Run = Callable[..., Result]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "web").mkdir()
    path, digest = archive(tmp_path / "web")
    monkeypatch.setattr(pop909, "SHA256", digest)
    return path


@pytest.fixture
def site(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server in this process that has the archive."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(corpus.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(pop909, "URL", f"{address}/pop.zip")
    yield address
    server.shutdown()
    server.server_close()


def test_notes_stand_on_the_beats_that_were_annotated(tmp_path: Path) -> None:
    """The third beat is the first downbeat: two beats of rest come before the first. Tempos are those of the beats."""
    made = pop909.on_its_beats(song(tmp_path / "a.mid", 4), beats_of(4), tmp_path / "a.mid")
    assert made is not None
    (score,) = read_scores([(tmp_path / "b.mid", made.content())], with_velocity=True)
    assert (score.ticks_per_beat, score.time_signatures) == (480, [(0, 4, 4)])
    assert [(track.name, track.program) for track in score.tracks] == [("MELODY", 73), ("BRIDGE", 24), ("PIANO", 0)]
    for track in score.tracks:
        assert track.velocity is not None
        loud = dict(zip(track.notes[:, 0].tolist(), track.velocity.tolist(), strict=True))
        assert loud == {480 * (2 + i): 40 + i for i in range(23)}
        assert np.abs(track.notes[:, 1] - track.notes[:, 0] - 240).max() <= 1
    bpm = dict(score.tempos)
    assert bpm[0] == pytest.approx(100, rel=1e-4)
    assert [bpm[480 * (2 + i)] for i in (1, 10, 22)] == pytest.approx([100 / 0.99**i for i in (1, 10, 22)], rel=1e-4)


def test_songs_of_other_bars_are_left_out(tmp_path: Path) -> None:
    assert pop909.on_its_beats(song(tmp_path / "a.mid", 3), beats_of(3), tmp_path / "a.mid") is None
    for beats, said in (
        (b"1 0 0\n1 0 1\n", "do not follow"),
        (b"a b c", "no list of beats"),
        (b"", "no list of beats"),
    ):
        with pytest.raises(BadInput, match=said):
            pop909.on_its_beats(song(tmp_path / "a.mid", 4), beats, tmp_path / "a.mid")


@pytest.mark.usefixtures("site")
def test_the_corpus_is_downloaded_and_becomes_a_store(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "songs"
    text = run("data", "get", "pop909", "--out", out).out
    assert "2 songs in" in text
    assert "1 left out, because their bars are not of four beats" in text
    assert sorted(path.name for path in out.iterdir()) == ["001.mid", "002.mid", "LICENSE", "tracks.yaml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["songs", "web"]
    assert mido.MidiFile(out / "001.mid").ticks_per_beat == 480
    text = run("data", "build", "pianoroll", out, "--tracks", out / "tracks.yaml", "--out", tmp_path / "store").out
    assert "0 files left out" not in text  # the two are alike, and the second one is left out as a double
    bad(run("data", "get", "pop909", "--out", out), "exists")


def test_an_archive_or_a_folder_that_is_there_already(run: Run, corpus: Path, tmp_path: Path) -> None:
    run("data", "get", "pop909", "--archive", corpus, "--out", tmp_path / "a")
    with zipfile.ZipFile(corpus) as source:
        source.extractall(tmp_path / "unpacked")
    (checkout,) = (tmp_path / "unpacked").iterdir()
    run("data", "get", "pop909", "--archive", checkout, "--out", tmp_path / "b")
    for name in ("001.mid", "tracks.yaml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert len(list((tmp_path / "b").glob("*.mid"))) == list(BEATS.values()).count(4)


def test_what_is_not_as_it_was_checked_is_refused(run: Run, corpus: Path, site: str, tmp_path: Path) -> None:
    """A changed file, half an archive, something else, an address that is not there: one sentence, and nothing is left behind."""
    whole = corpus.read_bytes()
    with zipfile.ZipFile(corpus, "a") as more:
        more.writestr(f"POP909-Dataset-{pop909.COMMIT}/POP909/004/004.mid", b"MThd")
    bad(run("data", "get", "pop909", "--out", tmp_path / "a"), "does not hold the files of POP909", "or some differ")
    corpus.write_bytes(whole[: len(whole) // 2])
    bad(run("data", "get", "pop909", "--out", tmp_path / "a"), "is no whole zip archive")
    corpus.unlink()
    bad(run("data", "get", "pop909", "--out", tmp_path / "a"), "cannot be reached", "--archive")
    bad(run("data", "get", "pop909", "--archive", tmp_path / "nowhere", "--out", tmp_path / "a"), "does not exist")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web"]


def test_an_address_that_gives_too_much_or_too_little(tmp_path: Path, corpus: Path, site: str) -> None:
    with (
        pytest.raises(BadInput, match="larger than 0 MiB"),
        downloads.downloaded(f"{site}/pop.zip", tmp_path, 100, "Stop."),
    ):
        pass
    with downloads.downloaded(f"{site}/pop.zip", tmp_path, 1 << 20, "Stop.") as path:
        assert path.read_bytes() == corpus.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["web"]
