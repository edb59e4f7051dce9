"""Second data sets of digits, for domain adaptation: what a classifier of MNIST is carried over to."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from musegen.errors import BadInput
from musegen.files import regular
from musegen_image.limits import TEXT_CAP_BYTES

__all__ = ["Arrays", "add_background", "enlarge", "read_optical_digits", "read_usps"]

Arrays = Mapping[str, tuple[np.ndarray, np.ndarray | None]]
"""By split: images uint8 ``(N, H, W)`` and labels ``(N,)``."""

DIGIT, FRAME = 20, 28
"""MNIST fits its digits into 20 × 20 pixels and centres them in 28 × 28; other digits are brought to the same size."""


def enlarge(images: np.ndarray) -> np.ndarray:
    """Digits uint8 ``(N, h, w)`` that fill their picture, as MNIST shows them: uint8 ``(N, 28, 28)``."""
    pad = (FRAME - DIGIT) // 2
    resized = [np.asarray(Image.fromarray(image).resize((DIGIT, DIGIT), Image.Resampling.BICUBIC)) for image in images]
    return np.pad(np.stack(resized), ((0, 0), (pad, pad), (pad, pad)))


def read_optical_digits() -> Arrays:
    """The 1,797 optical digits that scikit-learn carries (UCI, 8 × 8 pixels of 17 grey levels), enlarged.

    Raises:
        BadInput: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise BadInput("target=optical-digits needs scikit-learn: pip install scikit-learn.") from None
    digits = load_digits()
    images = enlarge(np.rint(digits.images * (255 / 16)).astype(np.uint8))
    labels = digits.target.astype(np.int64)
    ends = (1200, 1500, len(images))  # writers come one after the other, so parts hold different writers
    starts = (0, *ends[:-1])
    names = ("target", "target_valid", "target_test")
    return {name: (images[a:b], labels[a:b]) for name, a, b in zip(names, starts, ends, strict=True)}


def read_usps(folder: Path) -> Arrays:
    """USPS from ``zip.train.gz`` and ``zip.test.gz`` (16 × 16 pixels in [−1, 1] behind a label, as text), enlarged.

    The customary split: 7,291 training digits, the last tenth of them for validation, and 2,007 test digits.

    Raises:
        BadInput: a file is missing or holds something else.
    """
    parts = {}
    for part in ("train", "test"):
        path = folder / f"zip.{part}.gz"
        try:
            with open(regular(path), "rb") as packed, gzip.open(packed) as file:
                text = file.read(TEXT_CAP_BYTES + 1)
            if len(text) > TEXT_CAP_BYTES:
                raise ValueError(f"it has more than {TEXT_CAP_BYTES:,} bytes")
            rows = np.loadtxt(io.StringIO(text.decode("ascii")), dtype=np.float32, ndmin=2)
        except (OSError, EOFError, ValueError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
            raise BadInput(f"The file {path} is no USPS file, or a damaged one ({error}).") from None
        if rows.shape[1] != 257 or not np.isin(rows[:, 0], range(10)).all() or np.abs(rows[:, 1:]).max() > 1:
            raise BadInput(f"The file {path} is no USPS file: rows should hold a digit and 256 values from −1 to 1.")
        images = np.rint((rows[:, 1:] + 1) * 127.5).astype(np.uint8).reshape(-1, 16, 16)
        parts[part] = (enlarge(images), rows[:, 0].astype(np.int64))
    images, labels = parts["train"]
    n = max(1, len(images) - len(images) // 10)
    return {"target": (images[:n], labels[:n]), "target_valid": (images[n:], labels[n:]), "target_test": parts["test"]}


def add_background(
    then: Callable[[Tensor, torch.Generator], Tensor] | None,
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """A transform that draws a smooth random background b anew at every visit and shows |x − b|, then applies ``then``.

    In the manner of MNIST-M (Ganin et al. 2016, 1505.07818), whose backgrounds are patches of photographs.
    """

    def transform(x: Tensor, generator: torch.Generator) -> Tensor:
        coarse = torch.rand(len(x), x.shape[1], 5, 5, generator=generator, device=x.device)
        background = F.interpolate(coarse, x.shape[2:], mode="bilinear", align_corners=True)  # (B, C, H, W)
        mixed = (x - background).abs()
        return mixed if then is None else then(mixed, generator)

    return transform
