"""Nats per frame of RNN-NADE on polyphonic music, by the protocol of Bai et al. 2018 (1803.01271, section 4).

    python benchmarks/polyphonic.py JSB_Chorales [--data ../shared/data/polyphonic] [--steps 8000] [--given any] [--set depth=1 …]

The data are their MATLAB files (Boulanger-Lewandowski et al. 2012): pieces of 88 keys per frame, split by them into train, valid
and test. The figure is −log p of frames 2 to the last, each given all earlier frames of its piece, summed over the keys and
averaged over all such frames of the split. The network is trained on stretches of pieces, each moved by a random number of
semitones; evaluation runs over whole pieces. The weights (their moving average) are those with the lowest figure on the
validation pieces; the test pieces are looked at once, with these.

With ``--given any``, training draws what is given of every stretch, in frames, as the domain's option ``given=any`` has it drawn in
bars; nothing is given in evaluation, so the figure is the same.

Beside it, as a check of the protocol: independent keys with their frequency in the training pieces.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from musegen.contracts.dataset import Batch, Dataset
from musegen.contracts.domain import Spec
from musegen.contracts.family import Losses
from musegen.data.batches import Batches
from musegen.engine.engine import Engine
from musegen.families.rnn_nade import RNNNADE, RNNNADEConfig
from musegen.probability.likelihood import Bernoulli
from musegen.running.config import RunConfig

KEYS = 88
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Pieces(Dataset):
    """Pieces of different lengths; a batch is padded with empty frames, and its label is each one's number of frames.

    Args:
        pieces: each ``(frames, 88)``.
        frames: at most so many of a piece are gathered, from a random one on; 0: all of it.
        semitones: pieces are moved by up to as many, up or down.
    """

    pieces: Sequence[Tensor]
    frames: int = 0
    semitones: int = 0

    def __len__(self) -> int:
        return len(self.pieces)

    def gather(self, index: Tensor, generator: torch.Generator) -> Batch:
        chosen = []
        for i in index.tolist():
            piece = self.pieces[i]
            if self.frames:
                spare = max(0, len(piece) - self.frames)
                first = int(torch.randint(spare + 1, (), generator=generator))
                piece = piece[first : first + self.frames]
            if self.semitones:
                shift = int(torch.randint(-self.semitones, self.semitones + 1, (), generator=generator))
                piece = F.pad(piece, (shift, -shift))  # what leaves the keyboard is lost, and rests come in
            chosen.append(piece)
        lengths = torch.tensor([len(piece) for piece in chosen])
        x = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True)[:, None]  # (B, 1, frames, 88)
        return Batch(x, index, lengths)


class PaddedRNNNADE(RNNNADE):
    """The family on pieces of different lengths: the loss is the mean over frames, without the padding."""

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        x, inside, mask, levels = batch.x, frames_of(batch), None, None
        if self.masks is not None and self.wishes is not None and self.training:
            mask, levels = self.masks.drawn(x), self.wishes.drawn(x)
        log_p = self.step_log_prob(x, None, mask, levels)
        free = inside if mask is None else inside & ~mask[:, 0]
        yield "network", {"loss": -(log_p * inside).sum() / free.sum()}


def frames_of(batch: Batch) -> Tensor:
    """Which frames are the pieces' own, ``(B, T)``."""
    assert batch.label is not None
    return torch.arange(batch.x.shape[2]) < batch.label[:, None]


@torch.no_grad()
def nats_per_frame(family: RNNNADE, pieces: Sequence[Tensor]) -> float:
    """−log p of frames 2 to the last, averaged over all of them, in nats. ``family`` is in evaluation mode."""
    total, count = 0.0, 0
    by_length = Pieces(sorted(pieces, key=len))  # little padding
    for batch in Batches(by_length, 8, 0, torch.device("cpu")).once():
        log_p, counted = family.step_log_prob(batch.x), frames_of(batch)
        counted[:, 0] = False
        total -= float(log_p[counted].sum(dtype=torch.float64))
        count += int(counted.sum())
    return total / count


def independent_keys(train: Sequence[Tensor], test: Sequence[Tensor]) -> float:
    """Nats per frame of keys that are independent of one another and of the past."""
    frames = torch.cat(list(train)).double()
    p = (frames.sum(0) + 0.5) / (len(frames) + 1)
    x = torch.cat([piece[1:] for piece in test]).double()
    return float(-(x * p.log() + (1 - x) * (1 - p).log()).sum(1).mean())


def read(path: Path) -> dict[str, list[Tensor]]:
    from scipy.io import loadmat

    found = loadmat(path)
    return {
        split: [torch.tensor(piece, dtype=torch.float32) for piece in found[f"{split}data"][0]]
        for split in ("train", "valid", "test")
    }


def option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=["JSB_Chorales", "Nottingham", "Piano_midi", "MuseData"])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data" / "polyphonic")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--validate-every", type=int, default=200, metavar="STEPS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=16, help="pieces per step")
    parser.add_argument("--frames", type=int, default=64, help="longest stretch of a piece in training")
    parser.add_argument("--semitones", type=int, default=6, help="pieces are moved by up to as many in training")
    parser.add_argument("--given", choices=["any"], help="any part may be given, and training draws which")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument(
        "--set", type=option, nargs="*", action="extend", default=[], metavar="OPTION=VALUE", help="of rnn_nade"
    )
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/polyphonic_DATASET.json")
    arguments = parser.parse_args()
    file = arguments.data / f"{arguments.dataset}.mat"
    if not file.is_file():
        sys.exit(f"Skipped: {file} is not there. Give the folder of the MATLAB files with --data.")
    data = read(file)
    baseline = independent_keys(data["train"], data["test"])
    print(f"independent keys: test {baseline:.3f} nats per frame", flush=True)

    torch.manual_seed(arguments.seed)
    config = RNNNADEConfig(**dict(arguments.set))
    parts = (1,) if arguments.given else ()
    spec = Spec((1, arguments.frames, KEYS), ("channel", "frame", "key"), Bernoulli(), parts=parts)
    family = PaddedRNNNADE(config, spec, {})
    run = RunConfig(
        steps=arguments.steps,
        learning_rate=arguments.learning_rate,
        schedule="cosine",
        lr_warmup_steps=50,
        clip_norm=1.0,
        ema=0.998,
        seed=arguments.seed,
    )
    stretches = Pieces(data["train"], arguments.frames, arguments.semitones)
    batches = Batches(stretches, arguments.batch_size, arguments.seed, torch.device("cpu"))
    family.prepare(batches[0])
    engine = Engine(family, run)
    curve: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    start = time.monotonic()
    for step in range(1, arguments.steps + 1):
        engine.step([batches[step - 1]])
        if step % arguments.validate_every and step != arguments.steps:
            continue
        with engine.averaged() as averaged:
            valid = nats_per_frame(averaged, data["valid"])
            if not curve or valid < min(row["valid"] for row in curve):
                best = {name: value.clone() for name, value in averaged.state_dict().items()}
        row = {"step": step, "train": engine.collect()["network/loss"], "valid": valid, "s": time.monotonic() - start}
        curve.append(row)
        print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)

    family.load_state_dict(best)
    family.eval()
    figures = {split: nats_per_frame(family, data[split]) for split in ("train", "valid", "test")}
    record = {
        "dataset": arguments.dataset,
        "nats_per_frame": figures,
        "independent_keys_test": baseline,
        "best_step": min(curve, key=lambda row: row["valid"])["step"],
        "seconds": time.monotonic() - start,
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "parameters": sum(p.numel() for p in family.parameters()),
        "arguments": {k: v for k, v in vars(arguments).items() if k not in ("data", "out", "set")},
        "options": asdict(config),
        "curve": curve,
    }
    print(json.dumps({name: record[name] for name in ("dataset", "nats_per_frame", "best_step", "seconds")}))
    out = arguments.out or HERE / "results" / f"polyphonic_{arguments.dataset}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
