"""Tables, JSON, and files that commands write."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musegen.errors import BadInput
from musegen.files import write_file

__all__ = ["as_json", "check_free", "print_table", "save_picture"]


def as_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def print_table(rows: Sequence[dict[str, Any]], in_json: bool, title: str = "") -> None:
    if in_json:
        print(as_json(rows))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in rows[0] if rows else ():
        table.add_column(name, overflow="fold", header_style="bold", min_width=len(name))
    for row in rows:
        table.add_row(*(str(value).replace("[", r"\[") for value in row.values()))
    # A file or a pipe has no width of its own; 80 columns would break what follows there.
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def check_free(out: Path, overwrite: bool) -> None:
    """Refuse, before any work is done, to replace a file that nobody said may be replaced.

    Raises:
        BadInput: it exists.
    """
    if out.exists() and not overwrite:
        raise BadInput(f"{out} exists: choose another --out, or add --overwrite.")


def save_picture(picture: Any, out: Path) -> None:
    content = io.BytesIO()
    picture.save(content, "PNG")
    write_file(out, content.getvalue())
    print(out)
