"""A run from its first step to its last: data, checkpoints, validation, samples, logs, interruption.

run = train("vae", "image", out="runs/digits", steps=2000, latent_dim=10)
run = resume("runs/digits", steps=4000)
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from musegen.contracts.dataset import Batch, Dataset, generator_for
from musegen.contracts.domain import Auxiliary, Data, Domain, Labelled, Target
from musegen.contracts.family import build
from musegen.contracts.piece import save
from musegen.data.arrays import View, balanced_subset
from musegen.data.batches import Batches
from musegen.data.streaming import automatic_memory
from musegen.engine.checkpoint import newest_checkpoint, prune, save_checkpoint
from musegen.engine.compiling import not_compiled
from musegen.engine.devices import choose_device, keep_freed_memory
from musegen.engine.engine import Engine
from musegen.engine.processes import ALONE, Processes, joined
from musegen.errors import BadInput, MusegenError, TrainingDiverged
from musegen.models.loading import load
from musegen.options import load_yaml
from musegen.probability.whole_batch import SharedBatch
from musegen.running.progress import Progress, TensorBoard
from musegen.running.runs import NewRun, Resolved, Run, resolve

__all__ = ["Interrupted", "resume", "train"]

CALIBRATION_EXAMPLES = 1024
"""Samples and training examples that ``Domain.calibrate`` gets to see."""

NOT_OPTIONS = ("format", "family", "domain", "data")


class Interrupted(MusegenError):
    """A first Ctrl-C or SIGTERM: the step was finished and the run saved.

    Attributes:
        exit_code: 130 or 143.
    """

    def __init__(self, signal_number: int, run: Run, step: int) -> None:
        super().__init__(f'Interrupted at step {step}; saved. Go on with: musegen resume "{run.path}"')
        self.exit_code = 128 + signal_number


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
    """
    from_file: Mapping[str, Any] = load_yaml(Path(config)) if config is not None else {}
    data = data if data is not None else from_file.get("data")
    merged = {name: value for name, value in from_file.items() if name not in NOT_OPTIONS} | options
    asked = resolve(family, domain, merged, data)
    with joined(asked.run) as (processes, device):
        with processes.together():
            if processes.main:
                session = _new_session(asked, out, overwrite, quiet, processes, choose_device(device))
        with processes.together():
            if not processes.main:
                run = Run.open(out)
                session = _session(run, run.config(), quiet, processes, choose_device(device))
                session.prepare()
        session.fit()
    return session.run


def _new_session(
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
    return session


def _session(run: Run, resolved: Resolved, quiet: bool, processes: Processes, device: torch.device) -> Session:
    """What is about to train in a run folder that exists.

    Raises:
        BadInput: its data are others by now.
    """
    opened, splits = resolved.open(run.path / "data")
    if splits.fingerprint != run.environment()["data"]["sha256"]:
        raise BadInput(f"The data of {run.path} have changed since it was started: restore them, or start a new run.")
    return Session(run, resolved, opened, splits, device, quiet, processes)


def resume(path: str | Path, *, quiet: bool = False, **options: Any) -> Run:
    """Continue a run exactly where its newest intact checkpoint was taken.

    Args:
        path: the run folder.
        options: of the run that may change: ``steps``, ``minutes``, ``device``, ``processes``, ``compile``, and how often to
            log, save and sample.

    Raises:
        BadInput: no run there, no intact checkpoint, other data, an option that would change what was learnt, nothing left to do.
    """
    run = Run.open(path)
    resolved = run.config()
    fixed = (
        set(options)
        - {"steps", "minutes", "device", "processes", "compile", "early_stop", "tensorboard", "samples"}
        - {name for name in options if name.endswith("_every")}
    )
    if fixed:
        raise BadInput(f'"{fixed.pop()}" cannot change in the middle of a run: start a new one with musegen train.')
    flat = {k: v for k, v in resolved.as_dict().items() if k not in NOT_OPTIONS} | {
        k: v for k, v in options.items() if v is not None
    }
    resolved = resolve(resolved.family.name, resolved.domain.name, flat, resolved.data)
    with joined(resolved.run) as (processes, device):
        with processes.together():
            parts, manifest = newest_checkpoint(run.checkpoints)
            if manifest["step"] >= resolved.run.steps:
                raise BadInput(f"The run {path} has done its {manifest['step']} steps: give more with --steps N.")
            session = _session(run, resolved, quiet, processes, choose_device(device))
            session.engine.load_state(parts, manifest["step"], manifest["state"]["history"])
            session.best = manifest["state"]["best"]
        found = processes.as_first({"step": manifest["step"]})["step"]
        with processes.together():
            if found != manifest["step"]:
                raise BadInput(
                    f"Not all processes see the same checkpoints of {path}: put the run on storage that they share."
                )
            if processes.main:
                run.rewind_metrics(manifest["step"])
                run.write_config(resolved)
        session.fit()
    return run


class Session:
    """What training holds in memory."""

    def __init__(
        self,
        run: Run,
        resolved: Resolved,
        domain: Domain,
        data: Data,
        device: torch.device,
        quiet: bool,
        processes: Processes = ALONE,
    ) -> None:
        self.run, self.resolved, self.domain, self.processes = run, resolved, domain, processes
        self.quiet = quiet or not processes.main
        config = self.config = resolved.run
        if config.early_stop and resolved.family.monitor is None:
            raise BadInput(
                f'The family "{resolved.family.name}" has no validation loss to stop on: set early_stop to 0.'
            )
        if device.type == "cpu":
            keep_freed_memory()
        # Weights, like everything random, follow from the seed.
        torch.manual_seed(config.seed)
        if config.precision == "float32":
            torch.set_float32_matmul_precision("highest")
        family = build(resolved.family, resolved.family_config, domain).to(device)
        family.sampling, family.n_examples = resolved.sampling, len(data.splits["train"])
        self.engine = Engine(family, config, processes)
        if self.engine.left_uncompiled and not self.quiet:
            left = " and ".join(self.engine.left_uncompiled)
            print(f"Not compiled: {left}, because a penalty on its gradient differentiates it twice.", file=sys.stderr)
        n = config.batch_size * family.minibatches
        wanted = resolved.family.auxiliary(resolved.family_config, domain.spec)
        memory = None if config.device_memory is None else int(1e9 * config.device_memory)

        def ready(dataset: Dataset) -> Dataset:
            return dataset.placed(device, memory, self.engine.batch_dtype)

        auxiliary = {name: ready(auxiliary_dataset(resolved, data, want)) for name, want in wanted.items()}
        self.batches = Batches(ready(data.splits["train"]), n, config.seed, device, auxiliary)
        valid = data.splits.get("valid")
        self.valid = None
        if valid is not None and len(valid) and config.validate_every:
            for name, want in wanted.items():
                if isinstance(want, Target) and "target_valid" in data.splits:
                    auxiliary[name] = ready(data.splits["target_valid"])
            self.valid = Batches(ready(valid), n, config.seed, device, auxiliary)
        elif config.early_stop:
            raise BadInput("early_stop needs validation data: set it to 0, or validate_every above 0.")
        self.best: dict[str, Any] = {"value": None, "step": None, "since": 0}
        self._signal: int | None = None  # the first one that came

    def prepare(self) -> None:
        """Everything that can fail for a new run fails here, before the run folder gets its name."""
        try:
            self.engine.family.prepare(self.batches[0].float())
            # One dry evaluation finds sizes that do not fit before anything is written.
            example = self.batches[0]
            with self.seeded():
                metrics = self.engine.evaluate([example[: len(example) // self.processes.count]])
        except RuntimeError as error:
            if self.config.compile != "none" and (problem := not_compiled(error)) is not None:
                raise problem from error
            if "shape" in str(error) or "size" in str(error):
                raise BadInput(f"The networks do not fit samples of shape {self.domain.spec.shape}: {error}") from error
            raise
        for key, value in metrics.items():
            if not math.isfinite(value):
                player, name = key.split("/", 1)
                raise TrainingDiverged(
                    f"{name} of the player {player} is {value} before the first step: look at the data and the options."
                )

    def seeded(self) -> Any:
        """A scope in which draws follow from the seed and leave the training's generators alone."""
        return _Seeded(self.config.seed, self.engine.device)

    def fit(self) -> None:
        """Train until the last step, the time limit, early stopping or a signal; the first process alone writes."""
        engine, config, processes = self.engine, self.config, self.processes
        stop_at = time.monotonic() + 60 * config.minutes if config.minutes else math.inf
        board = TensorBoard(self.run.path / "tensorboard") if config.tensorboard and processes.main else None
        processes.spread(engine.family.state_dict().values())  # other machines may have rounded otherwise
        if engine.step_count == 0:
            self.save()
        with (
            _Signals(self),
            Progress(config.steps, engine.step_count, self.quiet) as progress,
            (self.run.metrics_path if processes.main else Path(os.devnull)).open("a") as log,
        ):

            def record(kind: str, metrics: dict[str, float], **extra: float) -> None:
                log.write(json.dumps({"step": engine.step_count, "kind": kind, **metrics, **extra}) + "\n")
                log.flush()
                progress.show(
                    metrics if kind == "train" else {f"{kind} {key}": value for key, value in metrics.items()}
                )
                if board is not None:
                    board.scalars(kind, metrics, engine.step_count)

            last, signalled = False, 0

            def due(every: int) -> bool:
                return bool(every) and (engine.step_count % every == 0 or last)

            while not (last or signalled):
                engine.step(self.batch(engine.step_count * config.accumulate + i) for i in range(config.accumulate))
                progress.advance()
                signalled, stop = processes.agree(self._signal or 0, time.monotonic() > stop_at)
                last = engine.step_count >= config.steps or stop

                if due(config.log_every):
                    record("train", engine.collect(), steps_per_s=progress.rate)
                if self.valid is not None and due(config.validate_every) and self.validate(record):
                    last = True
                if due(config.sample_every) and processes.main:
                    self.write_samples(board)
                if last or signalled or due(config.checkpoint_every):
                    self.save()
            processes.finish()
        if board is not None:
            board.close()
        with processes.together():  # nobody is done before the run folder is
            if processes.main:
                self.calibrate()
        if signalled:
            raise Interrupted(signalled, self.run, engine.step_count)

    def batch(self, i: int) -> Batch:
        """This process's part of batch i."""
        part = self.processes.part(self.config.batch_size)
        if part is None:
            return self.batches[i]
        with SharedBatch(part, self.engine.device):  # augmentation draws for the whole batch too
            return self.batches.rows(i, part.own)

    def to_validate(self, numbers: range) -> Iterator[Batch]:
        """Batches of the validation data. What is drawn for one follows from its number, whoever evaluates it."""
        assert self.valid is not None
        batches = self.valid.once(self.config.validate_examples, numbers.start, numbers.step)
        for number, batch in zip(numbers, batches, strict=False):
            torch.manual_seed(generator_for(torch.device("cpu"), self.config.seed, 3, number).initial_seed())
            yield batch

    def validate(self, record: Callable[..., None]) -> bool:
        """Evaluate; keep the best checkpoint; True when it is time to stop early."""
        assert self.valid is not None
        n = min(self.config.validate_examples, len(self.valid.dataset))
        share = self.processes.share(-(-n // self.valid.batch_size))
        with self.seeded():
            metrics = self.engine.evaluate(self.to_validate(share or range(1)), shared=True, counted=len(share) > 0)
        record("valid", metrics)
        monitor = self.resolved.family.monitor
        if monitor is None:
            return False
        value = next(value for key, value in metrics.items() if key.endswith(f"/{monitor}"))
        if self.best["value"] is None or value < self.best["value"]:
            self.best = {"value": value, "step": self.engine.step_count, "since": 0}
            self.save()
        else:
            self.best = {**self.best, "since": self.best["since"] + 1}
        return bool(self.config.early_stop) and self.best["since"] >= self.config.early_stop

    @torch.no_grad()
    def calibrate(self) -> None:
        """Let the domain adjust how samples of the best checkpoint are written, and keep that in the run's config."""
        if not self.resolved.family.capabilities.sample or self.engine.family.draws:
            return
        n = CALIBRATION_EXAMPLES
        # The weights that samples will be drawn with: those of the best checkpoint, which may lie far behind.
        family = load(self.run.path, device=str(self.engine.device)).family
        with self.seeded():
            samples = torch.cat([family.sample(64).float().cpu() for _ in range(n // 64)])
        index = torch.randperm(
            len(self.batches.dataset), generator=generator_for(torch.device("cpu"), self.config.seed, 4)
        )[:n]
        reference = self.batches.dataset.gather(
            index.to(self.batches.dataset.index_device), generator_for(self.engine.device, self.config.seed, 4)
        ).x
        writing = self.domain.calibrate(samples, reference.float().cpu())
        if writing != self.domain.writing:
            self.resolved = replace(self.resolved, writing=writing)
            self.run.write_config(self.resolved)

    @torch.no_grad()
    def write_samples(self, board: TensorBoard | None) -> None:
        """Samples in the native format and as a picture; reconstructions where a family cannot sample."""
        can = self.resolved.family.capabilities
        if not (can.sample or can.reconstruct):
            return
        step, n = self.engine.step_count, self.config.samples
        folder = self.run.path / "samples" / f"step_{step}"
        folder.mkdir(parents=True, exist_ok=True)
        with self.seeded(), self.engine.averaged() as family:
            if can.sample:
                samples = family.sample(n)
            else:
                source = self.valid if self.valid is not None else self.batches
                samples = family.reconstruct(next(source.once()).x[:n].float())
        pieces = self.domain.pieces(samples.float().cpu())
        save(pieces, folder, [f"sample_{i:03d}" for i in range(len(pieces))])
        picture = self.domain.sheet(pieces)
        picture.save(folder / "picture.png")
        if board is not None:
            board.media(picture, [piece.audio() for piece in pieces[:4]], step)

    def save(self) -> None:
        """Write a checkpoint, the first process alone; then drop those that nobody needs.

        Raises:
            TrainingDiverged: something is not finite; nothing is written.
            BadInput: the disk is full or read-only; earlier checkpoints are intact.
        """
        self.engine.check()
        state = {"history": self.engine.history, "best": self.best, "config": self.resolved.as_dict()}
        if not self.processes.main:
            return
        try:
            save_checkpoint(self.run.checkpoints, self.engine.step_count, self.engine.state(), state)
        except OSError as error:
            raise BadInput(
                f"The checkpoint of step {self.engine.step_count} cannot be written to {self.run.checkpoints} "
                f"({error.strerror or error}); earlier ones are intact. Make room, then: musegen resume."
            ) from error
        prune(self.run.checkpoints, keep={self.best["step"]} if self.best["step"] is not None else set())


def auxiliary_dataset(resolved: Resolved, data: Data, wanted: Auxiliary) -> Dataset:
    """The further data that a family wants.

    Raises:
        BadInput: the domain has no such data as configured.
    """
    family, domain = resolved.family.name, resolved.domain.name
    match wanted:
        case Target():
            if "target" not in data.splits:
                raise BadInput(
                    f'The family "{family}" needs a second data set, and the domain "{domain}" has none as configured: '
                    "set its option target."
                )
            return View(data.splits["target"], labelled=False)
        case Labelled(n):
            train = data.splits["train"]
            if train.label is None:
                raise BadInput(f'The family "{family}" needs labels, and these data have none: use data with classes.')
            try:
                return View(train, balanced_subset(train.label, n, resolved.run.seed))
            except ValueError as error:
                raise BadInput(f"There are not enough labelled examples: {error}. Ask for fewer.") from None


class _Seeded:
    """Fork torch's generators and seed them."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed, self.device = seed, device
        devices = [device] if device.type == "cuda" else []
        self.fork = torch.random.fork_rng(devices=devices)

    def __enter__(self) -> None:
        self.fork.__enter__()
        torch.manual_seed(generator_for(torch.device("cpu"), self.seed, 3).initial_seed())

    def __exit__(self, *error: Any) -> None:
        self.fork.__exit__(*error)


class _Signals:
    """First Ctrl-C or SIGTERM: finish the step and save. A second one stops at once."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.previous[number] = signal.signal(number, self.handle)

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.session._signal is not None:
            self.restore()
            os.kill(os.getpid(), number)
        self.session._signal = number

    def restore(self) -> None:
        for number, previous in self.previous.items():
            signal.signal(number, previous)

    def __exit__(self, *_: object) -> None:
        self.restore()
