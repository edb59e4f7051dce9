"""Chords: which ones stand on the beats, and which one a listener hears through each beat.

Two questions with two answers. ``full_chords`` asks what sounds at one moment: whether its pitch classes are a complete chord, and
of which kind. ``find_chords`` asks for the harmony that broken chords, passing notes and rests imply: the sequence of major, minor,
diminished and augmented triads, one per beat, that explains best what sounds, without too many changes. That is the Viterbi
algorithm over how well the chroma of a beat fits a template (Fujishima 1999; smoothed as by Sheh & Ellis 2003, with costs of change
in the place of learnt probabilities).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["FULL", "KINDS", "NAMES", "beat_chroma", "best_path", "chord_name", "find_chords", "full_chords"]

NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
KINDS = {"": (0, 4, 7), "m": (0, 3, 7), "dim": (0, 3, 6), "aug": (0, 4, 8)}
"""What ``find_chords`` tells apart, by suffix of the chord's name: semitones above the root."""
FULL = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "seventh": (0, 4, 7, 10),
    "major seventh": (0, 4, 7, 11),
    "minor seventh": (0, 3, 7, 10),
    "half-diminished": (0, 3, 6, 10),
    "diminished seventh": (0, 3, 6, 9),
}
"""Complete chords: consonant triads, and seventh chords."""

# Chosen on a quarter of POP909's annotated songs; what is found changes little within a factor of two of any of them.
FIT = 12.0
"""Weight of the fit between what sounds and a chord, which is 0 to 1."""
BASS = 2.0
"""Weight of the share of the beat in which the lowest of several notes is the chord's root. A note alone is no bass."""
CHANGE = 2.0
"""Cost of another chord than on the beat before."""
ON_BAR, OFF_BEAT = 0.3, 1.5
"""Of that cost: at the beginning of a bar, where most chords change, and on every second beat, where few do."""
SOFTENING = 2.5
"""A note that sounds for a whole beat counts log(1 + SOFTENING), not SOFTENING times as much as a very short one."""


def _full() -> Tensor:
    """Kind of every set of pitch classes, as a number of 12 bits: int64 ``(4096,)``, −1 if it is no full chord."""
    found = torch.full((4096,), -1)
    for kind, steps in enumerate(FULL.values()):
        for root in range(12):
            found[sum(1 << (root + step) % 12 for step in steps)] = kind
    return found


FULL_KIND = _full()


def full_chords(chroma: Tensor) -> Tensor:
    """Kind of the chord that pitch classes form, a place in ``FULL``; −1 if they form none.

    Complete and in any position: two voices alone, or a passing note, make no such chord.

    Args:
        chroma: which pitch classes sound, bool ``(…, 12)``.

    Returns:
        int64 ``(…)``.
    """
    return FULL_KIND[(chroma.long() << torch.arange(12)).sum(-1)]


def beat_chroma(frame: Tensor, steps_per_beat: int) -> tuple[Tensor, Tensor]:
    """How long each pitch class sounds in each beat, and for how long it is the lowest of several notes.

    Args:
        frame: which pitches sound, all pitched tracks together, integers ``(n, steps, 128)``; a pitch in two tracks counts twice.
        steps_per_beat: steps of a beat; steps is a multiple of it.

    Returns:
        Two tensors, in beats, ``(n, beats, 12)``.
    """
    n, n_steps, _ = frame.shape
    folded = torch.stack([frame[..., c::12].sum(-1) for c in range(12)], -1)  # (n, steps, 12)
    sounding = frame > 0
    lowest = torch.where(sounding.any(-1), sounding.int().argmax(-1) % 12, 12)
    bass = torch.nn.functional.one_hot(lowest, 13)[..., :12] * ((folded > 0).sum(-1, keepdim=True) > 1)
    shape = (n, n_steps // steps_per_beat, steps_per_beat, 12)
    return tuple(x.reshape(shape).double().mean(2) for x in (folded, bass))  # type: ignore[return-value]


def best_path(scores: Tensor, costs: Tensor) -> Tensor:
    """The sequence of states with the highest sum of scores less the costs of its changes (Viterbi).

    Args:
        scores: ``(n, length, states)``.
        costs: of a change to another state at each place, ``(n or 1, length)``; the first one does not count.

    Returns:
        States, int64 ``(n, length)``.
    """
    _, length, n_states = scores.shape
    total, stay = scores[:, 0], torch.arange(n_states)
    origins = []
    for t in range(1, length):
        # All changes cost the same, so a changed state comes from the best one there was.
        best, origin = total.max(1, keepdim=True)
        changed = best - costs[:, t, None]
        origins.append(torch.where(changed > total, origin, stay))
        total = torch.maximum(changed, total) + scores[:, t]
    path = [total.argmax(1)]
    for origin in reversed(origins):
        path.append(origin.gather(1, path[-1][:, None])[:, 0])
    return torch.stack(path[::-1], 1)


def find_chords(frame: Tensor, steps_per_beat: int, beats_per_bar: int) -> Tensor:
    """The chord of every beat.

    A rest belongs to the chord before it.

    Args:
        frame: which pitches sound, all pitched tracks together, integers ``(n, steps, 128)``, beginning with a bar.
        beats_per_bar: quarter notes per bar.

    Returns:
        int64 ``(n, beats)``: 12 · kind + root, kinds as in ``KINDS``; −1 before the first note.

    >>> import torch
    >>> from musegen_pianoroll.measures.chords import chord_name, find_chords
    >>> frame = torch.zeros(1, 8, 128)
    >>> frame[0, :4, [48, 64, 67]] = 1  # C E G
    >>> frame[0, 4:, [45, 60, 64]] = 1  # A C E
    >>> [chord_name(chord) for chord in find_chords(frame, 1, 4)[0].tolist()]
    ['C', 'C', 'C', 'C', 'Am', 'Am', 'Am', 'Am']
    """
    chroma, bass = beat_chroma(frame, steps_per_beat)
    templates = torch.zeros(len(KINDS) * 12, 12, dtype=torch.float64)
    for kind, steps in enumerate(KINDS.values()):
        for root in range(12):
            templates[12 * kind + root, [(root + step) % 12 for step in steps]] = 1
    heard = torch.log1p(SOFTENING * chroma)
    heard = heard / heard.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    fit = heard @ (templates / templates.norm(dim=-1, keepdim=True)).T  # (n, beats, chords)
    scores = FIT * fit + BASS * bass.repeat(1, 1, len(KINDS))
    beats = torch.arange(chroma.shape[1])
    costs = torch.where(beats % beats_per_bar == 0, ON_BAR, torch.where(beats % 2 == 1, OFF_BEAT, 1.0)) * CHANGE
    # An augmented triad has three roots and a diminished seventh four: they are heard only where no other chord explains the notes.
    rare = torch.tensor([0.0, 0.0, 1.0, 1.5]).repeat_interleave(12)
    sounds = chroma.sum(-1) > 0
    found = best_path(scores - rare, costs.where(sounds, torch.inf))
    begun = sounds.cumsum(1) > 0
    return torch.where(begun, found, -1)


def chord_name(chord: int) -> str:
    """``Am`` for 12 + 9; ``N`` for none."""
    return "N" if chord < 0 else NAMES[chord % 12] + list(KINDS)[chord // 12]
