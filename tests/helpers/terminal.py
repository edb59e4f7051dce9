"""Commands in a pseudo-terminal, and what can be read there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.cells import cell_len

MODULE = (
    "import sys\nfrom musegen.plugins import registry\nfrom toy import ToyPlugin\n"
    "registry().register(ToyPlugin(), 'tests')\nfrom musegen.cli import main\nsys.exit(main())\n"
)
"""The command line with the toy domain."""


@dataclass
class Screen:
    """As much of a terminal as progress needs: carriage returns, cursor up, erased lines.

    Attributes:
        lines: what stands there in the end.
        shown: every line that stood there at some moment.
        wrapped: lines that were too long for the terminal.
    """

    columns: int
    lines: list[str] = field(default_factory=lambda: [""])
    shown: set[str] = field(default_factory=set)
    wrapped: list[str] = field(default_factory=list)
    x: int = 0
    y: int = 0

    def feed(self, text: str) -> None:
        for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+|\x1b", text):
            if part == "\r":
                self.x = 0
            elif part == "\n":
                self.y += 1
                self.lines += [""] * (self.y + 1 - len(self.lines))
            elif (up := re.fullmatch(r"\x1b\[(\d*)A", part)) is not None:
                self.y = max(0, self.y - int(up[1] or 1))
            elif part == "\x1b[2K":
                self.lines[self.y] = ""
            elif re.fullmatch(r"\x1b\[([0-9;]*m|\?25[lh])", part) is None:
                assert not part.startswith("\x1b"), part
                before = self.lines[self.y].ljust(self.x)
                self.lines[self.y] = before[: self.x] + part + before[self.x + len(part) :]
                self.x += len(part)
                self.shown.add(self.lines[self.y].rstrip())
                if cell_len(self.lines[self.y]) > self.columns:
                    self.wrapped.append(self.lines[self.y])


@dataclass(frozen=True)
class Seen:
    """A command's exit code, all that reached the terminal, and what it looked like; standard output if that was a pipe."""

    code: int
    raw: str
    screen: Screen
    out: str


def in_terminal(
    command: Sequence[object],
    columns: int = 80,
    folder: Path | None = None,
    pipe: bool = False,
    **environment: str | None,
) -> Seen:
    """Run ``musegen`` in a terminal of so many columns.

    Args:
        pipe: standard output is a pipe, and standard error alone the terminal.
        environment: variables; None takes one away.
    """
    variables: Mapping[str, str | None] = {"TERM": "xterm-256color", "COLUMNS": None, "NO_COLOR": None, **environment}
    env = {name: value for name, value in (os.environ | variables).items() if value is not None}
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    arguments = [sys.executable, "-c", MODULE, *map(str, command)]
    process = subprocess.Popen(
        arguments, stdin=slave, stdout=subprocess.PIPE if pipe else slave, stderr=slave, env=env, cwd=folder
    )
    os.close(slave)
    raw, deadline = b"", time.monotonic() + 240
    while time.monotonic() < deadline:
        try:
            part = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        raw += part
    out = process.stdout.read().decode() if process.stdout is not None else ""
    os.close(master)
    screen = Screen(columns)
    screen.feed(raw.decode())
    return Seen(process.wait(30), raw.decode(), screen, out)
