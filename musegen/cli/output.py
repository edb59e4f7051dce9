"""Tables, JSON, and files that commands write."""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from musegen.errors import BadInput
from musegen.files import write_file
from musegen.reporting import plain, styled, width_of

__all__ = ["as_json", "check_free", "print_fields", "print_table", "print_text", "save_picture"]

NO_TERMINAL = 140
"""Columns of a file or a pipe, which have none of their own; 80 would break what follows there."""
GAP = 2
"""Columns between two columns of a table."""
FILLED = 90
"""Characters of a line of prose that its author had filled."""
NARROW, FEW_WORDS = 16, 3
"""Columns that a cell of many words gets at least: prose of one word per line cannot be read. Few words may stand one below the
other."""


def as_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def print_table(rows: Sequence[Mapping[str, Any]], in_json: bool, title: str = "") -> None:
    """Rows with the same keys, as JSON, or as a table that breaks lines at spaces alone.

    Where the columns do not fit beside each other each row becomes a block, with its first value as the head.
    """
    if in_json:
        print(as_json(rows))
        return
    if title:
        print_text(title)
    if not rows:
        return
    names = list(rows[0])
    cells = [names, *([plain(str(value)) for value in row.values()] for row in rows)]
    width = width_of(sys.stdout, NO_TERMINAL)
    widths = _column_widths(cells, width)
    if widths is None:
        _print_blocks(names, cells[1:], width)
        return
    for i, row in enumerate(cells):
        for line in _beside(row, widths):
            print(_bold(line) if i == 0 else line)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Names and values, one below the other."""
    _print_pairs({name: plain(str(value)) for name, value in fields.items()}, "", width_of(sys.stdout, NO_TERMINAL))


def print_text(text: str) -> None:
    """Paragraphs; on a terminal their lines are broken at spaces where they would not fit."""
    width, text = width_of(sys.stdout, 0), plain(text)
    print("\n".join(_fitted(text, width)) if width else text)


def _column_widths(cells: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Widths at which a table takes the fewest lines; None if blocks are better."""
    columns = list(zip(*cells, strict=True))
    widths = [max(map(_length, column)) for column in columns]
    words = [max(_length(word) for cell in column for word in cell.split(" ")) for column in columns]
    prose = [any(cell.count(" ") >= FEW_WORDS for cell in column) for column in columns]
    least = [min(w, max(word, NARROW * p)) for w, word, p in zip(widths, words, prose, strict=True)]
    room = width - GAP * (len(columns) - 1)
    if sum(least) > room:
        return None

    @functools.cache
    def heights(column: int, width: int) -> list[int]:
        return [len(_wrapped(cell, width)) for cell in columns[column]]

    def height(widths: Sequence[int]) -> int:
        return sum(map(max, zip(*(heights(i, w) for i, w in enumerate(widths)), strict=True)))

    # Nobody can have more than the others leave.
    widths = [min(whole, room - sum(least) + own) for whole, own in zip(widths, least, strict=True)]
    while sum(widths) > room:
        narrower = [[w - (i == j) for j, w in enumerate(widths)] for i in range(len(widths)) if widths[i] > least[i]]
        widths = min(narrower, key=lambda tried: (height(tried), sorted(tried, reverse=True)))
    return widths


def _beside(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """One row of a table as lines."""
    parts = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
    lines = []
    for i in range(max(map(len, parts))):
        line = ""
        for part, width in zip(parts, widths, strict=True):
            text = part[i] if i < len(part) else ""
            line += text + " " * (width - _length(text) + GAP)
        lines.append(line.rstrip())
    return lines


def _print_blocks(names: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> None:
    """A block per row: its first value, then the others by name; what is empty is left out."""
    for row in rows:
        for line in _wrapped(row[0], width):
            print(_bold(line))
        _print_pairs({name: cell for name, cell in zip(names[1:], row[1:], strict=True) if cell}, "  ", width)


def _print_pairs(pairs: Mapping[str, str], indent: str, width: int) -> None:
    longest = max(map(_length, pairs), default=0)
    left = len(indent) + longest + GAP
    for name, value in pairs.items():
        first = f"{indent}{name}{' ' * (longest - _length(name) + GAP)}"
        for i, line in enumerate(_wrapped(value, max(width - left, NARROW))):
            print(((first if i == 0 else " " * left) + line).rstrip())


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` columns, broken at spaces alone: a longer word has a line of its own, and sticks out."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and _length(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [line.replace("\u00a0", " ").rstrip() for line in lines]


def _fitted(text: str, width: int) -> list[str]:
    """Lines of a text that fit. A line that its author had filled goes on in the next one; what is laid out in columns does not."""
    paragraphs: list[str] = []
    last = ""
    for line in text.split("\n"):
        alike = _indent(line) == _indent(last) and not line.lstrip().startswith("* ")
        if line.strip() and len(last) >= FILLED and alike and "  " not in f"{last.strip()} {line.strip()}":
            paragraphs[-1] += f" {line.strip()}"
        else:
            paragraphs.append(line)
        last = line
    fitted = []
    for paragraph in paragraphs:
        left = _indent(paragraph)
        body = _wrapped(paragraph.strip(), width - left)
        hanging = paragraph[: len(paragraph) - len(paragraph.lstrip())]
        fitted += [hanging + body[0], *(" " * left + line for line in body[1:])]
    return fitted


def _indent(line: str) -> int:
    """Where the following lines of a paragraph begin."""
    return len(line) - len(line.lstrip().removeprefix("* "))


def _length(text: str) -> int:
    """Columns that a text takes; some characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if styled(sys.stdout) and text else text


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
    print(plain(str(out)))
