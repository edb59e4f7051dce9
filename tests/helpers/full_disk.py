"""Every command that writes, on a disk on which no file gets larger than some bytes: what it says, and what it leaves.

``python full_disk.py FOLDER`` prints what was wrong.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import command_lines
import torch
import toy

from musegen.album import making
from musegen.album.record import Album, Sample
from musegen.plugins import registry

COMMANDS = """
train vae --domain toy --steps 3 --batch-size 4 --quiet --set widths=[5] --sample-every 2 --out new
train vae --domain pianoroll --data songs --steps 2 --quiet --set widths=[5] --set networks=mlp --set bars=1 --out new
resume runs/toy --steps 5 --quiet
generate runs/music --out new
generate runs/digits --out new
reconstruct runs/music songs/0.mid --out new
continue runs/nade songs/0.mid --bars 2 --out new
interpolate runs/music songs/0.mid songs/1.mid --out new
evaluate runs/toy -n 8 -k 1 --out new.json
traverse runs/toy --out new.png
latent runs/digits --out new.png
export runs/music new.safetensors
data build pianoroll songs --out new
plugin new mine --out new
album made --out new
"""
LIMITS = (0, 700)
"""Bytes that a file may have."""


def everything(where: Path) -> dict[str, bytes]:
    return {str(p.relative_to(where)): p.read_bytes() for p in where.rglob("*") if p.is_file() and not p.is_symlink()}


def faults(folder: Path) -> dict[str, Any]:
    start, where = folder / "start" / "here", folder / "now" / "here"
    command_lines.inputs(start)
    (start / "made").mkdir()
    (start / "made" / "a.mid").write_bytes((start / "songs" / "0.mid").read_bytes())
    making.write(start / "made", Album("Made", [Sample("a", ["a.mid"])]))
    wrong, n_failed = [], 0
    for command in COMMANDS.strip().splitlines():
        for limit in LIMITS:
            command_lines.copied(start, where)
            before = everything(where)
            code, said = command_lines.ended(shlex.split(command), where, limit)
            after = everything(where)
            n_failed += code == 1
            left = command_lines.half_written(where)
            changed = [name for name in before if after.get(name) != before[name] and not name.startswith("runs/toy")]
            lines = [line for line in said.strip().splitlines() if "too large" in line or "disk" in line]
            if (code and (code != 1 or len(lines) != 1 or "unexpected" in said)) or left or changed:
                wrong.append([command, limit, code, said[-400:], left, changed])
            new = [name for name in sorted(set(after) - set(before)) if not name.startswith("new.building")]
            if (
                code
                and new
                and command.startswith(("evaluate", "traverse", "latent", "export", "data", "plugin", "album"))
            ):
                wrong.append([command, limit, code, f"left {new}"])
    return {"failed": n_failed, "wrong": wrong}


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.fsync = lambda file: None
    registry().register(toy.ToyPlugin(), "tests")
    print(json.dumps(faults(Path(sys.argv[1]).absolute())))
