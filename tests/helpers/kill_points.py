"""A command that is killed at every change that it makes on the disk, and what comes of it.

``python kill_points.py FOLDER SCENARIO FIRST EVERY`` runs the scenario's command once to the end, and then again and again, killed
(SIGKILL) before the change number FIRST, FIRST + EVERY and so on. A change is a file opened for writing, flushed, renamed or
removed, or a folder made or removed; a file that is flushed counts twice: half of it is written, and all is. After each kill the
user does what the documentation says, and the end must be that of the undisturbed command. It prints the number of kills, and what
was wrong, by number of the change. All processes are forked from one that has imported everything.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
import toy
import yaml

from musegen.cli import main
from musegen.engine.checkpoint import newest_checkpoint
from musegen.plugins import registry

TINY = shlex.split(
    "vae --domain toy --set widths=[5] --set latent_dim=2 --set examples=16 --set valid=4 --batch-size 4 --quiet "
    "--log-every 1 --validate-every 2 --checkpoint-every 2 --sample-every 3 --samples 2"
)
OUT = "out"


def train(seed: int, *more: str) -> list[str]:
    return ["train", *TINY, "--steps", "5", "--seed", str(seed), "--out", OUT, *more]


SCENARIOS: dict[str, tuple[list[str], list[str]]] = {
    # what is done before, and the command that is killed
    "train": ([], train(1)),
    "more": (train(1), ["resume", OUT, "--steps", "8", "--quiet"]),
    "overwrite": (train(3), train(1, "--overwrite")),
}
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "ctypes.dlsym"}
"""Audit events of Python. The last one stands for the system call that has two folders change places."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Killer:
    """Counts the changes of this process, and kills it before one of them.

    Args:
        number: of the change, from 0; None: count only.
    """

    def __init__(self, number: int | None) -> None:
        self.number, self.count = number, 0

    def watch(self) -> None:
        sys.addaudithook(self._seen)
        os.fsync = self._flushed  # the disk is not what is tested

    def _seen(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
            self._change()

    def _flushed(self, descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            return
        if self.count == self.number:
            os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
        self._change()
        self._change()

    def _change(self) -> None:
        if self.count == self.number:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


def run(where: Path, command: list[str], killed_at: int | None = None) -> tuple[int, str, int]:
    """Exit code of a command (negative: of a signal), what it said, and how many changes it made."""
    said, counted = where.parent / "said", where.parent / "counted"
    counted.write_text("0")
    child = os.fork()
    if not child:
        code = 99
        try:
            os.chdir(where)
            descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1), os.dup2(descriptor, 2)
            killer = Killer(killed_at)
            killer.watch()
            code = main(command)
            killer.number = None
            counted.write_text(str(killer.count))
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, said.read_text(), int(counted.read_text())


def content(where: Path) -> dict[str, Any]:
    """All that is in a folder, without clocks and without the command that was typed."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in where.rglob("*") if p.is_file() or p.is_symlink()):
        name = str(path.relative_to(where))
        if path.name == "metrics.jsonl":
            found[name] = [{**json.loads(line), "steps_per_s": 0} for line in path.read_text().splitlines()]
        elif path.name == "environment.json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("arguments", "git")}
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if (where / OUT / "checkpoints").is_dir():
        newest_checkpoint(where / OUT / "checkpoints")  # every byte of it is checked
    return found


def differences(found: dict[str, Any], right: dict[str, Any]) -> list[str]:
    return sorted(name for name in found.keys() | right.keys() if found.get(name) != right.get(name))


def go_on(where: Path, command: list[str], old: dict[str, Any]) -> str:
    """What a user does who finds the command killed; what was wrong, if anything was."""
    if command[0] == "train" and not (where / OUT / "config.yaml").exists():
        again = command
    elif command[0] == "train" and yaml.safe_load((where / OUT / "config.yaml").read_text())["seed"] != 1:
        kept = {
            name: value
            for name, value in content(where).items()
            if name.startswith(f"{OUT}/") and name != f"{OUT}/lock"
        }
        if wrong := differences(kept, old):
            return f"the older run has changed: {wrong}"
        again = command
    else:
        again = ["resume", OUT, "--quiet", *(command[2:4] if command[0] == "resume" else [])]
    code, said, _ = run(where, again)
    if code and not (code == 2 and "has done its" in said):
        return f"{shlex.join(again)} ended with {code}: {said[-300:]}"
    return ""


def kills(folder: Path, scenario: str, first: int, every: int) -> dict[str, Any]:
    before, command = SCENARIOS[scenario]
    start, where = folder / "start" / "here", folder / "killed" / "here"
    start.mkdir(parents=True)
    if before:
        assert run(start, before)[0] == 0
    old = content(start)

    def fresh() -> None:
        shutil.rmtree(where.parent, ignore_errors=True)
        shutil.copytree(start, where)

    fresh()
    code, said, n_changes = run(where, command)
    assert code == 0, said
    right = content(where)
    wrong: dict[int, str] = {}
    numbers = range(first, n_changes, every)
    for number in numbers:
        fresh()
        code, said, _ = run(where, command, number)
        if code != -signal.SIGKILL:
            wrong[number] = f"it was not killed, and ended with {code}: {said[-300:]}"
            continue
        problem: Callable[[], str] = lambda: ", ".join(differences(content(where), right))  # noqa: E731
        if found := go_on(where, command, old) or problem():
            wrong[number] = found
    return {"changes": n_changes, "kills": len(numbers), "wrong": wrong}


if __name__ == "__main__":
    torch.set_num_threads(1)
    registry().register(toy.ToyPlugin(), "tests")
    place, name, begin, step = sys.argv[1:]
    print(json.dumps(kills(Path(place), name, int(begin), int(step))))
