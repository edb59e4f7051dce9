"""Chords that come before the notes: found in the music, moved with it, and no notes themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from musegen.data.batches import Batches
from musegen.data.bundled import bundled
from musegen.errors import BadInput
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.domain import PianorollDomain
from musegen_pianoroll.plan import chord_planes, found_chords, planned, step_chords
from musegen_pianoroll.store.format import StoreTrack

TRACKS = [StoreTrack("Drums", 0, True), StoreTrack("Piano")]
CONFIG = PianorollConfig(bars=1, plan="chords", tracks={"Drums": {"drums": True}, "Piano": {}})


def packed(notes: list[tuple[int, int, int, int]], n_steps: int) -> np.ndarray:
    """Planes of (track, pitch, first step, last)."""
    roll = np.zeros((n_steps, 2, 2, 128), np.uint8)
    for track, pitch, first, last in notes:
        roll[first:last, track, 0, pitch] = roll[first, track, 1, pitch] = 1
    return np.packbits(roll, axis=-1, bitorder="little")


def bar_of(pitches: list[int], first: int, track: int = 1) -> list[tuple[int, int, int, int]]:
    return [(track, pitch, first, first + 16) for pitch in pitches]


def plan_of(planes: torch.Tensor) -> tuple[list[set[int]], list[set[int]]]:
    """Pitch classes and roots of the plan, by step."""
    cells = np.unpackbits(planes[:, 0].numpy(), axis=-1, bitorder="little")  # (steps, 2, 128)
    return tuple([{int(p) % 12 for p in np.flatnonzero(row)} for row in cells[:, i]] for i in range(2))  # type: ignore[return-value]


def test_the_chord_of_every_step() -> None:
    """C major, D minor, and two bars of another metre, which have none; drums change nothing."""
    notes = bar_of([48, 64, 67], 0) + bar_of([50, 65, 69], 16) + bar_of([36, 40], 0, 0)
    planes = torch.from_numpy(packed(notes, 64))
    found = planned(planes, [(0, 2)], TRACKS, CONFIG)
    assert found.shape == (64, 3, 2, 16)
    assert torch.equal(found[:, 1:], planes)
    classes, roots = plan_of(found)
    assert classes == [{0, 4, 7}] * 16 + [{2, 5, 9}] * 16 + [set()] * 32
    assert roots == [{0}] * 16 + [{2}] * 16 + [set()] * 32


@pytest.mark.parametrize("metre", ["4/4", "3/4", "6/8", "3/8", "2/2"])
def test_beats_of_every_metre(metre: str) -> None:
    config = PianorollConfig(bars=2, plan="chords", metre=metre, tracks={"Drums": {"drums": True}, "Piano": {}})
    n = 2 * config.bar_steps
    assert config.bar_steps % config.beat_steps == 0
    planes = packed([(1, pitch, 0, n) for pitch in (57, 60, 64)], n)
    chords = found_chords(planes, TRACKS, config.beat_steps, config.bar_steps)
    assert set(chords.tolist()) == {12 + 9}  # A minor


def test_chords_move_with_the_music_and_lie_in_the_range(tmp_path: Path) -> None:
    domain, data = PianorollDomain.open(
        PianorollConfig(bars=2, plan="chords", given=["any"], transpose=6, tracks="voices", steps_per_beat=2),
        bundled("chorales"),
        tmp_path,
    )
    spec = domain.spec
    assert (spec.plan, spec.parts, spec.shape[0]) == (2, (2, 2, 2, 2, 2), 10)
    batch = Batches(data.splits["train"], 64, 0, torch.device("cpu"))[0]
    pitch = torch.arange(domain.config.lowest_pitch, domain.config.highest_pitch + 1)
    of_class = torch.eye(12)[pitch % 12]
    chords, roots = (batch.x[:, i] @ of_class for i in range(2))
    assert set(chords.sum(2).unique().tolist()) <= {0.0, 3.0}
    assert bool((roots <= chords).all())
    assert set(roots.sum(2).unique().tolist()) <= {0.0, 1.0}
    sounding = batch.x[:, 2::2].sum(1) @ of_class
    inside = (sounding * (chords > 0)).sum() / sounding.sum()
    assert float(inside) > 0.75  # notes of the chord, however the window was moved


def test_chords_are_no_notes() -> None:
    domain = PianorollDomain(PianorollConfig(bars=1, plan="chords", tracks={"Piano": {}}))
    samples = torch.zeros(1, *domain.spec.shape)
    samples[0, :2] = 1
    (piece,) = domain.pieces(samples)
    assert len(piece.notes) == 0
    samples[0, 2:, 0, 30] = 1
    (piece,) = domain.pieces(samples)
    assert piece.notes.tolist() == [[0, 54, 0, 1]]
    assert domain.discretise(samples).shape == samples.shape


def test_a_range_without_an_octave_to_spare_is_refused() -> None:
    for options in (
        {"lowest_pitch": 50, "highest_pitch": 70},
        {"planes": "frame"},
        {"lowest_pitch": 48, "highest_pitch": 83, "transpose": 13},
    ):
        with pytest.raises(BadInput, match=r"plan=chords needs planes=frame\+onset, and an octave"):
            PianorollConfig(plan="chords", **options)  # type: ignore[arg-type]


def test_only_rnn_nade_takes_a_plan() -> None:
    from musegen.contracts.domain import Decoder, Discriminator, Encoder

    domain = PianorollDomain(PianorollConfig(plan="chords"))
    for wanted in (Encoder(), Decoder(8), Discriminator()):
        with pytest.raises(BadInput, match="plan=chords is for rnn_nade"):
            domain.network(wanted)


def test_steps_without_a_chord() -> None:
    classes, roots = step_chords(np.array([-1, 0, 12 + 9]))
    assert (classes.tolist(), roots.tolist()) == ([0, 0b10010001, 0b1000010001], [-1, 0, 9])
    plan = np.unpackbits(chord_planes(classes, roots, CONFIG), axis=-1, bitorder="little")
    assert plan.sum((1, 3)).tolist() == [[0, 0], [3, 1], [3, 1]]
