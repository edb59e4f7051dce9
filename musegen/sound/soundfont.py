"""Notes and pieces played by a soundfont, in plain numpy.

symusic's synthesiser (0.5.9) takes the root key of many of TimGM6mb's samples for another: it plays its piano 8 to 27
semitones too high, its violin 10 to 24, its organ 4 too low, and does not hear velocity nor release.

What makes up a note is here: which samples sound (zones by key and velocity, with layers and stereo pairs), their tuning, loops,
attenuation, pan, volume envelope, exclusive class, and the filter; the modulation envelope and two oscillators, which move pitch,
level and cutoff; softer notes are quieter, and darker where the font says so. Left out are chorus, reverb, other modulators, and
that the modulation envelope falls once a note is let go, which changed no piece that was compared by more than 0.02 dB.

``note`` makes a note as simply as can be. ``render`` plays pieces: equal notes share one voice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from musegen.reporting import each
from musegen.sound.sf2 import Sf2File
from musegen.sound.voices import LEAVES_LOOP, Recording, let_go, shared_voice, tail, voice_of_note
from musegen.sound.zones import CLASS, MODES, Zone

__all__ = ["SoundFont", "general_midi"]

DRUMS = 128
"""Bank of the drum kits."""
NEVER = 1 << 60


class SoundFont:
    """The instruments of a SoundFont 2 file.

    Raises:
        BadInput: it is no SoundFont 2 file.
    """

    def __init__(self, path: Path) -> None:
        self.file = Sf2File(path)

    def _recording(self, zone: Zone) -> Recording:
        return Recording.of(zone, self.file.values, self.file.samples)

    def note(self, program: int, key: int, velocity: int, held_s: float, seconds: float, rate_hz: int) -> np.ndarray:
        """A note, mono: float32 ``(seconds · rate)``; silence where the program has no sample for it.

        Args:
            key, velocity: MIDI numbers.
            held_s: when it is let go.

        Raises:
            BadInput: there is no such program.
        """
        time_s = (np.arange(round(seconds * rate_hz)) / rate_hz).astype(np.float32)
        total = np.zeros(len(time_s), np.float32)
        for zone in self.file.zones(program):
            if zone.plays(np.array(key), np.array(velocity)):
                voice = voice_of_note(self._recording(zone), key, velocity, len(time_s), rate_hz)
                total += voice * zone.envelope(key, held_s, time_s)
        return total

    def render(
        self,
        key: ArrayLike,
        start_s: ArrayLike,
        end_s: ArrayLike,
        *,
        program: ArrayLike = 0,
        drums: ArrayLike = False,
        velocity: ArrayLike = 100,
        heard: ArrayLike = True,
        rate_hz: int = 44_100,
    ) -> np.ndarray:
        """A piece, stereo: float32 ``(2, frames)``, as long as its notes ring; the sum of its notes, at any level. It reports.

        Args:
            key, velocity: MIDI numbers. These and the following have one entry per note, or one for all.
            start_s, end_s: when a note begins, and when it is let go.
            program: from 0; one that the soundfont has not is played by number 0.
            drums: whether the program is a drum kit.
            heard: which notes sound. The others cut notes all the same, as an open hi-hat is cut by the next one; they alone may
                begin before time 0.
        """
        columns = np.broadcast_arrays(*map(np.atleast_1d, (key, start_s, end_s, program, drums, velocity, heard)))
        key, start_s, end_s, program, drums, velocity, heard = columns
        first = np.rint(start_s * rate_hz).astype(np.int64)
        held = np.maximum(np.rint((end_s - start_s) * rate_hz).astype(np.int64), 1)
        parts: list[tuple[Zone, np.ndarray, np.ndarray]] = []
        for number, is_kit in sorted(set(zip(program.tolist(), drums.tolist(), strict=True))):
            own = np.flatnonzero((program == number) & (drums == is_kit))
            for zone, notes, cut in self._parts(number, DRUMS if is_kit else 0, own, key, velocity, first):
                if heard[notes].any():
                    parts.append((zone, notes[heard[notes]], cut[heard[notes]]))

        longest = max((int((first + held)[notes].max()) + tail(zone, rate_hz) for zone, notes, _ in parts), default=0)
        mix, frames = np.zeros((2, longest), np.float32), 0
        for zone, notes, cut in each(parts, "Rendering sound", "instruments"):
            clips = self._clips(zone, key[notes], velocity[notes], held[notes], cut, rate_hz)
            for clip, equal in clips:
                for at in first[notes[equal]].tolist():
                    mix[:, at : at + clip.shape[1]] += clip
                    frames = max(frames, at + clip.shape[1])
        return mix[:, :frames]

    def _parts(
        self, program: int, bank: int, own: np.ndarray, key: np.ndarray, velocity: np.ndarray, first: np.ndarray
    ) -> Iterator[tuple[Zone, np.ndarray, np.ndarray]]:
        """Zones of a program, which of its notes ``own`` each plays, and how many frames later each of these is cut."""
        zones = self.file.zones(program if len(self.file.presets(program, bank)) else 0, bank)
        played = [own[zone.plays(key[own], velocity[own])] for zone in zones]
        for zone, notes in zip(zones, played, strict=True):
            cut = np.full(len(notes), NEVER)
            if zone[CLASS]:  # whichever note of the class begins next cuts this one
                rivals = [p for z, p in zip(zones, played, strict=True) if z[CLASS] == zone[CLASS]]
                starts = np.unique(first[np.concatenate(rivals)])
                cut = np.append(starts, NEVER)[np.searchsorted(starts, first[notes], "right")] - first[notes]
            if len(notes):
                yield zone, notes, cut

    def _clips(
        self, zone: Zone, key: np.ndarray, velocity: np.ndarray, held: np.ndarray, cut: np.ndarray, rate_hz: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What a zone makes of notes: each sound once, stereo float32 ``(2, frames)``, and the numbers of its notes."""
        # Equal notes are one voice, but for those of a sample that goes on behind its loop: when, depends on their length.
        leaves = held if zone[MODES] == LEAVES_LOOP else 0 * held
        for (k, v, left), alike in _groups(key, velocity, leaves):
            n = int(held[alike].max()) + tail(zone, rate_hz)
            voice = shared_voice(self._recording(zone), k, v, left, n, rate_hz)
            level = zone.envelope(k, math.inf, np.arange(len(voice), dtype=np.float32) / np.float32(rate_hz))
            for (length, end), equal in _groups(held[alike], cut[alike]):
                yield zone.gains()[:, None] * let_go(zone, voice, level, length, end, rate_hz), alike[equal]


def _groups(*columns: np.ndarray) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Rows of equal values ``(n,)``: those values, and the numbers of the rows."""
    values, group = np.unique(np.stack(columns, 1), axis=0, return_inverse=True)
    for i, row in enumerate(values.tolist()):
        yield tuple(row), np.flatnonzero(group.reshape(-1) == i)


@cache
def general_midi() -> SoundFont:
    """The soundfont that pretty_midi's wheel carries (TimGM6mb, 6 MB): every program of General MIDI, and eight drum kits."""
    return SoundFont(Path(str(files("pretty_midi") / "TimGM6mb.sf2")))
