"""Fixtures that several test files share."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Several test processes share the cores: a thread each, or they stand in each other's way. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Subprocesses of tests find the modules of this folder too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parent / "helpers"), os.environ.get("PYTHONPATH")])
)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Of what runs in the background of a script. Tests that interrupt themselves, and programs that they start, must hear it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.pop("COLUMNS", None)  # which pytest-xdist sets; pipes have no width

import torch
from commands import Result
from hypothesis import HealthCheck, settings
from PIL import Image, ImageDraw

from musegen.cli import main
from musegen.data.bundled import bundled
from musegen.plugins import registry
from musegen.plugins.needs import warn_once

# The same examples in every run, so that a failure is somebody's change and not chance; HYPOTHESIS_PROFILE=random explores.
# No limits of time: a busy machine is no fault of the code.
PATIENT: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("fixed", derandomize=True, **PATIENT)
settings.register_profile("random", **PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

SHARED = Path(__file__).parents[2] / "shared" / "data"
"""Development data beside a checkout; tests that use it skip where it is missing."""


@pytest.fixture(scope="session", autouse=True)
def toy_domain(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The toy domain, registered like a plugin's; and no test notes in the user's home which plugin files it ran."""
    from toy import ToyPlugin

    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    torch.set_num_threads(1)
    if "toy" not in registry().domains:
        registry().register(ToyPlugin(), "tests")


@pytest.fixture(scope="session", autouse=True)
def no_flushing() -> None:
    """Files are not flushed to the disk: what is tested survives no power cut, and a busy disk takes seconds."""
    os.fsync = lambda file: None


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Whatever a test draws without a generator of its own is the same in every run."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def popen() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes, whose standard error can be read, that do not outlive the test."""
    with contextlib.ExitStack() as stack:

        def call(command: list[str], **options: Any) -> subprocess.Popen[str]:
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield call


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of installed packages for this process; ``registry.cache_clear()`` has them looked for again."""
    from toy import ToyPlugin

    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    before = set(sys.modules)
    registry.cache_clear()
    warn_once.cache_clear()
    yield folder
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    monkeypatch.undo()  # before the registry of the other tests is made again
    registry.cache_clear()
    registry().register(ToyPlugin(), "tests")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"no development data in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def band_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed store of six Freedoom pieces."""
    from musegen_pianoroll.reading.build import build_store

    folder = tmp_path_factory.mktemp("midi")
    for path in sorted(bundled("freedoom").glob("*.mid"))[:6]:
        (folder / path.name).write_bytes(path.read_bytes())
    out = tmp_path_factory.mktemp("stores") / "band"
    build_store(folder, out, workers=1)
    return out


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 grey pictures of discs and squares, in two subfolders."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for kind in ("disc", "square"):
        (folder / kind).mkdir()
        for i in range(30):
            image = Image.new("L", (20, 20))
            x, y, r = (int(v) for v in rng.integers(3, 8, 3))
            draw = ImageDraw.Draw(image)
            shape = draw.ellipse if kind == "disc" else draw.rectangle
            shape([x, y, x + r, y + r], fill=255)
            image.save(folder / kind / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="session")
def array_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 binary arrays (1, 8, 7) of two classes, one with a bright first column, and as many of a second data set."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for split, n in {"train": 48, "valid": 12, "target": 48, "target_valid": 12}.items():
        y = rng.integers(0, 2, n)
        x = rng.random((n, 1, 8, 7)) < (0.6 if "target" in split else 0.3)
        x[y == 1, :, :, 0] = True
        arrays |= {f"x_{split}": x, f"y_{split}": y}
    path = tmp_path_factory.mktemp("arrays") / "grids.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def sound_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 tones of a fifth of a second, low and high, in two subfolders."""
    import soundfile

    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for kind, low, high in (("low", 150, 400), ("high", 600, 1500)):
        (folder / kind).mkdir()
        for i in range(20):
            hz, level = rng.uniform(low, high), rng.uniform(0.1, 0.9)
            time_s = np.arange(800) / 4000
            soundfile.write(folder / kind / f"{i:02d}.wav", level * np.sin(2 * np.pi * hz * time_s), 4000)
    return folder
