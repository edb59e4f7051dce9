"""A step is drawn: which cell is on next, again and again, until none is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from musegen.networks.nade.terms import Cells, Drawing
from musegen.probability.by_device import default_generator

__all__ = ["draw_step", "step_noise"]


def step_noise(n: int, n_cells: int, device: torch.device, leading: int) -> Tensor:
    """Uniform numbers for a step of n samples ``(n, D)``: those of the first samples are the same, however many follow.

    Args:
        leading: samples whose numbers come from the default generator, always for as many, so that the next step's begin at the
            same place. All others have a stream for each step, whose seed follows from these numbers.
    """
    first = torch.rand(leading, n_cells, generator=default_generator(device), device=device)
    if n <= leading:
        return first[:n]
    digest = hashlib.sha256(first.cpu().numpy().tobytes()).digest()
    generator = torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "little"))
    return torch.cat([first, torch.rand(n - leading, n_cells, generator=generator, device=device)])


def draw_step(
    terms: Sequence[Drawing], cells: Cells, row: Tensor, free: Tensor, noise: Tensor, temperature: float, top_p: float
) -> Tensor:
    """The step that the terms have begun, ``(B, C, 1, W)``, from one in which only what is given is on.

    Args:
        free: which cells are not given, bool ``(B, D)``.
        noise: uniform numbers ``(B, D)``.

    A cell is on when its uniform number lies below its probability, as if drawn one by one. Between two cells that are
    on nothing changes, so the terms are asked once per cell that is on, for the whole batch at a time.
    """
    none = len(cells)
    number = torch.arange(none, device=row.device)
    flat = F.pad(cells.flat(row)[:, 0], (0, 1))  # (B, D + 1), with the cell that is none
    while True:
        logits = reduce(torch.add, [term.logits() for term in terms])
        on = (noise < probability(logits, free, temperature, top_p)) & free
        cell = F.pad(on, (0, 1), value=True).long().argmax(1)  # the first, or none
        flat.scatter_(1, cell[:, None], 1.0)
        if bool((cell == none).all()):
            return cells.grid(flat[:, None, :-1])
        free = free & (number > cell[:, None])
        for term in terms:
            term.learn(cell)


def probability(logits: Tensor, free: Tensor, temperature: float, top_p: float) -> Tensor:
    """Probability that a cell is on, given that no free cell before it is: ``(B, D)`` → ``(B, D)``.

    q_d = σ(l_d) Π_{k<d} (1 − σ(l_k)), over free cells, is the law of the next cell on, and the full product that of none. Let
    r_d be q_d^(1/T), normalised, and 0 outside its nucleus, the fewest choices that together have probability ``top_p`` or more;
    the result is r_d / Σ_{k≥d} r_k, which for T = top_p = 1 is σ(l_d).
    """
    if temperature == 1 and top_p == 1:
        return logits.sigmoid()
    off = F.logsigmoid(-logits).where(free, logits.new_zeros(()))
    none_before = F.pad(off.cumsum(1), (1, 0))  # (B, D + 1)
    log_q = F.pad(F.logsigmoid(logits), (0, 1)) + none_before
    log_q[:, :-1].masked_fill_(~free, -torch.inf)
    if temperature == 0:
        return F.one_hot(log_q.argmax(1), log_q.shape[1])[:, :-1].to(logits.dtype)
    r = (log_q / temperature).softmax(1)
    if top_p < 1:
        ordered, choice = r.sort(1, descending=True)
        left_out = ordered.cumsum(1) - ordered >= top_p
        r = r.masked_fill(torch.zeros_like(left_out).scatter(1, choice, left_out), 0)
    tail = r.flip(1).cumsum(1).flip(1)
    return (r / tail.clamp(min=torch.finfo(r.dtype).tiny))[:, :-1]
