"""Which track of a file plays which role: drums, piano, guitar, bass, strings; four voices; or the user's own mapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from musegen.errors import BadInput, did_you_mean
from musegen_pianoroll.reading.part_names import plain
from musegen_pianoroll.reading.score import Score, ScoreTrack
from musegen_pianoroll.store.format import StoreTrack

__all__ = ["BAND", "VOICES", "Choice", "assign", "choose", "model_tracks", "program_number", "track_specs"]

BAND = (
    StoreTrack("Drums", 0, True),
    StoreTrack("Piano", 0),
    StoreTrack("Guitar", 24),
    StoreTrack("Bass", 32),
    StoreTrack("Strings", 48),
)
"""The five tracks of LPD-5, in its order. Instruments outside the first four go to Strings, as there."""

VOICES = tuple(StoreTrack(name, 19) for name in ("Soprano", "Alto", "Tenor", "Bass"))
_VOICE_RANGES = {"Soprano": (57, 81), "Alto": (53, 74), "Tenor": (48, 69), "Bass": (36, 64)}
"""Lowest and highest pitches of the bundled chorales' voices."""

_BAND_ROLES = [{0: 1, 3: 2, 4: 3}.get(program // 8, 4) for program in range(128)]
_KEYS = {"programs", "names", "program", "drums"}


def track_specs(tracks: str | dict[str, Any]) -> list[StoreTrack]:
    """The tracks that a ``tracks`` option stands for.

    Args:
        tracks: ``band``, ``voices``, or a mapping from a track's name to ``programs`` (General MIDI numbers from 0, or
            ranges such as "24-31"), ``names`` (parts of a source track's name, of any case), ``program`` (to write
            it with) and ``drums`` (true or false).

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


def _as_list(entries: Any) -> list[Any]:
    """One entry alone stands for a list of it."""
    return entries if isinstance(entries, list) else [entries]


def _programs(name: str, entries: Any) -> set[int]:
    """General MIDI numbers from numbers and ranges such as "24-31"."""
    found: set[int] = set()
    for entry in _as_list(entries):
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


def model_tracks(tracks: str | dict[str, Any], track_list: Sequence[dict[str, Any]]) -> list[StoreTrack]:
    """The tracks of a model: those of its data, if it knows them, else those of the option.

    Voices whose range is not known, as in models from before it was kept, have that of the bundled chorales.

    Args:
        tracks, track_list: of the config.
    """
    found = [StoreTrack.from_json(track) for track in track_list] if track_list else track_specs(tracks)
    if tracks != "voices":
        return found
    ranges = [_VOICE_RANGES.get(track.name, (None, None)) for track in found]
    return [
        replace(track, lowest=low, highest=high) if track.lowest is None else track
        for track, (low, high) in zip(found, ranges, strict=True)
    ]


@dataclass(frozen=True)
class Choice:
    """Which tracks of a file play which roles.

    Attributes:
        notes: roles and their notes, ``ScoreTrack.table``.
        programs: per role, the programs seen.
        chosen: the tracks of each role that counts: those that a model is given, or all.
        left_out: tracks with notes that play none of these.
        played: roles and the tracks that play them.
        said: all this in one sentence without a stop; empty where no track is chosen.
    """

    notes: list[tuple[int, np.ndarray]]
    programs: list[list[int]]
    chosen: dict[str, list[ScoreTrack]]
    left_out: list[ScoreTrack]
    played: list[tuple[int, ScoreTrack]]
    said: str


def assign(
    score: Score, tracks: str | dict[str, Any], given: Sequence[str] = (), track: str | int | None = None
) -> tuple[list[tuple[int, np.ndarray]], list[list[int]]]:
    """Sort a score's notes into roles; several tracks may have one. See ``choose``, also for the arguments.

    Returns:
        Roles and their notes, ``ScoreTrack.table``, and per role the programs seen.
    """
    if track is None and not given:
        return _sorted_in(_roles(score, tracks, needs_melody=False), len(track_specs(tracks)))
    choice = choose(score, tracks, given, track)
    return choice.notes, choice.programs


def choose(
    score: Score, tracks: str | dict[str, Any], given: Sequence[str] = (), track: str | int | None = None
) -> Choice:
    """Find the tracks of a file that a user gives, for the roles that a model is given.

    A band's roles are told by programs; those of a mapping of one's own by names, then by drums and programs; ``voices`` by names,
    or by what the notes are like and by the order of the file, see ``find_voices``. A voice that is given is one line: of a part
    that plays several notes at once it is the top line, the bottom line for the bass.

    Args:
        tracks: see ``track_specs``.
        given: names of the roles that the model is given; none: all of them count, and voices may have chords.
        track: this one plays the first given role, whatever else is said of it: its name (of any case), or its number in the file
            from 1.

    Raises:
        BadInput: no track is called so, or none can be the melody that the model is given.

    >>> import numpy as np
    >>> from musegen_pianoroll.reading.roles import choose
    >>> from musegen_pianoroll.reading.score import Score, ScoreTrack
    >>> chords = np.array([[0, 1920, pitch] for pitch in (48, 52, 55)])
    >>> tune = np.array([[480 * i, 480 * i + 480, pitch] for i, pitch in enumerate([67, 69, 71, 72])])
    >>> parts = [ScoreTrack("Pad", 89, False, chords, 1), ScoreTrack("Tune", 73, False, tune, 2)]
    >>> score = Score(480, [], [], parts)
    >>> choose(score, "voices", ["Soprano"]).said
    'The melody is track 2, Tune; left out: 1 Pad'
    >>> choose(score, "voices", ["Soprano"], track=1).said
    'The melody is the top line of track 1, Pad, without 2 lower notes; left out: 2 Tune'
    """
    specs = track_specs(tracks)
    names = [spec.name for spec in specs]
    wanted = [names.index(name) for name in given if name in names]
    needs_melody = tracks == "voices" and 0 in wanted
    sounding = [part for part in score.tracks if len(part.notes)]
    explicit = None if track is None else _found(score, sounding, track, is_voice=tracks == "voices")
    target = wanted[0] if wanted else next((i for i, spec in enumerate(specs) if not spec.is_drum), 0)
    roles = _roles(score, tracks, needs_melody)
    if explicit is not None:
        mine = {id(part) for part in explicit}
        roles = [(role, part) for role, part in roles if role != target and id(part) not in mine]
        roles += [(target, part) for part in explicit]
    elif needs_melody and not any(role == 0 for role, _ in roles):
        raise BadInput(
            f"Nothing in this file can be the melody: it has {_listed(sounding)}. "
            "Choose the track that is, by number or name, as track=3 (on the command line --track 3)."
        )
    counted = wanted or range(len(specs))
    chosen = {names[role]: [part for r, part in roles if r == role] for role in counted}
    chosen = {name: parts for name, parts in chosen.items() if parts}
    used = {id(part) for parts in chosen.values() for part in parts}
    left_out = [part for part in sounding if id(part) not in used]
    n_hidden = {}
    if tracks == "voices":
        for role in wanted:
            roles, n_hidden[names[role]] = _one_line(roles, role, score.ticks_per_beat)
    said = _in_words(chosen, left_out, n_hidden, tracks == "voices")
    return Choice(*_sorted_in(roles, len(specs)), chosen, left_out, roles, said)


Roles = list[tuple[int, ScoreTrack]]
"""Roles, and tracks that play them."""


def _sorted_in(roles: Roles, n_roles: int) -> tuple[list[tuple[int, np.ndarray]], list[list[int]]]:
    programs: list[set[int]] = [set() for _ in range(n_roles)]
    for role, part in roles:
        programs[role].add(part.program)
    return [(role, part.table) for role, part in roles], [sorted(seen) for seen in programs]


def _roles(score: Score, tracks: str | dict[str, Any], needs_melody: bool) -> Roles:
    """Which tracks play which roles, in the order of the file."""
    sounding = [part for part in score.tracks if len(part.notes)]
    if tracks == "voices":
        from musegen_pianoroll.reading.voices import find_voices, parts_of  # which most folders have no use for

        voices = find_voices(parts_of(score, sounding), needs_melody)
        of_track = {id(one): voice for voice, part in voices.items() for one in part.tracks}
        return [(of_track[id(one)], one) for one in sounding if id(one) in of_track]
    if tracks == "band":
        return [(0 if one.is_drum else _BAND_ROLES[one.program], one) for one in sounding]
    assert isinstance(tracks, dict)
    # A name is a user's explicit word, so it goes before a program, and before drums.
    parts = [[plain(str(part)) for part in _as_list(entry.get("names") or [])] for entry in tracks.values()]
    programs = [_programs(key, entry.get("programs", [])) for key, entry in tracks.items()]
    drums = [bool(entry.get("drums")) for entry in tracks.values()]
    found = []
    for one in sounding:
        name = plain(one.name)
        by_name = (role for role, mine in enumerate(parts) if any(part and part in name for part in mine))
        others = (r for r in range(len(drums)) if (drums[r] if one.is_drum else one.program in programs[r]))
        role = next(by_name, next(others, None))
        if role is not None:
            found.append((role, one))
    return found


def _found(score: Score, sounding: Sequence[ScoreTrack], track: str | int, is_voice: bool) -> list[ScoreTrack]:
    """The parts of the track that a user names; of several at once, as in a file of one track, what may be the melody, or what is
    no drums."""
    name = plain(str(track)).strip()
    number = int(name) if name.isdecimal() else None
    matches = [part for part in sounding if part.number == number and number is not None]
    matches = matches or [part for part in sounding if name and plain(part.name).strip() == name]
    if not matches and name:
        inside = [part for part in sounding if name in plain(part.name)]
        matches = inside if len({part.number for part in inside}) == 1 else []
    if not matches:
        raise BadInput(
            f'There is no track "{track}": the file has {_listed(sounding)}. Use the number or the name of one of them.'
        )
    melodic = [part for part in matches if not part.is_drum] or matches
    if not is_voice:
        return melodic
    from musegen_pianoroll.reading.melody import melody
    from musegen_pianoroll.reading.voices import parts_of

    parts = parts_of(score, melodic)
    return parts[melody([part.line for part in parts]) or 0].tracks


def _one_line(roles: Roles, role: int, ticks_per_beat: int) -> tuple[Roles, int]:
    """Roles with the part of one of them as one line, and how many notes that leaves out."""
    mine = [part for r, part in roles if r == role]
    if not mine:
        return roles, 0
    from musegen_pianoroll.reading.melody import top_line

    notes = np.concatenate([part.notes for part in mine])
    line = top_line(notes, ticks_per_beat, lowest=role == len(VOICES) - 1)
    # Its parts have other programs, one after the other: each keeps those of its notes that are in the line.
    ends = {(start, pitch): end for start, end, pitch in line.tolist()}
    new = []
    for part in mine:
        rows = [i for i, (start, _, p) in enumerate(part.notes.tolist()) if (start, p) in ends]
        kept = replace(part, notes=part.notes[rows], velocity=None if part.velocity is None else part.velocity[rows])
        kept.notes[:, 1] = [ends[start, p] for start, _, p in kept.notes.tolist()]
        new.append((role, kept))
    return [(r, p) for r, p in roles if r != role] + new, len(np.unique(notes[:, [0, 2]], axis=0)) - len(ends)


def _instrument(part: ScoreTrack) -> str:
    """What plays a track."""
    from pretty_midi import INSTRUMENT_MAP

    return "drums" if part.is_drum else str(INSTRUMENT_MAP[part.program])


def _titles(tracks: Sequence[ScoreTrack]) -> list[str]:
    """Number and name of each track; where it has no name, what plays it."""
    unnamed = {
        part.number: list(dict.fromkeys(_instrument(p) for p in tracks if p.number == part.number)) for part in tracks
    }
    titles = [f"{p.number} {p.name}" if p.name else f"{p.number} ({', '.join(unnamed[p.number])})" for p in tracks]
    return list(dict.fromkeys(titles))


def _listed(tracks: Sequence[ScoreTrack]) -> str:
    """Tracks as a user chooses from them: number, name, notes."""
    listed = []
    for part in tracks:
        what = [_instrument(part)] if part.is_drum or not part.name else []
        what.append(f"{len(part.notes)} note{'s' * (len(part.notes) != 1)}")
        listed.append(f"{part.number} {part.name}".strip() + f" ({', '.join(what)})")
    return ", ".join(listed) or "no notes"


def _in_words(
    chosen: dict[str, list[ScoreTrack]], left_out: Sequence[ScoreTrack], n_hidden: dict[str, int], are_voices: bool
) -> str:
    """One sentence of what plays which role."""
    words = []
    for role, parts in chosen.items():
        titles, n = _titles(parts), n_hidden.get(role, 0)
        line, others = ("bottom line", "higher") if role == VOICES[-1].name else ("top line", "lower")
        if len(titles) > 1:
            source = f"tracks {', '.join(titles[:-1])} and {titles[-1]}"
        else:
            source = f"track {parts[0].number}, {parts[0].name}" if parts[0].name else f"track {titles[0]}"
        if n:
            source = f"the {line} of {source}, without {n} {others} note{'s' * (n != 1)}"
        words.append(f"{'the melody' if are_voices and role == VOICES[0].name else role} is {source}")
    text = "; ".join(words)
    text = text[:1].upper() + text[1:]
    return f"{text}; left out: {', '.join(_titles(left_out))}" if text and left_out else text
