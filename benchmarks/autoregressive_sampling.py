"""Drawing from an autoregressive network: cached rows and few passes over each, against one full pass per cell.

    python benchmarks/autoregressive_sampling.py [--steps 150] [-n 16] [--out benchmarks/results/autoregressive_sampling.json]

Each kind of network is first trained for a moment on MNIST, because how many passes a row needs depends on how much its
cells depend on one another (grids: passes until the row repeats itself), or on how many are on (RNN-NADE: one for each). Both
ways then draw n pictures with the same noise, and must give the same pictures. Times are the processor's.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import RESULTS, machine, save
from torch import Tensor

from musegen.contracts.family import Family, build
from musegen.data.batches import Batches
from musegen.engine.engine import Engine
from musegen.families.pixelcnn import PixelCNN, PixelCNNConfig
from musegen.families.pixelrnn import PixelRNN, PixelRNNConfig
from musegen.families.rnn_nade import RNNNADE, RNNNADEConfig
from musegen.running.config import RunConfig
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


def cached_steps(network: Any, seed: int, shape: Sequence[int]) -> tuple[Tensor, int]:
    """``RecurrentNADE.draw``, whose noise is a uniform number per cell, row by row; and how often it asked the network.

    Returns:
        Pictures ``shape`` = (n, 1, rows, columns), and passes over a row.
    """
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    hook = network.out.register_forward_hook(count)
    torch.manual_seed(seed)
    x = network.draw(shape[2], network.start(shape[0]))
    hook.remove()
    return x, passes


def noise_of_steps(seed: int, shape: Sequence[int]) -> Tensor:
    """The uniform numbers that ``cached_steps`` draws."""
    torch.manual_seed(seed)
    n, _, rows, columns = shape
    return torch.stack([torch.rand(n, columns) for _ in range(rows)], 1)[:, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150, help="training steps before drawing")
    parser.add_argument("-n", type=int, default=16, help="pictures")
    parser.add_argument("--out", type=Path, default=RESULTS / "autoregressive_sampling.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    where = machine()
    domain, data = ImageDomain.open(ImageConfig(), None, Path())
    small = {"channels": 16, "layers": 3}
    kinds: dict[str, tuple[type[Family], Any]] = {
        "plain": (PixelCNN, PixelCNNConfig(gated=False, **small)),
        "gated": (PixelCNN, PixelCNNConfig(**small)),
        "row-lstm": (PixelRNN, PixelRNNConfig(kind="row-lstm", channels=16, layers=2)),
        "rnn-nade": (RNNNADE, RNNNADEConfig(units=64, hidden=64)),
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
        shape = (arguments.n, *domain.spec.shape)
        if isinstance(family, RNNNADE):
            network, noise = family.network, noise_of_steps(1, shape)
            draw = partial(cached_steps, network, 1, shape)
        else:
            (network,) = (m for m in family.modules() if type(m).__name__ == "AutoregressiveGrid")
            noise = torch.rand(shape)
            draw = partial(cached, network, noise)
        with torch.no_grad():
            draw()  # warm up
            start = time.process_time()
            fast, passes = draw()
            middle = time.process_time()
            slow = naive(network, noise)
        end = time.process_time()
        results[kind] = {
            "same_pictures": bool((fast == slow).all()),
            "passes_over_a_row": passes,
            "cells": noise[0].numel(),
            "cached_s": middle - start,
            "naive_s": end - middle,
            "speed_up": (end - middle) / (middle - start),
        }
        print(kind, json.dumps(results[kind]), flush=True)
    save(arguments.out, {"machine": where, "pictures": arguments.n, "kinds": results})


if __name__ == "__main__":
    main()
