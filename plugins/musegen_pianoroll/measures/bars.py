"""Measures of bars of music, each as the distribution of its values (Dong et al. 2018, 1709.06298, section 5; Yang & Lerch
2020, Neural Computing and Applications 32).

A value belongs to one bar of one track, ``(n, tracks, bars)``, NaN where the bar does not define it: an empty bar has no
pitches. Notes are counted in the bar in which they begin. Drums have no pitch, so the measures of pitch leave them out.

Chroma is folded by pitch class, that is by pitch modulo 12. Every published version of MuseGAN, and pypianoroll, fold by
``reshape(12, -1)``, which groups neighbouring semitones; ``musegan_table`` repeats that for comparison with the paper's table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import torch
from torch import Tensor

from musegen.evaluation.distributions import Counts, Numbers, Values
from musegen_pianoroll.measures.chords import full_chords
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.velocities import TYPICAL
from musegen_pianoroll.writing.midi import notes_of

__all__ = ["BarMeasures", "Bars", "level_measures", "measure", "measures", "onsets_of", "table"]

# A note's length in quarter notes, as in mgeval: whole to sixteenth, dotted half to sixteenth, triplet half to eighth.
NOTE_LENGTHS = (4, 2, 1, 1 / 2, 1 / 4, 3, 3 / 2, 3 / 4, 3 / 8, 4 / 3, 2 / 3, 1 / 3)
DIATONIC = (0, 2, 4, 5, 7, 9, 11)

RATE = torch.linspace(0, 1, 21)
COUNT = torch.arange(66) - 0.5
"""0 to 64; the last bin holds all that is more."""
SEMITONES = torch.arange(129) - 0.5
CLASSES = torch.arange(14) - 0.5
TONAL = torch.linspace(0, 3, 31)
LEVEL = torch.arange(len(TYPICAL) + 1) - 0.5
YES_NO = torch.tensor([-0.5, 0.5, 1.5])


def onsets_of(frame: Tensor, onset: Tensor) -> Tensor:
    """Where notes begin: marked onsets, and frames that rise without one. Bool ``(…, steps, pitches)``."""
    before = torch.cat([torch.zeros_like(frame[..., :1, :]), frame[..., :-1, :]], -2)
    return onset | (frame & ~before)


class Bars:
    """Rolls, cut into bars.

    Args:
        rolls: bool ``(n, tracks, 2, steps, pitches)``, planes frame and onset; steps is a whole number of bars.
        bar_steps: steps per bar.
        lowest_pitch: MIDI pitch of the first row.

    Attributes:
        frame, onset: bool ``(n, tracks, bars, bar_steps, pitches)``.
    """

    def __init__(self, rolls: Tensor, bar_steps: int, lowest_pitch: int = 0) -> None:
        self.rolls, self.bar_steps, self.lowest_pitch = rolls, bar_steps, lowest_pitch
        onset = onsets_of(rolls[:, :, 0], rolls[:, :, 1])
        frame = rolls[:, :, 0] | onset
        # (n, tracks, bars · bar_steps, P) -> (n, tracks, bars, bar_steps, P)
        self.frame, self.onset = (x.unflatten(2, (-1, bar_steps)) for x in (frame, onset))

    @cached_property
    def sounding(self) -> Tensor:
        """Steps at which something sounds, bool ``(n, tracks, bars, bar_steps)``."""
        return self.frame.any(4)

    @cached_property
    def empty(self) -> Tensor:
        """Bars without a sounding step (EB), bool ``(n, tracks, bars)``."""
        return ~self.sounding.any(3)

    @cached_property
    def notes(self) -> Tensor:
        """Notes that begin in a bar, ``(n, tracks, bars)``."""
        return self.onset.sum((3, 4)).double()

    @cached_property
    def chroma(self) -> Tensor:
        """Pitches of each class that sound, per step, int16 ``(n, tracks, bars, bar_steps, 12)``."""
        return self._fold(self.frame)

    def _fold(self, planes: Tensor) -> Tensor:
        """Pitches to pitch classes: ``(…, pitches)`` → int16 ``(…, 12)``."""
        every_octave = (planes[..., (c - self.lowest_pitch) % 12 :: 12] for c in range(12))
        return torch.stack([one.sum(-1, dtype=torch.int16) for one in every_octave], -1)

    @cached_property
    def note_table(self) -> Tensor:
        """Every note, int64 ``(m, 5)``: sample, track, pitch, first step, and the one after the last; ordered so."""
        n_tracks = self.rolls.shape[1]
        # (n, tracks, 2, steps, P) -> (n · tracks, 2, steps, P), which ``notes_of`` takes for many tracks
        rows = torch.from_numpy(notes_of(self.rolls.flatten(0, 1).numpy())).reshape(-1, 4)
        return torch.cat([rows[:, :1] // n_tracks, rows[:, :1] % n_tracks, rows[:, 1:]], 1)

    def _where_sounding(self, values: Tensor) -> Tensor:
        return values.double().masked_fill(self.empty, float("nan"))

    def pitch_classes(self) -> Tensor:
        """Pitch classes used (UPC), 1 to 12; NaN in an empty bar."""
        return self._where_sounding((self.chroma > 0).any(3).sum(3))

    def pitch_range(self) -> Tensor:
        """Highest pitch − lowest, semitones; NaN in an empty bar."""
        used = self.frame.any(3)  # (n, tracks, bars, P)
        pitch = torch.arange(used.shape[-1])
        highest, lowest = torch.where(used, pitch, -1).amax(3), torch.where(used, pitch, 999).amin(3)
        return self._where_sounding(highest - lowest)

    def polyphony(self) -> Tensor:
        """Share of sounding steps at which two or more pitches sound (PP); NaN in an empty bar."""
        return (self.frame.sum(4) >= 2).sum(3).double() / self.sounding.sum(3)

    def long_notes(self) -> Tensor:
        """Share of notes that last 3/96 of a bar or more (QN, qualified notes); NaN where none begins."""
        sample, track, _, start, end = self.note_table.T
        long = (32 * (end - start) >= self.bar_steps).double()  # 96 · length ≥ 3 · bar
        found = torch.zeros_like(self.notes)
        found.index_put_((sample, track, start // self.bar_steps), long, accumulate=True)
        return found / self.notes

    def on_grid(self, grid_steps: int) -> Tensor:
        """Share of notes that begin on a multiple of ``grid_steps`` in the bar (DP); NaN where none begins."""
        return self.onset[:, :, :, ::grid_steps].sum((3, 4)).double() / self.notes

    def tonal_distance(self, first: int, second: int) -> Tensor:
        """Distance of two tracks' tonal centroids in each bar (TD), ``(n, bars)``, 0 to 3; NaN unless both sound."""
        a, b = (tonal_centroid(self.chroma[:, track].sum(2)) for track in (first, second))
        return (a - b).norm(dim=-1)

    def in_scale(self, tracks: Sequence[int]) -> Tensor:
        """Share of a sample's notes in the diatonic scale that holds most of them, ``(n,)``; NaN without notes.

        Major and natural minor scales are the same twelve sets of pitch classes.
        """
        counts = self._fold(self.onset[:, tracks].flatten(2, 3).sum((1, 2))).double()  # (n, 12)
        scales = torch.zeros(12, 12, dtype=torch.float64)
        for root in range(12):
            scales[root, [(root + step) % 12 for step in DIATONIC]] = 1
        return (counts @ scales.T).amax(1) / counts.sum(1)

    def consonance(self, tracks: Sequence[int]) -> Tensor:
        """Share of sounding steps whose pitch classes, over all ``tracks``, are a consonant triad or a seventh chord,
        ``(n, bars)``; NaN in an empty bar.

        Major and minor triads; dominant, major, minor, half-diminished and diminished seventh chords; complete and in any
        position. Two voices alone, or a passing note, make no such chord, so that real chorales do not reach 1 either.
        """
        chroma = (self.chroma[:, tracks] > 0).any(1)  # (n, bars, bar_steps, 12)
        return (full_chords(chroma) >= 0).sum(2).double() / chroma.any(3).sum(2)

    def note_length_transitions(self, steps_per_beat: int) -> Tensor:
        """How often a note of one length follows a note of another in the same track, ``(tracks, 12, 12)``.

        Lengths are the nearest of ``NOTE_LENGTHS``; notes of a chord follow one another upwards, as in mgeval.
        """
        sample, track, pitch, start, end = self.note_table.T
        n_tracks = self.rolls.shape[1]
        lengths = torch.tensor(NOTE_LENGTHS, dtype=torch.float64)
        kind = ((end - start)[:, None] / steps_per_beat - lengths).abs().argmin(1)
        line = sample * n_tracks + track
        order = ((line * (self.rolls.shape[3] + 1) + start) * 128 + pitch).argsort()
        line, kind, track = line[order], kind[order], track[order]
        follows = line[1:] == line[:-1]
        case = (track[1:] * 144 + kind[:-1] * 12 + kind[1:])[follows]
        return torch.bincount(case, minlength=144 * n_tracks).unflatten(0, (n_tracks, 12, 12))

    def pitch_class_transitions(self) -> Tensor:
        """How often a note of one pitch class ends where a note of another begins, per track, ``(tracks, 12, 12)``."""
        n, n_tracks, _, n_steps, _ = self.rolls.shape
        sample, track, pitch, start, end = self.note_table.T
        classes = (pitch + self.lowest_pitch) % 12
        begins, ends = torch.zeros(2, n, n_tracks, n_steps + 1, 12)
        one = torch.ones(len(sample))
        begins.index_put_((sample, track, start, classes), one, accumulate=True)
        ends.index_put_((sample, track, end, classes), one, accumulate=True)
        return torch.einsum("ntsa,ntsb->tab", ends, begins)


def tonal_centroid(chroma: Tensor) -> Tensor:
    """Chroma ``(…, 12)`` to the six coordinates of Harte et al. 2006, eq. 1: three circles, of fifths, minor and major thirds.

    Radii 1, 1 and ½; chroma is divided by its sum, and one without notes gives NaN.
    """
    chroma = chroma.double()
    angle = torch.arange(12, dtype=torch.float64) * torch.pi
    rows = [
        radius * turn(step * angle)
        for radius, step in ((1.0, 7 / 6), (1.0, 3 / 2), (0.5, 2 / 3))
        for turn in (torch.sin, torch.cos)
    ]
    return chroma / chroma.sum(-1, keepdim=True) @ torch.stack(rows, 1)  # (12, 6)


def measures(bars: Bars, tracks: Sequence[StoreTrack], steps_per_beat: int) -> dict[str, Values]:
    """Every measure of single bars as a distribution, named ``measure/track``."""
    pitched = [i for i, track in enumerate(tracks) if not track.is_drum]
    found: dict[str, Values] = {}

    def add(name: str, values: Tensor, edges: Tensor, which: Sequence[int]) -> None:
        for i in which:
            found[f"{name}/{tracks[i].name}"] = Numbers(values[:, i], edges)

    everyone = range(len(tracks))
    drums = [i for i in everyone if i not in pitched]
    add("empty bars", bars.empty.double(), YES_NO, everyone)
    add("notes per bar", bars.notes, COUNT, everyone)
    add("pitch classes", bars.pitch_classes(), CLASSES, pitched)
    add("pitch range", bars.pitch_range(), SEMITONES, pitched)
    add("polyphony", bars.polyphony(), RATE, pitched)
    if bars.bar_steps > 32:  # on a coarser grid every note is long enough
        add("long notes", bars.long_notes(), RATE, pitched)
    for name, parts in (("drums on eighths", 2), ("drums on sixteenths", 4)):
        if steps_per_beat > parts and steps_per_beat % parts == 0:
            add(name, bars.on_grid(steps_per_beat // parts), RATE, drums)
    for a, b in combinations(pitched, 2):
        found[f"tonal distance/{tracks[a].name}–{tracks[b].name}"] = Numbers(bars.tonal_distance(a, b), TONAL)
    if pitched:
        found["in scale/all"] = Numbers(bars.in_scale(pitched), RATE)
        found["consonant chords/all"] = Numbers(bars.consonance(pitched), RATE)
    lengths, classes = bars.note_length_transitions(steps_per_beat), bars.pitch_class_transitions()
    for i in pitched:
        found[f"note lengths in succession/{tracks[i].name}"] = Counts(lengths[i])
        found[f"pitch classes in succession/{tracks[i].name}"] = Counts(classes[i])
    return found


def level_measures(levels: Tensor, rolls: Tensor, tracks: Sequence[StoreTrack]) -> dict[str, Values]:
    """How loud the notes of each track are: the level of each, named ``level/track``.

    Args:
        levels: where notes begin, 0 to 3, ``(n, tracks, steps, 128)``.
        rolls: bool ``(n, tracks, 2, steps, 128)``.
    """
    return {
        f"level/{track.name}": Numbers(levels[:, i][rolls[:, i, 1]].double(), LEVEL) for i, track in enumerate(tracks)
    }


@dataclass(frozen=True)
class BarMeasures:
    """Per track, each a float tensor ``(tracks,)``.

    Attributes:
        notes_per_bar: notes that begin in a bar, over all bars.
        pitch_classes: used pitch classes per bar that is not empty, 0 to 12 (UPC); NaN if all are empty.
        empty_bars: share of bars without a sounding step (EB), 0 to 1.
        polyphony: share of all sounding steps with two or more pitches, 0 to 1; NaN if nothing sounds.
    """

    notes_per_bar: Tensor
    pitch_classes: Tensor
    empty_bars: Tensor
    polyphony: Tensor


def measure(rolls: Tensor, bar_steps: int, lowest_pitch: int = 0) -> BarMeasures:
    """Means of four measures; see ``Bars`` for the arguments."""
    bars = Bars(rolls, bar_steps, lowest_pitch)
    tracks = (0, 2)  # average over samples and bars
    polyphonic = (bars.frame.sum(4) >= 2).sum((0, 2, 3)).double()
    return BarMeasures(
        bars.notes.mean(tracks),
        bars.pitch_classes().nanmean(tracks),
        bars.empty.double().mean(tracks),
        polyphonic / bars.sounding.sum((0, 2, 3)),
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
