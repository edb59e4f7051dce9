"""PixelRNN (van den Oord, Kalchbrenner & Kavukcuoglu 2016, 1601.06759).

Every cell is predicted from the cells before it, and long-range context travels in the state of an LSTM:

    p(x) = Π_i p(x_i | x_1, …, x_{i−1})                                                                         (eq. 1)
    L(θ; x) = −log p_θ(x) = −Σ_i log p_θ(x_i | x_<i)

in nats, summed over the cells, mean over the batch. θ is ``autoregressive``, which the domain builds: row by row, column
by column, and within a position channel by channel (eq. 2). A 7×7 convolution with mask A, ``layers`` LSTM layers with
residual connections over 2h maps, h = ``channels``, and two 1×1 convolutions (table 1). An LSTM layer computes, for all
cells of a row or of a diagonal at once,

    [o, f, i, g] = K_ss ⊛ h_before + K_is ⊛ x
    c = σ(f) ⊙ c_before + σ(i) ⊙ tanh(g),   h = σ(o) ⊙ tanh(c)                                                (eq. 3)

* ``row-lstm``: "before" is the row above, K_ss spans 3 columns: the context is a triangle (section 3.1).
* ``diagonal-bilstm``: "before" is the diagonal before, one from each side: the context is all earlier cells (section 3.2).

``location``: a learned bias per row and per column behind the first layer (1606.05328, eq. 5, with a constant map).
``sample`` draws row by row; a row's cells settle by fixed-point iteration instead of one by one, with the same outcome
(``AutoregressiveGrid.draw``). Reported: ``bits_per_dim`` = L / (cells · ln 2).

Deviations: Adam instead of RMSProp; the likelihood is the domain's (binary cells, or the paper's 256 levels:
``likelihood=softmax`` of the domain ``image``); no multi-scale variant (section 3.6).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Autoregressive, Spec, Wanted
from musegen.contracts.family import Capabilities, Family, Losses, Player
from musegen.contracts.graph import Edge, Graph, Node
from musegen.families.pixelcnn import bits_per_dim
from musegen.options import option

__all__ = ["PixelRNN"]


@dataclass(frozen=True)
class PixelRNNConfig:
    kind: Literal["row-lstm", "diagonal-bilstm"] = option("diagonal-bilstm", "along which the LSTM runs")
    channels: int = option(16, "h, the LSTM's units per cell", ge=1)
    layers: int = option(2, "LSTM layers", ge=1)
    location: bool = option(True, "learned biases per row and per column")


class PixelRNN(Family):
    name = "pixelrnn"
    title = "PixelRNN: Row LSTM and Diagonal BiLSTM"
    paper = "van den Oord, Kalchbrenner & Kavukcuoglu 2016, arXiv 1601.06759"
    objective = "max  log p(x) = Σ_i log p(x_i | x_<i)"
    Config = PixelRNNConfig
    capabilities = Capabilities(log_prob="exact")
    monitor = "loss"
    draws = True
    autoregressive: Any

    @classmethod
    def networks(cls, config: PixelRNNConfig, spec: Spec) -> dict[str, Wanted]:
        wanted = Autoregressive(config.kind, config.channels, config.layers, location=config.location)
        return {"autoregressive": wanted}

    @classmethod
    def graph(cls, config: PixelRNNConfig) -> Graph:
        return Graph(
            nodes=(Node("x_<i", "observed", "earlier cells"), Node("x_i", "observed", "a cell")),
            edges=(Edge("x_<i", "x_i", "generative", "p(x_i|x_<i)", ("autoregressive",)),),
        )

    @property
    def players(self) -> dict[str, Player]:
        return {"autoregressive": Player(("autoregressive",))}

    def updates(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        loss = -self.log_prob(batch.x).mean()
        yield "autoregressive", {"loss": loss, "bits_per_dim": bits_per_dim(loss, batch.x[0].numel())}

    def log_prob(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """log p(x), nats, ``(B,)``: exact, so ``n_samples`` changes nothing."""
        return self.likelihood.log_prob(self.autoregressive(x), x)

    def sample(self, n: int, *, label: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        return self.complete(torch.zeros(n, *self.spec.shape, device=self.device), 0, self.sampling.temperature)

    def complete(self, x: Tensor, given: int, temperature: float = 1.0) -> Tensor:
        """x ``(n, *S)`` with all but its first ``given`` rows drawn anew: the rest of a picture, or how a piece goes on."""
        return self.autoregressive.draw(x, self.likelihood, given=given, temperature=temperature)
