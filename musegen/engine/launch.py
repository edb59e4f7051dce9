"""Starts the processes of one machine, and ends with them. Nothing here needs torch."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from musegen import children
from musegen.limits import most_processes
from musegen.plugins import registry

__all__ = ["LAUNCHER", "MEETING", "environment", "launch", "wanted"]

LAUNCHER = "MUSEGEN_LAUNCHER"
"""Environment variable of the processes that are started here: their starter's process number."""
MEETING = "MUSEGEN_MEETING"
"""Environment variable of theirs: a file that does not exist yet, through which they find each other."""
GRACE_S = 20.0
"""Seconds that the others have to end by themselves once a process has failed."""


def wanted(processes: object) -> int:
    """How many processes to start for an option as the user wrote it; 1 where somebody else started this one."""
    if "WORLD_SIZE" in os.environ:
        return 1
    # What is no number, or too high, is reported where all options are checked.
    n = int(str(processes)) if re.fullmatch("[0-9]{1,9}", str(processes)) else 1
    return n if n <= most_processes() else 1


def launch(n: int) -> int:
    """Run this very command in n processes and return its exit code.

    A signal is passed on to each of them, once. When one fails the others find out at their next word to it; whoever is left
    after ``GRACE_S`` is ended.
    """
    registry()  # plugins may come from somewhere that only this process knows
    started: list[subprocess.Popen[bytes]] = []
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for child in started:
            child.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    folder = tempfile.mkdtemp(prefix="musegen-")
    try:
        meeting = str(Path(folder) / "meeting")
        # A session of its own: Ctrl-C on a terminal reaches this process alone, and the children through it, once.
        started += [
            subprocess.Popen(_command(), env=environment(rank, n, meeting), start_new_session=True) for rank in range(n)
        ]
        ended = _wait(started)
    finally:
        for child in started:
            if child.poll() is None:
                child.kill()
        shutil.rmtree(folder, ignore_errors=True)
        for number, handler in previous.items():
            signal.signal(number, handler)
    if received and any(child.returncode for child in started):
        return 128 + received[0]
    return _exit_code(started, ended)


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> set[int]:
    """Wait for all; the process numbers of those that had to be ended because another one had failed."""
    ended: set[int] = set()
    deadline = None
    while any(child.poll() is None for child in children):
        time.sleep(0.05)
        failed = [c for c in children if c.returncode not in (None, 0, 128 + signal.SIGINT, 128 + signal.SIGTERM)]
        if failed and deadline is None:
            deadline = time.monotonic() + GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            for child in children:
                if child.poll() is None:
                    ended.add(child.pid)
                    child.kill()
    return ended


def _exit_code(children: Sequence[subprocess.Popen[bytes]], ended: set[int]) -> int:
    """The code of them all; says so where the system ended one.

    Args:
        ended: process numbers of those that were ended here.
    """
    for rank, child in enumerate(children):
        if child.returncode < 0 and child.pid not in ended:
            name = signal.Signals(-child.returncode).name
            print(
                f"Process {rank} of {len(children)} was ended by {name}, so the run stopped. The last checkpoint is intact: go "
                "on with musegen resume.",
                file=sys.stderr,
            )
            return 1
    # Those that only lost another end with 1; the one with the reason has the code.
    codes = [child.returncode for child in children]
    return next((code for code in codes if code not in (0, 1)), max(map(abs, codes)))


def _command() -> list[str]:
    return children.command("from musegen.cli import main; sys.exit(main())", *sys.argv[1:])


def environment(rank: int, n: int, meeting: str) -> dict[str, str]:
    """What torch.distributed reads, as torchrun sets it; but they meet in a file: a port might be taken before they are there."""
    threads = max(1, len(os.sched_getaffinity(0)) // n) if hasattr(os, "sched_getaffinity") else 1
    own = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(n),
        "LOCAL_WORLD_SIZE": str(n),
        MEETING: meeting,
        LAUNCHER: str(os.getpid()),
    }
    return {"OMP_NUM_THREADS": str(threads), **children.environment(**own)}
