"""What a page of the documentation shows to be typed in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["ROOT", "Shown", "shown"]

ROOT = Path(__file__).parents[2]
PROGRAMS = ("musegen", "make", "pip", "python", "torchrun", "git", "source")
"""First words of what is a command where the page does not say so."""
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b|…")
"""For what a reader has to fill in."""


@dataclass(frozen=True)
class Shown:
    """A command, a Python snippet or a file of a page.

    Args:
        kind: ``command`` in a block or in a table, ``mention`` in running text, ``python`` or ``yaml``.
        text: what is typed; a command in one line, without its comment.
        line: of the page, from 1.
    """

    kind: Literal["command", "mention", "python", "yaml"]
    text: str
    line: int


def shown(page: str) -> Iterator[Shown]:
    """What a page shows, in the order printed.

    Args:
        page: its path from the root of the repository.

    Raises:
        ValueError: a block in a language that nobody handles.
    """
    lines = (ROOT / page).read_text("utf-8").splitlines()
    i = 0
    while i < len(lines):
        fence = re.fullmatch(r"```(\w*)", lines[i])
        if fence:
            end = lines.index("```", i + 1)
            yield from _block(fence[1], lines[i + 1 : end], i + 2)
            i = end + 1
        elif lines[i].startswith("    ") and _is_command(lines[i].strip()):
            end = i
            while end < len(lines) and lines[end].startswith("    "):
                end += 1
            yield from _commands([line[4:] for line in lines[i:end]], i + 1)
            i = end
        else:
            for code in re.findall(r"`([^`]+)`", lines[i]):
                if _is_command(code):
                    complete = lines[i].startswith("|") and not PLACEHOLDER.search(code)
                    yield Shown("command" if complete else "mention", code, i + 1)
            i += 1


def _block(language: str, lines: list[str], first: int) -> Iterator[Shown]:
    match language:
        case "bash":
            yield from _commands(lines, first)
        case "python" | "yaml" as kind:
            yield Shown(kind, "\n".join(lines) + "\n", first)
        case "toml" | "text":
            pass  # a part of a file, or what a program prints
        case _:
            raise ValueError(
                f"line {first}: a block of {language or 'no language'}: say bash, python, yaml, toml or text"
            )


def _commands(lines: list[str], first: int) -> Iterator[Shown]:
    """Commands with their continuation lines joined, and without comments."""
    text, start = "", first
    for number, line in enumerate(lines, first):
        start = start if text else number
        text += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        for command in re.sub(r"\s#.*", "", text).split("&&"):
            if command.strip():
                yield Shown("command", " ".join(command.split()), start)
        text = ""


def _is_command(code: str) -> bool:
    return code.split(" ")[0] in PROGRAMS and " " in code
