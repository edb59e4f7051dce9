"""The data of a pianoroll domain: a packed store, opened or built, and its windows by split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from musegen.contracts.domain import Data
from musegen.data.bundled import bundled
from musegen.errors import BadInput
from musegen.reporting import doing
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.in_words import bars_in_words, metre_of, remarks
from musegen_pianoroll.measures.keys import piece_labels
from musegen_pianoroll.plan import planned
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.metres import bars_in
from musegen_pianoroll.store.planes import mapped_planes, model_planes
from musegen_pianoroll.store.store import Store
from musegen_pianoroll.store.windows import WindowDataset

__all__ = ["find_store", "open_data", "synthetic_data"]


def open_data(config: PianorollConfig, source: Path | None, cache: Path) -> tuple[PianorollConfig, Data]:
    """The config with what the data decide (tracks, grid, tempo, classes), and the data.

    Raises:
        BadInput: nothing to read there, or no windows.
    """
    ours = source is None
    source = bundled("freedoom") if source is None else source
    store, skipped, unread = find_store(config, source, cache)
    tempo = float(np.median([piece.tempo_bpm for piece in store.pieces]))
    metre = metre_of(config, store)
    label, classes = (None, []) if config.labels == "none" else piece_labels(store, config.labels)
    config = replace(
        config,
        steps_per_beat=store.steps_per_beat,
        tracks=config.tracks if store.mapping is None else store.mapping,
        pedal=store.heard.pedal,
        file_metre=store.heard.file_metre,
        metre=f"{metre[0]}/{metre[1]}",
        tempo_bpm=config.tempo_bpm or round(tempo, 2),
        track_list=[track.as_json() for track in _with_ranges(store)],
        classes=classes,
    )
    splits = _splits(config, store, label, cache)
    if not len(splits["train"]):
        raise BadInput(
            f"No piece of {source} has {config.bars} bars of {config.metre} in a row in its training part. "
            f"{bars_in_words(config, store)} Or use fewer bars (bars={max(1, config.bars // 2)}), or more files."
        )
    description = (
        f"{len(store.pieces)} pieces of {source.name}, {len(splits['train'])} training windows of {config.bars} bars"
    )
    fingerprint = store.fingerprint
    if config.target != "none":
        second, more = _open_target(config, store.tracks, cache)
        splits |= {"target": second["train"], "target_valid": second["valid"], "target_test": second["test"]}
        description += f"; target {config.target}, {len(second['train'])} windows"
        fingerprint = hashlib.sha256((fingerprint + more).encode()).hexdigest()
    return config, Data(splits, fingerprint, description, skipped, remarks(config, store, "" if ours else unread))


def _verified(path: Path) -> Store:
    store = Store.open(path)
    with doing("Checking the store"):
        store.verify()
    return store


def find_store(config: PianorollConfig, source: Path, cache: Path) -> tuple[Store, Sequence[tuple[str, str]], str]:
    """The packed store at ``source``, or one built from the files there and kept in the run's cache; files left out; and those
    of other kinds, in words.

    Raises:
        BadInput: there is neither a store nor a file that can be read.
    """
    if (source / "store.json").is_file():
        return _verified(source), (), ""
    built = cache / "store"
    if (built / "store.json").is_file():
        return _verified(built), (), ""
    # Reading MIDI means worker processes; a run on a finished store does not need them.
    from musegen_pianoroll.reading.build import build_store
    from musegen_pianoroll.reading.folder import unread_summary

    report = build_store(
        source,
        built,
        tracks=config.tracks,
        steps_per_beat=config.steps_per_beat,
        pedal=config.pedal,
        file_metre=config.file_metre,
    )
    return Store.open(built), [(str(path), reason) for path, reason in report.skipped], unread_summary(report.unread)


def _with_ranges(store: Store) -> list[StoreTrack]:
    """The store's tracks with their lowest and highest pitches, drums excepted, as far as it has counted them."""
    if store.tally is None:
        return store.tracks
    found = []
    for track, used in zip(store.tracks, store.tally.used, strict=True):
        pitches = np.flatnonzero(np.unpackbits(used, bitorder="little")).tolist()
        is_known = pitches and not track.is_drum
        found.append(replace(track, lowest=pitches[0], highest=pitches[-1]) if is_known else track)
    return found


def _splits(config: PianorollConfig, store: Store, label: np.ndarray | None, cache: Path) -> dict[str, WindowDataset]:
    """Windows of the store by split, with the class of their piece."""
    planes = mapped_planes(store, config.n_planes, cache)
    if config.chords:
        runs = (
            (piece.first_step + first, n)
            for piece in store.pieces
            for first, n in bars_in(piece.segments, config.signature, config.steps_per_beat)[0]
        )
        with doing("Finding chords"):
            planes = planned(planes, runs, store.tracks, config)
    first_steps = np.array([piece.first_step for piece in store.pieces])
    splits = {}
    for split in ("train", "valid", "test"):
        starts = store.windows(config.bars, *config.signature, split=split)
        dataset = _windows(config, store.tracks, planes, torch.from_numpy(starts), augment=split == "train")
        if label is not None:
            piece = np.searchsorted(first_steps, starts, "right") - 1
            dataset = replace(dataset, label=torch.from_numpy(label[piece]))
        splits[split] = dataset
    return splits


def _open_target(
    config: PianorollConfig, tracks: Sequence[StoreTrack], cache: Path
) -> tuple[dict[str, WindowDataset], str]:
    """The second data set, on the same tracks and grid."""
    source = bundled(config.target) if config.target in ("chorales", "freedoom") else Path(config.target)
    store, *_ = find_store(config, source, cache / "target")
    if (store.steps_per_beat, store.tracks) != (config.steps_per_beat, list(tracks)):
        raise BadInput(
            f"target={config.target} has other tracks or another steps_per_beat than the data: build it alike."
        )
    label = None
    if config.labels != "none":
        label, classes = piece_labels(store, config.labels)
        if classes != config.classes:
            label = None  # other folders are other classes: nothing to compare
    splits = _splits(config, store, label, cache / "target")
    if not len(splits["train"]):
        raise BadInput(
            f"target={config.target} has no {config.bars} bars of {config.metre} in a row: use fewer bars or other data."
        )
    return splits, store.fingerprint


def _windows(
    config: PianorollConfig, tracks: Sequence[StoreTrack], planes: Tensor, starts: Tensor, augment: bool
) -> WindowDataset:
    fixed = torch.tensor([False] * config.chords + [track.is_drum for track in tracks])
    semitones = range(-config.transpose, config.transpose + 1) if augment and config.transpose else ()
    return WindowDataset(planes, starts, config.bars * config.bar_steps, config.pitch_range, fixed, tuple(semitones))


def synthetic_data(config: PianorollConfig, tracks: Sequence[StoreTrack], n: int, seed: int) -> Data:
    """Random scales over steady drums: a few pieces' worth of bars that a model can learn in seconds."""
    c, rng = config, np.random.default_rng(seed)
    n_steps = c.bars * c.bar_steps
    counts = {"train": n, "valid": max(4, n // 8), "test": max(4, n // 8)}
    rolls = np.zeros((sum(counts.values()) * n_steps, len(tracks), 2, 128), bool)
    step = np.arange(0, len(rolls), 2)
    for t in range(len(tracks)):
        pitch = c.lowest_pitch + (rng.integers(0, 12, len(step)) + 7 * t) % (c.highest_pitch - c.lowest_pitch + 1)
        rolls[step, t, :, pitch] = True
    packed = np.packbits(rolls, axis=-1, bitorder="little")
    planes = model_planes(torch.from_numpy(packed), c.n_planes)
    starts = torch.arange(sum(counts.values())) * n_steps
    if c.chords:
        planes = planned(planes, [(start, c.bars) for start in starts.tolist()], tracks, c)
    parts = dict(zip(counts, starts.split(list(counts.values())), strict=True))
    splits = {split: _windows(c, tracks, planes, part, augment=split == "train") for split, part in parts.items()}
    if c.classes:
        splits = {
            split: replace(part, label=torch.from_numpy(rng.integers(0, len(c.classes), len(part))))
            for split, part in splits.items()
        }
    return Data(splits, hashlib.sha256(packed.tobytes()).hexdigest(), f"{n} synthetic windows")
