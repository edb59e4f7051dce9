"""Evaluation of trained models: which examples are compared, and what stands beside what."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import musegen
from musegen.errors import BadInput
from musegen.evaluation.evaluate import Evaluation, Figure, _draw, evaluate, rows, tables

QUICK = {"steps": 3, "batch_size": 8, "validate_every": 0, "sample_every": 0, "quiet": True}


def trained(family: str, out: Path, **options: Any) -> musegen.Model:
    return musegen.load(musegen.train(family, "toy", out=out, **QUICK, **options).path)


def test_an_exact_log_prob_is_the_mean_over_held_out_examples(tmp_path: Path) -> None:
    model = trained("pixelcnn", tmp_path / "run", channels=4, layers=1)
    found = evaluate(model, n=40, seed=3)
    data = model.data()
    assert data is not None
    values = model.log_prob(_draw(data.splits["test"], 40, 3)).double()
    assert found.log_prob == {
        "kind": "exact",
        "nats": pytest.approx(float(values.mean())),
        "error": pytest.approx(float(values.std()) / math.sqrt(40)),
        "draws": 1,
    }
    assert found == evaluate(model, n=40, seed=3)
    assert found != evaluate(model, n=40, seed=4)
    assert evaluate(model, n=1000).n_held_out == 64


def test_examples_come_from_the_whole_split_each_at_most_once(tmp_path: Path) -> None:
    data = trained("vae", tmp_path / "run", latent_dim=2).data()
    assert data is not None
    train = data.splits["train"]

    class Indices:
        """The data set, with each example's number for a sample."""

        def __len__(self) -> int:
            return len(train)

        def gather(self, index: Tensor, generator: torch.Generator) -> Any:
            return musegen.contracts.dataset.Batch(index.double(), index)  # type: ignore[attr-defined]

    index = _draw(Indices(), 100, 0)  # type: ignore[arg-type]
    assert len(index.unique()) == 100
    assert index.max() > 200


def test_what_is_given_comes_from_held_out_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that completes a part is judged, and searched for copies, on parts that it has not seen."""
    model = trained("conditional_gan", tmp_path / "run", given=True, condition="given", latent_dim=2)
    seen: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setattr(model.domain, "metrics", lambda a, b: seen.append((a, b)) or {"x": 0.0})
    found = evaluate(model, n=30)
    samples, held_out = seen[0]
    mask = model.domain.spec.given_mask()
    assert found.n_samples == len(samples) == len(held_out) == 30
    assert torch.equal(samples[:, mask], held_out[:, mask])
    assert not torch.equal(samples, held_out)
    assert torch.equal(seen[1][1], held_out)  # the floor has the same reference


def test_samples_are_drawn_at_the_temperature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained("vae", tmp_path / "run", latent_dim=2)
    seen: list[Tensor] = []
    monkeypatch.setattr(model.domain, "metrics", lambda a, b: seen.append(a) or {"x": 0.0})
    found = []
    for temperature in (1.0, 0.0):
        model.configure(temperature=temperature)
        found.append(evaluate(model, n=8))
    assert len(seen[0].unique(dim=0)) == 8
    assert len(seen[2].unique(dim=0)) == 1  # seen[1] and seen[3] are the floor's training examples
    assert found[0].log_prob == found[1].log_prob


def test_no_held_out_data(tmp_path: Path) -> None:
    model = trained("vae", tmp_path / "run", latent_dim=2, valid=0)
    assert evaluate(model, n=4).split == "test"
    with pytest.raises(BadInput, match="no held-out data in valid"):
        evaluate(model, n=4, split="valid")


def test_rows_of_the_table_and_json() -> None:
    figures = {
        "a/b/mean": Figure(1.0, 2.0),
        "a/b/reference": Figure(3.0, 3.0),
        "c/mean": Figure(math.nan, 0.12345),
        "alone": Figure(5.0, 6.0),
    }
    assert rows(figures) == [
        {"": "a/b", "mean": "1 (2)", "reference": "3 (3)", "value": ""},
        {"": "c", "mean": "– (0.123)", "reference": "", "value": ""},
        {"": "alone", "mean": "", "reference": "", "value": "5 (6)"},
    ]
    plain = Evaluation("test", 1, 1, None, figures, {}).as_dict()
    assert plain["metrics"]["c/mean"] == {"model": None, "floor": 0.12345, "baselines": {}}


def test_which_measures_are_within_twice_the_floor() -> None:
    metrics = {
        "near/distance": Figure(2.0, 1.0),
        "near/kl": Figure(9.0, 1.0),  # where there is a distance it decides
        "far/distance": Figure(2.1, 1.0),
        "table/kl": Figure(0.1, 0.3),
        "equal/distance": Figure(0.0, 0.0),
        "undefined/distance": Figure(math.nan, 1.0),
        "undefined/kl": Figure(1.0, 1.0),
        "alone": Figure(1.0, 1.0),
    }
    assert Evaluation("test", 1, 1, None, metrics, {}).within(2) == (["near", "table", "equal"], ["far"])


def test_choices_are_kept_to_the_most_probable_ones_and_an_exported_model_remembers(tmp_path: Path) -> None:
    model = trained("rnn_nade", tmp_path / "run", units=4, hidden=4, features=0)
    free = model.sample(64, seed=1)
    model.configure(top_p=0.01)  # less than any first choice has
    likeliest = model.sample(64, seed=1)
    assert len(likeliest.unique(dim=0)) == 1 < len(free.unique(dim=0))
    assert torch.equal(likeliest, model.sample(64, temperature=0, top_p=1.0))
    assert model.family.sampling.top_p == 0.01  # options of a call are of that call alone
    model.save(tmp_path / "model.safetensors")
    assert torch.equal(musegen.load(tmp_path / "model.safetensors").sample(64), likeliest)
    with pytest.raises(BadInput, match="top_p"):
        model.configure(top_p=1.5)
    with pytest.raises(BadInput, match=r'vae on toy.* has no option "top_p"'):
        trained("vae", tmp_path / "vae", latent_dim=2).configure(top_p=0.5)
    with pytest.raises(BadInput, match='has no option "units"'):
        model.configure(units=8)


def test_tables_show_everybody_side_by_side() -> None:
    """Means, then overlaps, then what is no distribution; distances are for those who compute with them."""
    figures = {
        "a/b/mean": Figure(1.0, 2.0, {"dice": 9.0}),
        "a/b/reference": Figure(3.0, 3.0, {"dice": 3.0}),
        "a/b/overlap": Figure(0.5, 0.75, {"dice": 0.0}),
        "a/b/distance": Figure(2.0, 1.0, {"dice": 6.0}),
        "counts/overlap": Figure(0.25, math.nan, {"dice": 1.0}),
        "counts/kl": Figure(2.0, 1.0, {"dice": 1.0}),
        "alone": Figure(5.0, 6.0, {"dice": 7.0}),
        "of a plugin": Figure(1.0, 2.0),
    }
    (means, mean_rows), (overlaps, overlap_rows), (others, other_rows) = tables(figures)
    assert [means, overlaps, others] == [
        "Means",
        "Overlap with held-out examples (1: the same distribution)",
        "Figures",
    ]
    assert mean_rows == [{"": "a/b", "model": "1", "held-out": "3", "training": "2", "dice": "9"}]
    assert overlap_rows == [
        {"": "a/b", "model": "0.5", "training": "0.75", "dice": "0"},
        {"": "counts", "model": "0.25", "training": "–", "dice": "1"},
    ]
    assert other_rows == [
        {"": "alone", "model": "5", "training": "6", "dice": "7"},
        {"": "of a plugin", "model": "1", "training": "2", "dice": "–"},
    ]
    found = Evaluation("test", 1, 1, None, figures, {})
    assert found.baselines == ["dice"]
    assert found.behind("dice") == ["counts"]
    assert found.behind("nobody") == []
    assert found.as_dict()["metrics"]["a/b/mean"] == {"model": 1.0, "floor": 2.0, "baselines": {"dice": 9.0}}
