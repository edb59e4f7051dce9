"""The sound of one zone: its recording played at a pitch, looped, filtered; and how it ends once it is let go.

There are two ways. ``voice_of_note`` plays and then filters, as simply as can be. ``shared_voice`` filters the recording, which is
short, and then plays it at twice its rate: faster, and with less of what linear interpolation adds. Over 40 programs of TimGM6mb
their samples differ by 0.002 to 0.26 of full scale, so one cannot stand for the other: a model that ships was trained on notes of
the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.fft import irfft, rfft

from musegen.sound.zones import COARSE, FINE, FULL_FALL_DB, MODES, OFFSETS, ROOT, SCALE, Zone

__all__ = ["Recording", "let_go", "shared_voice", "tail", "voice_of_note"]

INAUDIBLE_DB = 80.0
"""A note that has fallen by so much is over."""
CUT_S = 0.01
"""In which a note ends that another of its class cuts; at once would click."""
LOOPS, LEAVES_LOOP = 1, 3
"""Sample modes: it is played in a loop; and to its end once the note is let go."""
SETTLED, GUARD = 8.0, 256
"""Time constants after which a filter has forgotten how a sample began, and samples that interpolation looks ahead."""


@dataclass(frozen=True)
class Recording:
    """A sample as a zone plays it.

    Args:
        zone: which plays it.
        values: of all recordings of the soundfont, int16.
        header: of this one (``sf2.SAMPLE_HEADER``).
        start, end, loop_start, loop_end: where it lies among the values, each end the one after the last.
    """

    zone: Zone
    values: np.ndarray
    header: Any
    start: int
    end: int
    loop_start: int
    loop_end: int

    @classmethod
    def of(cls, zone: Zone, values: np.ndarray, headers: np.ndarray) -> Self:
        """A zone's, of the soundfont's values and the headers of all of its samples."""
        header = headers[zone.sample]
        places = {
            name: int(header[name]) + zone[small] + 32768 * zone[large] for name, (small, large) in OFFSETS.items()
        }
        return cls(zone, values, header, **places)

    def step(self, key: int, rate_hz: int) -> float:
        """Samples of the recording per sample of sound."""
        root = self.zone[ROOT] if self.zone[ROOT] >= 0 else int(self.header["key"])
        cents = (key - root) * self.zone[SCALE] + 100 * self.zone[COARSE] + self.zone[FINE]
        return self.header["rate"] / rate_hz * 2 ** ((cents + int(self.header["correction"])) / 1200)


def voice_of_note(recording: Recording, key: int, velocity: int, n: int, rate_hz: int) -> np.ndarray:
    """One zone's sound before its envelope, ``(n,)``: interpolated linearly, then filtered."""
    r, zone, time_s = recording, recording.zone, np.arange(n) / rate_hz
    place = r.start + _places(r.step(key, rate_hz), n, zone.bend(key, time_s))
    looped = zone[MODES] in (LOOPS, LEAVES_LOOP) and r.loop_end > r.loop_start
    if looped:  # whether it leaves the loop once it is let go makes no difference that lasts
        place = np.where(place < r.loop_end, place, r.loop_start + (place - r.loop_start) % (r.loop_end - r.loop_start))
    whole = np.floor(place).astype(np.int64)
    after = whole + 1
    if looped:
        after = np.where(after >= r.loop_end, r.loop_start, after)
    inside = whole < r.end - 1 if not looped else np.ones(n, bool)
    limit = len(r.values) - 1
    low, high = r.values[np.minimum(whole, limit)], r.values[np.minimum(after, limit)]
    sound = np.where(inside, low + (place - whole) * (high.astype(np.float64) - low), 0.0) / 32768
    sound = sound * zone.level(velocity)
    total = np.zeros(n)
    for hz, share in zone.cutoffs(key, velocity, time_s):
        total += _low_pass(sound, hz, zone.quality, rate_hz) * (1 if share is None else share)
    return total


def _places(step: float, n: int, bend: np.ndarray | None) -> np.ndarray:
    """Where in a recording n frames lie, from 0 on ``(n,)``.

    Args:
        step: from one to the next, at a note's pitch.
        bend: cents off it, ``(n,)``.
    """
    if bend is None:
        return step * np.arange(n)
    return np.append(0.0, np.cumsum(step * 2 ** (bend[:-1].astype(np.float64) / 1200)))[:n]


def _low_pass(sound: np.ndarray, cutoff_hz: float, q: float, rate_hz: int) -> np.ndarray:
    """A filter of second order."""
    from scipy.fft import irfft, rfft  # whose last bits the notes that ship have; pieces need not wait for its import

    if cutoff_hz >= rate_hz / 2:
        return sound
    n = 1 << len(sound).bit_length()  # silence behind, so that nothing wraps around
    f = (np.arange(n // 2 + 1) * (rate_hz / n / cutoff_hz)).astype(np.float32)
    return irfft(rfft(sound.astype(np.float32), n) / (1 - f**2 + 1j * (f / np.float32(q))), n)[: len(sound)]


def shared_voice(recording: Recording, key: int, velocity: int, left: int, n: int, rate_hz: int) -> np.ndarray:
    """One zone's sound before its envelope: float32, ``(n,)`` or as long as the sample lasts.

    The filters are those of ``_low_pass``, with the frequencies that the recording has before it is played at its pitch; each is
    heard for as long as it has a share. A loop goes on periodically, so one round of it is filtered as such, once the filter has
    forgotten how the recording began. What lies between samples is interpolated linearly, at twice the recording's rate.

    Args:
        left: when the loop is left, in frames.
    """
    zone, step, time_s = (
        recording.zone,
        recording.step(key, rate_hz),
        np.arange(n, dtype=np.float32) / np.float32(rate_hz),
    )
    bend = zone.bend(key, time_s)
    places = _places(step, n, bend)
    once, loop = _once_and_loop(recording, places[min(left, n - 1)] if left < n else step * left)
    if not len(loop):
        n = min(n, int(np.searchsorted(places, len(once) - 0.5)))
    total = np.zeros(n, np.float32)
    parts = zone.cutoffs(key, velocity, time_s[:n], bend if bend is None else bend[:n]) if n else []
    # In cycles per sample of the recording.
    cutoffs = [hz / (step * rate_hz) if hz < rate_hz / 2 else math.inf for hz, _ in parts]
    filtered = _Filtered(once, loop, zone.quality, min(cutoffs, default=math.inf))
    for cutoff, (_, share) in zip(cutoffs, parts, strict=True):
        heard = np.flatnonzero(share) if share is not None else np.array([0, n - 1])
        first, last = int(heard[0]), int(heard[-1]) + 1
        place = 2 * places[first:last]
        sound = filtered.at(cutoff, place[-1] + 2 * step + 2)
        whole = place.astype(np.intp)
        low = sound[whole]
        played = low + (place - whole).astype(np.float32) * (sound[whole + 1] - low)
        total[first:last] += played if share is None else played * share[first:last]
    return total * np.float32(zone.level(velocity) / 32768)


class _Filtered:
    """What is played once, and then in a loop, through filters, at twice its rate; its spectra are there once for all of them.

    Args:
        q: of the filters.
        lowest: of their cutoffs, in cycles per sample: it decides how long they remember how the recording began.
    """

    def __init__(self, once: np.ndarray, loop: np.ndarray, q: float, lowest: float) -> None:
        self.q, settled = q, math.ceil(SETTLED * q / (math.pi * lowest))
        if len(loop):
            once = np.concatenate([once, np.tile(loop, -(-settled // len(loop)))])
        self.n_once, ahead = len(once), np.resize(loop, GUARD) if len(loop) else np.zeros(GUARD, np.int16)
        self.n = 1 << (len(once) + GUARD + settled).bit_length()
        self.once = rfft(np.concatenate([once, ahead]).astype(np.float32), self.n)
        self.n_loop = len(loop)
        self.loop = rfft(loop.astype(np.float32), len(loop)) if len(loop) else None

    def at(self, cutoff: float, n: float) -> np.ndarray:
        """Float32, n samples or as long as it lasts."""
        sound = _twofold(self.once, self.n, cutoff, self.q)[: 2 * self.n_once]
        if self.loop is None:
            return sound
        rounds = math.ceil(max(n - len(sound), 0) / (2 * self.n_loop))
        return np.concatenate([sound, np.tile(_twofold(self.loop, self.n_loop, cutoff, self.q), rounds)])


def _once_and_loop(recording: Recording, left: float) -> tuple[np.ndarray, np.ndarray]:
    """What of a recording is played once, and what from then on in a loop: empty where there is none, or where it is left.

    Args:
        left: when that is, in samples of the recording.
    """
    r, mode = recording, recording.zone[MODES]
    if mode not in (LOOPS, LEAVES_LOOP) or not r.loop_start < r.loop_end <= len(r.values):
        return r.values[r.start : r.end], r.values[:0]
    once, loop = r.values[r.start : r.loop_end], r.values[r.loop_start : r.loop_end]
    if mode == LOOPS:
        return once, loop
    rounds = max(0, math.ceil((left - len(once)) / len(loop)))
    return np.concatenate([once, np.tile(loop, rounds), r.values[r.loop_end : r.end]]), loop[:0]


def _twofold(spectrum: np.ndarray, n: int, cutoff: float, q: float) -> np.ndarray:
    """A recording of n samples, low-passed, at twice its rate: spectrum ``(n // 2 + 1,)`` to float32 ``(2 n,)``.

    Args:
        cutoff: cycles per sample.
    """
    f = (np.arange(n // 2 + 1) / (n * cutoff)).astype(np.float32)
    spectrum = spectrum / (1 - f**2 + 1j * (f / np.float32(q)))
    if n % 2 == 0:
        spectrum[-1] /= 2  # it stands for both of its signs now
    return irfft(spectrum, 2 * n) * np.float32(2)


def tail(zone: Zone, rate_hz: int) -> int:
    """Frames that a note is heard after it is let go, at most."""
    return math.ceil(INAUDIBLE_DB / FULL_FALL_DB * zone.release_s * rate_hz)


def let_go(zone: Zone, voice: np.ndarray, level: np.ndarray, held: int, cut: int, rate_hz: int) -> np.ndarray:
    """A voice with its envelope ``level``, released after ``held`` frames, and after ``cut`` frames ended: ``(frames,)``."""
    n = held
    if held < len(voice) and level[held] > 0:
        fallen_db = -20 * math.log10(level[held])
        n += round(tail(zone, rate_hz) * min(max(0.0, 1 - fallen_db / INAUDIBLE_DB), 1.0))  # an oscillator may raise it
    fade = round(CUT_S * rate_hz)
    n = min(n, cut + fade)
    sound = voice[:n] * level[:n]
    if n > held:
        time_s = np.arange(len(sound) - held, dtype=np.float32) / np.float32(rate_hz)
        fall = np.exp(time_s * np.float32(-math.log(10) / 20 * FULL_FALL_DB / zone.release_s))
        sound[held:] = voice[held:n] * (level[held] * fall)
    if len(sound) > cut:
        sound[cut:] *= np.linspace(1, 0, fade, dtype=np.float32)[: len(sound) - cut]
    return sound
