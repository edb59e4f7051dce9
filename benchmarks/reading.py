"""Files per second from a folder of MIDI files to binary rolls at 4 steps per beat, against what one would use instead.

    python benchmarks/reading.py [--files 2000] [--rounds 5] [--sample 22]     results/reading.json, one to two minutes
    python benchmarks/reading.py --large 20000                                 results/reading_large.json

The folder is made of the 66 Freedoom pieces, transposed and at other tempos, so that no two files are the same. Ours is
``build_store`` whole: processes started, files checked, read, hashed, put on the grid, written. The rivals (pypianoroll,
pretty_midi, and muspy where it is installed) run in this process, imports not counted, each on a sample of the same folder,
from file to a boolean roll of all tracks in memory. Rates are per second of processor time, of all processes together: what
else runs on the machine then counts little. Rounds alternate; the median of the per-round ratios is reported. ``--large`` instead
builds a folder of so many files with two workers, kills the build in the middle and calls it again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from musegen.data.bundled import bundled
from musegen_pianoroll.reading.build import build_store

STEPS_PER_BEAT = 4


def make_folder(folder: Path, n_files: int) -> int:
    """Write files; their bytes in all."""
    from symusic import Score

    originals = sorted(bundled("freedoom").glob("*.mid"))
    folder.mkdir(parents=True)
    n_bytes = 0
    for i in range(n_files):
        variant, which = divmod(i, len(originals))
        tempo, transposed = divmod(variant, 12)
        score: Any = Score.from_file(originals[which])
        for track in score.tracks:
            pitches = track.notes.numpy()["pitch"].astype(int) + (transposed - 6)
            if not track.is_drum and len(pitches) and pitches.min() >= 0 and pitches.max() < 127:
                track.shift_pitch(transposed - 6, inplace=True)
        for change in score.tempos:
            change.mspq = int(change.mspq * 1.02 ** (tempo + 1))
        path = folder / f"{i % 100:02d}" / f"{originals[which].stem}-{variant}.mid"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(score.dumps_midi())
        n_bytes += path.stat().st_size
    return n_bytes


def by_pypianoroll(path: Path) -> np.ndarray:
    import pypianoroll

    music = pypianoroll.read(path).binarize().set_resolution(STEPS_PER_BEAT)
    return music.stack() > 0


def by_pretty_midi(path: Path) -> np.ndarray:
    import pretty_midi

    music = pretty_midi.PrettyMIDI(os.fspath(path))
    beats = music.get_beats()
    steps = np.interp(np.arange(len(beats) * STEPS_PER_BEAT) / STEPS_PER_BEAT, np.arange(len(beats)), beats)
    for instrument in music.instruments:
        instrument.is_drum = False  # its rolls of drums are empty
    return np.stack([instrument.get_piano_roll(times=steps) > 0 for instrument in music.instruments])


def by_muspy(path: Path) -> np.ndarray:
    import muspy

    music = muspy.read_midi(path).adjust_resolution(STEPS_PER_BEAT)
    rolls = [
        muspy.to_pianoroll_representation(muspy.Music(resolution=STEPS_PER_BEAT, tracks=[track]), False, dtype=bool)
        for track in music
    ]
    length = max(map(len, rolls))
    return np.stack([np.pad(roll, ((0, length - len(roll)), (0, 0))) for roll in rolls])


RIVALS: dict[str, Callable[[Path], np.ndarray]] = {
    "pypianoroll": by_pypianoroll,
    "pretty_midi": by_pretty_midi,
    "muspy": by_muspy,
}


def seconds_of_rival(read: Callable[[Path], np.ndarray], files: list[Path]) -> tuple[float, int]:
    """Processor seconds per file that it could read, and how many those were."""
    done, started = 0, time.process_time()
    for file in files:
        try:
            read(file)
            done += 1
        except (ValueError, IndexError, KeyError, ZeroDivisionError):
            pass
    return (time.process_time() - started) / max(done, 1), done


def peak_mb() -> float:
    """Most memory that this process had resident; getrusage would count that of its parent before the start, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def child(folder: Path, out: Path, workers: int) -> None:
    """What a child process does: build, and say what it took."""
    report = build_store(folder, out, workers=workers)
    mine, theirs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(
        json.dumps(
            {
                "pieces": report.n_read,
                "wall_s": report.seconds,
                "processor_s": mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime,
                "parent_s": mine.ru_utime + mine.ru_stime,
                "parent_peak_mb": peak_mb(),
                "worker_peak_mb": theirs.ru_maxrss / 1024,
            }
        )
    )


def start(folder: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--child", os.fspath(folder), os.fspath(out), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def build(folder: Path, out: Path, workers: int) -> dict[str, float]:
    shutil.rmtree(out, ignore_errors=True)
    return json.loads(start(folder, out, workers).communicate()[0])


def large(where: Path, n_files: int) -> dict[str, Any]:
    """A large folder, its build killed when about half is read, and called again."""
    n_bytes = make_folder(where / "large", n_files)
    out = where / "large-store"
    process, started = start(where / "large", out, 2), time.monotonic()
    while len(list(where.glob("large-store.building/*.json"))) < n_files // 64:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed_after = time.monotonic() - started
    kept = 32 * len(list(where.glob("large-store.building/*.json")))
    rest = json.loads(start(where / "large", out, 2).communicate()[0])
    return {
        "files": n_files,
        "mb": round(n_bytes / 1e6, 1),
        "killed_after_s": killed_after,
        "files_kept": kept,
        "then": rest,
        "total_wall_s": killed_after + rest["wall_s"],
        "store_mb": round((out / "planes.safetensors").stat().st_size / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", type=int, default=22, help="files per round that each rival reads")
    parser.add_argument("--large", type=int, default=0, help="a folder of so many files, killed and continued, instead")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(Path(arguments.child[0]), Path(arguments.child[1]), int(arguments.child[2]))
        return
    circumstances = {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {platform.system()}",
        "load_average": os.getloadavg()[0],
    }
    if arguments.large:
        with tempfile.TemporaryDirectory() as temporary:
            save("reading_large", circumstances | large(Path(temporary), arguments.large))
        return
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        where = Path(temporary)
        n_bytes = make_folder(where / "songs", arguments.files)
        files = sorted((where / "songs").rglob("*.mid"))
        rivals = dict(RIVALS)
        for name, read in RIVALS.items():
            try:
                read(files[0])
            except ImportError:
                print(f"{name} is not installed: measured without it.", file=sys.stderr)
                del rivals[name]
        ours: list[dict[str, float]] = []
        theirs: dict[str, list[float]] = {name: [] for name in rivals}
        failed = dict.fromkeys(rivals, 0)
        for i in range(arguments.rounds):
            ours.append(build(where / "songs", where / "store", 1))
            sample = files[i :: max(len(files) // arguments.sample, 1)][: arguments.sample]
            for name, read in rivals.items():
                seconds, done = seconds_of_rival(read, sample)
                theirs[name].append(seconds)
                failed[name] += len(sample) - done
        two = build(where / "songs", where / "store", 2)
        a_tenth = where / "tenth"
        make_folder(a_tenth, max(arguments.files // 10, 1))
        result: dict[str, Any] = circumstances | {
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("numpy", "symusic", *rivals)},
            "files": arguments.files,
            "mb": round(n_bytes / 1e6, 1),
            "files_per_processor_second": arguments.files / statistics.median(run["processor_s"] for run in ours),
            "mb_per_processor_second": n_bytes / 1e6 / statistics.median(run["processor_s"] for run in ours),
            "one_worker": ours[-1],
            "two_workers": two,
            "a_tenth_of_the_files": build(a_tenth, where / "store", 1),
            "rivals": {
                name: {
                    "files_per_processor_second": 1 / statistics.median(seconds),
                    "files_it_could_not_read": failed[name],
                    "ours_is_faster_min_median_max": summary(
                        [s * arguments.files / run["processor_s"] for s, run in zip(seconds, ours, strict=True)]
                    ),
                }
                for name, seconds in theirs.items()
            },
        }
    save("reading", result)


def save(name: str, result: dict[str, Any]) -> None:
    text = json.dumps(result, indent=1)
    (Path(__file__).parent / "results" / f"{name}.json").write_text(text + "\n")
    print(text)


def summary(ratios: list[float]) -> list[float]:
    return [min(ratios), statistics.median(ratios), max(ratios)]


if __name__ == "__main__":
    main()
