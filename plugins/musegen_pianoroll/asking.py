"""What may be asked of music before it is drawn: chords, a key, how full tracks are, rules of voice leading, and its form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from musegen.contracts.asked import LEVELS, OPEN, Asked, Section
from musegen.contracts.missing import MARK, missing_rows
from musegen.errors import BadInput, did_you_mean, shown
from musegen.options import option
from musegen_pianoroll.chord_symbols import SCALES, Chord, bars_of_chords, key_of_text
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.measures.chords import NAMES
from musegen_pianoroll.measures.keys import MODES, find_keys, key_of
from musegen_pianoroll.plan import chord_planes
from musegen_pianoroll.rules import faults_of
from musegen_pianoroll.store.format import StoreTrack
from musegen_pianoroll.store.metres import signature

__all__ = ["PianorollAsking", "asked_of", "ending_of", "sections_of"]

FRAME, ONSET = 0, 1
SAME = "same"


@dataclass(frozen=True)
class PianorollAsking:
    chords: str = option(
        "", 'the chords to write, one to a bar, "Am F C G", or bars between strokes, "Am | F G"; they repeat'
    )
    key: str = option(
        "",
        "the key: notes of its scale, and its tonic chord in the first and the last bar: C, Am, Eb major; same: that of the given "
        "notes",
    )
    density: dict[str, str] = option(
        {}, "how many notes begin in the bars of a track, none, low, medium or high: Bass=high,Drums=low"
    )
    polyphony: dict[str, str] = option({}, "how many notes sound at once in the bars of a track: Piano=high")
    ranges: dict[str, str] = option({}, "lowest and highest note that is written for a track: Bass=E1-G3")
    rules: list[str] = option(
        [],
        "what steps are drawn anew for that break it: avoid_parallels (fifths and octaves), no_crossing (of tracks in their "
        "order), chord_notes (on beats, notes of the chord alone; also where chords are asked for and no rules), or none",
    )
    metre: str = option(
        "",
        "the metre of new bars, 3/4, or of one bar after the other, 3/4 2/4; they repeat; empty: as before them, or else the first "
        "that the model knows; for models of several metres",
    )
    form: str = option(
        "", "sections as letters, AABA: a letter that returns is its first section, varied; all are of equal length"
    )
    repeat: int = option(0, "the first section returns, varied, after so many bars", ge=0)
    ending: bool = option(
        False,
        "the last two of three bars or more are written anew so that they lead to the chord of the key, from its dominant",
    )
    variation: float = option(
        0.25,
        "share of bars and tracks of a section that returns which are written anew; its last bar always is",
        ge=0,
        le=1,
    )


def asked_of(asking: PianorollAsking, asked: Asked, config: PianorollConfig, tracks: Sequence[StoreTrack]) -> Asked:
    """Samples of which a part may be given, with what is asked of the rest.

    Raises:
        BadInput: a track, a chord, a key, a level, a note or a rule that does not exist; chords of a model that knows none.
    """
    n_bars = -(-asked.n_rows // config.bar_steps)
    if asking.key == SAME:
        asking = replace(asking, key=_key_of_given(asked, config, tracks))
    asked = _with_metre(asking.metre, asked, config)
    asked = _with_plan(asking, asked, config, n_bars)
    levels = _levels(asking, config, tracks, n_bars)
    allowed = _allowed(asking, asked, config, tracks)
    return replace(asked, levels=levels, allowed=allowed, faults=faults_of(_rules(asking), config, tracks))


def _key_of_given(asked: Asked, config: PianorollConfig, tracks: Sequence[StoreTrack]) -> str:
    """The key that fits the given notes best, as text; drums have none.

    Raises:
        BadInput: no note is given.
    """
    frames = [config.n_plan + i * config.n_planes for i, track in enumerate(tracks) if not track.is_drum]
    sounding = (asked.cells * asked.mask[..., None])[0, frames] > 0  # (tracks, rows, W)
    counts = np.bincount(
        np.arange(config.lowest_pitch, config.highest_pitch + 1) % 12, sounding.sum((0, 1)).numpy(), minlength=12
    )
    if not counts.any():
        raise BadInput("key=same: no notes are given whose key could be kept. Name one, such as key=Am.")
    tonic, mode = key_of(counts)
    return f"{NAMES[tonic]} {MODES[mode]}"


def _with_metre(metre: str, asked: Asked, config: PianorollConfig) -> Asked:
    """The rows marked that bars lack of which nothing is given: as the metre is asked for, or that of the bar before them."""
    rooms = config.rooms
    if metre and not config.short_bars:
        raise BadInput(
            f"metre={shown(metre)}: this model writes {rooms.name} alone. Use one that was trained with several metres."
        )
    if not config.short_bars:
        return asked
    wanted = [signature(name) for name in re.split(r"[\s,|]+", metre.strip())] if metre else []
    for one in wanted:
        if one not in rooms.metres:
            raise BadInput(f"metre={shown(metre)}: this model writes {rooms.name}, and not {one[0]}/{one[1]}.")
    given, missing = asked.mask.any(0).any(0), missing_rows(asked.cells).any(0)
    rows, last, n_new = missing.clone(), torch.from_numpy(rooms.missing(rooms.metres[0])), 0
    for first in range(0, asked.n_rows, rooms.size):
        bar = slice(first, first + rooms.size)
        if given[bar].any() or missing[bar].any():  # a bar of a given piece
            last = missing[bar]
            continue
        if wanted:
            last = torch.from_numpy(rooms.missing(wanted[n_new % len(wanted)]))
        rows[bar] = last[: len(rows[bar])]
        n_new += 1
    if wanted and not n_new:
        raise BadInput(f"metre={shown(metre)}: the given piece says its metre, so leave it out.")
    return replace(asked, cells=asked.cells.masked_fill(rows[:, None], MARK))


def _with_plan(asking: PianorollAsking, asked: Asked, config: PianorollConfig, n_bars: int) -> Asked:
    """The chords that are asked for, as a given plan, where none is given yet."""
    if not (asking.chords or asking.key):
        return asked
    if asking.chords and not config.chords:
        raise BadInput(
            "This model was trained without chords, so chords cannot be asked for: use one with plan=chords."
        )
    if not config.chords:
        return asked
    beats = config.bar_steps // config.beat_steps
    chords: list[list[Chord] | None] = [None] * n_bars
    if asking.key:
        tonic, mode = key_of_text(asking.key)
        home = Chord(frozenset((tonic + step) % 12 for step in ((0, 4, 7) if mode == "major" else (0, 3, 7))), tonic)
        chords[0] = chords[-1] = [home] * beats
    if asking.chords:
        bars = bars_of_chords(asking.chords, beats)
        chords = [bars[i % len(bars)] for i in range(n_bars)]
    per_step = [chord for bar in chords for chord in (bar or [Chord()] * beats) for _ in range(config.beat_steps)]
    known = torch.tensor([bar is not None for bar in chords]).repeat_interleave(config.bar_steps)
    plan = asked.cells.new_zeros(1, *asked.cells.shape[1:])
    plan[0, : config.n_plan] = _plan_cells(per_step, config)[:, : asked.n_rows]
    if config.short_bars:
        known = known[: asked.n_rows] & ~missing_rows(asked.cells[0])
    mask = torch.zeros(1, *asked.mask.shape[1:], dtype=torch.bool)
    mask[:, : config.n_plan] = known[: asked.n_rows]
    return asked.given(plan, mask & ~asked.mask)


def sections_of(asking: PianorollAsking, n_rows: int, config: PianorollConfig) -> list[Section]:
    """The sections of so many rows that are drawn one after the other; one, if no form is asked for.

    Raises:
        BadInput: the form is none, or the bars cannot be shared out among its sections.
    """
    n_bars, bar = n_rows // config.bar_steps, config.bar_steps
    if asking.form and asking.repeat:
        raise BadInput("form and repeat do not go together: leave one out.")
    if asking.form:
        letters = asking.form.upper()
        if not re.fullmatch("[A-Z]{1,26}", letters):
            raise BadInput(f'form="{shown(asking.form)}" is invalid: write letters, such as AABA.')
        length, rest = divmod(n_bars, len(letters))
        if rest or not length:
            raise BadInput(
                f"form={asking.form} has {len(letters)} sections of equal length, and {n_bars} bars cannot be shared out among "
                f"them: use --bars {max(1, length) * len(letters)}."
            )
    elif asking.repeat:
        length = asking.repeat
        letters = "A" * -(-n_bars // length)
    else:
        return [Section(0, n_rows, None)]
    found = []
    for i, letter in enumerate(letters):
        first = letters.index(letter)
        last = min((i + 1) * length * bar, n_rows)
        found.append(Section(i * length * bar, last, None if first == i else first * length * bar))
    return found


def ending_of(x: Tensor, asked: Asked, config: PianorollConfig, tracks: Sequence[StoreTrack]) -> Asked | None:
    """Samples ``(n, C, rows, W)`` of which the last two bars are to be drawn: the last on the tonic chord of the key before it, the
    beat before it on the dominant. None, so that they stay, if there are fewer than three bars, or
    the chords of the last one are given.

    Raises:
        BadInput: the model knows no chords.
    """
    bar, n_rows = config.bar_steps, x.shape[2]
    if not config.chords:
        raise BadInput("ending needs a model that was trained with plan=chords.")
    if n_rows < 3 * bar:  # no bar before them could say what the key is
        return None
    if asked.mask[:, : config.n_plan, -bar:].any():  # somebody said how it ends
        return None
    missing = missing_rows(x)[:, None] if config.short_bars else torch.zeros(len(x), 1, n_rows, dtype=torch.bool)
    x = x.masked_fill(missing[..., None], 0)
    of_class = torch.arange(config.lowest_pitch, config.highest_pitch + 1) % 12
    pitched = [config.n_plan + i * config.n_planes for i, track in enumerate(tracks) if not track.is_drum]
    before = x[:, pitched, : (n_rows // bar - 2) * bar].sum(1) @ torch.eye(12)[of_class]  # (n, rows, 12)
    keys = find_keys(before.unflatten(1, (-1, bar)).sum(2))[:, -1]  # of the bar before them
    homes = [
        Chord(frozenset((k % 12 + step) % 12 for step in ((0, 4, 7), (0, 3, 7))[k // 12]), k % 12)
        for k in keys.tolist()
    ]
    cells, mask = x.clone(), torch.ones_like(asked.mask)
    mask[:, :, -2 * bar :] = False
    mask |= asked.mask  # what was given stays
    # Rows from the last beat on that the bar before the last has.
    beat = bar - int((~missing[0, 0, -2 * bar : -bar]).nonzero()[-1]) // config.beat_steps * config.beat_steps
    for i, home in enumerate(homes):
        fifth = (home.root + 7) % 12
        dominant = Chord(frozenset((fifth + step) % 12 for step in (0, 4, 7)), fifth)
        cells[i, : config.n_plan, -bar - beat :] = _plan_cells([dominant] * beat + [home] * bar, config)
    mask[:, : config.n_plan, -bar - beat :] = True
    return replace(asked, cells=cells.masked_fill(missing[..., None], MARK), mask=mask)


def _plan_cells(chords: Sequence[Chord], config: PianorollConfig) -> Tensor:
    """The plan of a chord per step, ``(2, steps, W)``."""
    classes, roots = np.array([chord.bits for chord in chords]), np.array([chord.root for chord in chords])
    packed = chord_planes(classes, roots, config)[:, 0]  # (steps, 2, 16)
    cells = np.unpackbits(packed, axis=-1, bitorder="little")[..., config.lowest_pitch : config.highest_pitch + 1]
    return torch.from_numpy(cells).transpose(0, 1).float()


def _place(name: str, what: str, tracks: Sequence[StoreTrack]) -> int:
    names = [track.name for track in tracks]
    if name not in names:
        raise BadInput(f'{what}: there is no track "{shown(name)}".{did_you_mean(name, names)}')
    return names.index(name)


def _levels(
    asking: PianorollAsking, config: PianorollConfig, tracks: Sequence[StoreTrack], n_bars: int
) -> Tensor | None:
    """Levels of each channel and bar: of onsets for density, of frames for polyphony."""
    if not (asking.density or asking.polyphony):
        return None
    found = torch.full((config.n_plan + len(tracks) * config.n_planes, n_bars), OPEN)
    for what, plane, wanted in (("density", ONSET, asking.density), ("polyphony", FRAME, asking.polyphony)):
        if wanted and plane >= config.n_planes:
            raise BadInput(f"{what} needs a model of planes=frame+onset.")
        for name, level in wanted.items():
            if level not in LEVELS:
                raise BadInput(f'{what}: "{shown(level)}" is no level: use {", ".join(LEVELS)}.')
            found[config.n_plan + _place(name, what, tracks) * config.n_planes + plane] = LEVELS.index(level)
    return found


def _allowed(
    asking: PianorollAsking, asked: Asked, config: PianorollConfig, tracks: Sequence[StoreTrack]
) -> Tensor | None:
    """Cells of notes of the key, and in the ranges asked for."""
    if not (asking.key or asking.ranges):
        return None
    pitch = torch.arange(config.lowest_pitch, config.highest_pitch + 1)
    found = torch.ones(asked.cells.shape[1], len(pitch), dtype=torch.bool)
    channels = [config.n_plan + i * config.n_planes for i in range(len(tracks))]
    if asking.key:
        tonic, mode = key_of_text(asking.key)
        in_scale = torch.isin((pitch - tonic) % 12, torch.tensor(SCALES[mode]))
        pitched = [c for c, track in zip(channels, tracks, strict=True) if not track.is_drum]
        for first, n in [(0, config.n_plan), *((c, config.n_planes) for c in pitched)]:
            found[first : first + n] &= in_scale
    for name, text in asking.ranges.items():
        first = channels[_place(name, "ranges", tracks)]
        low, high = _range(text)
        found[first : first + config.n_planes] &= (pitch >= low) & (pitch <= high)
    return found[:, None].expand(-1, asked.n_rows, -1)


def _range(text: str) -> tuple[int, int]:
    """Lowest and highest MIDI pitch of E1-G3 or 28-55."""
    from musegen_pianoroll.chord_symbols import ACCIDENTALS, LETTERS

    ends = re.fullmatch(r"(.+?)-(-?\d+|[A-G].*)", text)
    pitches = []
    for end in ends.groups() if ends else ():
        note = re.fullmatch(r"([A-G])(#|♯|b|♭)?(-?\d)", end)
        if note:
            pitches.append(12 * (int(note[3]) + 1) + LETTERS[note[1]] + ACCIDENTALS[note[2] or ""])
        elif end.isdecimal():
            pitches.append(int(end))
    if len(pitches) != 2 or not 0 <= pitches[0] <= pitches[1] <= 127:
        raise BadInput(
            f'ranges: "{shown(text)}" is no range: write the lowest and the highest note, such as E1-G3 or 28-55.'
        )
    return pitches[0], pitches[1]


def _rules(asking: PianorollAsking) -> list[str]:
    """The rules that are asked for; of chords that are asked for, that notes on beats keep to them."""
    if asking.rules == ["none"]:
        return []
    return asking.rules or (["chord_notes"] if asking.chords else [])
