"""A piece that a user gives: what a model sees of it, and the model's notes beside its own, which stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from musegen.contracts.domain import Keep
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.planes import begun, unpacked
from musegen_pianoroll.store.rooms import Rooms
from musegen_pianoroll.store.velocities import VELOCITY
from musegen_pianoroll.writing.midi import (
    DRUM_CHANNEL,
    Event,
    MidiFile,
    Part,
    metre_event,
    notes_of,
    tempo_event,
    velocities_of,
)

__all__ = ["GivenPiece", "without_notes"]


@dataclass(frozen=True)
class GivenPiece:
    """A piece and a model's grid.

    Args:
        midi: the file, event by event.
        ticks_per_beat: of its time.
        planes: its notes on the grid, packed, uint8 ``(n_steps, tracks, P, 16)``.
        segments: its stretches of one metre, as of ``Piece``.
        tempos: (step, beats per minute), from step 0 on.
        rooms: how bars stand in the model's samples.
        keep: as of ``Domain.read_given``.
        new: tracks that the model writes, bool ``(tracks,)``.
        programs: General MIDI programs of the piece's tracks, by name.
        span: rows in which it writes them, the first and the one after the last; None: all.
    """

    midi: MidiFile
    ticks_per_beat: int
    planes: np.ndarray
    segments: Sequence[Sequence[int]]
    tempos: Sequence[Sequence[float]]
    rooms: Rooms
    keep: Keep
    new: np.ndarray
    programs: dict[str, int] = field(default_factory=dict)
    span: tuple[int, int] | None = None

    @property
    def _at_once(self) -> bool:
        """Whether samples sound at the same time as the piece."""
        return self.keep in ("given", "given only")

    @property
    def n_steps(self) -> int:
        return len(self.planes)

    @cached_property
    def steps(self) -> np.ndarray:
        """The step of each row that the model sees, int64 ``(rows,)``: whole bars of its metres, joined; ``MISSING`` where a bar
        lacks the row."""
        return np.concatenate([np.zeros(0, np.int64), *self.rooms.runs(self.segments)])

    @cached_property
    def metres(self) -> list[tuple[int, int, int]]:
        """Its metres, from step 0 on, as (step, numerator, denominator); parts of bars are joined as the model sees them."""
        seen = [stretch for group in self.rooms.stretches(self.segments) for stretch in group]
        ends = [s.first + s.n_bars * len(self.rooms.layout(s.metre)) for s in seen]
        found = {
            first: (numerator, denominator)
            for first, _, numerator, denominator in self.segments
            if not any(s.first <= first < end for s, end in zip(seen, ends, strict=True))
        }
        found |= {s.first: s.metre for s in seen}
        steps = sorted(found)
        return [(0, *found[steps[0]]), *((step, *found[step]) for step in steps if step)] if steps else [(0, 4, 4)]

    @cached_property
    def seen(self) -> np.ndarray:
        """What the model sees of it, packed ``(rows, tracks, P, 16)``: whole bars of its metre, of tracks that it is given."""
        planes = self.planes[self.steps] * (self.steps >= 0)[:, None, None, None]
        return planes * ~self.new[None, :, None, None] if self._at_once and self.span is None else planes

    @cached_property
    def given_rows(self) -> np.ndarray:
        """Which tracks are given at which rows, bool ``(tracks, rows)``."""
        given = np.ones((len(self.new), len(self.steps)), bool)
        given[self.new, slice(*(self.span or (None, None)))] = False
        return given

    @cached_property
    def roll(self) -> Tensor:
        """Its own notes, bool ``(tracks, 2, n_steps, 128)``, planes frame and onset."""
        frame, onset = unpacked(self.planes)
        return torch.stack([begun(frame, onset), onset], 1)

    @property
    def tempo_bpm(self) -> float:
        """Where new notes begin: at the end of the piece, or with it."""
        return round(self.tempos[0 if self._at_once else -1][1], 2)

    def placed(self, rolls: Tensor, missing: Tensor) -> Tensor:
        """The model's notes in the time of the piece, and only they: rolls ``(n, tracks, 2, rows, 128)`` → ``(…, steps, 128)``.

        Notes that sound across a bar the model does not see begin again after it.

        Args:
            missing: which rows bars lack, bool ``(rows,)``.
        """
        rolls = rolls.clone()
        if self._at_once:
            rolls &= torch.from_numpy(self.new)[:, None, None, None]
            if self.span is not None:  # what is held from before is the piece's own, and goes on by itself
                first, last = self.span
                onset = rolls[:, :, 1, first:last]
                rolls[:, :, 0, first:last] = begun(rolls[:, :, 0, first:last] | onset, onset)
        else:  # a note that the model holds over the last bar line begins again, so that the given notes end as they were given
            after = rolls[:, :, :, len(self.steps) :]
            after[:, :, 1, :1] |= after[:, :, 0, :1]
        return self.in_time(rolls, missing)

    def in_time(self, x: Tensor, missing: Tensor) -> Tensor:
        """What a model says of rows that it writes, in the time of the piece: ``(…, rows, W)`` → ``(…, steps, W)``, 0 elsewhere.

        Args:
            missing: which rows bars lack, bool ``(rows,)``.
        """
        if self._at_once:
            placed = x.new_zeros(*x.shape[:-2], self.n_steps, x.shape[-1])
            rows = slice(*(self.span or (0, min(len(self.steps), x.shape[-2]))))
            steps = torch.from_numpy(self.steps[rows])
            placed[..., steps[steps >= 0], :] = x[..., rows, :][..., steps >= 0, :]
            return placed
        after = x[..., len(self.steps) :, :][..., ~missing[len(self.steps) :], :]
        if self.keep == "none":
            return after
        return torch.cat([x.new_zeros(*x.shape[:-2], self.n_steps, x.shape[-1]), after], -2)

    def with_own(self, placed: Tensor) -> Tensor:
        """Placed rolls with the piece's own notes."""
        if self.keep == "none":
            return placed
        whole = placed.clone()
        whole[:, :, :, : self.n_steps] |= self.roll
        return whole

    def file(
        self,
        placed: np.ndarray,
        tracks: Sequence[StoreTrack],
        tempo_bpm: float | None,
        metres: Sequence[tuple[int, int, int]] = (),
        velocities: np.ndarray | None = None,
    ) -> MidiFile:
        """The piece as it was, and new notes ``(tracks, 2, steps, 128)`` on tracks of their own.

        Args:
            velocities: of the new notes, uint8 ``(tracks, steps, 128)``; None, and where 0: the piece's median.
            metres: of what follows the piece, as (step of it, numerator, denominator).
            tempo_bpm: of what follows the piece, if not the piece's own.
        """
        notes = notes_of(placed)
        begins = 0 if self._at_once else int(self._ticks(np.array(self.n_steps)))
        parts = []
        for i, track in enumerate(tracks):
            own = notes[notes[:, 0] == i]
            if len(own):
                ticks = np.stack([self._ticks(own[:, 2]), self._ticks(own[:, 3]), own[:, 1]], 1)
                velocity = velocities_of(own, velocities, self._velocities[track.is_drum])
                parts.append(Part(track.name, track.program, track.is_drum, ticks, begins, velocity))
        first: list[Event] = []
        if self.keep == "all":
            last = tuple(self.segments[-1][2:]) if self.segments else None
            for step, *metre in metres:
                if step or tuple(metre) != last:
                    first.append((int(self._ticks(np.array(self.n_steps + step))), metre_event(*metre)))
            if tempo_bpm is not None:
                first.append((begins, tempo_event(tempo_bpm)))
        return self._midi.beside(parts, first, int(self._ticks(np.array(placed.shape[2]))))

    def _ticks(self, steps: np.ndarray) -> np.ndarray:
        """The nearest tick of each step."""
        per_beat = self.ticks_per_beat * self._finer
        return (2 * steps * per_beat + self.rooms.steps_per_beat) // (2 * self.rooms.steps_per_beat)

    @property
    def _finer(self) -> int:
        """Parts that each tick is cut into, if there are fewer ticks than steps."""
        return -(-self.rooms.steps_per_beat // self.ticks_per_beat)

    @property
    def _midi(self) -> MidiFile:
        k = self._finer
        if k == 1:
            return self.midi
        tracks = [[(tick * k, event) for tick, event in events] for events in self.midi.tracks]
        return replace(
            self.midi, division=self.midi.division * k, tracks=tracks, ends=[k * end for end in self.midi.ends]
        )

    @cached_property
    def _velocities(self) -> dict[bool, int]:
        """The piece's median velocity, of drums and of other notes."""
        found: dict[bool, list[int]] = {True: [], False: []}
        for events in self.midi.tracks:
            for _, event in events:
                if event[0] & 0xF0 == 0x90 and event[2]:
                    found[event[0] & 0xF == DRUM_CHANNEL].append(event[2])
        every = found[True] + found[False]
        return {drums: int(np.median(own or every or [VELOCITY])) for drums, own in found.items()}


def without_notes(
    midi: MidiFile, parts: set[tuple[int, int]], begun_at: Callable[[int], bool] = lambda tick: True
) -> MidiFile:
    """A file without the notes of some parts; tracks of which nothing sounds any more are left out, but for the first.

    Args:
        parts: (number of the track from 1, channel).
        begun_at: whether notes that begin at a tick are left out; all are.
    """
    tracks, ends = [], []
    for number, (events, end) in enumerate(zip(midi.tracks, midi.ends, strict=True), 1):
        left: list[Event] = []
        open_notes: dict[
            tuple[int, int], list[bool]
        ] = {}  # of each channel and pitch, oldest first: whether it is left out
        for tick, event in events:
            if 0x80 <= event[0] < 0xB0 and (number, event[0] & 0xF) in parts:
                key = event[0] & 0xF, event[1]
                if event[0] >= 0xA0:  # pressure on a key
                    out = any(open_notes.get(key, ()))
                elif event[0] >= 0x90 and event[2]:
                    out = begun_at(tick)
                    open_notes.setdefault(key, []).append(out)
                else:
                    out = open_notes[key].pop(0) if open_notes.get(key) else begun_at(tick)
                if out:
                    continue
            left.append((tick, event))
        sounds = any(0x90 <= event[0] < 0xA0 for _, event in left)
        if len(left) == len(events) or sounds or number == 1:
            tracks.append(left)
            ends.append(end)
    return replace(midi, tracks=tracks, ends=ends)
