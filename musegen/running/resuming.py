"""How a run goes on: what may change, where its data are by now, and where its checkpoint left it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from musegen.contracts.domain import Data, Domain
from musegen.contracts.family import Family, build
from musegen.engine.checkpoint import newest_checkpoint
from musegen.engine.processes import Processes
from musegen.engine.rates import learning_rate_factor, learning_rates
from musegen.engine.shared_state import seeded
from musegen.errors import BadInput, MusegenWarning
from musegen.running.beginning import short
from musegen.running.callbacks import Callback
from musegen.running.config import RunConfig
from musegen.running.own import IN_MEMORY
from musegen.running.resolved import Resolved, resolve
from musegen.running.runs import Run, State
from musegen.running.session import Session

__all__ = ["NOT_OPTIONS", "changed", "opened", "resumed"]

NOT_OPTIONS = ("format", "family", "domain", "data")
"""Names in a ``config.yaml`` that are no options."""
OF_THE_RATE = ("learning_rate", "schedule")
MAY_CHANGE = {
    "steps",
    "minutes",
    "device",
    "processes",
    "compile",
    "early_stop",
    "tensorboard",
    "trackers",
    "samples",
    *OF_THE_RATE,
}
"""Options that a run may go on with otherwise; and how often to log, save and so on."""
JUMP = 0.05
"""A learning rate that differs by less from what was planned is not worth a word."""


def changed(resolved: Resolved, options: Mapping[str, Any], data: str | Path | Data | None = None) -> Resolved:
    """A run's configuration with other options, or with its data in another place, or in memory. Where ``learning_rate`` names
    players, the others keep their rates.

    Raises:
        BadInput: one of them cannot change any more.
    """
    fixed = [name for name in options if name not in MAY_CHANGE and not name.endswith("_every")]
    if fixed:
        raise BadInput(f'"{fixed[0]}" cannot change in the middle of a run: start a new one with musegen train.')
    flat = {name: value for name, value in resolved.as_dict().items() if name not in NOT_OPTIONS}
    given = {name: value for name, value in options.items() if value is not None}
    own, where = resolved.own, data
    if isinstance(data, Data):
        own, where = replace(own, data=data), IN_MEMORY
    assert not isinstance(where, Data)
    source = resolved.data if where is None else where
    new = resolve(resolved.family.name, resolved.domain.name, flat | given, source, own)
    if "learning_rate" in given and isinstance(new.run.learning_rate, dict):
        rates = _rates_before(resolved) | new.run.learning_rate
        new = replace(new, run=replace(new.run, learning_rate=rates))
    return new


def _rates_before(resolved: Resolved) -> dict[str, float]:
    """The learning rates that a run has so far, of players that have another than their family's."""
    rate = resolved.run.learning_rate
    if rate is None or isinstance(rate, dict):
        return rate or {}
    with seeded(resolved.run.seed, torch.device("cpu")):  # which its players are may depend on its networks
        family = build(resolved.family, resolved.family_config, resolved.make_domain())
    return dict.fromkeys(family.players, rate)


def opened(
    run: Run,
    resolved: Resolved,
    quiet: bool,
    processes: Processes,
    device: torch.device,
    moved: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Session:
    """What is about to train in a run folder that exists.

    Args:
        moved: its data are said to be in another place than when it began.

    Raises:
        BadInput: its data are others by now, or not there.
    """
    if moved:
        domain, data = _from_another_place(run, resolved)
    else:
        try:
            domain, data = resolved.open(run.path / "data")
        except BadInput as error:
            if resolved.data in (None, IN_MEMORY) or Path(str(resolved.data)).exists():
                raise
            raise BadInput(
                f"The data of {run.path} are not in {resolved.data} any more: say where they are with data=PATH."
            ) from error
        if data.fingerprint != run.environment()["data"]["sha256"]:
            raise BadInput(
                f"The data of {run.path} have changed since it was started: restore them, say where they are with data=PATH, or "
                "start a new run."
            )
    return Session(run, resolved, domain, data, device, quiet, processes, callbacks)


def _from_another_place(run: Run, resolved: Resolved) -> tuple[Domain, Data]:
    """The data of a run in a place where they were not when it began.

    Raises:
        BadInput: they are others; how they differ.
    """
    # What the run keeps of its data must not stand in for them. And what is mapped from there stays readable.
    with tempfile.TemporaryDirectory() as cache:
        domain, data = resolved.open(Path(cache))
    recorded, own, found = run.environment()["data"], resolved.domain_config, domain.config
    other = [
        f"{f.name}={short(getattr(found, f.name))} (the run: {short(getattr(own, f.name))})"
        for f in fields(own)
        if getattr(own, f.name) != getattr(found, f.name)
    ]
    if other or data.fingerprint != recorded["sha256"]:
        if data.description != recorded["description"]:
            other.append(f"{data.description} (the run: {recorded['description']})")
        what = "; ".join(other) or "there are as many, and their contents differ"
        where = "handed over" if resolved.data == IN_MEMORY else f"in {resolved.data}"
        raise BadInput(
            f"The data {where} are not those of {run.path}: {what}. Give the same data, or begin a new run with its "
            f"weights: init={run.path}."
        )
    return domain, data


def resumed(
    run: Run,
    resolved: Resolved,
    asked: Mapping[str, Any],
    quiet: bool,
    processes: Processes,
    device: torch.device,
    moved: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Session:
    """A run as its newest intact checkpoint left it, or as it began.

    Args:
        resolved: with the options that it goes on with.
        asked: those that somebody asked for now; without more steps, a run that is trained is only brought to its end.

    Raises:
        BadInput: no checkpoint is intact; nothing is left to do; other data.
    """
    if run.killed_before_its_first_checkpoint:
        session = opened(run, resolved, quiet, processes, device, moved, callbacks)
        session.prepare()
        return session
    parts, manifest = newest_checkpoint(run.checkpoints)
    step, further = manifest["step"], asked.get("steps") is not None
    state, all_steps = _state(run, manifest), step >= resolved.run.steps
    if all_steps and state == State.DONE:
        raise BadInput(f"The run {run.path} has done its {step} steps: give more, such as steps={2 * step}.")
    session = opened(run, resolved, quiet, processes, device, moved, callbacks)
    with session.generators:
        session.engine.load_state(parts, step, manifest["state"]["history"])
    session.best, session.saved = manifest["state"]["best"], step
    session.trained = all_steps or (state == State.TRAINED and not further)
    if processes.main and not session.trained and all(asked.get(name) is None for name in OF_THE_RATE):
        _say_jump(session.engine.family, run.config().run, resolved.run, step)
    return session


def _state(run: Run, manifest: Mapping[str, Any]) -> State:
    """How far a run is with its newest checkpoint: a kill may have come between that and what the run says of it."""
    state, step = run.state()
    if step == manifest["step"]:
        return state
    return State.TRAINED if manifest["state"].get("trained") else State.RUNNING


def _say_jump(family: Family, before: RunConfig, after: RunConfig, step: int) -> None:
    """Say that more steps change the learning rate of the next step, if they do."""

    def rates(config: RunConfig, step: int) -> dict[str, float]:
        factor = learning_rate_factor(config, step)
        return {name: factor * rate for name, rate in learning_rates(config, family.players).items()}

    last, planned, new = rates(before, step - 1), rates(before, step), rates(after, step)
    jumps = {
        f"from {last[name]:.2g} to {new[name]:.2g}": name
        for name in new
        if abs(new[name] - planned[name]) > JUMP * max(new[name], planned[name])
    }
    if not jumps or not step:
        return
    told = next(iter(jumps)) if len(jumps) == 1 else ", ".join(f"{how} ({name})" for how, name in jumps.items())
    warnings.warn(
        f"The learning rate jumps {told} at step {step + 1}, because its {after.schedule} schedule now ends at step "
        f"{after.steps}. To choose it yourself, give learning_rate=1e-4 or another, with schedule=constant.",
        MusegenWarning,
        stacklevel=2,
    )
