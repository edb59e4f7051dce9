"""A run from its first step to its last: data, checkpoints, validation, samples, logs, interruption.

run = train("vae", "image", out="runs/digits", steps=2000, latent_dim=10)
run = resume("runs/digits", steps=4000)
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch

from musegen.contracts.domain import Data, Domain
from musegen.contracts.family import Family
from musegen.contracts.survey import counted
from musegen.data.held import held
from musegen.data.streaming import automatic_memory
from musegen.engine.devices import choose_device
from musegen.engine.processes import Processes, joined
from musegen.engine.shared_state import in_float32
from musegen.errors import BadInput
from musegen.folders import NewFolder
from musegen.options import load_yaml
from musegen.reporting import say
from musegen.running.beginning import compare_with_data, with_options_of
from musegen.running.callbacks import Callback
from musegen.running.keeping import keep
from musegen.running.own import IN_MEMORY, Own, check_used, completed, handed_over
from musegen.running.own_networks import NetworkMaker
from musegen.running.resolved import Resolved, resolve
from musegen.running.resuming import NOT_OPTIONS, changed, opened, resumed
from musegen.running.runs import Run, State, new_run
from musegen.running.session import Session

if TYPE_CHECKING:
    from musegen.known_options import Options, RunOptions  # which type checkers alone can see

__all__ = ["resume", "train"]


@in_float32()
def train(
    family: str | type[Family],
    domain: str | type[Domain] | Domain,
    *,
    out: str | Path,
    data: Any = None,
    config: str | Path | None = None,
    init: str | Path | None = None,
    encoder: NetworkMaker | None = None,
    decoder: NetworkMaker | None = None,
    discriminator: NetworkMaker | None = None,
    autoregressive: NetworkMaker | None = None,
    callbacks: Sequence[Callback] = (),
    overwrite: bool = False,
    quiet: bool = False,
    options: Mapping[str, Any] | None = None,
    **named: Unpack[Options],
) -> Run:
    """Train a family on a domain.

    Args:
        family, domain: names, see ``musegen families`` and ``musegen domains``; or classes of your own. An instance of a domain
            also brings its options.
        out: the run folder to create.
        data: a file or folder; the domain's own data if not given. Or data in memory: examples ``(N, *S)``, a tensor or an
            array; a pair of these and labels ``(N,)``; a torch ``Dataset``; or a dict of these by split. The domain ``array``
            takes any shape. Arrays of up to 1 GB are kept in the run folder; for others, whoever resumes the run hands over the
            same.
        config: a YAML file of options; those given here win over it.
        init: begin with the weights of this model, as far as they fit: a run folder, a model file, or the name of one that ships.
            Options of the family and the domain are then the model's, unless they are set.
        encoder, decoder, discriminator, autoregressive: networks in the place of the domain's: a module, which is copied, or a
            function of what is wanted (``musegen.contracts.domain.Encoder`` and so on) and of the ``Spec``, if it takes two
            arguments, such as a class; or ``"FILE.py:NAME"``. They are tried at once. A run folder holds no code: to resume or
            load the run elsewhere, hand over the same.
        callbacks: called with a ``Moment`` after every log point, every validation and at the end; True stops the training.
        overwrite: replace an older run of that name.
        quiet: no progress on the terminal.
        options: more options by name: those of plugins, which type checkers do not know, and such as ``domain.channels``.
        named: options of the run, the family and the domain alike.

    Raises:
        BadInput: what, where, what to do. Nothing is left behind.
        TrainingDiverged: a loss became NaN or infinite; the last good checkpoint is kept.
        Interrupted: by a signal; the run is saved.

    >>> import musegen
    >>> run = musegen.train("vae", "image", out="runs/digits", steps=2, latent_dim=8, validate_examples=8, quiet=True)
    >>> run.metrics()[-1]["step"], musegen.load(run.path).sample(4).shape
    (2, torch.Size([4, 1, 28, 28]))

    With data and a network of your own:

    >>> import torch
    >>> from torch import nn
    >>> x = torch.randn(100, 8)
    >>> def decoder(wanted):
    ...     return nn.Sequential(nn.Linear(wanted.n_code, 16), nn.Unflatten(1, (2, 8)))  # location and raw scale
    >>> run = musegen.train("vae", "array", data=x, decoder=decoder, out="runs/own", steps=2, latent_dim=3, quiet=True)
    >>> musegen.load(run).sample(4).shape
    torch.Size([4, 8])
    """
    from_file: Mapping[str, Any] = load_yaml(config) if config is not None else {}
    networks = {
        "encoder": encoder,
        "decoder": decoder,
        "discriminator": discriminator,
        "autoregressive": autoregressive,
    }
    family, domain, own, brought = handed_over(family, domain, networks)
    users_own: dict[str, Any] = {**(options or {}), **named}
    options = {name: value for name, value in brought.items() if name.partition(".")[2] not in users_own} | users_own
    data, own = _source(data if data is not None else from_file.get("data"), own)
    merged = {name: value for name, value in from_file.items() if name not in NOT_OPTIONS} | options
    init = init if init is not None else merged.get("init")
    if init is not None:
        merged = with_options_of(init, own.family_class(family), own.domain_class(domain), merged, own)
    asked = resolve(family, domain, merged, data, own)
    # A config.yaml of an older run has everything, also what the data of that run decided.
    users = {name.rpartition(".")[2] for name in [*options, *([] if "format" in from_file else from_file)]}
    # The scope ends after the last step: until then the folder is this process's.
    with joined(asked.run) as (processes, device), contextlib.ExitStack() as scope:
        with processes.together():
            if processes.main:
                new = scope.enter_context(new_run(out, overwrite))
                session = _new(new, asked, users, quiet, processes, choose_device(device), callbacks)
        with processes.together():
            if not processes.main:
                run = Run.open(out, own)
                session = opened(run, run.config(), quiet, processes, choose_device(device))
                session.prepare()
        session.fit()
    return session.run


def _source(data: Any, own: Own) -> tuple[str | Path | None, Own]:
    """Where data are, and what is the program's own, with data in memory.

    Raises:
        BadInput: they are no data, or those of another run, in memory then.
    """
    if isinstance(data, str) and data == IN_MEMORY:
        raise BadInput("These options are of a run whose data were handed over in memory: hand over data, data=….")
    if data is None or isinstance(data, (str, Path)):
        return data, own
    return IN_MEMORY, replace(own, data=held(data))


def _new(
    new: NewFolder,
    asked: Resolved,
    users: Collection[str],
    quiet: bool,
    processes: Processes,
    device: torch.device,
    callbacks: Sequence[Callback],
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
    draft = Run(new.temporary, asked.own)
    draft.write_config(resolved)
    draft.write_skipped(splits.skipped)
    session = Session(draft, resolved, domain, splits, device, quiet, processes, callbacks)
    session.prepare()
    left = keep(asked.own.data, new.temporary / "data") if asked.own.data is not None else ""
    taken = None if session.taken is None else {"model": resolved.run.init, **session.taken.as_dict()}
    draft.write_environment(resolved, splits.fingerprint, splits.description, taken)
    draft.write_state(State.PLANNED, None)
    own = replace(asked.own, data=asked.own.data if left else None)
    session.run = Run(new.commit(), own)
    if not quiet:
        _tell(splits, Path(new.given))
    if left and not quiet:
        say(f"data: not kept in the run folder, {left}: to resume the run, hand over the same, data=….")
    return session


def _tell(data: Data, out: Path) -> None:
    """How the data were taken, and what was left out."""
    for remark in data.remarks:
        say(f"data: {remark}")
    if data.skipped:
        say(f"left out: {counted(data.skipped)} (see {out / 'skipped.csv'})")


@in_float32()
def resume(
    path: str | Path | Run,
    *,
    data: Any = None,
    family: type[Family] | None = None,
    domain: type[Domain] | None = None,
    encoder: NetworkMaker | None = None,
    decoder: NetworkMaker | None = None,
    discriminator: NetworkMaker | None = None,
    autoregressive: NetworkMaker | None = None,
    callbacks: Sequence[Callback] = (),
    quiet: bool = False,
    **options: Unpack[RunOptions],
) -> Run:
    """Continue a run exactly where its newest intact checkpoint was taken; from its beginning, if it was killed before the first.

    Args:
        path: the run folder, or what ``train`` returned, which knows the objects that it was given.
        data: where its data are by now, if they have moved; or data in memory. They must be the same.
        family, domain, encoder, decoder, discriminator, autoregressive: what was handed over to ``train``.
        callbacks: as for ``train``.
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
    networks = {
        "encoder": encoder,
        "decoder": decoder,
        "discriminator": discriminator,
        "autoregressive": autoregressive,
    }
    run = Run.open(path)
    run.own = own = completed(run.own, family, domain, networks)
    moved = held(data) if data is not None and not isinstance(data, (str, Path)) else data
    resolved = changed(run.config(), options, moved)
    check_used(own, resolved.own, f"The run {run.path}")
    with joined(resolved.run) as (processes, device), contextlib.ExitStack() as scope:
        with processes.together():
            if processes.main:
                scope.enter_context(run.claimed())
                run.tidy()
        with processes.together():
            resolved = changed(run.config(), options, moved)  # until now another process may have been at it
            where = choose_device(device)
            session = resumed(run, resolved, options, quiet, processes, where, moved is not None, callbacks)
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
