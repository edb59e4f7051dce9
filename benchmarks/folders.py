"""Memory and time of opening folders of pictures and of sound: ``python benchmarks/folders.py [--out FILE]``.

Each folder is opened in a process of its own. Memory is the process's peak above what it had when everything was imported and one
small folder had been opened, in multiples of what is kept: bytes of the data set's tensors.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from measuring import RESULTS, machine, save
from PIL import Image

N_PICTURES, MINUTES = 2000, 60


def grey_pictures(folder: Path, n: int = N_PICTURES) -> None:
    """Grey PNG files of 256 × 192 pixels."""
    rng = np.random.default_rng(0)
    for i in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16), np.uint8))
        coarse.resize((256, 192)).save(folder / f"{i:04d}.png")


def photographs(folder: Path, n: int = N_PICTURES) -> None:
    """Colour JPEG files of 1280 × 960 pixels."""
    rng = np.random.default_rng(0)
    for i in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        coarse.resize((1280, 960)).save(folder / f"{i:04d}.jpg")


def sound(folder: Path, minutes: int = MINUTES) -> None:
    """Recordings of ten minutes at 44.1 kHz, stereo, as FLAC files."""
    rng = np.random.default_rng(0)
    for i in range(max(1, minutes // 10)):
        with soundfile.SoundFile(folder / f"{i}.flac", "w", 44100, 2) as file:
            for _ in range(min(minutes, 10) * 60):
                hz = rng.uniform(100, 2000)
                tone = 0.4 * np.sin(2 * np.pi * hz * np.arange(44100) / 44100)
                file.write(tone[:, None] + 0.01 * rng.standard_normal((44100, 2)))


CASES: dict[str, tuple[str, Callable[..., None], dict[str, object]]] = {
    "2,000 grey PNG files, size=64": ("image", grey_pictures, {"size": 64}),
    "2,000 colour JPEG files, size=64": ("image", photographs, {"size": 64}),
    "60 minutes of sound": ("audio", sound, {}),
}


def opened(case: str, folder: Path, small: Path) -> dict[str, float]:
    """Open a folder here; what it took."""
    import torch

    from musegen.plugins import registry

    torch.set_num_threads(2)
    name, _, options = CASES[case]
    domain = registry().domain(name)
    domain.open(domain.Config(**options), small, small)
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    before, started = _status("VmRSS"), time.process_time()
    _, data = domain.open(domain.Config(**options), folder, folder)
    seconds = time.process_time() - started
    kept = sum(d.n_bytes for d in data.splits.values())
    peak = _status("VmHWM") - before
    return {
        "processor_seconds": round(seconds, 2),
        "kept_mb": round(kept / 1e6, 1),
        "peak_mb": round(peak / 1e6, 1),
        "times_kept": round(peak / kept, 2),
    }


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "folders.json")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help="where the folders are made; kept if given")
    arguments = parser.parse_args()
    if arguments.case:
        case, folder, small = arguments.case
        print(json.dumps(opened(case, Path(folder), Path(small))))
        return
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        for case, (_, make, _) in CASES.items():
            folders = []
            for kind, n in (("large", ()), ("small", (4,))):
                folder = (arguments.work or Path(temporary)) / f"{make.__name__}-{kind}"
                if not folder.is_dir():
                    folder.mkdir(parents=True)
                    make(folder, *n)
                folders.append(str(folder))
            command = [sys.executable, __file__, "--case", case, *folders]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results[case] = json.loads(done.stdout.splitlines()[-1])
            print(case, results[case], flush=True)
    save(arguments.out, {"machine": machine(), "opened": results})


if __name__ == "__main__":
    main()
