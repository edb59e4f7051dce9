"""Codes of a generator by optimisation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import Result, bad
from torch import Tensor

import musegen
from musegen.families import inversion
from musegen.families.inversion import SIGMA, inverted


def test_a_linear_generator_has_its_most_probable_code() -> None:
    """x = A z + noise: z* = (AᵀA + σ² I)⁻¹ Aᵀ x, the ridge regression."""
    torch.manual_seed(0)
    a, x = torch.randn(6, 3) / 2, torch.randn(5, 6)
    closed = torch.linalg.solve(a.T @ a + SIGMA**2 * torch.eye(3), a.T @ x.T).T
    torch.testing.assert_close(inverted(lambda z: z @ a.T, x, 3), closed, atol=0.05, rtol=0)


def test_it_never_gets_worse_than_where_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """With steps that are far too long, the best code that was seen is given."""

    def generator(z: Tensor) -> Tensor:
        return (3 * z).sin()

    torch.manual_seed(0)
    x = generator(torch.randn(8, 2))

    def loss(z: Tensor) -> Tensor:
        return (x - generator(z)).square().sum(1) / (2 * SIGMA**2) + z.square().sum(1) / 2

    with monkeypatch.context() as changed:
        changed.setattr(inversion, "STEPS", 0)
        begun = loss(inverted(generator, x, 2))
    monkeypatch.setattr(inversion, "RATE", 1e4)
    assert (loss(inverted(generator, x, 2)) <= begun + 1e-6).all()


def test_a_gan_walks_between_its_own_samples(tmp_path: Path) -> None:
    options = {"steps": 20, "batch_size": 8, "latent_dim": 2, "validate_every": 0, "sample_every": 0, "quiet": True}
    model = musegen.load(musegen.train("gan", "toy", out=tmp_path / "run", device="cpu", **options).path)
    x = model.sample(2, seed=1)
    before = torch.random.get_rng_state()
    path = model.interpolate(x[0], x[1], steps=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert path.shape == (5, *model.domain.spec.shape)
    spread = float((x[0] - x[1]).square().mean())
    ends = float((path[[0, -1]] - x).square().mean())
    assert ends < 0.1 * spread
    between_seeds = model.interpolate(3, 4, steps=3)
    drawn = torch.cat([model.sample(1, seed=3), model.sample(1, seed=4)])
    torch.testing.assert_close(between_seeds[[0, -1]], drawn)
    assert model.arithmetic(x[:1], x[:1], x[1:]).shape == x[:1].shape


def test_the_command_walks_between_seeds(run: Callable[..., Result], tmp_path: Path) -> None:
    short = ["--steps", 2, "--batch-size", 8, "--validate-every", 0, "--sample-every", 0, "--quiet"]
    assert run("train", "gan", "toy", "--out", "run", *short).code == 0
    result = run("interpolate", "run", "seed:3", "seed:4", "--steps", 3, "--out", "walk")
    assert result.code == 0, result.err
    assert len(list((tmp_path / "walk").glob("step_*.npy"))) == 3
    bad(run("interpolate", "run", "seed:3", "x.npy", "--out", "none"), "give two files, or two seeds")
    bad(run("interpolate", "run", "seed:x", "seed:1", "--out", "none"), "give two files, or two seeds")
