"""Command lines by the thousand, sound and senseless, each in a process forked from one that has imported everything.

``python command_lines.py FOLDER SEED N`` prints how many ended with which exit code, and every line that ended as none may: with a
traceback or the name of an exception in what it says, with 1 where nothing outside was at fault, killed by a signal, after too
long, or with files that it left half-written.
"""

from __future__ import annotations

import collections
import fcntl
import gzip
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import torch._dynamo
import toy
from midi_files import piece
from PIL import Image

import musegen
from musegen.cli import main
from musegen.plugins import registry

LONGEST_S = 60
"""That a command may take."""
MEMORY = 6 << 30
"""Bytes of addresses that a command may use: a request for more fails as on a small machine."""
EXCEPTION = re.compile(r"Traceback|\b[A-Z]\w*(Error|Exception|Interrupt)\b|line \d+, in ")
FEW = ["--steps", "3", "--batch-size", "4", "--validate-every", "2", "--sample-every", "3", "--samples", "2", "--quiet"]


def inputs(folder: Path) -> dict[str, list[str]]:
    """Small inputs of all kinds, sound and damaged: their paths by kind."""
    folder.mkdir(parents=True)
    os.chdir(folder)
    rng = np.random.default_rng(0)
    Path("songs").mkdir()
    for i in range(4):
        Path(f"songs/{i}.mid").write_bytes(piece(4, transpose=i))
    Path("pictures").mkdir()
    for i in range(8):
        Image.fromarray(rng.integers(0, 255, (9, 9), np.uint8)).save(f"pictures/{i}.png")
    soundfile.write("a.wav", rng.normal(size=4000) / 9, 8000)
    small: dict[str, Any] = {
        "quiet": True,
        "device": "cpu",
        "steps": 3,
        "batch_size": 4,
        "validate_every": 2,
        "sample_every": 0,
    }
    songs: dict[str, Any] = {"data": "songs", "lowest_pitch": 55, "highest_pitch": 78}
    for family, domain, name, more in (
        ("vae", "toy", "toy", {"widths": [5], "latent_dim": 2}),
        ("vae", "pianoroll", "music", {"widths": [5], "latent_dim": 2, "networks": "mlp", "bars": 1, **songs}),
        (
            "rnn_nade",
            "pianoroll",
            "nade",
            {"units": 4, "hidden": 3, "features": 2, "bars": 2, "lags": [], **songs},
        ),
        ("vae", "image", "digits", {"widths": [5], "latent_dim": 2, "size": 8, "data": "pictures"}),
    ):
        musegen.train(family, domain, out=f"runs/{name}", **small, **more)
        musegen.load(f"runs/{name}").save(f"{name}.safetensors")
    assert main(["data", "build", "pianoroll", "songs", "--out", "store"]) == 0
    model = Path("music.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(model[:300])
    Path("flipped.safetensors").write_bytes(model[:-9] + bytes([model[-9] ^ 16]) + model[-8:])
    for name in ("manifest", "config", "metrics", "state", "environment", "store"):
        _damaged_run(name)
    Path("empty").write_bytes(b"")
    Path("empty.mid").write_bytes(b"")
    Path("noise.mid").write_bytes(b"MThd" + rng.bytes(400))
    Path("noise.png").write_bytes(rng.bytes(400))
    Path("noise.bin").write_bytes(rng.bytes(400))
    Path("a.npz").write_bytes(b"PK" + rng.bytes(100))
    Path("a.gz").write_bytes(gzip.compress(rng.bytes(100)))
    for i, text in enumerate(
        (
            "steps: 3\n",
            "steps: [",
            "a: &a [*a]\n",
            "steps: .nan\n",
            "- 1\n",
            "family: 3\n",
            "!!python/object:os.system x\n",
        )
    ):
        Path(f"{i}.yaml").write_text(text)
    Path("plugin.py").write_text("raise SystemExit(7)\n")
    Path("plugin2.py").write_text("x = (\n")
    os.mkfifo("pipe")
    os.mkfifo("pipe.mid")
    Path("link.mid").symlink_to("nowhere.mid")
    Path("folder.mid").mkdir()
    Path("locked").mkdir(mode=0o500)
    odd = "\x1b[31mred\n\u202ename"
    Path(odd).write_text("x")
    wrong = [
        "nowhere",
        "nowhere/at/all",
        "",
        ".",
        "/dev/null",
        "/dev/zero",
        "pipe",
        "pipe.mid",
        "link.mid",
        "folder.mid",
        "empty",
        odd,
    ]
    wrong += ["noise.bin", "a" * 300, "~nobody/x", "\udcff.mid", "empty.mid", "noise.mid", "-", "--", "a.npz", "a.gz"]
    models = [
        "runs/toy",
        "runs/music",
        "runs/nade",
        "runs/digits",
        "toy.safetensors",
        "music.safetensors",
        "nade.safetensors",
        "chorale",
    ]
    damaged = [
        "cut.safetensors",
        "flipped.safetensors",
        *(f"runs/bad_{n}" for n in ("manifest", "config", "metrics", "state", "environment")),
    ]
    return {
        "model": models * 3 + damaged + ["chorle", "songs", *wrong],
        "run": ["runs/toy", "runs/music", "runs/nade", "runs/digits"] * 3 + damaged + wrong,
        "file": ["songs/0.mid", "songs/1.mid", "pictures/0.png", "a.wav"] * 3 + ["noise.png", "store", "songs", *wrong],
        "data": ["songs", "pictures", "store", "songs/0.mid", "a.wav", "runs/bad_store", "bundled", *wrong],
        "yaml": [f"{i}.yaml" for i in range(7)] + wrong,
        "out": [
            "new",
            "new/deeper",
            "new.png",
            "songs",
            "runs/toy",
            "empty",
            "locked/new",
            "/dev/null",
            "",
            ".",
            odd,
            "a" * 300,
        ],
        "plugin": ["plugin.py", "plugin2.py", *wrong],
    }


def _damaged_run(name: str) -> None:
    """A run, or a store, of which one file is damaged."""
    rng = random.Random(name)
    if name == "store":
        shutil.copytree("store", "runs/bad_store")
        path = Path("runs/bad_store/store.json")
    else:
        shutil.copytree("runs/toy", f"runs/bad_{name}")
        found = {
            "config": "config.yaml",
            "metrics": "metrics.jsonl",
            "state": "state.json",
            "environment": "environment.json",
        }
        path = (
            Path(f"runs/bad_{name}", found[name])
            if name in found
            else next(Path(f"runs/bad_{name}/checkpoints").rglob("manifest.json"))
        )
    text = path.read_text()
    at = rng.randrange(len(text) // 2)
    path.write_text(
        text[:at] + rng.choice(["{", "\x00", "[" * 5000, "null", '"', ": :", "\n- x\n"]) + text[at + rng.randrange(9) :]
    )


VALUES = [
    "",
    *[
        "0",
        "1",
        "2",
        "-1",
        "3.5",
        "1e999",
        "nan",
        "inf",
        "-inf",
        "99999999999999999999",
        "x",
        "None",
        "null",
        "true",
        "[]",
        "{}",
        "[1",
        "1,2",
        "é",
        "../../x",
        "%s",
        "{0}",
    ],
]
VALUES += [*["$(id)", "*", "0x10", "1_000", "4/4", "auto"], " 1", "\x1b[2J", "\u202e", "\udcff", "a" * 5000]
NAMES = [
    "widths",
    "latent_dim",
    "bars",
    "metre",
    "threshold",
    "temperature",
    "top_p",
    "tracks",
    "given",
    "size",
    "steps",
    "seed",
    "device",
]
NAMES += [
    "processes",
    "compile",
    "precision",
    "init",
    "ema",
    "transpose",
    "programs",
    "tempo",
    "nonsense",
    "",
    "a.b",
    "vae.latent_dim",
]
TABLE = """
train | family domain data | --out=out --set --config=yaml --steps=n --batch-size=n --seed=n --ema --init=model --precision
train | family domain data | --overwrite --device --schedule --processes --accumulate=n --log-every=n --early-stop=n
resume | run | --steps=n --data=data --device --learning-rate --quiet --sample-every=n
generate | model | -n=n --seed=n --label --given=file --bars=n --out=out --audio --overwrite --checkpoint --device
generate | model | -n=n --temperature --top-p --threshold --tempo --programs
continue | model file | --bars=n -n=n --out=out --audio --overwrite --only-new --file-metre --most-bars=n
accompany | model file | -n=n --tracks --replace --out=out --overwrite
reconstruct | model file file | --out=out --audio --overwrite
interpolate | model file file | --steps=n --spherical --out=out --overwrite
arithmetic | model file file file | --out=out --overwrite
evaluate | model | -n=n -k=n --split --data=data --out=out --json --overwrite
traverse | model | --steps=n --out=out --overwrite
latent | model | -n=n --out=out --data=data --overwrite
score | model file | -k=n --data=data --bits --json
classify | model file | -k=n --data=data --json
export | model out | --checkpoint --set --overwrite
explain | family |
families | | --json
domains | | --json
plugins | | --json
models | | --json
data info | data | --domain=domain --set --json
data build | domain data | --out=out --tracks --steps-per-beat=n --workers=n --shard --overwrite --pedal --file-metre
data merge | domain data data | --out=out --overwrite
data cut | domain file | --out=out --phrases=n
data get | value | --out=out --archive=file
plugin check | domain |
plugin new | value | --out=out
nonsense | value |
 | value |
"""
COMMANDS = [tuple(part.split() for part in row.split("|")) for row in TABLE.strip("\n").split("\n")]
"""Words, kinds of what follows them, and options with the kind of their value, if it is one of these."""
SOUND = {
    "--audio": "none",
    "--device": "cpu",
    "--split": "valid",
    "--checkpoint": "last",
    "--schedule": "cosine",
    "--precision": "float32",
}
SOUND |= {
    "--tracks": "Piano",
    "--pedal": "off",
    "--file-metre": "4/4",
    "--shard": "1/1",
    "--label": "0",
    "--temperature": "0.9",
}
SOUND |= {
    "--top-p": "0.9",
    "--threshold": "0.4",
    "--tempo": "90",
    "--programs": "Piano=3",
    "--ema": "0.9",
    "--learning-rate": "0.001",
}
SOUND |= {"--processes": "1", "--precision": "float32", "--ema": "0.9", "--learning-rate": "0.001"}
SETTINGS = ["transpose=1", "bars=1", "metre=4/4", "tempo_bpm=90", "size=8", "widths=[4]", "beta=2", "pedal=off"]


def line(draw: random.Random, pools: dict[str, list[str]]) -> list[str]:
    """A command line: a third of them without a slip, another third with one or two, the others of many."""
    slips = draw.choice([0.0, 0.1, 0.5])
    n_sound = {
        "model": 8,
        "run": 4,
        "file": 4,
        "data": 5,
        "yaml": 1,
        "out": 2,
        "family": 9,
        "domain": 4,
        "value": 1,
        "plugin": 0,
        "n": 3,
    }
    pools = pools | {
        "family": [
            *["vae", "ae", "gan", "rnn_nade", "gmmn", "wake_sleep", "aae", "infogan", "pixelcnn"],
            *registry().families,
            "vea",
            *VALUES[:6],
        ],
        "domain": [*["pianoroll", "toy", "image", "audio"], "pianorol", *VALUES[:6]],
        "value": ["mine", *VALUES],
        "n": ["1", "2", "3", *VALUES],
    }

    def drawn(kind: str) -> str:
        return draw.choice(pools[kind] if draw.random() < slips or not n_sound[kind] else pools[kind][: n_sound[kind]])

    words, kinds, options = draw.choice(COMMANDS)
    found = list(words)
    if words == ["train"]:
        found += [*([] if draw.random() < slips else ["--out", "new"]), *FEW]
    if words[:1] in (["generate"], ["continue"], ["accompany"], ["reconstruct"], ["interpolate"]):
        found += [] if draw.random() < slips else ["--audio", "none", "--out", "new"]
    n = draw.randrange(len(kinds) + 2) if draw.random() < slips / 2 else len(kinds)
    given = [drawn(kind) for kind in [*kinds, "value", "value"][:n]]
    for option in draw.sample(options, min(len(options), draw.choice([0, 1, 1, 2, 4]))):
        name, equals, kind = option.partition("=")
        slip = draw.random() < slips
        if name == "--set":
            wrong = draw.choice(NAMES) + draw.choice(["=", "=", "=", "", "=="]) + draw.choice(VALUES)
            given += ["--set", wrong if slip else draw.choice(SETTINGS)]
        elif equals:
            given += [name, drawn(kind)] if not slip or draw.random() < 0.8 else [name]
        elif name in SOUND:
            given += [name, draw.choice(VALUES) if slip else SOUND[name]]
        else:
            given += [name, draw.choice(VALUES)] if slip else [name]
    if draw.random() < slips / 10:
        given += ["--plugin", drawn("plugin")]
    return found + given


def ended(arguments: list[str], where: Path, most_bytes: int | None = None) -> tuple[int, str]:
    """Exit code of a command, and what it said. Nobody waits for one for long."""
    code, said, _ = measured(arguments, where, most_bytes)
    return code, said


def measured(arguments: list[str], where: Path, most_bytes: int | None = None) -> tuple[int, str, int]:
    """As ``ended``; and the most memory that it held, in MB, with all that was imported before.

    Args:
        most_bytes: that a file may have, as on a disk that is nearly full.
    """
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)
    child = os.fork()
    if not child:
        code = 99
        try:
            os.setsid()
            os.chdir(where)
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0), os.dup2(writing, 1), os.dup2(writing, 2)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            if most_bytes is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
            sys.argv = ["musegen", *arguments]
            code = main(arguments)
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else 98
        except BaseException as error:
            print(f"Traceback: {error!r}")
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    begun = time.monotonic()
    while not (found := os.wait4(child, os.WNOHANG))[0]:
        if time.monotonic() - begun > LONGEST_S:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.002)
    with open(reading, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    return os.waitstatus_to_exitcode(found[1]), said, found[2].ru_maxrss // 1000


def outside(said: str) -> bool:
    """Whether what is said is about something outside, not about what was typed."""
    return any(
        word in said for word in ("No space", "memory", "Permission denied", "Read-only", "A check failed", "failed")
    )


def copied(start: Path, where: Path) -> None:
    """A fresh copy of the inputs."""
    shutil.rmtree(where.parent, ignore_errors=True)
    where.parent.mkdir(parents=True)
    subprocess.run(["cp", "-a", start, where], check=True)  # shutil would read pipes


def half_written(where: Path) -> list[str]:
    return [str(p) for p in where.rglob(".*") if p.name.endswith((".tmp", ".new", ".old"))]


def lines(folder: Path, seed: int, n: int) -> dict[str, Any]:
    draw, start = random.Random(seed), folder / "start" / "here"
    pools = inputs(start)
    codes: collections.Counter[int] = collections.Counter()
    wrong: list[dict[str, Any]] = []
    where = folder / "now" / "here"

    copied(start, where)
    dirty = False
    for number in range(n):
        arguments = line(draw, pools)
        if dirty:
            copied(start, where)
        before = sorted(where.rglob("*"))
        code, said = ended(arguments, where)
        codes[code] += 1
        dirty = sorted(where.rglob("*")) != before or "--overwrite" in arguments or "resume" in arguments
        left = half_written(where)
        bad = (
            code not in (0, 1, 2)
            or (code == 1 and not outside(said))
            or (code != 0 and EXCEPTION.search(said) and "plugin file" not in said)
        )
        bad = bad or (code == 2 and len(said.strip().splitlines()) > 3) or "\x1b" in said or left
        if bad:
            wrong.append({"number": number, "line": arguments, "code": code, "said": said[-600:], "left": left})
    return {"codes": dict(codes), "wrong": wrong}


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.fsync = lambda file: None
    os.environ["XDG_STATE_HOME"] = str(Path(sys.argv[1]).absolute() / "state")
    registry().register(toy.ToyPlugin(), "tests")
    print(json.dumps(lines(Path(sys.argv[1]).absolute(), int(sys.argv[2]), int(sys.argv[3])), ensure_ascii=True))
