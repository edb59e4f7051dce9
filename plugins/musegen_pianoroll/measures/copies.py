"""How much of a sample stands in the training data: the longest run of consecutive bars in both, up to transposition.

Two runs of bars are the same if the same notes begin at the same steps in the same tracks once the whole band has been
moved by one number of semitones; drums do not move. How long notes are held does not count, so that a note that a window
cuts off still matches. A run begins and ends with a bar in which a note begins: silence alone is no copy.

Each run has one number: its lowest note is moved to pitch 0, and the random 64-bit numbers of its (track, step, pitch)
cells are added up (Zobrist hashing). One search among sorted numbers per length and place replaces comparing bars with
bars; two different runs among 10⁸ pairs agree by chance with probability 10⁻¹¹.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["longest_runs", "run_hashes"]


def run_hashes(onset: Tensor, is_drum: Tensor, bar_steps: int) -> dict[int, tuple[Tensor, Tensor]]:
    """Numbers of all runs of bars.

    Args:
        onset: where notes begin, bool ``(n, tracks, bars · bar_steps, 128)``.
        is_drum: tracks that do not transpose, bool ``(tracks,)``.

    Returns:
        By length k: numbers, int64 ``(n, bars − k + 1)``, and whether each is a run, bool of the same shape.
    """
    n, n_tracks, n_steps, n_pitches = onset.shape
    n_bars = n_steps // bar_steps
    cells = torch.randint(
        -(2**63), 2**63 - 1, (n_tracks, n_steps, n_pitches), generator=torch.Generator().manual_seed(0)
    )
    sample, track, step, pitch = onset.nonzero(as_tuple=True)
    bar, moves = step // bar_steps, ~is_drum[track]
    sounds = torch.zeros(n, n_bars, dtype=torch.bool)
    sounds[sample, bar] = True
    # Lowest moving pitch per sample and bar; a bar of drums alone has none and leaves the others' as it is.
    lowest = torch.full((n * n_bars,), n_pitches)
    lowest.scatter_reduce_(0, (sample * n_bars + bar)[moves], pitch[moves], "amin")
    lowest = lowest.view(n, n_bars)
    found = {}
    for k in range(1, n_bars + 1):
        numbers = torch.zeros(n, n_bars - k + 1, dtype=torch.int64)
        for first in range(n_bars - k + 1):
            inside = (bar >= first) & (bar < first + k)
            s, t, here = sample[inside], track[inside], step[inside] - first * bar_steps
            base = lowest[:, first : first + k].amin(1)  # (n,)
            moved = pitch[inside] - torch.where(moves[inside], base[s], 0)
            numbers[:, first].index_add_(0, s, cells[t, here, moved])  # wraps around, which is as good
        found[k] = numbers, sounds[:, : n_bars - k + 1] & sounds[:, k - 1 :]
    return found


def longest_runs(samples: Tensor, training: Iterable[Tensor], is_drum: Tensor, bar_steps: int) -> Tensor:
    """Bars of the longest run that each sample shares with the training data, int64 ``(n,)``; 0 if none.

    Args:
        samples: where notes begin, bool ``(n, tracks, steps, 128)``.
        training: the same of training windows, in parts ``(m, tracks, steps, 128)``, of the same length.
    """
    wanted = run_hashes(samples, is_drum, bar_steps)
    shared = {k: torch.zeros_like(is_run) for k, (_, is_run) in wanted.items()}
    for part in training:
        known = run_hashes(part, is_drum, bar_steps)
        for k, (numbers, is_run) in wanted.items():
            known_numbers, known_runs = known[k]
            shared[k] |= is_run & torch.isin(numbers, known_numbers[known_runs])
    longest = torch.zeros(len(samples), dtype=torch.int64)
    for k, hits in sorted(shared.items()):
        longest[hits.any(1)] = k
    return longest
