"""Data that a program hands over in memory."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor
from torch.utils import data as torch_data

from musegen.data.arrays import ArrayDataset
from musegen.data.held import TorchExamples, divided, held
from musegen.errors import BadInput

ANY = torch.Generator().manual_seed(0)


def all_of(data: Any, split: str) -> tuple[Tensor, Tensor | None]:
    dataset = data.splits[split]
    batch = dataset.gather(torch.arange(len(dataset)), torch.Generator().manual_seed(0))
    return batch.x, batch.label


@given(
    npst.arrays(
        st.sampled_from([np.uint8, np.int16, np.uint16, np.int64, np.float16, np.float32, np.float64, np.bool_, ">f4"]),
        npst.array_shapes(min_dims=2, max_dims=4, max_side=12),
        elements=st.integers(0, 1),
    )
)
def test_every_example_is_in_one_split_with_its_values(x: np.ndarray) -> None:
    data = held(x)
    rows = torch.cat([d.rows for d in data.splits.values() if isinstance(d, ArrayDataset)])
    assert sorted(rows.tolist()) == list(range(len(x)))
    for split, dataset in data.splits.items():
        if len(dataset):
            found, label = all_of(data, split)
            assert np.array_equal(found.numpy(), x[dataset.rows.numpy()].astype(np.float32))
            assert label is None
    assert held(x).fingerprint == data.fingerprint
    other = x.copy()
    other.flat[-1] = 1 - other.flat[-1]
    assert held(other).fingerprint != data.fingerprint


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200))
def test_every_class_is_held_out_by_its_share(label: list[int]) -> None:
    data = held((torch.zeros(len(label), 2), label))
    for i, name in enumerate(data.classes):
        n = label.count(int(name))
        counts = {split: d.count(i) for split, d in data.splits.items()}
        assert sum(counts.values()) == n
        assert abs(counts["valid"] - n / 10) <= 1
        assert abs(counts["test"] - n / 10) <= 1
    assert len(data.splits["train"]) >= 0.6 * len(label)


def test_tensors_arrays_and_datasets_say_the_same() -> None:
    x, y = torch.randn(40, 3, 2), torch.arange(40) % 3

    class Pairs(torch_data.Dataset):
        def __len__(self) -> int:
            return 40

        def __getitem__(self, i: int) -> tuple[Tensor, int]:
            return x[i], int(y[i])

    ways = [(x, y), (x.numpy(), y.numpy()), [x, y.tolist()], torch_data.TensorDataset(x, y), Pairs()]
    found = [held(way) for way in ways]
    for split in ("train", "valid", "test"):
        wanted, labels = all_of(found[0], split)
        assert labels is not None
        for data in found[1:]:
            assert data.classes == ("0", "1", "2")
            batch, label = all_of(data, split)
            assert torch.equal(batch, wanted)
            assert label is not None
            assert torch.equal(label, labels)


def test_splits_of_ones_own_stay_and_share_their_classes() -> None:
    data = held({"train": (torch.zeros(6, 2), ["b", "a"] * 3), "test": (torch.ones(2, 2), ["c", "a"])})
    assert data.classes == ("a", "b", "c")
    assert {name: len(dataset) for name, dataset in data.splits.items()} == {"train": 6, "test": 2}
    assert all_of(data, "test")[1].tolist() == [2, 0]  # type: ignore[union-attr]


def test_cells_of_zeros_and_ones_are_known_to_be_binary() -> None:
    assert held(torch.tensor([[0.0, 1.0]] * 4)).splits["train"].binary
    assert not held(torch.tensor([[0.0, 0.5]] * 4)).splits["train"].binary


class Noisy(torch_data.Dataset):
    """Every visit draws from all three generators that a program has."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> Tensor:
        return torch.tensor([i, random.random(), np.random.rand(), float(torch.rand(()))])  # noqa: NPY002


def test_what_a_dataset_draws_follows_from_the_generator_and_the_example_alone() -> None:
    examples = TorchExamples(Noisy())
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
    together = examples.gather(torch.tensor([3, 7]), torch.Generator().manual_seed(5)).x
    random.seed(99)
    alone = examples.gather(torch.tensor([7]), torch.Generator().manual_seed(5)).x
    other = examples.gather(torch.tensor([7]), torch.Generator().manual_seed(6)).x
    assert torch.equal(together[1:], alone)
    assert not (together[0, 1:] == together[1, 1:]).any()
    assert not (other[0, 1:] == alone[0, 1:]).any()
    random.setstate(before[1])
    examples.gather(torch.tensor([1]), ANY)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # type: ignore[index] # noqa: NPY002


def test_targets_are_read_without_looking_at_every_example() -> None:
    class WithTargets(Noisy):
        targets = [0, 1] * 6

        def __getitem__(self, i: int) -> Any:
            assert i in (0, *probed), "looked at for its label"
            return super().__getitem__(i), self.targets[i]

    probed: list[int] = []
    examples = TorchExamples(WithTargets())
    assert examples.labels == [0, 1] * 6


class Endless(torch_data.IterableDataset):
    def __iter__(self) -> Any:
        return iter(())


class Texts(torch_data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> str:
        return "text"


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ([1, 2, 3], "of the type list: give a tensor"),
        (torch.zeros(3), r"has the shape \(3,\): give examples \(N, …\)"),
        (torch.zeros(0, 2), r"shape \(0, 2\)"),
        (torch.zeros(3, 0), r"shape \(3, 0\)"),
        (torch.zeros(3, 2, dtype=torch.complex64), "complex64"),
        (np.array([["a", "b"]]), "not numbers"),
        (np.array([[object()]]), "not numbers"),
        (torch.tensor([[0.0], [1.0], [torch.nan]]), "example 2 holds NaN"),
        ({"train": torch.zeros(2, 2), "vald": torch.zeros(2, 2)}, 'no split "vald".* Did you mean "valid"'),
        ({"valid": torch.zeros(2, 2)}, "no training examples"),
        ((torch.zeros(3, 2), [0, 1]), "3 examples and 2 labels"),
        ((torch.zeros(3, 2), [0.5, 1.0, 2.0]), "one whole number or text"),
        ((torch.zeros(2, 2), np.zeros((2, 2))), "one whole number or text"),
        ({"train": (torch.zeros(1, 2), [0]), "test": (torch.zeros(1, 2), ["a"])}, "give one of the two"),
        (Endless(), "IterableDataset"),
        (Texts(), "Example 0 of Texts is a str"),
    ],
)
def test_what_cannot_be_used_is_refused(given_: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        held(given_)


def test_few_examples_train() -> None:
    assert {name: len(part) for name, part in divided(held(torch.zeros(3, 2)).splits["train"]).items()}["train"] == 3
