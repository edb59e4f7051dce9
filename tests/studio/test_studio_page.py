"""The studio's page in a real browser: a piece is made, heard, marked, written anew in part, undone, saved and opened again."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Page
from studio_client import Client, served
from studio_pages import choose, opened, said

from musegen.studio import api
from musegen_pianoroll.reading.midi import read_scores

pytest.importorskip("uvicorn", reason="the extra studio is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

UNNAMED = """[...document.querySelectorAll("button, input, select, audio, canvas:not([aria-hidden]), a, progress")]
  .filter((e) => e.checkVisibility()
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
    with opened(client, tmp_path) as page:
        choose(page, "chorale")
        yield page


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
    page.until("document.querySelector('#level').value > 0.01")  # it plays at once, and that is no silence
    page.until("Number(document.querySelector('#position').value) > 0.5")
    page.click("#play")
    page.until("document.querySelector('#play').textContent === 'Play'")
    page.click("#at-once")
    before = notes(saved(page, out, "before"))

    # Bars 2 and 3 of the alto, marked with the mouse and written anew.
    x, y, width = page.run(
        "(() => { e = document.querySelector('#roll canvas'); e.scrollIntoView({block: 'center'}); r = e.getBoundingClientRect(); "
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


def score(page: Page, client: Client) -> dict[str, Any]:
    """The piece at hand."""
    id_ = page.run("document.querySelector('#versions input:checked').value")
    return dict(client.ask("GET", f"/api/pieces/{id_}").json["score"])


def quiet(page: Page) -> None:
    page.run("document.querySelector('#at-once').checked = false")


def at(page: Page, tick: float, pitch: int) -> tuple[float, float]:
    """Where a tick and a pitch are on the screen, seen from the canvas: keys of 44 pixels, a ruler of 22, a lane of 64."""
    x, y, left, top, wide, high = page.run(
        "(() => { b = document.querySelector('#roll'); b.scrollIntoView({block: 'center'}); "
        "r = b.querySelector('canvas').getBoundingClientRect(); s = b.querySelector('.space'); "
        "lane = document.querySelector('#editing').checked ? 64 : 0; "
        "return [r.x, r.y, b.scrollLeft, b.scrollTop, s.offsetWidth, s.offsetHeight - lane]; })()"
    )
    row, per_tick = (high - 22) / 128, (wide - 44) / page.ticks  # type: ignore[attr-defined]
    return x + 44 + tick * per_tick - left, y + 22 + (127 - pitch + 0.5) * row - top


def test_notes_are_added_moved_lengthened_and_removed(page: Page, client: Client, out: Path) -> None:
    quiet(page)
    fill(page, bars=2, n=1, seed=1)
    does(page, "generate")
    first = score(page, client)
    page.ticks, step = first["end"], round(first["ticks_per_step"])  # type: ignore[attr-defined]
    page.click("#editing")
    page.run("e = document.querySelector('#voice'); e.value = '1'; e.dispatchEvent(new Event('change'))")
    free = next(p for p in range(64, 80) if not any(n[3] in (p - 1, p, p + 1) for n in first["notes"]))

    def after(act: Callable[[], None]) -> list[list[int]]:
        """The new notes, once something was done."""
        before = page.run("document.querySelector('#versions input:checked').value")
        act()
        page.until(f"document.querySelector('#versions input:checked').value !== '{before}'")
        return [note for note in score(page, client)["notes"] if note not in first["notes"]]

    place = at(page, 2 * step + 5, free)
    (added,) = after(lambda: page.drag(place, place))
    assert added == [1, 2 * step, 2 * step + first["ticks_per_beat"], free, 90]
    middle = at(page, (added[1] + added[2]) / 2, free)
    up = at(page, (added[1] + added[2]) / 2 + 2 * step, free + 1)
    (moved,) = after(lambda: page.drag(middle, up, up))
    assert moved == [1, added[1] + 2 * step, added[2] + 2 * step, free + 1, 90]
    end, later = at(page, moved[2] - 3, free + 1), at(page, moved[2] + 2 * step - 3, free + 1)
    (longer,) = after(lambda: page.drag(end, later, later))
    assert longer == [1, moved[1], moved[2] + 2 * step, free + 1, 90]
    # The file has these notes and no others, at 480 ticks per beat.
    finer = 480 / first["ticks_per_beat"]
    assert {n[1:] for n in notes(saved(page, out, "edited"))} == {
        (finer * a, finer * b, c) for _, a, b, c, _ in [*first["notes"], longer]
    }
    page.run("document.querySelector('#roll').focus()")
    assert after(lambda: key(page, "Delete", 46)) == []
    assert sorted(score(page, client)["notes"]) == sorted(first["notes"])
    for wanted in ([longer], [moved], [added], []):
        assert after(lambda: page.run("document.querySelector('#undo').click()")) == wanted


def key(page: Page, name: str, code: int, modifiers: int = 0) -> None:
    text = {"text": "\r"} if name == "Enter" else {}
    for kind in ("keyDown", "keyUp"):
        page.call(
            "Input.dispatchKeyEvent",
            type=kind,
            key=name,
            code=name,
            windowsVirtualKeyCode=code,
            modifiers=modifiers,
            **(text if kind == "keyDown" else {}),
        )


def test_notes_are_edited_by_keys_alone(page: Page, client: Client) -> None:
    quiet(page)
    fill(page, bars=2, n=1, seed=1)
    does(page, "generate")
    first = score(page, client)
    page.run("document.querySelector('#editing').click(); document.querySelector('#roll').focus()")
    key(page, "ArrowRight", 39)
    voice, start, end, pitch, velocity = min(n for n in first["notes"] if n[0] == 0)
    assert ", Soprano, bar 1, beat" in page.run("document.querySelector('#status').textContent")
    key(page, "ArrowUp", 38)
    page.until(
        "!document.querySelector('#undo').disabled && document.querySelector('#about').textContent.includes('edited')"
    )
    (moved,) = [n for n in score(page, client)["notes"] if n not in first["notes"]]
    assert moved == [voice, start, end, pitch + 1, velocity]
    key(page, "z", 90, 2)
    page.until("!document.querySelector('#about').textContent.includes('edited')")
    assert score(page, client) == first
    # Bars are marked by keys, too.
    page.run("document.querySelector('#marking').click(); document.querySelector('#roll').focus()")
    key(page, "ArrowRight", 39)
    assert page.run("['first', 'last'].map((id) => document.getElementById(id).value).join()") == "2,2"


def loud(page: Page) -> tuple[float, float]:
    """Top and height of the lane for loudness, in pixels of the screen."""
    y, high = page.run(
        "(() => { r = document.querySelector('#roll canvas').getBoundingClientRect(); return [r.y, r.height]; })()"
    )
    return y + high - 64, 60


def in_editing(page: Page, client: Client) -> dict[str, Any]:
    """Two bars are made, and their notes may be edited; the score."""
    quiet(page)
    fill(page, bars=2, n=1, seed=1)
    does(page, "generate")
    first = score(page, client)
    page.ticks = first["end"]  # type: ignore[attr-defined]
    page.run("document.querySelector('#editing').click()")
    return first


def test_notes_are_made_louder_and_softer(page: Page, client: Client, out: Path) -> None:
    first = in_editing(page, client)

    def after(act: Callable[[], None]) -> list[list[int]]:
        before = page.run("document.querySelector('#versions input:checked').value")
        act()
        page.until(f"document.querySelector('#versions input:checked').value !== '{before}'")
        return sorted(score(page, client)["notes"])

    # A stroke through the lane, over the first half: the soprano's notes there, and no others, become soft.
    (x, _), (end, _) = at(page, 0, 60), at(page, first["end"] / 2, 60)
    top, high = loud(page)
    soft = top + 4 + high * 0.75
    notes_now = after(lambda: page.drag((x + 1, soft), ((x + end) / 2, soft), (end - 8, soft)))
    passed = [n for n in first["notes"] if n[0] == 0 and n[1] < first["end"] / 2 - 1]
    assert passed
    expected = [[*n[:4], 32] if n in passed else n for n in first["notes"]]
    assert [n[:4] for n in notes_now] == sorted(n[:4] for n in first["notes"])
    for found, wanted in zip(notes_now, sorted(expected), strict=True):
        assert abs(found[4] - wanted[4]) <= 2, (found, wanted)

    # By keys: the first note louder by four, and by the field to what is written there.
    page.run("document.querySelector('#roll').focus()")
    key(page, "Home", 36)
    key(page, "ArrowRight", 39)
    was = notes_now[0][4]
    louder = after(lambda: key(page, "ArrowUp", 38, 1))
    assert louder[0] == [*notes_now[0][:4], was + 4]
    assert louder[1:] == notes_now[1:]
    assert page.run("document.querySelector('#velocity').value") == str(was + 4)
    assert f"velocity {was + 4}" in page.run("document.querySelector('#status').textContent")
    change = "e = document.querySelector('#velocity'); e.value = 127; e.dispatchEvent(new Event('change'))"
    loudest = after(lambda: page.run(change))
    assert loudest[0] == [*notes_now[0][:4], 127]
    (of_file,) = read_scores([(path := saved(page, out, "loud"), path.read_bytes())], with_velocity=True)
    soprano = next(track for track in of_file.tracks if track.name == "Soprano")
    finer = 480 / first["ticks_per_beat"]
    assert sorted(map(tuple, soprano.table.tolist())) == [
        (finer * a, finer * b, c, velocity) for voice, a, b, c, velocity in loudest if voice == 0
    ]
    for wanted in (louder, notes_now, sorted(first["notes"])):
        assert after(lambda: page.run("document.querySelector('#undo').click()")) == wanted


def test_a_double_click_removes_a_note(page: Page, client: Client) -> None:
    first = in_editing(page, client)
    note = first["notes"][0]
    place = at(page, (note[1] + note[2]) / 2, note[3])
    page.drag(place, place)
    page.drag(place, place)
    page.until("document.querySelector('#about').textContent.includes('edited')")
    assert sorted(score(page, client)["notes"]) == sorted(n for n in first["notes"] if n != note)


def test_a_finger_marks_edits_and_scrolls(page: Page, client: Client) -> None:
    page.call("Emulation.setTouchEmulationEnabled", enabled=True)
    page.open(f"http://{client.host}/", 360, 740)
    said(page, "Ready.")
    choose(page, "chorale")
    quiet(page)
    fill(page, bars=8, n=1, seed=1)
    does(page, "generate")
    first = score(page, client)
    page.ticks, bar = first["end"], first["bars"][1]  # type: ignore[attr-defined]
    marked = "['first', 'last'].map((id) => document.getElementById(id).value).join()"

    def put(*ticks: float, pitch: int = 60, rest_s: float = 0.0) -> None:
        page.touch(*(at(page, tick, pitch) for tick in ticks), rest_s=rest_s)

    put(2.5 * bar)  # a tap
    page.until(f"{marked} === '3,3'")
    put(1.5 * bar, 2.5 * bar, 3.5 * bar, 4.5 * bar, rest_s=0.6)
    page.until(f"{marked} === '2,5'")
    for _ in range(4):
        page.click("#longer")
    before = page.run("document.querySelector('#roll').scrollLeft")
    _, y = at(page, 4.5 * bar, 60)
    page.touch((300, y), (240, y), (180, y), (120, y))  # without a rest it scrolls
    page.until(f"document.querySelector('#roll').scrollLeft > {before + 60}")
    assert page.run(marked) == "2,5"
    page.run("document.querySelector('#fit').click(); document.querySelector('#editing').click()")

    def after(act: Callable[[], None]) -> list[list[int]]:
        before = page.run("document.querySelector('#versions input:checked').value")
        act()
        page.until(f"document.querySelector('#versions input:checked').value !== '{before}'")
        return [note for note in score(page, client)["notes"] if note not in first["notes"]]

    free = max(n[3] for n in first["notes"]) + 2
    (added,) = after(lambda: put(bar / 2, pitch=free))
    assert added[3] == free
    middle = (added[1] + added[2]) / 2
    (moved,) = after(lambda: put(middle, middle + bar / 2, middle + bar, pitch=free))
    assert moved[3:] == added[3:]
    assert abs(moved[1] - added[1] - bar) <= first["ticks_per_step"]
    assert after(lambda: (put(middle + bar, pitch=free), put(middle + bar, pitch=free))[0]) == []
    assert sorted(score(page, client)["notes"]) == sorted(first["notes"])


def test_zoom_and_scroll(page: Page) -> None:
    quiet(page)
    fill(page, bars=4, n=1)
    does(page, "generate")
    sizes = "(() => { s = document.querySelector('#roll .space'); return [s.offsetWidth, s.offsetHeight]; })()"
    wide, high = page.run(sizes)
    page.click("#longer")
    page.click("#taller")
    assert page.run(sizes)[0] == pytest.approx(1.4 * wide, rel=0.05)
    assert page.run(sizes)[1] > 1.2 * high
    x, y = page.run(
        "(() => { r = document.querySelector('#roll').getBoundingClientRect(); return [r.x + 300, r.y + 90]; })()"
    )
    before = page.run(sizes)
    page.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-200, modifiers=2)
    page.until(f"{sizes}[0] > {before[0] * 1.2}")
    page.click("#fit")
    assert page.run(sizes)[0] == wide
    # A click on the ruler moves the play head.
    page.drag((x, y - 85), (x, y - 85))
    assert page.run("Number(document.querySelector('#position').value)") > 0.5


def test_muted_tracks_are_not_heard(page: Page) -> None:
    quiet(page)
    fill(page, bars=4, n=1)
    does(page, "generate")
    for name in ("Soprano", "Alto", "Tenor", "Bass"):
        page.click(f"#tracks [aria-label='Mute {name}']")
    page.click("#play")
    page.until("Number(document.querySelector('#position').value) > 0.3")
    assert page.run("document.querySelector('#level').value") < 0.001
    page.click("#tracks [aria-label='Solo Bass']")
    page.until("document.querySelector('#level').value > 0.01")
    page.click("#play")
    page.until("document.querySelector('#play').textContent === 'Play'")


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
    page.until("document.querySelector('#player').currentTime > 0.2")
    assert page.run("[...document.querySelectorAll('#tracks span')].map((e) => e.textContent)") == [
        "Spectrogram",
        "Waveform",
    ]


def test_the_page_is_small() -> None:
    found = list(api.PAGE.iterdir())
    assert {path.name for path in found} == {"index.html", *api.FILES}
    assert sum(path.stat().st_size for path in found) < 100_000
