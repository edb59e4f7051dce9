"""Drawing from an autoregressive network: cached rows and fixed-point passes against one full pass per cell.

    python benchmarks/autoregressive_sampling.py [--steps 150] [-n 16] [--out benchmarks/results/autoregressive_sampling.json]

Each kind of network is first trained for a moment on MNIST, because how many passes a row needs depends on how much its
cells depend on one another. Both ways then draw n pictures with the same noise, and must give the same pictures.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musegen.config import RunConfig
from musegen.data.dataset import Batches
from musegen.engine import Engine
from musegen.families.pixelcnn import PixelCNN, PixelCNNConfig
from musegen.families.pixelrnn import PixelRNN, PixelRNNConfig
from musegen.family import Family, build
from musegen_image.domain import ImageConfig, ImageDomain


class SharedNoise:
    """A likelihood whose draws compare with fixed uniform numbers, row after row: both ways see the same noise."""

    def __init__(self, noise: Tensor) -> None:
        self.noise, self.row, self.blank = noise, 0, torch.zeros_like(noise[:, :, :1])
        self.previous = self.blank  # where draw starts every row
        self.passes = 0

    def sample(self, params: Tensor, temperature: float = 1.0) -> Tensor:
        """The row that ``draw`` is at: a row that repeats itself has settled, and the next call is for the one below."""
        self.passes += 1
        row = (self.noise[:, :, self.row : self.row + 1] < params.sigmoid()).to(params.dtype)
        if torch.equal(row, self.previous):
            self.row, self.previous = self.row + 1, self.blank
        else:
            self.previous = row
        return row


@torch.no_grad()
def naive(network: Any, noise: Tensor) -> Tensor:
    """One pass over the whole grid per cell."""
    x = torch.zeros_like(noise)
    for row in range(noise.shape[2]):
        for column in range(noise.shape[3]):
            p = network(x)[:, :, row, column].sigmoid()
            x[:, :, row, column] = (noise[:, :, row, column] < p).float()
    return x


def cached(network: Any, noise: Tensor) -> tuple[Tensor, int]:
    """``AutoregressiveGrid.draw`` with the same noise, and how many passes over a row it took."""
    likelihood = SharedNoise(noise)
    return network.draw(torch.zeros_like(noise), likelihood), likelihood.passes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150, help="training steps before drawing")
    parser.add_argument("-n", type=int, default=16, help="pictures")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "autoregressive_sampling.json")
    arguments = parser.parse_args()
    domain, data = ImageDomain.open(ImageConfig(), None, Path())
    small = {"channels": 16, "layers": 3}
    kinds: dict[str, tuple[type[Family], Any]] = {
        "plain": (PixelCNN, PixelCNNConfig(gated=False, **small)),
        "gated": (PixelCNN, PixelCNNConfig(**small)),
        "row-lstm": (PixelRNN, PixelRNNConfig(kind="row-lstm", channels=16, layers=2)),
    }
    results = {}
    for kind, (family_class, config) in kinds.items():
        torch.manual_seed(0)
        family = build(family_class, config, domain)
        engine = Engine(family, RunConfig(steps=arguments.steps))
        batches = Batches(data.splits["train"], 32, 0, torch.device("cpu"))
        for step in range(arguments.steps):
            engine.step([batches[step]])
        family.eval()
        (network,) = (m for m in family.modules() if type(m).__name__ == "AutoregressiveGrid")
        noise = torch.rand(arguments.n, *domain.spec.shape)
        cached(network, noise[:1])  # warm up
        start = time.perf_counter()
        fast, passes = cached(network, noise)
        middle = time.perf_counter()
        slow = naive(network, noise)
        end = time.perf_counter()
        results[kind] = {
            "same_pictures": bool((fast == slow).all()),
            "passes_over_a_row": passes,
            "cells": noise[0].numel(),
            "cached_s": middle - start,
            "naive_s": end - middle,
            "speed_up": (end - middle) / (middle - start),
        }
        print(kind, json.dumps(results[kind]), flush=True)
    machine = (
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    record = {"date": date.today().isoformat(), "machine": machine, "pictures": arguments.n, "kinds": results}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
