"""The pianoroll domain: multi-track music on a grid of steps and pitches, with frame and onset planes."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from musegen.contracts.dataset import Dataset
from musegen.contracts.domain import Autoregressive, Data, Decoder, Discriminator, Domain, Encoder, Spec
from musegen.data.batches import Batches
from musegen.data.bundled import bundled
from musegen.errors import BadInput, MusegenWarning, did_you_mean
from musegen.evaluation.distributions import Values, compare, merge
from musegen.networks.autoregressive import AutoregressiveGrid
from musegen.networks.mlp import MLPDecoder, MLPDiscriminator, MLPEncoder
from musegen.options import validate
from musegen.probability.likelihood import Bernoulli
from musegen.reporting import each
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.measures.bars import measures, onsets_of
from musegen_pianoroll.measures.copies import longest_runs
from musegen_pianoroll.measures.keys import piece_labels
from musegen_pianoroll.measures.musegan_table import MUSEGAN_BAR_STEPS, MUSEGAN_PITCHES, musegan_measures
from musegen_pianoroll.networks import musegan as networks
from musegen_pianoroll.reading.roles import program_number, track_specs
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.planes import begun, mapped_planes, model_planes, unpacked
from musegen_pianoroll.store.store import Store
from musegen_pianoroll.store.windows import WindowDataset, gather_windows
from musegen_pianoroll.writing import output, thresholds
from musegen_pianoroll.writing.given import Kept, bars_of, into_range, range_name
from musegen_pianoroll.writing.pianoroll import Pianoroll

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PianorollDomain"]

COPY_CHUNK = 256
"""Training windows that are searched for copies at a time."""
MEASURED_AT_ONCE = 64
"""Samples that are measured at a time: at 96 steps per bar, 512 of them would need 4 GB."""


class PianorollDomain(Domain):
    name = "pianoroll"
    summary = "multi-track music: MIDI or Lakh pianoroll files, or a packed store"
    Config = PianorollConfig
    config: PianorollConfig
    kept: Kept | None = None
    """Notes of a given piece that stand in all rolls of samples; see ``whole``."""

    @classmethod
    def open(cls, config: PianorollConfig, source: Path | None, cache: Path) -> tuple[Self, Data]:
        source = source if source is not None else bundled("freedoom")
        store, skipped = cls._store(config, source, cache)
        tempo = float(np.median([piece.tempo_bpm for piece in store.pieces]))
        label, classes = (None, []) if config.labels == "none" else piece_labels(store, config.labels)
        config = replace(
            config,
            steps_per_beat=store.steps_per_beat,
            tracks=config.tracks if store.mapping is None else store.mapping,
            tempo_bpm=config.tempo_bpm or round(tempo, 2),
            track_list=[asdict(track) for track in store.tracks],
            classes=classes,
        )
        domain = cls(config)
        splits = domain._splits(store, label, cache)
        if not len(splits["train"]):
            raise BadInput(
                f"No piece of {source} has {config.bars} bars of {config.metre} in a row in its training part: "
                "use fewer bars, another metre, or more files."
            )
        description = f"{len(store.pieces)} pieces of {source.name}, {len(splits['train'])} training windows of {config.bars} bars"
        fingerprint = store.fingerprint
        if config.target != "none":
            second, more = domain._open_target(cache)
            splits |= {"target": second["train"], "target_valid": second["valid"], "target_test": second["test"]}
            description += f"; target {config.target}, {len(second['train'])} windows"
            fingerprint = hashlib.sha256((fingerprint + more).encode()).hexdigest()
        return domain, Data(splits, fingerprint, description, skipped)

    def _splits(self, store: Store, label: np.ndarray | None, cache: Path) -> dict[str, WindowDataset]:
        """Windows of the store by split, with the class of their piece."""
        c = self.config
        planes = mapped_planes(store, c.n_planes, cache)
        first_steps = np.array([piece.first_step for piece in store.pieces])
        splits = {}
        for split in ("train", "valid", "test"):
            starts = store.windows(c.bars, *c.signature, split=split)
            dataset = self._dataset(planes, torch.from_numpy(starts), augment=split == "train")
            if label is not None:
                piece = np.searchsorted(first_steps, starts, "right") - 1
                dataset = replace(dataset, label=torch.from_numpy(label[piece]))
            splits[split] = dataset
        return splits

    def _open_target(self, cache: Path) -> tuple[dict[str, WindowDataset], str]:
        """The second data set, on the same tracks and grid."""
        c = self.config
        source = bundled(c.target) if c.target in ("chorales", "freedoom") else Path(c.target)
        store, _ = self._store(c, source, cache / "target")
        if (store.steps_per_beat, store.tracks) != (c.steps_per_beat, self.tracks):
            raise BadInput(
                f"target={c.target} has other tracks or another steps_per_beat than the data: build it alike."
            )
        label = None
        if c.labels != "none":
            label, classes = piece_labels(store, c.labels)
            if classes != c.classes:
                label = None  # other folders are other classes: nothing to compare
        splits = self._splits(store, label, cache / "target")
        if not len(splits["train"]):
            raise BadInput(
                f"target={c.target} has no {c.bars} bars of {c.metre} in a row: use fewer bars or other data."
            )
        return splits, store.fingerprint

    @classmethod
    def _store(cls, config: PianorollConfig, source: Path, cache: Path) -> tuple[Store, Sequence[tuple[str, str]]]:
        """The packed store at ``source``, or one built from the files there and kept in the run's cache."""
        if (source / "store.json").is_file():
            return Store.open(source), ()
        built = cache / "store"
        if (built / "store.json").is_file():
            return Store.open(built), ()
        # Reading MIDI means worker processes; a run on a finished store does not need them.
        from musegen_pianoroll.reading.build import build_store

        report = build_store(source, built, tracks=config.tracks, steps_per_beat=config.steps_per_beat)
        return Store.open(built), [(str(path), reason) for path, reason in report.skipped]

    def _dataset(self, planes: Tensor, starts: Tensor, augment: bool) -> WindowDataset:
        c = self.config
        drums = torch.tensor([track.is_drum for track in self.tracks])
        semitones = range(-c.transpose, c.transpose + 1) if augment and c.transpose else ()
        return WindowDataset(planes, starts, c.bars * c.bar_steps, c.pitch_range, drums, tuple(semitones))

    @cached_property
    def tracks(self) -> list[StoreTrack]:
        """The tracks, from the data if some were opened, else from the option."""
        if self.config.track_list:
            return [StoreTrack(**track) for track in self.config.track_list]
        return track_specs(self.config.tracks)

    @cached_property
    def spec(self) -> Spec:
        c = self.config
        return Spec(
            (len(self.tracks) * c.n_planes, c.bars * c.bar_steps, c.highest_pitch - c.lowest_pitch + 1),
            ("track × plane", f"step (1/{c.steps_per_beat} beat)", "pitch (MIDI number)"),
            Bernoulli(),
            tuple(c.classes),
            self._given(),
            c.bar_steps,
            12,
        )

    def _given(self) -> tuple[tuple[int, int, int], ...]:
        """Slabs of cells that are given: a track's planes, or all bars but the last."""
        c, names = self.config, [track.name for track in self.tracks]
        slabs = []
        for name in c.given:
            if name == "past":
                if c.bars < 2:
                    raise BadInput("given=past needs two bars or more per sample: raise bars.")
                slabs.append((1, 0, (c.bars - 1) * c.bar_steps))
            elif name in names:
                slabs.append((0, names.index(name) * c.n_planes, (names.index(name) + 1) * c.n_planes))
            else:
                raise BadInput(f'given names no track "{name}".{did_you_mean(name, [*names, "past"])}')
        return tuple(slabs)

    def encoder(self, wanted: Encoder) -> nn.Module:
        if self.config.networks == "mlp":
            return MLPEncoder(self.spec.shape, self.config.widths)
        return networks.ComposerEncoder(self.spec.shape, self.config.bars, self.config.channels)

    def decoder(self, wanted: Decoder) -> nn.Module:
        c, shape = self.config, self.spec.params_shape
        if c.networks == "mlp":
            return MLPDecoder(wanted.n_code, shape, c.widths, wanted.n_classes)
        arrangement = cast(networks.Arrangement, c.networks.removeprefix("musegan-"))
        return networks.MuseGANDecoder(
            arrangement, wanted.n_code, shape, len(self.tracks), c.bars, c.channels, wanted.n_classes, wanted.given
        )

    def given_decoder(self, wanted: Decoder) -> nn.Module:
        """MuseGAN's generators take what is given into every layer; perceptrons take it as the core does."""
        return super().given_decoder(wanted) if self.config.networks == "mlp" else self.decoder(wanted)

    def discriminator(self, wanted: Discriminator) -> nn.Module:
        c, shape = self.config, self.spec.shape
        if c.networks == "mlp":
            return MLPDiscriminator(shape, c.widths, wanted.norm)
        if c.networks == "musegan-jamming":
            return networks.JammingDiscriminator(shape, len(self.tracks), c.bars, c.channels, wanted.norm)
        return networks.ComposerDiscriminator(shape, c.bars, c.channels, wanted.norm)

    def autoregressive(self, wanted: Autoregressive) -> nn.Module:
        """Rows are steps: each step given all earlier ones, pitch by pitch upwards, and within a pitch plane by plane."""
        network = AutoregressiveGrid(self.spec.shape, self.spec.params_shape, wanted)
        # About one cell in a hundred sounds; starting there spares the first hundred steps.
        nn.init.constant_(network.head.bias, -4.0)  # type: ignore[arg-type]
        return network

    def rolls(self, samples: Tensor) -> Tensor:
        """Samples ``(n, tracks · planes, steps, pitches)`` → bool rolls ``(n, tracks, 2, steps, 128)``, frame and onset.

        Drums are onsets. With two planes a note begins at an onset and sounds as long as its frames go on; frames that no
        onset began are left out (as in Hawthorne et al. 2018, 1710.11153), which changes nothing in rolls of real notes.
        """
        c = self.config
        x = thresholds.sounding(self._by_track(samples), c.threshold, c.gate, c.bar_steps)
        if c.n_planes == 2:
            onset = x[:, :, 1]
            frame = begun(x[:, :, 0] | onset, onset)
        else:
            frame = x[:, :, 0]
            onset = onsets_of(frame, torch.zeros_like(frame))
        drums = torch.tensor([track.is_drum for track in self.tracks])
        frame = torch.where(drums[:, None, None], onset, frame)
        rolls = torch.zeros(*frame.shape[:2], 2, frame.shape[2], 128, dtype=torch.bool)
        rolls[..., c.lowest_pitch : c.highest_pitch + 1] = torch.stack([frame, onset], 2)
        return rolls if self.kept is None else self.kept.into(rolls)

    def _by_track(self, samples: Tensor) -> Tensor:
        """``(n, tracks · planes, …)`` → ``(n, tracks, planes, …)``."""
        return samples.unflatten(1, (len(self.tracks), self.config.n_planes))

    def calibrate(self, samples: Tensor, reference: Tensor) -> PianorollConfig:
        """Thresholds and gates at which samples have the reference's notes; see ``thresholds.calibrated``."""
        c = self.config
        if c.threshold != "auto" and not c.gate:
            return c  # a user's own; thresholds with gates come from here, of a run that goes on
        found, gates = thresholds.calibrated(self._by_track(samples), self._by_track(reference), c.bar_steps)
        return replace(c, threshold=found, gate=gates)

    def read(self, path: Path) -> Tensor:
        """All whole runs of ``bars`` bars of a MIDI file, one after the other, moved into the pitch range; see ``given``."""
        c = self.config
        planes, piece = self._read(path)
        starts = [
            first + bar * c.bar_steps
            for first, n_bars, numerator, denominator in piece["segments"]
            if (numerator, denominator) == c.signature
            for bar in range(0, n_bars - c.bars + 1, c.bars)
        ]
        if not starts:
            raise BadInput(f"{path} has no {c.bars} bars of {c.metre} in a row, which this model works on.")
        return self._cells(self._in_range(planes, path), starts, c.bars * c.bar_steps)

    def whole(self, path: Path, keep: Literal["all", "given", "none"]) -> tuple[Tensor, Self]:
        """All whole bars of the model's metre; what is kept is written at the file's own pitches, tempo and programs."""
        c = self.config
        planes, piece = self._read(path)
        planes = bars_of(planes, piece["segments"], c.signature, c.bar_steps)
        if not len(planes):
            raise BadInput(f"{path} has no bar of {c.metre}, which this model works on.")
        tracks = torch.tensor([keep != "given" or track.name in c.given for track in self.tracks])
        sounding = [track.name for track, n in zip(self.tracks, piece["n_notes"], strict=True) if n]
        missing = [name for name in c.given if keep == "given" and name not in sounding and name != "past"]
        if missing:
            raise BadInput(
                f"{path} has no notes for {' and '.join(missing)}, which this model is to be given; it has {', '.join(sounding)}."
            )
        frame, onset = unpacked(planes)
        kept = Kept(torch.stack([begun(frame, onset), onset], 1), keep, tracks)
        names = {
            track.name: programs[0]
            for track, programs, mine in zip(self.tracks, piece["programs"], tracks.tolist(), strict=True)
            if mine and programs and track.program not in programs
        }
        writer = self._writer(replace(self._played_by(names), tempo_bpm=round(piece["tempo_bpm"], 2)), kept)
        return self._cells(self._in_range(planes, path), [0], len(planes))[0], writer

    def _read(self, path: Path) -> tuple[np.ndarray, dict[str, Any]]:
        """Packed planes of a file on the model's grid, and what is known of it."""
        from musegen_pianoroll.reading.build import read_piece

        return read_piece(path, self.config.tracks, self.config.steps_per_beat)

    def _in_range(self, planes: np.ndarray, path: Path) -> np.ndarray:
        """Planes with all tracks moved into the pitch range by octaves; says so."""
        low, high = self.config.lowest_pitch, self.config.highest_pitch
        planes, said = into_range(planes, self.tracks, low, high)
        if said:
            message = f"{path}: moved into the model's range, {range_name(low, high)}: {', '.join(said)}."
            warnings.warn(message, MusegenWarning, stacklevel=3)
        return planes

    def _cells(self, planes: np.ndarray, starts: list[int], n_steps: int) -> Tensor:
        """Windows of packed planes as samples ``(n, tracks · planes, n_steps, pitches)``."""
        packed = model_planes(torch.from_numpy(planes), self.config.n_planes)
        fixed = torch.zeros(len(self.tracks), dtype=torch.bool)
        return gather_windows(packed, torch.tensor(starts), n_steps, self.config.pitch_range, None, fixed)

    def _writer(self, config: PianorollConfig, kept: Kept | None) -> Self:
        writer = type(self)(config)
        writer.kept = kept
        return writer

    def _played_by(self, programs: Mapping[str, int]) -> PianorollConfig:
        """The config with other programs for the tracks named."""
        tracks = [replace(track, program=programs.get(track.name, track.program)) for track in self.tracks]
        return replace(self.config, track_list=[asdict(track) for track in tracks])

    def for_writing(self, options: Mapping[str, Any]) -> Self:
        """Samples at another tempo, on other instruments, or with other thresholds.

        Args:
            options: ``tempo`` in beats per minute; ``programs``, by track, General MIDI numbers from 0 or names; ``threshold``, one
                number for all tracks or one per track by name. A threshold that is set here stands alone: no gate.
        """
        known = {"tempo", "programs", "threshold"}
        for name in options:
            if name not in known:
                raise BadInput(
                    f'The domain "pianoroll" writes nothing that "{name}" changes.{did_you_mean(name, known)}'
                )
        names = [track.name for track in self.tracks]
        for option_name in ("programs", "threshold"):
            value = options.get(option_name)
            for name in value if isinstance(value, Mapping) else ():
                if name not in names:
                    raise BadInput(f'{option_name}: there is no track "{name}".{did_you_mean(name, names)}')
        programs = {name: program_number(value) for name, value in options.get("programs", {}).items()}
        config = self._played_by(programs)
        if "tempo" in options:
            config = self._set(config, "tempo_bpm", options["tempo"])
        if "threshold" in options:
            config = self._with_threshold(config, options["threshold"])
        return self._writer(config, self.kept)

    def _with_threshold(self, config: PianorollConfig, given: Any) -> PianorollConfig:
        """The config with a threshold for all tracks, or for those by name."""
        n, names = len(self.tracks), [track.name for track in self.tracks]
        changed = dict.fromkeys(names, given) if not isinstance(given, Mapping) else given
        old = thresholds.per_track(config.threshold, n).flatten().tolist()
        config = self._set(
            config, "threshold", [changed.get(name, value) for name, value in zip(names, old, strict=True)]
        )
        if not config.gate:
            return config
        # A bar without an onset above the threshold has none above the same gate.
        gates = thresholds.per_track(config.gate, n).flatten().tolist()
        new: Any = config.threshold
        return replace(config, gate=[new[i] if name in changed else gates[i] for i, name in enumerate(names)])

    def _set(self, config: PianorollConfig, name: str, value: Any) -> PianorollConfig:
        """The config with one option set as a user wrote it."""
        checked = validate(PianorollConfig, {name: value}, 'the domain "pianoroll"')
        return replace(config, **{name: getattr(checked, name)})

    def as_data(self, samples: Tensor) -> Tensor:
        """The notes of samples as cells."""
        rolls = self.rolls(samples)  # (n, tracks, 2, steps, 128)
        packed = torch.from_numpy(np.packbits(rolls.permute(0, 3, 1, 2, 4).numpy(), axis=-1, bitorder="little"))
        return torch.cat([self._cells(piece.numpy(), [0], piece.shape[0]) for piece in packed])

    def pianorolls(self, samples: Tensor) -> list[Pianoroll]:
        """Samples ``(n, *S)`` as pieces, which show, play and save themselves."""
        c = self.config
        tempo = c.tempo_bpm or 120.0
        return [
            Pianoroll(roll, self.tracks, c.steps_per_beat, tempo, c.signature, self._shown_range)
            for roll in self.rolls(samples).numpy()
        ]

    @property
    def _shown_range(self) -> tuple[int, int]:
        """Pitches of pictures: the model's range, and whatever a given piece has outside it."""
        low, high = self.config.pitch_range
        if self.kept is not None:
            pitches = self.kept.roll.any(0).any(0).any(0).nonzero().flatten().tolist()
            low, high = min([low, *pitches]), max([high, *(pitch + 1 for pitch in pitches)])
        return low, high

    def write(self, samples: Tensor, folder: Path, names: Sequence[str]) -> list[Path]:
        return [piece.save(folder / f"{name}.mid") for piece, name in zip(self.pianorolls(samples), names, strict=True)]

    def picture(self, samples: Tensor, columns: int | None = None) -> Image:
        return output.contact_sheet(
            self.rolls(samples).numpy(),
            self.tracks,
            steps_per_bar=self.config.bar_steps,
            steps_per_beat=self.config.steps_per_beat,
            pitch_range=self._shown_range,
            columns=columns or (2 if samples.shape[2] <= 16 * self.config.bar_steps else 1),
        )

    def audio(self, samples: Tensor) -> tuple[list[np.ndarray], int]:
        pieces = self.pianorolls(samples)
        return [piece.audio() for piece in each(pieces, "Playing", "pieces")], output.SAMPLE_RATE_HZ

    def metrics(self, samples: Tensor, reference: Tensor) -> dict[str, float]:
        """Distributions of every measure of bars, see ``metrics.measures``, of samples against the reference's."""
        return compare(self.measures(samples), self.measures(reference))

    def measures(self, samples: Tensor) -> dict[str, Values]:
        """Measures of samples ``(n, *S)``, named ``measure/track``; with MuseGAN's own where its code takes these bars."""
        c, parts = self.config, []
        with_musegan = (c.bar_steps, c.signature, *c.pitch_range) == (MUSEGAN_BAR_STEPS, (4, 4), *MUSEGAN_PITCHES)
        for part in samples.split(MEASURED_AT_ONCE):
            rolls = self.rolls(part)
            parts.append(measures(rolls, self.tracks, c.bar_steps, c.steps_per_beat))
            if with_musegan:
                parts[-1] |= musegan_measures(rolls, self.tracks)
        return merge(parts)

    def copies(self, samples: Tensor, training: Dataset) -> dict[str, float]:
        """``copied bars/…``: the mean longest run of bars that a sample shares with the training data, up to transposition
        of the whole band, and the share of samples that share k bars or more; see ``copies``."""
        if isinstance(training, WindowDataset):
            training = replace(training, transpositions=())
        parts = (self.rolls(batch.x)[:, :, 1] for batch in Batches(training, COPY_CHUNK, 0, torch.device("cpu")).once())
        drums = torch.tensor([track.is_drum for track in self.tracks])
        onset = torch.cat([self.rolls(part)[:, :, 1] for part in samples.split(MEASURED_AT_ONCE)])
        longest = longest_runs(onset, parts, drums, self.config.bar_steps)
        lengths = sorted({1, *(2**i for i in range(8) if 2**i < self.config.bars), self.config.bars})
        shares = {f"copied bars/{k} or more": float((longest >= k).double().mean()) for k in lengths}
        return {"copied bars/mean": float(longest.double().mean())} | shares

    def synthetic(self, n: int, seed: int = 0) -> Data:
        """Random scales over steady drums: a few pieces' worth of bars that a model can learn in seconds."""
        c, rng = self.config, np.random.default_rng(seed)
        n_steps, n_tracks = c.bars * c.bar_steps, len(self.tracks)
        counts = {"train": n, "valid": max(4, n // 8), "test": max(4, n // 8)}
        rolls = np.zeros((sum(counts.values()) * n_steps, n_tracks, 2, 128), bool)
        step = np.arange(0, len(rolls), 2)
        for t in range(n_tracks):
            pitch = c.lowest_pitch + (rng.integers(0, 12, len(step)) + 7 * t) % (c.highest_pitch - c.lowest_pitch + 1)
            rolls[step, t, :, pitch] = True
        packed = np.packbits(rolls, axis=-1, bitorder="little")
        planes = model_planes(torch.from_numpy(packed), c.n_planes)
        starts = torch.arange(sum(counts.values())) * n_steps
        parts = dict(zip(counts, starts.split(list(counts.values())), strict=True))
        splits = {split: self._dataset(planes, part, augment=split == "train") for split, part in parts.items()}
        if c.classes:
            splits = {
                split: replace(part, label=torch.from_numpy(rng.integers(0, len(c.classes), len(part))))
                for split, part in splits.items()
            }
        return Data(splits, hashlib.sha256(packed.tobytes()).hexdigest(), f"{n} synthetic windows")
