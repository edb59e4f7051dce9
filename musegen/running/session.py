"""What training holds in memory: engine, data, checkpoints, validation, samples, interruption."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch

from musegen.contracts.dataset import Batch, generator_for
from musegen.contracts.domain import Data, Domain
from musegen.contracts.family import build
from musegen.engine.checkpoint import prune, save_checkpoint
from musegen.engine.compiling import not_compiled
from musegen.engine.devices import keep_freed_memory
from musegen.engine.engine import Engine, Snapshot
from musegen.engine.processes import ALONE, Processes
from musegen.engine.shared_state import Generators, reseed
from musegen.engine.weights import Taken
from musegen.errors import BadInput, because_of
from musegen.probability.whole_batch import SharedBatch
from musegen.reporting import listening, say
from musegen.running.beginning import begin, check_asked, check_losses
from musegen.running.callbacks import Callback, Kind, Moment, tell
from musegen.running.placement import placed_batches
from musegen.running.record import Record
from musegen.running.resolved import Resolved
from musegen.running.runs import Run, State
from musegen.running.samples import calibrated, drawn, seeded, write
from musegen.running.signals import CutShort, Interrupted, Signals
from musegen.running.validating import NONE_YET, next_best, shared_out

__all__ = ["Session"]

KEEP_EVERY_S, KEEP_SHARE = 1.0, 0.01
"""Seconds between copies of the state in memory, at least, and the share of the time that they may take, at most."""
ASK_EVERY_S = 0.25
"""Seconds between two questions of several processes to each other, within a step, whether to cut it short."""


class Session:
    """What training holds in memory.

    A step that a signal cuts short must be done again, bit for bit, so what is saved then is a state from between two steps: the
    newest copy of it in memory (``keep``), or the newest checkpoint if that is newer. Copies follow the clock and not a forecast
    of how long a step will take: a step of a second or more always has one from its very beginning, no run spends more than 1 % of
    its time on them, and at most about a second of short steps is done again. They cost memory on the host, of the size of a
    checkpoint.
    """

    def __init__(
        self,
        run: Run,
        resolved: Resolved,
        domain: Domain,
        data: Data,
        device: torch.device,
        quiet: bool,
        processes: Processes = ALONE,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.run, self.resolved, self.domain, self.processes = run, resolved, domain, processes
        self.callbacks, self._wants_end = (callbacks if processes.main else ()), False
        self.quiet = quiet or not processes.main
        config = self.config = resolved.run
        if device.type == "cpu":
            keep_freed_memory()
        torch.set_float32_matmul_precision("highest")  # "tf32" raises it within a step
        # Weights, like everything random, follow from the seed.
        self.generators = Generators(config.seed, device)
        check_asked(resolved, domain, device)
        with self.generators:
            family = build(resolved.family, resolved.family_config, domain).to(device)
        family.sampling, family.n_examples = resolved.sampling, len(data.splits["train"])
        self.engine = Engine(family, config, processes)
        if self.engine.left_uncompiled and not self.quiet:
            left = " and ".join(self.engine.left_uncompiled)
            say(f"Not compiled: {left}, because a penalty on its gradient differentiates it twice.")
        self.batches, self.valid = placed_batches(resolved, domain.spec, data, family, self.engine.batch_dtype)
        self.best: dict[str, Any] = dict(NONE_YET)
        self.signals = Signals()
        self._kept: tuple[Snapshot, dict[str, Any]] | None = None
        self._kept_at, self._keep_every = time.monotonic(), KEEP_EVERY_S
        self._checks, self._ask_every = 0, 1
        self.taken: Taken | None = None  # of the model that ``init`` names
        self.trained = False  # the last step is done, or the time is up, or nothing gets better any more
        self.saved: int | None = None  # the step of the newest checkpoint

    def prepare(self) -> None:
        """Everything that can fail for a new run fails here, before the run folder gets its name."""
        try:
            with self.generators:
                self.taken = begin(self.engine, self.batches[0].float(), self.config.init, self.resolved.own)
            if self.taken is not None and not self.quiet:
                say(f"init={self.config.init}: {self.taken}.")
            example = self.batches[0]
            with self.seeded():
                check_losses(self.engine, example[: len(example) // self.processes.count])
        except RuntimeError as error:
            if self.config.compile != "none" and (problem := not_compiled(error)) is not None:
                raise problem from error
            if "shape" in str(error) or "size" in str(error):
                raise BadInput(f"The networks do not fit samples of shape {self.domain.spec.shape}: {error}") from error
            raise

    def seeded(self) -> AbstractContextManager[None]:
        """A scope in which draws follow from the seed and leave the training's generators alone."""
        return seeded(self.config.seed, self.engine.device)

    def fit(self) -> None:
        """Train until the last step, the time limit, early stopping or a signal; the first process alone writes.

        Raises:
            Interrupted: by a signal; the run is saved.
        """
        self.run.check_place()
        with self.signals, self.generators:
            self.processes.spread(self.engine.family.state_dict().values())  # other machines may have rounded otherwise
            if self.saved is None:
                self.save()
            interrupted = self._train()
            with self.processes.together():  # nobody is done before the run folder is
                if self.processes.main:
                    self._finish()
                    self._tell("end", {})
        if self.signals.number and self.trained:
            done = f"Interrupted, but the run {self.run.path} was done by then; it is saved."
            interrupted = Interrupted(self.signals.number, done)
        if interrupted is not None:
            raise interrupted

    def _train(self) -> Interrupted | None:
        """Train on, with progress; how a signal ended it, if one did."""
        try:
            with Record(self.run, self.resolved, self.engine.step_count, self.quiet, self.processes.main) as record:
                number = self._steps(record)
                record.done = self.trained
        except CutShort as cut:
            return self._go_back(cut.number)
        if not number:
            return None
        return Interrupted(number, f"Interrupted at step {self.saved}; saved. {self._how_to_go_on()}")

    def _steps(self, record: Record) -> int:
        """The steps; the signal that ended them, 0 if none did."""
        engine, config, processes = self.engine, self.config, self.processes
        stop_at = time.monotonic() + 60 * config.minutes if config.minutes else math.inf
        number = 0
        while not (self.trained or number):
            self._under_way = engine.step_count + 1
            begun, checks = time.monotonic(), self._checks
            first = engine.step_count * config.accumulate
            engine.step((self.batch(i) for i in range(first, first + config.accumulate)), self.check)
            record.advance()
            now = time.monotonic()
            pace = round(1e6 * (now - begun) / (self._checks - checks))  # µs from one check to the next
            ends, old = now > stop_at or self._wants_end, now - self._kept_at > self._keep_every
            number, stop, keep, pace = processes.agree(self.signals.number, ends, old, pace)
            if processes.count > 1 and pace:
                self._ask_every = max(1, round(1e6 * ASK_EVERY_S / pace))
            self.trained = engine.step_count >= config.steps or bool(stop)
            if not self._after_step(record, number > 0) and keep:
                self.keep()
        processes.finish()
        return number

    def _after_step(self, record: Record, signalled: bool) -> bool:
        """What is due after a step; whether a checkpoint was."""
        engine, config = self.engine, self.config

        def due(every: int) -> bool:
            return bool(every) and (engine.step_count % every == 0 or self.trained)

        if due(config.log_every):
            self.run.check_place()
            metrics = engine.collect()
            record("train", engine.step_count, metrics, steps_per_s=record.rate)
            self._tell("train", metrics)
        if improved := self.valid is not None and due(config.validate_every):
            improved = self.validate(record)
            self.trained |= bool(config.early_stop) and self.best["since"] >= config.early_stop
        if due(config.sample_every):
            self._write_samples_together(record)
        # Last of all: whatever is cut short before is done again with its step.
        if save := self.trained or signalled or improved or due(config.checkpoint_every):
            self.save()
        return save

    def _tell(self, kind: Kind, metrics: dict[str, float]) -> None:
        """Call the program's callbacks; a training goes on as if they drew nothing."""
        family = self.engine.family
        with self.seeded():
            self._wants_end |= tell(self.callbacks, Moment(kind, self.engine.step_count, metrics, family, self.run))

    def check(self) -> None:
        """Between two moves, and between two batches: stop here if a signal has waited for too long.

        Several processes stop at the same place, so they ask each other, a few times a second: all of them check equally often.

        Raises:
            CutShort: one has.
        """
        self._checks += 1
        self.generators.give_way()
        if self._checks % self._ask_every == 0 and (number := self.processes.largest(self.signals.overdue())):
            raise CutShort(number)

    def listen(self, *_: object) -> None:
        """Within what takes long between two steps: as ``check``, by one process alone. Takes what a listener is told."""
        self.generators.give_way()
        self.signals.check()

    def keep(self) -> None:
        """Copy the state, between two steps."""
        begun = time.monotonic()
        self._kept = None  # so that there are never two copies
        self._kept = self.engine.snapshot(), self.best
        self._kept_at = time.monotonic()
        self._keep_every = max(KEEP_EVERY_S, (self._kept_at - begun) / KEEP_SHARE)

    def _go_back(self, number: int) -> Interrupted:
        """Save the newest state from between two steps, after one that was cut short."""
        self.processes.finish()
        self.trained = False
        if self._kept is not None:
            snapshot, self.best = self._kept
            self.engine.restore(snapshot)
            self.save()
        if self.processes.main:
            self.run.rewind_metrics(self.saved or 0)
        how = f"Interrupted in the middle of step {self._under_way}; saved at step {self.saved}."
        return Interrupted(number, f"{how} {self._how_to_go_on()}")

    def _how_to_go_on(self) -> str:
        return f"Go on with: {shlex.join(['musegen', 'resume', str(self.run.path)])}"

    def _finish(self) -> None:
        """What is left to do after the last step, if a signal leaves the time to. All of it can be done again."""
        prune(self.run.checkpoints, {self.best["step"]})  # a kill may have come between the last checkpoint and this
        try:
            with listening(self.listen):
                last = self.run.path / "samples" / f"step_{self.engine.step_count}"
                if self.trained and self.config.sample_every and not last.exists():  # it ended sooner than was planned
                    self.write_samples()
                self.calibrate()
                if self.trained:
                    self.run.write_state(State.DONE, self.engine.step_count)
        except CutShort as cut:
            if self.trained:  # else it is done at the end of the run
                how = "Interrupted after the last step, before samples were calibrated; saved."
                raise Interrupted(cut.number, f"{how} {self._how_to_go_on()}") from None

    def batch(self, i: int) -> Batch:
        """This process's part of batch i."""
        part = self.processes.part(self.config.batch_size)
        if part is None:
            return self.batches[i]
        with SharedBatch(part, self.engine.device):  # augmentation draws for the whole batch too
            return self.batches.rows(i, part.own)

    def to_validate(self, numbers: Sequence[int]) -> Iterator[Batch]:
        """Batches of the validation data. What is drawn for one follows from its number, whoever evaluates it."""
        assert self.valid is not None
        for number in numbers:
            self.check()
            reseed(generator_for(torch.device("cpu"), self.config.seed, 3, number).initial_seed(), self.engine.device)
            yield next(self.valid.once(self.config.validate_examples, number))

    def validate(self, record: Record) -> bool:
        """Evaluate; whether this is the best so far."""
        assert self.valid is not None
        n = min(self.config.validate_examples, len(self.valid.dataset))
        numbers, counted = shared_out(-(-n // self.valid.batch_size), self.processes)
        # Several processes may report unequally often within a batch.
        between = {"check": self.listen} if self.processes.count == 1 else {}
        with self.seeded():
            metrics = self.engine.evaluate(self.to_validate(numbers), shared=True, counted=counted, **between)
        step, monitor = self.engine.step_count, self.resolved.family.monitor
        record("valid", step, metrics)
        self._tell("valid", metrics)
        if monitor is None:
            return False
        value = next(value for key, value in metrics.items() if key.endswith(f"/{monitor}"))
        if not (math.isfinite(value) or self.quiet):
            say(f"The {monitor} of the validation data is {value} at step {step}, which cannot be the best.")
        self.best = next_best(self.best, value, step)
        return bool(self.best["step"] == step)

    def calibrate(self) -> None:
        """Let the domain adjust how samples of the best checkpoint are written, and keep that in the run's config."""
        if not self.resolved.family.capabilities.sample or self.engine.family.draws:
            return
        if type(self.domain).calibrate is Domain.calibrate:  # which changes nothing
            return
        writing = calibrated(self.run, self.domain, self.batches)
        if writing != self.domain.writing:
            self.resolved = replace(self.resolved, writing=writing)
            self.run.write_config(self.resolved)

    def _write_samples_together(self, record: Record) -> None:
        """The first process writes samples; a signal that cuts it short does so for all."""
        number = 0
        if self.processes.main:
            try:
                self.write_samples(record)
            except CutShort as cut:
                number = cut.number
        if number := self.processes.largest(number):
            raise CutShort(number)

    def write_samples(self, record: Record | None = None) -> None:
        """Samples in the native format and as a picture, in the run folder and for trackers."""
        step = self.engine.step_count
        source = self.valid if self.valid is not None else self.batches
        with listening(self.listen), self.seeded(), self.engine.averaged() as family:
            samples = drawn(family, self.config.samples, source)
            self.signals.check()
        if samples is not None:
            pieces = self.domain.pieces(samples)
            picture = write(pieces, self.domain, self.run.path / "samples" / f"step_{step}")
            if record is not None:
                record.media(picture, lambda: [piece.audio() for piece in pieces[:4]], step)

    def save(self) -> None:
        """Write a checkpoint, the first process alone; then drop those that nobody needs.

        Raises:
            TrainingDiverged: something is not finite; nothing is written.
            BadInput: the disk is full or read-only; earlier checkpoints are intact.
        """
        self.engine.check()
        self.run.check_place()
        state = {"history": self.engine.history, "best": self.best, "trained": self.trained}
        state["config"] = self.resolved.as_dict()
        if self.processes.main:
            try:
                save_checkpoint(self.run.checkpoints, self.engine.step_count, self.engine.state(), state)
                self.run.write_state(State.TRAINED if self.trained else State.RUNNING, self.engine.step_count)
            except OSError as error:
                raise because_of(
                    error,
                    f"The checkpoint of step {self.engine.step_count} cannot be written to {self.run.checkpoints} "
                    f"({error.strerror or error}); earlier ones are intact. Make room, then: musegen resume.",
                ) from error
            prune(self.run.checkpoints, {self.best["step"]})
        self.saved, self._kept, self._kept_at = self.engine.step_count, None, time.monotonic()
