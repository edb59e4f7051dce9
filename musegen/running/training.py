"""A run from its first step to its last: data, checkpoints, validation, samples, logs, interruption.

run = train("vae", "image", out="runs/digits", steps=2000, latent_dim=10)
run = resume("runs/digits", steps=4000)
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from musegen.contracts.domain import Data
from musegen.contracts.survey import counted
from musegen.data.streaming import automatic_memory
from musegen.engine.devices import choose_device
from musegen.engine.processes import Processes, joined
from musegen.engine.shared_state import in_float32
from musegen.errors import BadInput
from musegen.folders import NewFolder
from musegen.options import load_yaml
from musegen.plugins import registry
from musegen.reporting import say
from musegen.running.beginning import compare_with_data, with_options_of
from musegen.running.resuming import NOT_OPTIONS, changed, opened, resumed
from musegen.running.runs import Resolved, Run, State, new_run, resolve
from musegen.running.session import Session

__all__ = ["resume", "train"]


@in_float32()
def train(
    family: str,
    domain: str,
    *,
    out: str | Path,
    data: str | Path | None = None,
    config: str | Path | None = None,
    init: str | Path | None = None,
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
        init: begin with the weights of this model, as far as they fit: a run folder, a model file, or the name of one that ships.
            Options of the family and the domain are then the model's, unless they are set.
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
    from_file: Mapping[str, Any] = load_yaml(config) if config is not None else {}
    data = data if data is not None else from_file.get("data")
    merged = {name: value for name, value in from_file.items() if name not in NOT_OPTIONS} | options
    init = init if init is not None else merged.get("init")
    if init is not None:
        merged = with_options_of(init, registry().family(family), registry().domain(domain), merged)
    asked = resolve(family, domain, merged, data)
    # A config.yaml of an older run has everything, also what the data of that run decided.
    users = {name.rpartition(".")[2] for name in [*options, *([] if "format" in from_file else from_file)]}
    # The scope ends after the last step: until then the folder is this process's.
    with joined(asked.run) as (processes, device), contextlib.ExitStack() as scope:
        with processes.together():
            if processes.main:
                new = scope.enter_context(new_run(out, overwrite))
                session = _new(new, asked, users, quiet, processes, choose_device(device))
        with processes.together():
            if not processes.main:
                run = Run.open(out)
                session = opened(run, run.config(), quiet, processes, choose_device(device))
                session.prepare()
        session.fit()
    return session.run


def _new(
    new: NewFolder,
    asked: Resolved,
    users: Collection[str],
    quiet: bool,
    processes: Processes,
    device: torch.device,
) -> Session:
    """A run folder and what is about to train in it; nothing is left behind where that fails.

    Args:
        users: names of the options that the user set.
    """
    domain, splits = asked.open(new.temporary / "data")
    others = compare_with_data(asked.domain_config, domain.config, users)
    if others and asked.run.init is not None and not quiet:
        say(f"Not as in {asked.run.init}, because the data decide it: {', '.join(others)}.")
    memory = asked.run.device_memory or automatic_memory(splits.splits.values(), device)
    resolved = replace(asked, domain_config=domain.config, run=replace(asked.run, device_memory=memory))
    draft = Run(new.temporary)
    draft.write_config(resolved)
    draft.write_skipped(splits.skipped)
    session = Session(draft, resolved, domain, splits, device, quiet, processes)
    session.prepare()
    taken = None if session.taken is None else {"model": resolved.run.init, **session.taken.as_dict()}
    draft.write_environment(resolved, splits.fingerprint, splits.description, taken)
    draft.write_state(State.PLANNED, None)
    session.run = Run(new.commit())
    if not quiet:
        _tell(splits, Path(new.given))
    return session


def _tell(data: Data, out: Path) -> None:
    """How the data were taken, and what was left out."""
    for remark in data.remarks:
        say(f"data: {remark}")
    if data.skipped:
        say(f"left out: {counted(data.skipped)} (see {out / 'skipped.csv'})")


@in_float32()
def resume(path: str | Path, *, data: str | Path | None = None, quiet: bool = False, **options: Any) -> Run:
    """Continue a run exactly where its newest intact checkpoint was taken; from its beginning, if it was killed before the first.

    Args:
        path: the run folder.
        data: where its data are by now, if they have moved; they must be the same.
        options: of the run that may change: ``steps``, ``minutes``, ``learning_rate``, ``schedule``, ``device``, ``processes``,
            ``compile``, and how often to log, save and sample.

    Raises:
        BadInput: no run there, no intact checkpoint, other data, an option that would change what was learnt, nothing left to do,
            or another process trains it.
        TrainingDiverged, Interrupted: as ``train``.

    >>> import musegen
    >>> run = musegen.train("ae", "image", out="run", steps=2, widths=[16], validate_every=0, sample_every=0, quiet=True)
    >>> musegen.resume(run.path, steps=4, quiet=True).metrics()[-1]["step"]
    4
    """
    run = Run.open(path)
    resolved = changed(run.config(), options, data)
    with joined(resolved.run) as (processes, device), contextlib.ExitStack() as scope:
        with processes.together():
            if processes.main:
                scope.enter_context(run.claimed())
                run.tidy()
        with processes.together():
            resolved = changed(run.config(), options, data)  # until now another process may have been at it
            moved = data is not None
            session = resumed(run, resolved, options, quiet, processes, choose_device(device), moved)
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
                if not session.trained and session.saved is not None:
                    run.write_state(State.RUNNING, step)
        session.fit()
    return run
