"""What is asked of music: given chords, levels, notes that are allowed, rules, forms and endings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from musegen.contracts.asked import Asked, Section
from musegen.errors import BadInput
from musegen.options import validate
from musegen_pianoroll.asking import PianorollAsking, ending_of, sections_of
from musegen_pianoroll.config import PianorollConfig
from musegen_pianoroll.domain import PianorollDomain

CONFIG = PianorollConfig(
    bars=4,
    plan="chords",
    given=["any"],
    tracks={"Drums": {"drums": True}, "Piano": {}, "Bass": {}},
    lowest_pitch=24,
    highest_pitch=107,
)
DOMAIN = PianorollDomain(CONFIG)
PITCH = torch.arange(24, 108)
DRUMS, PIANO, BASS = 2, 4, 6  # frames; onsets follow


def asked(n_bars: int = 4, **options: Any) -> Asked:
    asking = validate(PianorollAsking, options, "the domain")
    return DOMAIN.asked(asking, Asked.nothing(2, DOMAIN.spec.shape, 16 * n_bars))


def classes(cells: torch.Tensor) -> set[int]:
    return {int(p) % 12 for p in PITCH[cells > 0]}


def test_chords_are_given_bar_by_bar_and_repeat() -> None:
    found = asked(5, chords="Am F")
    assert found.mask[:, :2].all()
    assert not found.mask[:, 2:].any()
    for bar in range(5):
        for step in (16 * bar, 16 * bar + 15):
            expected = ({9, 0, 4}, {9}) if bar % 2 == 0 else ({5, 9, 0}, {5})
            assert tuple(classes(found.cells[1, i, step]) for i in range(2)) == expected
    assert found.levels is found.allowed is None
    assert found.faults is not None  # notes on beats keep to the chords
    assert asked(5, chords="Am F", rules=["none"]).faults is None
    assert asked(5, key="C").faults is None


def test_a_key_is_its_scale_and_its_chord_at_both_ends() -> None:
    found = asked(4, key="A minor")
    assert found.allowed is not None
    assert found.mask[:, 0].sum(1).tolist() == [32, 32]
    assert classes(found.cells[0, 0, 0]) == classes(found.cells[0, 0, 63]) == {9, 0, 4}
    scale = {9, 11, 0, 2, 4, 5, 7, 8}
    for channel in (0, 1, PIANO, PIANO + 1, BASS):
        assert classes(found.allowed[channel, 20].float()) == scale
    assert found.allowed[DRUMS].all()
    both = asked(4, key="C", chords="C G")
    assert both.mask[:, :2].all()


@pytest.mark.parametrize(("tonic", "scale", "key"), [
    (0, (0, 4, 7, 5, 9, 0, 7, 11, 2, 0, 4, 7), "C major"), (9, (0, 3, 7, 5, 8, 0, 7, 11, 2, 0, 3, 7), "A minor"),
    (6, (0, 4, 7, 5, 9, 0, 7, 11, 2, 0, 4, 7), "F# major"),
])  # fmt: skip
def test_the_same_key_is_that_of_what_is_given(tonic: int, scale: tuple[int, ...], key: str) -> None:
    """Drums, and what stands where nothing is given, say nothing about it."""
    cells = torch.zeros(1, 8, 64, 84)
    for step, above in enumerate(scale):
        cells[0, PIANO, step, 24 + tonic + above] = 1
    cells[0, DRUMS, :32, 7:13] = 1
    cells[0, PIANO, 32:, (tonic + 1) % 12 :: 12] = 1
    mask = torch.zeros(1, 8, 64, dtype=torch.bool)
    mask[:, :, :32] = True
    same, named = (DOMAIN.asked(PianorollAsking(key=k), Asked(cells, mask)) for k in ("same", key))
    assert same.allowed is not None
    assert named.allowed is not None
    assert torch.equal(same.allowed, named.allowed)
    assert torch.equal(same.cells, named.cells)
    assert torch.equal(same.mask, named.mask)


def test_levels_are_of_onsets_and_of_frames() -> None:
    found = asked(3, density={"Bass": "high"}, polyphony={"Piano": "low"})
    assert found.levels is not None
    expected = torch.full((8, 3), -1)
    expected[BASS + 1], expected[PIANO] = 3, 1
    assert torch.equal(found.levels, expected)


@pytest.mark.parametrize(
    ("text", "low", "high"), [("E1-G3", 28, 55), ("28-55", 28, 55), ("Bb2-C#4", 46, 61), ("C-1-G9", 0, 127)]
)
def test_ranges(text: str, low: int, high: int) -> None:
    found = asked(ranges={"Bass": text})
    assert found.allowed is not None
    inside = PITCH[found.allowed[BASS, 0]]
    assert (int(inside.min()), int(inside.max())) == (max(low, 24), min(high, 107))
    assert found.allowed[PIANO].all()


def row(*pitches: int) -> torch.Tensor:
    """A step in which piano and bass sound, in this order; 0: a rest."""
    cells = torch.zeros(1, 8, 1, 84)
    for channel, pitch in zip((PIANO, BASS), pitches, strict=False):
        if pitch:
            cells[0, channel, 0, pitch - 24] = 1
    return cells


@pytest.mark.parametrize(
    ("rule", "before", "now", "found"),
    [
        ("avoid_parallels", (67, 60), (69, 62), 1),  # fifths
        ("avoid_parallels", (72, 60), (74, 62), 1),  # octaves
        ("avoid_parallels", (79, 60), (81, 62), 1),  # a fifth and an octave
        ("avoid_parallels", (67, 60), (67, 60), 0),  # nothing moves
        ("avoid_parallels", (67, 60), (72, 60), 0),
        ("avoid_parallels", (64, 60), (65, 62), 0),
        ("avoid_parallels", (67, 0), (69, 62), 0),
        ("no_crossing", (67, 60), (60, 62), 1),
        ("no_crossing", (67, 60), (62, 62), 0),
        ("no_crossing", (67, 60), (0, 62), 0),
    ],
)
def test_rules(rule: str, before: tuple[int, int], now: tuple[int, int], found: int) -> None:
    faults = asked(rules=[rule]).faults
    assert faults is not None
    assert faults(3, row(*before), row(*now)).tolist() == [found]


def test_foreign_notes_on_beats() -> None:
    faults = asked(rules=["chord_notes"]).faults
    assert faults is not None
    step = row(62, 60)  # D over C
    assert faults(4, step, step).tolist() == [0]  # no chord
    step[0, 0, 0, [36, 40, 43]] = 1  # C major
    assert faults(4, step, step).tolist() == [1]
    assert faults(5, step, step).tolist() == [0]  # between beats
    step[0, PIANO, 0] = 0
    assert faults(4, step, step).tolist() == [0]


def test_several_rules_add_up() -> None:
    faults = asked(rules=["avoid_parallels", "no_crossing"]).faults
    assert faults is not None
    assert faults(0, row(60, 67), row(62, 69)).tolist() == [2]


@pytest.mark.parametrize(
    ("form", "n_bars", "like"),
    [("AABA", 8, [None, 0, None, 0]), ("ab", 4, [None, None]), ("ABCB", 4, [None, None, None, 16])],
)
def test_forms(form: str, n_bars: int, like: list[int | None]) -> None:
    sections = sections_of(replace(PianorollAsking(), form=form), 16 * n_bars, CONFIG)
    rows = 16 * n_bars // len(form)
    assert sections == [Section(i * rows, (i + 1) * rows, first) for i, first in enumerate(like)]


def test_repeats() -> None:
    sections = sections_of(PianorollAsking(repeat=3), 16 * 8, CONFIG)
    assert sections == [Section(0, 48, None), Section(48, 96, 0), Section(96, 128, 0)]
    assert sections_of(PianorollAsking(), 64, CONFIG) == [Section(0, 64, None)]


def test_an_ending_is_the_chord_of_the_key_before_it() -> None:
    x = torch.zeros(2, 8, 64, 84)
    for sample, scale in enumerate(([0, 2, 4, 5, 7, 9, 11, 0, 4, 7, 0], [9, 11, 0, 2, 4, 5, 8, 9, 0, 4, 9])):
        for step, c in enumerate(scale * 3):
            x[sample, PIANO, step % 32, 36 + c] = 1
    before = Asked.nothing(2, DOMAIN.spec.shape, 64)
    last = ending_of(x, before, CONFIG, DOMAIN.tracks)
    assert last is not None
    assert ending_of(x[:, :, :32], before, CONFIG, DOMAIN.tracks) is None
    assert last.mask[:, :, :32].all()
    assert not last.mask[:, 2:, 32:].any()
    assert last.mask[:, :2].sum(2).tolist() == [[52, 52], [52, 52]]
    assert [classes(last.cells[i, 0, 47]) for i in range(2)] == [{7, 11, 2}, {4, 8, 11}]
    assert [classes(last.cells[i, 0, 60]) for i in range(2)] == [{0, 4, 7}, {9, 0, 4}]
    assert torch.equal(last.cells[:, 2:], x[:, 2:])
    assert ending_of(x, asked(4, chords="Am F C G"), CONFIG, DOMAIN.tracks) is None  # the last chord is somebody's wish


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chords": "Am X"}, '"X" is no chord'),
        ({"key": "X"}, "is no key"),
        ({"key": "same"}, "key=same: no notes are given whose key could be kept"),
        ({"density": {"Flute": "high"}}, 'density: there is no track "Flute"'),
        ({"density": {"Bass": "huge"}}, 'density: "huge" is no level: use none, low, medium, high'),
        ({"ranges": {"Bass": "low"}}, 'ranges: "low" is no range'),
        ({"ranges": {"Bass": "G3-E1"}}, "is no range"),
        ({"rules": ["avoid_paralels"]}, 'there is no rule "avoid_paralels". Did you mean "avoid_parallels"'),
    ],
)
def test_what_cannot_be_asked_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        asked(**options)


def test_forms_that_cannot_be_are_refused() -> None:
    for options, message in (
        ({"form": "AABA"}, "use --bars 4"),
        ({"form": "A1"}, "write letters, such as AABA"),
        ({"form": "AB", "repeat": 2}, "do not go together"),
    ):
        with pytest.raises(BadInput, match=message):
            sections_of(PianorollAsking(**options), 16 * 5, CONFIG)  # type: ignore[arg-type]


def test_a_model_without_chords_has_none_to_ask_for() -> None:
    plain = PianorollDomain(replace(CONFIG, plan="none"))
    nothing = Asked.nothing(1, plain.spec.shape, 64)
    for options, message in (
        ({"chords": "C"}, "was trained without chords"),
        ({"rules": ["chord_notes"]}, "needs a model that was trained with plan=chords"),
    ):
        with pytest.raises(BadInput, match=message):
            plain.asked(PianorollAsking(**options), nothing)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="ending needs a model"):
        plain.ending(PianorollAsking(ending=True), torch.zeros(1, *plain.spec.shape), nothing)
    assert plain.asked(PianorollAsking(key="C"), nothing).allowed is not None
