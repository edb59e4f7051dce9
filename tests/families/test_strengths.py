"""Strengths of cells, as how loud notes are: drawn after all cells, given like them, and part of the likelihood."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from musegen.contracts.asked import Asked
from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.contracts.missing import MARK
from musegen.engine.engine import Engine
from musegen.engine.weights import take_weights
from musegen.families.rnn_nade import RNNNADE, RNNNADEConfig, RNNNADESampling
from musegen.probability.likelihood import Bernoulli
from musegen.running.config import RunConfig

PLAN, PARTS, EACH, ROWS, COLUMNS = 1, 2, 3, 8, 4
CELLS = PLAN + 2 * PARTS
SHAPE = (CELLS + EACH * PARTS, ROWS, COLUMNS)
ONSETS = [2, 4]


def model(strengths: int = EACH, **changes: Any) -> RNNNADE:
    torch.manual_seed(0)
    spec = Spec(
        (CELLS + strengths * PARTS, ROWS, COLUMNS),
        ("channel", "row", "column"),
        Bernoulli(),
        bar=4,
        parts=(PLAN, 2, 2),
        plan=PLAN,
        strengths=strengths,
    )
    options: dict[str, Any] = {"units": 12, "hidden": 8, "depth": 0, "features": 4, "dropout": 0.0}
    return RNNNADE(RNNNADEConfig(**options), replace(spec, **changes), {})


def samples(n: int, seed: int = 0) -> Tensor:
    """Cells at random, strengths that go up with the column; the second part is as strong as can be."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(n, *SHAPE)
    x[:, :CELLS] = (torch.rand(n, CELLS, ROWS, COLUMNS, generator=generator) < 0.3).float()
    level = torch.stack([torch.arange(COLUMNS).expand(ROWS, -1), torch.full((ROWS, COLUMNS), EACH)])
    return with_levels(x, level.expand(n, -1, -1, -1))


def with_levels(x: Tensor, level: Tensor) -> Tensor:
    above = level[:, :, None] > torch.arange(EACH)[:, None, None]  # (n, parts, each, rows, columns)
    x = x.clone()
    x[:, CELLS:] = (above & (x[:, ONSETS, None] > 0)).flatten(1, 2)
    return x


def levels(x: Tensor) -> Tensor:
    return x[:, CELLS:].unflatten(1, (PARTS, EACH)).sum(2)


def well_formed(x: Tensor) -> bool:
    """Whether strengths are as on a thermometer, and only where a cell is on."""
    planes = x[:, CELLS:].unflatten(1, (PARTS, EACH))
    return bool((planes[:, :, 1:] <= planes[:, :, :-1]).all() and (planes[:, :, 0] <= x[:, ONSETS]).all())


def fitted(steps: int = 150) -> RNNNADE:
    family, x = model(), samples(64)
    batch = Batch(x, torch.arange(len(x)))
    family.prepare(batch)
    engine = Engine(family, RunConfig(steps=steps, learning_rate=0.02, schedule="cosine"))
    for _ in range(steps):
        engine.step([batch])
    return family.eval()


def test_strengths_are_learnt_drawn_and_cost_what_they_cost() -> None:
    family = fitted()
    ((_, losses),) = family.updates(Batch(samples(32, 1), torch.arange(32)))
    assert losses["nats_per_strength"].item() < 0.1 < math.log(EACH + 1)
    drawn = family.sample(40)
    assert well_formed(drawn)
    goes_up, loudest = (levels(drawn)[:, part] == wanted for part, wanted in enumerate((torch.arange(COLUMNS), EACH)))
    assert float(goes_up[drawn[:, ONSETS[0]] > 0].float().mean()) > 0.95
    assert float(loudest[drawn[:, ONSETS[1]] > 0].float().mean()) > 0.95


def test_cells_are_the_same_as_those_of_a_model_without_strengths() -> None:
    plain, family = model(0), model()
    taken = take_weights(family, plain.state_dict())
    assert not taken.other_shape
    assert all(name.startswith("strengths.") for name in taken.missing)
    x = samples(6)
    plain.eval(), family.eval()
    for refine in (0, 1):
        plain.sampling = family.sampling = RNNNADESampling(refine=refine)
        torch.manual_seed(4)
        without = plain.sample(5)
        torch.manual_seed(4)
        drawn = family.sample(5)
        assert torch.equal(drawn[:, :CELLS], without)
        assert well_formed(drawn)
    torch.manual_seed(4)
    without = plain.continue_(x[:, :CELLS], 6)
    torch.manual_seed(4)
    drawn = family.continue_(x, 6)
    assert torch.equal(drawn[:, :CELLS], without)
    assert well_formed(drawn)
    assert levels(drawn).any()
    mask = torch.zeros(6, *SHAPE[:2], dtype=torch.bool)
    mask[:, [1, 2, 5, 6, 7], :5] = True
    torch.manual_seed(4)
    without = plain.fill(Asked(x[:, :CELLS], mask[:, :CELLS]))
    torch.manual_seed(4)
    drawn = family.fill(Asked(x, mask, allowed=torch.ones(SHAPE, dtype=torch.bool)))
    assert torch.equal(drawn[:, :CELLS], without)
    assert well_formed(drawn)
    with torch.no_grad():
        both = family.log_prob(x) - family.strengths.log_prob(x)  # type: ignore[union-attr]
        torch.testing.assert_close(both, plain.log_prob(x[:, :CELLS]))
        rest = family.rest_log_prob(x, mask) - family.strengths.log_prob(x, mask)  # type: ignore[union-attr]
        torch.testing.assert_close(rest, plain.rest_log_prob(x[:, :CELLS], mask[:, :CELLS]))


def test_given_strengths_stay_and_others_are_drawn() -> None:
    family, x = fitted(40), samples(5)
    level = torch.randint(0, EACH + 1, (5, PARTS, ROWS, COLUMNS), generator=torch.Generator().manual_seed(2))
    x = with_levels(x, level)
    mask = torch.zeros(5, *SHAPE[:2], dtype=torch.bool)
    mask[:, [part == 1 for part in family.spec.part_of], :5] = True
    drawn = family.fill(Asked(x, mask))
    assert torch.equal(drawn[mask], x[mask])
    assert well_formed(drawn)
    # Cells may be given without their strengths, which are drawn then, as for notes that somebody has no velocities of.
    cells_alone = torch.ones_like(mask)
    cells_alone[:, CELLS:] = False
    drawn = family.fill(Asked(x, cells_alone))
    assert torch.equal(drawn[:, :CELLS], x[:, :CELLS])
    assert not torch.equal(drawn, x)
    assert well_formed(drawn)
    assert torch.equal(family.fill(Asked(x, torch.ones_like(mask))), x)


def test_the_rest_of_strengths_alone_has_a_probability() -> None:
    family, x = fitted(40), samples(4, 3)
    mask = torch.ones(4, *SHAPE[:2], dtype=torch.bool)
    assert family.rest_log_prob(x, mask).tolist() == [0] * 4
    mask[:, CELLS:] = False
    with torch.no_grad():
        assert torch.equal(family.rest_log_prob(x, mask), family.strengths.log_prob(x))  # type: ignore[union-attr]


def test_rows_that_bars_lack_are_marked_in_all_channels() -> None:
    family = model(short_bars=True)
    x = samples(4)
    x[:, :, 3] = x[:, :, 7] = MARK
    family.prepare(Batch(x, torch.arange(4)))
    ((_, losses),) = family.updates(Batch(x, torch.arange(4)))
    assert losses["loss"].isfinite()
    mask = torch.zeros(4, *SHAPE[:2], dtype=torch.bool)
    drawn = family.eval().fill(Asked(x, mask))
    assert (drawn[:, :, [3, 7]] == MARK).all()
    assert well_formed(drawn[:, :, [0, 1, 2, 4, 5, 6]])


@pytest.mark.parametrize("rows", [4, 11])
def test_samples_of_any_length(rows: int) -> None:
    family = model().eval()
    assert family.continue_(torch.zeros(3, SHAPE[0], 0, COLUMNS), rows).shape == (3, SHAPE[0], rows, COLUMNS)
    family.sampling = RNNNADESampling(lead_in=1)
    assert family.sample(3).shape == (3, *SHAPE)
