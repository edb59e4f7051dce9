"""One piece of music as a user holds it: notes on a grid, who plays them, and how fast."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from musegen.contracts.piece import Piece
from musegen.contracts.score import Note, Score
from musegen.errors import BadInput
from musegen.files import write_file
from musegen.sound.files import FORMATS, write_sound
from musegen_pianoroll.reading.midi import read_scores
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.writing.editing import FileVoices, edited, roll_of, score_of, voices_of
from musegen_pianoroll.writing.figure import figure
from musegen_pianoroll.writing.midi import MidiFile, midi_of, notes_of, to_pretty_midi, velocities_of
from musegen_pianoroll.writing.picture import picture
from musegen_pianoroll.writing.sound import SAMPLE_RATE_HZ, PlayedNotes, seconds_of, synthesise, synthesise_midi

if TYPE_CHECKING:
    from PIL.Image import Image

    from musegen.contracts.figure import Figure

__all__ = ["Pianoroll"]


@dataclass(frozen=True, eq=False)
class Pianoroll(Piece):
    """A piece.

    Args:
        roll: bool ``(tracks, 2, steps, 128)``, planes frame and onset; a frame that rises without an onset begins a note too.
        tracks: names, General MIDI programs, drums.
        steps_per_beat: steps per quarter note.
        tempo_bpm: quarter notes per minute.
        metre: numerator and denominator.
        changes: where the metre changes after that, as (first step of a bar, numerator, denominator).
        pitch_range: what a picture shows, lowest pitch and the one after the highest; by default what sounds.
        midi: the piece event by event, where it stands beside a given file, of which the roll is what the grid can hold.
        velocities: MIDI velocity of notes that begin, uint8 ``(tracks, steps, 128)``; 0, and None: 90.

    In a notebook a piece shows its picture and a player.

    >>> import numpy as np
    >>> from musegen_pianoroll import Pianoroll
    >>> from musegen_pianoroll.store.format import StoreTrack
    >>> roll = np.zeros((1, 2, 16, 128), bool)  # a bar of sixteenths
    >>> roll[0, 0, :8, 60] = True  # C4 sounds for half of it
    >>> piece = Pianoroll(roll, [StoreTrack("Piano")], steps_per_beat=4, tempo_bpm=120)
    >>> piece
    Pianoroll(1 bar of 4/4, 1 notes, Piano)
    >>> piece.notes, piece.then(piece).seconds
    (array([[ 0, 60,  0,  8]]), 4.0)
    >>> piece.save("c.mid").name  # or .npz, .png, .wav, .flac, .ogg, .mp3
    'c.mid'
    """

    suffix = ".mid"
    roll: np.ndarray
    tracks: Sequence[StoreTrack]
    steps_per_beat: int
    tempo_bpm: float = 120.0
    metre: tuple[int, int] = (4, 4)
    pitch_range: tuple[int, int] | None = None
    midi: MidiFile | None = None
    changes: Sequence[tuple[int, int, int]] = ()
    velocities: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.roll.ndim != 4 or self.roll.shape[:2] != (len(self.tracks), 2) or self.roll.shape[3] != 128:
            raise BadInput(
                f"A roll of {len(self.tracks)} tracks has the shape ({len(self.tracks)}, 2, steps, 128), not {self.roll.shape}."
            )

    @property
    def bar_steps(self) -> int:
        """Steps per bar."""
        return self.metre[0] * 4 * self.steps_per_beat // self.metre[1]

    @property
    def bars(self) -> list[int]:
        """The first step of each bar."""
        begins = [(0, *self.metre), *self.changes, (self.roll.shape[2], 1, 1)]
        return [
            step
            for (first, numerator, denominator), (last, *_) in pairwise(begins)
            for step in range(first, last, numerator * 4 * self.steps_per_beat // denominator)
        ]

    @property
    def seconds(self) -> float:
        """Length of the grid at the tempo, or of the file."""
        if self.midi is not None:
            (score,) = read_scores([(Path("piece.mid"), self.midi.content())])
            return float(seconds_of(score.tempos, score.ticks_per_beat)(np.array(score.end)))
        return self.roll.shape[2] / self.steps_per_beat * 60 / self.tempo_bpm

    @property
    def notes(self) -> np.ndarray:
        """Every note, int64 ``(n, 4)``: track, pitch, first step, and the one after the last."""
        return notes_of(self.roll)

    def __repr__(self) -> str:
        names = ", ".join(track.name for track in self.tracks)
        return f"Pianoroll({self._length}, {len(self.notes)} notes, {names})"

    @property
    def _length(self) -> str:
        """4 bars of 3/4."""
        n_bars = len(self.bars) if self.changes else self.roll.shape[2] / self.bar_steps
        metres = dict.fromkeys(f"{n}/{d}" for n, d in [self.metre, *(change[1:] for change in self.changes)])
        return f"{n_bars:g} {'bar' if n_bars == 1 else 'bars'} of {' and '.join(metres)}"

    def measures(self) -> dict[str, float]:
        """What musicians hear in the piece, and what is counted in its bars: means, see ``docs/measures.md``.

        Whole bars alone are measured; what is not defined for the piece is left out.

        >>> import musegen
        >>> model = musegen.load("chorale")
        >>> (piece,) = model.pieces(model.sample(1, seed=3))
        >>> found = piece.measures()
        >>> sorted(name for name in found if "parallel" in name)
        ['parallel fifths per 100 changes/all', 'parallel octaves per 100 changes/all']
        """
        import torch

        from musegen.evaluation.distributions import Numbers
        from musegen_pianoroll.measures.bars import Bars, measures
        from musegen_pianoroll.measures.heard import heard

        roll, bar_steps = self._whole_bars()
        if not roll.shape[2]:
            return {}
        bars = Bars(torch.from_numpy(np.ascontiguousarray(roll))[None], bar_steps)
        found = measures(bars, self.tracks, self.steps_per_beat) | heard(bars, self.tracks, self.steps_per_beat)
        return {name: float(v.defined.mean()) for name, v in found.items() if isinstance(v, Numbers) and len(v.defined)}

    def _whole_bars(self) -> tuple[np.ndarray, int]:
        """The roll of whole bars, each with silence up to the length of the longest, and that length."""
        if not self.changes:
            return self.roll[:, :, : self.roll.shape[2] // self.bar_steps * self.bar_steps], self.bar_steps
        parts = np.split(self.roll, self.bars[1:], 2)
        longest = max(part.shape[2] for part in parts)
        padded = [np.pad(part, ((0, 0), (0, 0), (0, longest - part.shape[2]), (0, 0))) for part in parts]
        return np.concatenate(padded, 2), longest

    def then(self, *others: Self) -> Self:
        """The rolls of this piece and others of the same tracks and grid, one after the other."""
        pieces = [self, *others]
        firsts = np.cumsum([0, *(piece.roll.shape[2] for piece in pieces)]).tolist()
        metres = [
            (first + step, *metre)
            for first, piece in zip(firsts, pieces, strict=False)
            for step, *metre in [(0, *piece.metre), *piece.changes]
        ]
        changes = [later for earlier, later in pairwise(metres) if earlier[1:] != later[1:]]
        velocities = None
        if any(piece.velocities is not None for piece in pieces):
            velocities = np.concatenate([piece._known_velocities() for piece in pieces], 1)
        roll = np.concatenate([piece.roll for piece in pieces], 2)
        return replace(self, midi=None, roll=roll, changes=changes, velocities=velocities)

    def _known_velocities(self) -> np.ndarray:
        """Velocities of notes that begin, 0 where they are not known, uint8 ``(tracks, steps, 128)``."""
        return np.zeros_like(self.roll[:, 0], np.uint8) if self.velocities is None else self.velocities

    def to_pretty_midi(self) -> Any:
        """A ``pretty_midi.PrettyMIDI``."""
        if self.midi is not None:
            import pretty_midi

            return pretty_midi.PrettyMIDI(io.BytesIO(self.midi.content()))
        return to_pretty_midi(
            self.roll,
            self.tracks,
            steps_per_beat=self.steps_per_beat,
            tempo_bpm=self.tempo_bpm,
            metre=self.metre,
            changes=self.changes,
            velocities=self.velocities,
        )

    def to_pypianoroll(self) -> Any:
        """A ``pypianoroll.Multitrack`` of binary tracks; of tracks with velocities, where they are known.

        Its rolls have no onsets: where a pitch is repeated at once, the last step of the earlier note becomes a rest, as in
        the Lakh pianorolls, unless that note has no other.
        """
        import pypianoroll

        n_steps = self.roll.shape[2]
        frame, onset = self.roll[:, 0] | self.roll[:, 1], self.roll[:, 1]
        following = np.concatenate([onset[:, 1:], np.zeros_like(onset[:, :1])], 1)
        sounding = frame & ~(following & ~onset)  # (tracks, steps, 128)
        kind = pypianoroll.BinaryTrack
        if self.velocities is not None:
            kind, loud = pypianoroll.StandardTrack, np.zeros(sounding.shape, np.uint8)
            for (i, pitch, start, end), velocity in zip(
                self.notes, velocities_of(self.notes, self.velocities), strict=True
            ):
                loud[i, start:end, pitch] = velocity
            sounding = loud * sounding
        return pypianoroll.Multitrack(
            resolution=self.steps_per_beat,
            tempo=np.full(n_steps, self.tempo_bpm),
            downbeat=np.isin(np.arange(n_steps), self.bars),
            tracks=[
                kind(track.name, track.program, track.is_drum, roll)
                for track, roll in zip(self.tracks, sounding, strict=True)
            ],
        )

    def picture(self, width: int = 900) -> Image:
        """Time to the right, pitch upward, a colour per track."""
        return picture(
            self.roll,
            self.tracks,
            bars=self.bars,
            steps_per_beat=self.steps_per_beat,
            pitch_range=self.pitch_range,
            width=width,
        )

    def figure(self) -> Figure:
        """The picture of a page, a layer for each track."""
        return figure(self.roll, self.tracks, bars=self.bars, length=self._length, times=self._times())

    def score(self) -> Score:
        return score_of(self._voices, self._end, self.steps_per_beat, self.bars, self._times())

    def edited(self, remove: Sequence[Note], add: Sequence[Note]) -> Pianoroll:
        midi = edited(self._midi_file(), remove, add, self._end)
        roll, tracks = roll_of(voices_of(midi), self.steps_per_beat, self.roll.shape[2])  # for pictures
        return replace(self, roll=roll, tracks=tracks, midi=midi, velocities=None, pitch_range=None)

    def stem(self, voice: int, first_s: float, last_s: float) -> tuple[np.ndarray, int]:
        number, channel, *_ = self._voices.voice(voice)
        return self._played.stem(number, channel, first_s, last_s), SAMPLE_RATE_HZ

    @cached_property
    def _voices(self) -> FileVoices:
        return voices_of(self._midi_file())

    @cached_property
    def _played(self) -> PlayedNotes:
        return PlayedNotes.of(self._midi_file())

    @property
    def _end(self) -> int:
        """Tick at which the grid ends, or the last note if that comes later."""
        grid = round(self.roll.shape[2] * self._voices.ticks_per_beat / self.steps_per_beat)
        return max([grid, *(note[2] for note in self._voices.notes)])

    def _times(self) -> list[tuple[float, float]]:
        """Steps and when they are heard, in seconds: the first, the last, and those at which a file changes its tempo."""
        n_steps = self.roll.shape[2]
        if self.midi is None:
            return [(0, 0), (n_steps, self.seconds)]
        (score,) = read_scores([(Path("piece.mid"), self.midi.content())])
        per_tick = self.steps_per_beat / score.ticks_per_beat
        inside = {tick for tick, _ in score.tempos if tick * per_tick < n_steps}
        ticks = np.array(sorted({0, *inside} | {n_steps / per_tick}))
        seconds = seconds_of(score.tempos, score.ticks_per_beat)(ticks)
        return [(float(tick * per_tick), float(second)) for tick, second in zip(ticks, seconds, strict=True)]

    def audio(self) -> tuple[np.ndarray, int]:
        """Sound, float32 ``(2, frames)``, and its rate in Hz."""
        if self.midi is not None:
            return synthesise_midi(self.midi), SAMPLE_RATE_HZ
        sound = synthesise(
            self.roll,
            self.tracks,
            steps_per_beat=self.steps_per_beat,
            tempo_bpm=self.tempo_bpm,
            velocities=self.velocities,
        )
        return sound, SAMPLE_RATE_HZ

    def save(self, path: str | Path) -> Path:
        """Write the piece in the format of the suffix: MIDI (.mid), Lakh pianoroll (.npz), picture (.png), or sound.

        Raises:
            BadInput: another suffix, or a place that cannot be written to.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".mid" | ".midi":
                return write_file(path, self._midi_file().content())
            case ".npz":
                return write_file(path, self._npz())
            case ".png":
                return write_file(path, self._png(900))
            case suffix if suffix.removeprefix(".") in FORMATS:
                return write_sound(path, *self.audio())
            case suffix:
                kinds = ", ".join([".mid", ".npz", ".png", *(f".{kind}" for kind in FORMATS)])
                raise BadInput(f'A piece cannot be saved as "{suffix or path.name}": use one of {kinds}.')

    def _midi_file(self) -> MidiFile:
        if self.midi is not None:
            return self.midi
        return midi_of(
            self.roll,
            self.tracks,
            steps_per_beat=self.steps_per_beat,
            tempo_bpm=self.tempo_bpm,
            metre=self.metre,
            changes=self.changes,
            velocities=self.velocities,
        )

    def _npz(self) -> bytes:
        """The Lakh pianoroll file, with two arrays that pypianoroll passes over: ``notes``, as they are without rests between
        those that are repeated at once, and ``metre``, if there is one, because 3/4 and 6/8 have their downbeats in the same
        places."""
        content = io.BytesIO()
        self.to_pypianoroll().save(content)
        with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive:
            metre = {} if self.changes else {"metre": np.array(self.metre)}
            for name, array in {"notes": self.notes, **metre}.items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.save(file, array, allow_pickle=False)
        return content.getvalue()

    def _png(self, width: int) -> bytes:
        content = io.BytesIO()
        self.picture(width).save(content, "PNG")
        return content.getvalue()
