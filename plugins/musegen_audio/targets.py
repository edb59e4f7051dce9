"""Second renderings of clips, for domain adaptation: the same notes through a wall, or beside a waterfall."""

from __future__ import annotations

import numpy as np

__all__ = ["CUTOFF_HZ", "SNR_DB", "muffled", "noisy"]

CUTOFF_HZ = 1000.0
"""Above it a muffled clip loses 12 dB per octave."""
SNR_DB = 10.0
"""Level of a clip above the noise that is added to it."""
CHUNK = 256


def muffled(clips: np.ndarray, rate_hz: int) -> np.ndarray:
    """Clips int16 ``(N, n)`` through a low-pass filter of second order and no delay, same shape."""
    n = clips.shape[1]
    # As long again in silence: nothing wraps around.
    gain = 1 / (1 + (np.fft.rfftfreq(2 * n, 1 / rate_hz) / CUTOFF_HZ) ** 2)
    parts = [np.fft.irfft(np.fft.rfft(part, 2 * n) * gain, 2 * n)[:, :n] for part in _chunks(clips)]
    return np.rint(np.concatenate([clips[:0], *parts])).clip(-32768, 32767).astype(np.int16)


def noisy(clips: np.ndarray, seed: int = 0) -> np.ndarray:
    """Clips int16 ``(N, n)`` with white noise ``SNR_DB`` below the level of each, same shape."""
    rng = np.random.default_rng(seed)
    parts = []
    for part in _chunks(clips):
        sound = part.astype(np.float32)
        level = np.sqrt(np.square(sound).mean(1, keepdims=True)) * 10 ** (-SNR_DB / 20)
        parts.append(sound + level * rng.standard_normal(sound.shape, np.float32))
    return np.rint(np.concatenate([clips[:0], *parts])).clip(-32768, 32767).astype(np.int16)


def _chunks(clips: np.ndarray) -> list[np.ndarray]:
    return [clips[first : first + CHUNK] for first in range(0, len(clips), CHUNK)]
