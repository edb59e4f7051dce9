"""Classes are named alike in Python and on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Result, bad
from PIL import Image

import musegen
from musegen.data.batches import spread
from musegen.errors import BadInput
from musegen.models.labels import class_numbers

NUMBERS = ["0", "1", "10", "11", "2", "30"]


@pytest.mark.parametrize(
    ("label", "classes", "found"),
    [
        (2, NUMBERS, [4, 4]),
        ("2", NUMBERS, [4, 4]),
        (np.int64(10), NUMBERS, [2, 2]),
        (torch.tensor(10), NUMBERS, [2, 2]),
        (4, NUMBERS, [4, 4]),  # no class has that name
        ("5", NUMBERS, [5, 5]),
        ([2, "30"], NUMBERS, [4, 5]),
        (np.array([2, 1]), NUMBERS, [4, 1]),
        (torch.tensor([2, 1]), NUMBERS, [2, 1]),  # as a batch has them
        ("disc", ["disc", "square"], [0, 0]),
        (["square", 0], ["disc", "square"], [1, 0]),
        (1, [], [1, 1]),
    ],
)
def test_a_class_goes_by_its_name_or_else_by_its_number(label: Any, classes: list[str], found: list[int]) -> None:
    assert class_numbers(label, 2, classes, len(classes) or 3).tolist() == found


@pytest.mark.parametrize(
    ("label", "classes", "message"),
    [
        (7, NUMBERS, r'There is no class "7": use a number from 0 to 5, or a name: 0, 1, 10, 11, 2, 30\.'),
        ("disk", ["disc", "square"], r'There is no class "disk"\. Did you mean "disc"'),
        (-1, ["disc", "square"], r'There is no class "-1": use a number from 0 to 1, or a name: disc, square\.'),
        ("x", [], r'There is no class "x": use a number from 0 to 2\.'),
        ([0], ["disc", "square"], r"1 classes for 2 samples are invalid: give one for all, or one for each\."),
        (torch.tensor([0, 5]), ["disc", "square"], r"Class numbers outside 0 to 1 are invalid: \[0, 5\]\."),
    ],
)
def test_classes_that_are_not_there_are_refused(label: Any, classes: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        class_numbers(label, 2, classes, len(classes) or 3)


def test_a_number_is_the_same_class_both_ways(run: Callable[..., Result], tmp_path: Path) -> None:
    """Classes named 5, 10 and 20: 10 is the second or the first of them, and never the eleventh."""
    for name in (5, 10, 20):
        (tmp_path / "data" / str(name)).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((8, 8), 10 * name, np.uint8)).save(tmp_path / "data" / str(name) / f"{i}.png")
    small = ["--set", "size=8", "--set", "widths=[8]", "--set", "binarisation=none", "--set", "latent_dim=2"]
    few = ["--steps", 2, "--batch-size", 4, "--validate-every", 0, "--sample-every", 0, "--quiet"]
    assert run("train", "conditional_gan", "image", "data", "--out", "run", *small, *few).code == 0
    model = musegen.load("run")
    wanted = model.sample(1, label="10")
    number = list(model.domain.spec.classes).index("10")
    assert torch.equal(model.sample(1, label=10), wanted)
    assert torch.equal(model.sample(1, label=torch.tensor([number])), wanted)
    assert not torch.equal(model.sample(1, label=20), wanted)
    assert run("generate", "run", "-n", 1, "--label", 10, "--out", "out").code == 0
    written = np.asarray(Image.open("out/sample_000.png"))
    model.write(wanted, "python")
    assert (written == np.asarray(Image.open("python/sample_000.png"))).all()
    bad(run("generate", "run", "--label", 7, "--out", "seven"), 'no class "7"', "a name: ")


def test_examples_are_spread_over_the_whole_split(tmp_path: Path) -> None:
    """They are what outliers, pictures of codes and validations see."""
    options = {"steps": 1, "batch_size": 4, "validate_every": 0, "sample_every": 0, "valid": 50, "quiet": True}
    model = musegen.load(musegen.train("vae", "toy", out=tmp_path / "run", **options).path)
    batch = model.examples(5)
    assert batch is not None
    assert batch.index.tolist() == spread(5, 50).tolist() == [5, 15, 25, 35, 45]
    assert len(model.examples(1000) or ()) == 50
