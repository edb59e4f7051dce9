"""Reading sound: WAV, FLAC, Ogg and MP3 of any depth, rate and number of channels, block by block.

A file becomes clips of equal length: mono (the mean of its channels), resampled, 16 bit. What a clip lacks at the end of a
file is silence. Memory does not grow with the file: a recording of ten hours is read as a note is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musegen.errors import BadInput
from musegen.reporting import report
from musegen_audio.backend import torchaudio

__all__ = ["SUFFIXES", "Resampler", "clips_of", "lengths_of", "read_clips", "read_folder", "resample"]

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
RATES_HZ = (1_000, 768_000)
"""Sample rates of files; a header that says anything else lies."""
LONGEST_S = 36_000
"""A file that goes on for longer is left out: a few hundred kB of FLAC may hold days of silence."""
CLIPS_CAP_BYTES = 4 << 30
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


def lengths_of(folder: Path) -> tuple[list[float], list[int]]:
    """Seconds and sample rates of the sound files below a folder, or of one file; their headers alone are read."""
    import soundfile

    seconds, rates = [], []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
        if path.suffix.lower() in SUFFIXES and path.is_file():
            with suppress(soundfile.LibsndfileError):
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


def clips_of(path: Path, rate_hz: int, n: int) -> Iterator[np.ndarray]:
    """The clips of a file, int16 ``(n,)`` each, one after the other; the last one is filled up with silence.

    Of several clips the last is left out if it is less than half full.

    Raises:
        BadInput: no sound, damaged, endless, or of a rate that nobody has.
    """
    waiting, first = torch.zeros(0), True
    with _opened(path) as file:
        resampler, length = Resampler(file.samplerate, rate_hz), 0
        frames = max(1, BLOCK // file.channels)
        while True:
            block = file.read(frames, dtype="float32", always_2d=True)
            if not np.isfinite(block).all():
                raise BadInput(f"{path} holds values that are no numbers.")
            length += len(block)
            if length > LONGEST_S * file.samplerate:
                raise BadInput(f"{path} is longer than {LONGEST_S // 3600} hours: cut it up.")
            last = not len(block)
            mono = torch.from_numpy(block.mean(1, dtype=np.float32))
            waiting = torch.cat([waiting, resampler.push(mono, last)])
            while len(waiting) >= n:
                yield _int16(waiting[:n])
                waiting, first = waiting[n:], False
            if last:
                break
    if not length:
        raise BadInput(f"{path} holds no sound.")
    if first or 2 * len(waiting) >= n:
        yield _int16(torch.nn.functional.pad(waiting, (0, n - len(waiting))))


def _int16(x: Tensor) -> np.ndarray:
    """Sound in [−1, 1], what is outside clipped, as int16."""
    return (x.clamp(-1, 1) * 32767).round().to(torch.int16).numpy()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file as soundfile knows it; whatever goes wrong with it is the file's fault."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            if not RATES_HZ[0] <= file.samplerate <= RATES_HZ[1]:
                raise BadInput(f"{path} says that its sample rate is {file.samplerate} Hz, which cannot be.")
            yield file
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from None
    except (soundfile.SoundFileError, ValueError, AssertionError) as error:
        reason = str(getattr(error, "error_string", "") or "it is no sound, or damaged").rstrip(".")
        raise BadInput(f"{path} cannot be read: {reason}.") from None


def read_clips(path: Path, rate_hz: int, n: int, floor: float | None = None) -> np.ndarray:
    """A file as int16 ``(clips, n)``; without those that never exceed ``floor`` (of 1), if it is given.

    Raises:
        BadInput: as ``clips_of``; or nothing is left.
    """
    kept = [
        clip
        for clip in clips_of(path, rate_hz, n)
        if floor is None or np.abs(clip.astype(np.int32)).max() > 32767 * floor
    ]
    if not kept:
        raise BadInput(f"{path} is silent.")
    return np.stack(kept)


def read_folder(
    folder: Path, rate_hz: int, n: int, floor: float, workers: int = 4
) -> tuple[list[np.ndarray], list[Path], list[tuple[str, str]]]:
    """A folder of sound files, recursively, in the order of their names.

    Returns:
        per file its clips, int16 ``(clips, n)``, without silent ones; the files; files left out, with the reason.

    Raises:
        BadInput: no such folder, no sound file in it that can be read, or more than fits into memory.
    """
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "does not exist"
        raise BadInput(f"{folder} {problem}: give a folder of sound files.")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise BadInput(f"The folder {folder} holds no sound files ({', '.join(SUFFIXES)}).")

    def load(path: Path) -> np.ndarray | str:
        try:
            return read_clips(path, rate_hz, n, floor)
        except BadInput as error:
            return str(error)

    good: list[tuple[Path, np.ndarray]] = []
    skipped: list[tuple[str, str]] = []
    size = 0
    with ThreadPoolExecutor(workers) as pool:
        for i, part in enumerate(_portions(paths, 4 * workers)):  # so that what is read ahead stays little
            report("Reading", 4 * workers * i, len(paths), "files")
            for path, result in zip(part, pool.map(load, part), strict=True):
                if isinstance(result, str):
                    skipped.append((str(path), result))
                    continue
                good.append((path, result))
                size += result.nbytes
                if size > CLIPS_CAP_BYTES:
                    hours = CLIPS_CAP_BYTES / 2 / rate_hz / 3600
                    raise BadInput(
                        f"{folder} holds more than {hours:.0f} hours of sound: take a part of it, or a lower rate."
                    )
    report("Reading", len(paths), len(paths), "files")
    if not good:
        raise BadInput(f"None of the {len(paths)} sound files in {folder} can be used; the first: {skipped[0][1]}")
    return [clips for _, clips in good], [path for path, _ in good], skipped


def _portions(items: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
