"""Recurrent networks over the steps, forwards and, over what is given, backwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musegen.networks.nade.terms import Cells, Given, State

__all__ = ["Backwards", "Recurrent", "initial_state", "recurrent_network", "through"]

Recurrent = Literal["lstm", "gru"]


def recurrent_network(kind: Recurrent, n_inputs: int, units: int, layers: int, dropout: float) -> nn.LSTM | nn.GRU:
    """Batch first; values between its layers are dropped."""
    made = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
    return made(n_inputs, units, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)


def initial_state(network: nn.LSTM | nn.GRU, n: int, like: Tensor) -> State:
    """The state before the first step, of the type that ``like`` has: (h, c) of an LSTM, (h,) of a GRU."""
    zeros = like.new_zeros(network.num_layers, n, network.hidden_size)
    return (zeros, zeros) if isinstance(network, nn.LSTM) else (zeros,)


def through(network: nn.LSTM | nn.GRU, x: Tensor, state: State) -> tuple[Tensor, State]:
    """x ``(B, T, n)`` → outputs ``(B, T, units)`` of the last layer, and the state after the last step.

    Where values between layers are dropped it goes layer by layer, because torch's recurrences draw inside of one operation,
    where several processes could not share the draw (``musegen.probability.whole_batch``). The numbers are
    those that torch draws on a CPU.

    One step on a CPU goes through cells: for a whole LSTM oneDNN would order all weights anew first, which takes ten times as
    long as the step.
    """
    of_lstm = isinstance(network, nn.LSTM)
    if not (network.training and network.dropout and network.num_layers > 1):
        if of_lstm and x.shape[1] == 1 and x.device.type == "cpu" and not torch.is_grad_enabled():
            return _one_step(network, x[:, 0], state)
        y, after = network(x, state if of_lstm else state[0])
        return y, after if of_lstm else (after,)
    run: Any = torch.lstm if of_lstm else torch.gru
    states = []
    for i, weights in enumerate(network.all_weights):
        before = [part[i : i + 1] for part in state]
        x = F.dropout(x, network.dropout) if i else x
        # With biases, one layer, nothing dropped, in training, in one direction, batch first.
        x, *own = run(x, before if of_lstm else before[0], weights, True, 1, 0.0, True, False, True)
        states.append(own)
    return x, tuple(torch.cat(part) for part in zip(*states, strict=True))


def _one_step(network: nn.LSTM | nn.GRU, x: Tensor, state: State) -> tuple[Tensor, State]:
    """``through`` an LSTM for one step, x ``(B, n)``, without gradients."""
    states = []
    for weights, h, c in zip(network.all_weights, *state, strict=True):
        x, c = torch.lstm_cell(x, (h, c), *weights)
        states.append((x, c))
    h_after, c_after = (torch.stack(part) for part in zip(*states, strict=True))
    return x[:, None], (h_after, c_after)


class Backwards:
    """What is given, told from the last step back by a recurrent network.

    Args:
        network: over the cells given, which channels are, and what stands beside them.
        drop_input, drop_output: for dropout of its inputs and outputs.
    """

    def __init__(
        self, cells: Cells, network: nn.LSTM | nn.GRU, drop_input: nn.Dropout, drop_output: nn.Dropout
    ) -> None:
        self.cells, self.backward_ = cells, network
        self.drop_input, self.drop_output = drop_input, drop_output

    def ahead(self, given: Given, beside: Sequence[Tensor]) -> list[Tensor]:
        """What is given from each step to the last, with what else each step knows, each ``(B, T, …)`` → ``(B, T, units)``, and
        which channels are given at it ``(B, T, C)``."""
        mask = given.mask.transpose(1, 2).to(given.cells.dtype)
        cells = self.drop_input(self.cells.flat(given.cells))
        inputs = torch.cat([cells, mask, *beside], 2).flip(1)
        h, _ = through(self.backward_, inputs, initial_state(self.backward_, len(mask), inputs))
        return [self.drop_output(h.flip(1)), mask]
