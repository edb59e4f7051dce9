"""A folder's page in a real browser, opened from the disk: tracks hide, a line follows the sound, a click moves it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browser import CHROMIUM, browser
from commands import Result

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

ALTO = "getComputedStyle(document.querySelectorAll(\"[data-layer='1']\")[{i}]).display"
FIRST = "document.querySelectorAll('audio')[0]"


@pytest.mark.parametrize("width", [360, 1400])
def test_tracks_and_sound(run: Callable[..., Result], tmp_path: Path, width: int) -> None:
    name = "strange & <name> #1?"
    assert run("generate", "chorale", "-n", 2, "--bars", 2, "--out", name, "--audio", "ogg").code == 0
    with browser(tmp_path / "profile") as page:
        page.open((tmp_path / name / "index.html").as_uri(), width)
        page.until(f"{FIRST}?.duration > 0")
        assert page.run("document.documentElement.scrollWidth") <= width
        page.click("article input[value='1']")
        assert [page.run(ALTO.format(i=i)) for i in range(2)] == ["none", "inline"]
        page.click("#all")
        page.until(f"{FIRST}.currentTime > 0.3 && parseFloat(document.querySelector('.head').style.left) > 1")
        page.click(".figure")
        page.until(f"{FIRST}.currentTime > {FIRST}.duration * 0.3")
        page.run(f"{FIRST}.currentTime = {FIRST}.duration - 0.1")
        page.until("!document.querySelectorAll('audio')[1].paused")
        assert page.run(f"{FIRST}.paused")
        assert page.faults == []


def test_a_sound_that_is_gone_is_said(run: Callable[..., Result], tmp_path: Path) -> None:
    assert run("generate", "chorale", "-n", 2, "--bars", 1, "--audio", "ogg").code == 0
    (tmp_path / "out/sample_000.ogg").unlink()
    with browser(tmp_path / "profile") as page:
        page.open((tmp_path / "out/index.html").as_uri())
        page.until("document.body.innerText.includes('its file is missing')")
        assert page.run("document.querySelectorAll('audio').length") == 1
