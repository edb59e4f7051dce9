"""Several processes: the same model as with one, and an end for all when one ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
import torch.nn.functional as F
from commands import Result, bad, wait_for_steps
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import musegen
from musegen.engine.checkpoint import newest_checkpoint
from musegen.engine.launch import LAUNCHER, MEETING, wanted
from musegen.errors import BadInput
from musegen.networks.nade.recurrent import initial_state, through
from musegen.probability.whole_batch import Part, SharedBatch, batch_length, batch_mean, gathered, same_everywhere
from musegen.running.runs import Run

CPU = torch.device("cpu")
DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "randn": lambda p: torch.randn(len(p), 3),
    "randn of a tuple": lambda p: torch.randn((len(p), 2, 2), dtype=torch.float64),
    "rand of a size": lambda p: torch.rand(size=(len(p), 5)),
    "randint": lambda p: torch.randint(10, (len(p),)),
    "randint between": lambda p: torch.randint(low=-5, high=5, size=(len(p), 2)),
    "normal": lambda p: torch.normal(2.0, 3.0, (len(p), 2)),
    "normal of tensors": lambda p: torch.normal(p, p),
    "randn_like": torch.randn_like,
    "rand_like of columns": lambda p: torch.rand_like(p.T.contiguous().T),
    "rand_like of one row": lambda p: torch.rand_like(p[:1, :1].expand(len(p), 4)),
    "bernoulli": torch.bernoulli,
    "exponential": lambda p: torch.empty_like(p).exponential_(),
    "normal in place": lambda p: torch.empty_like(p).normal_(1.0, 2.0),
    "bernoulli in place": lambda p: torch.empty_like(p).bernoulli_(p),
    "multinomial": lambda p: torch.multinomial(p, 2, replacement=True),
    "without replacement": lambda p: p.multinomial(2),
    "dropout": lambda p: F.dropout(p, 0.3),
    "a layer of dropout": nn.Dropout(0.5),
    "dropout of channels": lambda p: F.dropout2d(p[:, :, None, None].expand(-1, -1, 2, 2), 0.5),
}


@pytest.mark.parametrize("name", DRAWS)
@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 4), rows=st.integers(2, 9), groups=st.integers(1, 3), seed=st.integers(0, 2**20))
def test_parts_of_a_draw_are_the_draw(name: str, count: int, rows: int, groups: int, seed: int) -> None:
    """Every process gets the numbers that its examples would get in one process, and its generator ends there too."""
    whole = 0.1 + 0.8 * torch.rand(groups * count * rows, 4)
    torch.manual_seed(seed)
    expected = DRAWS[name](whole)
    after = torch.get_rng_state()
    for rank in range(count):
        part = Part(rank, count, rows)
        torch.manual_seed(seed)
        with SharedBatch(part, CPU):
            drawn = DRAWS[name](part.own(whole))
        torch.testing.assert_close(drawn, part.own(expected), rtol=0, atol=0)
        assert torch.equal(torch.get_rng_state(), after)


@settings(deadline=None)
@given(count=st.integers(1, 5), rows=st.integers(1, 4), groups=st.integers(1, 3))
def test_parts_make_up_the_batch(count: int, rows: int, groups: int) -> None:
    whole = torch.arange(groups * count * rows)
    parts = [Part(rank, count, rows).own(whole) for rank in range(count)]
    # The groups are minibatches, or repetitions: each is shared for itself.
    assert torch.equal(torch.cat([part.view(groups, rows) for part in parts], 1).flatten(), whole)
    for rank in range(count):
        assert torch.equal(Part(rank, count, rows).own(Part(rank, count, rows).enlarged(parts[rank])), parts[rank])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.randn(7, 2),
        lambda: torch.randn(()),
        lambda: torch.rand(1, 4),
        lambda: F.dropout(torch.ones(5, 2)),
        lambda: torch.multinomial(torch.ones(8), 4),
        lambda: torch.randperm(4),
        lambda: nn.LSTM(3, 3, num_layers=2, dropout=0.5)(torch.ones(4, 2, 3)),
    ],
)
def test_a_draw_that_cannot_be_shared_is_refused(draw: Callable[[], object]) -> None:
    with pytest.raises(BadInput, match="train it with one process"), SharedBatch(Part(1, 2, 4), CPU):
        draw()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_dropout_between_recurrent_layers_is_shared(kind: type[nn.LSTM | nn.GRU]) -> None:
    network, whole = kind(3, 5, 3, batch_first=True, dropout=0.4), torch.randn(8, 6, 3)
    torch.manual_seed(1)
    expected, _ = network(whole)
    after = torch.get_rng_state()
    for rank in range(2):
        part = Part(rank, 2, 4)
        torch.manual_seed(1)
        with SharedBatch(part, CPU):
            own = part.own(whole)
            found, _ = through(network, own, initial_state(network, len(own), own))
        torch.testing.assert_close(found, part.own(expected))
        assert torch.equal(torch.get_rng_state(), after)


def test_what_is_the_same_everywhere_is_drawn_once() -> None:
    torch.manual_seed(0)
    expected = torch.randn(5)
    torch.manual_seed(0)
    with SharedBatch(Part(1, 2, 4), CPU), same_everywhere():
        assert torch.equal(torch.randn(5), expected)
        assert batch_length(3) == 3


def test_one_process_sees_what_is_there() -> None:
    x = torch.randn(6, 2, requires_grad=True)
    assert gathered(x) is x
    assert torch.equal(batch_mean(x), x.mean(0))
    assert batch_length(6) == 6


def test_nothing_is_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [wanted(n) for n in (None, "2", 3, "x", "-1")] == [1, 2, 3, 1, 1]
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert wanted(2) == 1


def test_batches_that_cannot_be_shared(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="--processes 2"):
        musegen.train("vae", "toy", out="run", processes=2, quiet=True)
    bad(run("train", "vae", "toy", "--processes", "0"), "processes")
    monkeypatch.setenv("WORLD_SIZE", "2")
    bad(run("train", "vae", "toy", "--batch-size", "7"), "7 examples", "--batch-size 4 or a larger multiple of 2")
    bad(run("train", "vae", "toy", "--batch-size", "2"), "--batch-size 4")
    bad(run("train", "vae", "toy", "--device", "cuda:0"), "--device cuda:0 is one device")
    assert not Path("runs").exists()


# With processes


Popen = Callable[..., subprocess.Popen[str]]


def start(popen: Popen, arguments: list[str], rank: int, port: int) -> subprocess.Popen[str]:
    """One of two processes, as torchrun would start it."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    environment = os.environ | {name: str(value) for name, value in own.items()} | {"MASTER_ADDR": "127.0.0.1"}
    return popen([sys.executable, *arguments], env=environment)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.distributed
def test_two_processes_train_what_one_does(tmp_path: Path, popen: Popen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, buffers, metrics and generators, of every family; exact resume, on as many processes and on one."""
    helpers = Path(__file__).parents[1] / "helpers"
    monkeypatch.setenv(MEETING, str(tmp_path / "meeting"))
    both = [start(popen, [str(helpers / "together.py"), str(tmp_path / "out")], rank, 0) for rank in (0, 1)]
    for process in both:
        _, err = process.communicate()
        assert process.returncode == 0, err
    for rank in (0, 1):
        found = json.loads((tmp_path / f"out.{rank}").read_text())
        assert len(found) > 50
        assert {name: problems for name, problems in found.items() if problems} == {}


TRAIN = ["-m", "musegen", "train", "vae", "image", "--steps", "1000000", "--batch-size", "8", "--set", "widths=[16]"]
TRAIN += [
    "--log-every",
    "5",
    "--checkpoint-every",
    "10",
    "--validate-every",
    "0",
    "--sample-every",
    "0",
    "--device",
    "cpu",
]


def launch(popen: Popen, folder: Path) -> subprocess.Popen[str]:
    """A run of two processes that has logged a few steps."""
    process = popen([sys.executable, *TRAIN, "--processes", "2", "--out", str(folder)])
    wait_for_steps(folder, process, 4)
    return process


def processes_of(launcher: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    children = psutil.Process(launcher.pid).children()
    return {c.environ()["RANK"]: c for c in children if c.environ().get(LAUNCHER) == str(launcher.pid)}


def lines(err: str) -> list[str]:
    """What was said, without progress."""
    return [line for line in err.splitlines() if not line.startswith("step ")]


@pytest.mark.distributed
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_killed_process_ends_the_run(tmp_path: Path, popen: Popen, rank: str) -> None:
    folder = tmp_path / "run"
    launcher = launch(popen, folder)
    children = processes_of(launcher)
    assert set(children) == {"0", "1"}
    children[rank].kill()
    _, err = launcher.communicate()
    assert launcher.returncode == 1
    (line,) = lines(err)
    assert line.startswith(f"Process {rank} of 2 was ended by SIGKILL")
    assert not any(child.is_running() for child in children.values())
    _, manifest = newest_checkpoint(folder / "checkpoints")
    musegen.resume(folder, steps=manifest["step"] + 2, processes=1, quiet=True)


@pytest.mark.distributed
def test_a_process_that_lost_another_says_so(tmp_path: Path, popen: Popen) -> None:
    """As torchrun, or a cluster's scheduler, starts them: nobody watches but the processes themselves."""
    folder, port = tmp_path / "run", free_port()
    first, second = (start(popen, [*TRAIN, "--out", str(folder)], rank, port) for rank in (0, 1))
    wait_for_steps(folder, first, 4)
    second.kill()
    _, err = first.communicate()
    second.communicate()
    assert first.returncode == 1
    (line,) = lines(err)
    assert line.startswith("Another process of this run was lost")
    newest_checkpoint(folder / "checkpoints")


@pytest.mark.distributed
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_once_and_ends_all(tmp_path: Path, popen: Popen, number: int, code: int) -> None:
    folder = tmp_path / "run"
    launcher = launch(popen, folder)
    launcher.send_signal(number)
    _, err = launcher.communicate()
    assert launcher.returncode == code
    (line,) = lines(err)
    _, manifest = newest_checkpoint(folder / "checkpoints")
    assert line.startswith(f"Interrupted at step {manifest['step']}; saved.")


@pytest.mark.distributed
def test_processes_end_with_who_started_them(tmp_path: Path, popen: Popen) -> None:
    folder = tmp_path / "run"
    launcher = launch(popen, folder)
    children = list(processes_of(launcher).values())
    launcher.kill()
    launcher.wait()
    psutil.wait_procs(children)
    newest_checkpoint(folder / "checkpoints")


@pytest.mark.distributed
def test_runs_end_well_and_go_on_in_any_number_of_processes(tmp_path: Path) -> None:
    """gloo must not abort a process on its way out; what was learnt in two processes goes on in one and in three."""
    train = ["-m", "musegen", "train", "vae", "image", "--steps", "4", "--batch-size", "12", "--validate-every", "2"]
    train += ["--validate-examples", "30", "--sample-every", "0", "--device", "cpu", "--set", "widths=[16]"]
    train += ["--processes", "2", "--quiet"]
    done = subprocess.run([sys.executable, *train, "--out", str(tmp_path / "run")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    found = []
    for n in (1, 2, 3):
        shutil.copytree(tmp_path / "run", tmp_path / str(n))
        resume = ["-m", "musegen", "resume", str(tmp_path / str(n)), "--steps", "8", "--processes", str(n), "--quiet"]
        done = subprocess.run([sys.executable, *resume], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        run = Run.open(tmp_path / str(n))
        found.append((newest_checkpoint(run.checkpoints)[0]["weights"], run.metrics()))
    (one, metrics), *others = found
    for weights, figures in others:
        for name, tensor in one.items():
            torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-5, equal_nan=True)
        assert [row["kind"] for row in figures] == [row["kind"] for row in metrics]
        for row, expected in zip(figures, metrics, strict=True):
            if row["kind"] == "valid":  # 30 examples in three batches: shares of 3, of 2 and 1, and of 1 each
                numbers = {name: value for name, value in expected.items() if name != "kind"}
                assert {name: row[name] for name in row if name != "kind"} == pytest.approx(numbers, rel=1e-5)
