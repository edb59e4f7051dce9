"""Figures that compare sampled sounds with real ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from musegen.evaluation.distributions import Counts, Numbers, Values
from musegen.evaluation.distributions import compare as compare_distributions
from musegen_audio.spectral import Spectral

__all__ = ["compare", "features", "frechet", "log_spectral_distance", "loudness_db", "measures", "pitch_midi"]

SOUNDS = 64
"""So many samples are made audible for pitch, which spectrograms of mel bands are too coarse for."""
FEATURE_BANDS = 16
FRAME_S = 0.064
"""Window of the pitch tracker: two periods of its lowest pitch."""
PITCHES_HZ = (40.0, 2500.0)
APERIODIC = 0.2
"""YIN's difference above which a frame has no pitch (de Cheveigné & Kawahara 2002 take 0.1 of a cleaner signal)."""


def log_spectral_distance(a: Tensor, b: Tensor) -> Tensor:
    """√(mean over frequency of squared level differences), averaged over time: two ``(n, T, W)`` in dB → ``(n,)``, dB."""
    return (a - b).square().mean(2).sqrt().mean(1)


def features(levels_db: Tensor) -> Tensor:
    """Mean and standard deviation over time of 16 groups of columns: ``(n, T, W)``, dB → ``(n, 32)``, dB."""
    groups = torch.stack([part.double().mean(2) for part in levels_db.tensor_split(FEATURE_BANDS, 2)], 2)  # (n, T, 16)
    return torch.cat([groups.mean(1), groups.std(1, correction=0)], 1)


def frechet(a: Tensor, b: Tensor) -> float:
    """|μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½) of ``(m, d)`` and ``(n, d)`` (Heusel et al. 2017, 1706.08500)."""
    if min(len(a), len(b)) < 2:
        return float("nan")
    a, b = a.double(), b.double()
    cov_a, cov_b = a.T.cov(), b.T.cov()
    # tr (Σ_a Σ_b)^½ is the sum of the roots of the eigenvalues of Σ_a^½ Σ_b Σ_a^½, which is symmetric.
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * shared
    return max(0.0, float(distance))  # rounding may take equal sets a little below


def loudness_db(waves: Tensor) -> Tensor:
    """Root mean square of clips ``(n, samples)``, dB: ``(n,)``; a lasting sine of full scale has −3.01, silence −100."""
    return 10 * waves.double().square().mean(1).clamp_min(1e-10).log10()


def pitch_midi(waves: Tensor, rate_hz: int) -> Tensor:
    """Pitch of clips ``(n, samples)`` as a MIDI number, not rounded (0.01 is a cent): ``(n,)``; NaN where there is none.

    The median over those frames, not softer than a tenth of the loudest, in which YIN finds a period.
    """
    import librosa  # pulls numba

    frame = 1 << round(FRAME_S * rate_hz).bit_length() - 1
    hop = frame // 4
    low = max(PITCHES_HZ[0], 2.2 * rate_hz / frame)
    y = waves.numpy()
    hz = torch.from_numpy(
        librosa.yin(
            y,
            fmin=low,
            fmax=min(PITCHES_HZ[1], rate_hz / 4),
            sr=rate_hz,
            frame_length=frame,
            hop_length=hop,
            center=False,
        )
    )  # (n, frames)
    frames = waves.unfold(1, frame, hop)[:, : hz.shape[1]].double()  # (n, frames, frame)
    hz = hz[:, : frames.shape[1]]
    level = frames.square().mean(2).sqrt()
    clear = (
        (level >= 0.1 * level.amax(1, keepdim=True))
        & (level > 1e-4)
        & (_aperiodicity(frames, rate_hz / hz) < APERIODIC)
    )
    return torch.where(clear, 69 + 12 * (hz / 440).log2(), torch.nan).nanmedian(1).values


def _aperiodicity(frames: Tensor, period: Tensor) -> Tensor:
    """How far frames ``(n, m, frame)`` differ from themselves a period (samples, ``(n, m)``) later: 0 (not at all) to about 1."""
    length = frames.shape[2]
    lag = period.round().long().clamp(1, length // 2)[..., None]
    half = torch.arange(length // 2)
    now = frames[..., : length // 2]
    later = frames.gather(2, half + lag)
    return (now - later).square().sum(2) / (now.square().sum(2) + later.square().sum(2)).clamp_min(1e-12)


def measures(x: Tensor, spectral: Spectral) -> dict[str, Values]:
    """What is compared, of grids ``(n, C, T, W)``: per clip; pitch, loudness and chroma of the sound of the first ``SOUNDS``."""
    import librosa  # pulls numba

    x = x.float().cpu()
    levels = spectral.decibels(x)  # (n, T, W)
    power = 10 ** (levels / 10)
    step_s, top = spectral.hop / spectral.rate_hz, spectral.rate_hz / 2
    centroid = (power * spectral.centres_hz).sum(2).mean(1) / power.sum(2).mean(1)
    strength = torch.from_numpy(
        librosa.onset.onset_strength_multi(S=levels.mT.numpy(), channels=[slice(None)])[:, 0].copy()
    )
    waves = spectral.synthesise(x[:SOUNDS])
    pitch = pitch_midi(waves, spectral.rate_hz)
    seconds = step_s * (spectral.frames - 1)
    return {
        "pitch (MIDI number)": Numbers(pitch, torch.arange(20.0, 110.0, 3)),
        "loudness (dB)": Numbers(loudness_db(waves), torch.arange(-60.0, 1.0, 3)),
        "centroid (Hz)": Numbers(centroid, torch.linspace(0, top, 33)),
        "peak time (s)": Numbers(levels.amax(2).argmax(1) * step_s, torch.linspace(0, seconds, 17)),
        "onsets": Numbers(_peaks(strength).sum(1).double(), torch.arange(0.0, 12.0)),
        "chroma": Counts(_chroma(waves, spectral)),
    }


def _chroma(waves: Tensor, spectral: Spectral) -> Tensor:
    """Share of each pitch class, C first, in sounds ``(n, samples)``: ``(12,)``, each frame's strongest being 1."""
    import librosa

    options: Any = {"sr": spectral.rate_hz, "n_fft": spectral.n_fft, "hop_length": spectral.hop, "tuning": 0.0}
    return torch.from_numpy(librosa.feature.chroma_stft(y=waves.numpy(), **options)).sum((0, 2))


def _peaks(strength: Tensor) -> Tensor:
    """Where onset strength ``(n, T)``, dB per frame, is highest within three frames and above 2 dB: bool ``(n, T)``."""
    around = torch.nn.functional.max_pool1d(strength[:, None], 7, 1, 3)[:, 0]
    return (strength == around) & (strength > 2)


def compare(samples: Tensor, reference: Tensor, spectral: Spectral) -> dict[str, float]:
    """Compare two sets of grids ``(n, C, T, W)``; ``docs/measures.md`` says what the figures are."""
    a, b = (spectral.decibels(x.cpu()) for x in (samples, reference))
    return {
        "mean_spectrogram_distance_db": float(log_spectral_distance(a.mean(0)[None], b.mean(0)[None])),
        "frechet_distance_db2": frechet(features(a), features(b)),
        **compare_distributions(measures(samples, spectral), measures(reference, spectral)),
    }
