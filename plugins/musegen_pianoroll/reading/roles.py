"""Which track of a file plays which role: drums, piano, guitar, bass, strings; voices in order; or the user's own mapping."""

from __future__ import annotations

from typing import Any

import numpy as np

from musegen.errors import BadInput, did_you_mean
from musegen_pianoroll.reading.score import Score
from musegen_pianoroll.store.format import StoreTrack

__all__ = ["BAND", "VOICES", "assign", "program_number", "track_specs"]

BAND = (
    StoreTrack("Drums", 0, True),
    StoreTrack("Piano", 0),
    StoreTrack("Guitar", 24),
    StoreTrack("Bass", 32),
    StoreTrack("Strings", 48),
)
"""The five tracks of LPD-5, in its order. Instruments outside the first four go to Strings, as there."""

VOICES = tuple(StoreTrack(name, 19) for name in ("Soprano", "Alto", "Tenor", "Bass"))

_BAND_ROLES = [{0: 1, 3: 2, 4: 3}.get(program // 8, 4) for program in range(128)]
_KEYS = {"programs", "names", "program", "drums"}


def track_specs(tracks: str | dict[str, Any]) -> list[StoreTrack]:
    """The tracks that a ``tracks`` option stands for.

    Args:
        tracks: ``band``, ``voices``, or a mapping from a track's name to ``programs`` (General MIDI numbers from 0, or
            ranges such as "24-31"), ``names`` (parts of a source track's name), ``program`` (to write it with) and
            ``drums`` (true or false).

    Raises:
        BadInput: what is wrong with the mapping.
    """
    if isinstance(tracks, str):
        presets = {"band": BAND, "voices": VOICES}
        if tracks not in presets:
            raise BadInput(
                f'tracks="{tracks}" is unknown.{did_you_mean(tracks, presets)} Or give a mapping of your own.'
            )
        return list(presets[tracks])
    if not 1 <= len(tracks) <= 16:
        raise BadInput(f"tracks has {len(tracks)} entries: a MIDI file has room for 1 to 16.")
    specs = []
    for name, entry in tracks.items():
        if not isinstance(entry, dict):
            raise BadInput(f'The track "{name}" must be a mapping with {", ".join(sorted(_KEYS))}.')
        for key in entry:
            if key not in _KEYS:
                raise BadInput(f'The track "{name}" has no setting "{key}".{did_you_mean(key, _KEYS)}')
        programs = _programs(name, entry.get("programs", []))
        program = entry.get("program", min(programs, default=0))
        if not isinstance(program, int) or not 0 <= program < 128:
            raise BadInput(f'The track "{name}" has program {program!r}: use a number from 0 to 127.')
        specs.append(StoreTrack(str(name), program, bool(entry.get("drums", False))))
    return specs


def _programs(name: str, entries: Any) -> set[int]:
    """General MIDI numbers from numbers and ranges such as "24-31"."""
    found: set[int] = set()
    for entry in entries if isinstance(entries, list) else [entries]:
        first, dash, last = str(entry).partition("-")
        try:
            found |= set(range(int(first), int(last if dash else first) + 1))
        except ValueError:
            raise BadInput(
                f'The track "{name}" has programs {entry!r}: write numbers or ranges such as "24-31".'
            ) from None
    if any(not 0 <= program < 128 for program in found):
        raise BadInput(f'The track "{name}" has programs outside 0 to 127.')
    return found


def program_number(value: int | str) -> int:
    """A General MIDI program: a number from 0 to 127, or a name such as "Church Organ".

    Raises:
        BadInput: neither.
    """
    from pretty_midi import INSTRUMENT_MAP

    text = str(value).strip()
    if text.isdecimal() and int(text) < 128:
        return int(text)
    names = {name.lower(): number for number, name in enumerate(INSTRUMENT_MAP)}
    if text.lower() not in names:
        close = did_you_mean(text.lower(), names) if not text.lstrip("-").isdecimal() else ""
        raise BadInput(
            f'"{text}" is no General MIDI program: use a number from 0 to 127 or a name such as "Church Organ".'
            + (close if "Did" in close else "")
        )
    return names[text.lower()]


def assign(score: Score, tracks: str | dict[str, Any]) -> tuple[list[tuple[int, np.ndarray]], list[list[int]]]:
    """Sort a score's notes into roles; several tracks may have one.

    Returns:
        Roles and their notes, int64 ``(n, 3)``, and per role the programs seen.
    """
    n_roles = len(track_specs(tracks))
    notes: list[tuple[int, np.ndarray]] = []
    programs: list[set[int]] = [set() for _ in range(n_roles)]
    sounding = [track for track in score.tracks if len(track.notes)]
    for i, track in enumerate(sounding):
        role = _role(tracks, i, track.name, track.program, track.is_drum)
        if role is not None and role < n_roles:
            notes.append((role, track.notes))
            programs[role].add(track.program)
    return notes, [sorted(seen) for seen in programs]


def _role(tracks: str | dict[str, Any], i: int, name: str, program: int, is_drum: bool) -> int | None:
    if tracks == "band":
        if is_drum:
            return 0
        return _BAND_ROLES[program]
    if tracks == "voices":
        return i
    assert isinstance(tracks, dict)
    # A name is a user's explicit word, so it goes before a program.
    for role, entry in enumerate(tracks.values()):
        if any(str(part).lower() in name.lower() for part in entry.get("names", [])):
            return role
    for role, (key, entry) in enumerate(tracks.items()):
        if (is_drum and entry.get("drums")) or (not is_drum and program in _programs(key, entry.get("programs", []))):
            return role
    return None
