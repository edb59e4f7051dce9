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


def draw(codes: Tensor, label: Tensor | None, classes: Sequence[str], drawn: Tensor | None = None) -> Image:
    """Panels side by side: the codes ``(N, n)`` coloured by class, and a density.

    The density is a kernel estimate with Scott's bandwidth: of z ~ P(z), ``drawn`` ``(M, n)``, which have a panel of their own, as
    in the slides of the GAE; without them of the codes, the aggregate posterior where these are posterior means.
    """
    from matplotlib.figure import Figure
    from PIL import Image as Pictures

    both = codes if drawn is None else torch.cat([codes, drawn.to(codes)])
    plane, share = principal_plane(both)  # one plane for all
    xy, prior = (part.numpy() for part in plane.tensor_split([len(codes)]))
    n_panels = 2 if drawn is None else 3
    figure = Figure(figsize=(5.5 * n_panels, 5), dpi=110, layout="constrained")
    left, *middle, right = figure.subplots(1, n_panels, sharex=True, sharey=True)
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
    for panel in middle:
        panel.scatter(*prior.T, s=4, color="#444444")
        panel.set(xlabel=names[0], title=f"{len(prior)} draws z ~ P(z)")
    low, high = plane.numpy().min(0) - 0.5, plane.numpy().max(0) + 0.5
    grid = [np.linspace(low[i], high[i], 120) for i in range(2)]
    right.pcolormesh(*grid, density(xy if drawn is None else prior, grid).T, cmap="viridis", shading="gouraud")
    right.set(xlabel=names[0], title="density of codes" if drawn is None else "their density")
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
