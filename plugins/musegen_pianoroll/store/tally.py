"""What is counted per track of a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from musegen_pianoroll.store.format import PACKED

__all__ = ["Tally"]


class Tally:
    """What is counted per track of a store.

    Attributes:
        used: pitches that occur, packed, uint8 ``(tracks, 16)``.
        sounding, polyphonic: steps at which a pitch sounds, and at which several do, int64 ``(tracks,)``.
        empty: bars in which nothing sounds, int64 ``(tracks,)``.
        n_steps, n_bars: of all pieces.
    """

    def __init__(self, n_tracks: int) -> None:
        self.used = np.zeros((n_tracks, PACKED), np.uint8)
        self.sounding, self.polyphonic, self.empty = np.zeros((3, n_tracks), np.int64)
        self.n_steps = self.n_bars = 0

    def add(self, planes: np.ndarray, segments: Sequence[Sequence[int]], steps_per_beat: int) -> None:
        """Count a piece, packed planes ``(n_steps, tracks, P, 16)``."""
        # Eight bytes at a time, and tracks before steps: reducing a short last axis takes many times as long.
        words = np.ascontiguousarray(planes).view(np.uint64)  # (steps, tracks, P, 2)
        used = np.bitwise_or.reduce(words.reshape(len(words), -1), 0).reshape(words.shape[1:])
        self.used |= used[:, 0].view(np.uint8)
        first_half, second_half = words[:, :, 0].T  # (tracks, steps) each
        count = np.add(np.bitwise_count(first_half), np.bitwise_count(second_half), order="C")  # pitches
        sounds = count > 0
        self.sounding += [np.count_nonzero(track) for track in sounds]
        self.polyphonic += [np.count_nonzero(track) for track in count > 1]
        self.n_steps += len(planes)
        for first, bars, numerator, denominator in segments:
            bar = numerator * 4 * steps_per_beat // denominator
            heard = sounds[:, first : first + bars * bar].reshape(-1, bars, bar).any(2)
            self.empty += (~heard).sum(1)
            self.n_bars += bars

    def include(self, other: Tally) -> None:
        """Count what another has counted."""
        self.used |= other.used
        for name in ("sounding", "polyphonic", "empty", "n_steps", "n_bars"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_json(self) -> dict[str, Any]:
        return {
            "used": [track.tobytes().hex() for track in self.used],
            **{name: getattr(self, name).tolist() for name in ("sounding", "polyphonic", "empty")},
            "n_steps": self.n_steps,
            "n_bars": self.n_bars,
        }

    @classmethod
    def from_json(cls, index: Any, n_tracks: int) -> Self | None:
        """The counts of a store's index; None if there are none, or if they do not fit."""
        tally = cls(n_tracks)
        try:
            used = b"".join(bytes.fromhex(track) for track in index["used"])
            tally.used = np.frombuffer(used, np.uint8).reshape(n_tracks, PACKED)
            for name in ("sounding", "polyphonic", "empty"):
                setattr(tally, name, np.array(index[name], np.int64).reshape(n_tracks))
            tally.n_steps, tally.n_bars = int(index["n_steps"]), int(index["n_bars"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        return tally
