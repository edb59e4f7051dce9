"""What a zone of a soundfont says of its sample, in generators and modulators (SoundFont 2.04, chapters 8 and 9).

A generator is a number with an amount: of cents, timecents (1,200 per doubling of a time) or centibels. Here each becomes what it
means: keys, gains, a level, envelopes, a filter. Of modulators there are those of velocity: softer notes are quieter (section
8.4.1), and darker where a font says by how much. Where it does not, section 8.4.2 has them darker by 2,400 cents; synthesisers such
as FluidSynth leave that out, and so do we, because fonts are made by ear with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["FULL_FALL_DB", "OFFSETS", "Generators", "Zone", "joined"]

# Numbers of generators (section 8.1.2) and their defaults where these are not 0 (section 8.1.3).
OFFSETS = {"start": (0, 4), "end": (1, 12), "loop_start": (2, 45), "loop_end": (3, 50)}
"""Of addresses of a sample: generators in samples, and in 32,768 samples."""
CUTOFF, RESONANCE, DELAY, ATTACK, HOLD, DECAY, SUSTAIN, RELEASE = 8, 9, 33, 34, 35, 36, 37, 38
TO_CUTOFF, PAN = 11, 17
WOBBLE_TO_PITCH, VIBRATO_TO_PITCH, MODULATION_TO_PITCH, WOBBLE_TO_CUTOFF, WOBBLE_TO_LEVEL = 5, 6, 7, 10, 13
WOBBLE, VIBRATO = (21, 22), (23, 24)  # Low-frequency oscillators: delay and frequency.
MODULATION_DELAY, MODULATION_ATTACK, MODULATION_HOLD, MODULATION_DECAY, MODULATION_SUSTAIN = 25, 26, 27, 28, 29
MODULATION_HOLD_BY_KEY, MODULATION_DECAY_BY_KEY = 31, 32
HOLD_BY_KEY, DECAY_BY_KEY, INSTRUMENT, KEYS, VELOCITIES, ATTENUATION = 39, 40, 41, 43, 44, 48
COARSE, FINE, SAMPLE, MODES, SCALE, CLASS, ROOT = 51, 52, 53, 54, 56, 57, 58
DEFAULTS = {
    CUTOFF: 13500,
    DELAY: -12000,
    ATTACK: -12000,
    HOLD: -12000,
    DECAY: -12000,
    RELEASE: -12000,
    MODULATION_DELAY: -12000,
    MODULATION_ATTACK: -12000,
    MODULATION_HOLD: -12000,
    MODULATION_DECAY: -12000,
    WOBBLE[0]: -12000,
    VIBRATO[0]: -12000,
    SCALE: 100,
    ROOT: -1,
}
NOT_ADDED = {*(n for pair in OFFSETS.values() for n in pair), KEYS, VELOCITIES, INSTRUMENT, SAMPLE, MODES, CLASS, ROOT}
"""Generators that a preset's zone may not add to its instrument's (section 9.4)."""
FILTER_STEP = 900
"""Cents between filters that a moving one is made of; a moving cutoff lies between two of them."""
LONGEST_CENTS = 8000
SHORTEST_S = 2**-10
"""Of an attack: −12,000 timecents. Without it, a drum begins with a click that the font's makers did not hear."""
FULL_FALL_DB = 100.0
"""Decay and release times are those of a fall by so much."""
Generators = dict[int, int]


@dataclass(frozen=True)
class Zone:
    """A sample that sounds for some keys and velocities.

    Args:
        sample: its number.
        generators: instrument's and preset's together, by number.
        keys, velocities: lowest and highest.
        velocity_to_cutoff: cents that the softest note's filter is lower (−2400, say) or higher.
    """

    sample: int
    generators: Generators
    keys: tuple[int, int]
    velocities: tuple[int, int]
    velocity_to_cutoff: int = 0

    def __getitem__(self, number: int) -> int:
        return self.generators.get(number, DEFAULTS.get(number, 0))

    def plays(self, key: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Which notes it sounds for, bool ``(n,)``."""
        (low, high), (soft, loud) = self.keys, self.velocities
        return (low <= key) & (key <= high) & (soft <= velocity) & (velocity <= loud)

    def gains(self) -> np.ndarray:
        """Of left and right, equal in power: float32 ``(2,)``; a note in the middle has −3 dB on either."""
        turn = (min(max(self[PAN], -500), 500) + 500) / 1000 * math.pi / 2
        return np.array([math.cos(turn), math.sin(turn)], np.float32)

    def level(self, velocity: int) -> float:
        """0.4 dB per 0.1 dB of attenuation is what synthesisers do since the first one; velocity goes in by its square."""
        return 10 ** (-0.4 * self[ATTENUATION] / 200) * (velocity / 127) ** 2

    @property
    def quality(self) -> float:
        """Of the filter; 0 dB: a Butterworth filter."""
        return 10 ** ((max(self[RESONANCE], 0) / 10 - 3.01) / 20)

    def bend(self, key: int, time_s: np.ndarray) -> np.ndarray | None:
        """By how many cents a held note is off its pitch at each time ``(n,)``; None where it never is.

        Both low-frequency oscillators and the modulation envelope move it (section 9.1.7).
        """
        if not (self[WOBBLE_TO_PITCH] or self[VIBRATO_TO_PITCH] or self[MODULATION_TO_PITCH]):
            return None
        cents = np.zeros(len(time_s), np.float32)
        for lfo, amount in ((WOBBLE, self[WOBBLE_TO_PITCH]), (VIBRATO, self[VIBRATO_TO_PITCH])):
            if amount:
                cents += amount * self._oscillation(lfo, time_s)
        if self[MODULATION_TO_PITCH]:
            cents += self[MODULATION_TO_PITCH] * self._modulation(key, time_s)
        return cents

    def cutoffs(
        self, key: int, velocity: int, time_s: np.ndarray, bend: np.ndarray | None = None
    ) -> list[tuple[float, np.ndarray | None]]:
        """Where the filter's cutoff is over time: fixed ones in Hz, infinite for an open filter, and the share of each at each time
        ``(n,)``, float32, which are 1 together; None for one that is all.

        The modulation envelope and an oscillator (section 9.1.7) move the cutoff; between two fixed filters, three quarters of an
        octave apart, it is a mixture of both.

        Args:
            bend: cents ``(n,)`` that what is filtered is raised by afterwards.
        """
        cents: float | np.ndarray = self[CUTOFF] + self.velocity_to_cutoff * (1 - velocity / 127)
        if self[TO_CUTOFF]:
            cents = cents + self[TO_CUTOFF] * self._modulation(key, time_s)
        if self[WOBBLE_TO_CUTOFF]:
            cents = cents + self[WOBBLE_TO_CUTOFF] * self._oscillation(WOBBLE, time_s)
        cents = np.minimum(cents, DEFAULTS[CUTOFF])
        if bend is not None and np.min(cents) < DEFAULTS[CUTOFF]:
            cents = np.where(cents < DEFAULTS[CUTOFF], cents - bend, cents)
        if np.ptp(cents) < 1:
            return [(_hertz(float(np.min(cents))), None)]
        place = np.minimum(cents, DEFAULTS[CUTOFF]) / FILTER_STEP
        first, last = (int(f(place_)) for f, place_ in ((math.floor, place.min()), (math.ceil, place.max())))
        shares = [(k, np.clip(1 - np.abs(place - k), 0, 1).astype(np.float32)) for k in range(first, last + 1)]
        return [(_hertz(FILTER_STEP * k), share) for k, share in shares if share.any()]

    def _oscillation(self, lfo: tuple[int, int], time_s: np.ndarray) -> np.ndarray:
        """A triangle between −1 and 1 that begins at 0 and rises, once its delay is over (section 9.1.6)."""
        delay, frequency = lfo
        cycles = np.maximum(time_s - _seconds(self[delay]), 0) * 8.176 * 2 ** (self[frequency] / 1200)
        return 1 - 4 * np.abs((cycles + 0.25) % 1 - 0.5)

    def _modulation(self, key: int, time_s: np.ndarray) -> np.ndarray:
        """The modulation envelope, 0 to 1, of a note that is held: it rises along a convex curve and falls along a line."""
        delay, attack = _seconds(self[MODULATION_DELAY]), _seconds(self[MODULATION_ATTACK])
        hold = _seconds(self[MODULATION_HOLD] + self[MODULATION_HOLD_BY_KEY] * (60 - key))
        decay = _seconds(self[MODULATION_DECAY] + self[MODULATION_DECAY_BY_KEY] * (60 - key))
        rising = np.clip((time_s - delay) / max(attack, 1e-4), 0, 1)
        convex = np.clip(1 + 40 / 96 * np.log10(np.maximum(rising, 1e-9)), 0, 1)
        sustain = min(max(self[MODULATION_SUSTAIN], 0), 1000) / 1000
        fallen = np.clip((time_s - delay - attack - hold) / max(decay, 1e-4), 0, sustain)
        return convex - fallen

    @property
    def release_s(self) -> float:
        return max(_seconds(self[RELEASE]), 0.01)  # a shorter one would click

    def envelope(self, key: int, held_s: float, time_s: np.ndarray) -> np.ndarray:
        """Volume over time ``(n,)``: delay, attack, hold, decay to the sustained level, and release from there (section 9.1.7),
        and what an oscillator adds to that."""
        delay, attack = _seconds(self[DELAY]), max(_seconds(self[ATTACK]), SHORTEST_S)
        hold = _seconds(self[HOLD] + self[HOLD_BY_KEY] * (60 - key))
        decay = _seconds(self[DECAY] + self[DECAY_BY_KEY] * (60 - key))
        sustain_db = min(max(self[SUSTAIN] / 10, 0.0), FULL_FALL_DB)

        until = np.minimum(time_s, held_s)
        rising = np.clip((until - delay) / attack, 0, 1)
        fallen_db = np.clip(FULL_FALL_DB * (until - delay - attack - hold) / max(decay, 1e-4), 0, sustain_db)
        fallen_db += FULL_FALL_DB * np.maximum(time_s - held_s, 0) / self.release_s
        level = rising * np.exp(fallen_db * (-math.log(10) / 20))
        if self[WOBBLE_TO_LEVEL]:
            level *= 10 ** (self[WOBBLE_TO_LEVEL] / 200 * self._oscillation(WOBBLE, time_s))
        return level


def joined(inner: Generators, outer: Generators, inner_darker: int = 0, outer_darker: int = 0) -> Zone:
    """A zone of an instrument within one of a preset, whose amounts are added to the instrument's (section 9.4).

    Args:
        inner_darker, outer_darker: cents that the softest note's filter is lower, as the zones' modulators say.
    """
    both = dict(inner)
    for number, amount in outer.items():
        if number not in NOT_ADDED:
            both[number] = both.get(number, DEFAULTS.get(number, 0)) + amount
    keys, velocities = (_common(inner.get(n), outer.get(n)) for n in (KEYS, VELOCITIES))
    return Zone(inner[SAMPLE], both, keys, velocities, inner_darker + outer_darker)


def _common(inner: int | None, outer: int | None) -> tuple[int, int]:
    """Keys or velocities that both zones take; an amount holds the lowest in its lower byte and the highest in its upper one."""
    ranges = [(amount & 0xFF, amount >> 8 & 0xFF) for amount in (inner, outer) if amount is not None]
    return max([0, *(r[0] for r in ranges)]), min([127, *(r[1] for r in ranges)])


def _hertz(cents: float) -> float:
    """Absolute cents to Hz; infinite from where a filter is open."""
    return math.inf if cents >= DEFAULTS[CUTOFF] else 8.176 * 2 ** (cents / 1200)


def _seconds(cents: int) -> float:
    """Timecents to seconds; the lowest value means none."""
    return 0.0 if cents <= -12000 else 2 ** (min(cents, LONGEST_CENTS) / 1200)
