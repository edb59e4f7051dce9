"""Two commands that write one place at the same time, many times: what each may end with, and what may be there afterwards.

``python two_at_once.py FOLDER SCENARIO TRIALS SEED`` prints how the commands ended, and whatever was wrong. Both commands are
forked from one process that has imported everything, so that they meet; the second one starts up to some tens of
milliseconds after the first.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import random
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
import toy
from midi_files import piece

from musegen.cli import main
from musegen.engine.checkpoint import newest_checkpoint
from musegen.plugins import registry

TINY = shlex.split(
    "vae --domain toy --set widths=[5] --set latent_dim=2 --set examples=16 --set valid=4 --batch-size 4 --quiet"
)
EVERY = shlex.split("--steps 6 --log-every 1 --validate-every 2 --checkpoint-every 2 --sample-every 3 --samples 2")
BUILD = shlex.split("data build pianoroll --out out --workers 1 --tracks voices")
LATEST = 0.06
"""Seconds that the second command may start after the first."""


def train(seed: int, *more: str) -> list[str]:
    return ["train", *TINY, *EVERY, "--seed", str(seed), "--out", "out", *more]


SCENARIOS: dict[str, tuple[list[str], list[str], list[str]]] = {
    # what is done before, and the two commands
    "train": ([], train(1), train(2)),
    "overwrite": (train(3), train(1, "--overwrite"), train(2, "--overwrite")),
    "resume": (train(1), ["resume", "out", "--steps", "10", "--quiet"], ["resume", "out", "--steps", "14", "--quiet"]),
    "both": (train(3), ["resume", "out", "--steps", "10", "--quiet"], train(2, "--overwrite")),
    "build": ([], [*BUILD, "one"], [*BUILD, "two"]),
    "generate": (train(1), ["generate", "out", "--out", "new"], ["generate", "out", "--out", "new", "--seed", "5"]),
}


def content(folder: Path) -> dict[str, Any]:
    """What is in a folder, so that two of the same command have the same; without clocks."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if path.name == "metrics.jsonl":
            found[name] = [{**json.loads(line), "steps_per_s": 0} for line in path.read_text().splitlines()]
        elif path.name not in ("environment.json", "manifest.json") and "checkpoints" not in path.parts:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if (folder / "out" / "checkpoints").is_dir():
        parts, _ = newest_checkpoint(folder / "out" / "checkpoints")
        found["weights"] = {name: tensor.nan_to_num(7.0).tolist() for name, tensor in parts["weights"].items()}
    return found


def forked(command: list[str], where: Path, delay: float = 0.0) -> int:
    """A process that runs a command: its number. What it says goes to a file."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        time.sleep(delay)
        os.chdir(where)
        said = os.open(f"../said_{os.getpid()}", os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 1), os.dup2(said, 2)
        code = main(command)
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def ended(child: int, where: Path) -> tuple[int, str]:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = where.parent / f"said_{child}"
    return code, said.read_text() if said.exists() else ""


def fresh(folder: Path, scenario: str) -> Path:
    """A folder in which the scenario can begin."""
    shutil.rmtree(folder, ignore_errors=True)
    where = folder / "here"
    where.mkdir(parents=True)
    if scenario == "build":
        for name, transpose in (("one", 0), ("two", 5)):
            (where / name).mkdir()
            for i in range(3):
                (where / name / f"{i}.mid").write_bytes(piece(6, transpose=transpose + i))
    return where


def alone(folder: Path, scenario: str) -> Iterator[dict[str, Any]]:
    """What may be there in the end: as after either command alone, or after one and then the other."""
    before, one, other = SCENARIOS[scenario]
    for commands in ([one], [other], [one, other], [other, one]):
        where = fresh(folder, scenario)
        for command in [before] * bool(before) + commands:
            ended(forked(command, where), where)
        yield content(where)


def trials(folder: Path, scenario: str, n: int, seed: int) -> dict[str, Any]:
    draw = random.Random(seed)
    before, *commands = SCENARIOS[scenario]
    right = list(alone(folder / "alone", scenario))
    start = fresh(folder / "start", scenario)
    if before:
        ended(forked(before, start), start)
    wrong: list[str] = []
    codes: collections.Counter[str] = collections.Counter()
    for trial in range(n):
        where = folder / "trial" / "here"
        shutil.rmtree(where.parent, ignore_errors=True)
        shutil.copytree(start, where)
        draw.shuffle(commands)
        children = [forked(commands[0], where), forked(commands[1], where, draw.uniform(0, LATEST))]
        ends = [ended(child, where) for child in children]
        codes[" ".join(map(str, sorted(code for code, _ in ends)))] += 1
        for code, said in ends:
            lines = said.strip().splitlines()
            if code not in (0, 2) or (code == 2 and (len(lines) != 1 or "Traceback" in said)):
                wrong.append(f"{trial}: exit {code}: {said[-500:]}")
        if all(code for code, _ in ends):
            wrong.append(f"{trial}: neither command did anything: {ends}")
        if content(where) not in right:
            wrong.append(f"{trial}: what is there is of neither: {sorted(content(where))}")
    return {"codes": dict(codes), "wrong": wrong}


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.fsync = lambda file: None
    registry().register(toy.ToyPlugin(), "tests")
    place, name, count, first = sys.argv[1:]
    print(json.dumps(trials(Path(place), name, int(count), int(first))))
