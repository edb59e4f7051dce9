"""The engine: moves players.

It knows no objective and no domain. One step drains the family's ``updates`` and, at each yield, takes the gradient of
that loss with respect to that player's parameters alone and moves them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from musegen.contracts.dataset import Batch
from musegen.contracts.family import Family, Losses
from musegen.engine.compiling import compile_networks, not_compiled
from musegen.engine.config import EngineConfig
from musegen.engine.precision import computing
from musegen.engine.processes import ALONE, Processes
from musegen.engine.rates import learning_rate_factor, learning_rates
from musegen.engine.shared_state import host_rng_state, set_host_rng_state
from musegen.engine.weights import load_weights
from musegen.errors import TrainingDiverged
from musegen.probability.by_device import device_state, set_device_state, widest
from musegen.probability.whole_batch import SharedBatch

__all__ = ["Engine", "Snapshot"]

SINGULAR_VECTORS = (".0._u", ".0._v")
"""How names of the buffers of ``torch.nn.utils.parametrizations.spectral_norm`` end."""


@dataclass(frozen=True)
class Snapshot:
    """What an engine was between two steps, in host memory.

    Args:
        step: steps done.
        parts: a copy of the engine's ``state``.
        history, pending: metrics since the last log point; those pending are on the device still.
    """

    step: int
    parts: dict[str, dict[str, Tensor]]
    history: list[tuple[int, str, float]]
    pending: list[tuple[int, str, Losses]]


def _go_on() -> None:
    """Nothing stops a step."""


class Engine:
    """Optimisers, stepping, precision, moving averages and the metrics of a run.

    Args:
        family: on its device already.
        config: how to move.
        processes: that train it together; each steps on its part of every batch.

    >>> import torch
    >>> from musegen.contracts.dataset import Batch
    >>> from musegen.contracts.family import build
    >>> from musegen.engine.engine import Engine
    >>> from musegen.families.vae import VAE, VAEConfig
    >>> from musegen.running.config import RunConfig
    >>> from musegen_image.domain import ImageConfig, ImageDomain
    >>> vae = build(VAE, VAEConfig(latent_dim=2), ImageDomain(ImageConfig(size=8, widths=[16])))
    >>> engine = Engine(vae, RunConfig(steps=2))
    >>> batch = Batch(torch.rand(4, 1, 8, 8).round(), index=torch.arange(4))
    >>> for _ in range(2):
    ...     engine.step([batch])
    >>> engine.step_count, sorted(engine.collect())
    (2, ['autoencoder/kl', 'autoencoder/loss', 'autoencoder/nelbo', 'autoencoder/reconstruction'])
    """

    def __init__(self, family: Family, config: EngineConfig, processes: Processes = ALONE) -> None:
        self.family, self.config, self.device, self.processes = family, config, family.device, processes
        self.step_count = 0
        self.parameters = {name: family.parameters_of(name) for name in family.players}
        self._base_rate = learning_rates(config, family.players)
        self.optimisers = {
            name: torch.optim.Adam(
                self.parameters[name],
                lr=self._base_rate[name],
                betas=player.betas,
                weight_decay=config.weight_decay,
                decoupled_weight_decay=True,
                fused=True,
            )
            for name, player in family.players.items()
        }
        self._constant_rate = config.schedule == "constant" and not config.lr_warmup_steps
        self._autocast, self.batch_dtype = computing(config.precision, self.device)
        self._compiled = config.compile != "none"
        self.left_uncompiled = compile_networks(family, config.compile) if self._compiled else []
        part = processes.part(config.batch_size)
        self._shared: Any = contextlib.nullcontext() if part is None else SharedBatch(part, self.device)
        self.average: dict[str, Tensor] | None = None
        self.restart_average()
        self._pending: list[tuple[int, str, Losses]] = []  # on the device, between log points
        self._history: list[tuple[int, str, float]] = []  # on the host, since the last log point

    def step(self, batches: Iterable[Batch], check: Callable[[], None] = _go_on) -> None:
        """One step of the algorithm. Gradients of several batches are averaged (gradient accumulation).

        Args:
            check: called before every move, and between batches; what it raises leaves the step half done, for ``restore``.
        """
        family = self.family
        if not family.training:
            family.train()
        family.step = self.step_count
        if self._compiled:
            torch.compiler.cudagraph_mark_step_begin()  # what was computed in the last step may be overwritten
        if not self._constant_rate:
            factor = learning_rate_factor(self.config, self.step_count)
            for name, optimiser in self.optimisers.items():
                optimiser.param_groups[0]["lr"] = factor * self._base_rate[name]
        # Accumulation runs one generator per batch in lockstep, so that every player moves once on all batches.
        generators = [family.updates(batch) for batch in batches]
        n = len(generators)
        while any(players := [self._differentiate(g, i, n, check) for i, g in enumerate(generators)]):
            if len(set(players)) > 1:
                raise RuntimeError(f"gradient accumulation needs the same players in every batch, not {players}")
            self._move(str(players[0]))
        self.step_count += 1
        if self.average is not None:
            self._update_average()

    def _differentiate(
        self, generator: Iterator[tuple[str, Losses]], i: int, n_batches: int, check: Callable[[], None]
    ) -> str | None:
        """Run the family on batch i up to its next yield and add that loss's gradient; None at the end of the step."""
        check()
        with self._autocast, self._shared:
            update = next(generator, None)
        if update is None:
            return None
        player, losses = update
        loss = losses["loss"] / n_batches if n_batches > 1 else losses["loss"]
        if i == 0:
            # Here rather than after the move: memory that is freed and taken again at once costs no page faults.
            self.optimisers[player].zero_grad(set_to_none=True)
        try:
            loss.backward(inputs=self.parameters[player])
        except RuntimeError as error:
            if self._compiled and (problem := not_compiled(error)) is not None:
                raise problem from error
            raise
        # A loss that is itself an output of a CUDA graph is overwritten in the next step, so that it is copied.
        kept = {name: value.detach().clone() if self._compiled else value.detach() for name, value in losses.items()}
        self._pending.append((self.step_count, player, kept))
        return player

    def _move(self, player: str) -> None:
        self.processes.average(self.parameters[player])
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters[player], self.config.clip_norm)
        self.optimisers[player].step()

    def restart_average(self) -> None:
        """Have the moving average of the weights begin with those of now."""
        if self.config.ema:
            self.average = {name: t.detach().clone() for name, t in self.family.state_dict().items()}

    def _update_average(self) -> None:
        assert self.average is not None
        # Early on the average forgets its random start faster (as in Karras et al. 2022's warm-up of the decay).
        decay = min(self.config.ema, (1 + self.step_count) / (10 + self.step_count))
        state = self.family.state_dict()
        # Singular vectors of spectral normalisation are unit vectors, which their mean is not: those of now stay near enough.
        left = (*SINGULAR_VECTORS, *self.family.never_averaged)
        anew = tuple(f"{network}." for network in self.family.begun_anew)
        smooth = [
            n for n, t in state.items() if t.is_floating_point() and not n.endswith(left) and not n.startswith(anew)
        ]
        torch._foreach_lerp_([self.average[n] for n in smooth], [state[n] for n in smooth], 1 - decay)
        for name in state.keys() - set(smooth):
            self.average[name].copy_(state[name])
        self.family.begun_anew = ()

    @contextlib.contextmanager
    def averaged(self) -> Iterator[Family]:
        """The family in evaluation mode, with the moving average of its weights if there is one."""
        own = None
        if self.average is not None:
            own = {name: t.detach().clone() for name, t in self.family.state_dict().items()}
            self.family.load_state_dict(self.average)
        self.family.eval()
        try:
            yield self.family
        finally:
            if own is not None:
                self.family.load_state_dict(own)
            self.family.train()

    def _fetch(self) -> list[tuple[int, str, float]]:
        """Move pending metrics to the host, in one transfer, and check them."""
        if self._pending:
            keys = [(step, f"{player}/{name}") for step, player, losses in self._pending for name in losses]
            own = torch.stack([v.float() for _, _, losses in self._pending for v in losses.values()])
            values = self.processes.mean(own).tolist()
            self._pending.clear()
            for (step, key), value in zip(keys, values, strict=True):
                if not math.isfinite(value):
                    player, name = key.split("/", 1)
                    raise TrainingDiverged(
                        f"Training stopped: {name} of the player {player} became {value} at step {step}. "
                        "The last good checkpoint is kept; a lower learning_rate or clip_norm=1 may help."
                    )
                self._history.append((step, key, value))
        return self._history

    def collect(self) -> dict[str, float]:
        """Means of the metrics since the last call, as ``player/name``.

        Raises:
            TrainingDiverged: a loss was NaN or infinite; names the player and the first such step.
        """
        values: dict[str, list[float]] = {}
        for _, key, value in self._fetch():
            values.setdefault(key, []).append(value)
        self._history = []
        return {key: sum(v) / len(v) for key, v in values.items()}

    def check(self) -> None:
        """Refuse to save what is not finite: losses so far, weights, and what optimisers remember.

        Raises:
            TrainingDiverged: names the player and the step.
        """
        self._fetch()
        for player, own in self.parameters.items():
            slots = self.optimisers[player].state.values()
            memories = [t for slot in slots for t in slot.values() if isinstance(t, Tensor) and t.dim()]
            weights: list[Tensor] = list(own)
            for what, tensors in (("weights", weights), ("moments of the optimiser", memories)):
                if not tensors or torch.stack(torch._foreach_norm(tensors, float("inf"))).isfinite().all():
                    continue
                raise TrainingDiverged(
                    f"Training stopped: {what} of the player {player} became NaN or infinite by step {self.step_count}. "
                    "The last good checkpoint is kept; a lower learning_rate or clip_norm=1 may help."
                )

    @torch.no_grad()
    def evaluate(
        self,
        batches: Iterable[Batch],
        shared: bool = False,
        counted: int | None = None,
        check: Callable[[], None] = _go_on,
    ) -> dict[str, float]:
        """Means over examples of what ``updates`` reports, with nobody moving.

        Args:
            shared: every process evaluates batches of its own, as many as the others, and the means are over all of them.
            counted: only the first so many batches count; the others keep this process in step with those that have more.
            check: called before every report of the family; what it raises ends the evaluation.
        """
        totals: dict[str, Tensor] = {}
        n_examples = 0
        with self.averaged() as family:
            for i, batch in enumerate(batches):
                counts = counted is None or i < counted
                n_examples += len(batch) * counts
                if self._compiled:
                    torch.compiler.cudagraph_mark_step_begin()
                seen: dict[str, list[Tensor]] = {}
                with self._autocast:
                    for player, losses in family.updates(batch):
                        check()
                        for name, value in losses.items():
                            seen.setdefault(f"{player}/{name}", []).append(value.float())
                for key, values in seen.items():
                    total = totals.get(key, torch.zeros((), dtype=widest(self.device), device=self.device))
                    totals[key] = total + len(batch) * torch.stack(values).mean() if counts else total
        n_seen = torch.tensor(n_examples, dtype=widest(self.device), device=self.device)
        sums = torch.stack([n_seen, *totals.values()]).detach().cpu().double()  # in one transfer
        n, *whole = (self.processes.total(sums) if shared else sums).tolist()
        return {key: value / n for key, value in zip(totals, whole, strict=True)}

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Everything that the next step depends on, as groups of tensors."""
        optimisers = {
            f"{player}/{i}/{name}": torch.as_tensor(value)
            for player, optimiser in self.optimisers.items()
            for i, slots in optimiser.state_dict()["state"].items()
            for name, value in slots.items()
        }
        rng = {"cpu": torch.get_rng_state(), **host_rng_state()}
        own = device_state(self.device)
        if own is not None:
            rng[self.device.type] = own
        parts = {"weights": self.family.state_dict(), "optimisers": optimisers, "rng": rng}
        return parts | ({"average": self.average} if self.average is not None else {})

    def snapshot(self) -> Snapshot:
        """A copy of everything that the next step depends on, in host memory."""
        parts = {
            part: {name: t.detach().to("cpu", copy=True) for name, t in tensors.items()}
            for part, tensors in self.state().items()
        }
        return Snapshot(self.step_count, parts, self._history.copy(), self._pending.copy())

    def restore(self, snapshot: Snapshot) -> None:
        """Be again what a snapshot is of, also from the middle of a step."""
        self.load_state(snapshot.parts, snapshot.step, snapshot.history)
        self._pending = snapshot.pending.copy()

    @property
    def history(self) -> list[tuple[int, str, float]]:
        """Metrics since the last log point, as (step, key, value): part of the state, so that logs resume exactly too."""
        return self._fetch()

    def load_state(self, parts: dict[str, dict[str, Tensor]], step: int, history: list[Any] = ()) -> None:  # type: ignore[assignment]
        """Continue exactly where ``state`` was taken.

        Raises:
            BadInput: the weights do not fit this family and configuration.
        """
        load_weights(self.family, parts["weights"])
        slots: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in self.optimisers}
        for key, value in parts["optimisers"].items():
            player, index, name = key.rsplit("/", 2)
            slots[player].setdefault(int(index), {})[name] = value.clone()  # torch would adopt the tensor itself
        for player, optimiser in self.optimisers.items():
            optimiser.load_state_dict({**optimiser.state_dict(), "state": slots[player]})
        if self.average is not None:
            self.average = {name: t.to(self.device, copy=True) for name, t in parts["average"].items()}
        torch.set_rng_state(parts["rng"]["cpu"].cpu())
        set_host_rng_state(parts["rng"])
        set_device_state(self.device, parts["rng"].get(self.device.type))
        self.step_count = step
        self._history = [(int(s), str(key), float(value)) for s, key, value in history]
        self._pending = []
