"""The pianoroll domain: multi-track music on a grid of steps and pitches, with frame and onset planes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from musegen.contracts.asked import Asked, Section
from musegen.contracts.dataset import Dataset, generator_for
from musegen.contracts.domain import Autoregressive, Data, Decoder, Discriminator, Domain, Encoder, Keep, Spec
from musegen.contracts.missing import MARK, missing_rows
from musegen.contracts.survey import Survey
from musegen.data.batches import Batches
from musegen.data.bundled import bundled
from musegen.errors import BadInput, MusegenWarning, did_you_mean
from musegen.evaluation.distributions import Values, compare, merge
from musegen.networks.autoregressive import AutoregressiveGrid
from musegen.networks.mlp import MLPDecoder, MLPDiscriminator, MLPEncoder
from musegen.probability.likelihood import Bernoulli
from musegen_pianoroll.asking import PianorollAsking, asked_of, ending_of, sections_of
from musegen_pianoroll.config import PianorollConfig, PianorollReading, PianorollWriting
from musegen_pianoroll.measures.bars import Bars, level_measures, measures
from musegen_pianoroll.measures.baselines import markov_chain, random_pitches
from musegen_pianoroll.measures.copies import longest_runs
from musegen_pianoroll.measures.heard import heard
from musegen_pianoroll.measures.musegan_table import MUSEGAN_BAR_STEPS, MUSEGAN_PITCHES, musegan_measures
from musegen_pianoroll.networks import musegan as networks
from musegen_pianoroll.opening import MARKED, open_data, synthetic_data
from musegen_pianoroll.plan import PLAN, planned
from musegen_pianoroll.reading.formats import SUFFIXES
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.planes import model_planes
from musegen_pianoroll.store.windows import WindowDataset, gather_windows
from musegen_pianoroll.surveying import surveyed
from musegen_pianoroll.writing import thresholds
from musegen_pianoroll.writing.given import into_range, range_name
from musegen_pianoroll.writing.pianoroll import Pianoroll
from musegen_pianoroll.writing.writer import RollWriter, merged_thresholds

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PianorollDomain"]

ANY = "any"
"""What the option ``given`` says instead of names."""
CHUNK = 256
"""Training windows that are looked at at a time."""
MARKOV_WINDOWS = 4096
"""Training windows that the Markov chain is made of, at most: 60 MB of a band's of four bars."""
MEASURED_AT_ONCE = 64
"""Samples that are measured at a time: at 96 steps per bar, 512 of them would need 4 GB."""


class PianorollDomain(Domain):
    """Samples ``(tracks · planes, steps, pitches)``: for each track a plane of frames and one of onsets; where the
    config says so, with planes of chords before them, and of levels of velocity after them.

    >>> from musegen_pianoroll.config import PianorollConfig
    >>> from musegen_pianoroll.domain import PianorollDomain
    >>> domain = PianorollDomain(PianorollConfig(bars=1))
    >>> domain.spec.shape
    (10, 16, 84)
    >>> domain.spec.axes
    ('track × plane', 'step (1/4 beat)', 'pitch (MIDI number)')
    """

    name = "pianoroll"
    suffixes = (*SUFFIXES, "store.json")
    summary = "multi-track music: MIDI or Lakh pianoroll files, or a packed store"
    Config, Reading, Writing = PianorollConfig, PianorollReading, PianorollWriting
    Asking = PianorollAsking
    config: PianorollConfig
    writing: PianorollWriting

    def __init__(self, config: PianorollConfig, writing: PianorollWriting | None = None) -> None:
        super().__init__(config, writing)
        self.writer = RollWriter(self.config, self.writing)

    @classmethod
    def open(cls, config: PianorollConfig, source: Path | None, cache: Path) -> tuple[Self, Data]:
        config, data = open_data(config, source, cache)
        return cls(config), data

    @classmethod
    def survey(cls, config: PianorollConfig, source: Path | None, cache: Path) -> Survey:
        """Pieces, bars, metres and tempos of a store or of files, and each track's notes."""
        return surveyed(config, source if source is not None else bundled("freedoom"), cache)

    @property
    def tracks(self) -> list[StoreTrack]:
        """The tracks, with the programs that they are written with."""
        return self.writer.tracks

    @cached_property
    def spec(self) -> Spec:
        c = self.config
        return Spec(
            (
                c.n_plan + len(self.tracks) * (c.n_planes + c.n_levels),
                c.bars * c.bar_steps,
                c.highest_pitch - c.lowest_pitch + 1,
            ),
            (
                "chords, track × plane" if c.chords else "track × plane",
                f"step (1/{c.steps_per_beat} beat)",
                "pitch (MIDI number)",
            ),
            Bernoulli(),
            tuple(c.classes),
            self._given(),
            c.bar_steps,
            12,
            (*[c.n_plan] * c.chords, *[c.n_planes] * len(self.tracks)) if ANY in c.given else (),
            c.n_plan,
            c.n_levels,
            c.short_bars,
        )

    def _given(self) -> tuple[tuple[int, int, int], ...]:
        """Slabs of cells that are given: a track's planes, or all bars but the last."""
        c, names = self.config, [track.name for track in self.tracks]
        if c.short_bars and ANY not in c.given:
            raise BadInput(f"metre={c.metre} needs given=any: add it, or name one metre.")
        if c.velocities and ANY not in c.given:
            raise BadInput("velocities=True needs given=any: add it.")
        if ANY in c.given:
            if len(c.given) > 1:
                raise BadInput(f"given={','.join(c.given)} is invalid: any stands alone, because it means every part.")
            return ()
        slabs = []
        for name in c.given:
            if name == "past":
                if c.bars < 2:
                    raise BadInput("given=past needs two bars or more per sample: use bars=2.")
                slabs.append((1, 0, (c.bars - 1) * c.bar_steps))
            elif name in names:
                first = c.n_plan + names.index(name) * c.n_planes
                slabs.append((0, first, first + c.n_planes))
            else:
                raise BadInput(f'given names no track "{name}".{did_you_mean(name, [*names, "past", ANY])}')
        return tuple(slabs)

    def _plain(self) -> None:
        """Networks of the domain have no part that comes first, or last."""
        if self.config.chords:
            raise BadInput("plan=chords is for rnn_nade, which writes chords before notes: leave it out.")
        if self.config.velocities:
            raise BadInput("velocities=True is for rnn_nade, which writes velocities after notes: leave it out.")

    def encoder(self, wanted: Encoder) -> nn.Module:
        self._plain()
        if self.config.networks == "mlp":
            return MLPEncoder(self.spec.shape, self.config.widths)
        return networks.ComposerEncoder(self.spec.shape, self.config.bars, self.config.channels)

    def decoder(self, wanted: Decoder) -> nn.Module:
        self._plain()
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
        self._plain()
        c, shape = self.config, self.spec.shape
        if c.networks == "mlp":
            return MLPDiscriminator(shape, c.widths, wanted.norm)
        if c.networks == "musegan-jamming":
            return networks.JammingDiscriminator(shape, len(self.tracks), c.bars, c.channels, wanted.norm)
        return networks.ComposerDiscriminator(shape, c.bars, c.channels, wanted.norm)

    def autoregressive(self, wanted: Autoregressive) -> nn.Module:
        """Rows are steps: each step given all earlier ones, pitch by pitch upwards, and within a pitch plane by plane."""
        self._plain()
        network = AutoregressiveGrid(self.spec.shape, self.spec.params_shape, wanted)
        # About one cell in a hundred sounds; starting there spares the first hundred steps.
        nn.init.constant_(network.head.bias, -4.0)  # type: ignore[arg-type]
        return network

    def rolls(self, samples: Tensor) -> Tensor:
        """Samples as bool rolls ``(n, tracks, 2, steps, 128)``, see ``RollWriter.rolls``."""
        return self.writer.rolls(samples)

    def pieces(self, samples: Tensor) -> list[Pianoroll]:
        return self.writer.pieces(samples)

    def sheet(self, pieces: Sequence[Pianoroll], columns: int | None = None) -> Image:
        return self.writer.sheet(pieces, columns)

    def calibrate(self, samples: Tensor, reference: Tensor) -> PianorollWriting:
        """Thresholds and gates at which samples have the reference's notes; see ``thresholds.calibrated``."""
        c, w = self.config, self.writing
        if w.threshold != "auto" and not w.gate:
            return w  # a user's own; thresholds with gates come from here, of a run that goes on
        cells, real = (self.writer.note_cells(x) for x in (samples, reference))
        found, gates = thresholds.calibrated(cells, real, c.bar_steps)
        return replace(w, threshold=found, gate=gates)

    def written_with(self, options: Mapping[str, Any]) -> Self:
        """The domain at another tempo, on other instruments, or with other thresholds.

        A threshold that is set here stands alone: no gate. A bar of that track without an onset above the threshold has none above
        a gate of the same height either.
        """
        domain = super().written_with(options)
        if "threshold" not in options:
            return domain
        names = [track.name for track in self.tracks]
        old: Any = merged_thresholds(self.writing.threshold, "auto", names)
        chosen: Any = domain.writing.threshold
        threshold: Any = merged_thresholds(chosen, old, names)
        gate = self.writing.gate
        if gate and threshold != "auto":
            changed = chosen if isinstance(chosen, dict) else names
            new = thresholds.per_track(threshold, len(names)).flatten().tolist()
            gates = thresholds.per_track(gate, len(names)).flatten().tolist()
            gate = [new[i] if name in changed else gates[i] for i, name in enumerate(names)]
        return type(self)(self.config, replace(domain.writing, threshold=threshold, gate=gate))

    def read(self, path: Path) -> Tensor:
        """All whole runs of ``bars`` bars of a file, one after the other, moved into the pitch range; see ``given_files``."""
        from musegen_pianoroll.given_files import windows_of  # a run on a finished store reads no file

        planes, starts, missing = windows_of(self.config, path)
        n_rows = self.config.bars * self.config.bar_steps
        return self._cells(self._in_range(planes, path), starts, n_rows, missing)

    def read_given(self, path: Path, keep: Keep, given: Sequence[str] | None = None) -> tuple[Tensor, RollWriter]:
        """All whole bars of the model's metre, joined; what is kept is the file itself, event by event."""
        from musegen_pianoroll.given_files import given_piece

        plain = RollWriter(self.config, PianorollWriting()).tracks
        for name in given or ():
            if name not in (names := [track.name for track in plain]):
                raise BadInput(f'There is no track "{name}" in this model.{did_you_mean(name, names)}')
        piece = given_piece(self.config, path, keep, plain, given)
        seen = self._in_range(piece.seen, path)
        cells = self._cells(seen, [0], len(seen), piece.steps < 0)[0]
        return cells, RollWriter(self.config, self.writing, piece)

    def read_region(
        self, path: Path, parts: Sequence[str] | None = None, bars: tuple[int, int | None] = (1, None)
    ) -> tuple[Tensor, Tensor, RollWriter]:
        """The file's notes of some tracks that begin in some bars make room for new ones; all its other events stay."""
        from musegen_pianoroll.given_files import given_piece

        names = [track.name for track in self.tracks]
        chosen = names if parts is None else list(parts)
        for name in chosen:
            if name not in names:
                raise BadInput(f'There is no track "{name}" in this model.{did_you_mean(name, names)}')
        plain = RollWriter(self.config, PianorollWriting()).tracks
        kept = [name for name in names if name not in chosen]
        given = given_piece(self.config, path, "given only", plain, kept, bars)
        cells = self._cells(self._in_range(given.seen, path), [0], len(given.seen), given.steps < 0)[0]
        return cells, self._mask(torch.from_numpy(given.given_rows)), RollWriter(self.config, self.writing, given)

    def _mask(self, given: Tensor) -> Tensor:
        """Which channels are given, ``(tracks, rows)`` → ``(C, rows)``: chords where all pitched tracks are."""
        pitched = torch.tensor([not track.is_drum for track in self.tracks])
        plan = given[pitched].all(0).expand(self.config.n_plan, -1)
        return torch.cat([plan, *(given.repeat_interleave(n, 0) for n in (self.config.n_planes, self.config.n_levels))])

    def asked(self, asking: PianorollAsking, asked: Asked) -> Asked:
        return asked_of(asking, asked, self.config, self.tracks)

    def sections(self, asking: PianorollAsking, n_rows: int) -> tuple[list[Section], float]:
        return sections_of(asking, n_rows, self.config), asking.variation

    def ending(self, asking: PianorollAsking, x: Tensor, asked: Asked) -> Asked | None:
        return ending_of(x, asked, self.config, self.tracks) if asking.ending else None

    @property
    def part_names(self) -> list[str]:
        return [*[PLAN] * self.config.chords, *(track.name for track in self.tracks)]

    def _in_range(self, planes: np.ndarray, path: Path) -> np.ndarray:
        """Planes with all tracks moved into the pitch range by octaves; says so."""
        low, high = self.config.lowest_pitch, self.config.highest_pitch
        planes, said = into_range(planes, self.tracks, low, high)
        if said:
            message = f"{path}: moved into the model's range, {range_name(low, high)}: {', '.join(said)}."
            warnings.warn(message, MusegenWarning, stacklevel=3)
        return planes

    def _cells(self, planes: np.ndarray, starts: list[int], n_steps: int, missing: np.ndarray | None = None) -> Tensor:
        """Windows of packed planes ``(rows, tracks, P, 16)`` as samples ``(n, C, n_steps, pitches)``, with their chords.

        Args:
            missing: rows of the planes that bars lack, bool ``(rows,)``; None: none.
        """
        packed = model_planes(torch.from_numpy(planes), self.config.n_planes + self.config.n_levels)
        n_bars = n_steps // self.config.bar_steps
        packed = planned(packed, [(start, n_bars) for start in starts], self.tracks, self.config)
        if missing is not None and self.config.short_bars:
            packed = packed.clone()
            packed[torch.from_numpy(missing)] = MARKED
        fixed = torch.zeros(packed.shape[1], dtype=torch.bool)
        return gather_windows(packed, torch.tensor(starts), n_steps, self.config.pitch_range, None, fixed)

    def discretise(self, samples: Tensor) -> Tensor:
        """The notes of samples as cells."""
        cells = self._samples_of(self.rolls(samples), self.writer.levels(samples))
        if self.config.short_bars:
            cells = cells.masked_fill(missing_rows(samples)[:, None, :, None], MARK)
        return cells

    def _samples_of(self, rolls: Tensor, levels: Tensor) -> Tensor:
        """Rolls ``(n, tracks, 2, steps, 128)``, with the levels of notes ``(n, tracks, steps, 128)``, as cells."""
        above = levels[:, :, None] > torch.arange(self.config.n_levels)[:, None, None]
        rolls = torch.cat([rolls, above & rolls[:, :, 1:]], 2)
        packed = torch.from_numpy(np.packbits(rolls.permute(0, 3, 1, 2, 4).numpy(), axis=-1, bitorder="little"))
        return torch.cat([self._cells(piece.numpy(), [0], piece.shape[0]) for piece in packed])

    def metrics(self, samples: Tensor, reference: Tensor) -> dict[str, float]:
        """Distributions of every measure of bars, see ``metrics.measures``, of samples against the reference's."""
        return compare(self.measures(samples), self.measures(reference))

    def measures(self, samples: Tensor) -> dict[str, Values]:
        """Measures of samples ``(n, *S)``, named ``measure/track``; with MuseGAN's own where its code takes these bars."""
        c, parts = self.config, []
        with_musegan = (c.bar_steps, c.rooms.metres, *c.pitch_range) == (MUSEGAN_BAR_STEPS, ((4, 4),), *MUSEGAN_PITCHES)
        for part in samples.split(MEASURED_AT_ONCE):
            rolls = self.rolls(part)
            bars = Bars(rolls, c.bar_steps)
            parts.append(measures(bars, self.tracks, c.steps_per_beat) | heard(bars, self.tracks, c.steps_per_beat))
            if c.velocities:
                parts[-1] |= level_measures(self.writer.levels(part), rolls, self.tracks)
            if with_musegan:
                parts[-1] |= musegan_measures(rolls, self.tracks)
        return merge(parts)

    def copies(self, samples: Tensor, training: Dataset) -> dict[str, float]:
        """``copied bars/…``: the mean longest run of bars that a sample shares with the training data, up to transposition
        of the whole band, and the share of samples that share k bars or more; see ``copies``."""
        if isinstance(training, WindowDataset):
            training = replace(training, transpositions=())
        parts = (self.rolls(batch.x)[:, :, 1] for batch in Batches(training, CHUNK, 0, torch.device("cpu")).once())
        drums = torch.tensor([track.is_drum for track in self.tracks])
        onset = torch.cat([self.rolls(part)[:, :, 1] for part in samples.split(MEASURED_AT_ONCE)])
        longest = longest_runs(onset, parts, drums, self.config.bar_steps)
        lengths = sorted({1, *(2**i for i in range(8) if 2**i < self.config.bars), self.config.bars})
        shares = {f"copied bars/{k} or more": float((longest >= k).double().mean()) for k in lengths}
        return {"copied bars/mean": float(longest.double().mean())} | shares

    def baselines(self, training: Dataset, n: int, seed: int) -> dict[str, Tensor]:
        """A first-order Markov chain of whole steps, and training windows with random pitches; see ``baselines``."""
        generator = generator_for(torch.device("cpu"), seed, 7)
        order = torch.randperm(len(training), generator=generator)
        parts = (training.gather(index, generator).x for index in order[:MARKOV_WINDOWS].split(CHUNK))
        chain = markov_chain(parts, n, generator)
        again = order.repeat(-(-n // max(1, len(order))))[:n]
        drums = torch.tensor([track.is_drum for track in self.tracks])
        rhythms = (self.rolls(training.gather(index, generator).x.float()) for index in again.split(CHUNK))
        rolls = torch.cat([random_pitches(part, drums, generator) for part in rhythms])
        levels = torch.randint(self.config.n_levels + 1, rolls[:, :, 0].shape, generator=generator, dtype=torch.uint8)
        return {"Markov chain": chain, "random pitches": self._samples_of(rolls, levels)}

    def synthetic(self, n: int, seed: int = 0) -> Data:
        """Random scales over steady drums: a few pieces' worth of bars that a model can learn in seconds."""
        return synthetic_data(self.config, self.tracks, n, seed)
