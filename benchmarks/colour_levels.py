"""Bits per sub-pixel of coloured digits: PixelCNN with a likelihood of 256 levels, beside independent levels per sub-pixel.

    python benchmarks/colour_levels.py OUT [STEPS] [softmax|logistic_mixture]

Digits of MNIST are made smaller to 14 × 14 and coloured: a colour for the digit and one for what is behind it, drawn per picture.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import musegen
from musegen.data.bundled import bundled
from musegen_image.data import read_mnist

LEVELS, N_TEST, PER_PASS = 256, 500, 100


def coloured(split: str, n: int, seed: int) -> Tensor:
    """The first n digits of a split of MNIST in two colours each, uint8 ``(n, 3, 14, 14)``."""
    generator = torch.Generator().manual_seed(seed)
    grey = F.avg_pool2d(torch.from_numpy(read_mnist(bundled("mnist"))[split][0][:n, None].copy()).float() / 255, 2)
    ink, behind = torch.rand(2, n, 3, 1, 1, generator=generator)
    return (255 * (grey * (0.5 + ink / 2) + (1 - grey) * behind / 2)).round().to(torch.uint8)


def independent_bits(training: Tensor, test: Tensor) -> float:
    """Bits per sub-pixel of a histogram of levels per sub-pixel, each level counted once more than it was seen."""
    cells, seen = training.flatten(1).long().T, test.flatten(1).long().T  # (cells, n)
    counts = torch.ones(len(cells), LEVELS).scatter_add_(1, cells, torch.ones(cells.shape))
    return float(-(counts / counts.sum(1, keepdim=True)).gather(1, seen).log2().mean())


def main(out: Path, steps: int, likelihood: str) -> None:
    training, valid, test = coloured("train", 8000, 0), coloured("valid", 500, 1), coloured("test", N_TEST, 2)
    start = time.process_time()
    run = musegen.train(
        "pixelcnn",
        "image",
        data={"train": training, "valid": valid},
        out=out,
        steps=steps,
        batch_size=32,
        learning_rate=2e-3,
        channels=48,
        layers=3,
        likelihood=likelihood,
        quiet=True,
    )
    model, x = musegen.load(run.path), test.float() / (LEVELS - 1)
    nats = torch.cat([model.log_prob(part) for part in x.split(PER_PASS)])
    print(f"{likelihood}, {steps} steps, {time.process_time() - start:.0f} s of a CPU")
    print(f"bits per sub-pixel {float(-nats.mean()) / (x[0].numel() * math.log(2)):.2f}")
    print(f"independent levels {independent_bits(training, test):.2f}")
    model.write(model.sample(16, seed=0), out / "drawn")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        int(sys.argv[2]) if len(sys.argv) > 2 else 500,
        sys.argv[3] if len(sys.argv) > 3 else "logistic_mixture",
    )
