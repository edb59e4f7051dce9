"""Music without a model: what any model has to beat.

The first-order Markov chain knows which steps follow one another and nothing else; random pitches keep the rhythm of real music
and know nothing of harmony. A measure that does not tell a model from them says nothing about it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

__all__ = ["markov_chain", "random_pitches"]


def markov_chain(windows: Iterable[Tensor], n: int, generator: torch.Generator) -> Tensor:
    """Samples of a first-order Markov chain whose states are whole steps: all notes of all tracks.

    Each step is followed by one that followed it in the windows, as often as it did there. Where a step was always the last one
    of its window, the chain goes on from the beginning of another.

    Args:
        windows: of training data in parts, binary ``(m, channels, steps, pitches)``, all of one length.
        n: samples.

    Returns:
        float ``(n, channels, steps, pitches)``.
    """
    parts = []
    for x in windows:
        shape = x.shape[1:]
        parts.append(np.packbits((x > 0.5).permute(0, 2, 1, 3).flatten(2).numpy(), axis=-1))  # (m, steps, bytes)
    rows = np.concatenate(parts)
    steps, state = np.unique(rows.reshape(-1, rows.shape[2]), axis=0, return_inverse=True)
    states = torch.from_numpy(state.reshape(rows.shape[:2]).astype(np.int64))  # (windows, steps)
    before, after = states[:, :-1].flatten(), states[:, 1:].flatten()
    order = before.argsort(stable=True)
    after = after[order]
    count = torch.bincount(before, minlength=len(steps))
    first = count.cumsum(0) - count

    def drawn(below: Tensor) -> Tensor:
        return (torch.rand(n, generator=generator) * below).long().clamp(max=below - 1)

    beginnings = states[:, 0]
    here = beginnings[drawn(torch.tensor(len(beginnings)))]
    path = [here]
    for _ in range(states.shape[1] - 1):
        follows = after[(first[here] + drawn(count[here].clamp(min=1))).clamp(max=len(after) - 1)]
        here = torch.where(count[here] > 0, follows, beginnings[drawn(torch.tensor(len(beginnings)))])
        path.append(here)
    chosen = torch.from_numpy(steps)[torch.stack(path, 1)].numpy()  # (n, steps, bytes)
    channels, n_steps, pitches = shape
    cells = np.unpackbits(chosen, axis=-1, count=channels * pitches).reshape(n, n_steps, channels, pitches)
    return torch.from_numpy(cells).permute(0, 2, 1, 3).float()


def random_pitches(rolls: Tensor, drums: Tensor, generator: torch.Generator) -> Tensor:
    """The same rhythms with other pitches: every note gets one between the lowest and the highest of its track, at random.

    Args:
        rolls: bool ``(n, tracks, 2, steps, 128)``, see ``Bars``.
        drums: tracks that stay as they are, bool ``(tracks,)``.

    Returns:
        Rolls of the same shape. Notes that meet on one pitch become one note.
    """
    from musegen_pianoroll.measures.bars import Bars

    found = torch.zeros_like(rolls)
    found[:, drums] = rolls[:, drums]
    notes = Bars(rolls, rolls.shape[3]).note_table
    for track in (~drums).nonzero()[:, 0].tolist():
        sample, _, pitch, start, end = notes[notes[:, 1] == track].T
        if not len(pitch):
            continue
        low, high = int(pitch.min()), int(pitch.max())
        new = torch.randint(low, high + 1, pitch.shape, generator=generator)
        length = end - start
        which = torch.arange(len(new)).repeat_interleave(length)
        step = start[which] + torch.arange(len(which)) - (length.cumsum(0) - length)[which]
        found[sample[which], track, 0, step, new[which]] = True
        found[sample, track, 1, start, new] = True
    return found
