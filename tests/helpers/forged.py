"""Files that a stranger forged, by the thousand: damaged at random, or made to run a program or to write somewhere else.

``python forged.py FOLDER SEED N`` reads each with a command that might, and prints how many ended with which exit code and every
one that did what none may: run something, write outside, take much memory, crash, or hang.
"""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import random
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command_lines
import numpy as np
import torch
import toy

from musegen.plugins import registry

MARKER = "somebody_was_here"
MOST_MB = {2: 512, 0: 2048, 1: 512}
"""By exit code. A piece of the longest length that a model takes, a thousand bars, needs more than one that is refused."""
XML = (
    '<?xml version="1.0"?><!DOCTYPE score-partwise [<!ENTITY x {}>]>'
    '<score-partwise version="4.0"><part-list>&x;</part-list></score-partwise>'
)


class Evil:
    """Unpickled, it leaves a mark."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.mkdir, (self.marker,)


def _npz(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def _objects(marker: str) -> bytes:
    content = io.BytesIO()
    np.save(content, np.array([Evil(marker)], object), allow_pickle=True)
    return content.getvalue()


def malicious(marker: str, secret: str) -> dict[str, bytes]:
    """Files that would run something or read or write elsewhere, by name."""
    evil, pickled = _objects(marker), pickle.dumps(Evil(marker))
    tagged = f"!!python/object/apply:os.mkdir ['{marker}']\n"
    escape = "../" * 6 + marker.lstrip("/")
    container = f'<container><rootfiles><rootfile full-path="{escape}"/></rootfiles></container>'
    return {
        "a.npz": _npz({"info.json": b'{"0": {}}', "pianoroll_0_csc_data.npy": evil, "pianoroll_0_csc_shape.npy": evil}),
        "shape.npz": _npz({"shape.npy": evil, "nonzero.npy": evil}),
        "escape.npz": _npz({escape: b"x", f"/{marker}": b"x", "info.json": b"{}"}),
        "a.npy": evil,
        "pickle.npy": pickled,
        "pickle.mid": pickled,
        "pickle.safetensors": pickled,
        "torch.safetensors": _npz({"archive/data.pkl": pickled}),
        "a.musicxml": XML.format(f'SYSTEM "file://{secret}"').encode(),
        "laughs.musicxml": XML.format('"' + "ha" * 50_000 + '"').encode(),
        "a.mxl": _npz({"META-INF/container.xml": container.encode(), escape: b"x"}),
        "a.abc": f"X:1\n%%abc-include {secret}\nI:abc-include {secret}\nK:C\nCDEF|\n".encode(),
        "a.yaml": tagged.encode(),
        "run/config.yaml": tagged.encode(),
        "run2/config.yaml": b"format: 1\nfamily: vae\ndomain: toy\ninit: " + tagged.encode(),
    }


def damaged(draw: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Bytes changed, cut out, doubled, or taken from another file."""
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        at, n = draw.randrange(len(changed) + 1), draw.choice([1, 4, 60, 1000])
        match draw.choice(["byte", "byte", "cut", "double", "other", "end", "number"]):
            case "byte" if at < len(changed):
                changed[at] = draw.randrange(256)
            case "cut":
                del changed[at : at + n]
            case "double":
                changed[at:at] = changed[at : at + n]
            case "other":
                other = draw.choice(others)
                begin = draw.randrange(len(other) + 1)
                changed[at : at + n] = other[begin : begin + n]
            case "end":
                del changed[at:]
            case "number":
                changed[at : at + 4] = draw.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"9999"])
    return bytes(changed)


def commands(path: Path) -> list[list[str]]:
    """What somebody might do with a file."""
    name, new = str(path), ["--audio", "none", "--out", "new"]
    if path.suffix == ".safetensors":
        return [["generate", name, "-n", "1", *new], ["explain", name]]
    if path.parts[0] == "runs" or path.name == "config.yaml":
        run = str(Path(*path.parts[:2])) if path.parts[0] == "runs" else str(path.parent)
        return [["generate", run, "-n", "1", *new], ["resume", run, "--steps", "4", "--quiet"]]
    if path.suffix == ".yaml":
        return [["train", "--config", name, "--out", "new"]]
    if path.parts[0] == "store":
        return [["data", "info", "store"]]
    models = {".png": ["runs/digits"], ".wav": []}.get(path.suffix, ["runs/music", "nade.safetensors"])
    found = [["data", "info", name], ["data", "info", "."]]
    found += [["reconstruct", model, name, *new] for model in models[:1]]
    return found + [["continue", model, name, "--bars", "1", "-n", "1", *new] for model in models[1:]]


def forged(folder: Path, seed: int, n: int) -> dict[str, Any]:
    draw, start, where = random.Random(seed), folder / "start" / "here", folder / "now" / "here"
    command_lines.inputs(start)
    sound = [p for p in start.rglob("*") if p.is_file() and not p.is_symlink() and p.stat().st_size > 60]
    sound = [p for p in sound if p.suffix in (".mid", ".png", ".wav", ".safetensors", ".yaml", ".json", ".jsonl")]
    sound = [p for p in sound if "bad_" not in str(p)]
    contents = [p.read_bytes() for p in sound]
    marker = folder / MARKER
    secret = folder / "secret.txt"
    secret.write_text("the secret")
    evil = list(malicious(str(marker), str(secret)).items())
    codes: collections.Counter[int] = collections.Counter()
    wrong: list[Any] = []
    highest = 0
    around = sorted(p.name for p in folder.iterdir())
    for number in range(n):
        command_lines.copied(start, where)
        if number < len(evil):
            name, data = evil[number]
            path = Path(name)
        else:
            i = draw.randrange(len(sound))
            path, data = sound[i].relative_to(start), damaged(draw, contents[i], contents)
        (where / path).parent.mkdir(exist_ok=True)
        (where / path).write_bytes(data)
        command = draw.choice(commands(path))
        code, said, megabytes = command_lines.measured(command, where)
        codes[code] += 1
        highest = max(highest, megabytes)
        left = command_lines.half_written(where)
        outside = sorted({p.name for p in folder.iterdir()} - {*around, "now"})
        bad = code not in (0, 1, 2) or (code == 1 and not command_lines.outside(said) and "NaN" not in said)
        bad = (
            bad
            or (code and command_lines.EXCEPTION.search(said))
            or megabytes > MOST_MB.get(code, 0)
            or "the secret" in said
        )
        if bad or left or outside or marker.exists():
            wrong.append([number, str(path), command, code, megabytes, said[-400:], left, outside])
            shutil.rmtree(marker, ignore_errors=True)
    return {"codes": dict(codes), "highest_mb": highest, "wrong": wrong}


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.fsync = lambda file: None
    os.environ["XDG_STATE_HOME"] = str(Path(sys.argv[1]).absolute() / "state")
    registry().register(toy.ToyPlugin(), "tests")
    print(json.dumps(forged(Path(sys.argv[1]).absolute(), int(sys.argv[2]), int(sys.argv[3]))))
