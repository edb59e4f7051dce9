"""The space of codes as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["draw", "principal_plane"]


def principal_plane(codes: Tensor) -> tuple[Tensor, float]:
    """Codes ``(N, n)`` in their first two principal components, ``(N, 2)``, and the share of variance that these hold.

    Codes of one or two dimensions stay as they are (one gets a second coordinate of 0).
    """
    codes = codes.double()
    if codes.shape[1] <= 2:
        return torch.nn.functional.pad(codes, (0, 2 - codes.shape[1])), 1.0
    centred = codes - codes.mean(0)
    _, singular, components = torch.linalg.svd(centred, full_matrices=False)
    share = singular[:2].square().sum() / singular.square().sum().clamp_min(1e-30)
    return centred @ components[:2].T, float(share)


def draw(codes: Tensor, label: Tensor | None, classes: Sequence[str]) -> Image:
    """Two panels: the codes ``(N, n)`` coloured by class, and the density that they add up to.

    The density is a kernel estimate with Scott's bandwidth: the aggregate posterior, where codes are posterior means.
    """
    from matplotlib.figure import Figure
    from PIL import Image as Pictures

    plane, share = principal_plane(codes)
    xy = plane.numpy()
    figure = Figure(figsize=(11, 5), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    if label is None:
        left.scatter(*xy.T, s=4, color="#1f4e79")
    else:
        for c in sorted(set(label.tolist())):
            own = xy[label.numpy() == c]
            left.scatter(*own.T, s=4, label=classes[c] if c < len(classes) else str(c), color=f"C{c % 10}")
        left.legend(markerscale=3, fontsize=8, loc="upper right")
    names = ("z₁", "z₂") if codes.shape[1] <= 2 else ("first principal component", "second principal component")
    left.set(
        xlabel=names[0],
        ylabel=names[1],
        title=f"{len(codes)} codes" + (f", {share:.0%} of variance" if share < 1 else ""),
    )
    low, high = xy.min(0) - 0.5, xy.max(0) + 0.5
    grid = [np.linspace(low[i], high[i], 120) for i in range(2)]
    right.pcolormesh(*grid, density(xy, grid).T, cmap="viridis", shading="gouraud")
    right.set(xlabel=names[0], title="density of codes")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return Pictures.open(io.BytesIO(content.getvalue())).convert("RGB")


def density(xy: np.ndarray, grid: Sequence[np.ndarray]) -> np.ndarray:
    """Gaussian kernel density of points ``(N, 2)`` on a grid of x and y values: ``(len(x), len(y))``."""
    # Scott's rule; the kernel is a product, so two small matrices give the whole grid.
    width = np.maximum(xy.std(0), 1e-6) * len(xy) ** (-1 / 6)
    kernels = [
        np.exp(-0.5 * ((grid[i][:, None] - xy[None, :, i]) / width[i]) ** 2) / (width[i] * np.sqrt(2 * np.pi))
        for i in range(2)
    ]
    return kernels[0] @ kernels[1].T / len(xy)
