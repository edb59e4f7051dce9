"""The studio's page in a real browser: codes of pictures, training runs, and that nobody is shut out."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Page
from studio_client import Client, served
from studio_pages import choose, opened, said

import musegen

pytest.importorskip("uvicorn", reason="the extra studio is not installed")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("views")
    (folder / "runs").mkdir()
    run = musegen.train("vae", "image", out=folder / "runs/digits", steps=6, batch_size=8, device="cpu", log_every=2)
    with served(folder / "saved", folder / "runs", digits=str(run.path)) as client:
        yield client


@pytest.fixture
def page(client: Client, tmp_path: Path) -> Iterator[Page]:
    with opened(client, tmp_path) as page:
        page.run("document.querySelector('#at-once').checked = false")
        yield page


def shown(page: Page) -> int:
    return int(page.run("document.querySelectorAll('#versions input').length"))


def test_codes_are_moved_walked_along_and_walked_between(page: Page) -> None:
    choose(page, "digits")
    assert page.run("document.querySelectorAll('#sliders input').length") == 10
    page.click("#random")
    page.until("document.querySelector('#picture').naturalWidth === 28")
    first = page.run("document.querySelector('#picture').src")
    page.run("e = document.querySelector('#sliders input'); e.value = 2; e.dispatchEvent(new Event('input'))")
    page.until(f"document.querySelector('#picture').src !== '{first}'")
    assert shown(page) == 1
    page.click("#sliders button")
    page.until("document.querySelectorAll('#versions img').length === 9")
    said(page, "Done.")
    page.click("#between")
    page.until("document.querySelectorAll('#versions input').length === 9 && !document.querySelector('#undo').disabled")
    # Pictures that were drawn have codes, too: the encoder's.
    page.run("document.querySelector('#status').textContent = ''; document.querySelector('#generate').click()")
    said(page, "Done.")
    assert shown(page) == 2
    page.run("document.querySelector('#between').click()")
    page.until("document.querySelectorAll('#versions input').length === 9")


def test_runs_show_curves_and_samples(page: Page, client: Client) -> None:
    page.click("#show-runs")
    page.until("document.querySelectorAll('#curves polyline').length > 2")
    assert page.run("document.querySelector('#run-about').textContent") == "vae on image, step 6 of 6"
    page.until("document.querySelector('#samples img').naturalWidth > 28")
    assert page.run("document.querySelector('#curves svg').getAttribute('aria-label')")
    assert page.run("document.querySelector('#make').hidden")
    page.click("#show-make")
    assert not page.run("document.querySelector('#make').hidden")


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, which looks for what shuts people out."""
    if shutil.which("npm") is None:
        pytest.skip("npm, which axe-core comes by, is not installed")
    folder = tmp_path_factory.mktemp("axe")
    got = subprocess.run(
        ["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "axe-core@4"], capture_output=True
    )
    if got.returncode:
        pytest.skip("axe-core cannot be had")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("view", ["empty", "music", "editing", "digits", "notes", "runs"])
def test_nobody_is_shut_out(page: Page, client: Client, axe: str, view: str, width: int) -> None:
    page.open(f"http://{client.host}/", width)
    said(page, "Ready.")
    page.run("document.querySelector('#at-once').checked = false; document.querySelector('#bars').value = 2")
    choose(page, {"digits": "digits", "notes": "notes"}.get(view, "chorale"))
    if view == "runs":
        page.click("#show-runs")
        page.until("document.querySelectorAll('#samples img').length")
    elif view != "empty":
        page.run("document.querySelector('#status').textContent = ''; document.querySelector('#generate').click()")
        said(page, "Done.")
    if view == "editing":
        page.run("document.querySelector('#editing').click()")
    page.run("document.querySelectorAll('details').forEach((e) => (e.open = true))")
    assert page.run("document.documentElement.scrollWidth") <= width
    page.run(axe + "; 0")
    found = json.loads(page.run("axe.run().then((found) => JSON.stringify(found.violations))"))
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
