"""Reading sound: WAV, AIFF, FLAC, Ogg and MP3 of any depth, rate and number of channels, block by block.

A file becomes clips of equal length: mono (the mean of its channels), resampled, 16 bit. What a clip lacks at the end of a
file is silence. Memory does not grow with the file: a recording of ten hours is read as a note is. A file that goes beyond full
scale, as floats may, is made softer as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musegen.errors import BadFile, BadInput
from musegen.reporting import report
from musegen.walking import UNREADABLE
from musegen_audio.backend import torchaudio
from musegen_audio.limits import CLIPS_CAP_BYTES, LONGEST_S, RATES_HZ

__all__ = [
    "SUFFIXES",
    "Clips",
    "Resampler",
    "clips_of",
    "lengths_of",
    "read_clips",
    "read_files",
    "read_sound",
    "resample",
]

SUFFIXES = (
    ".wav",
    ".flac",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".aif",
    ".aiff",
    ".aifc",
    ".au",
    ".snd",
    ".caf",
    ".w64",
    ".rf64",
)
TOLERANCE = 1e-3
"""By which a sound may exceed full scale, as resampling does, and be clipped: less than 0.01 dB."""
BLOCK = 1 << 19
"""Values, all channels together, that are read at a time."""
LOWPASS_WIDTH = 16
"""Zero crossings of the resampling filter on each side."""


class Resampler:
    """Sound from one sample rate to another, block by block, as if it had been whole.

    The ratio is the nearest one whose filters stay small: exact for customary rates, and within 10⁻⁵ (0.02 cents) for others.

    Args:
        source_hz, target_hz: the rates.
    """

    def __init__(self, source_hz: int, target_hz: int) -> None:
        self.o, self.n = _ratio(source_hz, target_hz)
        self._transform = _transform(self.o, self.n)
        reach = (
            0 if self._transform is None else self._transform.width
        )  # input samples that a filter needs on each side
        self._margin = self.o * (-(-reach // self.o))
        self._seen = torch.zeros(self._margin)  # before what is next: silence at first
        self._next = torch.zeros(0)

    def push(self, x: Tensor, last: bool = False) -> Tensor:
        """More sound ``(m,)``, maybe the last of it → what can be said of the result, ``(k,)``."""
        if self._transform is None:
            return x
        self._next = torch.cat([self._next, x])
        if last:
            wanted = -(-len(self._next) * self.n // self.o)
            self._next = torch.cat([self._next, torch.zeros(self._margin + self.o)])
        groups = max(0, (len(self._next) - self._margin) // self.o)
        if not groups:
            return x[:0]
        known = torch.cat([self._seen, self._next[: groups * self.o + self._margin]])
        left = self._margin // self.o * self.n
        done = self._transform(known)[left : left + groups * self.n]
        self._seen = known[len(known) - 2 * self._margin : len(known) - self._margin]
        self._next = self._next[groups * self.o :]
        return done[:wanted] if last else done


def lengths_of(paths: Iterable[Path]) -> tuple[list[float], list[int]]:
    """Seconds and sample rates of sound files; their headers alone are read, and what has none is passed over."""
    import soundfile

    seconds, rates = [], []
    for path in paths:
        with suppress(soundfile.LibsndfileError, ZeroDivisionError):
            info = soundfile.info(path)
            seconds.append(info.frames / info.samplerate)
            rates.append(info.samplerate)
    return seconds, rates


def resample(x: np.ndarray, source_hz: int, target_hz: int) -> np.ndarray:
    """Sounds float32 ``(k, m)`` from one sample rate to another, ``(k, ⌈m · target / source⌉)``."""
    transform = _transform(*_ratio(source_hz, target_hz))
    return x if transform is None else transform(torch.from_numpy(x)).numpy()


def _ratio(source_hz: int, target_hz: int) -> tuple[int, int]:
    """o input samples to n output samples, as two rates have them or nearly so; the filters of o → n have n · o values and more."""
    exact = Fraction(source_hz, target_hz)
    limit = max(1, math.isqrt(int(4e6 / max(exact, 1 / exact))))
    nearest = exact.limit_denominator(limit) if exact >= 1 else 1 / (1 / exact).limit_denominator(limit)
    return nearest.numerator, nearest.denominator


@lru_cache(maxsize=16)
def _transform(o: int, n: int) -> Any:
    """o input samples to n output samples; None where they are as many."""
    if o == n:
        return None
    return torchaudio().transforms.Resample(o, n, lowpass_filter_width=LOWPASS_WIDTH)


class Sound:
    """A file as mono sound at another rate, block by block; it may be gone through several times.

    Args:
        path: the file.
        rate_hz: of the sound.

    Attributes:
        peak: the highest value that has been seen, without its sign.
        gain: by which all of it is multiplied.
    """

    def __init__(self, path: Path, rate_hz: int) -> None:
        self.path, self.rate_hz = path, rate_hz
        self.peak, self.gain = 0.0, 1.0

    def __iter__(self) -> Iterator[Tensor]:
        """Blocks ``(k,)``.

        Raises:
            BadFile: no sound, damaged, endless, or of a rate that nobody has.
        """
        for block in _blocks(self.path, self.rate_hz):
            if len(block):
                self.peak = max(self.peak, float(block.abs().max()))
                yield block * self.gain

    def beyond(self) -> bool:
        """Whether it was beyond full scale, now that all of it has been seen; if so, it is softer the next time."""
        if self.gain < 1 or self.peak <= 1 + TOLERANCE:
            return False
        self.gain = 1 / self.peak
        return True


def clips_of(sound: Sound, n: int) -> Iterator[np.ndarray]:
    """The clips of a sound, int16 ``(n,)`` each, one after the other; the last one is filled up with silence.

    Of several clips the last is left out if it is less than half full.

    Raises:
        BadFile: as ``Sound``.
    """
    waiting, first = torch.zeros(0), True
    for block in sound:
        waiting = torch.cat([waiting, block])
        while len(waiting) >= n:
            yield _int16(waiting[:n])
            waiting, first = waiting[n:], False
    if first or 2 * len(waiting) >= n:
        yield _int16(torch.nn.functional.pad(waiting, (0, n - len(waiting))))


def _blocks(path: Path, rate_hz: int) -> Iterator[Tensor]:
    """A file as mono sound at another rate, block by block."""
    with _opened(path) as file:
        resampler, length = Resampler(file.samplerate, rate_hz), 0
        frames = max(1, BLOCK // file.channels)
        while True:
            block = file.read(frames, dtype="float32", always_2d=True)
            mono = block.mean(1, dtype=np.float32)
            if not np.isfinite(mono).all():
                raise BadFile(f"{path} holds values that are no numbers.", "with values that are no numbers")
            length += len(block)
            if length > LONGEST_S * file.samplerate:
                hours = f"longer than {LONGEST_S / 3600:g} hours"
                raise BadFile(f"{path} is {hours}: cut it up.", hours)
            last = not len(block)
            yield resampler.push(torch.from_numpy(mono), last)
            if last:
                break
    if not length:
        raise BadFile(f"{path} holds no sound.", "empty")


def _int16(x: Tensor) -> np.ndarray:
    """Sound in [−1, 1] as int16; what is outside is clipped."""
    return (x.clamp(-1, 1) * 32767).round().to(torch.int16).numpy()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file as soundfile knows it; whatever goes wrong with it is the file's fault."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            if not RATES_HZ[0] <= file.samplerate <= RATES_HZ[1]:
                raise BadFile(
                    f"{path} says that its sample rate is {file.samplerate} Hz, which cannot be.",
                    "with an impossible sample rate",
                )
            yield file
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.", UNREADABLE) from None
    except (soundfile.SoundFileError, ValueError, AssertionError) as error:
        reason = str(getattr(error, "error_string", "") or "it is no sound, or damaged").rstrip(".")
        raise BadFile(f"{path} cannot be read: {reason}.", "damaged") from None


@dataclass(frozen=True)
class Clips:
    """A file as clips.

    Args:
        x: int16 ``(clips, n)``.
        gain: below 1, it went beyond full scale, and was multiplied by this.
    """

    x: np.ndarray
    gain: float = 1.0


def read_clips(path: Path, rate_hz: int, n: int, floor: float | None = None) -> Clips:
    """A file as clips; without those that never exceed ``floor`` (of 1), if it is given.

    Raises:
        BadFile: as ``Sound``; or nothing is left.
    """

    sound = Sound(path, rate_hz)
    x = _kept(sound, n, floor)
    if sound.beyond():
        x = _kept(sound, n, floor)
    if not len(x):
        raise BadFile(f"{path} is silent.", "silent")
    return Clips(x, sound.gain)


def _kept(sound: Sound, n: int, floor: float | None) -> np.ndarray:
    """The clips of a sound, but for silent ones, int16 ``(clips, n)``."""
    x, count = np.empty((1, n), np.int16), 0
    for clip in clips_of(sound, n):
        if floor is None or np.abs(clip.astype(np.int32)).max() > 32767 * floor:
            if count == len(x):  # one large block, whose memory goes back to the system; many small ones keep it
                x, before = np.empty((2 * count, n), np.int16), x
                x[:count] = before
            x[count] = clip
            count += 1
    x.resize((count, n), refcheck=False)  # in place
    return x


def read_sound(path: Path, rate_hz: int) -> np.ndarray:
    """A file, whole, int16 ``(m,)``; one that goes beyond full scale is softer as a whole.

    Raises:
        BadFile: as ``Sound``.
    """
    sound = Sound(path, rate_hz)
    x = np.concatenate([_int16(block) for block in sound])
    return np.concatenate([_int16(block) for block in sound]) if sound.beyond() else x


def read_files(
    paths: Sequence[Path], rate_hz: int, n: int, floor: float, workers: int = 4
) -> Iterator[tuple[int, Clips | BadFile]]:
    """Sound files as clips without silent ones, or what is wrong with them, by number, in their order.

    Raises:
        BadInput: more than fits into memory.
    """

    def load(i: int) -> Clips | BadFile:
        try:
            return read_clips(paths[i], rate_hz, n, floor)
        except BadFile as error:
            return error

    size = 0
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(paths), 4 * workers):  # so that what is read ahead stays little
            report("Reading", first, len(paths), "files")
            part = range(first, min(first + 4 * workers, len(paths)))
            for i, result in zip(part, pool.map(load, part), strict=True):
                size += 0 if isinstance(result, BadFile) else result.x.nbytes
                if size > CLIPS_CAP_BYTES:
                    hours = CLIPS_CAP_BYTES / 2 / rate_hz / 3600
                    raise BadInput(
                        f"These files hold more than {hours:.0f} hours of sound: take a part of them, or a lower "
                        "sample_rate_hz."
                    )
                yield i, result
    report("Reading", len(paths), len(paths), "files")
