"""Which part of a file sings which of four voices: by its name, or as its notes and the order of the file tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from musegen_pianoroll.reading.melody import Line, melody
from musegen_pianoroll.reading.part_names import is_accompaniment, is_click, melody_rank, voices_named
from musegen_pianoroll.reading.score import Score, ScoreTrack

__all__ = ["Part", "find_voices", "parts_of"]

N_VOICES = 4
CROSSED, CLOSE = 5, 1
"""Semitones of mean pitch by which a part may lie above one that comes before it in the file, if the file is in order; and by which
the melody may."""
BASS_PROGRAMS, EFFECTS = range(32, 40), range(119, 128)
"""General MIDI programs that play no melody."""
MOST_PROGRAMS = 16
"""Tracks with more parts than this are not looked through for parts that are one."""


@dataclass(frozen=True)
class Part:
    """A track of a file, with all the programs that it plays one after the other."""

    tracks: list[ScoreTrack]
    ticks_per_beat: int
    span: tuple[int, int]
    is_all: bool = False
    """The file has no other part: whoever gives it means this one, also where it is played on a bass."""

    @property
    def name(self) -> str:
        return self.tracks[0].name

    @cached_property
    def line(self) -> Line:
        notes = np.concatenate([track.notes for track in self.tracks])
        program = self.tracks[0].program
        is_behind = not self.is_all and (program in BASS_PROGRAMS or program in EFFECTS)
        return Line(notes, self.ticks_per_beat, self.span, is_behind or is_accompaniment(self.name))


def parts_of(score: Score, tracks: Sequence[ScoreTrack]) -> list[Part]:
    """Tracks with notes as parts: what one track of the file plays with several programs, one after the other, is one."""
    sounding = [track for track in tracks if len(track.notes)]
    if not sounding:
        return []
    span = min(int(t.notes[:, 0].min()) for t in sounding), max(int(t.notes[:, 1].max()) for t in sounding)
    of_number: dict[int, list[list[ScoreTrack]]] = {}
    groups: list[list[ScoreTrack]] = []
    for track in sounding:
        known = of_number.setdefault(track.number, []) if track.number else []
        mine = next((g for g in known if len(known) <= MOST_PROGRAMS and _after_one_another(g, track)), None)
        if mine is None:
            known.append([track])
            groups.append(known[-1])
        else:
            mine.append(track)
    return [Part(group, score.ticks_per_beat, span, len(groups) == 1) for group in groups]


def _after_one_another(group: Sequence[ScoreTrack], track: ScoreTrack) -> bool:
    """Whether a track hardly ever begins a note while the others of a group sound."""
    if group[0].is_drum != track.is_drum:
        return False
    notes = np.concatenate([other.notes for other in group])
    begun = np.searchsorted(np.sort(notes[:, 0]), track.notes[:, 0], "right")
    over = np.searchsorted(np.sort(np.maximum(notes[:, 1], notes[:, 0] + 1)), track.notes[:, 0], "right")
    return float((begun > over).mean()) < 0.1


def find_voices(parts: Sequence[Part], needs_melody: bool = False) -> dict[int, Part]:
    """The parts that sing soprano, alto, tenor and bass (0 to 3), as far as there are any.

    Drums and clicks sing none. Names go first, see ``part_names``: of voices; of the melody, which is the soprano's. The parts
    without such a name follow in the order of the file, with two exceptions:

    * Of four parts or fewer, where one lies more than a fourth above another that comes before it (by the mean pitch of their top
      lines), as in a file that begins with the bass: the order is from high to low.
    * Where the soprano is still to be found, it is the part that ``melody`` finds, and the others follow. In a file of four parts
      without such names it is the first one nevertheless, if that could be sung.

    Args:
        needs_melody: the soprano is what is asked for. There is none where nothing can be the melody; it is a part that bears the
            name of the alto or the tenor where no other can be; and what stands beside it is no voice without a name of one, unless
            there are four parts.
    """
    parts = [part for part in parts if not part.tracks[0].is_drum and not is_click(part.name)]
    found, named = _by_name(parts)
    rest = [i for i in range(len(parts)) if i not in named and i not in found.values()]
    rest = _in_order(rest, parts)
    free = [voice for voice in range(N_VOICES) if voice not in found]
    is_whole = len(rest) == len(parts) == N_VOICES
    if 0 not in found:
        margin = CLOSE if needs_melody else CROSSED  # data keep the order of their files where it may be right
        first = _first(rest, parts, margin, is_whole)
        if first is None and needs_melody:
            others = [i for voice, i in sorted(found.items()) if voice < N_VOICES - 1]
            first = _first(others, parts, margin)
            found = {voice: i for voice, i in found.items() if i != first}
            free.remove(0)
        if first is not None:
            found[0] = first
            free = [voice for voice in free if voice != 0]
            rest = [i for i in rest if i != first]
    if is_whole or not needs_melody:
        found |= dict(zip(free, rest, strict=False))
    return {voice: parts[i] for voice, i in sorted(found.items())}


def _by_name(parts: Sequence[Part]) -> tuple[dict[int, int], set[int]]:
    """Voices that names tell, and all parts that bear the name of a voice. Of several of one name the first one sings it; of basses
    the lowest."""
    names = voices_named([part.name for part in parts])
    named = [i for i, voice in enumerate(names) if voice is not None]
    order = [names[i] for i in named]
    is_choir = len(order) == N_VOICES and all(order.count(voice) <= 2 for voice in order)
    if is_choir and all(a <= b for a, b in pairwise(order)):  # type: ignore[operator]
        return dict(enumerate(named)), set(named)  # such as two sopranos, alto and bass
    found = {voice: names.index(voice) for voice in range(N_VOICES) if voice in names}
    if N_VOICES - 1 in found:
        basses = [i for i in named if names[i] == N_VOICES - 1]
        found[N_VOICES - 1] = min(basses, key=lambda i: parts[i].line.mean) if len(basses) > 1 else basses[0]
    ranks = {i: melody_rank(part.name) for i, part in enumerate(parts)} if 0 not in found else {}
    for rank in (1, 2, 3):
        so_named = [i for i in ranks if i not in named and ranks[i] == rank and len(parts[i].line.moves)]
        if rank == 3:
            so_named = [i for i in so_named if parts[i].line.sings]
        if so_named:
            best = melody([parts[i].line for i in so_named])
            return {**found, 0: so_named[best or 0]}, set(named)
    return found, set(named)


def _in_order(numbers: Sequence[int], parts: Sequence[Part]) -> list[int]:
    """Numbers of parts in the order of the file, or from high to low."""
    means = [parts[i].line.mean for i in numbers] if 1 < len(numbers) <= N_VOICES else []
    if any(later - earlier > CROSSED for j, later in enumerate(means) for earlier in means[:j]):
        return [numbers[k] for k in sorted(range(len(means)), key=lambda k: -means[k])]
    return list(numbers)


def _first(numbers: Sequence[int], parts: Sequence[Part], margin: float, is_whole: bool = False) -> int | None:
    """The part that is the melody; of a whole file of four parts the first one, if it could be sung or if none could."""
    mine = [parts[i].line for i in numbers]
    if is_whole and (mine[0].sings or (mine[0].may_be_melody and not any(line.sings for line in mine))):
        return numbers[0]
    best = melody(mine, margin)
    return None if best is None else numbers[best]
