"""What a musician hears in some bars: harmony, key, voice leading, lines and form, each as the distribution of its values.

Values are per sample unless the name says otherwise, NaN where the sample does not define one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import torch
from torch import Tensor

from musegen.evaluation.distributions import Counts, Numbers, Values
from musegen_pianoroll.measures.bars import RATE, SEMITONES, YES_NO, Bars
from musegen_pianoroll.measures.chords import FULL, find_chords, full_chords
from musegen_pianoroll.measures.form import LAGS, groove, longest_notes, self_similarity, tunes
from musegen_pianoroll.measures.keys import correlations, find_keys
from musegen_pianoroll.measures.voices import (
    FIFTH,
    OCTAVE,
    crossings,
    moves,
    parallels,
    spacing,
    steps_of_lines,
    top_notes,
)
from musegen_pianoroll.store.format import StoreTrack

__all__ = ["Harmony", "heard"]

PER_HUNDRED = torch.linspace(0, 100, 41)
CHANGES = torch.linspace(0, 4, 17)
LENGTHS = torch.linspace(0, 8, 33)
HELD_BARS = 4
"""A note as long as this is a drone."""


class Harmony:
    """Chords and keys of bars.

    Args:
        bars: of all tracks.
        pitched: places of the tracks that are no drums.
        steps_per_beat: steps per quarter note.

    Attributes:
        beat_steps: steps of a beat: a quarter note, or what divides the bar where quarter notes do not.
        per_bar: beats per bar.
        chords: of each beat, int64 ``(n, beats)``, see ``find_chords``.
        keys: of each bar, int64 ``(n, bars)``, see ``find_keys``.
        fit: correlation of the whole sample with the key that fits it best, ``(n,)``; NaN without notes.
        key: that key, int64 ``(n,)``.
    """

    def __init__(self, bars: Bars, pitched: Sequence[int], steps_per_beat: int) -> None:
        self.bars, self.pitched = bars, list(pitched)
        self.beat_steps = gcd(bars.bar_steps, steps_per_beat)
        self.per_bar = bars.bar_steps // self.beat_steps
        frame = bars.frame[:, self.pitched].sum(1).flatten(1, 2)  # (n, steps, 128)
        self.chords = find_chords(frame, self.beat_steps, self.per_bar)
        chroma = bars.chroma[:, self.pitched].sum((1, 3))  # (n, bars, 12)
        self.keys = find_keys(chroma)
        fits = correlations(chroma.sum(1))
        self.fit = torch.where(chroma.sum((1, 2)) > 0, fits.amax(1), torch.nan)
        self.key = fits.argmax(1)

    def on_beats(self) -> tuple[Tensor, Tensor]:
        """Kind of the full chord that stands on each beat, int64 ``(n, bars, beats)``, −1 for none; and where anything sounds."""
        chroma = (self.bars.chroma[:, self.pitched] > 0).any(1)[:, :, :: self.beat_steps]  # (n, bars, beats, 12)
        return full_chords(chroma), chroma.any(-1)

    def changes(self) -> Tensor:
        """Chord changes of each sample, int64 ``(n,)``."""
        return self._changed().sum(1)

    def _changed(self) -> Tensor:
        before, after = self.chords[:, :-1], self.chords[:, 1:]
        return (before >= 0) & (before != after)

    def root_motion(self) -> Tensor:
        """How often the root moves up by each interval, int64 ``(12,)``."""
        interval = (self.chords[:, 1:] - self.chords[:, :-1]) % 12  # kinds are multiples of 12
        return torch.bincount(interval[self._changed()], minlength=12)

    def ending(self) -> tuple[Tensor, Tensor]:
        """Whether the last chord is the tonic, and whether it follows the dominant; of the key in the last bar.

        The dominant is the major triad a fifth above the tonic, or the diminished one on the leading note. An ending in the major
        chord of a minor key counts (Picardy third).

        Returns:
            Two of double ``(n,)``, 0 or 1; NaN without chords, the second one also if there is only one chord.
        """
        last, tonic = self.chords[:, -1], self.keys[:, -1] % 12
        kind, minor_key = last // 12, self.keys[:, -1] >= 12
        home = (last % 12 == tonic) & ((kind == 0) | ((kind == 1) & minor_key))
        changed = self._changed()
        place = changed.shape[1] - 1 - changed.flip(1).int().argmax(1)
        before = self.chords.gather(1, place[:, None])[:, 0]
        dominant = (before == (tonic + 7) % 12) | (before == 24 + (tonic + 11) % 12)
        known, moved = last >= 0, changed.any(1)
        return (
            torch.where(known, home.double(), torch.nan),
            torch.where(known & moved, (home & dominant).double(), torch.nan),
        )


def heard(bars: Bars, tracks: Sequence[StoreTrack], steps_per_beat: int) -> dict[str, Values]:
    """Every measure, named ``measure/track``, or ``measure/all`` for what concerns all pitched tracks together."""
    pitched = [i for i, track in enumerate(tracks) if not track.is_drum]
    drums = [i for i, track in enumerate(tracks) if track.is_drum]
    found: dict[str, Values] = {}
    for i in drums:
        found[f"drum consistency/{tracks[i].name}"] = Numbers(groove(bars.onset[:, i]), RATE)
    if pitched:
        found |= _harmony(Harmony(bars, pitched, steps_per_beat))
        found |= _lines(bars, tracks, pitched)
    n_bars = bars.onset.shape[2]
    for lag in (lag for lag in LAGS if lag < n_bars):
        found[f"like {lag} bars before/all"] = Numbers(self_similarity(bars.onset, lag), RATE)
    return found


def _harmony(harmony: Harmony) -> dict[str, Values]:
    kinds, sounding = harmony.on_beats()
    n_bars = harmony.keys.shape[1]
    key_changes = (harmony.keys[:, 1:] != harmony.keys[:, :-1]).double().mean(1) if n_bars > 1 else torch.empty(0)
    home, authentic = harmony.ending()
    return {
        "chords on beats/all": Numbers((kinds >= 0).sum(2).double() / sounding.sum(2), RATE),
        "kinds of chords/all": Counts(torch.bincount(kinds[kinds >= 0], minlength=len(FULL))),
        "chord changes per bar/all": Numbers(harmony.changes().double() / n_bars, CHANGES),
        "root motion/all": Counts(harmony.root_motion()),
        "fit to a key/all": Numbers(harmony.fit, RATE),
        "key changes per bar/all": Numbers(key_changes, RATE),
        "ends on the tonic/all": Numbers(home, YES_NO),
        "authentic cadence at the end/all": Numbers(authentic, YES_NO),
    }


def _lines(bars: Bars, tracks: Sequence[StoreTrack], pitched: list[int]) -> dict[str, Values]:
    frame, onset = (x[:, pitched].flatten(2, 3) for x in (bars.frame, bars.onset))  # (n, pitched, steps, 128)
    top = top_notes(frame)
    found: dict[str, Values] = {}
    if len(pitched) > 1:
        counted = {"parallel fifths": parallels(top, FIFTH), "parallel octaves": parallels(top, OCTAVE)}
        if len(pitched) == len(tracks):  # a band's tracks stand in no order of height
            counted |= {"crossing voices": crossings(top), "wide spacing": spacing(top)}
        for name, count in counted.items():
            found[f"{name} per 100 changes/all"] = Numbers(100 * count / moves(top).sum(1), PER_HUNDRED)
    small, wide = steps_of_lines(top, onset)
    longest = longest_notes(bars.note_table, len(top), len(tracks), bars.bar_steps)[:, pitched]
    playing = tunes(bars.frame[:, pitched], bars.onset[:, pitched])
    used = frame.any(2)  # (n, pitched, 128)
    pitch = torch.arange(used.shape[-1])
    whole = (torch.where(used, pitch, -1).amax(2) - torch.where(used, pitch, 999).amin(2)).double()
    for place, i in enumerate(pitched):
        name = tracks[i].name
        found[f"steps of a second/{name}"] = Numbers(small[:, place], RATE)
        found[f"leaps beyond an octave/{name}"] = Numbers(wide[:, place], RATE)
        found[f"range of the piece/{name}"] = Numbers(
            torch.where(used[:, place].any(1), whole[:, place], torch.nan), SEMITONES
        )
        found[f"bars with a tune/{name}"] = Numbers(playing[:, place].double(), YES_NO)
    held = longest.nan_to_num(0).amax(1)
    best = small.nan_to_num(-1).amax(1)
    found["steps of a second in the best line/all"] = Numbers(best.where(best >= 0, torch.nan), RATE)
    found["bars with a tune/all"] = Numbers(playing.any(1).double(), YES_NO)
    found["longest note, bars/all"] = Numbers(held.where(held > 0, torch.nan), LENGTHS)
    found[f"a note of {HELD_BARS} bars or more/all"] = Numbers((held >= HELD_BARS).double(), YES_NO)
    return found
