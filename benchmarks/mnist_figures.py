"""Figures of trained runs on MNIST, whatever the family: what it can do decides what is measured.

    python benchmarks/mnist_figures.py RUN … [--k 200] [--images 10000] [--pictures docs/images]

For each run: the bound or exact log-likelihood of test images in nats (K printed), the share of wrong classes (of a second
data set where there is one; of clusters named by majority on validation images where a family found its own), and the
share of samples that the digit classifier of the image plugin is sure of. With --pictures, a grid of samples for each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import musegen
from musegen.contracts.dataset import Batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--k", type=int, default=200, help="draws per image for a bound")
    parser.add_argument("--images", type=int, default=10_000, help="test images")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    for run in arguments.runs:
        model = musegen.load(run)
        print(json.dumps({"run": run.name, **measure(model, arguments)}), flush=True)


def measure(model: musegen.Model, arguments: Any) -> dict[str, Any]:
    can, found = model.family.capabilities, {"family": model.family.name}
    adapted = model.config.get("target", "none") != "none" and model.family.name == "ada"
    test = model.examples(arguments.images, "target_test" if adapted else "test")
    assert test is not None
    if can.log_prob:
        exact = can.log_prob == "exact"
        values = model.log_prob(test.x, 1 if exact else arguments.k)
        key = "log p" if exact else f"log p ≥ (K = {arguments.k})"
        found |= {key: float(values.mean()), "standard error": float(values.std() / len(values) ** 0.5)}
    if can.classify and test.label is not None:
        found |= class_error(model, test)
    if can.sample:
        samples = model.sample(arguments.samples)
        found |= {k: v for k, v in model.domain.metrics(samples, test.x[: len(samples)]).items() if "samples" in k}
        if arguments.pictures is not None:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            model.domain.sheet(model.pieces(samples[:64]), columns=16).save(
                arguments.pictures / f"{model.family.name}.png"
            )
    return found


def class_error(model: musegen.Model, test: Batch) -> dict[str, float]:
    """Share of wrong classes; clusters without names take that of the majority of validation images."""
    assert test.label is not None
    predicted = model.classify(test.x).argmax(1)
    if model.family.name != "infogan":
        return {"error": wrong(predicted, test.label)}
    valid = model.examples(10_000)
    assert valid is not None
    assert valid.label is not None
    clusters = model.classify(valid.x).argmax(1)
    name = torch.zeros(int(max(clusters.max(), predicted.max())) + 1, dtype=torch.long)
    for cluster in clusters.unique().tolist():
        name[cluster] = valid.label[clusters == cluster].mode().values
    return {"cluster error": wrong(name[predicted], test.label), "clusters": len(clusters.unique())}


def wrong(predicted: Tensor, label: Tensor) -> float:
    return float((predicted != label).float().mean())


if __name__ == "__main__":
    main()
