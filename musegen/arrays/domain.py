"""The domain ``array``: samples of any shape, whose cells are binary, categorical or real."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from musegen.arrays.cells import found_in
from musegen.arrays.config import ArrayConfig, ArrayWriting
from musegen.arrays.measures import compare, independent_cells
from musegen.arrays.piece import ArrayPiece
from musegen.arrays.reading import read_array, read_source
from musegen.contracts.dataset import Dataset
from musegen.contracts.domain import Autoregressive, Data, Decoder, Discriminator, Domain, Encoder, Spec
from musegen.data.arrays import ArrayDataset, Transformed
from musegen.data.held import held, numeric
from musegen.errors import BadInput
from musegen.networks.autoregressive import AutoregressiveGrid
from musegen.networks.conv import ConvDecoder, ConvDiscriminator, ConvEncoder
from musegen.networks.mlp import MLPDecoder, MLPDiscriminator, MLPEncoder
from musegen.probability.likelihood import Bernoulli, Categorical, Gaussian, Likelihood

__all__ = ["ArrayDomain"]


class ArrayDomain(Domain):
    """Samples ``(*S)`` of any shape.

    Networks see binary cells as they are, categorical ones 0 … K − 1 as k / (K − 1), and real ones as (x − centre) / spread.
    Pieces and files are in the units of the data, and ``values`` brings samples there.

    >>> import torch
    >>> from musegen.arrays.domain import ArrayConfig, ArrayDomain
    >>> from musegen.data.held import held
    >>> domain, data = ArrayDomain.hold(ArrayConfig(), held(torch.tensor([[0, 2, 4]] * 10)))
    >>> domain.spec.likelihood, data.splits["train"].gather(torch.tensor([0]), torch.Generator()).x
    (Categorical(levels=5, ordered=True), tensor([[0.0000, 0.5000, 1.0000]]))
    >>> domain.values(torch.tensor([[0.25, 0.5, 1.0]]))
    array([[1, 2, 4]])
    """

    name = "array"
    summary = "arrays of any shape: .npy, .npz, or tensors in memory"
    # No suffixes: .npy and .npz are endings of pianorolls too, so nothing is told by them.
    Config, Writing = ArrayConfig, ArrayWriting
    config: ArrayConfig
    writing: ArrayWriting

    @classmethod
    def open(cls, config: ArrayConfig, source: Path | None, cache: Path) -> tuple[Self, Data]:
        if source is None:
            raise BadInput(
                "The domain array has no data of its own: give an .npy or .npz file, or in Python data=tensor."
            )
        data = held(read_source(source, config.labels))
        domain, data = cls.hold(config, data)
        n = sum(map(len, data.splits.values()))
        return domain, replace(data, description=f"{n} arrays of shape {domain.spec.shape} of {source.name}")

    @classmethod
    def hold(cls, config: ArrayConfig, data: Data) -> tuple[Self, Data]:
        config, remark = found_in(config, data.splits["train"])
        config = replace(config, classes=list(data.classes))
        domain, splits = cls(config), {}
        for split, dataset in data.splits.items():
            shape = _shape(dataset)
            if len(dataset) and shape != domain.spec.shape:
                raise BadInput(
                    f"Examples of {split} have the shape {shape}, and those of train {domain.spec.shape}: make them equal."
                )
            splits[split] = domain._as_seen(dataset)
        return domain, replace(data, splits=splits, remarks=[*data.remarks, remark])

    def _as_seen(self, dataset: Dataset) -> Dataset:
        """Examples as networks see them."""
        offset, scale = self._units
        binary = self.config.cells == "binary" and dataset.binary
        if not isinstance(dataset, ArrayDataset):
            return Transformed(dataset, lambda x, generator: (x - offset) / scale, dataset.binary)
        shift = None if offset == 0 else lambda x, generator: x - offset / scale
        return ArrayDataset(dataset.x, dataset.label, shift, scale, binary, rows=dataset.rows)

    @property
    def _units(self) -> tuple[float, float]:
        """Offset and scale: a cell of the data is offset + scale · what networks see."""
        c = self.config
        match c.cells:
            case "categorical":
                return 0.0, float((c.levels or 2) - 1)
            case "real":
                return c.centre or 0.0, c.spread or 1.0
        return 0.0, 1.0

    @cached_property
    def spec(self) -> Spec:
        c = self.config
        likelihood: Likelihood = Bernoulli()
        if c.cells == "categorical":
            likelihood = Categorical(c.levels or 2, c.ordered)
        elif c.cells == "real":
            likelihood = Gaussian()
        shape = c.sample_shape
        given = ((c.given[0], c.given[1], c.given[2]),) if c.given else ()
        return Spec(shape, tuple(f"axis {i}" for i in range(len(shape))), likelihood, tuple(c.classes), given)

    def encoder(self, wanted: Encoder) -> nn.Module:
        if self.config.networks == "conv":
            return ConvEncoder(self.spec.shape, self.config.channels, self.config.rank)
        return MLPEncoder(self.spec.shape, self.config.widths)

    def decoder(self, wanted: Decoder) -> nn.Module:
        c, shape = self.config, self.spec.params_shape
        if c.networks == "conv":
            return ConvDecoder(wanted.n_code, shape, c.channels, c.rank, wanted.n_classes)
        return MLPDecoder(wanted.n_code, shape, c.widths, wanted.n_classes)

    def discriminator(self, wanted: Discriminator) -> nn.Module:
        if self.config.networks == "conv":
            return ConvDiscriminator(self.spec.shape, self.config.channels, self.config.rank, wanted.norm)
        return MLPDiscriminator(self.spec.shape, self.config.widths, wanted.norm)

    def autoregressive(self, wanted: Autoregressive) -> nn.Module:
        return _AsGrid(self.spec, wanted)

    def read(self, path: Path) -> Tensor:
        x, shape = numeric(np.atleast_1d(read_array(path))[None], str(path))[0], self.spec.shape
        if tuple(x.shape) == shape:
            x = x[None]
        if tuple(x.shape[1:]) != shape:
            raise BadInput(f"{path} has the shape {tuple(x.shape)}, and the model takes {shape}, or (n, …) of these.")
        offset, scale = self._units
        return (x.float() - offset) / scale

    def values(self, samples: Tensor) -> np.ndarray:
        """Samples ``(n, *S)`` in the units of the data; binary and categorical cells as whole numbers, if they are ``rounded``."""
        offset, scale = self._units
        x = offset + scale * samples.detach().cpu().float()
        if self.config.cells == "real" or not self.writing.rounded:
            return x.numpy()
        return x.round().to(torch.uint8 if self.config.cells != "categorical" else torch.int64).numpy()

    def discretise(self, samples: Tensor) -> Tensor:
        if self.config.cells == "real" or not self.writing.rounded:
            return samples
        _, scale = self._units
        return (samples * scale).round() / scale

    def pieces(self, samples: Tensor) -> list[ArrayPiece]:
        offset, scale = self._units
        # Real cells have no black and white of their own: three standard deviations around the mean.
        low, high = (offset - 3 * scale, offset + 3 * scale) if self.config.cells == "real" else (0.0, scale)
        return [ArrayPiece(array, low, high) for array in self.values(samples)]

    def metrics(self, samples: Tensor, reference: Tensor) -> dict[str, float]:
        return compare(samples, reference)

    def baselines(self, training: Dataset, n: int, seed: int) -> dict[str, Tensor]:
        return {"independent cells": independent_cells(training, n, seed)}

    def synthetic(self, n: int, seed: int = 0) -> Data:
        """Boxes of high cells at random places: structure that a model can learn in seconds."""
        rng, shape = np.random.default_rng(seed), self.spec.shape
        given: dict[str, Any] = {}
        for split, count in (("train", n), ("valid", max(4, n // 8)), ("test", max(4, n // 8))):
            box = np.ones((count, *shape), bool)
            for axis, side in enumerate(shape):
                first, length = rng.integers(0, side, count), rng.integers(-(-side // 3), side + 1, count)
                cell = np.arange(side)
                inside = (cell >= first[:, None]) & (cell < (first + length)[:, None])  # (N, side)
                box &= inside.reshape(count, *[side if i == axis else 1 for i in range(len(shape))])
            x = torch.from_numpy(self._made_up(box, rng))
            k = len(self.spec.classes)
            given[split] = (x, rng.permutation(np.arange(count) % k)) if k else x
        data = held(given)
        return replace(
            data,
            splits={split: self._as_seen(d) for split, d in data.splits.items()},
            description=f"{n} synthetic boxes",
        )

    def _made_up(self, box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cells of the kind that the data have, high where the box is."""
        offset, scale = self._units
        match self.config.cells:
            case "categorical":
                return np.where(box, rng.integers(0, round(scale) + 1, box.shape), 0)
            case "real":
                return (offset + scale * (box - 0.5 + 0.1 * rng.standard_normal(box.shape))).astype(np.float32)
        return box.astype(np.uint8)


def _shape(dataset: Dataset) -> tuple[int, ...]:
    if isinstance(dataset, ArrayDataset):
        return tuple(dataset.x.shape[1:])
    return (
        tuple(dataset.gather(torch.tensor([0]), torch.Generator().manual_seed(0)).x.shape[1:]) if len(dataset) else ()
    )


class _AsGrid(nn.Module):
    """An autoregressive network over samples of any shape, seen as a grid: the last axis for columns, the one before for rows,
    the first
    of three or more for channels."""

    def __init__(self, spec: Spec, wanted: Autoregressive) -> None:
        super().__init__()
        self.shape, self.params_shape = spec.shape, spec.params_shape
        shape = (1,) * (3 - len(spec.shape)) + spec.shape
        self.grid_shape = (shape[0], math.prod(shape[1:-1]), shape[-1])
        self.grid = AutoregressiveGrid(self.grid_shape, spec.likelihood.params_shape(self.grid_shape), wanted)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        params = self.grid(x.reshape(-1, *self.grid_shape), condition)
        return params.reshape(-1, *self.params_shape)

    def draw(self, x: Tensor, likelihood: Likelihood, **options: Any) -> Tensor:
        return self.grid.draw(x.reshape(-1, *self.grid_shape), likelihood, **options).reshape(-1, *self.shape)
