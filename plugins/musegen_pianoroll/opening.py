"""The data of a pianoroll domain: a packed store, opened or built, and its windows by split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
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
from musegen_pianoroll.in_words import bars_in_words, remarks, rooms_of
from musegen_pianoroll.measures.keys import piece_labels
from musegen_pianoroll.plan import planned
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.planes import mapped_planes, model_planes
from musegen_pianoroll.store.rooms import Rooms
from musegen_pianoroll.store.store import Store
from musegen_pianoroll.store.windows import WindowDataset

__all__ = ["MARKED", "find_store", "fixed_entries", "open_data", "synthetic_data"]

MARKED = 0xFF
"""Eight cells of a row that is missing."""


def open_data(config: PianorollConfig, source: Path | None, cache: Path) -> tuple[PianorollConfig, Data]:
    """The config with what the data decide (tracks, grid, tempo, classes), and the data.

    Raises:
        BadInput: nothing to read there, or no windows.
    """
    ours = source is None
    source = bundled("freedoom") if source is None else source
    store, skipped, unread = find_store(config, source, cache)
    _check_velocities(config, store)
    tempo = float(np.median([piece.tempo_bpm for piece in store.pieces]))
    rooms = rooms_of(config, store)
    label, classes = (None, []) if config.labels == "none" else piece_labels(store, config.labels)
    config = replace(
        config,
        steps_per_beat=store.steps_per_beat,
        tracks=config.tracks if store.mapping is None else store.mapping,
        pedal=store.heard.pedal,
        file_metre=store.heard.file_metre,
        metre=",".join(f"{numerator}/{denominator}" for numerator, denominator in rooms.metres),
        tempo_bpm=config.tempo_bpm or round(tempo, 2),
        track_list=[track.as_json() for track in _as_found(store, config)],
        classes=classes,
    )
    splits = _splits(config, store, label, cache)
    if not len(splits["train"]):
        raise BadInput(
            f"No piece of {source} has {config.bars} bars of {config.rooms.name} in a row in its training part. "
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
        tracks=config.reading().tracks,
        steps_per_beat=config.steps_per_beat,
        pedal=config.pedal,
        file_metre=config.file_metre,
        velocities=config.velocities,
    )
    return Store.open(built), [(str(path), reason) for path, reason in report.skipped], unread_summary(report.unread)


def _check_velocities(config: PianorollConfig, store: Store) -> None:
    if config.velocities and not store.has_velocities:
        raise BadInput(
            f"The store {store.path} has no velocities, which velocities=True needs: build it again with musegen data build "
            "--velocities."
        )


def _as_found(store: Store, config: PianorollConfig) -> list[StoreTrack]:
    """The store's tracks with their lowest and highest pitches, drums excepted, and their velocities, as far as it knows them."""
    tracks = store.tracks
    if config.velocities:
        tracks = [replace(track, velocities=own) for track, own in zip(tracks, store.velocities(), strict=True)]
    if store.tally is None:
        return tracks
    found = []
    for track, used in zip(tracks, store.tally.used, strict=True):
        pitches = np.flatnonzero(np.unpackbits(used, bitorder="little")).tolist()
        is_known = pitches and not track.is_drum
        found.append(replace(track, lowest=pitches[0], highest=pitches[-1]) if is_known else track)
    return found


def _splits(config: PianorollConfig, store: Store, label: np.ndarray | None, cache: Path) -> dict[str, WindowDataset]:
    """Windows of the store by split, with the class of their piece."""
    planes = mapped_planes(store, config.n_planes + config.n_levels, cache)
    planes, runs, missing = _in_rooms(planes, store, config.rooms)
    with doing("Finding chords") if config.chords else nullcontext():
        planes = planned(planes, [(first, n) for _, first, n in runs], store.tracks, config)
    if missing is not None:
        planes[missing] = MARKED
    splits = {}
    for split in ("train", "valid", "test"):
        own = [
            (i, first + config.bar_steps * np.arange(n - config.bars + 1))
            for i, first, n in runs
            if store.pieces[i].split == split and n >= config.bars
        ]
        starts = np.concatenate([np.zeros(0, np.int64), *(bars for _, bars in own)])
        dataset = _windows(config, store.tracks, planes, torch.from_numpy(starts), augment=split == "train")
        if label is not None:
            piece = np.repeat([i for i, _ in own], [len(bars) for _, bars in own]).astype(np.int64)
            dataset = replace(dataset, label=torch.from_numpy(label[piece]))
        splits[split] = dataset
    return splits


def _in_rooms(planes: Tensor, store: Store, rooms: Rooms) -> tuple[Tensor, list[tuple[int, int, int]], Tensor | None]:
    """Planes of a store in which every bar has as many rows, where that is not so already.

    Returns:
        The planes; the stretches of bars in them, as (number of the piece, first row, bars); and which rows are missing, bool, or
        None if none can be.
    """
    if len(rooms.metres) == 1:
        stretches = ((i, group) for i, piece in enumerate(store.pieces) for group in rooms.stretches(piece.segments))
        firsts = [piece.first_step for piece in store.pieces]
        return planes, [(i, firsts[i] + group[0].first, sum(s.n_bars for s in group)) for i, group in stretches], None
    found = [(i, run) for i, piece in enumerate(store.pieces) for run in rooms.runs(piece.segments)]
    steps = [run + (run >= 0) * store.pieces[i].first_step for i, run in found]
    rows = torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *steps]))
    begins = np.cumsum([0, *(len(run) for run in steps)])
    missing = rows < 0
    placed = planes[rows.clamp(min=0)] * ~missing[:, None, None, None]
    runs = [(i, int(first), len(run) // rooms.size) for (i, run), first in zip(found, begins, strict=False)]
    return placed, runs, missing


def _second(target: str) -> Path:
    """The folder of the second data set.

    Raises:
        BadInput: it is to be fetched first. The chorales are in a source checkout, and in no package.
    """
    try:
        return bundled(target) if target in ("chorales", "freedoom") else Path(target)
    except BadInput:
        raise BadInput(
            f"target={target} is in a clone of musegen alone: fetch it (musegen data get {target} --out bach), and use target=bach."
        ) from None


def _open_target(
    config: PianorollConfig, tracks: Sequence[StoreTrack], cache: Path
) -> tuple[dict[str, WindowDataset], str]:
    """The second data set, on the same tracks and grid."""
    store, *_ = find_store(config, _second(config.target), cache / "target")
    _check_velocities(config, store)
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
            f"target={config.target} has no {config.bars} bars of {config.rooms.name} in a row: use fewer bars or other data."
        )
    return splits, store.fingerprint


def fixed_entries(config: PianorollConfig, tracks: Sequence[StoreTrack]) -> Tensor:
    """Which entries of ``planned`` planes never transpose, bool."""
    drums = torch.tensor([track.is_drum for track in tracks], dtype=torch.bool)
    if not config.velocities:
        return torch.cat([torch.zeros(int(config.chords), dtype=torch.bool), drums])
    channels = [drums.repeat_interleave(n) for n in (config.n_planes, config.n_levels)]
    return torch.cat([torch.zeros(config.n_plan, dtype=torch.bool), *channels])


def _windows(
    config: PianorollConfig, tracks: Sequence[StoreTrack], planes: Tensor, starts: Tensor, augment: bool
) -> WindowDataset:
    semitones = range(-config.transpose, config.transpose + 1) if augment and config.transpose else ()
    rooms = config.rooms
    lacking = [rooms.missing(metre) for metre in rooms.metres]
    lacks = torch.from_numpy(np.stack([rows for rows in lacking if rows.any()])) if config.short_bars else None
    return WindowDataset(
        planes,
        starts,
        config.bars * config.bar_steps,
        config.pitch_range,
        fixed_entries(config, tracks),
        tuple(semitones),
        shorten=config.shorten if augment else 0.0,
        lacks=lacks,
    )


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
    if c.velocities:
        level = torch.from_numpy(rng.integers(0, c.n_levels + 1, len(planes)))
        on = (level[:, None] > torch.arange(c.n_levels))[:, None, :, None]  # (steps, 1, levels, 1)
        planes = torch.cat([planes, planes[:, :, -1:] * on], 2)
    starts = torch.arange(sum(counts.values())) * n_steps
    planes = planned(planes, [(start, c.bars) for start in starts.tolist()], tracks, c)
    parts = dict(zip(counts, starts.split(list(counts.values())), strict=True))
    splits = {split: _windows(c, tracks, planes, part, augment=split == "train") for split, part in parts.items()}
    if c.classes:
        splits = {
            split: replace(part, label=torch.from_numpy(rng.integers(0, len(c.classes), len(part))))
            for split, part in splits.items()
        }
    return Data(splits, hashlib.sha256(packed.tobytes()).hexdigest(), f"{n} synthetic windows")
