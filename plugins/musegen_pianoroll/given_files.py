"""Files that a user gives to a model: what it sees of them, and what is said of the rest."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from musegen.contracts.domain import Keep
from musegen.errors import BadInput, MusegenWarning
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.limits import SIZE_CAP_BYTES
from musegen_pianoroll.reading.formats import MIDI_SUFFIXES
from musegen_pianoroll.reading.piece import read_piece
from musegen_pianoroll.reading.whole import read_whole
from musegen_pianoroll.store.format import GRIDS, StoreTrack
from musegen_pianoroll.store.planes import begun, unpacked
from musegen_pianoroll.store.velocities import NOTE_PLANES
from musegen_pianoroll.writing.beside import GivenPiece, without_notes
from musegen_pianoroll.writing.midi import MidiFile, Part, metre_event, notes_of, tempo_event

__all__ = ["given_piece", "windows_of"]

WRITTEN_TICKS_PER_BEAT = 480


def windows_of(config: PianorollConfig, path: Path) -> tuple[np.ndarray, list[int], np.ndarray]:
    """A file's bars of the model's metres.

    Returns:
        Packed planes ``(rows, tracks, P, 16)``, the first row of each whole run of ``bars`` of them, and which rows bars lack, bool
        ``(rows,)``.

    Raises:
        BadInput: the file cannot be read, or has none.
    """
    planes, known = read_piece(path, config.reading(), False, config.most_bars, config.bar_steps)
    runs = config.rooms.runs(known["segments"])
    n_rows = config.bars * config.bar_steps
    begins = np.cumsum([0, *(len(run) for run in runs)]).tolist()
    starts = [
        begin + first
        for begin, run in zip(begins, runs, strict=False)
        for first in range(0, len(run) - n_rows + 1, n_rows)
    ]
    if not starts:
        raise BadInput(
            f"{path} has no {config.bars} bars of {config.rooms.name} in a row, which this model works on{_bars_it_has(known)}."
            + _way_out(config)
        )
    _say(path, known, [*_other_bars(config, known), *_bars_too_few(config, runs), *_off_grid(config, known)])
    steps = np.concatenate(runs)
    return planes[steps] * (steps >= 0)[:, None, None, None], starts, steps < 0


def given_piece(
    config: PianorollConfig,
    path: Path,
    keep: Keep,
    tracks: list[StoreTrack],
    given: Sequence[str] | None = None,
    bars: tuple[int, int | None] | None = None,
) -> GivenPiece:
    """A file as a model sees it, and event by event. What the model cannot see is said.

    Args:
        tracks: of the model.
        given: names of those that it is given where it writes others at the same time; None: those of the config.
        bars: the first and the last bar, from 1 (None: of the piece), in which it writes them, in place of the notes that begin
            there; None: all, and ``keep`` says what becomes of the file's notes.

    Raises:
        BadInput: the file cannot be read, or has no bar of the model's metre, or no notes for a track that is to be given.
    """
    at_once = keep in ("given", "given only")
    names = [name for name in config.given if name not in ("past", "any")] if given is None else list(given)
    reading = config.reading(names if at_once and bars is None else ())
    planes, known = read_piece(path, reading, True, config.most_bars, config.bar_steps)
    runs = config.rooms.runs(known["segments"])
    if not runs:
        raise BadInput(
            f"{path} has no bar of {config.rooms.name}, which this model works on{_bars_it_has(known)}.{_way_out(config)}"
        )
    span = None if bars is None else _rows_of(bars, runs, config, path)
    sounding = [track.name for track, n in zip(tracks, known["n_notes"], strict=True) if n]
    missing = [name for name in names if at_once and name not in sounding and bars is None]
    if missing:
        raise BadInput(
            f"{path} has no notes for {' and '.join(missing)}, which this model is to be given; it has notes for "
            f"{', '.join(sounding)}. Its tracks are {_tracks_in_words(known)}: choose the one to take with track=NUMBER."
        )
    if at_once and known["chosen"]:
        warnings.warn(f"{path}: {known['chosen']}.", MusegenWarning, stacklevel=4)
    new = np.array([not at_once or track.name not in names for track in tracks])
    midi, ticks_per_beat = _events(path, planes, known, tracks, config)
    anew = [track.name for track, is_new, n in zip(tracks, new, known["n_notes"], strict=True) if is_new and n]
    said = [*_other_bars(config, known), *_off_grid(config, known), *([] if at_once else _no_part(known))]
    if span is not None:
        planes, midi = _without_region(planes, midi, known, new, span, runs, config, ticks_per_beat)
    elif keep == "given only" and anew:
        roles = {i for i, is_new in enumerate(new) if is_new}
        midi = without_notes(midi, {(s["number"], s["channel"]) for s in known["sources"] if s["role"] in roles})
        planes = planes * ~new[None, :, None, None]
    _say(path, known, said, "What the file holds is written as it is." if keep != "none" else "")
    if keep == "given" and anew:
        its_own = " and ".join(anew)
        warnings.warn(
            f"{path}: its own notes for {its_own} stay beside those of the model. To leave them out, accompany with --replace (in "
            'Python, read_given with keep="given only").',
            MusegenWarning,
            stacklevel=4,
        )
    programs = {
        track.name: seen[0]
        for track, seen, is_new in zip(tracks, known["programs"], new, strict=True)
        if seen and track.program not in seen and (not at_once or not is_new or bars is not None)
    }
    return GivenPiece(
        midi,
        ticks_per_beat,
        planes,
        known["segments"],
        known["tempos"],
        config.rooms,
        keep,
        new,
        programs,
        span,
    )


def _rows_of(
    bars: tuple[int, int | None], runs: Sequence[np.ndarray], config: PianorollConfig, path: Path
) -> tuple[int, int]:
    """Rows of bars, numbers from 1, the first and the one after the last."""
    n_bars = sum(len(run) for run in runs) // config.bar_steps
    first, last = bars[0], n_bars if bars[1] is None else bars[1]
    if not 1 <= first <= last <= n_bars:
        raise BadInput(f"bars={first}-{last} is invalid: {path} has bars 1 to {n_bars} of {config.rooms.name}.")
    return (first - 1) * config.bar_steps, last * config.bar_steps


def _without_region(
    planes: np.ndarray,
    midi: MidiFile,
    known: dict[str, Any],
    new: np.ndarray,
    span: tuple[int, int],
    runs: Sequence[np.ndarray],
    config: PianorollConfig,
    ticks_per_beat: int,
) -> tuple[np.ndarray, MidiFile]:
    """Planes and events without the notes of new tracks that begin in a span of rows."""
    steps = np.concatenate(runs)[slice(*span)]
    inside = np.zeros(len(planes) + 1, bool)
    inside[steps[steps >= 0]] = True
    frame, onset = unpacked(planes)
    roll = np.stack([begun(frame, onset).numpy(), onset.numpy()], 1)
    for track, pitch, first, last in notes_of(roll):
        if new[track] and inside[first]:
            roll[track, :, first:last, pitch] = False
    kept = np.packbits(roll.transpose(2, 0, 1, 3), axis=-1, bitorder="little")
    kept = np.concatenate([kept, planes[:, :, NOTE_PLANES:] & kept[:, :, 1:]], 2)  # notes that stay keep their levels

    def begins_inside(tick: int) -> bool:
        step = (2 * tick * config.steps_per_beat + ticks_per_beat) // (2 * ticks_per_beat)
        return bool(inside[min(step, len(planes))])

    roles = {i for i, is_new in enumerate(new) if is_new}
    parts = {(s["number"], s["channel"]) for s in known["sources"] if s["role"] in roles}
    return kept, without_notes(midi, parts, begins_inside)


def _events(
    path: Path, planes: np.ndarray, known: dict[str, Any], tracks: list[StoreTrack], config: PianorollConfig
) -> tuple[MidiFile, int]:
    """The file's events; of a file that is no MIDI file those that say what was read of it."""
    if path.suffix.lower() in MIDI_SUFFIXES:
        with path.open("rb") as file:
            whole = read_whole(file.read(SIZE_CAP_BYTES + 1), path)
        return MidiFile(whole.division, whole.tracks, whole.ends, whole.kind), whole.ticks_per_beat
    per_step = max(1, WRITTEN_TICKS_PER_BEAT // config.steps_per_beat)
    frame, onset = unpacked(planes)
    notes = notes_of(np.stack([begun(frame, onset).numpy(), onset.numpy()], 1))
    parts = []
    for i, track in enumerate(tracks):
        own = notes[notes[:, 0] == i]
        if len(own):
            program = known["programs"][i][0] if known["programs"][i] else track.program
            ticks = np.stack([own[:, 2] * per_step, own[:, 3] * per_step, own[:, 1]], 1)
            parts.append(Part(track.name, program, track.is_drum, ticks))
    first = [(int(step) * per_step, tempo_event(bpm)) for step, bpm in known["tempos"]]
    first += [(step * per_step, metre_event(*metre)) for step, _, *metre in known["segments"]]
    empty = MidiFile(per_step * config.steps_per_beat, [[]], [len(planes) * per_step])
    return empty.beside(parts, first), per_step * config.steps_per_beat


def _bars_it_has(known: dict[str, Any]) -> str:
    bars: dict[str, int] = {}
    for _, n, numerator, denominator in known["segments"]:
        bars[f"{numerator}/{denominator}"] = bars.get(f"{numerator}/{denominator}", 0) + n
    if not bars:
        return ""
    return "; it has " + " and ".join(f"{n} of {metre}" for metre, n in bars.items())


def _way_out(config: PianorollConfig) -> str:
    numerator, denominator = config.rooms.metres[0]
    return f" To read it in {numerator}/{denominator} all the same, use file_metre={numerator}/{denominator}."


def _other_bars(config: PianorollConfig, known: dict[str, Any]) -> list[str]:
    segments = known["segments"]
    others = config.rooms.others(segments) + known["n_odd"]
    n_bars = others + sum(stretch.n_bars for group in config.rooms.stretches(segments) for stretch in group)
    return [f"{others} of {n_bars} bars, which are not of {config.rooms.name}"] if others else []


def _bars_too_few(config: PianorollConfig, runs: Sequence[np.ndarray]) -> list[str]:
    """Bars that are left over where a file is cut into samples."""
    n = sum(len(run) // config.bar_steps % config.bars for run in runs)
    return [f"{n} bar{'s' * (n > 1)} that do{'es' * (n == 1)} not fill a sample of {config.bars}"] if n else []


def _off_grid(config: PianorollConfig, known: dict[str, Any]) -> list[str]:
    if config.steps_per_beat not in GRIDS:
        return []
    n = known["off_grid"][GRIDS.index(config.steps_per_beat)]
    return [f"where {n:,} notes begin, which is off its grid of {config.steps_per_beat} steps per beat"] if n else []


def _no_part(known: dict[str, Any]) -> list[str]:
    left = [source for source in known["sources"] if source["role"] is None and source["n_notes"]]
    if not left:
        return []
    n = sum(source["n_notes"] for source in left)
    return [f"{n:,} notes of {len(left)} track{'s' * (len(left) > 1)}, for which it has no part"]


def _tracks_in_words(known: dict[str, Any]) -> str:
    return ", ".join(
        f"{s['number']} {s['name'] or 'without a name'} ({s['n_notes']} notes)"
        for s in known["sources"]
        if s["n_notes"]
    )


def _say(path: Path, known: dict[str, Any], unseen: list[str], after: str = "") -> None:
    if known["mended"]:
        warnings.warn(f"{path} was read in spite of {'; '.join(known['mended'])}.", MusegenWarning, stacklevel=5)
    if unseen:
        message = f"{path}: the model does not see {'; '.join(unseen)}. {after}"
        warnings.warn(message.strip(), MusegenWarning, stacklevel=5)
