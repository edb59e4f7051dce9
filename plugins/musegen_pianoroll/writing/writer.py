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

    def sounding(self, samples: Tensor) -> Tensor:
        """Samples ``(n, plan + tracks · planes, steps, pitches)`` → bool rolls ``(n, tracks, 2, steps, 128)``, frame and onset.

        Drums are onsets. With two planes a note begins at an onset and sounds as long as its frames go on; frames that no
        onset began are left out (as in Hawthorne et al. 2018, 1710.11153), which changes nothing in rolls of real notes. Through
        rows that a bar lacks, notes go on that sound before and after.
        """
        c, w = self.config, self.writing
        cells = samples[:, c.n_plan :].unflatten(1, (len(self.tracks), c.n_planes))
        x = thresholds.sounding(cells, self._threshold, w.gate, c.bar_steps)
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
        rolls, missing = self.sounding(samples), self._missing(samples)
        if self.given is None:
            return [
                self._piece(roll[:, :, ~gone], self._metres(gone)) for roll, gone in zip(rolls, missing, strict=True)
            ]
        placed = self.given.placed(rolls, missing[0])
        whole = self.given.with_own(placed)
        if self.given.keep == "none":
            return [self._piece(roll, self._metres(missing[0, len(self.given.steps) :])) for roll in whole]
        new = self._metres(missing[0, len(self.given.steps) :])
        midis = [self.given.file(new_notes, self.tracks, self.writing.tempo, new) for new_notes in placed.numpy()]
        after = [(self.given.n_steps + step, top, bottom) for step, top, bottom in new]
        metres = [*self.given.metres, *(after if self.given.keep == "all" else ())]
        return [self._piece(roll, metres, midi) for roll, midi in zip(whole, midis, strict=True)]

    def _piece(self, roll: Tensor, metres: Sequence[tuple[int, int, int]], midi: MidiFile | None = None) -> Pianoroll:
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
