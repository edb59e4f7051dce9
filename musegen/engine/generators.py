"""Random generators: torch's, and those of Python and numpy, which a plugin may use, as tensors that a checkpoint can hold."""

from __future__ import annotations

import math
import random

import numpy as np
import torch
from torch import Tensor

__all__ = ["host_rng_state", "seed_everything", "set_host_rng_state"]


def seed_everything(seed: int) -> None:
    """Have all generators begin where the seed says."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002


def host_rng_state() -> dict[str, Tensor]:
    """Where Python's and numpy's generators stand."""
    _, words, gauss = random.getstate()
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002
    state = legacy["state"]
    return {
        "python": torch.tensor(words, dtype=torch.int64),
        "python_gauss": torch.tensor(math.nan if gauss is None else gauss, dtype=torch.float64),
        "numpy": torch.from_numpy(state["key"].astype(np.int64)),
        "numpy_rest": torch.tensor([state["pos"], legacy["has_gauss"], legacy["gauss"]], dtype=torch.float64),
    }


def set_host_rng_state(rng: dict[str, Tensor]) -> None:
    """Put Python's and numpy's generators where they stood."""
    gauss = float(rng["python_gauss"])
    random.setstate((3, tuple(rng["python"].tolist()), None if math.isnan(gauss) else gauss))
    position, has_gauss, cached = rng["numpy_rest"].tolist()
    key = rng["numpy"].cpu().numpy().astype(np.uint32)
    np.random.set_state(("MT19937", key, int(position), int(has_gauss), cached))  # noqa: NPY002
