"""Planted copies are found, transposed as a whole and no other way."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musegen_pianoroll.measures.copies import longest_runs

BAR, BARS = 8, 4
DRUMS = torch.tensor([True, False, False])


def music(n: int, seed: int) -> Tensor:
    """Random onsets ``(n, 3, 32, 128)`` with room to transpose; notes in every bar and track."""
    generator = torch.Generator().manual_seed(seed)
    onset = torch.zeros(n, 3, BARS * BAR, 128, dtype=torch.bool)
    onset[..., 40:80] = torch.rand(n, 3, BARS * BAR, 40, generator=generator) < 0.02
    onset[:, :, ::BAR, 40] = True
    return onset


def transposed(onset: Tensor, semitones: int, tracks: tuple[int, ...] = (1, 2)) -> Tensor:
    """``(tracks, steps, 128)`` with some tracks moved."""
    moved = onset.clone()
    for track in tracks:
        moved[track] = onset[track].roll(semitones, -1)
    return moved


def search(samples: Tensor, training: Tensor) -> list[int]:
    return longest_runs(samples, training.split(7), DRUMS, BAR).tolist()


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, BARS),
    data=st.data(),
    t=st.integers(-30, 40),
    example=st.integers(0, 19),
)
def test_a_planted_copy_is_found_with_its_length(seed: int, k: int, data: st.DataObject, t: int, example: int) -> None:
    """k bars from anywhere in training, moved by t, to anywhere in a sample of other notes."""
    training, samples = music(20, seed), music(3, seed + 1)
    source, target = (data.draw(st.integers(0, BARS - k)) * BAR for _ in range(2))
    copied = transposed(training[example], t)[:, source : source + k * BAR]
    samples[1, :, target : target + k * BAR] = copied
    assert search(samples, training) == [0, k, 0]

    # One note more, less or elsewhere in the middle bar, and the run falls into what lies before and after it.
    where = target + (k // 2) * BAR
    change = data.draw(st.sampled_from(["more", "less", "pitch", "step"]))
    pitch = int(samples[1, 1, where].nonzero()[0])
    if change != "more":
        samples[1, 1, where, pitch] = False
    if change == "more":
        samples[1, 1, where, pitch + 1] ^= True
    elif change == "pitch":
        samples[1, 1, where, pitch - 1] = True
    elif change == "step":
        samples[1, 1, where + 1, pitch] ^= True
    assert search(samples, training)[1] == max(k // 2, k - k // 2 - 1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_the_band_moves_as_one_and_drums_do_not(seed: int, t: int) -> None:
    training = music(5, seed)
    whole = training[2]
    assert search(transposed(whole, t)[None], training) == [BARS]
    assert search(transposed(whole, t, (1,))[None], training) == [0]  # one track alone
    assert search(transposed(whole, t, (0, 1, 2))[None], training) == [0]  # with the drums
    # Two bars up by t and two not: each half is a copy, the whole is none.
    halves = torch.cat([transposed(whole, t)[:, : 2 * BAR], whole[:, 2 * BAR :]], 1)
    assert search(halves[None], training) == [2]


def test_silence_is_no_copy_but_may_lie_within_one() -> None:
    training = music(3, 0)
    assert search(torch.zeros_like(training), torch.zeros_like(training)) == [0, 0, 0]
    training[0, :, BAR : 3 * BAR] = False
    assert search(training[:1], training) == [BARS]
    training[0, :, 3 * BAR :] = False
    assert search(training[:1], training[:1]) == [1]


def test_drums_alone_are_compared_as_they_are() -> None:
    training = music(3, 0)
    training[:, 1:] = False
    assert search(training, training) == [BARS] * 3
    assert search(training.roll(1, -1), training) == [0, 0, 0]


def test_bars_must_follow_one_another() -> None:
    """Bars 0 and 2 of one window side by side are two runs of one."""
    training = music(4, 3)
    sample = music(1, 99)
    sample[0, :, : 2 * BAR] = torch.cat([training[1, :, :BAR], training[1, :, 2 * BAR : 3 * BAR]], 1)
    assert search(sample, training) == [1]


def test_a_copy_may_begin_with_drums_alone() -> None:
    """Then a later bar has the lowest note of the run, which says how far the band was moved."""
    training = music(4, 3)
    training[2, 1:, :BAR] = False
    training[2, 1, BAR + 1, 35] = True
    assert search(transposed(training[2], 5)[None], training) == [BARS]
