"""Pages of samples: well-formed, with nothing of a stranger's in them that runs, and right whatever the folder holds by now."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest
from html_pages import articles, links, names, parsed, texts
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from musegen.album import making, record
from musegen.album.notebook import SHOWN, Pieces
from musegen.album.page import page
from musegen.album.record import Album, Sample, added, address, file_of
from musegen.contracts.figure import Figure, Layer
from musegen.contracts.piece import Piece
from musegen.errors import BadInput
from musegen.limits import RECORD_CAP_BYTES
from musegen.reporting import plain

file_names = st.binary(min_size=1, max_size=40).filter(lambda b: b not in (b".", b"..") and not {0, 47} & set(b))
strange = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["<script>alert(1)</script>", "\"'><img src=x>", "&amp;", "]]>", "--><b>", "javascript:x", "</style>"]
    ),
)
FIGURE = Figure(
    20,
    4,
    [Layer("Ré <b>", "#4e79a7", "M0 0.5m1 2h4", line=0.8), Layer("B&B", "#e15759", "M0 0L3 1Z")],
    "4 bars",
    times=[(0, 0), (20, 2.5)],
)


class Blank(Piece):
    """A piece that sounds if it is told to."""

    suffix = ".txt"

    def __init__(self, sounds: bool = False) -> None:
        self.sounds = sounds

    def save(self, path: str | Path) -> Path:
        Path(path).write_text("blank")
        return Path(path)

    def picture(self) -> Image.Image:
        return Image.effect_noise((1000, 500), 50)

    def audio(self) -> tuple[object, int] | None:
        import numpy as np

        return (np.zeros((1, 800), np.float32), 8000) if self.sounds else None


class Balanced(HTMLParser):
    """Notes tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "input", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def written(folder: Path, *samples: str, sound: bool = True, **more: object) -> list[Sample]:
    """Samples with files of these names, which are there."""
    made = []
    for name in samples:
        paths = [folder / f"{name}.txt", *([folder / f"{name}.wav"] if sound else [])]
        for path in paths:
            path.write_bytes(b"x")
        made.append(making.sample_of(Blank(), name, paths, **more))  # type: ignore[arg-type]
    return made


@given(name=file_names)
def test_an_address_brings_a_file_back_and_is_no_other_address(name: bytes) -> None:
    found = address(os.fsdecode(name))
    assert os.fsencode(file_of(found)) == name
    assert found.isascii()
    assert not set(found) & set(":/?#&\"'<> ")


@given(name=file_names, title=strange, command=strange)
def test_strange_names_are_texts_and_links(name: bytes, title: str, command: str) -> None:
    file = address(os.fsdecode(name))
    sample = Sample(title, [file], sound=file, figure=FIGURE, command=plain(command), seed=3, seconds=61.4)
    html = page(Album(title, [sample]))
    root = parsed(html)
    assert links(root) == [os.fsdecode(name)] * 2
    assert [e.tag for e in root.iter() if e.tag in ("script", "b", "img")] == ["script"]
    text = "".join(root.find(".//article").itertext())  # type: ignore[union-attr]
    for wanted in (plain(title), plain(command), plain(os.fsdecode(name)), "Ré <b>", "B&B", "Seed 3", "1:01"):
        assert " ".join(wanted.split()) in " ".join(text.split())
    reader = Balanced()
    reader.feed(html)
    assert reader.open == []
    assert reader.seen.count("script") == 1


def test_who_does_not_see_or_click(tmp_path: Path) -> None:
    """Everything has a name, and what can be used is an element that the keyboard reaches."""
    samples = [dataclasses.replace(*written(tmp_path, "a"), figure=FIGURE), *written(tmp_path, "b")]
    root = parsed(page(Album("Mine", samples)))
    assert root.get("lang") == "en"
    assert [h.text for h in root.iter() if h.tag in ("h1", "h2")] == ["Mine", "a", "b"]
    (drawing,) = (e for e in root.iter() if e.tag.endswith("svg"))
    assert drawing.get("role") == "img"
    assert drawing.get("aria-label") == "Drawing of a: 4 bars. Ré <b>, B&B."
    assert [e.get("alt") for e in root.iter("img")] == ["Picture of b"]
    assert [e.get("aria-label") for e in root.iter("audio")] == ["Sound of a", "Sound of b"]
    assert [texts(label) for label in root.iter("label")] == [["Ré <b>"], ["B&B"]]
    for i, box in enumerate(root.iter("input")):
        assert box.get("value") == str(i)
        assert f"input[value='{i}']:not(:checked)) [data-layer='{i}'] {{ display: none; }}" in page(Album("", samples))


def test_a_page_needs_no_network_and_stays_small(tmp_path: Path) -> None:
    html = page(Album("Mine", written(tmp_path, *"abcdefgh")))
    assert "default-src 'none'" in html
    assert len(html) < 100_000  # eight photographs of noise, the hardest to make small
    assert not [one for one in links(parsed(html)) if "//" in one]


def test_a_second_command_adds_and_replaces(tmp_path: Path) -> None:
    making.write(tmp_path, added(tmp_path, "Mine", written(tmp_path, "a", "b", "c", command="musegen one", seed=1)))
    assert names(tmp_path) == ["a", "b", "c"]
    (tmp_path / "c.txt").unlink()
    (tmp_path / "c.wav").unlink()
    making.write(tmp_path, added(tmp_path, "Other", written(tmp_path, "d", "b", command="musegen two", seed=2)))
    assert names(tmp_path) == ["d", "b", "a"]
    assert [texts(article)[-2:] for article in articles(tmp_path)] == [
        *(["Seed 2", "musegen two"],) * 2,
        ["Seed 1", "musegen one"],
    ]
    found = record.read(tmp_path)
    assert found is not None
    assert found.title == "Mine"
    for file in links(parsed((tmp_path / "index.html").read_text("utf-8"))):
        assert (tmp_path / file).is_file()


def test_without_its_sound_a_sample_has_no_player(tmp_path: Path) -> None:
    making.write(tmp_path, added(tmp_path, "Mine", written(tmp_path, "a", "b")))
    (tmp_path / "a.wav").unlink()
    making.write(tmp_path, added(tmp_path, "Mine", written(tmp_path, "c", sound=False)))
    players = [[e.get("src") for e in article.iter("audio")] for article in articles(tmp_path)]
    assert players == [[], [], ["b.wav"]]
    assert links(articles(tmp_path)[1]) == ["a.txt"]


def test_a_picture_that_is_gone_is_left_out(tmp_path: Path) -> None:
    for name in ("a.png", "a.txt"):
        (tmp_path / name).write_bytes(b"x")
    sample = making.sample_of(Blank(), "a", [tmp_path / "a.png", tmp_path / "a.txt"])
    assert sample.picture == "a.png"
    (tmp_path / "a.png").unlink()
    (left,) = record.remaining([sample], tmp_path)
    assert (left.picture, left.files) == ("", ["a.txt"])


@pytest.mark.parametrize(
    "change",
    [
        {"files": ["../a.txt"]},
        {"files": ["..%2Fa.txt"]},
        {"files": [".."]},
        {"files": ["a%00"]},
        {"files": ["javascript:x"]},
        {"sound": "other.wav"},
        {"picture": "data:text/html;base64,AAAA"},
        {"picture": "https://example.com/x.png"},
        {"seconds": -1},
        {"seed": "x"},
        {"name": 3},
        {"figure": {"width": 1, "height": 1, "about": "", "layers": [{"name": "", "colour": "url(x)"}]}},
    ],
)
def test_a_record_that_says_anything_else_is_none(change: dict[str, object], tmp_path: Path) -> None:
    making.write(tmp_path, Album("Mine", written(tmp_path, "a")))
    assert record.read(tmp_path) is not None
    content = json.loads((tmp_path / "album.json").read_text())
    content["samples"][0] |= change
    (tmp_path / "album.json").write_text(json.dumps(content))
    assert record.read(tmp_path) is None


@given(content=st.one_of(st.binary(max_size=60), st.sampled_from([b"[" * 100_000, b"{}", b"null", b'{"format": 2}'])))
def test_any_other_file_is_no_record(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "album.json").write_bytes(content)
    assert record.read(folder) is None


def test_a_record_comes_back(tmp_path: Path) -> None:
    samples = [Sample("a b", ["a%20b.txt"], figure=FIGURE, command="musegen", seed=2**70, seconds=0.5)]
    making.write(tmp_path, Album("Mine", samples, kind="album"))
    found = record.read(tmp_path)
    assert found is not None
    assert dataclasses.replace(found, samples=[]) == Album("Mine", [], kind="album")
    (back,) = found.samples
    assert back.figure is not None
    assert dataclasses.replace(back, figure=None) == dataclasses.replace(samples[0], figure=None)
    assert (back.figure.layers, back.figure.times) == (FIGURE.layers, FIGURE.times)


def test_of_very_many_samples_a_page_has_the_first(tmp_path: Path) -> None:
    layer = Layer("", "#123456", "M0 0" + "h1" * 500_000)
    samples = [Sample(str(i), [f"{i}.txt"], figure=Figure(1, 1, [layer], "")) for i in range(20)]
    making.write(tmp_path, Album("Mine", samples))
    assert (tmp_path / "album.json").stat().st_size <= RECORD_CAP_BYTES
    found = record.read(tmp_path)
    assert found is not None
    assert (len(found.samples), found.more) == (10, 10)
    assert "10 more are in the folder." in (tmp_path / "index.html").read_text()


def test_a_small_picture_is_embedded() -> None:
    plain_one, noise = Image.new("L", (4, 4)), Image.effect_noise((900, 300), 80)
    assert making.embedded(plain_one).startswith("data:image/png;base64,")
    kind, _, content = making.embedded(noise).partition(",")
    assert kind == "data:image/jpeg;base64"
    assert len(base64.b64decode(content)) < 20_000
    assert record.EMBEDDED.fullmatch(making.embedded(noise))


def test_a_notebook_shows_pieces_and_plays_them() -> None:
    html = Pieces([Blank(sounds=True), Blank()])._repr_html_()
    assert "<script" not in html
    root = parsed(f"<div>{html}</div>")
    assert [(e.get("src") or "")[:11] for e in root.iter("audio")] == ["data:audio/"]
    assert len([*root.iter("img")]) == 2
    assert "<h2>Piece 1</h2>" in Blank()._repr_html_()
    assert "… and 3 pieces more" in Pieces([Blank()] * (SHOWN + 3))._repr_html_()


def test_what_a_sample_cannot_be() -> None:
    with pytest.raises(BadInput, match="its own folder"):
        Sample("a", ["b/c"])
