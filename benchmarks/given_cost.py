"""What a training step of the recurrent NADE costs more when anything may be given, and when chords come before the notes.

    python benchmarks/given_cost.py [--rounds 9]

Networks and batches of the model ``chorale`` (192 units, 130 features, 32 windows of eight bars), in turn in one process with one
thread; figures are processor time per step.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from measuring import RESULTS, Side, in_turn, machine, ratios, save, spread
from training_step import by_engine

from musegen.contracts.family import build
from musegen.data.batches import Batches
from musegen.data.bundled import bundled
from musegen.families.rnn_nade import RNNNADE, RNNNADEConfig
from musegen.running.config import RunConfig
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.domain import PianorollDomain

CHORALES = {"tracks": "voices", "steps_per_beat": 2, "bars": 8, "lowest_pitch": 31, "highest_pitch": 90, "transpose": 6}
NETWORK = {"units": 192, "features": 130, "dropout": 0.5, "lags": [1, 2]}
SIDES: dict[str, dict[str, Any]] = {
    "nothing given": {},
    "given=any": {"given": ["any"]},
    "given=any, plan=chords": {"given": ["any"], "plan": "chords"},
}


def side(options: dict[str, Any], cache: Path) -> tuple[Side, int]:
    """Training steps, and how many numbers the networks have."""
    domain, data = PianorollDomain.open(PianorollConfig(**CHORALES, **options), bundled("chorales"), cache)
    torch.manual_seed(0)
    family = build(RNNNADE, RNNNADEConfig(**NETWORK), domain)
    batches = Batches(data.splits["train"], 32, 0, torch.device("cpu"))
    n = sum(p.numel() for p in family.parameters())
    return by_engine(family, batches, RunConfig(batch_size=32, device="cpu")), n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS / "given_cost.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = {name: side(options, Path(folder) / name) for name, options in SIDES.items()}
        sides = {name: run for name, (run, _) in made.items()}
        for run in sides.values():
            run(2)
        times = in_turn(sides, 2, arguments.rounds)
    base = times["nothing given"]
    rows = {
        name: {"parameters": made[name][1], "s_per_step": spread(values), "over nothing given": ratios(values, base)}
        for name, values in times.items()
    }
    for name, row in rows.items():
        print(f"{name:24} {row}")
    save(arguments.out, {"machine": machine(), "rounds": arguments.rounds, "rows": rows})


if __name__ == "__main__":
    main()
