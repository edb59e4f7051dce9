"""The studio's page in a browser."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from browser import Page, browser
from studio_client import Client


@contextlib.contextmanager
def opened(client: Client, home: Path) -> Iterator[Page]:
    """The page, ready; in the end it must have had no fault.

    Args:
        home: for the browser's profile.
    """
    with browser(home / "profile") as page:
        page.open(f"http://{client.host}/?token={client.token}")
        said(page, "Ready.")
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
