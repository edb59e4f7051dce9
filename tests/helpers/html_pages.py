"""A page as a reader finds it: its text, and what it links to."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree


def parsed(html: str) -> ElementTree.Element:
    """A page, which must be well-formed; what the script says is left out."""
    return ElementTree.fromstring(re.sub(r"<script>.*?</script>", "<script></script>", html, flags=re.DOTALL))


def texts(element: ElementTree.Element) -> list[str]:
    return [text.strip() for text in element.itertext() if text.strip()]


def articles(folder: Path) -> list[ElementTree.Element]:
    """The samples of a folder's page."""
    return [*parsed((folder / "index.html").read_text("utf-8")).iter("article")]


def names(folder: Path) -> list[str]:
    return ["".join(heading.itertext()) for article in articles(folder) for heading in article.iter("h2")]


def links(element: ElementTree.Element) -> list[str]:
    """Names of the files that a page refers to."""
    found = [e.get(key, "") for e in element.iter() for key in ("href", "src") if e.get(key) is not None]
    return [os.fsdecode(unquote_to_bytes(one)) for one in found if not one.startswith("data:")]
