"""From probabilities to notes: one threshold per track, and a gate that says in which bars the track plays at all.

Cells of a likelihood are independent given the code, so probabilities far below ½ add up to notes that no single cell
promises; one threshold for all would silence the tracks that play least. Both numbers are set after training so that samples
have as many notes, and as many bars in which none begins, as the data.

Cells are ``(n, tracks, planes, steps, pitches)``, probabilities or zeros and ones; the last plane holds onsets where there are two.
"""

from __future__ import annotations

import torch
from torch import Tensor

from musegen.errors import BadInput

__all__ = ["calibrated", "per_track", "sounding"]

CERTAIN = float(torch.nextafter(torch.tensor(1.0), torch.tensor(0.0)))
"""The largest number below 1 in single precision."""


def per_track(values: str | float | list[float], n_tracks: int) -> Tensor:
    """One number per track, ``(tracks, 1, 1, 1)``; 0.5 while nothing has been calibrated.

    Raises:
        BadInput: neither one number nor one per track.
    """
    numbers = torch.tensor(0.5 if values == "auto" else values).flatten()
    if len(numbers) not in (1, n_tracks):
        raise BadInput(f"threshold has {len(numbers)} numbers for {n_tracks} tracks: give one, or one per track.")
    return numbers.expand(n_tracks)[:, None, None, None]


def sounding(cells: Tensor, threshold: str | float | list[float], gate: list[float], bar_steps: int) -> Tensor:
    """Cells above their track's threshold, bool.

    With gates, notes begin in a bar if and only if its most probable onset lies above the gate, and that onset is always one.
    """
    x = cells > per_track(threshold, cells.shape[1])
    if gate:
        peaks = _bar_peaks(cells, bar_steps)
        plays = peaks > per_track(gate, cells.shape[1])[:, 0, :, 0]
        peaks, plays = (bars.repeat_interleave(bar_steps, 2)[..., None] for bars in (peaks, plays))
        x[:, :, -1] = plays & (x[:, :, -1] | (cells[:, :, -1] == peaks))
    return x


def _bar_peaks(cells: Tensor, bar_steps: int) -> Tensor:
    """Highest probability of an onset per track and bar, ``(n, tracks, bars)``."""
    return cells[:, :, -1].unflatten(2, (-1, bar_steps)).flatten(3).amax(3)


def calibrated(cells: Tensor, real: Tensor, bar_steps: int) -> tuple[list[float], list[float]]:
    """Threshold and gate per track, at which samples have the notes of real cells, and the bars in which none begins.

    The gate decides in which bars notes begin; in each of these the most probable onset sounds, and the threshold decides
    about the rest.
    """
    peaks, real_peaks = _bar_peaks(cells, bar_steps), _bar_peaks(real, bar_steps)
    thresholds, gates = [], []
    for track in range(cells.shape[1]):
        peak = peaks[:, track].flatten()  # one per bar of all samples
        n_open = len(peak) - round(float((real_peaks[:, track] == 0).double().mean()) * len(peak))
        gates.append(_cut(peak, n_open))
        bars = cells[:, track, -1].unflatten(1, (-1, bar_steps)).flatten(2).flatten(0, 1)  # (bars, cells)
        plays = peak > gates[-1]
        others = _but_one_highest(bars[plays])
        n_notes = round(float(real[:, track, -1].sum()) / len(real) * len(cells))
        thresholds.append(_cut(others, max(0, n_notes - int(plays.sum()))))
    return thresholds, gates


def _but_one_highest(rows: Tensor) -> Tensor:
    """All cells ``(rows, cells)`` but one of the highest of each row, in one line."""
    left = torch.ones_like(rows, dtype=torch.bool).scatter_(1, rows.argmax(1, keepdim=True), False)
    return rows[left]


def _cut(values: Tensor, n: int) -> float:
    """A number below 1 that n of the values lie above; more only where equal values leave no choice, as with a saturated model,
    and where they are 1: what is certain, above all what was given, is never cut."""
    if n == 0:
        return min(float(values.max()), CERTAIN) if len(values) else 0.0
    if n >= len(values):
        return 0.0
    smallest = values.kthvalue(len(values) - n + 1).values  # of those above; cells are millions, and need no order
    below = values[values < smallest]
    return float(below.max()) if len(below) else 0.0
