"""Figures of a model of music: what it writes, how it goes on from music that it has not seen, and what filling in gains.

    python benchmarks/music_figures.py MODEL --data FOLDER [-n 256] [--pieces 64] [--only measures,continue] [--out FILE.json]

``MODEL`` is a run folder, a model file, or the name of a model that ships; ``--data`` is what ``musegen train`` takes. Windows
are those of 4/4 of the test split, or of the validation split if there is no test split.

* measures: the mean of every measure of ``musegen evaluate`` over ``-n`` samples, seeds 0 to 3, beside as many windows of the
  held-out and the training split, a first-order Markov chain of whole steps, and training rhythms with random pitches.
* nats: −log p of held-out windows, nats a step, without a plan.
* continue: a held-out window is given, as many bars follow. Density: the share in which the new bars have half to twice as many
  notes as the given ones. Key: the share in which both have the same best-fitting key; also with its relative key for the same
  one. Once as it likes, and once asked for the same key. Beside it what the piece itself does in these bars, where it goes on.
* infill: nats a note of two bars in the middle of a window, of each track alone and of all tracks, with all that is around them,
  and with what comes before them alone.
* copies: the longest run of bars that a sample shares with the training data, up to transposition.
* levels: overlap of how loud notes are, samples with held-out windows, for models of velocities.

Everything goes into benchmarks/results/music_MODEL.json, part by part.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from measuring import RESULTS, machine, save
from torch import Tensor

import musegen
from musegen.contracts.missing import missing_rows
from musegen.evaluation.distributions import Counts, Values, overlap
from musegen.families.rnn_nade import RNNNADE
from musegen_pianoroll.measures.bars import Bars
from musegen_pianoroll.measures.heard import Harmony
from musegen_pianoroll.store.windows import WindowDataset

SEEDS = 4
AROUND, REGION = 3, 2
"""Bars before the bars that are filled in, and these."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("-n", type=int, default=256, help="samples")
    parser.add_argument("--pieces", type=int, default=64, help="held-out windows for nats, continue and infill")
    parser.add_argument("--only", default="", help="parts by name, with commas between them")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    figures = Figures(musegen.load(arguments.model), arguments.data, arguments.n, arguments.pieces)
    out = arguments.out or RESULTS / f"music_{Path(arguments.model).stem}.json"
    record: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
    parts = arguments.only.split(",") if arguments.only else list(Figures.PARTS)
    for part in parts:
        started = time.process_time()
        found = Figures.PARTS[part](figures)
        if found is None:
            continue
        record[part] = {
            "n": arguments.n,
            "pieces": arguments.pieces,
            "data": Path(arguments.data).name,
            "machine": machine(),
        }
        record[part] |= {"cpu_seconds": round(time.process_time() - started), "figures": found}
        print(json.dumps({part: found}), flush=True)
        save(out, record)


class Figures:
    """The parts, each of which may be asked for alone; samples are drawn once.

    Args:
        n: samples.
        n_pieces: held-out windows.
    """

    def __init__(self, model: musegen.Model, source: str, n: int, n_pieces: int) -> None:
        data = model.data(source)
        assert data is not None
        self.model, self.domain, self.n, self.n_pieces = model, model.domain, n, n_pieces
        self.train = data.splits["train"]
        self.held_out: WindowDataset = next(
            data.splits[name] for name in ("test", "valid") if len(data.splits.get(name, ()))
        )

    @cached_property
    def samples(self) -> Tensor:
        return torch.cat([self.model.sample(self.n // SEEDS, seed=seed) for seed in range(SEEDS)])

    def measures(self) -> dict[str, dict[str, float]]:
        chains = self.domain.baselines(self.train, self.n, seed=0)
        columns = {
            "model": self.samples,
            "held-out": whole(self.held_out, self.n),
            "training": whole(self.train, self.n),
            **chains,
        }
        by_column = {name: means(self.domain.measures(x)) for name, x in columns.items()}
        return {row: {name: column.get(row) for name, column in by_column.items()} for row in by_column["model"]}

    def nats(self) -> dict[str, float]:
        x = whole(self.held_out, self.n_pieces)
        each = -self.model.log_prob(x).double() / x.shape[2]
        return {"nats a step": float(each.mean()), "standard error": float(each.std() / len(each) ** 0.5)}

    def continue_(self) -> dict[str, dict[str, float]]:
        given, after = consecutive(self.held_out, self.n_pieces)
        ways: dict[str, dict[str, Any]] = {"model": {}, "model, key=same": {"key": "same"}}
        drawn = {
            way: torch.cat([self.model.continue_(x, x.shape[1], seed=i, **options) for i, x in enumerate(given)])
            for way, options in ways.items()
        }
        return {
            **{way: self._kept(given, x) for way, x in drawn.items()},
            "the piece itself": self._kept(given, after),
            "windows": {"n": len(given)},
        }

    def _kept(self, before: Tensor, after: Tensor) -> dict[str, float]:
        (harmony_a, notes_a), (harmony_b, notes_b) = self._heard(before), self._heard(after)
        ratio = notes_b / notes_a
        a, b = harmony_a.key, harmony_b.key
        relative = (relative_major(a) == relative_major(b)).double()
        return {
            "density": float(((ratio >= 0.5) & (ratio <= 2)).double().mean()),
            "same key": float((a == b).double().mean()),
            "same or relative key": float(relative.mean()),
        }

    def infill(self) -> dict[str, dict[str, float]]:
        family, bar = self.model.family, self.domain.spec.bar
        assert isinstance(family, RNNNADE)
        if family.masks is None:
            return {}
        x, plan = family.without_plan(family.cells(whole(self.held_out, self.n_pieces)))
        nothing = torch.zeros(x.shape[:3], dtype=torch.bool) if plan is None else plan
        rows = torch.arange(x.shape[2])
        first, last = AROUND * bar, (AROUND + REGION) * bar
        region, names, n_plan = (rows >= first) & (rows < last), list(self.domain.part_names), self.domain.spec.plan
        part_of = torch.tensor(self.domain.spec.part_of[: x.shape[1]])
        past = self._nats(family, x, nothing | (rows < first))
        found = {}
        for chosen in [*([name] for name in names[bool(n_plan) :]), names[bool(n_plan) :]]:
            of_parts = torch.tensor([names[part] in chosen for part in part_of.tolist()])
            hidden = of_parts[:, None] & region  # (C, T)
            around = self._nats(family, x, nothing | ~hidden)
            n_notes = max(1.0, float(x[:, of_parts][:, 1::2, first:last].sum()))  # onsets
            nats = {
                "around": float(around[:, hidden].sum()) / n_notes,
                "past alone": float(past[:, hidden].sum()) / n_notes,
            }
            found["+".join(chosen)] = nats | {"less": 1 - nats["around"] / nats["past alone"]}
        return found

    @torch.no_grad()
    def _nats(self, family: RNNNADE, x: Tensor, mask: Tensor) -> Tensor:
        """−log p of each channel of each step, ``(n, C, T)``, given what the mask says and all that comes before."""
        parts = []
        for some, known in zip(x.split(16), mask.split(16), strict=True):
            with self.model.drawing(0):
                logits = family.network(some, family.condition(len(some), some.shape[2]), known)
            parts.append(-family.likelihood.cell_log_prob(logits, some).sum(3).double())
        return torch.cat(parts)

    def copies(self) -> dict[str, float]:
        return self.domain.copies(self.samples, self.train)

    def levels(self) -> dict[str, float] | None:
        if not self.domain.config.velocities:
            return None
        own, other = self.domain.measures(self.samples), self.domain.measures(whole(self.held_out, self.n))
        return {name: overlap(own[name].counts, other[name].counts) for name in own if name.startswith("level")}

    def _heard(self, x: Tensor) -> tuple[Harmony, Tensor]:
        """Harmony, and notes of each sample ``(n,)``."""
        bars = Bars(self.domain.rolls(x), self.domain.config.bar_steps)
        pitched = [i for i, track in enumerate(self.domain.tracks) if not track.is_drum]
        return Harmony(bars, pitched, self.domain.config.steps_per_beat), bars.notes.sum((1, 2))

    PARTS: Mapping[str, Callable[[Figures], Any]] = {
        "measures": measures, "nats": nats, "continue": continue_, "infill": infill, "copies": copies, "levels": levels,
    }  # fmt: skip


def means(values: Mapping[str, Values]) -> dict[str, float]:
    """The mean of each measure that is a number, where it is defined."""
    return {name: float(v.defined.mean()) for name, v in values.items() if not isinstance(v, Counts) and len(v.defined)}


def whole(dataset: WindowDataset, n: int) -> Tensor:
    """Up to n windows in which every bar has all its rows, evenly spread, ``(n, C, rows, W)``."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(dataset), generator=generator)
    parts, have = [], 0
    for index in order.split(256):
        x = dataset.gather(index, generator).x.float()
        x = x[~missing_rows(x).any(1)]
        parts.append(x[: n - have])
        have += len(parts[-1])
        if have == n:
            break
    return torch.cat(parts)


def consecutive(dataset: WindowDataset, n: int) -> tuple[Tensor, Tensor]:
    """Up to n windows and those that follow them in the same piece."""
    starts, rows = dataset.starts.tolist(), dataset.n_steps
    place = {start: i for i, start in enumerate(starts)}
    # A window over the seam shows that both lie in one piece.
    pairs = [(i, place[s + rows]) for s, i in place.items() if s + rows in place and s + rows // 2 in place]
    generator = torch.Generator().manual_seed(1)
    chosen = [pairs[i] for i in torch.randperm(len(pairs), generator=generator)[: 2 * n].tolist()]
    a, b = (dataset.gather(torch.tensor(index), generator).x.float() for index in zip(*chosen, strict=True))
    keep = ~(missing_rows(a).any(1) | missing_rows(b).any(1)) & (a.flatten(1).sum(1) > 0)
    return a[keep][:n], b[keep][:n]


def relative_major(key: Tensor) -> Tensor:
    """Major keys as they are, 0 to 11, and minor ones, 12 to 23, as their relative major."""
    return torch.where(key < 12, key, (key + 3) % 12)


if __name__ == "__main__":
    main()
