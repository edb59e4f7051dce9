"""PixelCNN against a law that is known, its label marginal, and what continuing means."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import musegen
from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.contracts.family import build
from musegen.engine.engine import Engine
from musegen.errors import BadInput
from musegen.families.pixelcnn import PixelCNN, PixelCNNConfig
from musegen.networks.autoregressive import AutoregressiveGrid
from musegen.plugins import registry
from musegen.probability.likelihood import Bernoulli, Categorical
from musegen.running.config import RunConfig


def model(shape: tuple[int, int, int], classes: tuple[str, ...] = (), **options: Any) -> PixelCNN:
    config = PixelCNNConfig(**({"channels": 8, "layers": 1} | options))
    spec = Spec(shape, ("channel", "row", "column"), Bernoulli(), classes)
    wanted: Any = PixelCNN.networks(config, spec)["autoregressive"]
    return PixelCNN(config, spec, {"autoregressive": AutoregressiveGrid(shape, spec.params_shape, wanted)})


def batch_of(x: Tensor, label: Tensor | None = None) -> Batch:
    return Batch(x, torch.arange(len(x)), label)


def fit(family: PixelCNN, batch: Batch, steps: int) -> float:
    engine = Engine(family, RunConfig(steps=steps, learning_rate=0.02, schedule="cosine"))
    for _ in range(steps):
        engine.step([batch])
    return engine.evaluate([batch])["autoregressive/loss"]


def every_grid(n_cells: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n_cells)))


@pytest.mark.parametrize("gated", [False, True])
def test_the_loss_reaches_the_entropy_of_the_data(gated: bool) -> None:
    """Parity over 2 × 2 binary cells, noise in the last one: three fair bits and one of entropy h(0.2), in nats."""
    first = every_grid(3)
    parity = first.sum(1) % 2
    rows = [torch.cat([first, last[:, None]], 1).repeat(n, 1) for last, n in ((parity, 4), (1 - parity, 1))]
    x = torch.cat(rows).view(-1, 1, 2, 2)
    entropy = 3 * math.log(2) - 0.2 * math.log(0.2) - 0.8 * math.log(0.8)
    loss = fit(model((1, 2, 2), gated=gated, channels=16), batch_of(x), 350)
    assert entropy - 1e-5 < loss < entropy + 0.03  # without the parity: 0.19 more


def test_the_loss_is_minus_log_p_by_hand() -> None:
    """Weights of zero: every cell is a fair coin, n log 2 nats and one bit per cell; the head's bias makes it an unfair one."""
    family, x = model((2, 3, 3)), (torch.rand(5, 2, 3, 3) < 0.5).float()
    for p in family.parameters():
        torch.nn.init.zeros_(p)
    ((player, losses),) = family.updates(batch_of(x))
    assert player == "autoregressive"
    assert losses["loss"].item() == pytest.approx(18 * math.log(2))
    assert losses["bits_per_dim"].item() == pytest.approx(1)
    family.autoregressive.head.bias.data[:] = torch.tensor([math.log(3), -math.log(4)])
    ones = x.sum((2, 3))  # (B, 2)
    by_hand = ones[:, 0] * math.log(3 / 4) + (9 - ones[:, 0]) * math.log(1 / 4)
    by_hand += ones[:, 1] * math.log(1 / 5) + (9 - ones[:, 1]) * math.log(4 / 5)
    torch.testing.assert_close(family.log_prob(x), by_hand)


def test_a_conditional_model_learns_each_class_and_sums_labels_out() -> None:
    """Class 0: stripes of rows; class 1: of columns."""
    stripes = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]]).view(4, 1, 2, 2)
    label = torch.tensor([0, 0, 1, 1])
    family = model((1, 2, 2), ("rows", "columns"), conditional=True, channels=16)
    assert fit(family, batch_of(stripes, label), 200) == pytest.approx(math.log(2), abs=0.01)

    x = every_grid(4).view(-1, 1, 2, 2)
    with torch.no_grad():
        given = torch.stack([family.log_prob_given(x, torch.full((16,), y)) for y in (0, 1)])
        torch.testing.assert_close(given.logsumexp(1), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(family.log_prob(x).exp(), given.exp().mean(0))
        by_bayes = given.exp() / given.exp().sum(0)  # p(y | x) = p(x | y) / Σ_y' p(x | y')
        torch.testing.assert_close(family.classify(x).exp(), by_bayes.T)
        assert family.classify(stripes).argmax(1).tolist() == label.tolist()
        # Drawn with a label: that class alone; without one: both, equally often.
        drawn = family.sample(400, label=torch.ones(400, dtype=torch.long))
        assert (drawn[:, :, 0] == drawn[:, :, 1]).all((1, 2)).float().mean() > 0.98
        rows = (family.sample(2000)[:, 0, 0].sum(1) != 1).float().mean()
    assert float(rows) == pytest.approx(0.5, abs=0.05)
    assert family.capabilities.classify
    assert not model((1, 2, 2)).capabilities.classify


def test_conditions_that_cannot_be_met_are_refused() -> None:
    with pytest.raises(BadInput, match="gated=True"):
        PixelCNNConfig(gated=False, conditional=True)
    with pytest.raises(BadInput, match="needs data with class labels"):
        model((1, 2, 2), conditional=True)
    family = model((1, 2, 2), ("a", "b"), conditional=True)
    with pytest.raises(BadInput, match="class label"):
        next(family.updates(batch_of(torch.zeros(3, 1, 2, 2))))


def test_what_is_given_is_continued() -> None:
    """Data whose rows all repeat the first: given a first row, the most probable rest repeats it too."""
    first = every_grid(3)
    x = first[:, None, None].expand(8, 1, 4, 3).contiguous()
    family = model((1, 4, 3), channels=16, layers=2)
    assert fit(family, batch_of(x), 150) == pytest.approx(3 * math.log(2), abs=0.05)
    asked = torch.rand(8, 1, 4, 3)
    asked[:, :, 0] = x[:, :, 0]
    assert torch.equal(family.complete(asked, 1, temperature=0), x)
    drawn = family.sample(500)
    assert float((drawn == drawn[:, :, :1]).all((1, 2, 3)).float().mean()) > 0.95


def test_music_unfolds_in_time() -> None:
    """The steps of a roll are the rows: a later step changes nothing earlier, and tracks of a step are ordered by pitch."""
    domain_class = registry().domain("pianoroll")
    domain = domain_class(domain_class.Config(bars=1, lowest_pitch=60, highest_pitch=64, planes="frame"))
    family = build(PixelCNN, PixelCNNConfig(channels=40, layers=1), domain)
    x = (torch.rand(1, *domain.spec.shape) < 0.3).float()
    changed = x.clone()
    changed[:, 2, 7, 3] = 1 - changed[:, 2, 7, 3]  # guitar, step 7, pitch 63
    with torch.no_grad():
        differ = (family.autoregressive(x) != family.autoregressive(changed))[0]  # (tracks, steps, pitches)
    assert not differ[:, :7].any()
    assert not differ[:, 7, :3].any()  # lower pitches of the same step
    assert differ[:, 7, 3].tolist() == [False, False, False, True, True]  # drums, piano, guitar; bass, strings
    assert differ[:, 7, 4].all()
    assert differ[:, 8].any()


def test_trains_on_labels_and_its_draws_are_cells_not_probabilities(tmp_path: Path) -> None:
    options = {"steps": 30, "conditional": True, "channels": 8, "layers": 1, "quiet": True}
    run = musegen.train("pixelcnn", "toy", out=tmp_path / "toy", **options)
    loaded = musegen.load(run.path)
    assert set(loaded.sample(20).unique().tolist()) == {0.0, 1.0}
    assert loaded.log_prob(loaded.sample(5)).isfinite().all()


def test_nothing_is_calibrated_on_draws(tmp_path: Path, band_store: Path) -> None:
    options = {"steps": 2, "bars": 1, "channels": 5, "layers": 0, "samples": 1, "quiet": True}
    run = musegen.train("pixelcnn", "pianoroll", data=band_store, out=tmp_path / "run", **options)
    writing = run.config().writing
    assert (writing.threshold, writing.gate) == ("auto", [])


def test_levels_of_grey() -> None:
    """256 levels are drawn as levels: Categorical params are (K, *S), and the loss starts near log 256 per cell."""
    spec = Spec((3, 4, 4), ("channel", "row", "column"), Categorical(256))
    config = PixelCNNConfig(channels=6, layers=1)
    wanted: Any = PixelCNN.networks(config, spec)["autoregressive"]
    family = PixelCNN(config, spec, {"autoregressive": AutoregressiveGrid(spec.shape, spec.params_shape, wanted)})
    x = family.sample(2)
    assert torch.equal((255 * x).round() / 255, x)
    assert next(family.updates(batch_of(x)))[1]["bits_per_dim"].item() == pytest.approx(8, abs=0.5)
    for p in family.parameters():
        torch.nn.init.zeros_(p)
    assert next(family.updates(batch_of(x)))[1]["bits_per_dim"].item() == pytest.approx(
        8, abs=1e-6
    )  # every level as likely


@pytest.mark.parametrize("likelihood", ["softmax", "logistic_mixture"])
@pytest.mark.parametrize("family", ["pixelcnn", "pixelrnn"])
def test_green_and_blue_follow_from_red(family: str, likelihood: str, tmp_path: Path) -> None:
    """Pictures of one random grey: independent levels cost log2 16 = 4 bits per value, and all but the first follow."""
    greys = 17 * torch.randint(16, (200, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    data = greys.expand(200, 3, 4, 4).to(torch.uint8)
    options = {
        "steps": 150,
        "channels": 24,
        "layers": 1,
        "learning_rate": 0.01,
        "likelihood": likelihood,
        "quiet": True,
    }
    model = musegen.load(musegen.train(family, "image", data=data, out=tmp_path / "run", **options).path)
    bits = -float(model.log_prob(data.float() / 255).mean()) / (48 * math.log(2))
    assert bits < 4
    drawn = model.sample(3)
    assert torch.equal((255 * drawn).round() / 255, drawn)
