"""Samples of a run: drawn while it trains, written, and shown to the domain in the end."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from musegen.contracts.dataset import generator_for
from musegen.contracts.domain import Domain
from musegen.contracts.family import Family
from musegen.contracts.piece import Piece, save
from musegen.data.batches import Batches
from musegen.engine import shared_state
from musegen.files import temporary_path
from musegen.models.loading import load
from musegen.reporting import each
from musegen.running.runs import Run

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["calibrated", "drawn", "seeded", "write"]

CALIBRATION_EXAMPLES = 1024
"""Samples and training examples that ``Domain.calibrate`` gets to see."""
AT_ONCE = 64


def seeded(seed: int, device: torch.device, *key: int) -> AbstractContextManager[None]:
    """A scope in which what a run with this seed draws besides its training follows from ``key``."""
    return shared_state.seeded(generator_for(torch.device("cpu"), seed, 3, *key).initial_seed(), device)


@torch.no_grad()
def drawn(family: Family, n: int, source: Batches) -> Tensor | None:
    """n samples on the CPU; where a family cannot sample, reconstructions of n examples from all over the data; None where it can
    do neither."""
    can = family.capabilities
    if can.sample:
        return family.sample(n).float().cpu()
    if can.reconstruct:
        return torch.cat([family.reconstruct(batch.x.float()).float().cpu() for batch in source.once(n)])
    return None


def write(pieces: Sequence[Piece], domain: Domain, folder: Path) -> Image:
    """Pieces in their native format, and all in one picture, which is returned.

    The folder appears whole, and replaces an older one.
    """
    picture, temporary = domain.sheet(pieces), temporary_path(folder)
    temporary.mkdir(parents=True)
    try:
        save(pieces, temporary, [f"sample_{i:03d}" for i in range(len(pieces))])
        picture.save(temporary / "picture.png")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return picture


@torch.no_grad()
def calibrated(run: Run, domain: Domain, batches: Batches) -> Any:
    """The domain's options of writing, adjusted to samples of the best checkpoint.

    They are drawn with the weights that a user's samples will be drawn with, which may lie far behind the last ones.
    """
    n, device, seed = CALIBRATION_EXAMPLES, batches.device, batches.seed
    family = load(run, device=str(device)).family
    with seeded(seed, device):  # not before: building the family drew its first weights
        samples = torch.cat([family.sample(AT_ONCE).float().cpu() for _ in each(range(n // AT_ONCE), "Calibrating")])
    dataset = batches.dataset
    index = torch.randperm(len(dataset), generator=generator_for(torch.device("cpu"), seed, 4))[:n]
    reference = dataset.gather(index.to(dataset.index_device), generator_for(device, seed, 4)).x
    return domain.calibrate(samples, reference.float().cpu())
