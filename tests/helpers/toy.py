"""A domain small enough to know everything about: 4 × 4 pictures of bars of random density."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from musegen.contracts.domain import Autoregressive, Data, Decoder, Discriminator, Domain, Encoder, Spec
from musegen.contracts.piece import Piece
from musegen.data.arrays import ArrayDataset
from musegen.errors import BadInput
from musegen.networks.autoregressive import AutoregressiveGrid
from musegen.networks.mlp import MLPDecoder, MLPDiscriminator, MLPEncoder
from musegen.options import option
from musegen.plugins import Offer, hookimpl
from musegen.probability.likelihood import Bernoulli


@dataclass(frozen=True)
class ToyConfig:
    widths: list[int] = option([32], "widths of the hidden layers")
    examples: int = option(256, "training examples", ge=1)
    valid: int = option(64, "validation examples", ge=0)
    given: bool = option(False, "the two upper rows may be given")
    target: bool = option(False, "a second data set")
    fault: Literal["none", "nan"] = option("none", "nan: examples that break every loss")


@dataclass(frozen=True)
class ToyWriting:
    level: float = option(0.5, "grey level, which calibration may set; nothing reads it", ge=0, le=1)


class ToyPiece(Piece):
    suffix = ".npy"

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def save(self, path: str | Path) -> Path:
        if Path(path).suffix != self.suffix:
            raise BadInput(f"{path} is no .npy file: give its name this ending.")
        np.save(path, self.x.numpy())
        return Path(path)

    def picture(self) -> Image.Image:
        return Image.fromarray((255 * self.x[0].numpy()).astype(np.uint8))


class ToyDomain(Domain):
    name = "toy"
    summary = "4 × 4 pictures, for tests"
    Config, Writing = ToyConfig, ToyWriting
    config: ToyConfig

    @classmethod
    def open(cls, config: ToyConfig, source: Path | None, cache: Path) -> tuple[Self, Data]:
        if source is not None and not source.is_file():
            raise BadInput(f"{source} is no file: the toy domain makes its data up, from a file's name.")
        domain = cls(config)
        return domain, domain.synthetic(config.examples, seed=0 if source is None else len(source.name))

    @property
    def spec(self) -> Spec:
        given = ((1, 0, 2),) if self.config.given else ()
        return Spec((1, 4, 4), ("channel", "row", "column"), Bernoulli(), ("sparse", "dense"), given)

    def encoder(self, wanted: Encoder) -> nn.Module:
        return MLPEncoder(self.spec.shape, self.config.widths)

    def decoder(self, wanted: Decoder) -> nn.Module:
        return MLPDecoder(wanted.n_code, self.spec.params_shape, self.config.widths, wanted.n_classes)

    def discriminator(self, wanted: Discriminator) -> nn.Module:
        return MLPDiscriminator(self.spec.shape, self.config.widths, wanted.norm)

    def autoregressive(self, wanted: Autoregressive) -> nn.Module:
        return AutoregressiveGrid(self.spec.shape, self.spec.params_shape, wanted)

    def read(self, path: Path) -> Tensor:
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False)).view(-1, 1, 4, 4)
        except (OSError, ValueError, EOFError):
            raise BadInput(f"{path} is no picture of the toy domain: give a .npy file.") from None

    def pieces(self, samples: Tensor) -> list[ToyPiece]:
        return [ToyPiece(x) for x in samples]

    def metrics(self, samples: Tensor, reference: Tensor) -> dict[str, float]:
        return {"mean_samples": float(samples.mean()), "mean_reference": float(reference.mean())}

    def synthetic(self, n: int, seed: int = 0) -> Data:
        rng = np.random.default_rng(seed)
        splits, digest = {}, hashlib.sha256()
        sizes = {"train": n, "valid": self.config.valid, "test": 64}
        if self.config.target:
            sizes |= {"target": n, "target_valid": 64, "target_test": 64}
        for split, count in sizes.items():
            density = rng.random((count, 1, 1, 1))
            x = (rng.random((count, 1, 4, 4)) < density).astype(np.uint8)
            if split.startswith("target"):
                x[..., 0, :] = 1  # the second domain: a bright first row
            digest.update(x.tobytes())
            label = torch.from_numpy((density.ravel() > 0.5).astype(np.int64))
            splits[split] = ArrayDataset(torch.from_numpy(x), label, self._faulty, scale=1)
        return Data(splits, digest.hexdigest(), f"{n} toy pictures")

    def _faulty(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x if self.config.fault == "none" else x + float("nan")


class ToyPlugin:
    """Offers the toy domain as an installed plugin would."""

    @hookimpl
    def musegen_domains(self) -> list[Offer]:
        return [Offer("toy", ToyDomain.summary, lambda: ToyDomain)]
