"""PixelRNN: the law of the data is reached, and the state of the LSTM carries what masks cannot."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.engine.engine import Engine
from musegen.families.pixelrnn import PixelRNN, PixelRNNConfig
from musegen.networks.autoregressive import AutoregressiveGrid
from musegen.probability.likelihood import Bernoulli
from musegen.running.config import RunConfig

KINDS = ["row-lstm", "diagonal-bilstm"]


def model(shape: tuple[int, int, int], kind: Any, **options: Any) -> PixelRNN:
    config = PixelRNNConfig(kind=kind, **({"channels": 8, "layers": 1} | options))
    spec = Spec(shape, ("channel", "row", "column"), Bernoulli())
    wanted: Any = PixelRNN.networks(config, spec)["autoregressive"]
    return PixelRNN(config, spec, {"autoregressive": AutoregressiveGrid(shape, spec.params_shape, wanted)})


def fit(family: PixelRNN, x: Tensor, steps: int) -> float:
    batch = Batch(x, torch.arange(len(x)))
    engine = Engine(family, RunConfig(steps=steps, learning_rate=0.02, schedule="cosine"))
    for _ in range(steps):
        engine.step([batch])
    return engine.evaluate([batch])["autoregressive/loss"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_reaches_the_entropy_of_the_data_and_the_law_is_exact(kind: str) -> None:
    """Parity over 2 × 2 binary cells: three fair bits, the fourth follows."""
    grids = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
    even = grids[grids.sum(1) % 2 == 0].view(-1, 1, 2, 2)
    family = model((1, 2, 2), kind)
    loss = fit(family, even, 400)
    assert 3 * math.log(2) - 1e-5 < loss < 3 * math.log(2) + 0.05  # without the parity: log 2 more
    with torch.no_grad():
        log_p = family.log_prob(grids.view(-1, 1, 2, 2))
    assert float(log_p.logsumexp(0)) == pytest.approx(0, abs=1e-4)
    assert float((family.sample(500).flatten(1).sum(1) % 2 == 0).float().mean()) > 0.94


def test_only_the_diagonal_lstm_remembers_what_lies_far_to_the_right() -> None:
    """The first cell of row 1 repeats the last of row 0, outside the row LSTM's triangle: that costs it a fair bit."""
    x = torch.zeros(2, 1, 2, 9)
    x[1, 0, 0, 8] = x[1, 0, 1, 0] = 1
    fitted = {kind: fit(model((1, 2, 9), kind), x, 250) for kind in KINDS}
    assert fitted["row-lstm"] == pytest.approx(2 * math.log(2), abs=0.02)
    assert fitted["diagonal-bilstm"] < 1.4 * math.log(2)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_given_is_continued(kind: str) -> None:
    """Data whose rows all repeat the first: given a first row, the most probable rest repeats it too."""
    first = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
    x = first[:, None, None].expand(8, 1, 3, 3).contiguous()
    family = model((1, 3, 3), kind)
    assert fit(family, x, 120) == pytest.approx(3 * math.log(2), abs=0.05)
    asked = torch.rand(8, 1, 3, 3)
    asked[:, :, 0] = x[:, :, 0]
    assert torch.equal(family.complete(asked, 1, temperature=0), x)
