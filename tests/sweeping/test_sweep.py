"""Families × options × seeds, as a file says."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Result
from hypothesis import given
from hypothesis import strategies as st

from musegen.errors import BadInput
from musegen.running.runs import Run
from musegen.sweeping.plan import read_sweep
from musegen.sweeping.runner import is_done

OPTIONS = {"steps": 4, "batch_size": 8, "validate_every": 2, "validate_examples": 8, "sample_every": 0, "device": "cpu"}
SWEEP: dict[str, Any] = {
    "out": "sweep",
    "family": ["vae", "ae"],
    "domain": "image",
    "options": {**OPTIONS, "widths": [8]},
    "vary": {"latent_dim": [2, 3]},
    "for": {"vae": {"beta": 0.5}},
    "evaluate": {"n": 4, "k": 1},
}


def written(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({name: value for name, value in (SWEEP | changes).items() if value is not None}))
    return path


@given(st.integers(1, 3), st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True))
def test_every_run_is_there_once(tmp_path_factory: pytest.TempPathFactory, seeds: int, sizes: list[int]) -> None:
    path = written(tmp_path_factory.mktemp("sweep") / "sweep.yaml", seeds=seeds, vary={"latent_dim": sizes})
    plans = read_sweep(path)
    assert len({planned.path for planned in plans}) == len(plans) == 2 * seeds * len(sizes)
    wanted = {(f, n, seed) for f in ("vae", "ae") for n in sizes for seed in range(seeds)}
    assert {(p.family, p.options["latent_dim"], p.options["seed"]) for p in plans} == wanted
    assert all(p.options.get("beta") == (0.5 if p.family == "vae" else None) for p in plans)
    assert all(p.evaluate is not None for p in plans)
    assert [p.options["seed"] for p in plans] == sorted(p.options["seed"] for p in plans)


def test_a_family_that_neither_samples_nor_scores_is_not_evaluated(tmp_path: Path) -> None:
    changes = {
        "family": ["vae", "ada"],
        "vary": {"seed": [0]},
        "options": {"steps": 1, "target": "inverted"},
        "for": None,
    }
    plans = read_sweep(written(tmp_path / "sweep.yaml", **changes))
    assert [p.evaluate is None for p in plans] == [p.family == "ada" for p in plans]


def test_names_are_safe_and_apart(tmp_path: Path) -> None:
    values = ["../x", "a b", "a/b", "a_b" * 80, "a_b" * 80 + "c"]
    path = written(tmp_path / "s.yaml", family="vae", domain="array", vary={"labels": values}, options={"steps": 1})
    names = [planned.name for planned in read_sweep(path)]
    assert all("/" not in name and not name.startswith(".") and len(name) < 140 for name in names)
    assert names[0] == "vae-labels=.._x-seed=0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": None}, "has no line out"),
        ({"famly": "vae"}, 'a line "famly", which says nothing of a sweep'),
        ({"family": []}, "family must be a name or a list of names"),
        ({"family": ["vae", "vea"]}, 'no family "vea"'),
        ({"vary": {"latent_dim": 3}}, "vary: latent_dim must be a list"),
        ({"vary": {"latent_dims": [3]}}, 'no option "latent_dims"'),
        ({"vary": {"latent_dim": [3, -3]}}, "latent_dim=-3 is invalid"),
        ({"options": ["steps"]}, "options must be names and values"),
        ({"options": {"decoder": "evil.py:X"}}, 'no option "decoder"'),
        ({"for": {"gan": {}}}, '"gan", which is no family of the sweep'),
        ({"seeds": 0}, "seeds must be how many"),
        ({"seeds": [-1]}, "seeds must be how many"),
        ({"seeds": 10**9}, "more than 10,000"),
        ({"evaluate": {"m": 3}}, "evaluate takes n, k, seed, split"),
    ],
)
def test_what_is_no_sweep_is_refused_before_anything_is_trained(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        read_sweep(written(tmp_path / "sweep.yaml", **changes))
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_a_sweep_trains_evaluates_and_compares_and_goes_on(run: Callable[..., Result], tmp_path: Path) -> None:
    written(tmp_path / "sweep.yaml", seeds=1, vary={"latent_dim": [2]})
    printed = run("sweep", "sweep.yaml", "--print").out.splitlines()
    assert [line.split()[-1] for line in printed] == ["vae-latent_dim=2-seed=0", "ae-latent_dim=2-seed=0"]
    assert all(line.startswith("musegen sweep ") for line in printed)
    assert not (tmp_path / "sweep").exists()
    assert run(*printed[0].split()[1:], "--quiet").code == 0  # as a scheduler would
    assert run("sweep", "sweep.yaml", "--print").out.splitlines() == printed[1:]
    both = run("sweep", "sweep.yaml", "--jobs", 2)
    assert both.code == 0, both.err
    assert "1/1 ae-latent_dim=2-seed=0: done in" in both.err
    assert "vae" in both.out
    assert json.loads((tmp_path / "sweep/vae-latent_dim=2-seed=0/evaluation.json").read_text())["n_samples"] == 4
    again = run("sweep", "sweep.yaml")
    assert (again.code, again.err) == (0, "")
    # More steps: each run goes on, and is evaluated again.
    before = (tmp_path / "sweep/vae-latent_dim=2-seed=0/evaluation.json").read_bytes()
    written(tmp_path / "sweep.yaml", seeds=1, vary={"latent_dim": [2]}, options=SWEEP["options"] | {"steps": 30})
    (vae, ae) = read_sweep(tmp_path / "sweep.yaml")
    assert (is_done(vae), is_done(ae)) == (False, False)
    assert run("sweep", "sweep.yaml", "--only", vae.name, "--quiet").code == 0
    assert Run(vae.path).metrics()[-1]["step"] == 30
    assert (vae.path / "evaluation.json").read_bytes() != before
    assert is_done(vae)
    # Other options: other runs.
    written(tmp_path / "sweep.yaml", seeds=1, vary={"latent_dim": [2]}, options=SWEEP["options"] | {"batch_size": 4})
    other = run("sweep", "sweep.yaml")
    assert (other.code, "was made with other options than the sweep says now" in other.err) == (2, True)
    stranger = tmp_path / "sweep" / f".{vae.name}.json"
    stranger.unlink()
    assert "is of no sweep" in run("sweep", "sweep.yaml").err
    assert 'no run "vae"' in run("sweep", "sweep.yaml", "--only", "vae").err


def test_a_run_that_fails_costs_only_itself(run: Callable[..., Result], tmp_path: Path) -> None:
    written(tmp_path / "sweep.yaml", vary=None, data="pictures")
    (tmp_path / "pictures").mkdir()
    result = run("sweep", "sweep.yaml", "--jobs", 2)
    assert result.code == 2
    assert result.err.count("failed:") == 2
    assert "2 of 2 runs failed (vae-seed=0, ae-seed=0): look into sweep/vae-seed=0.log" in result.err
    assert "pictures" in (tmp_path / "sweep/vae-seed=0.log").read_text()


def test_networks_of_ones_own(run: Callable[..., Result], tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "helpers" / "own_decoder.py", tmp_path / "mine.py")
    written(tmp_path / "sweep.yaml", vary=None, family="vae", **{"for": None})
    result = run("sweep", "sweep.yaml", "--network", "decoder=mine.py:Shaped")
    assert result.code == 0, result.err
    assert "mine.py" in (tmp_path / "sweep/vae-seed=0/environment.json").read_text()


def test_a_signal_is_passed_on_and_the_same_command_goes_on(tmp_path: Path, popen: Callable[..., Any]) -> None:
    options = SWEEP["options"] | {"steps": 100_000, "checkpoint_every": 10}
    written(tmp_path / "sweep.yaml", vary=None, family="vae", options=options, evaluate=False, **{"for": None})
    command = [
        sys.executable,
        "-c",
        "import sys; from musegen.cli import main; sys.exit(main())",
        "sweep",
        "sweep.yaml",
    ]
    process = popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    folder, until = tmp_path / "sweep" / "vae-seed=0", time.monotonic() + 120
    while not list(folder.glob("checkpoints/step_*[1-9]0/manifest.json")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    assert "The same command goes on." in said
    assert "Interrupted at step" in (tmp_path / "sweep" / "vae-seed=0.log").read_text()
    (planned,) = read_sweep(tmp_path / "sweep.yaml")
    assert Run(folder).state()[1] is not None
    assert not is_done(type(planned)(**{**vars(planned), "path": folder}))
