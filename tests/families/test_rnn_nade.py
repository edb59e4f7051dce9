"""RNN-NADE: the law of the data is reached, chords are joint, and music goes on beyond the window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from musegen.contracts.asked import Asked
from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.contracts.family import require
from musegen.engine.engine import Engine
from musegen.errors import BadInput
from musegen.families.rnn_nade import RNNNADE, RNNNADEConfig, RNNNADESampling
from musegen.networks.nade import Given
from musegen.probability.likelihood import Bernoulli, Gaussian
from musegen.running.config import RunConfig

SMALL: dict[str, Any] = {"units": 12, "hidden": 8, "depth": 0, "features": 4, "dropout": 0.0}


def model(
    shape: tuple[int, int, int],
    bar: int = 0,
    classes: tuple[str, ...] = (),
    given: tuple[tuple[int, int, int], ...] = (),
    **options: Any,
) -> RNNNADE:
    spec = Spec(shape, ("channel", "row", "column"), Bernoulli(), classes, given, bar)
    return RNNNADE(RNNNADEConfig(**(SMALL | options)), spec, {})


def fit(family: RNNNADE, x: Tensor, steps: int, label: Tensor | None = None) -> float:
    batch = Batch(x, torch.arange(len(x)), label)
    family.prepare(batch)
    engine = Engine(family, RunConfig(steps=steps, learning_rate=0.02, schedule="cosine"))
    for _ in range(steps):
        engine.step([batch])
    return engine.evaluate([batch])["network/loss"]


@pytest.mark.parametrize("recurrent", ["lstm", "gru"])
def test_the_loss_reaches_the_entropy_of_the_data_and_the_law_is_exact(recurrent: str) -> None:
    """Parity over 2 × 2 binary cells: three fair bits, the fourth follows."""
    grids = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
    even = grids[grids.sum(1) % 2 == 0].view(-1, 1, 2, 2)
    family = model((1, 2, 2), recurrent=recurrent)
    assert 3 * math.log(2) - 1e-5 < fit(family, even, 400) < 3 * math.log(2) + 0.05
    with torch.no_grad():
        log_p = family.eval().log_prob(grids.view(-1, 1, 2, 2))
    assert float(log_p.logsumexp(0)) == pytest.approx(0, abs=1e-4)
    assert float((family.sample(500).flatten(1).sum(1) % 2 == 0).float().mean()) > 0.94


def test_independent_cells_cost_their_entropy() -> None:
    """Fresh cells that are on with probability 1/10: no model does better than 0.325 nats a cell, this one nearly as well."""
    family = model((2, 8, 6))
    engine = Engine(family, RunConfig(steps=300, learning_rate=0.01, schedule="cosine"))
    cells = lambda n: torch.bernoulli(torch.full((n, 2, 8, 6), 0.1))  # noqa: E731
    family.prepare(Batch(cells(64), torch.arange(64)))
    for _ in range(300):
        engine.step([Batch(cells(64), torch.arange(64))])
    x = cells(1000)
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    own = float(-(x * math.log(0.1) + (1 - x) * math.log(0.9)).mean())  # what the true law pays for these draws
    assert own == pytest.approx(entropy, abs=0.01)
    with torch.no_grad():
        nats = float(-family.eval().log_prob(x).mean() / (2 * 8 * 6))
    assert own - 0.001 < nats < own + 0.006


def test_before_the_first_step_a_cell_is_as_likely_as_in_the_data() -> None:
    x = torch.bernoulli(torch.rand(1, 2, 1, 5).expand(200, 2, 7, 5))
    family = model((2, 7, 5))
    family.prepare(Batch(x, torch.arange(200)))
    rate = family.network.step_bias.bias.sigmoid().view(5, 2).T
    torch.testing.assert_close(rate, x.mean((0, 2)), atol=2e-3, rtol=0)


def test_the_position_in_the_bar_is_known() -> None:
    """A beat on the first step of every bar of three, after a start that no past explains: free with the metre."""
    x = torch.zeros(1, 1, 9, 1)
    x[:, :, ::3] = 1
    family = model((1, 9, 1), bar=3, features=0)
    assert fit(family, x, 150) < 0.05
    _, memory = family.network.steps(torch.zeros(1, 1, 2, 1), family.network.start(1))
    assert memory.step == 2
    family.sampling = RNNNADESampling(temperature=0)
    assert torch.equal(family.eval().continue_(x[:, :, :4], 8)[0, 0, :, 0].nonzero()[:, 0], torch.tensor([2, 5]))


def test_a_past_is_continued_beyond_the_window() -> None:
    """Rows that alternate between a pattern and its complement: the most probable rest goes on so, four windows far."""
    first = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
    x = torch.stack([first, 1 - first, first, 1 - first], 1)[:, None]  # (8, 1, 4, 3)
    family = model((1, 4, 3))
    assert fit(family, x, 200) == pytest.approx(3 * math.log(2), abs=0.05)
    family.sampling = RNNNADESampling(temperature=0)
    rest = family.eval().continue_(x[:, :, :2], 16)
    assert torch.equal(rest, x[:, :, :2].repeat(1, 1, 8, 1))


@pytest.mark.parametrize("taken_in", [1, 3, 100])
def test_a_long_past_is_taken_in_by_parts(taken_in: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its length does not decide how much memory it takes, and the parts change nothing."""
    family, past = model((1, 4, 3)).eval(), torch.randint(2, (2, 1, 7, 3)).float()
    family.sampling = RNNNADESampling(temperature=0)
    whole = family.continue_(past, 5)
    monkeypatch.setattr("musegen.families.rnn_nade.PAST_STEPS", taken_in)
    seen, steps = [], family.network.steps

    def counted(x: Tensor, *args: Any) -> Any:
        seen.append(x.shape[2])
        return steps(x, *args)

    monkeypatch.setattr(family.network, "steps", counted)
    assert torch.equal(family.continue_(past, 5), whole)
    assert sum(seen) == 7
    assert max(seen) == min(taken_in, 7)


def test_without_bars_earlier_steps_are_seen_all_the_same() -> None:
    """Lags are bars, and data without bars have none; the steps before are there."""
    family = model((1, 5, 4), features=4, dropout=0.0).eval()
    (relative, _) = family.network.terms
    assert relative.relative.offsets == [-2, -1, 0]  # type: ignore[attr-defined]
    x = torch.zeros(1, 1, 5, 4)
    with torch.no_grad():
        for p in family.parameters():
            torch.nn.init.normal_(p)
        family.network.terms = [relative]
        for p in family.network.recurrent.parameters():
            p.zero_()
        before = family.network(x)
        x[0, 0, 1, 2] = 1
        moved = (family.network(x) - before).abs().amax((0, 1, 3)) > 1e-6
    assert moved.tolist() == [False, True, True, True, False]


def test_a_label_decides_and_is_summed_out() -> None:
    x, label = torch.zeros(8, 1, 2, 2), torch.arange(8) % 2
    x[label == 1] = 1
    family = model((1, 2, 2), classes=("off", "on"), conditional=True)
    assert fit(family, x, 150, label) < 0.02
    family.eval()
    assert torch.equal(family.sample(8, label=label), x)
    with torch.no_grad():
        torch.testing.assert_close(family.log_prob(x), torch.full((8,), -math.log(2)), atol=0.02, rtol=0)
        grids = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).view(-1, 1, 2, 2)
        given = torch.stack([family.step_log_prob(grids, torch.full((16,), y)).sum(1) for y in (0, 1)], 1)
        torch.testing.assert_close(family.classify(grids), given.log_softmax(1))
        assert family.classify(x).argmax(1).tolist() == label.tolist()
    assert family.capabilities.classify
    assert not model((1, 2, 2)).capabilities.classify


def answers(n: int, rows: int) -> Tensor:
    """Two channels: the first is random, one cell a row; the second answers with the cell of the *next* row of the first."""
    asked = torch.nn.functional.one_hot(torch.randint(4, (n, rows)), 4).float()
    return torch.stack([asked, torch.cat([asked[:, 1:], torch.zeros(n, 1, 4)], 1)], 1)


@pytest.mark.parametrize("features", [0, 4])
def test_an_accompaniment_follows_what_is_given_later_in_music_of_any_length(features: int) -> None:
    """What answers the next row of the first channel would cost log 4 a row, and costs nothing when that is given."""
    family = model((2, 9, 4), given=((0, 0, 1),), features=features)
    family.prepare(Batch(answers(64, 9), torch.arange(64)))
    engine = Engine(family, RunConfig(steps=250, learning_rate=0.02, schedule="cosine"))
    for _ in range(250):
        engine.step([Batch(answers(64, 9), torch.arange(64))])
    family.eval()
    x = answers(300, 17)
    with torch.no_grad():
        assert float(-family.log_prob(x).mean()) < 0.2
    drawn = family.sample(3, given=x[0])
    assert torch.equal(drawn[:, 0], x[:1, 0].expand(3, -1, -1))
    shown = family.sample(40)
    family.sampling = RNNNADESampling(temperature=0)
    assert torch.equal(family.sample(300, given=x), x)
    assert torch.equal(shown[:, 0], family.examples[torch.arange(40) % 32][:, 0])
    assert shown.shape == (40, 2, 9, 4)


def test_what_is_given_outside_the_given_tracks_changes_nothing() -> None:
    family = model((3, 4, 15), given=((0, 1, 2),)).eval()
    given = torch.bernoulli(torch.full((3, 9, 15), 0.5))
    other = given.clone()
    other[[0, 2]] = 1 - other[[0, 2]]
    torch.manual_seed(1)
    drawn = family.sample(5, given=given)
    torch.manual_seed(1)
    assert torch.equal(family.sample(5, given=other), drawn)
    assert torch.equal(drawn[:, 1], given[None, 1].expand(5, -1, -1))
    x = torch.bernoulli(torch.full((2, 3, 4, 15), 0.3))
    logits = family.network(x, None, family.mask_of(x))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, [0, 2]], x[:, [0, 2]], reduction="none")
    torch.testing.assert_close(family.log_prob(x), -loss.flatten(1).sum(1))


def test_what_cannot_be_given_is_refused() -> None:
    for slabs, message in ((((1, 0, 2),), "whole tracks"), (((0, 0, 1), (0, 1, 2)), "nothing is left")):
        with pytest.raises(BadInput, match=message):
            RNNNADE.networks(RNNNADEConfig(), Spec((2, 4, 4), ("c", "r", "c"), Bernoulli(), (), slabs))
    family = model((2, 4, 4), given=((0, 0, 1),)).eval()
    for shape in ((2, 4, 5), (1, 4, 4), (3, 2, 4, 4)):
        with pytest.raises(BadInput, match="needs"):
            family.sample(2, given=torch.zeros(shape))
    with pytest.raises(BadInput, match='This model of the family "rnn_nade" cannot continue'):
        require(family, "continue_", {"rnn_nade": RNNNADE})


def test_data_that_are_not_binary_are_refused() -> None:
    with pytest.raises(BadInput, match="on or off"):
        RNNNADE.networks(RNNNADEConfig(), Spec((1, 4, 4), ("c", "r", "c"), Gaussian()))
    with pytest.raises(BadInput, match="class labels"):
        RNNNADE.networks(RNNNADEConfig(conditional=True), Spec((1, 4, 4), ("c", "r", "c"), Bernoulli()))


def test_bars_of_a_lead_in_are_drawn_and_left_out() -> None:
    """The same draws as a longer sample's, without its first bars; a past needs none, and nor does what is given."""
    family = model((1, 4, 3), bar=2).eval()
    led = model((1, 4, 3), bar=2).eval()
    led.sampling = RNNNADESampling(lead_in=3)
    led.load_state_dict(family.state_dict())

    def seeded(draw: Callable[[], Tensor]) -> Tensor:
        torch.manual_seed(1)
        return draw()

    nothing, past = torch.zeros(5, 1, 0, 3), torch.ones(5, 1, 2, 3)
    long = seeded(lambda: family.continue_(nothing, 10))
    assert torch.equal(seeded(lambda: led.sample(5)), long[:, :, 6:])
    assert torch.equal(seeded(lambda: led.continue_(nothing, 4)), long[:, :, 6:])
    assert torch.equal(seeded(lambda: led.continue_(past, 4)), seeded(lambda: family.continue_(past, 4)))


def test_cells_that_are_always_or_never_on_have_a_finite_bias() -> None:
    x = torch.zeros(8, 1, 200_000, 2)
    x[..., 1] = 1
    family = model((1, 4, 2))
    family.prepare(Batch(x, torch.arange(8)))
    bias = family.network.step_bias.bias
    assert bool(bias.isfinite().all())
    torch.testing.assert_close(bias.detach(), torch.tensor([1e-5, 1 - 1e-5]).logit(), atol=0.01, rtol=0.01)


def any_model(shape: tuple[int, int, int] = (4, 6, 12), plan: int = 2, **options: Any) -> RNNNADE:
    """Of two channels of a plan, if there is one, and two parts of one channel, in bars of two rows."""
    parts = (*([plan] if plan else []), *[1] * (shape[0] - plan))
    spec = Spec(shape, ("channel", "row", "column"), Bernoulli(), bar=2, octave=12, parts=parts, plan=plan)
    family = RNNNADE(RNNNADEConfig(**({"units": 8, "hidden": 8, "features": 8, "depth": 0} | options)), spec, {})
    with torch.no_grad():
        for p in family.parameters():
            p.copy_(0.5 * torch.randn_like(p))
    return family.eval()


@pytest.mark.parametrize("refine", [0, 2])
@pytest.mark.parametrize("rows", [6, 9])
def test_what_is_given_comes_back_and_the_rest_is_drawn(refine: int, rows: int) -> None:
    torch.manual_seed(0)
    family = any_model()
    family.sampling = RNNNADESampling(refine=refine)
    cells = torch.bernoulli(torch.full((5, 4, rows, 12), 0.3))
    mask = torch.rand(5, 4, rows) < 0.5
    allowed = torch.rand(4, rows, 12) < 0.7
    found = family.fill(Asked(cells, mask, allowed=allowed))
    assert torch.equal(found * mask[..., None], cells * mask[..., None])
    assert not (found * ~mask[..., None] * ~allowed).any()
    assert 0 < float((found * ~mask[..., None]).mean()) < 1
    everything = torch.ones_like(mask)
    assert torch.equal(family.fill(Asked(cells, everything)), cells)


def test_rows_that_are_given_whole_are_passed_over_and_change_nothing() -> None:
    """The middle is drawn as if one had gone through all rows, with the noise of the middle."""
    torch.manual_seed(0)
    family = any_model()
    cells = torch.bernoulli(torch.full((3, 4, 10, 12), 0.3))
    mask = torch.ones(3, 4, 10, dtype=torch.bool)
    mask[:, 1:3, 4:6] = False
    family.sampling = RNNNADESampling(temperature=0.0)
    quick = family.fill(Asked(cells, mask))
    given = Given.of(cells, mask)
    slow = family.network.draw(10, family.network.start(3), 0.0, family.condition(3, 10), given)
    assert torch.equal(quick, slow)


def test_steps_that_break_rules_are_drawn_again() -> None:
    torch.manual_seed(0)
    family = any_model()

    seen = []

    def faults(step: int, before: Tensor, row: Tensor) -> Tensor:
        """An odd number of cells."""
        seen.append((step, before))
        return row.flatten(1).sum(1) % 2

    nothing = Asked.nothing(30, family.spec.shape, 8)
    kept, free = (family.fill(replace(nothing, faults=rule)) for rule in (faults, None))
    assert not (kept.sum((1, 3)) % 2).any()
    assert (free.sum((1, 3)) % 2).any()
    assert [step for i, (step, _) in enumerate(seen) if not i or seen[i - 1][0] != step] == list(range(8))
    assert all(torch.equal(before[:, :, 0], kept[:, :, step - 1]) for step, before in seen if step)


def test_the_rest_has_a_probability_and_a_plan_does_not_count() -> None:
    family = any_model()
    x = torch.bernoulli(torch.full((3, 4, 6, 12), 0.3))
    mask = torch.rand(3, 4, 6) < 0.5
    logits = family.network(x, family.condition(3, 6), mask)
    of_cells = -torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
    torch.testing.assert_close(family.rest_log_prob(x, mask), (of_cells.sum(3) * ~mask).flatten(1).sum(1))
    other = x.clone()
    other[:, :2] = 1 - other[:, :2]
    torch.testing.assert_close(family.log_prob(x), family.log_prob(other))
    mask = torch.zeros(3, 4, 6, dtype=torch.bool)
    mask[:, :2] = True
    silent = x.clone()
    silent[:, :2] = 0
    torch.testing.assert_close(family.log_prob(x), family.rest_log_prob(silent, mask))


def test_a_model_learns_to_fill_in_what_only_the_future_says() -> None:
    """The last row repeats the first, which nobody can know beforehand; given the last, the first is known."""
    pattern = torch.eye(6)[torch.randint(6, (256,))]  # (n, 6)
    x = torch.zeros(256, 2, 4, 6)
    x[:, 0, 0] = x[:, 0, 3] = pattern
    spec = Spec((2, 4, 6), ("channel", "row", "column"), Bernoulli(), bar=1, parts=(1, 1))
    family = RNNNADE(RNNNADEConfig(units=24, hidden=24, features=8, depth=0, dropout=0.0, lags=[]), spec, {})
    fit(family, x, 400)
    mask = torch.ones(256, 2, 4, dtype=torch.bool)
    mask[:, 0, 0] = False
    nats = -float(family.eval().rest_log_prob(x, mask).detach().mean())
    assert nats < 0.3  # log 6 = 1.79 without the future
    assert float((family.fill(Asked(x, mask)) == x).float().mean()) > 0.97
