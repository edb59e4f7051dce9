"""The audio domain: clips of sound as spectrograms, from the notes that ship with musegen or a folder of recordings."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from musegen.contracts.domain import Autoregressive, Data, Decoder, Discriminator, Domain, Encoder, Spec
from musegen.contracts.survey import Survey
from musegen.data.arrays import ArrayDataset
from musegen.data.folders import divide, find_files
from musegen.errors import BadFile, BadInput
from musegen.networks import dcgan
from musegen.networks.autoregressive import AutoregressiveGrid
from musegen.networks.mlp import MLPDecoder, MLPDiscriminator, MLPEncoder
from musegen.probability.likelihood import Gaussian
from musegen.reporting import several
from musegen.walking import walk
from musegen_audio import networks, notes
from musegen_audio.clips import Clip, Recording, sheet
from musegen_audio.config import AudioConfig, AudioWriting
from musegen_audio.files import SUFFIXES, lengths_of, read_clips, read_files, read_sound
from musegen_audio.metrics import compare
from musegen_audio.spectral import Spectral
from musegen_audio.targets import muffled, noisy

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["AudioConfig", "AudioDomain", "AudioWriting"]

CHUNK = 16
"""Clips whose spectrograms are made at a time: what that takes is little beside them all."""
Clips = Mapping[str, tuple[np.ndarray, np.ndarray | None]]
"""By split: clips int16 ``(N, n)`` and labels ``(N,)``."""


class AudioDomain(Domain):
    """Samples ``(1, frames, mel bands)``, or ``(2, frames, bins)`` where the representation keeps phases.

    >>> from musegen_audio.domain import AudioConfig, AudioDomain
    >>> domain = AudioDomain(AudioConfig(sample_rate_hz=8000, seconds=0.5, n_mels=32))
    >>> domain.spec.shape
    (1, 16, 32)
    >>> sound, rate_hz = domain.pieces(domain.synthetic(4).splits["valid"].x[:1])[0].audio()
    >>> sound.shape, rate_hz
    ((1, 3840), 8000)
    """

    name = "audio"
    summary = "sound: single notes of many instruments, or a folder of your own"
    suffixes = SUFFIXES
    Config, Writing = AudioConfig, AudioWriting
    config: AudioConfig
    writing: AudioWriting

    @classmethod
    def open(cls, config: AudioConfig, source: Path | None, cache: Path) -> tuple[Self, Data]:
        return cls._open_notes(config) if source is None else cls._open_folder(config, source)

    @classmethod
    def survey(cls, config: AudioConfig, source: Path | None, cache: Path) -> Survey:
        """Also the lengths and sample rates of the files, before they are cut into clips and resampled."""
        found = super().survey(config, source, cache)
        paths = [] if source is None else walk(source, SUFFIXES)[0]
        seconds, rates = lengths_of(paths)
        if not seconds:
            return found
        lengths = f"{min(seconds):.2f} to {max(seconds):.2f} s, median {float(np.median(seconds)):.2f} s"
        each = ", ".join(f"{rate} Hz ({n})" for rate, n in Counter(rates).most_common())
        facts = {"files": len(seconds), "lengths": lengths, "sample_rates": each}
        return replace(found, facts={**found.facts, **facts})

    @classmethod
    def _open_notes(cls, config: AudioConfig) -> tuple[Self, Data]:
        n = cls(config).spectral.n_samples
        clips, family, pitch = notes.cached(config.sample_rate_hz, n)
        labels, names = None, []
        if config.labels == "pitch":
            lowest = int(pitch.min())
            labels, names = pitch - lowest, [notes.note_name(p) for p in range(lowest, int(pitch.max()) + 1)]
        elif config.labels != "none":
            labels, names = family, list(notes.FAMILIES)
        arrays = {
            split: (clips[index], None if labels is None else labels[index])
            for split, index in notes.splits(len(clips)).items()
        }
        programs = len(notes.FAMILIES) * notes.PROGRAMS - len(notes.LEFT_OUT)
        return cls._finish(replace(config, classes=names), arrays, f"{len(clips)} notes of {programs} instruments")

    @classmethod
    def _open_folder(cls, config: AudioConfig, source: Path) -> tuple[Self, Data]:
        if config.labels in ("instrument", "pitch"):
            raise BadInput(
                f"labels={config.labels} is for the notes that ship: leave it out, subfolders of DATA are classes."
            )
        arrays, names, left_out, remarks = cls._read_folder(config, source)
        total = sum(len(clips) for clips, _ in arrays.values())
        seconds = cls(config).spectral.n_samples / config.sample_rate_hz
        description = f"{total} clips of {seconds:.2f} s of {source.name}"
        return cls._finish(replace(config, classes=names), arrays, description, left_out, remarks)

    @classmethod
    def _read_folder(
        cls, config: AudioConfig, source: Path
    ) -> tuple[Clips, list[str], list[tuple[str, str]], list[str]]:
        """Clips by split, names of the classes, files left out, and remarks. Clips of a recording stay together."""
        files = find_files(source, SUFFIXES, "recordings", config.labels != "none")
        floor = 10 ** (config.floor_db / 20)
        clips, read, left_out, softer, first = [], [], [], 0, ""
        for i, result in read_files(files.paths, config.sample_rate_hz, cls(config).spectral.n_samples, floor):
            if isinstance(result, BadFile):
                left_out.append((str(files.paths[i]), result.reason))
                first = first or str(result)
                continue
            read.append(i)
            clips.append(result.x)
            softer += result.gain < 1
        if not read:
            raise BadInput(f"None of the {len(files.paths)} recordings in {source} can be used; the first: {first}")
        divided = divide(files, read, [len(part) for part in clips])
        sizes = [len(part) for part in clips]
        arrays = {}
        for split, index in divided.index.items():
            x = np.empty((sum(sizes[i] for i in index), *clips[0].shape[1:]), np.int16)
            label = None if divided.label is None else np.repeat(divided.label[index], [sizes[i] for i in index])
            for i, end in zip(index, np.cumsum([sizes[i] for i in index]), strict=True):
                x[end - sizes[i] : end] = clips[i]
                clips[i] = clips[i][:0].copy()  # so that all of it is there only once
            arrays[split] = (x, label)
        remarks = list(divided.remarks)
        if softer:
            remarks.append(f"{several(softer, 'recording')} beyond full scale: made softer as a whole")
        return arrays, divided.classes, sorted([*divided.left_out, *left_out]), remarks

    @classmethod
    def _finish(
        cls,
        config: AudioConfig,
        arrays: Clips,
        description: str,
        skipped: Sequence[tuple[str, str]] = (),
        remarks: Sequence[str] = (),
    ) -> tuple[Self, Data]:
        """The domain and its data, with the second data set if one is wanted."""
        if config.target != "none":
            arrays = {**arrays, **cls._target(config, arrays)}
            description += f"; target {config.target}"
        domain = cls(config)
        return domain, domain._data(arrays, description, skipped, remarks)

    @classmethod
    def _target(cls, config: AudioConfig, arrays: Clips) -> Clips:
        """The second data set: splits ``target``, ``target_valid``, ``target_test``."""
        own = {"target": "train", "target_valid": "valid", "target_test": "test"}
        if config.target in ("muffled", "noisy"):
            change: Callable[[np.ndarray], np.ndarray] = noisy
            if config.target == "muffled":
                change = lambda clips: muffled(clips, config.sample_rate_hz)  # noqa: E731
            return {name: (change(arrays[split][0]), arrays[split][1]) for name, split in own.items()}
        found, names, *_ = cls._read_folder(config, Path(config.target))
        if names and config.classes and names != config.classes:
            raise BadInput(f"target={config.target} has the classes {', '.join(names)}: make them those of the data.")
        return {name: found[split] for name, split in own.items()}

    def _data(
        self,
        arrays: Clips,
        description: str,
        skipped: Sequence[tuple[str, str]] = (),
        remarks: Sequence[str] = (),
    ) -> Data:
        digest, splits = hashlib.sha256(), {}
        for split, (clips, labels) in arrays.items():
            digest.update(np.ascontiguousarray(clips).data)
            label = None if labels is None else torch.from_numpy(np.ascontiguousarray(labels))
            splits[split] = ArrayDataset(self._grids(clips), label, scale=1)
        return Data(splits, digest.hexdigest(), description, list(skipped), list(remarks))

    def _grids(self, clips: np.ndarray) -> Tensor:
        """Clips int16 ``(N, n)`` → ``(N, C, T, W)``, half precision: 0.02 dB."""
        grids = torch.empty(len(clips), *self.spectral.shape, dtype=torch.float16)
        for rows, part in zip(grids.split(CHUNK), _chunks(clips), strict=False):  # no clips: one empty row
            rows[:] = self.spectral.analyse(_floats(part))
        return grids

    @cached_property
    def spectral(self) -> Spectral:
        c = self.config
        shape = (c.frames, c.n_fft, c.hop, c.n_mels)
        return Spectral(c.representation, c.sample_rate_hz, *shape, c.floor_db, self.writing.phases)

    @property
    def seconds(self) -> float:
        """Length of a clip."""
        return self.spectral.n_samples / self.config.sample_rate_hz

    @cached_property
    def spec(self) -> Spec:
        c = self.config
        step = f"time frame ({1000 * c.hop / c.sample_rate_hz:g} ms)"
        top = c.sample_rate_hz / 2
        if c.representation == "mel":
            axes = (f"level ({c.floor_db:g} to 0 dB)", step, f"mel band (0 to {top:g} Hz)")
        else:
            axes = (
                f"level ({c.floor_db:g} to 0 dB), phase advance (half turns)",
                step,
                f"frequency ({c.sample_rate_hz / c.n_fft:g} Hz)",
            )
        # Time for rows, as the contract wants of what unfolds in it.
        return Spec(
            self.spectral.shape,
            axes,
            Gaussian(sigma_min=0.05, bounds=(-1.0, 1.0)),
            tuple(c.classes),
            ((1, 0, c.frames // 2),) if c.given == "beginning" else (),
        )

    @property
    def _networks(self) -> str:
        """The preset of networks.

        Raises:
            BadInput: spectrograms do not fit it.
        """
        c = self.config
        columns = self.spectral.shape[-1]
        if c.networks != "mlp" and not dcgan.fits(columns):
            near = dcgan.nearest_side(columns)
            said = (f"n_mels={c.n_mels}", f"n_mels={near}")
            if c.representation == "if":
                said = (f"n_fft={c.n_fft}", f"n_fft={2 * near}")
            raise BadInput(
                f"{said[0]} does not fit networks={c.networks}, which halve the {columns} columns of a spectrogram to 4–8: "
                f"use {said[1]}, or networks=mlp."
            )
        return c.networks

    def encoder(self, wanted: Encoder) -> nn.Module:
        c, shape = self.config, self.spec.shape
        match self._networks:
            case "dcgan":
                return dcgan.DCGANEncoder(shape, c.channels)
            case "gansynth":
                return networks.GANSynthEncoder(shape, c.channels)
            case _:
                return MLPEncoder(shape, c.widths)

    def decoder(self, wanted: Decoder) -> nn.Module:
        c, shape = self.config, self.spec.params_shape
        match self._networks:
            case "dcgan":
                return dcgan.DCGANDecoder(wanted.n_code, shape, c.channels, 0, wanted.n_classes)
            case "gansynth":
                return networks.GANSynthDecoder(wanted.n_code, shape, c.channels, wanted.n_classes)
            case _:
                return MLPDecoder(wanted.n_code, shape, c.widths, wanted.n_classes)

    def discriminator(self, wanted: Discriminator) -> nn.Module:
        c, shape = self.config, self.spec.shape
        match self._networks:
            case "dcgan":
                return dcgan.DCGANDiscriminator(shape, c.channels, 0, wanted.norm)
            case "gansynth":
                return networks.GANSynthDiscriminator(shape, c.channels, wanted.norm)
            case _:
                return MLPDiscriminator(shape, c.widths, wanted.norm)

    def autoregressive(self, wanted: Autoregressive) -> nn.Module:
        return AutoregressiveGrid(self.spec.shape, self.spec.params_shape, wanted)

    def read(self, path: Path) -> Tensor:
        return self._grids(read_clips(path, self.config.sample_rate_hz, self.spectral.n_samples).x).float()

    def read_whole(self, *paths: Path) -> tuple[Tensor, Recording]:
        """Windows that overlap, so that there is nothing to hear where two of them meet."""
        sounds = [read_sound(path, self.config.sample_rate_hz) for path in paths]
        windows = self.spectral.windows(sounds)  # (files, n, samples)
        # In full precision: what half of it loses of phases would add up.
        grids = [[self.spectral.analyse(_floats(part)) for part in _chunks(of_one)] for of_one in windows]
        return torch.stack([torch.cat(parts) for parts in grids]), Recording(self.spectral, max(map(len, sounds)))

    def pieces(self, samples: Tensor) -> list[Clip]:
        # All sounds are made together, once, when the first of them is wanted: together they take a fraction of the time.
        sounds = cache(lambda: self.spectral.synthesise(samples.float().cpu()))
        return [Clip(x, self.spectral, lambda i=i: sounds()[i]) for i, x in enumerate(samples.cpu())]  # type: ignore[misc]

    def sheet(self, pieces: Sequence[Clip], columns: int | None = None) -> Image:
        return sheet(pieces, columns)

    def metrics(self, samples: Tensor, reference: Tensor) -> dict[str, float]:
        return compare(samples, reference, self.spectral)

    def synthetic(self, n: int, seed: int = 0) -> Data:
        """Decaying tones of random pitch, loudness and decay: structure that a model can learn in seconds."""
        rng = np.random.default_rng(seed)
        rate, length = self.config.sample_rate_hz, self.spectral.n_samples
        time_s = np.arange(length) / rate
        arrays: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        for split, count in (("train", n), ("valid", max(4, n // 8)), ("test", max(4, n // 8))):
            hz, level, decay = (
                rng.uniform(low, high, (count, 1)) for low, high in ((0.02 * rate, 0.2 * rate), (0.1, 0.9), (0.2, 2.0))
            )
            tone = level * np.sin(2 * np.pi * hz * time_s) * np.exp(-time_s / (decay * self.seconds))
            label: Any = rng.integers(0, len(self.spec.classes), count) if self.spec.classes else None
            arrays[split] = (np.rint(32767 * tone).astype(np.int16), label)
        return self._data(arrays, f"{n} synthetic tones")


def _chunks(clips: np.ndarray) -> Iterator[np.ndarray]:
    return (clips[first : first + CHUNK] for first in range(0, len(clips), CHUNK))


def _floats(clips: np.ndarray) -> Tensor:
    """Clips int16 → in [−1, 1]."""
    return torch.from_numpy(clips.astype(np.float32) / 32767)
