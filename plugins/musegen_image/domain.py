"""The image domain: MNIST, Larochelle's static binarisation of it, or a folder of pictures."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from musegen.contracts.dataset import Dataset
from musegen.contracts.domain import Autoregressive, Data, Decoder, Discriminator, Domain, Encoder, Spec
from musegen.contracts.survey import Survey
from musegen.data.arrays import ArrayDataset
from musegen.data.bundled import bundled
from musegen.data.folders import divide, find_files
from musegen.errors import BadInput
from musegen.networks import dcgan
from musegen.networks.autoregressive import AutoregressiveGrid
from musegen.networks.mlp import MLPDecoder, MLPDiscriminator, MLPEncoder
from musegen.probability.likelihood import Bernoulli, Categorical, Gaussian, Likelihood, LogisticMixture
from musegen.walking import walk
from musegen_image import pictures
from musegen_image.config import N_LEVELS, ImageConfig
from musegen_image.data import binarising, holds_mnist, read_mnist, read_static_binarised
from musegen_image.held import as_pictures
from musegen_image.metrics import compare, independent_pixels
from musegen_image.reading import PICTURE_SUFFIXES, Mode, as_sample, read_pictures, sizes_of
from musegen_image.targets import Arrays, add_background, read_optical_digits, read_usps

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageConfig", "ImageDomain"]


class ImageDomain(Domain):
    """Samples ``(channels, height, width)``, binary or grey or coloured, in [0, 1].

    >>> from musegen_image.domain import ImageConfig, ImageDomain
    >>> domain = ImageDomain(ImageConfig(colour="rgb", size=32, binarisation="none"))
    >>> domain.spec.shape, domain.spec.likelihood
    ((3, 32, 32), Gaussian(sigma_min=0.05, bounds=(0.0, 1.0)))
    >>> domain.pieces(domain.synthetic(4).splits["valid"].x / 255)[0].picture().size
    (32, 32)
    """

    name = "image"
    summary = "pictures: MNIST, or a folder of your own"
    suffixes = (*PICTURE_SUFFIXES, "-ubyte", "-ubyte.gz", ".amat")
    Config = ImageConfig
    config: ImageConfig

    @classmethod
    def open(cls, config: ImageConfig, source: Path | None, cache: Path) -> tuple[Self, Data]:
        if config.binarisation == "static":
            return cls._open_static(config, source)
        if source is None or holds_mnist(source):
            return cls._open_mnist(config, source)
        return cls._open_pictures(config, source)

    @classmethod
    def hold(cls, config: ImageConfig, data: Data) -> tuple[Self, Data]:
        config, splits = as_pictures(config, data)
        return cls(config), replace(data, splits=splits)

    @classmethod
    def survey(cls, config: ImageConfig, source: Path | None, cache: Path) -> Survey:
        """Also the sizes of the pictures, before they are scaled."""
        found = super().survey(config, source, cache)
        if source is None or not source.is_dir() or holds_mnist(source):
            return found
        sizes = Counter(sizes_of(walk(source, PICTURE_SUFFIXES)[0]))
        if not sizes:
            return found
        shown = [f"{size} ({n})" for size, n in sizes.most_common(5)]
        others = f", {len(sizes) - 5} other sizes" if len(sizes) > 5 else ""
        return replace(found, facts={**found.facts, "sizes": ", ".join(shown) + others})

    @classmethod
    def _open_mnist(cls, config: ImageConfig, source: Path | None) -> tuple[Self, Data]:
        if config.size != 28:
            raise BadInput(f"size={config.size} does not fit MNIST, whose digits are 28 pixels wide: use size=28.")
        if config.colour == "rgb":
            raise BadInput("colour=rgb does not fit MNIST, which is grey: use colour=grey.")
        config = replace(config, colour="grey", classes=[str(digit) for digit in range(10)])
        config = replace(config, binarisation=config.binary)
        splits = read_mnist(source if source is not None else bundled("mnist"))
        arrays = {split: (images[:, None], labels.astype(np.int64)) for split, (images, labels) in splits.items()}
        return cls._finish(config, arrays, f"MNIST, binarisation {config.binarisation}")

    @classmethod
    def _open_static(cls, config: ImageConfig, source: Path | None) -> tuple[Self, Data]:
        if source is None:
            raise BadInput("binarisation=static needs DATA: the folder of binarized_mnist_{train,valid,test}.amat.")
        if config.size != 28 or config.colour == "rgb":
            raise BadInput("binarisation=static is MNIST: use size=28 and colour=grey.")
        config = replace(config, colour="grey", classes=[])
        arrays = {split: (255 * images[:, None], None) for split, images in read_static_binarised(source).items()}
        return cls(config), cls._data(config, arrays, "MNIST, static binarisation (Larochelle & Murray 2011)")

    @classmethod
    def _open_pictures(cls, config: ImageConfig, source: Path) -> tuple[Self, Data]:
        arrays, found, channels, left_out, remarks = cls._read_folder(config, source, config.colour)
        config = replace(config, colour="grey" if channels == 1 else "rgb", **found)
        config = replace(config, binarisation=config.binary)
        n = sum(len(images) for images, _ in arrays.values())
        description = f"{n} pictures of {source.name}, binarisation {config.binarisation}"
        return cls._finish(config, arrays, description, left_out, remarks)

    @classmethod
    def _read_folder(
        cls, config: ImageConfig, source: Path, colour: Mode
    ) -> tuple[Arrays, dict[str, Any], int, list[tuple[str, str]], list[str]]:
        """Pictures by split, options that the folder decides, channels, what was left out, and remarks."""
        files = find_files(source, PICTURE_SUFFIXES, "pictures")
        found = read_pictures(files.paths, config.size, colour, config.black_and_white)
        divided = divide(files, found.read)
        label = divided.label
        arrays = {
            split: (found.images[index], None if label is None else label[index])
            for split, index in divided.index.items()
        }
        options = {"classes": divided.classes, "levels": list(found.levels or ())}
        left_out = sorted([*divided.left_out, *found.left_out])
        return arrays, options, found.images.shape[1], left_out, [*found.remarks, *divided.remarks]

    @classmethod
    def _finish(
        cls,
        config: ImageConfig,
        arrays: Arrays,
        description: str,
        skipped: Sequence[tuple[str, str]] = (),
        remarks: Sequence[str] = (),
    ) -> tuple[Self, Data]:
        """The domain and its data, with the second data set if one is wanted."""
        if config.target != "none":
            arrays = {**arrays, **cls._target(config, arrays)}
            description += f"; target {config.target}"
        return cls(config), cls._data(config, arrays, description, skipped, remarks)

    @classmethod
    def _target(cls, config: ImageConfig, arrays: Arrays) -> Arrays:
        """The second data set: splits ``target``, ``target_valid``, ``target_test``, of the same size and colour."""
        own = {"target": "train", "target_valid": "valid", "target_test": "test"}
        channels = 3 if config.colour == "rgb" else 1
        match config.target:
            case "inverted":
                return {name: (255 - arrays[split][0], arrays[split][1]) for name, split in own.items()}
            case "background":
                return {name: arrays[split] for name, split in own.items()}  # the transform adds it at every visit
            case "optical-digits":
                found: Arrays = read_optical_digits()
            case path if (Path(path) / "zip.train.gz").is_file():
                found = read_usps(Path(path))
            case path if holds_mnist(Path(path)):
                mnist = read_mnist(Path(path))
                found = {name: (mnist[split][0], mnist[split][1].astype(np.int64)) for name, split in own.items()}
            case path:
                arrays, options, *_ = cls._read_folder(config, Path(path), "rgb" if channels == 3 else "grey")
                names = options["classes"]
                if names and config.classes and names != config.classes:
                    raise BadInput(f"target={path} has the classes {', '.join(names)}: make them those of the data.")
                return {name: arrays[split] for name, split in own.items()}
        size = next(iter(found.values()))[0].shape[1]
        if size != config.size:
            raise BadInput(
                f"target={config.target} has pictures of {size} pixels and size={config.size}: make them equal."
            )
        if channels == 3:
            raise BadInput(f"target={config.target} is grey and the pictures have colour: set colour=grey.")
        return {name: (x[:, None], label) for name, (x, label) in found.items()}

    @classmethod
    def _data(
        cls,
        config: ImageConfig,
        arrays: Arrays,
        description: str,
        skipped: Sequence[tuple[str, str]] = (),
        remarks: Sequence[str] = (),
    ) -> Data:
        digest, splits = hashlib.sha256(), {}
        transform = binarising(config.binary)
        for split, (images, labels) in arrays.items():
            images = np.require(images, requirements=["C", "W"])  # writable, which torch insists on
            digest.update(images.data)
            label = None if labels is None else torch.from_numpy(labels)
            of_target = split.startswith("target")
            # What is binarised when it is gathered is binary, and so is what came as zeros and ones.
            binary = transform is not None or (config.binary == "static" and not of_target)
            with_background = of_target and config.target == "background"
            splits[split] = ArrayDataset(
                torch.from_numpy(images),
                label,
                add_background(transform) if with_background else transform,
                binary=binary,
            )
        return Data(splits, digest.hexdigest(), description, list(skipped), list(remarks))

    @cached_property
    def spec(self) -> Spec:
        c = self.config
        likelihood: Likelihood = Bernoulli()
        if c.likelihood == "softmax":
            likelihood = Categorical(N_LEVELS)
        elif c.likelihood == "logistic_mixture":
            likelihood = LogisticMixture(N_LEVELS)
        elif c.binary == "none":
            likelihood = Gaussian(sigma_min=0.05, bounds=(0.0, 1.0))
        channels = 3 if c.colour == "rgb" else 1
        return Spec(
            (channels, c.size, c.size),
            ("channel", "row (pixels, from the top)", "column (pixels, from the left)"),
            likelihood,
            tuple(c.classes),
            ((1, 0, c.size // 2),) if c.given == "top" else (),
        )

    @property
    def _dcgan(self) -> bool:
        """Whether networks are convolutional.

        Raises:
            BadInput: they are, and pictures do not fit them.
        """
        size = self.config.size
        if self.config.networks == "dcgan" and not dcgan.fits(size):
            raise BadInput(
                f"size={size} does not fit networks=dcgan, which halve it to 4–8: "
                f"use size={dcgan.nearest_side(size)}, or networks=mlp."
            )
        return self.config.networks == "dcgan"

    def encoder(self, wanted: Encoder) -> nn.Module:
        if self._dcgan:
            return dcgan.DCGANEncoder(self.spec.shape, self.config.channels, self.config.dense)
        return MLPEncoder(self.spec.shape, self.config.widths)

    def decoder(self, wanted: Decoder) -> nn.Module:
        if self._dcgan:
            c = self.config
            return dcgan.DCGANDecoder(wanted.n_code, self.spec.params_shape, c.channels, c.dense, wanted.n_classes)
        return MLPDecoder(wanted.n_code, self.spec.params_shape, self.config.widths, wanted.n_classes)

    def discriminator(self, wanted: Discriminator) -> nn.Module:
        if self._dcgan:
            return dcgan.DCGANDiscriminator(self.spec.shape, self.config.channels, self.config.dense, wanted.norm)
        return MLPDiscriminator(self.spec.shape, self.config.widths, wanted.norm)

    def autoregressive(self, wanted: Autoregressive) -> nn.Module:
        return AutoregressiveGrid(self.spec.shape, self.spec.params_shape, wanted)

    def read(self, path: Path) -> Tensor:
        channels, size, _ = self.spec.shape
        x = torch.as_tensor(as_sample(path, size, channels, self.config.black_and_white))
        return (x if self.config.binary == "none" else (x > 0.5).float())[None]

    def pieces(self, samples: Tensor) -> list[pictures.Picture]:
        return [pictures.Picture(x) for x in samples.cpu()]

    def sheet(self, pieces: Sequence[pictures.Picture], columns: int | None = None) -> Image:
        return pictures.grid(torch.stack([piece.x for piece in pieces]), columns)

    def metrics(self, samples: Tensor, reference: Tensor) -> dict[str, float]:
        return compare(samples, reference)

    def baselines(self, training: Dataset, n: int, seed: int) -> dict[str, Tensor]:
        return {"independent pixels": independent_pixels(training, n, seed)}

    def synthetic(self, n: int, seed: int = 0) -> Data:
        """Filled rectangles at random places: structure that a model can learn in seconds."""
        rng = np.random.default_rng(seed)
        channels, size, _ = self.spec.shape
        arrays: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        for split, count in (("train", n), ("valid", max(4, n // 8)), ("test", max(4, n // 8))):
            corner = rng.integers(0, size // 2, (count, 2, 1))
            side = rng.integers(size // 4, size // 2 + 1, (count, 2, 1))
            inside = (np.arange(size) >= corner) & (np.arange(size) < corner + side)  # (N, axis, size)
            box = inside[:, 0, :, None] & inside[:, 1, None, :]
            images = np.repeat(255 * box[:, None].astype(np.uint8), channels, 1)
            label = rng.integers(0, len(self.spec.classes), count) if self.spec.classes else None
            arrays[split] = (images, label)
        if self.config.target in ("inverted", "background"):  # those that are made from the first
            arrays = {**arrays, **self._target(self.config, arrays)}
        return self._data(self.config, arrays, f"{n} synthetic rectangles")
