"""The studio's page in a real browser: a piece is made, heard, marked, written anew in part, undone, saved and opened again."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Page, browser
from studio_client import Client, served

from musegen.studio import api
from musegen_pianoroll.reading.midi import read_scores

pytest.importorskip("uvicorn", reason="the extra studio is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

UNNAMED = """[...document.querySelectorAll("button, input, select, audio, canvas, a, progress")].filter((e) => e.checkVisibility()
  && !(e.labels?.length || e.textContent.trim() || e.getAttribute("aria-label"))).map((e) => e.outerHTML)"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "saved"


@pytest.fixture(scope="module")
def client(out: Path) -> Iterator[Client]:
    with served(out) as client:
        yield client


@pytest.fixture
def page(client: Client, tmp_path: Path) -> Iterator[Page]:
    with browser(tmp_path / "profile") as page:
        page.open(f"http://{client.host}/?token={client.token}")
        said(page, "Ready.")
        choose(page, "chorale")
        yield page
        assert page.faults == []


def said(page: Page, text: str) -> str:
    """What the page says, once it begins with a text."""
    return str(
        page.until(f"(said = document.querySelector('#status')?.textContent ?? '').startsWith('{text}') && said")
    )


def choose(page: Page, model: str) -> None:
    page.run(f"e = document.querySelector('#model'); e.value = '{model}'; e.dispatchEvent(new Event('change'))")
    said(page, "Ready.")


def fill(page: Page, **values: object) -> None:
    for id_, value in values.items():
        page.run(f"e = document.querySelector('#{id_}'); e.value = '{value}'; e.dispatchEvent(new Event('input'))")


def does(page: Page, button: str) -> str:
    """Click, and wait until it is done."""
    page.run("document.querySelector('#status').textContent = ''")
    page.click(f"#{button}")
    return said(page, "Done.")


def saved(page: Page, out: Path, folder: str) -> Path:
    fill(page, folder=folder)
    page.click("#save")
    said(page, f"Saved in the folder {folder}")
    return out / folder / "01 chorale.mid"


def notes(path: Path) -> set[tuple[str, int, int, int]]:
    """Track, first tick, the one after the last, pitch."""
    (score,) = read_scores([(path, path.read_bytes())])
    return {(track.name, *map(int, note)) for track in score.tracks for note in track.notes}


def test_from_a_new_piece_to_a_saved_one(page: Page, out: Path, tmp_path: Path) -> None:
    assert page.run("location.search") == ""  # the token does not stay where others look
    fill(page, bars=4, n=2)
    does(page, "generate")
    assert page.run("document.querySelector('#about').textContent").startswith("4 bars of 4/4")
    page.run("document.querySelector('#player').play()")
    page.until("document.querySelector('#player').currentTime > 0.2")
    page.run("document.querySelector('#player').pause()")
    before = notes(saved(page, out, "before"))

    # Bars 2 and 3 of the alto, marked with the mouse and written anew.
    x, y, width = page.run(
        "(() => { e = document.querySelector('#roll'); e.scrollIntoView({block: 'center'}); r = e.getBoundingClientRect(); "
        "return [r.x, r.y, r.width]; })()"
    )
    page.drag((x + 0.3 * width, y + 90), (x + 0.5 * width, y + 95), (x + 0.7 * width, y + 99))
    assert page.run("['first', 'last'].map((id) => document.getElementById(id).value).join()") == "2,3"
    for track in ("Soprano", "Tenor", "Bass"):
        page.click(f"#tracks input[value={track}]")
    does(page, "anew")
    after = notes(saved(page, out, "after"))
    bar = 4 * 480
    assert {note for note in before if note[0] != "Alto"} == {note for note in after if note[0] != "Alto"}
    for first, last in ((0, bar), (3 * bar, 4 * bar)):
        kept = [{n[:2] + n[3:] for n in of if n[0] == "Alto" and first <= n[1] < last} for of in (before, after)]
        assert kept[0] == kept[1]
    assert before != after
    page.run("document.querySelectorAll('#versions input')[1].click()")
    assert notes(saved(page, out, "other")) not in (before, after)

    page.click("#undo")
    page.until("!document.querySelector('#redo').disabled && document.querySelectorAll('#versions input')[0].checked")
    assert notes(saved(page, out, "undone")) == before
    page.click("#redo")
    page.until("document.querySelector('#redo').disabled")

    content = base64.b64encode((out / "before" / "01 chorale.mid").read_bytes()).decode()
    page.run(
        f"bytes = Uint8Array.from(atob('{content}'), (c) => c.charCodeAt(0)); data = new DataTransfer(); "
        "data.items.add(new File([bytes], 'my own.mid')); document.querySelector('#status').textContent = ''; "
        "document.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}))"
    )
    said(page, "Done.")
    assert page.run("document.querySelector('#name').textContent") == "my own"
    does(page, "continue")


@pytest.mark.parametrize("width", [360, 1400])
def test_it_fits_and_everything_has_a_name(page: Page, client: Client, width: int) -> None:
    page.open(f"http://{client.host}/", width)  # the token stays with the tab
    said(page, "Ready.")
    choose(page, "chorale")
    fill(page, bars=2, n=1)
    does(page, "generate")
    page.run("document.querySelector('details').open = true")
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run(UNNAMED) == []
    assert page.run("document.querySelectorAll('#options [name]').length") > 5
    # The keyboard alone does it as well.
    page.run("document.querySelector('#status').textContent = ''; document.querySelector('#anew').focus()")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    said(page, "Done.")


def test_what_is_wrong_is_said_and_work_can_be_cancelled(page: Page) -> None:
    page.run("document.querySelector('#options [name=temperature]').value = '-1'")
    page.click("#generate")
    assert "temperature=-1 is invalid" in said(page, "temperature")
    page.run("document.querySelector('#options [name=temperature]').value = ''")
    fill(page, bars=128, n=16)
    page.click("#generate")
    page.until("!document.querySelector('#work').hidden && document.querySelector('#progress').value > 1")
    page.click("#cancel")
    said(page, "Work is cancelled.")


def test_sounds_have_a_page_too(page: Page) -> None:
    choose(page, "notes")
    page.run("document.querySelector('#label').value = 'guitar'")
    does(page, "generate")
    assert page.run("document.querySelector('#region').hidden")
    assert page.run("[...document.querySelectorAll('#tracks label')].map((e) => e.textContent)") == [
        "Spectrogram",
        "Waveform",
    ]


def test_the_page_is_small() -> None:
    found = list(api.PAGE.iterdir())
    assert {path.name for path in found} == {"index.html", *api.FILES}
    assert sum(path.stat().st_size for path in found) < 60_000
