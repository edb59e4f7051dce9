"""RNN-NADE (Boulanger-Lewandowski, Bengio & Vincent 2012, 1206.6392; NADE: Larochelle & Murray 2011, AISTATS).

A step of a sequence is drawn cell by cell, each given the cells before it in its step and all steps before that, so the
likelihood is exact, and a chord is one event instead of independent notes:

    p(x) = Π_t p(x_t | x_<t),    p(x_t | x_<t) = Π_d p(x_{t,d} | x_{t,<d}, h_t)
    p(x_{t,d} = 1 | …) = σ(b_{t,d} + V_d φ(c_t + Σ_{k<d} x_{t,k} W_k))        (the NADE of a step)
    b_t = b + B h_t,  c_t = c + C h_t,  h_t = LSTM(h_{t−1}, x_{t−1})           (its biases follow the recurrent network)
    L(θ; x) = −log p_θ(x), in nats, summed over the cells, mean over the batch.

Rows of the sample are the steps, as ``Spec`` has them; θ is ``network`` (``musegen.networks.nade.RecurrentNADE``), which suits any
grid of binary cells, so the family builds it itself. Options:

* ``recurrent``, ``units``, ``layers``: the network over time; ``dropout`` on its inputs and outputs and before V.
* ``hidden``, ``depth``: units of the NADE, and residual layers after its first, and after that of the next term.
* ``features``, ``reach``, ``interval``: a term that is the same at every column: a masked convolution over the step so far
  and ``reach`` steps before it, ``interval`` columns to either side. Distances and steps are learnt once for all columns,
  as in Johnson's tied parallel networks (2017, EvoMUSART).
* ``lags``, ``harmony``: what else this term sees: the steps so many bars back, where what returns stands already; and, where
  columns have classes (``Spec.octave``), how often each has sounded in the last bar and the last eight, so that a key is kept.
* ``conditional``: p(x | y), the label's one-hot vector beside x_{t−1} and beside h_t; ``log_prob`` sums it out, every class
  as likely as another, and ``classify`` is Bayes' rule, p(y | x) ∝ p(x | y). A low ``log_prob`` tells what fits no class.

**What is given.** The model is p(x_rest | x_G) for given cells G, which have no term in L and come back unchanged. The network
knows x_G of all steps, later ones too: a second recurrent network runs over it backwards and stands beside h_t, the step's given
cells come before its others, and the term that is the same at every column sees it on both sides. The domain's option ``given``
says what G is:

* names of channels (tracks of a piece): always these, so that the model is their accompaniment. When nobody says what is given,
  ``sample`` takes one of ``examples``, a few given parts of training data that the model keeps.
* ``any``: in training G is drawn anew for every example (``Masks``): nothing, some tracks, all but a region of tracks and
  bars, or any bars of any tracks. So one model writes, continues, accompanies any set of tracks, and fills in
  (``fill``); L is then averaged over what may be asked for, and validation is of p(x), with nothing given. With ``refine`` what was
  drawn is drawn anew region by region, given the rest (block Gibbs sampling, as Huang et al. 2017, 1903.07227, section 4.2).

**Short bars** (``Spec.short_bars``), as bars of 3/4 are beside those of 4/4: rows that a bar lacks are given as empty, which is how
the network knows, from ``mask``, how long each bar is. They have no term in L.

**A plan** (``Spec.plan``, as chords are of notes) is channels whose cells come before all others of a step. They are a part that
may be given or drawn like any other. Given as empty, they say that there is none, which is so in a quarter of training:
``log_prob`` and validation are p(x) of the other channels, without a plan. **Levels** of how full each bar of each channel is
(``Wishes``) may be asked for in ``fill``; in half of training all are left open.

**Strengths** (``Spec.strengths``), as how loud notes are, follow all cells: p(x, s) = p(x) p(s | x), where the network of p(x) sees
x alone, and a small one of its own says p(s | x) (``musegen.networks.strengths``). L is the sum of both; ``nats_per_step`` is that
of cells, and ``nats_per_strength`` the other for each cell that is on.

``sample`` and ``log_prob`` take any number of rows.

Where the data have bars (``Spec.bar``), the network is told the position in the bar, one-hot beside x_{t−1} and beside h_t.
``temperature`` tempers the choice which cell of a step is on next, or that none is, and ``top_p`` keeps to the most probable
choices (nucleus sampling, Holtzman et al. 2020, 1904.09751). Trained on windows from the middle of pieces, the model must
guess most in the first bars of a sample; with ``lead_in`` these are drawn and left out. Nothing depends on the number of steps:
``continue_`` goes on from a past of any length for as long as you like, with the same work for every step, from the
network's memory. Reported: ``nats_per_step``.

Deviations: φ is a ReLU and layers may follow it; an LSTM in place of the tanh recurrence; Adam instead of Hessian-free
optimisation; the term that is the same at every column; given tracks. b starts at the log-odds of each cell in the first batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from musegen.contracts.asked import OPEN, Asked
from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec, Wanted
from musegen.contracts.family import Capabilities, Family, Losses, Player, Sampling
from musegen.contracts.graph import Edge, Graph, Node
from musegen.contracts.missing import MARK, missing_rows
from musegen.errors import BadInput
from musegen.families.labels import class_vector, log_posterior, summed_out
from musegen.families.masks import Masks, either, given_channels
from musegen.families.strengths import Strengths
from musegen.families.wishes import Wishes
from musegen.networks.nade import Given, Recurrent, RecurrentNADE
from musegen.networks.threads import threads_for
from musegen.options import option
from musegen.probability.likelihood import Bernoulli

__all__ = ["RNNNADE", "RNNNADEConfig", "RNNNADESampling"]

N_EXAMPLES = 32
"""Given parts that the model keeps."""

NO_PLAN = 0.25
"""How often there is no plan in training, so that the probability of what it is for is known, too."""
PAST_STEPS = 512
"""Steps of a past that are taken in at a time: memory grows with their square, and a past may have thousands."""
PAIR = 2
"""Samples drawn from nothing share a generator in pairs, and what goes on from something does not: so models that ship still draw
what they are known for."""


@dataclass(frozen=True)
class RNNNADEConfig:
    recurrent: Recurrent = option("lstm", "network over time")
    units: int = option(256, "units of each of its layers", ge=1)
    layers: int = option(1, "its layers", ge=1)
    hidden: int = option(128, "H, hidden units of the NADE", ge=1)
    depth: int = option(2, "further hidden layers of the NADE and of the term below", ge=0)
    features: int = option(64, "feature maps of the term that is the same at every column; 0: without it", ge=0)
    reach: int = option(2, "steps back that this term sees", ge=1)
    interval: int = option(24, "columns (semitones) that it sees to either side", ge=0)
    dropout: float = option(0.3, "share of inputs and outputs of the recurrent network dropped in training", ge=0, lt=1)
    lags: list[int] = option(
        [1, 2, 4], "bars back that this term also sees, where the data have bars and a sample is longer"
    )
    harmony: bool = option(
        True,
        "the term also knows which classes of columns have sounded, as notes of a key, if there are any",
    )
    conditional: bool = option(False, "condition on the class label, where the data have classes")


@dataclass(frozen=True)
class RNNNADESampling(Sampling):
    top_p: float = option(
        1.0, "draw the next cell that is on from the most probable ones that together have this probability", gt=0, le=1
    )
    lead_in: int = option(0, "bars that are drawn before every sample without a past, and left out of it", ge=0)
    refine: int = option(
        0, "times that everything drawn is drawn anew, region by region, given the rest; for models of given=any", ge=0
    )


class RNNNADE(Family):
    name = "rnn_nade"
    title = "RNN-NADE: recurrent over steps, a NADE within a step"
    paper = "Boulanger-Lewandowski, Bengio & Vincent 2012, arXiv 1206.6392; NADE: Larochelle & Murray 2011"
    objective = "max  log p(x) = Σ_t Σ_d log p(x_{t,d} | x_{t,<d}, x_{<t})   (conditional: … , y)"
    Config = RNNNADEConfig
    Sampling = RNNNADESampling
    capabilities = Capabilities(
        log_prob="exact", classify=True, condition=True, given="any length", continue_=True, fill=True
    )
    monitor = "loss"
    draws = True
    sampling: RNNNADESampling
    examples: Tensor

    def __init__(self, config: RNNNADEConfig, spec: Spec, networks: dict[str, nn.Module]) -> None:
        super().__init__(config, spec, networks)
        self.given = given_channels(spec)
        self.masks = Masks(spec.parts, spec.bar) if spec.parts else None
        self.capabilities = replace(self.capabilities, fill=bool(spec.parts))
        shape = (spec.shape[0] - spec.n_strengths, *spec.shape[1:])  # of the network's samples
        self.wishes = Wishes(shape[0], spec.bar) if spec.parts else None
        if self.given:
            self.capabilities = replace(self.capabilities, continue_=False)  # nobody knows what will be given
            self.register_buffer("examples", torch.zeros(N_EXAMPLES, *spec.shape, dtype=torch.uint8))
        self.n_classes = len(spec.classes) if config.conditional else 0
        self.capabilities = replace(self.capabilities, classify=bool(self.n_classes))
        self.network = RecurrentNADE(
            shape,
            recurrent=config.recurrent,
            units=config.units,
            layers=config.layers,
            hidden=config.hidden,
            depth=config.depth,
            features=config.features,
            reach=config.reach,
            interval=min(config.interval, spec.shape[2] - 1),
            dropout=config.dropout,
            n_condition=self.n_classes + (self.wishes.size if self.wishes else 0),
            period=spec.bar,
            lags=[lag * spec.bar for lag in config.lags if 0 < lag * spec.bar < spec.shape[1]],
            octave=spec.octave if config.harmony else 0,
            given=bool(self.given or spec.parts),
            n_plan=spec.plan,
        )
        self.strengths = Strengths(spec, config.dropout) if spec.n_strengths else None

    @classmethod
    def networks(cls, config: RNNNADEConfig, spec: Spec) -> dict[str, Wanted]:
        if not isinstance(spec.likelihood, Bernoulli) or len(spec.shape) != 3:
            raise BadInput("rnn_nade models grids of cells that are on or off: use data that are binary, or made so.")
        if config.conditional and not spec.classes:
            raise BadInput("conditional=True needs data with class labels, and these have none: use conditional=False.")
        given_channels(spec)
        return {}

    @classmethod
    def graph(cls, config: RNNNADEConfig) -> Graph:
        past, before = Node("x_<t", "observed", "earlier steps"), Node("x_t,<d", "observed", "earlier cells")
        cell, law = Node("x_t,d", "observed", "a cell"), "p(x_t,d|x_t,<d, x_<t)"
        nodes: tuple[Node, ...] = (past, before, cell)
        edges: tuple[Edge, ...] = (
            Edge("x_<t", "x_t,<d", "generative", "p(x_t,<d|x_<t)", ("network",)),
            Edge("x_<t", "x_t,d", "generative", "b_t, c_t", ("network",)),
            Edge("x_t,<d", "x_t,d", "generative", law, ("network",)),
        )
        if config.conditional:
            nodes += (Node("y", "label", "class"),)
            edges += (Edge("y", "x_t,d", "generative", "y beside h_t", ("network",)),)
        return Graph(nodes, edges)

    @property
    def players(self) -> dict[str, Player]:
        return {"network": Player(("network", "strengths") if self.strengths else ("network",), learning_rate=2e-3)}

    def prepare(self, example: Batch) -> None:
        """b: the log-odds of each cell, over steps and examples, with one more step's worth of the average cell."""
        x, missing = self.without_missing(example.x)
        x = self.cells(x)
        n_rows = len(x) * x.shape[2] - (0 if missing is None else int(missing[:, 0].sum()))
        rate = ((x.sum((0, 2)) + x.mean()) / (n_rows + 1)).clamp(1e-5, 1 - 1e-5)  # (C, W)
        with torch.no_grad():
            self.network.absolute.step_bias.bias.copy_(self.network.cells.ordered(rate.logit().T))
        if self.wishes is not None:
            self.wishes.learn(x)
        if self.given:
            rows = torch.arange(N_EXAMPLES, device=example.x.device) % len(example)
            self.examples[:, self.given] = example.x[rows][:, self.given].to(torch.uint8)

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        whole, missing = self.without_missing(batch.x)
        x = self.cells(whole)
        mask, levels = self.mask_of(x), None
        if self.masks is not None and self.wishes is not None and self.training:
            mask, levels = self.masks.drawn(x), self.wishes.drawn(x)
            x, mask = self.without_plan(x, mask, torch.rand(len(x), device=x.device) < NO_PLAN)
        elif self.spec.plan:
            x, mask = self.without_plan(x, mask)
        # A step of which half is given counts as half a step; a plan is none of those that validation counts.
        known = mask if self.training else None
        if missing is not None:
            missing = self.cells(missing)
            mask, known = either(mask, missing), either(known, missing)
        free = x.shape[2] * (1.0 if known is None else (~known).float().mean())
        loss = -self.step_log_prob(x, batch.label, mask, levels).sum(1).mean()
        losses = {"loss": loss, "nats_per_step": loss / free}
        if self.strengths is not None:
            of_strengths = -self.strengths.log_prob(whole, mask)
            each = of_strengths.sum() / self.strengths.count(whole, mask).clamp(min=1)
            losses |= {"loss": loss + of_strengths.mean(), "nats_per_strength": each}
        yield "network", losses

    def cells(self, x: Tensor) -> Tensor:
        """Samples, or masks of them, as the network sees them: without channels of strengths."""
        return x if self.strengths is None else self.strengths.cells(x)

    def _with_strengths(self, x: Tensor, given: Tensor, mask: Tensor, leading: int = 1) -> Tensor:
        """Drawn cells with their strengths; arguments as of ``Strengths.drawn``."""
        if self.strengths is None:
            return x
        with threads_for(len(x)):
            return self.strengths.drawn(x, given, mask, self.sampling.temperature, leading)

    def without_missing(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Samples in which rows that bars lack are empty, and a mask of these, bool ``(B, C, T)``; None where bars lack none."""
        if not self.spec.short_bars:
            return x, None
        missing = missing_rows(x)[:, None]
        return x.masked_fill(missing[..., None], 0), missing.expand(-1, x.shape[1], -1)

    def without_plan(
        self, x: Tensor, mask: Tensor | None = None, which: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Samples and masks of them in which the plan is given as empty, which says that there is none; of some, or of all."""
        n_plan = self.spec.plan
        if not n_plan:
            return x, mask
        none = torch.ones(len(x), dtype=torch.bool, device=x.device) if which is None else which
        x, mask = x.clone(), torch.zeros_like(x[..., 0], dtype=torch.bool) if mask is None else mask.clone()
        x[none, :n_plan], mask[none, :n_plan] = 0, True
        return x, mask

    def mask_of(self, x: Tensor) -> Tensor | None:
        """Which channels are always given, bool ``(B, C, T)``; None if none is."""
        if not self.given:
            return None
        mask = torch.zeros(x.shape[:3], dtype=torch.bool, device=x.device)
        mask[:, self.given] = True
        return mask

    def condition(
        self, n: int, n_steps: int, label: Tensor | None = None, levels: Tensor | None = None
    ) -> Tensor | None:
        """What stands beside every step: the label's one-hot vector, ``(B,)`` → ``(B, K)``, and the levels asked for
        ``(B, C, bars)``, of each step ``(B, T, …)``; None where the model takes no condition."""
        of_class = class_vector(label, self.n_classes, self.device)
        if self.wishes is None:
            return of_class
        if levels is None:
            levels = torch.full((n, self.wishes.n_channels, -(-n_steps // self.wishes.bar)), OPEN, device=self.device)
        wishes = self.wishes(levels.to(self.device), n_steps)
        return wishes if of_class is None else torch.cat([of_class[:, None].expand(-1, n_steps, -1), wishes], 2)

    def step_log_prob(
        self, x: Tensor, label: Tensor | None = None, mask: Tensor | None = None, levels: Tensor | None = None
    ) -> Tensor:
        """log p(x_t | x_<t, x_G, y) of each step, without what is given, nats: ``(B, C, T, W)``, any number of steps → ``(B, T)``.

        Args:
            mask: what is given, bool ``(B, C, T)``; None: nothing.
            levels: asked for, ``(B, C, bars)``; None: all are open.
        """
        logits = self.network(x, self.condition(len(x), x.shape[2], label, levels), mask)
        of_cells = self.likelihood.cell_log_prob(logits, x).sum(3)  # (B, C, T)
        return (of_cells if mask is None else of_cells.masked_fill(mask, 0)).sum(1)

    def log_prob(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """log p(x), nats, ``(B,)``; of a model that is given tracks log p(x_rest | x_G). A plan does not count: it is that of the
        other channels.

        It is exact, so ``n_samples`` changes nothing.
        """
        x, missing = self.without_missing(x)
        x, mask = self.without_plan(x, self.mask_of(x))
        return self._log_prob(x, either(mask, missing))

    def rest_log_prob(self, x: Tensor, mask: Tensor) -> Tensor:
        x, missing = self.without_missing(x)
        return self._log_prob(x, mask if missing is None else mask | missing)

    def _log_prob(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """log p of what is not given, cells and strengths, nats ``(B,)``."""
        log_p = summed_out(self._of_label(mask), self.cells(x), self.n_classes)
        return log_p if self.strengths is None else log_p + self.strengths.log_prob(x, mask)

    def _of_label(self, mask: Tensor | None) -> Callable[[Tensor, Tensor | None], Tensor]:
        """log p(cells | y) of what is not given, nats ``(B,)``, as a function of cells and labels."""
        seen = None if mask is None else self.cells(mask)
        return lambda x, label: self.step_log_prob(x, label, seen).sum(1)

    def classify(self, x: Tensor) -> Tensor:
        """log p(y | x), nats, ``(B, K)``; of a model that is given tracks log p(y | x_G, x_rest), with p(y | x_G) = 1/K."""
        x, missing = self.without_missing(x)
        x, mask = self.without_plan(x, self.mask_of(x))
        # Strengths have no label, and their part is the same for each.
        return log_posterior(self._of_label(either(mask, missing)), self.cells(x), self.n_classes)

    @torch.no_grad()
    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """n draws; without labels a conditional model draws them uniformly.

        Args:
            given: what is given, for all draws ``(C, any number of rows, W)`` or for each ``(n, …)``; draws have as many rows.
        """
        channels, n_steps, columns = self.spec.shape
        if self.sampling.refine and self.masks is None:
            raise BadInput("refine needs a model that may be given any part (given=any): leave it out.")
        if self.given:
            given = self.examples[torch.arange(n) % N_EXAMPLES].float() if given is None else given.to(self.device)
            many = given if given.dim() == 4 else given[None]
            if many.shape[1::2] != (channels, columns) or len(many) not in (1, n):
                raise BadInput(
                    f"What is given has the shape {tuple(given.shape)}, and this model needs ({channels}, rows, {columns}), once "
                    f"or {n} times."
                )
            n_steps, given = many.shape[2], many.expand(n, -1, -1, -1)
        if self.n_classes and label is None:
            label = torch.randint(self.n_classes, (n,), device=self.device)
        lead_in = 0 if self.given else self.sampling.lead_in * self.spec.bar
        condition = self.condition(n, lead_in + n_steps, label)
        what = None
        if given is not None and (mask := self.mask_of(given)) is not None:
            what = Given.of(given, mask)
        drawn = self._drawn(n, lead_in + n_steps, condition, what)
        if self.masks is not None and self.sampling.refine:
            drawn = self._refined(drawn, torch.zeros_like(drawn[..., 0], dtype=torch.bool), condition)
        nothing = drawn.new_zeros(n, channels, 0, columns)
        return self._with_strengths(drawn, nothing, nothing[..., 0] > 0, PAIR)[:, :, lead_in:]

    @torch.no_grad()
    def fill(self, asked: Asked, *, label: Tensor | None = None) -> Tensor:
        if self.masks is None:
            raise TypeError("this model was not trained to be given any part")
        asked, n = asked.to(self.device), len(asked.cells)
        if self.n_classes and label is None:
            label = torch.randint(self.n_classes, (n,), device=self.device)
        levels = None if asked.levels is None else asked.levels.expand(n, -1, -1)
        condition = self.condition(n, asked.n_rows, label, levels)
        whole, missing = self.without_missing(asked.cells)
        mask = asked.mask if missing is None else asked.mask | missing
        known = self.cells(mask)
        if asked.allowed is not None:
            asked = replace(asked, allowed=asked.allowed[: known.shape[1]])
        x = self._drawn(n, asked.n_rows, condition, Given.of(self.cells(whole), known), asked)
        x = self._with_strengths(self._refined(x, known, condition, asked), whole, mask)
        return x if missing is None else x.masked_fill(missing[..., None], MARK)

    def _drawn(
        self, n: int, n_steps: int, condition: Tensor | None, given: Given | None, asked: Asked | None = None
    ) -> Tensor:
        s, leading, memory = self.sampling, PAIR if given is None else 1, self.network.start(n)
        first, last = 0, n_steps
        if (
            given is not None
        ):  # rows before the first that is not given whole are known at once, and those after the last, too
            free = (~given.mask).any(0).any(0).nonzero()[:, 0].tolist()
            if not free:
                return given.cells
            first, last = free[0], free[-1] + 1
        known = given
        with threads_for(n):
            for begin in range(0, first, PAST_STEPS):
                assert known is not None
                n_known = min(PAST_STEPS, first - begin)
                _, memory = self.network.steps(known.cells[:, :, :n_known], memory, condition, known)
                known = known.since(n_known)
            allowed = None if asked is None or asked.allowed is None else asked.allowed[:, first:last]
            faults = None if asked is None else asked.faults
            drawn = self.network.draw(
                last - first, memory, s.temperature, condition, known, s.top_p, leading, allowed, faults
            )
        return drawn if given is None else torch.cat([given.cells[:, :, :first], drawn, given.cells[:, :, last:]], 2)

    def _refined(self, x: Tensor, mask: Tensor, condition: Tensor | None, asked: Asked | None = None) -> Tensor:
        """What was drawn, drawn anew region by region, given the rest, as often as ``refine`` says."""
        assert self.masks is not None
        for number in range(self.sampling.refine):
            for known in self.masks.sweep(mask, number):
                x = self._drawn(len(x), x.shape[2], condition, Given.of(x, known), asked)
        return x

    @torch.no_grad()
    def continue_(self, past: Tensor, n_steps: int, *, label: Tensor | None = None) -> Tensor:
        if self.n_classes and label is None:
            label = torch.randint(self.n_classes, (len(past),), device=past.device)
        whole, _ = self.without_missing(past)
        past = self.cells(whole)
        memory, s = self.network.start(len(past)), self.sampling
        lead_in = 0 if past.shape[2] else s.lead_in * self.spec.bar
        condition = self.condition(len(past), past.shape[2] + lead_in + n_steps, label)
        leading = 1 if past.shape[2] else PAIR
        with threads_for(len(past)):
            for block in past.split(PAST_STEPS, 2) if past.shape[2] else ():
                _, memory = self.network.steps(block, memory, condition)
            drawn = self.network.draw(
                lead_in + n_steps, memory, s.temperature, condition, top_p=s.top_p, leading=leading
            )
        mask = torch.ones_like(whole[..., 0], dtype=torch.bool)
        x = self._with_strengths(torch.cat([past, drawn], 2), whole, mask, leading)
        return x[:, :, past.shape[2] + lead_in :]
