"""A run from its first step to its last: data, checkpoints, validation, samples, logs, interruption.

run = train("vae", "image", out="runs/digits", steps=2000, latent_dim=10)
run = resume("runs/digits", steps=4000)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from musegen.contracts.domain import Data
from musegen.contracts.survey import counted
from musegen.data.streaming import automatic_memory
from musegen.engine.checkpoint import newest_checkpoint
from musegen.engine.devices import choose_device
from musegen.engine.processes import Processes, joined
from musegen.errors import BadInput
from musegen.options import load_yaml
from musegen.running.runs import NewRun, Resolved, Run, resolve
from musegen.running.session import Session

__all__ = ["resume", "train"]

NOT_OPTIONS = ("format", "family", "domain", "data")
MAY_CHANGE = {"steps", "minutes", "device", "processes", "compile", "early_stop", "tensorboard", "samples"}
"""Options that a run may go on with otherwise; and how often to log, save and so on."""


def train(
    family: str,
    domain: str,
    *,
    out: str | Path,
    data: str | Path | None = None,
    config: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Train a family on a domain.

    Args:
        family, domain: names; see ``musegen families`` and ``musegen domains``.
        out: the run folder to create.
        data: a file or folder; the domain's own data if not given.
        config: a YAML file of options; ``options`` win over it.
        overwrite: replace an older run of that name.
        quiet: no progress on the terminal.
        options: of the run, the family and the domain alike.

    Raises:
        BadInput: what, where, what to do. Nothing is left behind.
        TrainingDiverged: a loss became NaN or infinite; the last good checkpoint is kept.
        Interrupted: by a signal; the run is saved.

    >>> import musegen
    >>> run = musegen.train("vae", "image", out="runs/digits", steps=2, latent_dim=8, validate_examples=8, quiet=True)
    >>> run.metrics()[-1]["step"], musegen.load(run.path).sample(4).shape
    (2, torch.Size([4, 1, 28, 28]))
    """
    from_file: Mapping[str, Any] = load_yaml(Path(config)) if config is not None else {}
    data = data if data is not None else from_file.get("data")
    merged = {name: value for name, value in from_file.items() if name not in NOT_OPTIONS} | options
    asked = resolve(family, domain, merged, data)
    with joined(asked.run) as (processes, device):
        with processes.together():
            if processes.main:
                session = _new(asked, out, overwrite, quiet, processes, choose_device(device))
        with processes.together():
            if not processes.main:
                run = Run.open(out)
                session = _opened(run, run.config(), quiet, processes, choose_device(device))
                session.prepare()
        session.fit()
    return session.run


def _new(
    asked: Resolved, out: str | Path, overwrite: bool, quiet: bool, processes: Processes, device: torch.device
) -> Session:
    """A run folder and what is about to train in it; nothing is left behind where that fails."""
    with NewRun(out, overwrite) as new:
        opened, splits = asked.open(new.temporary / "data")
        memory = asked.run.device_memory or automatic_memory(splits.splits.values(), device)
        resolved = replace(asked, domain_config=opened.config, run=replace(asked.run, device_memory=memory))
        draft = Run(new.temporary)
        draft.write_config(resolved)
        draft.write_environment(resolved, splits.fingerprint, splits.description)
        draft.write_skipped(splits.skipped)
        session = Session(draft, resolved, opened, splits, device, quiet, processes)
        session.prepare()
        session.run = new.commit()
    if not quiet:
        _tell(splits, Path(out))
    return session


def _tell(data: Data, out: Path) -> None:
    """How the data were taken, and what was left out."""
    for remark in data.remarks:
        print(f"data: {remark}", file=sys.stderr)
    if data.skipped:
        print(f"left out: {counted(data.skipped)} (see {out / 'skipped.csv'})", file=sys.stderr)


def _opened(run: Run, resolved: Resolved, quiet: bool, processes: Processes, device: torch.device) -> Session:
    """What is about to train in a run folder that exists.

    Raises:
        BadInput: its data are others by now.
    """
    opened, splits = resolved.open(run.path / "data")
    if splits.fingerprint != run.environment()["data"]["sha256"]:
        raise BadInput(f"The data of {run.path} have changed since it was started: restore them, or start a new run.")
    return Session(run, resolved, opened, splits, device, quiet, processes)


def resume(path: str | Path, *, quiet: bool = False, **options: Any) -> Run:
    """Continue a run exactly where its newest intact checkpoint was taken; from its beginning, if it was killed before the first.

    Args:
        path: the run folder.
        options: of the run that may change: ``steps``, ``minutes``, ``device``, ``processes``, ``compile``, and how often to
            log, save and sample.

    Raises:
        BadInput: no run there, no intact checkpoint, other data, an option that would change what was learnt, nothing left to do.
        TrainingDiverged, Interrupted: as ``train``.

    >>> import musegen
    >>> run = musegen.train("ae", "image", out="run", steps=2, widths=[16], validate_every=0, sample_every=0, quiet=True)
    >>> musegen.resume(run.path, steps=4, quiet=True).metrics()[-1]["step"]
    4
    """
    run = Run.open(path)
    resolved = _changed(run.config(), options)
    with joined(resolved.run) as (processes, device):
        with processes.together():
            further = options.get("steps") is not None
            session = _resumed(run, resolved, further, quiet, processes, choose_device(device))
        step = session.engine.step_count
        found = processes.as_first({"step": step})["step"]
        with processes.together():
            if found != step:
                raise BadInput(
                    f"Not all processes see the same checkpoints of {path}: put the run on storage that they share."
                )
            if processes.main:
                run.rewind_metrics(step)
                run.write_config(resolved)
        session.fit()
    return run


def _changed(resolved: Resolved, options: Mapping[str, Any]) -> Resolved:
    """A run's configuration with other options.

    Raises:
        BadInput: one of them cannot change any more.
    """
    fixed = [name for name in options if name not in MAY_CHANGE and not name.endswith("_every")]
    if fixed:
        raise BadInput(f'"{fixed[0]}" cannot change in the middle of a run: start a new one with musegen train.')
    flat = {name: value for name, value in resolved.as_dict().items() if name not in NOT_OPTIONS}
    given = {name: value for name, value in options.items() if value is not None}
    return resolve(resolved.family.name, resolved.domain.name, flat | given, resolved.data)


def _resumed(
    run: Run, resolved: Resolved, further: bool, quiet: bool, processes: Processes, device: torch.device
) -> Session:
    """A run as its newest intact checkpoint left it, or as it began.

    Args:
        further: somebody has asked for more steps; else a run that only lacks its calibration gets that.

    Raises:
        BadInput: no checkpoint is intact; nothing is left to do.
    """
    if run.killed_before_its_first_checkpoint:
        session = _opened(run, resolved, quiet, processes, device)
        session.prepare()
        return session
    parts, manifest = newest_checkpoint(run.checkpoints)
    uncalibrated, all_steps = run.uncalibrated.exists(), manifest["step"] >= resolved.run.steps
    if all_steps and not uncalibrated:
        raise BadInput(f"The run {run.path} has done its {manifest['step']} steps: give more with --steps N.")
    session = _opened(run, resolved, quiet, processes, device)
    session.engine.load_state(parts, manifest["step"], manifest["state"]["history"])
    session.best = manifest["state"]["best"]
    session.trained = all_steps or (uncalibrated and not further)
    return session
