"""Single notes from a SoundFont 2 file (Creative's specification 2.04), in plain numpy.

symusic's synthesiser (0.5.9) takes the root key of many of TimGM6mb's samples for another: it plays its piano 8 to 27
semitones too high, its violin 10 to 24, its organ 4 too low. Notes that are labelled by their pitch need the right one.

What makes up a note is here: which samples sound (zones by key and velocity, with layers and stereo pairs), their tuning, loops,
attenuation, volume envelope, and the filter at the cutoff that the modulation envelope leads it to. Velocity acts through both
default modulators (sections 8.4.1 and 8.4.2): softer notes are darker. Left out are what else moves within a note (LFOs, the
way of the filter), chorus, reverb, and other modulators.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.fft import irfft, rfft

from musegen.errors import BadInput

__all__ = ["SoundFont", "Zone"]

# Numbers of generators (section 8.1.2) and their defaults where these are not 0 (section 8.1.3).
OFFSETS = {"start": (0, 4), "end": (1, 12), "loop_start": (2, 45), "loop_end": (3, 50)}
"""Of addresses of a sample: generators in samples, and in 32,768 samples."""
CUTOFF, RESONANCE, DELAY, ATTACK, HOLD, DECAY, SUSTAIN, RELEASE = 8, 9, 33, 34, 35, 36, 37, 38
TO_CUTOFF, MODULATION_SUSTAIN = 11, 29
HOLD_BY_KEY, DECAY_BY_KEY, INSTRUMENT, KEYS, VELOCITIES, ATTENUATION = 39, 40, 41, 43, 44, 48
COARSE, FINE, SAMPLE, MODES, SCALE, ROOT = 51, 52, 53, 54, 56, 58
DEFAULTS = {
    CUTOFF: 13500,
    DELAY: -12000,
    ATTACK: -12000,
    HOLD: -12000,
    DECAY: -12000,
    RELEASE: -12000,
    SCALE: 100,
    ROOT: -1,
}
NOT_ADDED = {*(n for pair in OFFSETS.values() for n in pair), KEYS, VELOCITIES, INSTRUMENT, SAMPLE, MODES, ROOT}
"""Generators that a preset's zone may not add to its instrument's (section 9.4)."""
VELOCITY_TO_CUTOFF = -2400
"""Cents that the softest note's filter is lower."""
LONGEST_CENTS = 8000
FULL_FALL_DB = 100.0
"""Decay and release times are those of a fall by so much."""
SAMPLE_HEADER = np.dtype(
    [
        ("name", "S20"),
        *((name, "<u4") for name in ("start", "end", "loop_start", "loop_end", "rate")),
        ("key", "u1"),
        ("correction", "i1"),
        ("link", "<u2"),
        ("kind", "<u2"),
    ]
)
PRESET_HEADER = np.dtype(
    [
        ("name", "S20"),
        ("preset", "<u2"),
        ("bank", "<u2"),
        ("bag", "<u2"),
        ("library", "<u4"),
        ("genre", "<u4"),
        ("morph", "<u4"),
    ]
)
TABLES = {
    "phdr": PRESET_HEADER,
    "pbag": np.dtype([("generator", "<u2"), ("modulator", "<u2")]),
    "pgen": np.dtype([("number", "<u2"), ("amount", "<i2")]),
    "inst": np.dtype([("name", "S20"), ("bag", "<u2")]),
    "ibag": np.dtype([("generator", "<u2"), ("modulator", "<u2")]),
    "igen": np.dtype([("number", "<u2"), ("amount", "<i2")]),
    "shdr": SAMPLE_HEADER,
}
Generators = dict[int, int]


@dataclass(frozen=True)
class Zone:
    """A sample that sounds for some keys and velocities.

    Args:
        sample: its number.
        generators: instrument's and preset's together, by number.
        keys, velocities: lowest and highest.
    """

    sample: int
    generators: Generators
    keys: tuple[int, int]
    velocities: tuple[int, int]

    def __getitem__(self, number: int) -> int:
        return self.generators.get(number, DEFAULTS.get(number, 0))


class SoundFont:
    """A file of instruments.

    Raises:
        BadInput: it is no SoundFont 2 file.
    """

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        if content[:4] != b"RIFF" or content[8:12] != b"sfbk":
            raise BadInput(f"{path} is no SoundFont 2 file.")
        chunks = dict(_chunks(content))
        try:
            tables = {name: np.frombuffer(chunks[name], kind) for name, kind in TABLES.items()}
            self.values = np.frombuffer(chunks["smpl"], "<i2")
        except (KeyError, ValueError):
            raise BadInput(f"{path} is a damaged SoundFont 2 file.") from None
        self.samples = tables["shdr"]
        self._tables = tables

    @cache  # noqa: B019  of a few programs, for as long as the soundfont itself
    def zones(self, program: int, bank: int = 0) -> list[Zone]:
        """What a program is made of.

        Raises:
            BadInput: there is no such program.
        """
        headers = self._tables["phdr"]
        found = np.flatnonzero((headers["preset"][:-1] == program) & (headers["bank"][:-1] == bank))
        if not len(found):
            raise BadInput(f"The soundfont has no program {program} in bank {bank}.")
        zones = []
        for outer in self._bags("p", headers["bag"], int(found[0]), INSTRUMENT):
            for inner in self._bags("i", self._tables["inst"]["bag"], outer[INSTRUMENT], SAMPLE):
                both = dict(inner)
                for number, amount in outer.items():
                    if number not in NOT_ADDED:
                        both[number] = both.get(number, DEFAULTS.get(number, 0)) + amount
                keys, velocities = (_common(inner.get(n), outer.get(n)) for n in (KEYS, VELOCITIES))
                zones.append(Zone(inner[SAMPLE], both, keys, velocities))
        return zones

    def _bags(self, which: str, bags: np.ndarray, number: int, last: int) -> list[Generators]:
        """Zones of a preset or an instrument; the first is for all of them if it does not end in the generator ``last``."""
        generators = self._tables[f"{which}gen"]
        starts = self._tables[f"{which}bag"]["generator"]
        everywhere: Generators = {}
        zones = []
        for bag in range(bags[number], bags[number + 1]):
            part = generators[starts[bag] : starts[bag + 1]]
            own = {int(n): int(a) for n, a in part}
            if last in own:
                zones.append({**everywhere, **own})
            elif bag == bags[number]:
                everywhere = own
        return zones

    def note(self, program: int, key: int, velocity: int, held_s: float, seconds: float, rate_hz: int) -> np.ndarray:
        """A note, mono: float32 ``(seconds · rate)``; silence where the program has no sample for it.

        Args:
            key, velocity: MIDI numbers.
            held_s: when it is let go.
        """
        time_s = (np.arange(round(seconds * rate_hz)) / rate_hz).astype(np.float32)
        total = np.zeros(len(time_s), np.float32)
        for zone in self.zones(program):
            if zone.keys[0] <= key <= zone.keys[1] and zone.velocities[0] <= velocity <= zone.velocities[1]:
                voice = _low_pass(self._voice(zone, key, velocity, len(time_s), rate_hz), zone, velocity, rate_hz)
                total += voice * _envelope(zone, key, held_s, time_s)
        return total

    def _voice(self, zone: Zone, key: int, velocity: int, n: int, rate_hz: int) -> np.ndarray:
        """One zone's sound before filter and envelope, ``(n,)``."""
        header = self.samples[zone.sample]
        root = zone[ROOT] if zone[ROOT] >= 0 else int(header["key"])
        cents = (key - root) * zone[SCALE] + 100 * zone[COARSE] + zone[FINE] + int(header["correction"])
        step = header["rate"] / rate_hz * 2 ** (cents / 1200)
        start, end, loop_start, loop_end = (
            int(header[name]) + zone[small] + 32768 * zone[large] for name, (small, large) in OFFSETS.items()
        )
        place = start + step * np.arange(n)
        looped = zone[MODES] in (1, 3) and loop_end > loop_start
        if looped:  # whether it leaves the loop once it is let go makes no difference that lasts
            place = np.where(place < loop_end, place, loop_start + (place - loop_start) % (loop_end - loop_start))
        whole = np.floor(place).astype(np.int64)
        after = whole + 1
        if looped:
            after = np.where(after >= loop_end, loop_start, after)
        inside = whole < end - 1 if not looped else np.ones(n, bool)
        limit = len(self.values) - 1
        low, high = self.values[np.minimum(whole, limit)], self.values[np.minimum(after, limit)]
        sound = np.where(inside, low + (place - whole) * (high.astype(np.float64) - low), 0.0) / 32768
        # 0.4 dB per 0.1 dB of attenuation is what synthesisers do since the first one; velocity goes in by its square.
        level = 10 ** (-0.4 * zone[ATTENUATION] / 200) * (velocity / 127) ** 2
        return sound * level


def _chunks(content: bytes) -> list[tuple[str, bytes]]:
    """Chunks within the lists of a RIFF file."""
    found, at = [], 12
    while at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if name == b"LIST":
            at += 12  # what is in it follows
            continue
        found.append((name.decode("latin-1"), content[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return found


def _common(inner: int | None, outer: int | None) -> tuple[int, int]:
    """Keys or velocities that both zones take; an amount holds the lowest in its lower byte and the highest in its upper one."""
    ranges = [(amount & 0xFF, amount >> 8 & 0xFF) for amount in (inner, outer) if amount is not None]
    return max([0, *(r[0] for r in ranges)]), min([127, *(r[1] for r in ranges)])


def _seconds(cents: int) -> float:
    """Timecents to seconds; the lowest value means none."""
    return 0.0 if cents <= -12000 else 2 ** (min(cents, LONGEST_CENTS) / 1200)


def _envelope(zone: Zone, key: int, held_s: float, time_s: np.ndarray) -> np.ndarray:
    """Volume over time ``(n,)``: delay, attack, hold, decay to the sustained level, and release from there (section 9.1.7)."""
    delay, attack = _seconds(zone[DELAY]), _seconds(zone[ATTACK])
    hold = _seconds(zone[HOLD] + zone[HOLD_BY_KEY] * (60 - key))
    decay = _seconds(zone[DECAY] + zone[DECAY_BY_KEY] * (60 - key))
    sustain_db = min(max(zone[SUSTAIN] / 10, 0.0), FULL_FALL_DB)

    until = np.minimum(time_s, held_s)
    rising = np.clip((until - delay) / max(attack, 1e-4), 0, 1)
    fallen_db = np.clip(FULL_FALL_DB * (until - delay - attack - hold) / max(decay, 1e-4), 0, sustain_db)
    # A release shorter than 10 ms would click.
    fallen_db += FULL_FALL_DB * np.maximum(time_s - held_s, 0) / max(_seconds(zone[RELEASE]), 0.01)
    return rising * np.exp(fallen_db * (-math.log(10) / 20))


def _low_pass(sound: np.ndarray, zone: Zone, velocity: int, rate_hz: int) -> np.ndarray:
    """The zone's filter where it stays: second order, cutoff in cents above 8.176 Hz, resonance in 0.1 dB."""
    cents = zone[CUTOFF] + zone[TO_CUTOFF] * (1 - min(max(zone[MODULATION_SUSTAIN], 0), 1000) / 1000)
    cents += VELOCITY_TO_CUTOFF * (1 - velocity / 127)
    cutoff_hz = 8.176 * 2 ** (cents / 1200)
    if cents >= DEFAULTS[CUTOFF] or cutoff_hz >= rate_hz / 2:
        return sound
    q = 10 ** ((max(zone[RESONANCE], 0) / 10 - 3.01) / 20)  # 0 is a Butterworth filter
    n = 1 << len(sound).bit_length()  # silence behind, so that nothing wraps around
    f = (np.arange(n // 2 + 1) * (rate_hz / n / cutoff_hz)).astype(np.float32)
    return irfft(rfft(sound.astype(np.float32), n) / (1 - f**2 + 1j * (f / np.float32(q))), n)[: len(sound)]
