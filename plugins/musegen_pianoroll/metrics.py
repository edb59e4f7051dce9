"""Measures of bars of music, per track, rightly defined (see Dong et al. 2018, 1709.06298, section 5).

Chroma is folded by pitch class, that is by pitch modulo 12. The published MuseGAN code folds ``reshape(12, -1)``, which
groups neighbouring semitones instead, so its figures for used pitch classes are not comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BarMeasures", "measure", "onsets_of", "table"]


def onsets_of(frame: Tensor, onset: Tensor) -> Tensor:
    """Where notes begin: marked onsets, and frames that rise without one. Bool ``(…, steps, pitches)``."""
    before = torch.cat([torch.zeros_like(frame[..., :1, :]), frame[..., :-1, :]], -2)
    return onset | (frame & ~before)


@dataclass(frozen=True)
class BarMeasures:
    """Per track, each a float tensor ``(tracks,)``.

    Attributes:
        notes_per_bar: notes that begin in a bar, over all bars.
        pitch_classes: used pitch classes per bar that is not empty, 0 to 12 (UPC); NaN if all are empty.
        empty_bars: share of bars without a sounding step (EB), 0 to 1.
        polyphony: share of sounding steps with two or more pitches, 0 to 1; NaN if nothing sounds.
    """

    notes_per_bar: Tensor
    pitch_classes: Tensor
    empty_bars: Tensor
    polyphony: Tensor


def measure(rolls: Tensor, bar_steps: int, lowest_pitch: int = 0) -> BarMeasures:
    """Measure bars.

    Args:
        rolls: bool ``(n, tracks, 2, steps, pitches)``, planes frame and onset; steps is a whole number of bars.
        bar_steps: steps per bar.
        lowest_pitch: MIDI pitch of the first row.
    """
    frame, onset = rolls[:, :, 0], rolls[:, :, 1]
    onset = onsets_of(frame, onset)
    frame = frame | onset
    # (n, tracks, bars · bar_steps, P) -> (n, tracks, bars, bar_steps, P)
    frame, onset = (x.unflatten(2, (-1, bar_steps)) for x in (frame, onset))
    tracks = (0, 2)  # average over samples and bars
    notes = onset.sum((3, 4)).double()
    sounding = frame.any(4)
    empty = ~sounding.any(3)
    n_pitches = frame.shape[-1]
    classes = (torch.arange(n_pitches) + lowest_pitch) % 12
    chroma = torch.stack([frame[..., classes == c].any(4).any(3) for c in range(12)], -1)  # (n, tracks, bars, 12)
    used = chroma.sum(-1).double().masked_fill(empty, float("nan"))
    polyphonic = (frame.sum(4) >= 2).sum((0, 2, 3)).double()
    return BarMeasures(
        notes.mean(tracks),
        used.nanmean(tracks),
        empty.double().mean(tracks),
        polyphonic / sounding.sum((0, 2, 3)),
    )


def table(generated: BarMeasures, data: BarMeasures, tracks: Sequence[str]) -> str:
    """Generated beside data, per track, as aligned text."""
    columns = (
        ("notes per bar", "notes_per_bar", "{:.1f}"),
        ("pitch classes", "pitch_classes", "{:.2f}"),
        ("empty bars %", "empty_bars", "{:.0f}"),
    )
    lines = [
        "track      " + "".join(f"{title:>24}" for title, _, _ in columns),
        " " * 11 + f"{'model   data':>24}" * len(columns),
    ]
    for i, track in enumerate(tracks):
        cells = []
        for _, name, form in columns:
            scale = 100 if name == "empty_bars" else 1
            pair = [form.format(scale * float(getattr(m, name)[i])) for m in (generated, data)]
            cells.append(f"{pair[0]:>16}{pair[1]:>8}")
        lines.append(f"{track:<11}" + "".join(cells))
    return "\n".join(lines)
