"""Options of the domain ``array``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from musegen.errors import BadInput
from musegen.options import option

__all__ = ["ArrayConfig", "ArrayWriting", "Cells"]

Cells = Literal["auto", "binary", "categorical", "real"]
FEW_CHANNELS = 4
"""A first axis of at most so many cells is taken for channels: those of a colour, of stereo."""
UNTIL_OPENED = (1, 8, 8)
"""Shape of samples before data say otherwise, for networks and tests without data."""


@dataclass(frozen=True)
class ArrayConfig:
    networks: Literal["mlp", "conv"] = option("mlp", "mlp: perceptrons, of any shape; conv: convolutions, over axes")
    widths: list[int] = option([400, 400], "widths of the mlp's hidden layers, from the sample to the code")
    channels: int = option(32, "channels of the conv networks' outermost layer", ge=1)
    axes: int = option(
        0,
        "how many axes convolutions run over, the last ones, 1 to 3; those before them are channels; 0: all but a first axis of at "
        "most four cells",
        ge=0,
        le=3,
    )
    cells: Cells = option(
        "auto",
        "what cells are: binary (0 or 1), categorical (0, 1, 2 …), or real; auto: binary if there is nothing but 0 and "
        "1, categorical "
        "if there are whole numbers from 0 to 63 of an integer type, and real otherwise",
        of_data=True,
    )
    levels: int | None = option(
        None,
        "values of categorical cells, 0 to levels − 1; found in the data if not given",
        ge=2,
        le=4096,
        of_data=True,
    )
    ordered: bool = option(
        True,
        "categorical cells: values are more or less of something; False: they are mere names, and an expected sample holds the "
        "likeliest of them instead of an average",
    )
    centre: float | None = option(
        None, "real cells: networks see (x − centre) / spread; the mean of the training data if not given", of_data=True
    )
    spread: float | None = option(
        None, "real cells: see centre; the standard deviation of the training data if not given", gt=0, of_data=True
    )
    labels: str = option(
        "y", "the labels, one per example: their name in the .npz file, or the path of another .npy file"
    )
    given: list[int] = option(
        [],
        "what a conditional family is given, as axis, first cell and last cell + 1, such as [0, 0, 14]; nothing if empty",
    )
    shape: list[int] = option([], "shape of a sample; found in the data", of_data=True)
    classes: list[str] = option([], "names of the classes; found in the data", of_data=True)

    def __post_init__(self) -> None:
        if not self.widths or any(width < 1 for width in self.widths):
            raise BadInput(f"widths={self.widths} is invalid: use positive numbers, such as [400, 400].")
        if any(side < 1 for side in self.shape) or math.prod(self.shape) > 1 << 40:
            raise BadInput(f"shape={self.shape} is invalid: use positive numbers, such as [28, 28].")
        if self.given and not self._can_be_given():
            raise BadInput(
                f"given={self.given} does not fit samples of shape {self.sample_shape}: use the number of an axis, the "
                "first cell, and "
                "the last one + 1, such as [0, 0, 14]."
            )
        if self.axes > len(self.sample_shape):
            raise BadInput(f"axes={self.axes} does not fit samples of shape {self.sample_shape}: use fewer.")

    def _can_be_given(self) -> bool:
        if len(self.given) != 3:
            return False
        axis, first, last = self.given
        if not self.shape:
            return axis >= 0
        return 0 <= axis < len(self.shape) and 0 <= first < last <= self.shape[axis]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return tuple(self.shape) or UNTIL_OPENED

    @property
    def rank(self) -> int:
        """Axes that convolutions run over.

        Raises:
            BadInput: they are more than three.
        """
        shape = self.sample_shape
        found = self.axes or len(shape) - (len(shape) > 1 and shape[0] <= FEW_CHANNELS)
        if found > 3:
            raise BadInput(
                f"networks=conv run over three axes at most, and samples have the shape {shape}: set axes=3."
            )
        return found


@dataclass(frozen=True)
class ArrayWriting:
    rounded: bool = option(
        True,
        "binary and categorical cells are written as the nearest value that they may have; false: as expected values",
    )
