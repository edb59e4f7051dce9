"""Examples of docstrings in fences, because a site would take what Python prints for Markdown."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension


class Examples(Extension):
    """What begins with ``>>>`` and ends with an empty line."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """A docstring whose examples stand in fences."""
    return re.sub(r"(?:^>>> .*\n?)(?:^.+\n?)*", lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text, flags=re.M)
