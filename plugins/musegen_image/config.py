"""Options of the image domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from musegen.errors import BadInput
from musegen.options import option
from musegen_image.reading import Levels

__all__ = ["N_LEVELS", "Binarisation", "ImageConfig"]

Binarisation = Literal["auto", "none", "threshold", "dynamic", "static"]
N_LEVELS = 256
"""Levels of a value in pictures of 8 bits."""


@dataclass(frozen=True)
class ImageConfig:
    networks: Literal["mlp", "dcgan"] = option("mlp", "preset of networks")
    widths: list[int] = option([400, 400], "widths of the mlp's hidden layers, from the picture to the code")
    channels: int = option(32, "channels of the dcgan networks' outermost layer", ge=1)
    dense: int = option(
        0, "units of a fully connected layer next to code and features in the dcgan networks; 0: none", ge=0
    )
    binarisation: Binarisation = option(
        "auto",
        "none: levels as they are; threshold: > 0.5; dynamic: Bernoulli at every visit; static: Larochelle's files (DATA); "
        "auto: dynamic for grey pictures and MNIST, none for pictures with colour and for a likelihood of levels",
    )
    likelihood: Literal["auto", "softmax", "logistic_mixture"] = option(
        "auto",
        "p(x|z) of a value. softmax: a probability for each of 256 levels; logistic_mixture: of the same levels, ten rounded "
        "logistic distributions; auto: Bernoulli for binarised pictures, else Gaussian",
    )
    size: int = option(
        28,
        "height and width of a picture; a folder's pictures are scaled and cropped to it",
        ge=4,
        unit="pixels",
    )
    colour: Literal["auto", "grey", "rgb"] = option("auto", "auto: rgb if any picture of the folder has colour")
    levels: list[float] = option(
        [],
        "black and white in pictures of floats or 32-bit integers; found in the data if not given: floats from 0 to 1 and "
        "integers from 0 to 65535 stay as they are, of others the lowest and highest of all pictures count",
    )
    given: Literal["none", "top"] = option("none", "what a conditional family is given: nothing, or the upper half")
    target: str = option(
        "none",
        "second data set, for domain adaptation: none, optical-digits (scikit-learn's), inverted or background (made from "
        "these data), or the folder of USPS, of files like MNIST's or of pictures",
    )
    classes: list[str] = option([], "names of the classes; found in the data if not given")

    def __post_init__(self) -> None:
        if not self.widths or any(width < 1 for width in self.widths):
            raise BadInput(f"widths={self.widths} is invalid: use positive numbers, such as [400, 400].")
        if self.levels and not (len(self.levels) == 2 and self.levels[0] < self.levels[1]):
            raise BadInput(f"levels={self.levels} is invalid: use two numbers, black and white, such as [0, 4095].")
        if self.likelihood != "auto" and self.binary != "none":
            raise BadInput(f"likelihood={self.likelihood} is for pictures of 256 levels: use binarisation=none.")

    @property
    def binary(self) -> Literal["none", "threshold", "dynamic", "static"]:
        """How pictures are binarised: ``binarisation``, decided."""
        if self.binarisation != "auto":
            return self.binarisation
        return "none" if self.colour == "rgb" or self.likelihood != "auto" else "dynamic"

    @property
    def black_and_white(self) -> Levels | None:
        return (self.levels[0], self.levels[1]) if self.levels else None
