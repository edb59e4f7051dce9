"""From cells of samples to notes, and from notes to pieces, beside a given piece's own notes where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from musegen.contracts.missing import missing_rows
from musegen.errors import BadInput, did_you_mean
from musegen_pianoroll.config import PianorollConfig, PianorollWriting
from musegen_pianoroll.measures.bars import onsets_of
from musegen_pianoroll.reading.roles import model_tracks, program_number
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.planes import begun
from musegen_pianoroll.store.velocities import TYPICAL
from musegen_pianoroll.writing import thresholds
from musegen_pianoroll.writing.beside import GivenPiece
from musegen_pianoroll.writing.midi import MidiFile
from musegen_pianoroll.writing.pianoroll import Pianoroll
from musegen_pianoroll.writing.picture import contact_sheet

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["RollWriter", "merged_thresholds"]

DEFAULT_TEMPO_BPM = 120.0
WIDE_BARS = 16
"""Pieces of more bars are shown one below the other."""


@dataclass(frozen=True)
class RollWriter:
    """Turns samples into pieces.

    Args:
        config: of the domain.
        writing: tempo, programs and thresholds, as the user has them.
        given: a piece that stands in all pieces of samples.

    Raises:
        BadInput: an option names a track that is not there, or a program that does not exist.
    """

    config: PianorollConfig
    writing: PianorollWriting
    given: GivenPiece | None = None

    def __post_init__(self) -> None:
        names = [track.name for track in self.tracks]
        for option in ("programs", "threshold"):
            value = getattr(self.writing, option)
            for name in value if isinstance(value, Mapping) else ():
                if name not in names:
                    raise BadInput(f'{option}: there is no track "{name}".{did_you_mean(name, names)}')

    @cached_property
    def tracks(self) -> list[StoreTrack]:
        """The tracks of the data if some were opened, else those of the option; with the programs that they are written with."""
        c = self.config
        tracks = model_tracks(c.tracks, c.track_list)
        chosen = {name: program_number(value) for name, value in self.writing.programs.items()}
        programs = {**(self.given.programs if self.given else {}), **chosen}
        return [replace(track, program=programs.get(track.name, track.program)) for track in tracks]

    @property
    def tempo_bpm(self) -> float:
        """What the user asks for, or that of the given piece, or that of the data."""
        given = self.given.tempo_bpm if self.given else None
        return self.writing.tempo or given or self.config.tempo_bpm or DEFAULT_TEMPO_BPM

    def rolls(self, samples: Tensor) -> Tensor:
        """Samples, with the given piece where there is one, as rolls; see ``sounding``."""
        rolls = self.sounding(samples)
        if self.given is None:
            return rolls
        return self.given.with_own(self.given.placed(rolls, self._missing(samples)[0]))

    def _missing(self, samples: Tensor) -> Tensor:
        """Which rows bars lack, bool ``(n, rows)``."""
        if not self.config.short_bars:
            return torch.zeros(len(samples), samples.shape[2], dtype=torch.bool)
        return missing_rows(samples)

    def note_cells(self, samples: Tensor) -> Tensor:
        """Samples ``(n, C, …)`` without chords and levels, ``(n, tracks, planes, …)``."""
        c, n = self.config, len(self.tracks)
        return samples[:, c.n_plan : c.n_plan + n * c.n_planes].unflatten(1, (n, c.n_planes))

    def levels(self, samples: Tensor) -> Tensor:
        """The level of notes that begin, uint8 ``(n, tracks, steps, 128)``: of samples ``(n, C, steps, pitches)``; 0 of models that
        write no velocities, and elsewhere."""
        c, n = self.config, len(self.tracks)
        levels = torch.zeros(len(samples), n, samples.shape[2], 128, dtype=torch.uint8)
        if c.velocities:
            on = samples[:, c.n_plan + n * c.n_planes :].unflatten(1, (n, c.n_levels)) > 0.5
            found = on.sum(2).masked_fill(self._missing(samples)[:, None, :, None], 0)
            levels[..., c.lowest_pitch : c.highest_pitch + 1] = found.to(torch.uint8)
        return levels

    def velocities(self, samples: Tensor) -> Tensor | None:
        """MIDI velocities of levels, uint8 ``(n, tracks, steps, 128)``: as loud as they are in the data; None of models that write
        none."""
        if not self.config.velocities:
            return None
        known = torch.tensor([track.velocities or TYPICAL for track in self.tracks], dtype=torch.uint8)
        levels = self.levels(samples).long()
        return known[torch.arange(len(known))[:, None, None], levels]

    def sounding(self, samples: Tensor) -> Tensor:
        """Samples ``(n, C, steps, pitches)`` → bool rolls ``(n, tracks, 2, steps, 128)``, frame and onset.

        Drums are onsets. With two planes a note begins at an onset and sounds as long as its frames go on; frames that no
        onset began are left out (as in Hawthorne et al. 2018, 1710.11153), which changes nothing in rolls of real notes. Through
        rows that a bar lacks, notes go on that sound before and after.
        """
        c, w = self.config, self.writing
        x = thresholds.sounding(self.note_cells(samples), self._threshold, w.gate, c.bar_steps)
        if c.short_bars:
            x = _tied(x, self._missing(samples))
        if c.n_planes == 2:
            onset = x[:, :, 1]
            frame = begun(x[:, :, 0] | onset, onset)
        else:
            frame = x[:, :, 0]
            onset = onsets_of(frame, torch.zeros_like(frame))
        drums = torch.tensor([track.is_drum for track in self.tracks])
        frame = torch.where(drums[:, None, None], onset, frame)
        rolls = torch.zeros(*frame.shape[:2], 2, frame.shape[2], 128, dtype=torch.bool)
        rolls[..., c.lowest_pitch : c.highest_pitch + 1] = torch.stack([frame, onset], 2)
        return rolls

    @property
    def _threshold(self) -> str | float | list[float]:
        return merged_thresholds(self.writing.threshold, "auto", [track.name for track in self.tracks])

    def pieces(self, samples: Tensor) -> list[Pianoroll]:
        """Samples ``(n, *S)`` as pieces, which show, play and save themselves."""
        rolls, missing, velocities = self.sounding(samples), self._missing(samples), self.velocities(samples)
        given, nothing = self.given, [None] * len(samples)
        if given is None:
            loud = nothing if velocities is None else [v[:, ~gone] for v, gone in zip(velocities, missing, strict=True)]
            return [
                self._piece(roll[:, :, ~gone], self._metres(gone), velocity)
                for roll, gone, velocity in zip(rolls, missing, loud, strict=True)
            ]
        placed = given.placed(rolls, missing[0])
        whole, new = given.with_own(placed), self._metres(missing[0, len(given.steps) :])
        loud = nothing if velocities is None else list(given.in_time(velocities, missing[0]))
        if given.keep == "none":
            return [self._piece(roll, new, velocity) for roll, velocity in zip(whole, loud, strict=True)]
        after = [(given.n_steps + step, top, bottom) for step, top, bottom in new]
        metres = [*given.metres, *(after if given.keep == "all" else ())]
        midis = [
            given.file(
                notes.numpy(), self.tracks, self.writing.tempo, new, None if velocity is None else velocity.numpy()
            )
            for notes, velocity in zip(placed, loud, strict=True)
        ]
        return [self._piece(*parts) for parts in zip(whole, [metres] * len(whole), loud, midis, strict=True)]

    def _piece(
        self,
        roll: Tensor,
        metres: Sequence[tuple[int, int, int]],
        velocity: Tensor | None,
        midi: MidiFile | None = None,
    ) -> Pianoroll:
        """A piece of some metres, as (first step, numerator, denominator)."""
        (_, *metre), *changes = metres
        return Pianoroll(
            roll.numpy(),
            self.tracks,
            self.config.steps_per_beat,
            self.tempo_bpm,
            (metre[0], metre[1]),
            self._shown_range,
            midi,
            changes,
            None if velocity is None else velocity.numpy(),
        )

    def _metres(self, missing: Tensor) -> list[tuple[int, int, int]]:
        """The metres of bars of which rows ``(rows,)`` are missing, where they change, as (step, numerator, denominator)."""
        rooms = self.config.rooms
        if not self.config.short_bars or not len(missing):
            return [(0, *rooms.metres[0])]
        found: list[tuple[int, int, int]] = []
        step = 0
        for bar in missing.split(rooms.size):
            whole = torch.cat([bar, missing.new_zeros(rooms.size - len(bar))])  # a last bar may be cut
            metre = rooms.metre_of(whole.numpy()) if len(bar) == rooms.size else rooms.metres[0]
            if not found or found[-1][1:] != metre:
                found.append((step, *metre))
            step += int((~bar).sum())
        return found

    def sheet(self, pieces: Sequence[Pianoroll], columns: int | None = None) -> Image:
        """Pieces in one picture, all over the same pitches."""
        rolls = [piece.roll for piece in pieces]
        longest = max(roll.shape[2] for roll in rolls)
        return contact_sheet(
            rolls,
            self.tracks,
            bars=[piece.bars for piece in pieces],
            steps_per_beat=self.config.steps_per_beat,
            pitch_range=self._shown_range,
            columns=columns or (2 if longest <= WIDE_BARS * self.config.bar_steps else 1),
        )

    @property
    def _shown_range(self) -> tuple[int, int]:
        """Pitches of pictures: the model's range, and whatever a given piece has outside it."""
        low, high = self.config.pitch_range
        if self.given is not None:
            pitches = self.given.roll.any(0).any(0).any(0).nonzero().flatten().tolist()
            low, high = min([low, *pitches]), max([high, *(pitch + 1 for pitch in pitches)])
        return low, high


def _tied(x: Tensor, missing: Tensor) -> Tensor:
    """Cells, bool ``(n, tracks, planes, rows, W)``, with what sounds on through missing rows ``(n, rows)``: what does so in the
    rows before and after them, and does not begin there."""
    n_rows, row = missing.shape[1], torch.arange(missing.shape[1])
    before = torch.where(missing, -1, row).cummax(1).values
    after = torch.where(missing, n_rows, row).flip(1).cummin(1).values.flip(1)
    silence = torch.zeros_like(x[:, :, :, :1])
    framed = torch.cat([x, silence], 3)  # no row, the last one, is silent

    def at(rows: Tensor) -> Tensor:
        return framed.gather(3, rows[:, None, None, :, None].expand_as(x))

    then = at(after)
    held = at(before.where(before >= 0, torch.tensor(n_rows))) & then
    if x.shape[2] == 2:
        held[:, :, 0] &= ~then[:, :, 1]
        held[:, :, 1] = False
    return torch.where(missing[:, None, None, :, None], held, x)


def merged_thresholds(
    new: str | float | list[float] | dict[str, float], old: str | float | list[float], names: Sequence[str]
) -> str | float | list[float]:
    """Thresholds with those of some tracks set by name; the others keep the old ones."""
    if not isinstance(new, dict):
        return new
    before = thresholds.per_track(old, len(names)).flatten().tolist()
    return [new.get(name, value) for name, value in zip(names, before, strict=True)]
