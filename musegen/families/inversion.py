"""Codes of what a generator without an encoder can show: found by optimisation (Creswell & Bharath 2016, 1611.05644).

    z*(x) = argmin_z  ‖x − G(z)‖² / (2 σ²) + ‖z‖² / 2

which is the most probable code where x is G(z) with Gaussian noise of σ and z ~ N(0, I). The best of several draws of z, by Adam
(rate 0.1) for a fixed number of steps. The loss has many minima, so that x may come back as something else that is near it; what
G itself has made comes back best.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["inverted"]

SIGMA, STARTS, STEPS, RATE = 0.05, 16, 100, 0.1


def inverted(generator: Callable[[Tensor], Tensor], x: Tensor, latent_dim: int) -> Tensor:
    """z*(x) of examples ``(B, *S)``, ``(B, n)``; deterministic, and one example's code does not depend on the
    others, but for rounding, which the steps of Adam may amplify (in the fourth digit of a sample).

    Args:
        generator: G, codes ``(B, n)`` → samples ``(B, *S)``. It should be in evaluation mode.

    >>> import torch
    >>> from musegen.families.inversion import inverted
    >>> z = torch.tensor([[0.5, -1.0]])
    >>> found = inverted(lambda z: 3 * z, 3 * z, 2)
    >>> [round(value, 2) for value in found[0].tolist()]
    [0.5, -1.0]
    """
    own = torch.Generator().manual_seed(0)
    starts = torch.randn(STARTS, latent_dim, generator=own).to(x.device)

    def loss(z: Tensor) -> Tensor:
        return (x - generator(z)).square().flatten(1).sum(1) / (2 * SIGMA**2) + z.square().sum(1) / 2

    with torch.no_grad():
        losses = torch.stack([loss(start.expand(len(x), -1)) for start in starts])  # (STARTS, B)
    best = starts[losses.argmin(0)]  # (B, n)
    least = losses.min(0).values
    z = best.clone().requires_grad_()
    adam = torch.optim.Adam([z], RATE)
    with torch.enable_grad():
        for _ in range(STEPS):
            found = loss(z)
            better = found.detach() < least
            best, least = torch.where(better[:, None], z.detach(), best), torch.where(better, found.detach(), least)
            (z.grad,) = torch.autograd.grad(found.sum(), z)
            adam.step()
    return best
