"""The studio: how fast it answers, and what strangers and many clients do to it.

    python benchmarks/studio.py [--minutes 5] [--clients 20] [--malformed 1000]     results/studio.json, seven minutes

The server is the command ``musegen studio``, in a process and a folder of its own. Where Chromium is installed, its page is timed
in it, too: first sound after the click, and pictures per second with 10,000 notes.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from measuring import RESULTS, machine

from musegen.data.bundled import bundled
from musegen.studio import api
from musegen_pianoroll.writing.midi import MidiFile, Part

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from browser import CHROMIUM, Page, browser
from studio_client import Client

HYMN = bundled("chorales") / "bwv253.mid"
FRAMES = """(async () => { const times = []; let last = performance.now(); const box = document.querySelector('#roll');
  for (let i = 0; i < 180; i++) { await new Promise(requestAnimationFrame); const now = performance.now();
    times.push(now - last); last = now; ACT }
  return 1000 * (times.length - 1) / times.slice(1).reduce((a, b) => a + b); })()"""


@contextmanager
def served(folder: Path) -> Iterator[tuple[Client, subprocess.Popen[str], float]]:
    """A studio, and the seconds from the command to its page."""
    begun = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "musegen",
        "studio",
        "--port",
        "0",
        "--no-browser",
        "--out",
        "saved",
        "--device",
        "cpu",
    ]
    environment = {**os.environ, "TMPDIR": str(folder / "temporary")}
    (folder / "temporary").mkdir()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        found = re.fullmatch(r"The studio's address is (\S+), and its token (\S+)\n", process.stdout.readline())
        assert found
        client = Client(found[1], found[2])
        while True:
            try:
                assert client.ask("GET", "/", token=False).status == 200
                break
            except OSError:
                time.sleep(0.01)
        yield client, process, time.perf_counter() - begun
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def answers(client: Client) -> dict[str, Any]:
    """Seconds of what a user waits for, the median of five."""
    client.pieces("/api/generate", {"model": "pop", "bars": 8})  # the model is loaded
    found: dict[str, list[float]] = {
        "new piece of 8 bars": [],
        "its first second of sound": [],
        "two bars anew": [],
        "a note": [],
    }
    for seed in range(1, 6):
        begun = time.perf_counter()
        (id_,) = client.pieces("/api/generate", {"model": "pop", "bars": 8, "seed": seed})
        drawn = time.perf_counter()
        score = client.ask("GET", f"/api/pieces/{id_}").json["score"]
        for voice in range(len(score["voices"])):
            assert client.ask("GET", f"/api/pieces/{id_}/stem?voice={voice}&first=0&last=1").status == 200
        heard = time.perf_counter()
        client.pieces("/api/regenerate", {"model": "pop", "piece": id_, "bars": "3-4", "seed": seed})
        anew = time.perf_counter()
        assert client.ask("POST", "/api/edit", {"piece": id_, "remove": [score["notes"][0]]}).status == 200
        times = [drawn - begun, heard - drawn, anew - heard, time.perf_counter() - anew]
        for row, seconds in zip(found.values(), times, strict=True):
            row.append(seconds)
    return {name: round(statistics.median(row), 2) for name, row in found.items()}


def in_a_browser(client: Client, folder: Path) -> dict[str, Any]:
    """First sound after the click, and pictures per second with 10,000 notes."""
    with browser(folder / "profile") as page:
        page.open(f"http://{client.host}/?token={client.token}")
        page.until("document.querySelector('#status').textContent === 'Ready.'")
        page.run("e = document.querySelector('#model'); e.value = 'pop'; e.dispatchEvent(new Event('change'))")
        page.until("document.querySelector('#status').textContent === 'Ready.'")
        page.run("document.querySelector('#n').value = 1")
        seconds = []
        for _ in range(5):
            begun = time.perf_counter()
            page.click("#generate")
            page.until("document.querySelector('#level').value > 0.001")
            seconds.append(time.perf_counter() - begun)
            page.until("document.querySelector('#status').textContent.startsWith('Done')")
            page.click("#play")
        page.run("document.querySelector('#at-once').checked = false")
        _drop(page, many_notes())
        page.until("document.querySelector('#about').textContent.startsWith('201 bars')")
        rates = {
            "all of them, drawn each time": page.run(FRAMES.replace("ACT", "box.dispatchEvent(new Event('scroll'));"))
        }
        zooming = "document.querySelector(i % 20 < 10 ? '#longer' : '#shorter').click();"
        rates["zooming"] = page.run(FRAMES.replace("ACT", zooming))
        rates["scrolling"] = page.run(FRAMES.replace("ACT", "box.scrollLeft += 40;"))
        assert page.faults == []
    return {
        "first sound after the click, s": round(statistics.median(seconds), 2),
        "pictures per second, 10,000 notes": {name: round(rate, 1) for name, rate in rates.items()},
    }


def many_notes() -> bytes:
    """A file of five tracks with 2,000 notes each, over 200 bars."""
    draw, bar, parts = np.random.default_rng(0), 4 * 480, []
    for i in range(5):
        start = np.sort(draw.integers(0, 200 * bar, 2000))
        notes = np.stack([start, start + draw.integers(60, 960, 2000), draw.integers(36, 90, 2000)], 1)
        parts.append(Part(f"Track {i}", 8 * i, False, notes))
    return MidiFile.new(480, 201 * bar, 120, (4, 4)).beside(parts, end=201 * bar).content()


def _drop(page: Page, content: bytes) -> None:
    text = base64.b64encode(content).decode()
    page.run(
        f"data = new DataTransfer(); data.items.add(new File([Uint8Array.from(atob('{text}'), (c) => c.charCodeAt(0))], "
        "'many.mid')); document.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}))"
    )


def malformed(client: Client, n: int, folder: Path) -> dict[str, Any]:
    """Requests that are damaged bytes, requests with senseless values, and files with damaged bytes."""
    draw, statuses = random.Random(0), Counter[str]()
    before = sorted(
        str(path) for path in folder.rglob("*") if "temporary" not in path.parts and "profile" not in path.parts
    )
    paths = ["generate", "continue", "infill", "edit", "decode", "encode", "save", "open?model=chorale&name=x.mid"]
    values: list[Any] = [
        None,
        -1,
        1e308,
        2**70,
        "",
        "x" * 5000,
        "../../etc/passwd",
        [],
        [[]],
        {},
        [[0] * 5],
        True,
        "\0",
    ]
    names = [
        "model",
        "piece",
        "n",
        "seed",
        "bars",
        "tracks",
        "options",
        "codes",
        "remove",
        "add",
        "pieces",
        "folder",
        "audio",
    ]
    for i in range(n):
        if i % 3 == 0:
            statuses[_raw(client, draw)] += 1
        elif i % 3 == 1:
            body = {name: draw.choice(values) for name in draw.sample(names, 4)} | (
                {"model": "chorale"} if i % 2 else {}
            )
            statuses[_checked(client.ask("POST", f"/api/{draw.choice(paths)}", body))] += 1
        else:
            content = bytearray(HYMN.read_bytes())
            for _ in range(draw.randint(1, 60)):
                content[draw.randrange(len(content))] = draw.randrange(256)
            job = client.job(
                "/api/open?model=chorale&name=../../x.mid", bytes(content[: draw.randint(1, len(content))])
            )
            assert "unexpected" not in job["error"], job
            statuses[f"file: {job['state']}"] += 1
    after = sorted(
        str(path) for path in folder.rglob("*") if "temporary" not in path.parts and "profile" not in path.parts
    )
    assert client.pieces("/api/generate", {"model": "chorale", "bars": 1})
    saved = str(folder / "saved")
    assert all(path.startswith(saved) for path in set(after) - set(before))
    return dict(sorted(statuses.items()))


def _raw(client: Client, draw: random.Random) -> str:
    host, port = client.host.split(":")
    head = f"POST /api/generate HTTP/1.1\r\nHost: {client.host}\r\nAuthorization: Bearer {client.token}\r\n"
    content = bytearray(head.encode() + b"Content-Length: 24\r\n\r\n" + b'{"model": "x", "n": "1"}')
    for _ in range(draw.randint(1, 20)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert not answer or re.match(rb"HTTP/1.1 [24]\d\d ", answer), answer
    return answer[9:12].decode() or "closed"


def _checked(answer: Any) -> str:
    assert answer.status < 500, answer
    assert answer.status < 400 or "unexpected" not in answer.json["error"]
    return str(answer.status)


def crowd(client: Client, process: subprocess.Popen[str], n: int, minutes: float) -> dict[str, Any]:
    """Clients that each make a piece, change a note, hear it and save some of them, over and over."""
    end, done, errors = time.monotonic() + 60 * minutes, [0] * n, list[str]()

    def use(i: int) -> None:
        while time.monotonic() < end:
            try:
                (id_,) = client.pieces("/api/generate", {"model": "chorale", "bars": 1, "seed": 1000 * i + done[i]})
                score = client.ask("GET", f"/api/pieces/{id_}").json["score"]
                edited = client.ask("POST", "/api/edit", {"piece": id_, "remove": [score["notes"][0]]}).json["id"]
                assert client.ask("GET", f"/api/pieces/{edited}/stem?voice=0&first=0&last=1").status == 200
                assert client.ask("GET", f"/api/pieces/{edited}/file").status == 200
                if done[i] % 10 == 0:
                    assert client.ask("POST", "/api/save", {"pieces": [edited], "audio": None}).status == 200
                done[i] += 1
            except Exception as error:
                errors.append(repr(error))

    threads = [threading.Thread(target=use, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    memory, server = [], psutil.Process(process.pid)
    while time.monotonic() < end:
        time.sleep(min(15.0, max(0.1, end - time.monotonic())))
        memory.append(round(server.memory_info().rss / 2**20))
    for thread in threads:
        thread.join()
    return {"rounds": sum(done), "errors": errors[:5], "n_errors": len(errors), "memory, MB, every 15 s": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--malformed", type=int, default=1000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as (client, process, seconds):
        found: dict[str, Any] = {
            "machine": machine(),
            "page and scripts, bytes": sum(path.stat().st_size for path in api.PAGE.iterdir()),
            "from the command to the page, s": round(seconds, 2),
            "seconds": answers(client),
        }
        print(json.dumps(found, indent=1), flush=True)
        if CHROMIUM:
            found["in Chromium"] = in_a_browser(client, Path(name))
            print(found["in Chromium"], flush=True)
        found[f"{asked.malformed} malformed requests and files"] = malformed(client, asked.malformed, Path(name))
        print(found[f"{asked.malformed} malformed requests and files"], flush=True)
        found[f"{asked.clients} clients for {asked.minutes:g} minutes"] = crowd(
            client, process, asked.clients, asked.minutes
        )
    print(json.dumps(found, indent=1))
    (RESULTS / "studio.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
