"""Sampling from where the codes are: a family that keeps codes of training examples.

What a decoder has learnt is codes of the data. Their aggregate q(z) = 1/N Σ_n q(z|x_n) need not be p(z), above all where there are
many dimensions, and draws of p(z) then lie where no code is (Hoffman & Johnson 2016; Ghosh et al. 2020, 1903.12436). So a
family may draw z from

    standard     p(z)
    aggregate    1/M Σ_m q(z|x_m) over the M codes that the model keeps; of a code without spread, these very codes, so that a
                 sample is the reconstruction of a training example
    mixture      a Gaussian mixture with full covariances, fitted to the codes that it keeps (1903.12436, section 4)

The codes are the newest of training, a ring of fixed size that is a part of the model's tensors: saved, resumed and loaded with
them, and left as it is by a moving average of the weights. What bounds log p(x) stays the bound with p(z).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from musegen.contracts.domain import Spec
from musegen.contracts.family import Family, Sampling
from musegen.options import option
from musegen.probability.mixture import CodeMixture, fitted
from musegen.probability.whole_batch import gathered

__all__ = ["CodeSampling", "Memory", "Remembering", "gaussian_codes", "memory_option"]


@dataclass(frozen=True)
class CodeSampling(Sampling):
    prior: Literal["standard", "aggregate", "mixture"] = option(
        "standard",
        "where codes are drawn from: p(z), codes of training examples, or a Gaussian mixture fitted to these",
    )
    components: int = option(10, "Gaussians of prior=mixture", ge=1)


def memory_option() -> Any:
    """The option ``memory`` of such a family."""
    return option(4096, "codes of training examples that the model keeps, to draw others like them", ge=1)


class Memory(nn.Module):
    """The newest codes of training, in a ring.

    Args:
        size: codes that it keeps, at most.
        width: numbers that describe one.
    """

    rows: Tensor
    written: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, width))
        self.register_buffer("written", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def remember(self, rows: Tensor) -> None:
        """Keep codes ``(B, width)`` in the place of those that were kept longest."""
        newest = slice(max(0, len(rows) - len(self.rows)), None)
        slots = (self.written + torch.arange(len(rows), device=rows.device))[newest] % len(self.rows)
        self.rows[slots] = rows[newest].to(self.rows)
        self.written += len(rows)

    @property
    def kept(self) -> Tensor:
        """The codes, ``(M, width)``; none before the first step."""
        return self.rows[: int(self.written)]


class Remembering(Family):
    """A family that keeps codes; its config has ``memory``. It calls ``remember`` in training, ``remembered_codes`` to sample."""

    Sampling: ClassVar[type[Sampling]] = CodeSampling
    never_averaged = ("memory.rows",)  # slots change their owners
    memory: Memory

    def __init__(self, config: Any, spec: Spec, networks: dict[str, Any], width: int) -> None:
        super().__init__(config, spec, networks)
        self.memory = Memory(config.memory, width)
        self._fitted: tuple[Any, CodeMixture] | None = None

    @abstractmethod
    def codes_of(self, rows: Tensor) -> CodeMixture:
        """What is kept of examples, ``(M, width)``, as the mixture of their codes."""

    def remember(self, rows: Tensor) -> None:
        """Keep what describes the codes of a batch, ``(B, width)``; in training alone."""
        if self.training:
            self.memory.remember(gathered(rows.detach()))

    def remembered_codes(self, n: int, label: Tensor | None = None) -> Tensor | None:
        """n codes from where ``sampling.prior`` says, as ``CodeMixture.sample`` gives them; None: from p(z), as also before there
        are any codes."""
        s, rows = self.sampling, self.memory.kept
        prior = getattr(s, "prior", "standard")  # a family built on this one may have other options of drawing
        if prior == "standard" or not len(rows):
            return None
        codes = self.codes_of(rows)
        if prior == "mixture":
            # A fit takes a second, and models are sampled in parts: until the codes change, it is kept.
            state = (s.components, self.memory.rows.data_ptr(), self.memory.rows._version)
            if self._fitted is None or self._fitted[0] != state:
                self._fitted = state, fitted(codes, s.components)
            codes = self._fitted[1]
        return codes.sample(n, s.temperature, label)


def gaussian_codes(mean: Tensor, spread: Tensor) -> CodeMixture:
    """Continuous codes alone, all of the same weight: means and standard deviations ``(M, n)``."""
    weight = torch.full((len(mean),), 1 / len(mean), device=mean.device)
    return CodeMixture(weight.log(), (), mean, spread)
