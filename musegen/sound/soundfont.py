"""Notes and pieces from a SoundFont 2 file (Creative's specification 2.04), in plain numpy.

symusic's synthesiser (0.5.9) takes the root key of many of TimGM6mb's samples for another: it plays its piano 8 to 27
semitones too high, its violin 10 to 24, its organ 4 too low, and does not hear velocity nor release.

What makes up a note is here: which samples sound (zones by key and velocity, with layers and stereo pairs), their tuning, loops,
attenuation, pan, volume envelope, exclusive class, and the filter at the cutoff that the modulation envelope leads it to. Velocity
acts through both default modulators (sections 8.4.1 and 8.4.2): softer notes are darker. Left out are what else moves within a
note (LFOs, the way of the filter), chorus, reverb, and other modulators.

``note`` makes a note as simply as can be. ``render`` plays pieces: equal notes share one voice, and recordings, which are short,
are filtered before they are played at their pitch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.fft import irfft, rfft
from numpy.typing import ArrayLike

from musegen.errors import BadInput

__all__ = ["SoundFont", "Zone", "general_midi"]

# Numbers of generators (section 8.1.2) and their defaults where these are not 0 (section 8.1.3).
OFFSETS = {"start": (0, 4), "end": (1, 12), "loop_start": (2, 45), "loop_end": (3, 50)}
"""Of addresses of a sample: generators in samples, and in 32,768 samples."""
CUTOFF, RESONANCE, DELAY, ATTACK, HOLD, DECAY, SUSTAIN, RELEASE = 8, 9, 33, 34, 35, 36, 37, 38
TO_CUTOFF, PAN, MODULATION_SUSTAIN = 11, 17, 29
HOLD_BY_KEY, DECAY_BY_KEY, INSTRUMENT, KEYS, VELOCITIES, ATTENUATION = 39, 40, 41, 43, 44, 48
COARSE, FINE, SAMPLE, MODES, SCALE, CLASS, ROOT = 51, 52, 53, 54, 56, 57, 58
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
NOT_ADDED = {*(n for pair in OFFSETS.values() for n in pair), KEYS, VELOCITIES, INSTRUMENT, SAMPLE, MODES, CLASS, ROOT}
"""Generators that a preset's zone may not add to its instrument's (section 9.4)."""
VELOCITY_TO_CUTOFF = -2400
"""Cents that the softest note's filter is lower."""
LONGEST_CENTS = 8000
FULL_FALL_DB = 100.0
"""Decay and release times are those of a fall by so much."""
INAUDIBLE_DB = 80.0
"""A note that has fallen by so much is over."""
CUT_S = 0.01
"""In which a note ends that another of its class cuts; at once would click."""
DRUMS = 128
"""Bank of the drum kits."""
NEVER = 1 << 60
LEAVES_LOOP = 3
"""Sample mode: it is played to its end once the note is let go."""
SETTLED, GUARD = 8.0, 256
"""Time constants after which a filter has forgotten how a sample began, and samples that interpolation looks ahead."""
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

    def plays(self, key: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Which notes it sounds for, bool ``(n,)``."""
        (low, high), (soft, loud) = self.keys, self.velocities
        return (low <= key) & (key <= high) & (soft <= velocity) & (velocity <= loud)

    def gains(self) -> np.ndarray:
        """Of left and right, equal in power: float32 ``(2,)``; a note in the middle has −3 dB on either."""
        turn = (min(max(self[PAN], -500), 500) + 500) / 1000 * math.pi / 2
        return np.array([math.cos(turn), math.sin(turn)], np.float32)


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
        start, end, loop_start, loop_end = self._places(zone)
        place = start + self._step(zone, key, rate_hz) * np.arange(n)
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
        return sound * _level(zone, velocity)

    def _step(self, zone: Zone, key: int, rate_hz: int) -> float:
        """Samples of the recording per sample of sound."""
        header = self.samples[zone.sample]
        root = zone[ROOT] if zone[ROOT] >= 0 else int(header["key"])
        cents = (key - root) * zone[SCALE] + 100 * zone[COARSE] + zone[FINE] + int(header["correction"])
        return header["rate"] / rate_hz * 2 ** (cents / 1200)

    def _places(self, zone: Zone) -> tuple[int, ...]:
        """Where the recording starts and ends, and its loop, each end the one after the last."""
        header = self.samples[zone.sample]
        return tuple(int(header[name]) + zone[small] + 32768 * zone[large] for name, (small, large) in OFFSETS.items())

    def render(
        self,
        key: ArrayLike,
        start_s: ArrayLike,
        end_s: ArrayLike,
        *,
        program: ArrayLike = 0,
        drums: ArrayLike = False,
        velocity: ArrayLike = 100,
        rate_hz: int = 44_100,
    ) -> np.ndarray:
        """A piece, stereo: float32 ``(2, frames)``, as long as its notes ring; the sum of its notes, at any level.

        Args:
            key, velocity: MIDI numbers. These and the following have one entry per note, or one for all.
            start_s, end_s: when a note begins, and when it is let go.
            program: from 0; one that the soundfont has not is played by number 0.
            drums: whether the program is a drum kit.
        """
        columns = np.broadcast_arrays(*map(np.atleast_1d, (key, start_s, end_s, program, drums, velocity)))
        key, start_s, end_s, program, drums, velocity = columns
        first = np.rint(start_s * rate_hz).astype(np.int64)
        held = np.maximum(np.rint((end_s - start_s) * rate_hz).astype(np.int64), 1)
        parts: list[tuple[Zone, np.ndarray, np.ndarray]] = []  # zone, its notes, and when each is cut
        for number, is_kit in sorted(set(zip(program.tolist(), drums.tolist(), strict=True))):
            own = np.flatnonzero((program == number) & (drums == is_kit))
            zones = self._zones_or_first(number, DRUMS if is_kit else 0)
            played = [own[zone.plays(key[own], velocity[own])] for zone in zones]
            for zone, notes in zip(zones, played, strict=True):
                cut = np.full(len(notes), NEVER)
                if zone[CLASS]:  # whichever note of the class begins next cuts this one
                    rivals = [p for z, p in zip(zones, played, strict=True) if z[CLASS] == zone[CLASS]]
                    starts = np.unique(first[np.concatenate(rivals)])
                    cut = np.append(starts, NEVER)[np.searchsorted(starts, first[notes], "right")] - first[notes]
                if len(notes):
                    parts.append((zone, notes, cut))

        longest = max((int((first + held)[notes].max()) + _tail(zone, rate_hz) for zone, notes, _ in parts), default=0)
        mix, frames = np.zeros((2, longest), np.float32), 0
        for zone, notes, cut in parts:
            # Equal notes are one voice, but for those of a sample that goes on behind its loop: when, depends on their length.
            leaves = held[notes] if zone[MODES] == LEAVES_LOOP else 0 * notes
            for (k, v, left), alike in _groups(key[notes], velocity[notes], leaves):
                n = int(held[notes[alike]].max()) + _tail(zone, rate_hz)
                voice = self._shared_voice(zone, k, v, left, n, rate_hz)
                level = _envelope(zone, k, math.inf, np.arange(len(voice), dtype=np.float32) / np.float32(rate_hz))
                for (length, end), equal in _groups(held[notes[alike]], cut[alike]):
                    clip = zone.gains()[:, None] * _let_go(zone, voice, level, length, end, rate_hz)
                    for at in first[notes[alike[equal]]].tolist():
                        mix[:, at : at + clip.shape[1]] += clip
                        frames = max(frames, at + clip.shape[1])
        return mix[:, :frames]

    def _zones_or_first(self, program: int, bank: int) -> list[Zone]:
        headers = self._tables["phdr"][:-1]
        there = ((headers["preset"] == program) & (headers["bank"] == bank)).any()
        return self.zones(program if there else 0, bank)

    def _shared_voice(self, zone: Zone, key: int, velocity: int, left: int, n: int, rate_hz: int) -> np.ndarray:
        """One zone's sound before its envelope: float32, ``(n,)`` or as long as the sample lasts.

        The filter is that of ``_low_pass``, with the frequencies that the recording has before it is played at its pitch. A loop
        goes on periodically, so one round of it is filtered as such, once the filter has forgotten how the recording began. What
        lies between samples is interpolated linearly, at twice the recording's rate.

        Args:
            left: when the loop is left, in frames.
        """
        step = self._step(zone, key, rate_hz)
        start, end, loop_start, loop_end = self._places(zone)
        once, loop = self.values[start:end], self.values[:0]
        if zone[MODES] in (1, LEAVES_LOOP) and loop_start < loop_end <= len(self.values):
            once, loop = self.values[start:loop_end], self.values[loop_start:loop_end]
            if zone[MODES] == LEAVES_LOOP:
                rounds = max(0, math.ceil((step * left - len(once)) / len(loop)))
                once, loop = np.concatenate([once, np.tile(loop, rounds), self.values[loop_end:end]]), loop[:0]

        hz, q = _filter(zone, velocity)
        cutoff = hz / (step * rate_hz) if hz < rate_hz / 2 else math.inf  # in cycles per sample of the recording
        settled = math.ceil(SETTLED * q / (math.pi * cutoff))
        if len(loop):
            once = np.concatenate([once, np.tile(loop, -(-settled // len(loop)))])
        n_once, ahead = len(once), np.resize(loop, GUARD) if len(loop) else np.zeros(GUARD, np.int16)
        once = np.concatenate([once, ahead])
        sound = _filtered_twofold(once, 1 << (len(once) + settled).bit_length(), cutoff, q)[: 2 * n_once]
        if len(loop):
            rounds = math.ceil(max(2 * step * n + 2 - len(sound), 0) / (2 * len(loop)))
            sound = np.concatenate([sound, np.tile(_filtered_twofold(loop, len(loop), cutoff, q), rounds)])
        sound *= np.float32(_level(zone, velocity) / 32768)

        place = 2 * step * np.arange(min(n, int((len(sound) - 1) / (2 * step))))
        whole = place.astype(np.intp)
        low = sound[whole]
        return low + (place - whole).astype(np.float32) * (sound[whole + 1] - low)


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


def _level(zone: Zone, velocity: int) -> float:
    """0.4 dB per 0.1 dB of attenuation is what synthesisers do since the first one; velocity goes in by its square."""
    return 10 ** (-0.4 * zone[ATTENUATION] / 200) * (velocity / 127) ** 2


def _release_s(zone: Zone) -> float:
    return max(_seconds(zone[RELEASE]), 0.01)  # a shorter one would click


def _envelope(zone: Zone, key: int, held_s: float, time_s: np.ndarray) -> np.ndarray:
    """Volume over time ``(n,)``: delay, attack, hold, decay to the sustained level, and release from there (section 9.1.7)."""
    delay, attack = _seconds(zone[DELAY]), _seconds(zone[ATTACK])
    hold = _seconds(zone[HOLD] + zone[HOLD_BY_KEY] * (60 - key))
    decay = _seconds(zone[DECAY] + zone[DECAY_BY_KEY] * (60 - key))
    sustain_db = min(max(zone[SUSTAIN] / 10, 0.0), FULL_FALL_DB)

    until = np.minimum(time_s, held_s)
    rising = np.clip((until - delay) / max(attack, 1e-4), 0, 1)
    fallen_db = np.clip(FULL_FALL_DB * (until - delay - attack - hold) / max(decay, 1e-4), 0, sustain_db)
    fallen_db += FULL_FALL_DB * np.maximum(time_s - held_s, 0) / _release_s(zone)
    return rising * np.exp(fallen_db * (-math.log(10) / 20))


def _tail(zone: Zone, rate_hz: int) -> int:
    """Frames that a note is heard after it is let go, at most."""
    return math.ceil(INAUDIBLE_DB / FULL_FALL_DB * _release_s(zone) * rate_hz)


def _let_go(zone: Zone, voice: np.ndarray, level: np.ndarray, held: int, cut: int, rate_hz: int) -> np.ndarray:
    """A voice with its envelope ``level``, released after ``held`` frames, and after ``cut`` frames ended: ``(frames,)``."""
    n = held
    if held < len(voice) and level[held] > 0:
        fallen_db = -20 * math.log10(level[held])
        n += round(_tail(zone, rate_hz) * max(0.0, 1 - fallen_db / INAUDIBLE_DB))
    fade = round(CUT_S * rate_hz)
    n = min(n, cut + fade)
    sound = voice[:n] * level[:n]
    if n > held:
        time_s = np.arange(len(sound) - held, dtype=np.float32) / np.float32(rate_hz)
        fall = np.exp(time_s * np.float32(-math.log(10) / 20 * FULL_FALL_DB / _release_s(zone)))
        sound[held:] = voice[held:n] * (level[held] * fall)
    if len(sound) > cut:
        sound[cut:] *= np.linspace(1, 0, fade, dtype=np.float32)[: len(sound) - cut]
    return sound


def _groups(*columns: np.ndarray) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Rows of equal values ``(n,)``: those values, and the numbers of the rows."""
    values, group = np.unique(np.stack(columns, 1), axis=0, return_inverse=True)
    for i, row in enumerate(values.tolist()):
        yield tuple(row), np.flatnonzero(group.reshape(-1) == i)


def _filter(zone: Zone, velocity: int) -> tuple[float, float]:
    """Of the zone's filter: where its cutoff stays, in Hz, infinite if it is open, and quality (0 dB: a Butterworth filter)."""
    cents = zone[CUTOFF] + zone[TO_CUTOFF] * (1 - min(max(zone[MODULATION_SUSTAIN], 0), 1000) / 1000)
    cents += VELOCITY_TO_CUTOFF * (1 - velocity / 127)
    hz = math.inf if cents >= DEFAULTS[CUTOFF] else 8.176 * 2 ** (cents / 1200)
    return hz, 10 ** ((max(zone[RESONANCE], 0) / 10 - 3.01) / 20)


def _filtered_twofold(values: np.ndarray, n: int, cutoff: float, q: float) -> np.ndarray:
    """A recording, low-passed, at twice its rate: ``(m,)``, silent up to ``n`` ≥ m and then anew, to float32 ``(2 n,)``.

    Args:
        cutoff: cycles per sample.
    """
    f = (np.arange(n // 2 + 1) / (n * cutoff)).astype(np.float32)
    spectrum = rfft(values.astype(np.float32), n) / (1 - f**2 + 1j * (f / np.float32(q)))
    if n % 2 == 0:
        spectrum[-1] /= 2  # it stands for both of its signs now
    return irfft(spectrum, 2 * n) * np.float32(2)


def _low_pass(sound: np.ndarray, zone: Zone, velocity: int, rate_hz: int) -> np.ndarray:
    """The zone's filter: second order."""
    from scipy.fft import irfft, rfft  # whose last bits the notes that ship have; pieces need not wait for its import

    cutoff_hz, q = _filter(zone, velocity)
    if cutoff_hz >= rate_hz / 2:
        return sound
    n = 1 << len(sound).bit_length()  # silence behind, so that nothing wraps around
    f = (np.arange(n // 2 + 1) * (rate_hz / n / cutoff_hz)).astype(np.float32)
    return irfft(rfft(sound.astype(np.float32), n) / (1 - f**2 + 1j * (f / np.float32(q))), n)[: len(sound)]


@cache
def general_midi() -> SoundFont:
    """The soundfont that pretty_midi's wheel carries (TimGM6mb, 6 MB): every program of General MIDI, and eight drum kits."""
    return SoundFont(Path(str(files("pretty_midi") / "TimGM6mb.sf2")))
