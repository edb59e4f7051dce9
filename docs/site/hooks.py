"""What the documentation site needs besides the pages of this folder: the first page, and links out of the folder.

The first page is the README, and contributing.md is CONTRIBUTING.md: neither is written twice. Links to files of the repository
that are no pages become plain text, because a site does not know where its repository is.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TAKEN = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md"}
NOTEBOOKS = "docs/notebooks"
API = """# Python

::: musegen.load
::: musegen.train
::: musegen.resume
::: musegen.evaluate
::: musegen.export
::: musegen.compare
::: musegen.models.model.Model
::: musegen.running.callbacks.Moment
::: musegen.contracts.family
::: musegen.contracts.domain
::: musegen.contracts.piece
::: musegen.contracts.dataset
::: musegen.contracts.tracker
::: musegen.plugins.hooks
::: musegen.testing.checks.conformance
"""


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    pages = {name: (ROOT / source).read_text("utf-8") for name, source in TAKEN.items()} | {"api.md": API}
    pages |= {f"notebooks/{path.stem}.md": _notebook(path) for path in sorted((ROOT / NOTEBOOKS).glob("*.ipynb"))}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links as they are in the repository become links of the site. Those of notebooks stay within docs/ as they are."""
    if page.file.src_uri.startswith("notebooks/"):
        return markdown
    from_root = page.file.src_uri in TAKEN
    return re.sub(r"\[([^\]]*)\]\(([^)\s]+)\)", lambda found: linked(found[1], found[2], from_root), markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    return whole_options(html)


def whole_options(html: str) -> str:
    """Options in running text and tables stay whole: a browser would break a line after each of their hyphens."""

    def marked(found: re.Match[str]) -> str:
        return re.sub(r"(?<![^\s>])--?[A-Za-z][\w-]*", r'<span class="word">\g<0></span>', found[0])

    return re.sub(r"<code>[^<]*</code>", marked, html)


def _notebook(path: Path) -> str:
    found = runpy.run_path(str(ROOT / "docs/site/notebooks.py"))
    title, rest = found["as_markdown"](found["read"](path)).split("\n", 1)
    return f"{title}\n\n[The notebook]({path.name}), to run it yourself.\n{rest}"


def linked(text: str, target: str, from_root: bool) -> str:
    """A link of a page, ``[text](target)``."""
    if "://" in target or target.startswith("#"):
        return f"[{text}]({target})"
    path, hash_, anchor = target.partition("#")
    path = path if from_root else path.removeprefix("../")
    for page, source in TAKEN.items():
        if path == source:
            return f"[{text}]({page}{hash_}{anchor})"
    if from_root and path.startswith("docs/"):
        return f"[{text}]({path.removeprefix('docs/')}{hash_}{anchor})"
    if not from_root and not target.startswith("../"):
        return f"[{text}]({target})"
    return text
