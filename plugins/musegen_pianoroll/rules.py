"""Rules of voice leading and harmony that a musician may switch on: steps that break them are drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from musegen.contracts.asked import Faults
from musegen.errors import BadInput, did_you_mean, shown
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.measures.voices import FIFTH, OCTAVE, parallels, top_notes
from musegen_pianoroll.store.format import StoreTrack

__all__ = ["faults_of"]


def faults_of(rules: Sequence[str], config: PianorollConfig, tracks: Sequence[StoreTrack]) -> Faults | None:
    """How many rules a step breaks; None where none is switched on.

    Raises:
        BadInput: there is no such rule, or the model knows no chords.
    """
    known: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]] = {
        "avoid_parallels": _parallels,
        "no_crossing": _crossings,
        "chord_notes": lambda before, now, frame, plan, step: _foreign(frame, plan, step, config),
    }
    for rule in rules:
        if rule not in known:
            raise BadInput(f'rules: there is no rule "{shown(rule)}".{did_you_mean(rule, list(known))}')
    if not rules:
        return None
    if "chord_notes" in rules and not config.chords:
        raise BadInput("The rule chord_notes needs a model that was trained with plan=chords.")
    pitched = [config.n_plan + i * config.n_planes for i, track in enumerate(tracks) if not track.is_drum]

    def faults(step: int, before: Tensor, row: Tensor) -> Tensor:
        then, now = (top_notes(x[:, pitched] > 0) for x in (before, row))  # (n, tracks, 1)
        parts = [known[rule](then, now, row[:, pitched] > 0, row[:, : config.n_plan] > 0, step) for rule in rules]
        return torch.stack(parts).sum(0)

    return faults


def _parallels(before: Tensor, now: Tensor, frame: Tensor, plan: Tensor, step: int) -> Tensor:
    top = torch.cat([before, now], 2)
    return parallels(top, FIFTH) + parallels(top, OCTAVE)


def _crossings(before: Tensor, now: Tensor, frame: Tensor, plan: Tensor, step: int) -> Tensor:
    above, below = now[:, :-1, 0], now[:, 1:, 0]
    return ((above >= 0) & (below >= 0) & (above < below)).sum(1)


def _foreign(frame: Tensor, plan: Tensor, step: int, config: PianorollConfig) -> Tensor:
    """Notes on a beat whose names are not in its chord ``(n,)``; none where there is no chord."""
    if step % config.beat_steps:
        return torch.zeros(len(frame), dtype=torch.int64, device=frame.device)
    of_class = (torch.arange(config.lowest_pitch, config.highest_pitch + 1, device=frame.device) % 12)[:, None] == (
        torch.arange(12, device=frame.device)
    )
    in_chord = (plan[:, 0, 0].float() @ of_class.float()) > 0  # (n, 12)
    sounding = frame[:, :, 0].sum(1).float() @ of_class.float()
    return torch.where(in_chord.any(1), (sounding * ~in_chord).sum(1).long(), 0)
